"""What the identity stage reads, writes, and keeps of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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


def _fields_of_all() -> tuple[Field, ...]:
    """The columns of all tables of identity, each once: the same name is the same kind of value."""
    found: dict[str, Field] = {}
    for one in (field for table in IDENTITY for field in table.fields):
        if found.setdefault(one.name, replace(one, nullable=True)).type != one.type:
            raise ValueError(f"{one.name} is of two types")
    return tuple(found.values())


IDENTITY_CHANGE = Table(
    name="ops/identity_change",
    doc="What batches changed in who is who and what the tables of identity do not have yet: rows that come, and names "
    "of what goes.",
    fields=(
        Field("batch_number", pa.int64(), "The batch.", nullable=False),
        Field("of_table", pa.string(), "The table, such as curated/person.", nullable=False),
        Field(
            "gone",
            pa.bool_(),
            "Whether all that the table has of this name by earlier batches goes; else a row that comes.",
            nullable=False,
        ),
        Field("decided_at", INSTANT, "When the batch was claimed.", nullable=False),
        *_fields_of_all(),
    ),
    sort_by=("of_table", "batch_number"),
    statistics=("batch_number", "of_table", "decided_at"),
)
"""Of a table all rows count of whose name (``UNITS``) no later batch says that it goes."""

APPLIED = f"{STAGE}-applied"
"""Under this id a table of identity records up to which batch it has the changes."""

FORGOTTEN = f"{STAGE}-forgotten"
"""Under this id the table of changes records up to which batch all tables have them, and it has them no more."""

IDENTITY_TABLES: tuple[Table, ...] = (*IDENTITY, IDENTITY_CHANGE, IDENTIFICATION)
"""All that the stage writes, its last table last."""
