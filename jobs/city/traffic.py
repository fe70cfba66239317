"""The city's traffic: the same seed gives the same bytes, and beside each message what must become of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from random import Random

from jobs.city.institutions import INSTITUTIONS, Institution
from jobs.city.messages import Draft, Header, Result, Stay, admission, other, report
from jobs.city.people import Person, person
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
        answer: what the listener must answer (MSA-1); files have no answer.
        expected: what must become of it.
        rows: the rows it must become where it is read.
    """

    institution: Institution
    payload: bytes
    answer: str
    expected: Expected
    rows: dict[str, list[Row]] = field(default_factory=dict)


CATALOGUE: tuple[tuple[str, str, str, str, float, float], ...] = (
    # LOINC, display, unit, reference range, typical low, typical high
    ("6690-2", "白细胞计数", "10*9/L", "3.5-9.5", 2.0, 14.0),
    ("789-8", "红细胞计数", "×10¹²/L", "3.8～5.1", 3.0, 6.0),
    ("718-7", "血红蛋白", "g/L", "115-150", 80.0, 170.0),
    ("777-3", "血小板计数", "×10⁹/L", "125-350", 60.0, 400.0),
    ("2345-7", "葡萄糖", "mmol/L", "3.9-6.1", 3.0, 12.0),
    ("2160-0", "肌酐", "μmol/L", "41-81", 30.0, 150.0),
    ("3094-0", "尿素", "mmol/L", "2.6-7.5", 2.0, 12.0),
    ("1742-6", "丙氨酸氨基转移酶", "U/L", "7-40", 5.0, 120.0),
    ("2951-2", "钠", "mmol/L", "137-147", 130.0, 150.0),
    ("2823-3", "钾", "mmol/L", "3.5-5.3", 3.0, 6.0),
)
SERVICES = (("58410-2", "血常规"), ("24323-8", "生化全项"), ("24356-8", "尿常规"))
_ADMISSIONS = ("A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A11", "A12", "A13", "A28", "A31")
_OTHERS = ("SIU^S12", "MDM^T02", "ORM^O01")


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
        self.transport = transport
        self.clock = base
        self.numbers = dict.fromkeys((one.code for one in INSTITUTIONS), 0)
        self.truth = Truth()
        self._resendable: list[tuple[Planned, Header]] = []

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
        institution, who = self.rng.choice(INSTITUTIONS), self.rng.choice(self.people)
        if chance < 0.09:
            return self._training(institution, who)
        if chance < 0.17:
            kind = self.rng.choice(_OTHERS)
            return self._read(other(self._header(institution, kind), who, self.rng.randrange(10**6)))
        if chance < 0.55:
            return self._read(self._admission(self._header(institution, ""), who))
        return self._read(self._report(self._header(institution, "ORU^R01^ORU_R01"), who))

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
        self._resendable = [*self._resendable[-49:], (planned, header)]
        return planned

    def _admission(self, header: Header, who: Person) -> Draft:
        event = self.rng.choice(_ADMISSIONS)
        admitted = self.clock - timedelta(hours=self.rng.randrange(1, 200))
        stay = Stay(
            visit=f"V{who.number:06d}{self.rng.randrange(10)}",
            kind="O" if event == "A04" else "I",
            ward=f"W{self.rng.randrange(1, 20):02d}",
            room=self.rng.randrange(1, 30),
            bed=self.rng.randrange(1, 5),
            doctor=self.rng.randrange(1, 300),
            admitted=admitted,
            discharged=self.clock if event == "A03" else None,
        )
        return admission(replace(header, kind=f"ADT^{event}^ADT_{event}"), who, stay)

    def _report(self, header: Header, who: Person) -> Draft:
        status = self.rng.choices(("F", "P", "C"), (8, 1, 1))[0]
        results = [self._result(status) for _ in range(self.rng.randrange(5, 21))]
        taken = self.clock - timedelta(minutes=self.rng.randrange(20, 300))
        order = self.rng.randrange(10**6)
        return report(header, who, order, self.rng.choice(SERVICES), results, taken)

    def _result(self, status: str) -> Result:
        code, display, unit, reference, low, high = self.rng.choice(CATALOGUE)
        kind = self.rng.choices(("NM", "SN", "ST", "CE"), (80, 7, 7, 6))[0]
        number = round(self.rng.uniform(low, high), 1)
        flag = self.rng.choice(("", "H", "L", "N"))
        if kind == "SN":
            return Result(code, display, kind, f">^{number}", number, ">", unit, reference, "H", status)
        if kind == "ST":
            return Result(code, display, kind, "阴性(-)", None, None, "", "", flag, status)
        if kind == "CE":
            return Result(code, display, kind, "260385009^阴性^SCT", None, None, "", "", flag, status)
        return Result(code, display, kind, f"{number}", number, None, unit, reference, flag, status)

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
        who = self.rng.choice(self.people)
        draft = admission(
            again, who, Stay("V9999999", "I", "W99", self.rng.randrange(10**6), 1, 1, self.clock)
        )
        expected = replace(first.expected, disposition="conflict")
        return Planned(first.institution, draft.payload(), "AA", expected, draft.rows)

    def _training(self, institution: Institution, who: Person) -> Planned:
        header = replace(self._header(institution, "ORM^O01"), processing_id=self.rng.choice("TD"))
        draft = other(header, who, 1)
        expected = Expected(institution.source, header.control_id, "ignored", "HL7-PROCESSING-ID")
        return Planned(institution, draft.payload(), "AA", expected)

    def _malformed(self) -> Planned:
        """What cannot be a message: the listener refuses it, a file brings it to quarantine."""
        institution = self.rng.choice(INSTITUTIONS)
        header = self._header(institution, "ADT^A01^ADT_A01")
        over_mllp = self.transport is Transport.MLLP
        if self.rng.random() < 0.5:
            payload = header.line("|", "^^\\&").encode(institution.charset) + b"\rPID|1||1\r"
            code = "HL7-DELIMITERS"
        elif over_mllp:
            payload = (
                header.line().replace(f"|{header.control_id}|", "||").encode(institution.charset)
                + b"\rPID|1||1\r"
            )
            code = "HL7-CONTROL-ID-MISSING"
        else:
            payload = f"EVN|A01|{header.control_id}\rPID|1||1\r".encode("ascii")
            code = "HL7-NO-MSH"
        expected = Expected(institution.source, "", "" if over_mllp else "quarantined", code)
        return Planned(institution, payload, "AR", expected)
