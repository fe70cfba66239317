"""A message in the making, and beside it, from the same plan and not from its text, the rows that it must become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.city.institutions import Institution
from jobs.city.people import Person, Stay
from jobs.city.truth import Row, Value
from schemas.findings import FINDINGS
from schemas.table import Table
from schemas.tables.normalised import FINDING, MESSAGE_HEADER, SEGMENT

CITY_OFFSET = timedelta(hours=8)
"""Asia/Shanghai, which has had no summer time since 1991."""

APPLICATIONS: Mapping[str, str] = {
    "ADT": "HIS", "BAR": "HIS", "DFT": "HIS", "ORU": "LIS", "OUL": "LIS", "OMI": "RIS", "OMP": "EMR", "RDE": "PHARM",
    "RDS": "PHARM", "RAS": "PHARM", "RGV": "PHARM", "MDM": "EMR", "PPR": "EMR", "VXU": "VACC", "SIU": "SCHED",
}  # fmt: skip
"""Message code → what writes it (MSH-3); what is not here comes from ``APP``."""

_BEFORE = timedelta(seconds=40)
"""So long before it is told an event was recorded."""


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says.

    Attributes:
        institution: who sends.
        kind: MSH-9.
        control_id: MSH-10.
        sent: MSH-7, local.
        processing_id: MSH-11.
        charset: MSH-18, a name that there is not; None for what the institution declares.
    """

    institution: Institution
    kind: str
    control_id: str
    sent: datetime
    processing_id: str = "P"
    charset: str | None = None

    @property
    def code(self) -> str:
        """MSH-9.1."""
        return self.kind.split("^")[0]

    @property
    def event(self) -> str:
        """MSH-9.2."""
        return self.kind.split("^")[1]

    @property
    def application(self) -> str:
        """MSH-3."""
        return APPLICATIONS.get(self.code, "APP")

    @property
    def declares(self) -> str:
        """MSH-18."""
        return self.institution.declares if self.charset is None else self.charset

    @property
    def recorded(self) -> datetime:
        """EVN-2, local: some time before the message is sent."""
        return self.sent - _BEFORE

    def line(self, separator: str = "|", encoding: str = "^~\\&") -> str:
        fields = (
            encoding, self.application, self.institution.code, "LAKE", "CITY", local(self.sent), "", self.kind,
            self.control_id, self.processing_id, "2.5.1", "", "", "", "", "CHN", self.declares,
        )  # fmt: skip
        return ("MSH" + separator + separator.join(fields)).rstrip(separator)


@dataclass
class Draft:
    """A message in the making: its lines, and the rows that they stand for.

    Attributes:
        header: its MSH.
        person: whom it is about; None where it is about nobody.
        stay: their visit; None where it tells of none.
        evented: whether it has EVN.
        lines: its segments.
        rows: by table.
    """

    header: Header
    person: Person | None = None
    stay: Stay | None = None
    evented: bool = False
    lines: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        header, recorded = self.header, self.header.recorded if self.evented else None
        code, trigger, structure = header.kind.split("^")
        at = self.typed(header.line())
        self.row(
            MESSAGE_HEADER, at, sending_application=header.application, sending_facility=header.institution.code,
            receiving_application="LAKE", receiving_facility="CITY", sent_time_text=local(header.sent),
            code=code, trigger=trigger, structure=structure, processing_id=header.processing_id,
            version="2.5.1", country="CHN", charset_declared=header.declares or None,
            charset_used=header.institution.charset, charset_guessed=False,
            event_code=trigger if self.evented else None, recorded_time=utc(recorded),
        )  # fmt: skip
        if header.charset is not None:
            self.finding("HL7-CHARSET-UNKNOWN", at, 18)
        if self.evented:
            self.plain(f"EVN|{trigger}|{local(header.recorded)}")

    @property
    def code(self) -> str:
        """The institution's, which is its assigning authority too."""
        return self.header.institution.code

    @property
    def record(self) -> str:
        """The number by which the institution knows the person."""
        return self.person.record_number(self.header.institution) if self.person else ""

    @property
    def event_columns(self) -> Row:
        """What EVN says in rows that take it: event, when it was recorded."""
        return {"event_code": self.header.event, "recorded_time": utc(self.header.recorded)}

    def typed(self, line: str) -> int:
        """A segment that typed tables take; its position."""
        self.lines.append(line)
        return len(self.lines) - 1

    def plain(self, line: str) -> None:
        """A segment that is kept whole."""
        self.row(SEGMENT, len(self.lines), name=line.split("|", 1)[0], text=line)
        self.lines.append(line)

    def row(self, table: Table, at: int, **columns: Value | list[str]) -> Row:
        """A row that must come out of the segment at a position: what every row has, and some columns.

        Its version is the message's own time where ``columns`` names no other ``version_time``.
        """
        header = self.header
        made: Row = {
            "source": header.institution.source,
            "control_id": header.control_id,
            "segment_index": at,
            "institution": header.institution.code,
            "message_type": f"{header.code}^{header.event}",
            "event_time": utc(header.sent),
            "event_time_precision": "second",
            "event_date": header.sent.date().isoformat(),
            "version_time": utc(header.sent),
            "codes": [],
        }
        known = {column.name for column in table.fields}
        if self.person and "patient_id" in known:
            made |= {"patient_id": self.record, "patient_authority": header.institution.code}
        if self.stay and "visit_number" in known:
            made["visit_number"] = self.stay.visit
        made |= columns
        self.rows.setdefault(table.name, []).append(made)
        return made

    def event_row(self, table: Table, at: int, **columns: Value | list[str]) -> Row:
        """A row whose version is EVN-2, where the message has one."""
        recorded = self.header.recorded if self.evented else self.header.sent
        return self.row(table, at, **{"version_time": utc(recorded), **columns})

    def finding(self, code: str, at: int, place: int | None = None, component: int | None = None) -> None:
        """A deviation that must be found.

        Args:
            code: its code.
            at: position of the segment.
            place: field number.
            component: of the field.
        """
        self.row(
            FINDING, at, code=code, severity=FINDINGS[code].severity.value, codes=[code],
            segment=self.lines[at][:3], field=place, component=component,
        )  # fmt: skip

    def payload(self) -> bytes:
        return ("\r".join(self.lines) + "\r").encode(self.header.institution.charset)


@dataclass(frozen=True, slots=True)
class Code:
    """A coded element: identifier, text, coding system."""

    code: str
    display: str
    system: str

    @property
    def sent(self) -> str:
        """As CE."""
        return f"{self.code}^{self.display}^{self.system}"

    def coded(self, name: str) -> dict[str, Value]:
        """The columns of a coded element that has a column for each part."""
        return {f"{name}_code": self.code, f"{name}_display": self.display, f"{name}_system": self.system}

    def columns(self, name: str) -> dict[str, Value]:
        """The columns of a coded element whose code has the name itself."""
        return {name: self.code, f"{name}_display": self.display, f"{name}_system": self.system}


def segment(name: str, fields: Mapping[int, object]) -> str:
    """A segment of some fields, by their numbers in HL7."""
    texts = [str(fields.get(number, "")) for number in range(1, max(fields) + 1)]
    return "|".join([name, *texts]).rstrip("|")


def local(moment: datetime | None) -> str:
    """As HL7 writes it, in the city's own time, no zone."""
    return "" if moment is None else moment.strftime("%Y%m%d%H%M%S")


def utc(moment: datetime | None) -> str | None:
    """The instant in UTC, as the truth writes it."""
    return None if moment is None else (moment - CITY_OFFSET).strftime("%Y-%m-%dT%H:%M:%SZ")
