"""Columns that many normalised tables have."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.raw import COORDINATES

PRECISION_DOC = "Precision as sent: year, month, day, hour, minute, second or fraction."


def instant(name: str, doc: str, standard: str = "", nullable: bool = True) -> tuple[Field, ...]:
    """A point in time in UTC and, beside it, the precision it was sent with and the offset it was read with."""
    return (
        Field(name, INSTANT, doc, standard, nullable),
        Field(f"{name}_precision", pa.string(), PRECISION_DOC, standard),
        Field(f"{name}_offset", pa.int16(), "Minutes east of UTC that the value was told in.", standard),
    )


def coded(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A coded element (CE, CWE, CNE): first triplet, the alternate one, the first one's version, original text."""
    return (
        Field(f"{name}_code", pa.string(), f"{doc}: identifier.", f"{standard}.1"),
        Field(f"{name}_display", pa.string(), f"{doc}: text.", f"{standard}.2"),
        Field(f"{name}_system", pa.string(), f"{doc}: coding system as sent.", f"{standard}.3"),
        Field(f"{name}_alt_code", pa.string(), f"{doc}: alternate identifier.", f"{standard}.4"),
        Field(f"{name}_alt_display", pa.string(), f"{doc}: alternate text.", f"{standard}.5"),
        Field(f"{name}_alt_system", pa.string(), f"{doc}: alternate coding system.", f"{standard}.6"),
        Field(
            f"{name}_system_version", pa.string(), f"{doc}: version of the coding system.", f"{standard}.7"
        ),
        Field(f"{name}_text", pa.string(), f"{doc}: original text.", f"{standard}.9"),
    )


def practitioner(name: str, doc: str, standard: str) -> tuple[Field, ...]:
    """A person who acts: id and name of the first (or preferred) one."""
    return (
        Field(f"{name}_id", pa.string(), f"{doc}: id.", f"{standard}.1"),
        Field(f"{name}_family_name", pa.string(), f"{doc}: family name.", f"{standard}.2"),
        Field(f"{name}_given_name", pa.string(), f"{doc}: given name.", f"{standard}.3"),
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
    Field("event_time", INSTANT, "The message's own time.", "MSH-7"),
    Field("event_time_precision", pa.string(), PRECISION_DOC, "MSH-7"),
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
    Field("patient_id", pa.string(), "First patient identifier.", "PID-3.1"),
    Field("patient_authority", pa.string(), "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    Field("visit_number", pa.string(), "Visit number.", "PV1-19.1"),
)

ORDER: tuple[Field, ...] = (
    Field("placer_order", pa.string(), "Placer order number.", "OBR-2.1, ORC-2.1"),
    Field("placer_authority", pa.string(), "Namespace of the placer.", "OBR-2.2, ORC-2.2"),
    Field("filler_order", pa.string(), "Filler order number.", "OBR-3.1, ORC-3.1"),
    Field("filler_authority", pa.string(), "Namespace of the filler.", "OBR-3.2, ORC-3.2"),
    Field("order_index", pa.int32(), "Which order of the message, counted from 0."),
)


def normalised(name: str, doc: str, *fields: Field) -> Table:
    """A table ``normalised/<name>``: one row per thing that a message states, as it states it."""
    return Table(
        name=f"normalised/{name}",
        doc=doc,
        fields=(*ORIGIN, *fields),
        partition_by="event_month",
        sort_by=("event_time",),
        statistics=("topic_id", "partition", "offset", "event_time", "received_at", "version_time"),
    )
