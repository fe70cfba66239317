"""``normalised/*``: one row per thing that a message states, as it states it; nothing is merged yet.

Names follow FHIR R5 resources; mappings follow HL7's v2-to-FHIR implementation guide.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.raw import COORDINATES

PRECISION_DOC = "Precision as sent: year, month, day, hour, minute, second or fraction."

IDENTIFIER = pa.struct(
    [
        pa.field("value", pa.string()),
        pa.field("authority", pa.string()),
        pa.field("type", pa.string()),
    ]
)
"""HL7 CX: id number, assigning authority (namespace or universal id; else ``source/MSH-4``), identifier type."""


def instant(name: str, doc: str, standard: str = "", nullable: bool = True) -> tuple[Field, Field]:
    """A point in time in UTC and, beside it, the precision it was sent with."""
    return (
        Field(name, INSTANT, doc, standard, nullable),
        Field(f"{name}_precision", pa.string(), PRECISION_DOC, standard),
    )


def coded(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A coded element (CE, CWE): first triplet, then the alternate one."""
    return (
        Field(f"{name}_code", pa.string(), f"{doc}: identifier.", f"{standard}.1"),
        Field(f"{name}_display", pa.string(), f"{doc}: text.", f"{standard}.2"),
        Field(f"{name}_system", pa.string(), f"{doc}: coding system as sent.", f"{standard}.3"),
        Field(f"{name}_alt_code", pa.string(), f"{doc}: alternate identifier.", f"{standard}.4"),
        Field(f"{name}_alt_display", pa.string(), f"{doc}: alternate text.", f"{standard}.5"),
        Field(f"{name}_alt_system", pa.string(), f"{doc}: alternate coding system.", f"{standard}.6"),
    )


ORIGIN: tuple[Field, ...] = (
    Field(
        "event_month",
        pa.date32(),
        "First day of the month of the message's own time; null where it has none.",
    ),
    *COORDINATES,
    Field("source", pa.string(), "Name of the connection.", nullable=False),
    Field("institution", pa.string(), "Who speaks, as sent within the source.", "MSH-4"),
    Field("message_type", pa.string(), "Code and trigger.", "MSH-9"),
    Field("received_at", INSTANT, "When the connector had the whole message.", nullable=False),
    *instant("event_time", "The message's own time.", "MSH-7"),
    Field("event_date", pa.date32(), "Local date of the message's own time.", "MSH-7"),
    Field(
        "version_time",
        INSTANT,
        "What orders the versions of one thing (never later than receipt + 24 h).",
        nullable=False,
    ),
    Field(
        "segment_index", pa.int32(), "Position of the segment in its message, counted from 0.", nullable=False
    ),
    Field("codes", pa.list_(pa.string()), "Codes of findings on this row, sorted."),
    Field("batch_number", pa.int64(), "The claim that wrote it.", nullable=False),
    Field("reading", pa.int32(), "0 for the first reading; each reprocessing adds one.", nullable=False),
)
"""Columns that every normalised table has, before its own."""

SUBJECT: tuple[Field, ...] = (
    Field("patient_id", pa.string(), "First patient identifier in the message.", "PID-3.1"),
    Field("patient_authority", pa.string(), "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    Field("visit_number", pa.string(), "Visit number.", "PV1-19.1"),
)

ORDER: tuple[Field, ...] = (
    Field("placer_order", pa.string(), "Placer order number.", "OBR-2.1, ORC-2.1"),
    Field("placer_authority", pa.string(), "Namespace of the placer.", "OBR-2.2, ORC-2.2"),
    Field("filler_order", pa.string(), "Filler order number.", "OBR-3.1, ORC-3.1"),
    Field("filler_authority", pa.string(), "Namespace of the filler.", "OBR-3.2, ORC-3.2"),
    Field("order_index", pa.int32(), "Which OBR of the message, counted from 0."),
)


def _normalised(name: str, doc: str, *fields: Field) -> Table:
    return Table(
        name=f"normalised/{name}",
        doc=doc,
        fields=(*ORIGIN, *fields),
        partition_by="event_month",
        sort_by=("event_time",),
        statistics=("topic_id", "partition", "offset", "event_time", "received_at", "version_time"),
    )


PATIENT = _normalised(
    "patient",
    "What a message says of a patient.",
    Field("patient_id", pa.string(), "First patient identifier.", "PID-3.1"),
    Field("patient_authority", pa.string(), "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    Field(
        "identifiers",
        pa.list_(IDENTIFIER),
        "All patient identifiers.",
        "PID-3 (PID-2, PID-4, PID-19 of old versions)",
    ),
    Field("family_name", pa.string(), "Family name.", "PID-5.1"),
    Field("given_name", pa.string(), "Given name.", "PID-5.2"),
    Field("middle_name", pa.string(), "Second and further names.", "PID-5.3"),
    Field("birth_date", pa.date32(), "Date of birth, where sent to the day.", "PID-7"),
    Field("birth_date_text", pa.string(), "Date of birth as sent.", "PID-7"),
    Field("gender", pa.string(), "Administrative sex as sent (HL7 table 0001).", "PID-8"),
    Field("street", pa.string(), "Street address.", "PID-11.1"),
    Field("city", pa.string(), "City.", "PID-11.3"),
    Field("state", pa.string(), "Province or state.", "PID-11.4"),
    Field("postal_code", pa.string(), "Postal code.", "PID-11.5"),
    Field("country", pa.string(), "Country.", "PID-11.6"),
    Field("phone", pa.string(), "Home telephone number.", "PID-13"),
    Field("marital_status", pa.string(), "Marital status.", "PID-16.1"),
    Field("account_number", pa.string(), "Patient account number.", "PID-18.1"),
    Field("deceased_text", pa.string(), "Death indicator as sent.", "PID-30"),
    *instant("deceased_time", "Time of death.", "PID-29"),
)

ENCOUNTER = _normalised(
    "encounter",
    "What a message says of a visit.",
    *SUBJECT,
    Field("visit_authority", pa.string(), "Assigning authority of the visit number.", "PV1-19.4"),
    Field("patient_class", pa.string(), "Class of the visit (HL7 table 0004).", "PV1-2"),
    Field("point_of_care", pa.string(), "Ward or clinic.", "PV1-3.1"),
    Field("room", pa.string(), "Room.", "PV1-3.2"),
    Field("bed", pa.string(), "Bed.", "PV1-3.3"),
    Field("facility", pa.string(), "Facility of the location.", "PV1-3.4"),
    Field("prior_point_of_care", pa.string(), "Ward before.", "PV1-6.1"),
    Field("attending_id", pa.string(), "Attending doctor: id.", "PV1-7.1"),
    Field("attending_family_name", pa.string(), "Attending doctor: family name.", "PV1-7.2"),
    Field("attending_given_name", pa.string(), "Attending doctor: given name.", "PV1-7.3"),
    Field("hospital_service", pa.string(), "Hospital service.", "PV1-10"),
    Field("admission_type", pa.string(), "Type of admission.", "PV1-4"),
    Field("discharge_disposition", pa.string(), "Discharge disposition.", "PV1-36"),
    *instant("admit_time", "Admission.", "PV1-44"),
    *instant("discharge_time", "Discharge.", "PV1-45"),
    *instant("recorded_time", "When the event was recorded or happened.", "EVN-2"),
)

SERVICE_REQUEST = _normalised(
    "service_request",
    "What a message says of an order.",
    *SUBJECT,
    *ORDER,
    Field("order_control", pa.string(), "Order control (HL7 table 0119).", "ORC-1"),
    Field("order_status", pa.string(), "Order status (HL7 table 0038).", "ORC-5"),
    Field("group_number", pa.string(), "Placer group number.", "ORC-4.1"),
    *coded("service", "Service ordered", "OBR-4"),
    Field("priority", pa.string(), "Priority.", "OBR-5, OBR-27.6"),
    Field("orderer_id", pa.string(), "Ordering provider: id.", "OBR-16.1, ORC-12.1"),
    Field("orderer_family_name", pa.string(), "Ordering provider: family name.", "OBR-16.2, ORC-12.2"),
    Field("orderer_given_name", pa.string(), "Ordering provider: given name.", "OBR-16.3, ORC-12.3"),
    *instant("ordered_time", "Order placed.", "ORC-9, OBR-6"),
)

DIAGNOSTIC_REPORT = _normalised(
    "diagnostic_report",
    "What a message says of a report (one per OBR of a result message).",
    *SUBJECT,
    *ORDER,
    *coded("service", "Service reported", "OBR-4"),
    Field("status", pa.string(), "Result status (HL7 table 0123).", "OBR-25"),
    Field("section", pa.string(), "Diagnostic service section (HL7 table 0074).", "OBR-24"),
    *instant("effective_time", "When the specimen was taken or the observation made.", "OBR-7"),
    *instant("issued_time", "Results reported or status changed.", "OBR-22"),
    *instant("specimen_received_time", "Specimen received.", "OBR-14"),
    Field("specimen_type", pa.string(), "Specimen source code.", "OBR-15.1"),
    Field("interpreter_id", pa.string(), "Principal result interpreter: id.", "OBR-32.1"),
    Field("reason", pa.string(), "Reason for study.", "OBR-31.2, OBR-31.1"),
)

OBSERVATION = _normalised(
    "observation",
    "One observation line as a message states it.",
    *SUBJECT,
    *ORDER,
    *coded("service", "Service it belongs to", "OBR-4"),
    *coded("observation", "What was observed", "OBX-3"),
    Field("set_id", pa.string(), "Sequence number as sent.", "OBX-1"),
    Field("sub_id", pa.string(), "Sub-id.", "OBX-4"),
    Field(
        "line",
        pa.int32(),
        "Ordinal among lines of equal code and sub-id of one order, from 0.",
        nullable=False,
    ),
    Field("value_type", pa.string(), "Type of the value (HL7 table 0125).", "OBX-2"),
    Field("value_text", pa.string(), "The value as text, escapes resolved; first repetition.", "OBX-5"),
    Field("value_number", pa.float64(), "The value as a number (NM, SN).", "OBX-5"),
    Field("value_comparator", pa.string(), "Comparator of a structured numeric (SN.1).", "OBX-5.1"),
    Field("value_code", pa.string(), "Code of a coded value.", "OBX-5.1"),
    Field("value_display", pa.string(), "Text of a coded value.", "OBX-5.2"),
    Field("value_system", pa.string(), "Coding system of a coded value.", "OBX-5.3"),
    *instant("value_time", "The value as a time (DT, DTM, TS).", "OBX-5"),
    Field("value_repetitions", pa.int32(), "Number of repetitions of the value.", "OBX-5"),
    Field("unit_code", pa.string(), "Unit.", "OBX-6.1"),
    Field("unit_display", pa.string(), "Unit text.", "OBX-6.2"),
    Field("unit_system", pa.string(), "Coding system of the unit.", "OBX-6.3"),
    Field("reference_range", pa.string(), "Reference range as sent.", "OBX-7"),
    Field("interpretation", pa.list_(pa.string()), "Interpretation codes (HL7 table 0078).", "OBX-8"),
    Field("status", pa.string(), "Observation result status (HL7 table 0085).", "OBX-11"),
    Field("report_status", pa.string(), "Status of its report.", "OBR-25"),
    *instant("effective_time", "Time of the observation.", "OBX-14, OBR-7"),
    Field("producer", pa.string(), "Producer of the observation.", "OBX-15.1"),
    Field("observer_id", pa.string(), "Responsible observer: id.", "OBX-16.1"),
    Field("method", pa.string(), "Method.", "OBX-17.1"),
    Field("instance_id", pa.string(), "Observation instance identifier.", "OBX-21.1"),
)

SEGMENT = _normalised(
    "segment",
    "Every segment of a read message that no other table takes, Z segments too, so that nothing is lost.",
    Field("patient_id", pa.string(), "First patient identifier in the message.", "PID-3.1"),
    Field("patient_authority", pa.string(), "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    Field("name", pa.string(), "Segment name, as sent.", "§2.5.2"),
    Field("text", pa.string(), "The whole segment decoded to Unicode, delimiters and escapes as sent."),
)

NORMALISED: tuple[Table, ...] = (PATIENT, ENCOUNTER, SERVICE_REQUEST, DIAGNOSTIC_REPORT, OBSERVATION, SEGMENT)
