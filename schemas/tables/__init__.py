"""The lake's tables, one module per table or family; ``TABLES`` lists them all."""

from __future__ import annotations

from schemas.table import Table
from schemas.tables.clinical import (
    DIAGNOSTIC_REPORT,
    ENCOUNTER,
    OBSERVATION,
    PATIENT,
    SEGMENT,
    SERVICE_REQUEST,
)
from schemas.tables.ops import LEDGER, QUARANTINE
from schemas.tables.raw import raw_table

RAW_HL7V2 = raw_table("hl7v2", "HL7 v2 messages")

TABLES: tuple[Table, ...] = (
    RAW_HL7V2,
    PATIENT,
    ENCOUNTER,
    SERVICE_REQUEST,
    DIAGNOSTIC_REPORT,
    OBSERVATION,
    SEGMENT,
    QUARANTINE,
    LEDGER,
)

__all__ = [
    "DIAGNOSTIC_REPORT",
    "ENCOUNTER",
    "LEDGER",
    "OBSERVATION",
    "PATIENT",
    "QUARANTINE",
    "RAW_HL7V2",
    "SEGMENT",
    "SERVICE_REQUEST",
    "TABLES",
    "raw_table",
]
