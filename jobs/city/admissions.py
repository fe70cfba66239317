"""Admission, discharge, transfer and registration (ADT), with merges and links of persons.

The standard has no A56 to A59, and A19 only as a query and its reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from jobs.city.draft import Draft, segment
from jobs.city.people import Person, Stay
from jobs.city.scene import Scene
from jobs.city.truth import Value
from jobs.city.visits import (
    PENICILLIN,
    WITH_A_VISIT,
    add_patient,
    add_person_and_visit,
    add_relative,
    add_visit,
    identifiers,
)
from schemas.hl7v2.mapping import triggers
from schemas.tables.normalised import ALLERGY_INTOLERANCE, PATIENT_LINK

_STRUCTURES = {
    "ADT_A01": "A01 A04 A08 A13", "ADT_A02": "A02", "ADT_A03": "A03", "ADT_A05": "A05 A14 A28 A31",
    "ADT_A06": "A06 A07", "ADT_A09": "A09 A10 A11 A12", "ADT_A15": "A15", "ADT_A16": "A16", "ADT_A17": "A17",
    "ADT_A18": "A18", "ADT_A20": "A20", "ADT_A21": "A21 A22 A23 A25 A26 A27 A29 A32 A33", "ADT_A24": "A24",
    "ADT_A30": "A30 A34 A35 A36 A46 A47 A48 A49", "ADT_A37": "A37", "ADT_A38": "A38",
    "ADT_A39": "A39 A40 A41 A42", "ADT_A43": "A43 A44", "ADT_A45": "A45", "ADT_A50": "A50 A51",
    "ADT_A52": "A52 A53 A55", "ADT_A54": "A54", "ADT_A60": "A60", "ADT_A61": "A61 A62",
}  # fmt: skip

ADMISSIONS: Mapping[str, str] = MappingProxyType(
    {event: structure for structure, events in _STRUCTURES.items() for event in events.split()}
)
"""Trigger → message structure (HL7 table 0354)."""

COMMON = ("A01", "A02", "A03", "A04", "A05", "A06", "A08", "A08", "A11", "A12", "A13", "A28", "A31")
"""What happens all the time."""

_WITHOUT_VISIT = triggers("A28 A29 A31")
_OF_ONE_WHO_CHANGED = triggers("A18 A30 A34-A36 A39-A41 A43 A44 A46-A49")
_OF_A_VISIT_THAT_CHANGED = triggers("A06 A07 A42 A45 A50 A51")
_OF_TWO = triggers("A17 A24 A37")
_MOVED = triggers("A02 A12")


def admission(scene: Scene) -> Draft:
    """An ADT message."""
    event = scene.event
    if event == "A20":
        return _bed(scene)
    if event in _OF_TWO:
        return _two(scene)
    if event in _OF_ONE_WHO_CHANGED:
        draft = scene.draft(evented=True, staying=False)
        add_patient(draft)
        _add_former(draft, _former(draft, scene.other))
        return draft
    draft = scene.draft(evented=True, staying=event not in _WITHOUT_VISIT)
    if draft.stay is not None:
        draft.stay = _as_event_says(draft.stay, scene)
    add_patient(draft)
    if event in _OF_A_VISIT_THAT_CHANGED:
        _add_former(draft, _former(draft, scene.other))
    elif event in ("A01", "A04", "A05"):
        add_relative(draft, scene.other)
    add_visit(draft)
    if event == "A60":
        _add_allergy_of_its_own(draft)
    elif draft.stay is not None and event in COMMON:
        for add in WITH_A_VISIT[: scene.rng.randint(1, len(WITH_A_VISIT))]:
            add(draft)
    return draft


def _as_event_says(stay: Stay, scene: Scene) -> Stay:
    return replace(
        stay,
        kind="O" if scene.event == "A04" else "I",
        discharged=scene.sent if scene.event == "A03" else None,
        prior_ward=f"W{scene.rng.randrange(1, 20):02d}" if scene.event in _MOVED else None,
        alternate=f"K{stay.visit[1:]}" if scene.event == "A51" else None,
    )


def _bed(scene: Scene) -> Draft:
    """The state of a bed, which is about nobody."""
    draft = Draft(scene.header, evented=True)
    draft.plain(f"NPU|W{scene.rng.randrange(1, 20):02d}^1^2^{draft.code}|H")
    return draft


def _two(scene: Scene) -> Draft:
    """Two persons swapped, linked or unlinked: the second PID says whom the first one's is linked to."""
    swapped = scene.event == "A17"
    draft = scene.draft(evented=True, staying=swapped)
    add_person_and_visit(draft)
    first, others = scene.person, identifiers(draft)
    record = draft.record
    draft.person, draft.stay = scene.other, scene.stay(scene.other) if swapped else None
    at = add_patient(draft)
    _link(
        draft, at, "PID", other_patient_id=record, other_patient_id_type="MR", other_identifiers=others,
        other_listed_identifiers=others,
        other_account_number=first.account, other_account_authority=draft.code,
        other_family_name=first.family, other_given_name=first.given,
    )  # fmt: skip
    add_visit(draft)
    return draft


@dataclass(frozen=True)
class _Former:
    """What MRG names: whose it was, or what the same one's was before.

    Attributes:
        person: whose name it gives.
        record: MRG-1.
        with_identity: whether MRG-1 lists the identity number of the patient in PID too.
        account: MRG-3.
        visit: MRG-5.
        alternate: MRG-6.
    """

    person: Person
    record: str
    with_identity: bool = False
    account: str | None = None
    visit: str | None = None
    alternate: str | None = None


def _former(draft: Draft, other: Person) -> _Former:  # noqa: PLR0911 - one kind of event each
    """What the event takes: another resident's record is given up, or something changes or moves that is one's own."""
    own, stay, institution = draft.person, draft.stay, draft.header.institution
    assert own is not None
    record, others = draft.record, other.record_number(institution)
    match draft.header.event:
        case "A06" | "A07" | "A35" | "A41" | "A49":
            return _Former(own, record, account=own.former_account)
        case "A42" | "A50":
            return _Former(own, record, visit=own.former_visit)
        case "A51":
            return _Former(own, record, alternate=own.former_visit)
        case "A46" | "A47" | "A48":
            return _Former(own, own.former_record_number(institution))
        case "A43":
            return _Former(other, others, with_identity=True)
        case "A44":
            return _Former(other, others, account=own.account)
        case "A45":
            return _Former(other, others, account=other.account, visit=stay.visit if stay else None)
        case _:
            return _Former(other, others, account=other.account, visit=f"V{other.number:06d}0")


def _add_former(draft: Draft, before: _Former) -> None:
    """MRG: the identifiers that were another's, or the same one's before."""
    code, person = draft.code, before.person
    assert draft.person is not None
    listed = [(before.record, code, "MR")]
    listed += [(draft.person.identity, "CNID", "NI")] if before.with_identity else []
    at = draft.typed(
        segment(
            "MRG",
            {
                1: "~".join(f"{value}^^^{authority}^{kind}" for value, authority, kind in listed),
                3: f"{before.account}^^^{code}^AN" if before.account else "",
                5: f"{before.visit}^^^{code}^VN" if before.visit else "",
                6: f"{before.alternate}^^^{code}^VN" if before.alternate else "",
                7: f"{person.family}^{person.given}",
            },
        )
    )
    told: dict[str, Value | list[str]] = {}
    if before.account:
        told |= {"other_account_number": before.account, "other_account_authority": code}
    if before.visit:
        told |= {"other_visit_number": before.visit, "other_visit_authority": code}
    if before.alternate and draft.stay:
        told |= {"other_alternate_visits": [f"{before.alternate}|{code}|VN"]}
        told |= {"alternate_visit_number": draft.stay.alternate}
    written = ["|".join(one) for one in listed]
    _link(
        draft, at, "MRG", other_patient_id=before.record, other_patient_id_type="MR", other_identifiers=written,
        other_listed_identifiers=written, other_family_name=person.family, other_given_name=person.given, **told,
    )  # fmt: skip


def _link(draft: Draft, at: int, stated_in: str, **other: Value | list[str]) -> None:
    assert draft.person is not None
    draft.event_row(
        PATIENT_LINK, at, stated_in=stated_in, identifiers=identifiers(draft), listed_identifiers=identifiers(draft),
        family_name=draft.person.family, given_name=draft.person.given, account_number=draft.person.account,
        account_authority=draft.code, other_patient_authority=draft.code, **draft.event_columns, **other,
    )  # fmt: skip


def _add_allergy_of_its_own(draft: Draft) -> None:
    """IAM: an allergy that is added, changed or removed by itself."""
    at = draft.typed(segment("IAM", {1: 1, 2: "DA", 3: PENICILLIN.sent, 4: "SV", 6: "A", 7: "AL0001"}))
    draft.event_row(
        ALLERGY_INTOLERANCE, at, stated_in="IAM", action_code="A", identifier="AL0001", allergen_type="DA",
        severity="SV", **PENICILLIN.coded("allergen"),
    )  # fmt: skip
