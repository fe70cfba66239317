"""Reading single files of a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from lake_layout.files import NULL_PARTITION
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from schemas.errors import LakeError
from schemas.table import Table


def read_file(lake: Lake, table: Table, path: str, columns: Sequence[str]) -> pa.Table:
    """Columns of one file, the partition column filled in from its path.

    Args:
        lake: where.
        table: whose file it is.
        path: relative to the table.
        columns: names, in the order wanted.

    Raises:
        LakeError: ``OBJECT-MISSING``, ``LAKE-FILE-DAMAGED``.
        TransportError: the store does not answer.
    """
    data = open_store(lake.location).get(f"{table.name}/{path}")
    inside = [name for name in columns if name != table.partition_by]
    try:
        rows = pq.read_table(pa.BufferReader(data), columns=inside)
    except (pa.ArrowException, OSError, KeyError):
        raise LakeError("LAKE-FILE-DAMAGED", "a file of the table cannot be read", table=table.name, path=path) from None
    if table.partition_by in columns:
        value = pa.scalar(partition_of(table, path), pa.date32())
        rows = rows.append_column(table.partition_by, pa.repeat(value, rows.num_rows))
    return rows.select(list(columns))


def partition_of(table: Table, path: str) -> date | None:
    """Value of the partition column that a file's path names."""
    prefix = f"{table.partition_by}="
    for folder in path.split("/")[:-1]:
        if folder.startswith(prefix):
            value = unquote(folder[len(prefix) :])
            return None if value == NULL_PARTITION else date.fromisoformat(value)
    return None
