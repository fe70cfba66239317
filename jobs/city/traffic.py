"""The city's traffic: the same seed gives the same bytes, and beside each message what must become of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import cycle, groupby
from random import Random

from jobs.city.admissions import ADMISSIONS, COMMON, admission
from jobs.city.draft import Draft, Header
from jobs.city.families import MAKERS
from jobs.city.institutions import INSTITUTIONS, Institution
from jobs.city.people import Person, doctor, person
from jobs.city.replies import KINDS as REPLIES
from jobs.city.replies import reason, reply_or_query
from jobs.city.reports import LABORATORY, Report, report
from jobs.city.results import corrected
from jobs.city.scene import Scene
from jobs.city.truth import Expected, Row, Truth
from schemas.hl7v2.mappings import family_of

BASE = datetime(2026, 3, 2, 7, 0, 0)  # noqa: DTZ001 - HL7 writes local times
"""When the city's first message is sent, in its own time."""


class Transport(Enum):
    """How a message gets to the lake."""

    MLLP = "mllp"
    FILES = "files"


@dataclass(frozen=True)
class Planned:
    """A message to be sent.

    Attributes:
        institution: who sends it.
        payload: its bytes.
        answer: what the listener must answer (MSA-1); a file has nobody to answer to.
        expected: what must become of it.
        rows: the rows it must become where it is read.
    """

    institution: Institution
    payload: bytes
    answer: str
    expected: Expected
    rows: dict[str, list[Row]] = field(default_factory=dict)


_DOCTORS = 120
_NUMBERS_PER_TRANSPORT = 500_000
_NO_CHARSET = "CP-DEMO"
_REMEMBERED = 50
"""So many of the last messages may be sent again, and so many reports be corrected."""


@dataclass(frozen=True)
class _Reported:
    """A report that may be followed by another on the same order."""

    institution: Institution
    report: Report


class Deck:
    """Kinds of messages, dealt one after the other and then again, so that none is long in coming.

    Args:
        rng: mixes the families.
        kinds: MSH-9 of each. The first of each family come first, then the second of each, and so on.
    """

    def __init__(self, rng: Random, kinds: Sequence[str]) -> None:
        by_family = groupby(sorted(kinds, key=_family), _family)
        turns = [(turn, rng.random(), kind) for _, same in by_family for turn, kind in enumerate(same)]
        self._dealt = cycle(kind for _, _, kind in sorted(turns))

    def deal(self) -> str:
        return next(self._dealt)


def _family(kind: str) -> str:
    code, trigger, _ = kind.split("^")
    family = family_of(code, trigger)
    return family.doc if family else code


class City:
    """Makes up traffic.

    Args:
        seed: the same seed gives the same traffic.
        transport: some messages can come in one way only.
        people: how many residents there are.
        base: when the first message is sent.
    """

    def __init__(self, seed: int, transport: Transport, people: int = 500, base: datetime = BASE) -> None:
        self.rng = Random(f"{seed} {transport.value}")  # noqa: S311 - repeatable on purpose
        residents = Random(seed)  # noqa: S311
        self.people = [person(residents, number) for number in range(people)]
        self.doctors = [doctor(residents, number) for number in range(1, _DOCTORS)]
        self.transport = transport
        self.clock = base
        self.numbers = dict.fromkeys((one.code for one in INSTITUTIONS), 0)
        self.truth = Truth()
        self._resendable: list[tuple[Planned, Header]] = []
        self._reported: list[_Reported] = []
        self._room = dict.fromkeys(self.numbers, 0)
        self._number = 0 if transport is Transport.MLLP else _NUMBERS_PER_TRANSPORT
        self._weights = [one.level.weight for one in INSTITUTIONS]
        self._others = Deck(self.rng, (*MAKERS, *REPLIES))
        self._admissions = Deck(self.rng, [f"ADT^{event}^{name}" for event, name in ADMISSIONS.items()])

    def messages(self, count: int) -> Iterator[Planned]:
        """``count`` messages, one after the other; ``truth`` grows with them."""
        for _ in range(count):
            planned = self._next()
            self.truth.add(planned.expected, planned.rows)
            yield planned

    def _next(self) -> Planned:  # noqa: PLR0911 - one kind of message each
        self.clock += timedelta(seconds=self.rng.randrange(1, 20))
        chance = self.rng.random()
        if chance < 0.03 and self._resendable:
            return self._resend()
        if chance < 0.04 and self._resendable:
            return self._reused_control_id()
        if chance < 0.06:
            return self._malformed()
        institution, who = self._institution(), self.rng.choice(self.people)
        if chance < 0.07:
            return self._training(institution, who)
        if chance < 0.19:
            return self._other(institution, who)
        if chance < 0.57:
            return self._read(admission(self._scene(self._header(institution, self._event()), who)))
        if chance < 0.62 and self._reported:
            return self._read(self._later_report())
        return self._read(self._report(institution, who))

    def _institution(self) -> Institution:
        return self.rng.choices(INSTITUTIONS, self._weights)[0]

    def _header(self, institution: Institution, kind: str, control_id: str = "") -> Header:
        if not control_id:
            self.numbers[institution.code] += 1
            letter = "M" if self.transport is Transport.MLLP else "F"
            control_id = f"{institution.code}{letter}{self.numbers[institution.code]:07d}"
        # some programs make up a name for their charset; what is known of the source counts then
        odd = not institution.declares and self.rng.random() < 0.02
        return Header(institution, kind, control_id, self.clock, charset=_NO_CHARSET if odd else None)

    def _read(self, draft: Draft, disposition: str = "accepted") -> Planned:
        header = draft.header
        expected = Expected(header.institution.source, header.control_id, disposition)
        planned = Planned(header.institution, draft.payload(), "AA", expected, draft.rows)
        self._room[header.institution.code] += 1
        self._resendable = [*self._resendable[1 - _REMEMBERED :], (planned, header)]
        return planned

    def _scene(self, header: Header, who: Person) -> Scene:
        self._number += 1
        other = self.people[(who.number + self.rng.randrange(1, len(self.people))) % len(self.people)]
        return Scene(self.rng, header, who, other, self.doctors, self._number)

    def _event(self) -> str:
        """MSH-9 of an admission: half of them of the common ones, half of all there are."""
        if self.rng.random() < 0.5:
            return self._admissions.deal()
        event = self.rng.choice(COMMON)
        return f"ADT^{event}^{ADMISSIONS[event]}"

    def _other(self, institution: Institution, who: Person) -> Planned:
        kind = self._others.deal()
        scene = self._scene(self._header(institution, kind), who)
        if kind in MAKERS:
            return self._read(MAKERS[kind](scene))
        expected = Expected(institution.source, scene.header.control_id, "ignored", reason(kind))
        return Planned(institution, reply_or_query(scene), "AA", expected)

    def _report(self, institution: Institution, who: Person) -> Draft:
        """A first report, final or preliminary."""
        scene = self._scene(self._header(institution, LABORATORY), who)
        said = Report.of(scene, self.rng.choices(("F", "P"), (8, 2))[0])
        return self._told(scene.header, said)

    def _later_report(self) -> Draft:
        """Another report on an order: the final one after a preliminary one, or a correction of a final one."""
        before = self._reported.pop(self.rng.randrange(len(self._reported)))
        said = before.report
        if said.status == "P":
            said = replace(said, status="F", results=[replace(one, status="F") for one in said.results])
        else:
            said = replace(said, status="C", results=corrected(self.rng, said.results))
        return self._told(self._header(before.institution, LABORATORY), said)

    def _told(self, header: Header, said: Report) -> Draft:
        self._reported = [*self._reported[1 - _REMEMBERED :], _Reported(header.institution, said)]
        return report(header, said)

    def _resend(self) -> Planned:
        """The same message again: as it was, or with a new MSH-7 of the same day."""
        first, header = self.rng.choice(self._resendable)
        payload = first.payload
        if self.rng.random() < 0.5:
            later = header.sent.replace(minute=59, second=self.rng.randrange(60))
            payload = payload.replace(
                f"|{header.sent:%Y%m%d%H%M%S}|".encode("ascii"), f"|{later:%Y%m%d%H%M%S}|".encode("ascii"), 1
            )
        expected = replace(first.expected, disposition="duplicate")
        return Planned(first.institution, payload, "AA", expected)

    def _reused_control_id(self) -> Planned:
        """Another message of the same application under a control id of the same day: read, and flagged."""
        same_day = [
            one
            for one in self._resendable
            if one[1].code == "ADT" and one[1].sent.date() == self.clock.date()
        ]
        if not same_day:
            return self._resend()
        first, _ = self.rng.choice(same_day)
        again = self._header(first.institution, "ADT^A08^ADT_A01", first.expected.control_id)
        draft = admission(self._scene(again, self.rng.choice(self.people)))
        expected = replace(first.expected, disposition="conflict")
        return Planned(first.institution, draft.payload(), "AA", expected, draft.rows)

    def _training(self, institution: Institution, who: Person) -> Planned:
        header = replace(self._header(institution, "ORM^O01^ORM_O01"), processing_id=self.rng.choice("TD"))
        draft = MAKERS[header.kind](self._scene(header, who))
        expected = Expected(institution.source, header.control_id, "ignored", "HL7-PROCESSING-ID")
        return Planned(institution, draft.payload(), "AA", expected)

    def _malformed(self) -> Planned:
        """What cannot be read: what is no message the listener refuses, and a file brings it to quarantine.

        A message that says it is in UTF-16 can be acknowledged, for its header is read as bytes. What cannot be read
        has no control id in the ledger.
        """
        institution = self._institution()
        header = self._header(institution, "ADT^A01^ADT_A01")
        name, over_mllp = institution.source, self.transport is Transport.MLLP
        disposition, answer = ("", "AR") if over_mllp else ("quarantined", "")
        kinds = ["delimiters", "names UTF-16", "no control id" if over_mllp else "is UTF-16"]
        if self._room[institution.code] > 0:
            # in files each needs a message after it, or else the file would be none of HL7
            self._room[institution.code] -= 1
            kinds.append("no MSH")
        match self.rng.choice(kinds):
            case "delimiters":
                # MSH-2 with one character twice
                payload = _junk(header.line("|", "^^\\&"))
                return Planned(
                    institution, payload, answer, Expected(name, "", disposition, "HL7-DELIMITERS")
                )
            case "no MSH":
                payload = _junk(f"EVN|A01|{header.control_id}")
                return Planned(institution, payload, answer, Expected(name, "", disposition, "HL7-NO-MSH"))
            case "names UTF-16":
                payload = _junk(replace(header, charset="UNICODE UTF-16").line())
                expected = Expected(name, "", "quarantined", "HL7-CHARSET-UNSUPPORTED")
                return Planned(institution, payload, "AA", expected)
            case "is UTF-16":
                payload = _junk(header.line()).decode("ascii").encode("utf-16")
                expected = Expected(name, "", disposition, "HL7-CHARSET-UNSUPPORTED")
                return Planned(institution, payload, answer, expected)
            case _:
                payload = _junk(header.line().replace(f"|{header.control_id}|", "||"))
                expected = Expected(name, "", disposition, "HL7-CONTROL-ID-MISSING")
                return Planned(institution, payload, answer, expected)


def _junk(first: str) -> bytes:
    """Two segments; what stands in them is ASCII."""
    return f"{first}\rPID|1||1\r".encode("ascii")
