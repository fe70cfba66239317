"""Columns that many normalised tables have."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.raw import COORDINATES

TEXT = pa.string()

DELETED = '""'
"""What a sender writes to delete a value (HL7 v2.5.1 §2.5.3.5); kept in texts, and as the precision of an instant."""

PRECISION_DOC = (
    'Precision as sent: year, month, day, hour, minute, second or fraction; "" where the value is deleted.'
)


def instant(name: str, doc: str, standard: str = "", nullable: bool = True) -> tuple[Field, ...]:
    """A point in time in UTC and, beside it, the precision it was sent with and the offset it was read with."""
    return (
        Field(name, INSTANT, doc, standard, nullable),
        Field(f"{name}_precision", pa.string(), PRECISION_DOC, standard),
        Field(f"{name}_offset", pa.int16(), "Minutes east of UTC that the value was told in.", standard),
    )


def text(name: str, doc: str, standard: str = "") -> Field:
    """A text, or a code of a table of HL7 that needs no coding system beside it."""
    return Field(name, TEXT, doc, standard)


def number(name: str, doc: str, standard: str = "") -> Field:
    """A number (NM)."""
    return Field(name, pa.float64(), doc, standard)


def whole(name: str, doc: str, standard: str = "") -> Field:
    """A whole number (NM, SI)."""
    return Field(name, pa.int32(), doc, standard)


def day(name: str, doc: str, standard: str = "") -> Field:
    """A date (DT), where it was sent to the day."""
    return Field(name, pa.date32(), doc, standard)


def many(name: str, item: pa.DataType, doc: str, standard: str = "") -> Field:
    """All repetitions: a list of texts or of one of ``schemas.tables.structures``."""
    return Field(name, pa.list_(item), doc, standard)


def coded(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A coded element (CE, CWE, CNE): first triplet, the alternate one, the first one's version, original text."""
    return (
        text(f"{name}_code", f"{doc}: identifier.", _part(standard, 1)),
        text(f"{name}_display", f"{doc}: text.", _part(standard, 2)),
        text(f"{name}_system", f"{doc}: coding system as sent.", _part(standard, 3)),
        text(f"{name}_alt_code", f"{doc}: alternate identifier.", _part(standard, 4)),
        text(f"{name}_alt_display", f"{doc}: alternate text.", _part(standard, 5)),
        text(f"{name}_alt_system", f"{doc}: alternate coding system.", _part(standard, 6)),
        text(f"{name}_system_version", f"{doc}: version of the coding system.", _part(standard, 7)),
        text(f"{name}_text", f"{doc}: original text.", _part(standard, 9)),
    )


def code(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A coded element of which the first triplet is enough; the code has the name itself."""
    return (
        text(name, f"{doc}: code.", _part(standard, 1)),
        text(f"{name}_display", f"{doc}: text.", _part(standard, 2)),
        text(f"{name}_system", f"{doc}: coding system as sent.", _part(standard, 3)),
    )


def practitioner(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A person who acts: id and name of the first (or preferred) one."""
    return (
        text(f"{name}_id", f"{doc}: id.", _part(standard, 1)),
        text(f"{name}_family_name", f"{doc}: family name.", _part(standard, 2)),
        text(f"{name}_given_name", f"{doc}: given name.", _part(standard, 3)),
    )


def _part(standard: str, component: int) -> str:
    """A component of each of the fields: ``OBR-16, ORC-12`` → ``OBR-16.1, ORC-12.1``."""
    return ", ".join(f"{field}.{component}" for field in standard.split(", "))


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
    Field("event_time", INSTANT, "The message's own time.", "MSH-7"),
    Field("event_time_precision", pa.string(), PRECISION_DOC, "MSH-7"),
    Field("event_date", pa.date32(), "Local date of the message's own time.", "MSH-7"),
    Field(
        "version_time",
        INSTANT,
        "What orders the versions of one thing (never later than receipt + 24 h).",
        nullable=False,
    ),
    Field("sent_sequence", pa.int64(), "Sequence number of the message within its link.", "MSH-13"),
    Field(
        "segment_index", pa.int32(), "Position of the segment in its message, counted from 0.", nullable=False
    ),
    Field("codes", pa.list_(pa.string()), "Codes of findings on this row, sorted."),
    Field("batch_number", pa.int64(), "The claim that wrote it.", nullable=False),
    Field("reading", pa.int32(), "0 for the first reading; each reprocessing adds one.", nullable=False),
)
"""Columns that every normalised table has, before its own."""

ADDED_BY_STAGE = frozenset(field.name for field in ORIGIN) - {
    "segment_index", "codes", "version_time", "sent_sequence",
}  # fmt: skip
"""Those of them that a parser leaves to the stage."""

SUBJECT: tuple[Field, ...] = (
    Field("patient_id", pa.string(), "First patient identifier.", "PID-3.1"),
    Field("patient_authority", pa.string(), "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    Field("visit_number", pa.string(), "Visit number.", "PV1-19.1"),
)

ORDER_NUMBERS: tuple[Field, ...] = (
    Field("placer_order", pa.string(), "Placer order number.", "OBR-2.1, ORC-2.1"),
    Field("placer_authority", pa.string(), "Namespace of the placer.", "OBR-2.2, OBR-2.3, ORC-2.2, ORC-2.3"),
    Field("filler_order", pa.string(), "Filler order number.", "OBR-3.1, ORC-3.1"),
    Field("filler_authority", pa.string(), "Namespace of the filler.", "OBR-3.2, OBR-3.3, ORC-3.2, ORC-3.3"),
)

ORDER: tuple[Field, ...] = (
    *ORDER_NUMBERS,
    Field("order_index", pa.int32(), "Which order of the message, counted from 0."),
)

TIMING: tuple[Field, ...] = (
    number("quantity", "How much each time.", "TQ1-2.1, TQ.1"),
    text("quantity_unit", "Unit of that quantity.", "TQ1-2.2.1, TQ.1.2"),
    text("repeat_pattern", "How often (HL7 table 0335).", "TQ1-3.1.1, TQ.2.1"),
    text("explicit_time", "Times of day as sent.", "TQ1-4, TQ.2.2"),
    number("service_duration", "How long it goes on.", "TQ1-6.1"),
    text("service_duration_unit", "Unit of that duration.", "TQ1-6.2.1"),
    text("service_duration_text", "How long it goes on, of old versions, such as D5.", "TQ.3"),
    *instant("occurrence_start", "When it is to begin.", "TQ1-7, TQ.4"),
    *instant("occurrence_end", "When it is to end.", "TQ1-8, TQ.5"),
    text("condition_text", "Condition on which it is to be done.", "TQ1-10, TQ.7"),
    text("instruction_text", "Instruction as text.", "TQ1-11, TQ.8"),
    number("total_occurrences", "How many times in all.", "TQ1-14, TQ.12"),
)
"""When and how often, of TQ1 or of a field of type TQ of old versions (HL7 v2.5.1 §4.5.4; TQ of §2.A)."""

MASTER_FILE: tuple[Field, ...] = (
    text("master_file", "Which master file.", "MFI-1.1"),
    text("file_event", "What is done with the file (HL7 table 0178).", "MFI-3.1"),
    text("record_event", "What is done with the record (HL7 table 0180).", "MFE-1.1"),
    text("record_control_id", "Control id of the record.", "MFE-2"),
    *instant("record_effective_time", "Since when the change of the record holds.", "MFE-3"),
    text("record_key", "Key of the record.", "MFE-4.1"),
    text("record_key_text", "The whole key as sent: a coded element, or a place.", "MFE-4"),
    text("record_key_type", "Type of the key (HL7 table 0355).", "MFE-5.1"),
    *instant("record_entered_time", "When the change was entered.", "MFE-6, MFI-4"),
    text("event_code", "Event as EVN tells it, of personnel messages.", "EVN-1.1"),
    *instant("recorded_time", "When the event was recorded or happened.", "EVN-2"),
)
"""What is done with a record of a master file (HL7 v2.5.1 §8.5), or with a member of the staff (§15.3)."""


def normalised(name: str, doc: str, *fields: Field, row_key: tuple[str, ...] = ("segment_index",)) -> Table:
    """A table ``normalised/<name>``: one row per thing that a message states, as it states it.

    Args:
        name: its name.
        doc: one sentence.
        fields: its own columns.
        row_key: what tells the rows of a message from each other: mostly the segment that states them.
    """
    return Table(
        name=f"normalised/{name}",
        doc=doc,
        fields=(*ORIGIN, *fields),
        partition_by="event_month",
        sort_by=("event_time",),
        statistics=("topic_id", "partition", "offset", "event_time", "received_at", "version_time"),
        row_key=row_key,
    )
