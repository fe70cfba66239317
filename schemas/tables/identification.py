"""What the identity stage reads, writes, and keeps of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.identity import IDENTITY
from schemas.tables.imaging import IMAGING_STUDY
from schemas.tables.normalised import PATIENT, PATIENT_LINK
from schemas.tables.steward_event import STEWARD_EVENT

STAGE = "identity"

STATING: Mapping[str, Table] = MappingProxyType(
    {table.name: table for table in (PATIENT, PATIENT_LINK, STEWARD_EVENT, IMAGING_STUDY)}
)
"""Normalised tables that say something of who is who, by name."""


def progress_id(normalised: str) -> str:
    """Under this id tables record up to which version of a normalised table they were filled."""
    return f"{STAGE}:{normalised}"


IDENTIFICATION = Table(
    name="ops/identity",
    doc="What batches took into who is who, a row for each normalised table. Its commit ends a batch.",
    fields=(
        Field("identity_month", pa.date32(), "First day of the month of the batch (UTC).", nullable=False),
        Field("batch_number", pa.int64(), "The batch.", nullable=False),
        Field("table", pa.string(), "The normalised table, such as normalised/patient_link.", nullable=False),
        Field("from_version", pa.int64(), "Its version after which the batch read.", nullable=False),
        Field("to_version", pa.int64(), "Version up to and with which it read.", nullable=False),
        Field("rows_read", pa.int64(), "Rows that were new.", nullable=False),
        Field("identified_at", INSTANT, "When the batch was claimed.", nullable=False),
    ),
    partition_by="identity_month",
    sort_by=("batch_number", "table"),
    statistics=("batch_number", "identified_at"),
)  # fmt: skip

IDENTITY_TABLES: tuple[Table, ...] = (*IDENTITY, IDENTIFICATION)
"""All that the stage writes, its last table last."""
