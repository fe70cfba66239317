"""Messages of the synthetic city and, from the same plan and not from the text, the rows that they must become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from jobs.city.institutions import Institution
from jobs.city.people import Doctor, Person
from jobs.city.results import Result, Service
from jobs.city.truth import Row

CITY_OFFSET = timedelta(hours=8)
"""Asia/Shanghai, which has had no summer time since 1991."""

PATIENT, ENCOUNTER, SEGMENT = "normalised/patient", "normalised/encounter", "normalised/segment"
REQUEST, REPORT, OBSERVATION = (
    "normalised/service_request", "normalised/diagnostic_report", "normalised/observation",
)  # fmt: skip

ADMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A05": "ADT_A05",
        "A06": "ADT_A06", "A07": "ADT_A06", "A08": "ADT_A01", "A11": "ADT_A09", "A12": "ADT_A09",
        "A13": "ADT_A01", "A28": "ADT_A05", "A31": "ADT_A05",
    }
)  # fmt: skip
"""Trigger → message structure (HL7 table 0354)."""

_WITHOUT_VISIT = ("A28", "A31")
_APPLICATIONS = {"ADT": "HIS", "ORU": "LIS"}
_FIELDS_OF_PV1 = 46


@dataclass(frozen=True, slots=True)
class Header:
    """What MSH says.

    Attributes:
        institution: who sends.
        kind: MSH-9.
        control_id: MSH-10.
        sent: MSH-7, local.
        processing_id: MSH-11.
        charset: MSH-18; None for what the institution declares.
    """

    institution: Institution
    kind: str
    control_id: str
    sent: datetime
    processing_id: str = "P"
    charset: str | None = None

    def line(self, separator: str = "|", encoding: str = "^~\\&") -> str:
        declared = self.institution.declares if self.charset is None else self.charset
        fields = (
            encoding, _APPLICATIONS.get(self.kind[:3], "APP"), self.institution.code, "LAKE", "CITY",
            local(self.sent), "", self.kind, self.control_id, self.processing_id, "2.5.1", "", "", "", "", "CHN",
            declared,
        )  # fmt: skip
        return ("MSH" + separator + separator.join(fields)).rstrip(separator)


@dataclass
class Draft:
    """A message in the making: its lines, and the rows that they stand for.

    Attributes:
        header: its MSH.
        person: whom it is about.
        lines: its segments.
        rows: by table.
    """

    header: Header
    person: Person
    lines: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plain(self.header.line())

    @property
    def record(self) -> str:
        """The number by which the institution knows the person."""
        return self.person.record_number(self.header.institution)

    def plain(self, line: str) -> None:
        """A segment that no typed table takes."""
        self.row(SEGMENT, len(self.lines), name=line.split("|", 1)[0], text=line)
        self.lines.append(line)

    def typed(self, line: str) -> int:
        """A segment that typed tables take; its position."""
        self.lines.append(line)
        return len(self.lines) - 1

    def row(self, table: str, at: int, **columns: str | float | list[str] | None) -> None:
        """A row that must come out of the segment at a position."""
        header = self.header
        made: Row = {
            "source": header.institution.source,
            "control_id": header.control_id,
            "segment_index": at,
            "institution": header.institution.code,
            "message_type": "^".join(header.kind.split("^")[:2]),
            "event_time": utc(header.sent),
            "event_time_precision": "second",
            "event_date": header.sent.date().isoformat(),
            "version_time": utc(header.sent),
            "patient_id": self.record,
            "patient_authority": header.institution.code,
        }
        self.rows.setdefault(table, []).append({**made, **columns})

    def payload(self) -> bytes:
        return ("\r".join(self.lines) + "\r").encode(self.header.institution.charset)


def local(moment: datetime | None) -> str:
    """As HL7 writes it, in the city's own time, no zone."""
    return "" if moment is None else moment.strftime("%Y%m%d%H%M%S")


def utc(moment: datetime | None) -> str | None:
    """The instant in UTC, as the truth writes it."""
    return None if moment is None else (moment - CITY_OFFSET).strftime("%Y-%m-%dT%H:%M:%SZ")


def add_patient(draft: Draft) -> None:
    """PID, and the row of the patient."""
    institution, person = draft.header.institution, draft.person
    street, place = f"演示路{person.number % 99 + 1}号", f"贵阳{person.district}"
    at = draft.typed(
        f"PID|1||{draft.record}^^^{institution.code}^MR~{person.identity}^^^CNID^NI||{person.family}^{person.given}"
        f"||{person.born:%Y%m%d}|{person.gender}|||{street}^^{place}^贵州^550000^CHN"
        f"||{person.phone}"
    )
    draft.row(
        PATIENT, at, identifiers=[f"{draft.record}|{institution.code}|MR", f"{person.identity}|CNID|NI"],
        family_name=person.family, given_name=person.given, birth_date=person.born.isoformat(),
        birth_date_text=f"{person.born:%Y%m%d}", gender=person.gender, street=street, city=place, state="贵州",
        postal_code="550000", country="CHN", phone=person.phone,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stay:
    """A visit as one message tells it.

    Attributes:
        visit: its number.
        kind: class of the visit (HL7 table 0004).
        ward, room, bed: where.
        doctor: who attends.
        admitted, discharged: local times.
        prior_ward: where the patient was before a transfer.
    """

    visit: str
    kind: str
    ward: str
    room: int
    bed: int
    doctor: Doctor
    admitted: datetime
    discharged: datetime | None = None
    prior_ward: str | None = None


def add_visit(draft: Draft, stay: Stay, recorded: datetime | None) -> None:
    """PV1, and the row of the visit.

    Args:
        draft: the message.
        stay: the visit.
        recorded: EVN-2, where the message has one.
    """
    code = draft.header.institution.code
    fields = [""] * _FIELDS_OF_PV1
    fields[:4] = ["PV1", "1", stay.kind, f"{stay.ward}^{stay.room}^{stay.bed}^{code}"]
    fields[6], fields[7], fields[10] = stay.prior_ward or "", stay.doctor.sent, "MED"
    fields[19], fields[44], fields[45] = stay.visit, local(stay.admitted), local(stay.discharged)
    at = draft.typed("|".join(fields).rstrip("|"))
    draft.row(
        ENCOUNTER, at, visit_number=stay.visit, patient_class=stay.kind, point_of_care=stay.ward,
        room=str(stay.room), bed=str(stay.bed), facility=code, prior_point_of_care=stay.prior_ward,
        attending_id=stay.doctor.code, attending_family_name=stay.doctor.family,
        attending_given_name=stay.doctor.given, hospital_service="MED", admit_time=utc(stay.admitted),
        discharge_time=utc(stay.discharged), recorded_time=utc(recorded),
    )  # fmt: skip


def admission(header: Header, person: Person, stay: Stay) -> Draft:
    """An ADT message."""
    event = header.kind.split("^")[1]
    draft = Draft(header, person)
    draft.plain(f"EVN|{event}|{local(header.sent)}")
    add_patient(draft)
    if event not in _WITHOUT_VISIT:
        add_visit(draft, stay, header.sent)
        draft.plain("DG1|1||J18.9^肺炎^ICD10")
    return draft


@dataclass(frozen=True, slots=True)
class Order:
    """What a laboratory was asked for.

    Attributes:
        number: of the order within the institution.
        person: whose specimen.
        service: what was ordered.
        orderer: by whom.
        ordered, taken: when it was ordered, and when the specimen was taken.
        stay: the visit, where the report tells of one.
    """

    number: int
    person: Person
    service: Service
    orderer: Doctor
    ordered: datetime
    taken: datetime
    stay: Stay | None


def report(header: Header, order: Order, status: str, results: Sequence[Result]) -> Draft:
    """An ORU^R01 message.

    Args:
        header: its MSH.
        order: what it answers.
        status: of the whole report (HL7 table 0123).
        results: its lines.
    """
    draft = Draft(header, order.person)
    add_patient(draft)
    if order.stay is not None:
        add_visit(draft, order.stay, None)
    code = header.institution.code
    placer, filler = f"P{code}{order.number:06d}", f"F{code}{order.number:06d}"
    draft.plain(f"ORC|RE|{placer}|{filler}||||||{local(order.ordered)}")
    fields = [""] * 26
    fields[:5] = ["OBR", "1", placer, filler, f"{order.service.code}^{order.service.display}^LN"]
    fields[7], fields[16], fields[22] = local(order.taken), order.orderer.sent, local(header.sent)
    fields[24], fields[25] = order.service.section, status
    at = draft.typed("|".join(fields))
    common = {
        "visit_number": order.stay.visit if order.stay else None,
        "placer_order": placer,
        "filler_order": filler,
        "order_index": 0,
        "service_code": order.service.code,
        "service_display": order.service.display,
        "service_system": "LN",
    }
    draft.row(
        REQUEST, at, **common, order_control="RE", orderer_id=order.orderer.code,
        orderer_family_name=order.orderer.family, orderer_given_name=order.orderer.given,
        ordered_time=utc(order.ordered), version_time=utc(order.ordered),
    )  # fmt: skip
    draft.row(
        REPORT, at, **common, status=status, section=order.service.section, effective_time=utc(order.taken),
        issued_time=utc(header.sent),
    )  # fmt: skip
    for number, one in enumerate(results, 1):
        at = draft.typed(
            f"OBX|{number}|{one.kind}|{one.code}^{one.display}^LN^{one.local}^^L||{one.sent}|{one.unit}"
            f"|{one.reference}|{one.flag}|||{one.status}|||{local(order.taken)}"
        )
        draft.row(
            OBSERVATION, at, **common, **one.columns(), set_id=str(number), line=0, report_status=status,
            effective_time=utc(order.taken),
        )  # fmt: skip
    draft.plain("NTE|1||报告由演示系统生成")
    return draft


def other(header: Header, person: Person, number: int) -> Draft:
    """A family that no typed table takes yet: all its segments are kept as they are."""
    draft = Draft(header, person)
    draft.plain(f"PID|1||{draft.record}^^^{header.institution.code}^MR||{person.family}^{person.given}")
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
