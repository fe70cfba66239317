"""Messages of the synthetic city and, from the same plan and not from the text, the rows that they must become."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.city.institutions import Institution
from jobs.city.people import Person
from jobs.city.truth import Row

CITY_OFFSET = timedelta(hours=8)
"""Asia/Shanghai, which has had no summer time since 1991."""

PATIENT, ENCOUNTER, SEGMENT = "normalised/patient", "normalised/encounter", "normalised/segment"
REQUEST, REPORT, OBSERVATION = (
    "normalised/service_request", "normalised/diagnostic_report", "normalised/observation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says."""

    institution: Institution
    kind: str
    control_id: str
    sent: datetime
    processing_id: str = "P"

    def line(self, separator: str = "|", encoding: str = "^~\\&") -> str:
        app = {"ADT": "HIS", "ORU": "LIS"}.get(self.kind[:3], "APP")
        fields = (
            encoding, app, self.institution.code, "LAKE", "CITY", local(self.sent), "", self.kind,
            self.control_id, self.processing_id, "2.5.1", "", "", "", "", "CHN", self.institution.declares,
        )  # fmt: skip
        return ("MSH" + separator + separator.join(fields)).rstrip(separator)


@dataclass
class Draft:
    """A message in the making: its lines, and the rows that they stand for.

    Attributes:
        header: its MSH.
        lines: its segments.
        rows: by table.
    """

    header: Header
    lines: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plain(self.header.line())

    def plain(self, line: str) -> None:
        """A segment that no typed table takes."""
        name = line.split("|", 1)[0]
        self.row(SEGMENT, name=name, text=line)
        self.lines.append(line)

    def typed(self, line: str) -> int:
        """A segment that typed tables take; its position."""
        self.lines.append(line)
        return len(self.lines) - 1

    def row(self, table: str, at: int | None = None, **columns: str | float | list[str] | None) -> None:
        """A row that must come out of the segment at a position (the next one by default)."""
        header = self.header
        made: Row = {
            "source": header.institution.source,
            "control_id": header.control_id,
            "segment_index": len(self.lines) if at is None else at,
            "institution": header.institution.code,
            "message_type": "^".join(header.kind.split("^")[:2]),
            "event_time": utc(header.sent),
        }
        self.rows.setdefault(table, []).append({**made, **columns})

    def payload(self) -> bytes:
        return ("\r".join(self.lines) + "\r").encode(self.header.institution.charset)


def local(moment: datetime) -> str:
    """As HL7 writes it, in the city's own time, no zone."""
    return moment.strftime("%Y%m%d%H%M%S")


def utc(moment: datetime | None) -> str | None:
    """The instant in UTC, as the truth writes it."""
    return None if moment is None else (moment - CITY_OFFSET).strftime("%Y-%m-%dT%H:%M:%SZ")


def add_patient(draft: Draft, person: Person) -> None:
    """PID, and the row of the patient."""
    institution = draft.header.institution
    record = person.record_number(institution)
    street, place = f"演示路{person.number % 99 + 1}号", f"贵阳{person.district}"
    at = draft.typed(
        f"PID|1||{record}^^^{institution.code}^MR~{person.identity}^^^CNID^NI||{person.family}^{person.given}"
        f"||{person.born:%Y%m%d}|{person.gender}|||{street}^^{place}^贵州^550000^CHN"
        f"||{person.phone}"
    )
    draft.row(
        PATIENT, at, patient_id=record, patient_authority=institution.code,
        identifiers=[f"{record}|{institution.code}|MR", f"{person.identity}|CNID|NI"],
        family_name=person.family, given_name=person.given, birth_date=person.born.isoformat(), gender=person.gender,
        street=street, city=place, country="CHN", phone=person.phone,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stay:
    """A visit as one message tells it."""

    visit: str
    kind: str
    ward: str
    room: int
    bed: int
    doctor: int
    admitted: datetime
    discharged: datetime | None = None


def admission(header: Header, person: Person, stay: Stay) -> Draft:
    """An ADT message."""
    event = header.kind.split("^")[1]
    draft = Draft(header)
    draft.plain(f"EVN|{event}|{local(header.sent)}")
    add_patient(draft, person)
    record = person.record_number(header.institution)
    location = f"{stay.ward}^{stay.room}^{stay.bed}"
    if event not in ("A28", "A31"):
        fields = [""] * 46
        fields[0], fields[1], fields[2], fields[3] = "PV1", "1", stay.kind, location
        fields[7], fields[19] = f"D{stay.doctor:03d}^{'医'}^{'生'}", stay.visit
        fields[44] = local(stay.admitted)
        fields[45] = local(stay.discharged) if stay.discharged else ""
        at = draft.typed("|".join(fields).rstrip("|"))
        draft.row(
            ENCOUNTER, at, patient_id=record, visit_number=stay.visit, patient_class=stay.kind,
            point_of_care=stay.ward, room=str(stay.room), bed=str(stay.bed), attending_id=f"D{stay.doctor:03d}",
            attending_family_name="医", attending_given_name="生", admit_time=utc(stay.admitted),
            discharge_time=utc(stay.discharged), recorded_time=utc(header.sent),
        )  # fmt: skip
        draft.plain("DG1|1||J18.9^肺炎^ICD10")
    return draft


@dataclass(frozen=True, slots=True)
class Result:
    """One line of a report."""

    code: str
    display: str
    kind: str
    text: str
    number: float | None
    comparator: str | None
    unit: str
    reference: str
    flag: str
    status: str


def report(
    header: Header,
    person: Person,
    order: int,
    service: tuple[str, str],
    results: list[Result],
    taken: datetime,
) -> Draft:
    """An ORU^R01 message."""
    draft = Draft(header)
    add_patient(draft, person)
    record = person.record_number(header.institution)
    placer, filler = f"P{header.institution.code}{order:06d}", f"F{header.institution.code}{order:06d}"
    draft.plain(f"ORC|RE|{placer}|{filler}")
    status = "C" if any(r.status == "C" for r in results) else results[0].status
    fields = [""] * 26
    fields[:5] = ["OBR", "1", placer, filler, f"{service[0]}^{service[1]}^LN"]
    fields[7], fields[22], fields[25] = local(taken), local(header.sent), status
    at = draft.typed("|".join(fields))
    common = {
        "patient_id": record,
        "placer_order": placer,
        "filler_order": filler,
        "service_code": service[0],
    }
    draft.row(REQUEST, at, **common, service_display=service[1], service_system="LN", order_control="RE")
    draft.row(REPORT, at, **common, status=status, effective_time=utc(taken), issued_time=utc(header.sent))
    for number, one in enumerate(results, 1):
        at = draft.typed(
            f"OBX|{number}|{one.kind}|{one.code}^{one.display}^LN|{number}|{one.text}|{one.unit}|{one.reference}"
            f"|{one.flag}|||{one.status}|||{local(taken)}"
        )
        coded = one.text.split("^") if one.kind == "CE" else []
        draft.row(
            OBSERVATION, at, **common, observation_code=one.code, observation_display=one.display,
            sub_id=str(number), value_type=one.kind, value_text=one.text, value_number=one.number,
            value_comparator=one.comparator, value_code=coded[0] if coded else None,
            value_display=coded[1] if coded else None, unit_code=one.unit or None,
            reference_range=one.reference or None,
            interpretation=[one.flag] if one.flag else [], status=one.status, report_status=status,
            effective_time=utc(taken),
        )  # fmt: skip
    draft.plain("NTE|1||报告由演示系统生成")
    return draft


def other(header: Header, person: Person, number: int) -> Draft:
    """A family that no typed table takes yet: all its segments are kept as they are."""
    draft = Draft(header)
    record = person.record_number(header.institution)
    draft.plain(f"PID|1||{record}^^^{header.institution.code}^MR||{person.family}^{person.given}")
    match header.kind[:3]:
        case "SIU":
            draft.plain(f"SCH|{number}|||||ROUTINE^常规|||||^^15^{local(header.sent)}")
            draft.plain("AIS|1||CONSULT^会诊")
        case "MDM":
            draft.plain(f"TXA|1|DS^出院小结|TX|{local(header.sent)}||||||||DOC{number}|||||AU")
            draft.plain("OBX|1|TX|18842-5^Discharge summary^LN||患者好转出院。复查\\T\\随访||||||F")
        case _:
            draft.plain(f"ORC|NW|P{number}")
            draft.plain(f"OBR|1|P{number}||58410-2^CBC^LN")
    draft.plain(f"ZCN|1|{header.institution.credit_code}|自定义")
    return draft
