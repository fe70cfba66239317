"""A merge of two patients and its undoing, as the demonstration shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.lake_views import lake_views
from lake_layout.lake import Lake
from schemas.errors import LakeError

_PAIR = """
WITH alone AS (
  SELECT p.value, p.authority, i.type, r.source, r.institution, count(o.key_hash) AS results
  FROM curated.person AS p
  JOIN curated.person_identifier AS i USING (person_id, authority, value)
  JOIN curated_person.patient AS r USING (person_id)
  LEFT JOIN curated_person.observation AS o USING (person_id)
  WHERE p.identifiers = 1 AND r.source NOT LIKE '%/%'
  GROUP BY ALL)
SELECT one.source, one.institution, authority, type, one.value, other.value
FROM alone AS one JOIN alone AS other USING (source, institution, authority, type)
WHERE one.value < other.value
ORDER BY least(one.results, other.results) DESC, source, institution, authority, one.value, other.value LIMIT 1
"""
"""Two patients of one institution, each a person of its own, if possible with results."""

_PERSONS = """
SELECT value, person_id, any_value(h.current_person_id),
       (SELECT count(*) FROM curated_person.observation AS o WHERE o.person_id = i.person_id)
FROM curated.person_identifier AS i JOIN (
  SELECT authority, value, current_person_id FROM curated.person_id_history) AS h USING (authority, value)
WHERE role = 'subject' AND authority = ? AND value IN (?, ?)
GROUP BY value, person_id ORDER BY value
"""


@dataclass(frozen=True)
class Pair:
    """Two patients whom one institution knows.

    Attributes:
        source: by which connection it speaks.
        institution: MSH-4.
        authority: who assigned the identifiers.
        type: of the identifiers.
        given_up: the identifier that is merged into the other one.
        staying: that one.
    """

    source: str
    institution: str
    authority: str
    type: str | None
    given_up: str
    staying: str

    def merge(self, when: datetime) -> bytes:
        """An A40 (HL7 v2.5.1 §3.3.40): the first is given up for the second."""
        time = when.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f")[:-2] + "+0000"
        given_up, staying = (self.cx(value) for value in (self.given_up, self.staying))
        return "\r".join(
            (
                f"MSH|^~\\&|DEMO|{self.institution}|LAKE|CITY|{time}||ADT^A40^ADT_A39|DEMO-MERGE-1|P|2.5.1",
                f"EVN|A40|{time}",
                f"PID|||{staying}",
                f"MRG|{given_up}",
                "",
            )
        ).encode("ascii")

    def cx(self, value: str) -> str:
        """An identifier as PID-3 and ``phl steward`` have it."""
        return f"{value}^^^{self.authority}" + (f"^{self.type}" if self.type else "")


@dataclass(frozen=True)
class Patient:
    """What is known of who a patient is.

    Attributes:
        identifier: of the patient.
        person_id: who it is now.
        current_person_id: where the id that the patient had leads.
        results: observations of that person.
    """

    identifier: str
    person_id: str
    current_person_id: str
    results: int


Look = tuple[Patient, ...]
"""The two patients, the one that is given up first."""


@dataclass(frozen=True)
class Merge:
    """The two patients at three times."""

    before: Look
    merged: Look
    undone: Look


def find_pair(lake: Lake) -> Pair | None:
    """Two patients to be merged; None where there are none."""
    with lake_views(lake) as views:
        found = views.connection.execute(_PAIR).fetchone()
    return None if found is None else Pair(*found)


def look(lake: Lake, pair: Pair) -> Look:
    """Who the two are now."""
    with lake_views(lake) as views:
        found = views.connection.execute(_PERSONS, [pair.authority, pair.given_up, pair.staying]).fetchall()
    return tuple(Patient(*row) for row in found)


def merge_and_undo(lake: Lake, pair: Pair, merge: Callable[[], None], undo: Callable[[], None]) -> Merge:
    """Merge two patients, then undo it.

    Args:
        lake: where their rows are.
        pair: the two.
        merge: takes the hospital's message in.
        undo: takes the steward's decision in.

    Raises:
        LakeError: ``DEMO-IDENTITY``: they are not who they must be.
    """
    before = look(lake, pair)
    merge()
    merged = look(lake, pair)
    undo()
    undone = look(lake, pair)
    one, other = before
    whole = one.results + other.results
    expected = tuple(
        Patient(patient.identifier, other.person_id, other.person_id, whole) for patient in before
    )
    if one.person_id == other.person_id or merged != expected or undone != before:
        raise LakeError(
            "DEMO-IDENTITY", "two patients are not who they must be after a merge and its undoing"
        )
    return Merge(before, merged, undone)


def lines_of(pair: Pair, merge: Merge) -> list[list[str]]:
    """The three looks as cells of a table."""
    steps = (
        ("before", merge.before),
        (f"after A40: {pair.given_up} is {pair.staying}", merge.merged),
        ("after phl steward unlink", merge.undone),
    )
    return [
        [when, patient.identifier, patient.person_id, f"{patient.results:,}"]
        for when, patients in steps
        for patient in patients
    ]


NAMES = ("when", "patient", "person_id", "results of the person")
"""Names of the columns of ``lines_of``."""
