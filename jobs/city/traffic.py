"""The city's traffic: the same seed gives the same bytes, and beside each message what must become of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from random import Random

from jobs.city.institutions import INSTITUTIONS, Institution
from jobs.city.messages import ADMISSIONS, Draft, Header, Order, Stay, admission, other, report
from jobs.city.people import Doctor, Person, doctor, person
from jobs.city.results import SERVICES, Result, corrected, results
from jobs.city.truth import Expected, Row, Truth

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


_OTHERS = ("SIU^S12^SIU_S12", "MDM^T02^MDM_T02", "ORM^O01^ORM_O01")
_REPORT = "ORU^R01^ORU_R01"
_DOCTORS = 120
_ORDERS_PER_TRANSPORT = 500_000
_REMEMBERED = 50
"""So many of the last messages may be sent again, and so many reports be corrected."""


@dataclass(frozen=True)
class _Reported:
    """A report that may be followed by another on the same order."""

    institution: Institution
    order: Order
    status: str
    results: list[Result]


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
        self._orders = 0 if transport is Transport.MLLP else _ORDERS_PER_TRANSPORT
        self._weights = [one.level.weight for one in INSTITUTIONS]

    def messages(self, count: int) -> Iterator[Planned]:
        """``count`` messages, one after the other; ``truth`` grows with them."""
        for _ in range(count):
            planned = self._next()
            self.truth.add(planned.expected, planned.rows)
            yield planned

    def _next(self) -> Planned:  # noqa: PLR0911 - one kind of message each
        self.clock += timedelta(seconds=self.rng.randrange(1, 20))
        chance = self.rng.random()
        if chance < 0.04 and self._resendable:
            return self._resend()
        if chance < 0.05 and self._resendable:
            return self._reused_control_id()
        if chance < 0.07:
            return self._malformed()
        institution, who = self._institution(), self.rng.choice(self.people)
        if chance < 0.09:
            return self._training(institution, who)
        if chance < 0.17:
            kind = self.rng.choice(_OTHERS)
            return self._read(other(self._header(institution, kind), who, self.rng.randrange(10**6)))
        if chance < 0.55:
            return self._read(self._admission(self._header(institution, ""), who))
        if chance < 0.60 and self._reported:
            return self._read(self._later_report())
        return self._read(self._report(institution, who))

    def _institution(self) -> Institution:
        return self.rng.choices(INSTITUTIONS, self._weights)[0]

    def _header(self, institution: Institution, kind: str, control_id: str = "") -> Header:
        if not control_id:
            self.numbers[institution.code] += 1
            letter = "M" if self.transport is Transport.MLLP else "F"
            control_id = f"{institution.code}{letter}{self.numbers[institution.code]:07d}"
        return Header(institution, kind, control_id, self.clock)

    def _read(self, draft: Draft, disposition: str = "accepted") -> Planned:
        header = draft.header
        expected = Expected(header.institution.source, header.control_id, disposition)
        planned = Planned(header.institution, draft.payload(), "AA", expected, draft.rows)
        self._room[header.institution.code] += 1
        self._resendable = [*self._resendable[1 - _REMEMBERED :], (planned, header)]
        return planned

    def _admission(self, header: Header, who: Person) -> Draft:
        event = self.rng.choice(tuple(ADMISSIONS))
        kind = f"ADT^{event}^{ADMISSIONS[event]}"
        return admission(replace(header, kind=kind), who, self._stay(who, event))

    def _stay(self, who: Person, event: str = "") -> Stay:
        return Stay(
            visit=f"V{who.number:06d}{self.rng.randrange(10)}",
            kind="O" if event == "A04" else "I",
            ward=f"W{self.rng.randrange(1, 20):02d}",
            room=self.rng.randrange(1, 30),
            bed=self.rng.randrange(1, 5),
            doctor=self._doctor(),
            admitted=self.clock - timedelta(hours=self.rng.randrange(1, 200)),
            discharged=self.clock if event == "A03" else None,
            prior_ward=f"W{self.rng.randrange(1, 20):02d}" if event in ("A02", "A12") else None,
        )

    def _doctor(self) -> Doctor:
        return self.rng.choice(self.doctors)

    def _report(self, institution: Institution, who: Person) -> Draft:
        """A first report, final or preliminary."""
        status = self.rng.choices(("F", "P"), (8, 2))[0]
        taken = self.clock - timedelta(minutes=self.rng.randrange(20, 300))
        self._orders += 1
        order = Order(
            number=self._orders,
            person=who,
            service=self.rng.choice(SERVICES),
            orderer=self._doctor(),
            ordered=taken - timedelta(minutes=self.rng.randrange(5, 60)),
            taken=taken,
            stay=self._stay(who) if self.rng.random() < 0.5 else None,
        )
        return self._told(_Reported(institution, order, status, results(self.rng, status)))

    def _later_report(self) -> Draft:
        """Another report on an order: the final one after a preliminary one, or a correction of a final one."""
        before = self._reported.pop(self.rng.randrange(len(self._reported)))
        if before.status == "P":
            final = [replace(one, status="F") for one in before.results]
            return self._told(replace(before, status="F", results=final))
        return self._told(replace(before, status="C", results=corrected(self.rng, before.results)))

    def _told(self, said: _Reported) -> Draft:
        self._reported = [*self._reported[1 - _REMEMBERED :], said]
        header = self._header(said.institution, _REPORT)
        return report(header, said.order, said.status, said.results)

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
            if one[1].kind[:3] == "ADT" and one[1].sent.date() == self.clock.date()
        ]
        if not same_day:
            return self._resend()
        first, _ = self.rng.choice(same_day)
        again = self._header(first.institution, "ADT^A08^ADT_A01", first.expected.control_id)
        draft = admission(again, self.rng.choice(self.people), self._stay(self.people[0]))
        expected = replace(first.expected, disposition="conflict")
        return Planned(first.institution, draft.payload(), "AA", expected, draft.rows)

    def _training(self, institution: Institution, who: Person) -> Planned:
        header = replace(self._header(institution, "ORM^O01^ORM_O01"), processing_id=self.rng.choice("TD"))
        draft = other(header, who, 1)
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
