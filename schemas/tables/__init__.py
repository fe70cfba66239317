"""The lake's tables, one module per table or family; ``TABLES`` lists them all."""

from __future__ import annotations

from schemas.table import Table
from schemas.tables.imaging import IMAGING
from schemas.tables.normalised import NORMALISED, OBSERVATION, PATIENT, SEGMENT
from schemas.tables.ops import DECISION, LEDGER, QUARANTINE
from schemas.tables.qc_result import QC_RESULT
from schemas.tables.raw import ATTACHMENT, raw_table
from schemas.tables.steward_event import STEWARD_EVENT

RAW_HL7V2 = raw_table("hl7v2", "HL7 v2 messages")

RAW_STEWARD = raw_table("steward", "Events of stewards")

RAW_LAB = raw_table("lab", "Messages of laboratory instruments, and files of results")
RAW_DICOM = raw_table("dicom", "Headers of DICOM instances", *ATTACHMENT)

TABLES: tuple[Table, ...] = (
    RAW_HL7V2, RAW_STEWARD, RAW_LAB, RAW_DICOM, *NORMALISED, QC_RESULT, STEWARD_EVENT, *IMAGING, QUARANTINE, LEDGER,
    DECISION,
)  # fmt: skip

__all__ = [
    "DECISION",
    "IMAGING",
    "LEDGER",
    "NORMALISED",
    "OBSERVATION",
    "PATIENT",
    "QC_RESULT",
    "QUARANTINE",
    "RAW_DICOM",
    "RAW_HL7V2",
    "RAW_LAB",
    "RAW_STEWARD",
    "SEGMENT",
    "STEWARD_EVENT",
    "TABLES",
    "raw_table",
]
