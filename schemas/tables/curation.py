"""What the curate stage keeps beside the curated tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.curated import CURATED, FOLDS

STAGE = "curate"

NORMALISED_OF: Mapping[str, Table] = MappingProxyType({fold.table.name: fold.table for fold in FOLDS})
"""Normalised tables that are folded, by name."""


def progress_id(normalised: str) -> str:
    """Under this id tables record up to which version of a normalised table they were filled."""
    return f"{STAGE}:{normalised}"


ALIAS = Table(
    name="ops/alias",
    doc="Numbers that things were first known by, and the keys that they are known by now: of each number the least.",
    fields=(
        Field("table", pa.string(), "Last part of the curated table's name, such as observation.", nullable=False),
        Field("alias_hash", pa.int64(), "Names the thing by the number that another stands for.", nullable=False),
        Field("key_hash", pa.int64(), "Names the thing as it is known.", nullable=False),
    ),
    sort_by=("table", "alias_hash"),
    statistics=("alias_hash",),
)  # fmt: skip
"""Rows are only added; where a number has several keys, the least counts."""

CURATION = Table(
    name="ops/curation",
    doc="What batches folded into the curated tables, a row for each table. Its commit ends a batch.",
    fields=(
        Field("curated_month", pa.date32(), "First day of the month of the batch (UTC).", nullable=False),
        Field("batch_number", pa.int64(), "The batch.", nullable=False),
        Field("table", pa.string(), "The curated table, such as curated/observation.", nullable=False),
        Field("from_version", pa.int64(), "Version of the normalised table after which it read.", nullable=False),
        Field("to_version", pa.int64(), "Version up to and with which it read.", nullable=False),
        Field("rows_read", pa.int64(), "Rows that were new in the normalised table.", nullable=False),
        Field("keys_changed", pa.int64(), "Things of which the rows say anything.", nullable=False),
        Field("curated_at", INSTANT, "When the batch was claimed.", nullable=False),
    ),
    partition_by="curated_month",
    sort_by=("batch_number", "table"),
    statistics=("batch_number", "curated_at"),
)  # fmt: skip

CURATE_TABLES: tuple[Table, ...] = (*CURATED, ALIAS, CURATION)
"""All that the stage writes, its last table last."""
