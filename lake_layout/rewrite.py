"""A file of a table once more without some of its rows, at a fraction of what reading and writing rows costs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lake_layout.files import NewFile, put_file
from lake_layout.lake import Lake
from lake_layout.reading import completed, partition_of, read_stored
from schemas.table import Table

Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]


def split_file(
    lake: Lake, table: Table, path: str, out: Bools, fewest: int
) -> tuple[pa.Table, NewFile | pa.Table]:
    """Take rows out of a file.

    Columns stay as they are stored, strings as numbers in their dictionaries, and rows as they are sorted.

    Args:
        lake: where.
        table: which table.
        path: of the file, relative to the table.
        out: by row, whether it goes.
        fewest: with fewer rows left no file is written.

    Returns:
        The rows taken out, with the table's columns; and the file with the others, or with fewer than ``fewest`` the
        rows themselves.

    Raises:
        LakeError: the file is gone or damaged.
        TransportError: the store does not answer, or does not take the file.
    """
    stored = read_stored(lake, table, path)
    rest = stored.filter(pa.array(~out))
    taken = _whole(table, path, stored.filter(pa.array(out)))
    if rest.num_rows < fewest:
        return taken, _whole(table, path, rest)
    return taken, put_file(lake, table, rest, partition_of(table, path), copied=True)


def rows_from(lake: Lake, table: Table, path: str, wanted: Bools) -> pa.Table:
    """Some rows of a file, with the table's columns.

    Args:
        lake: where.
        table: which table.
        path: of the file, relative to the table.
        wanted: by row, whether it is.

    Raises:
        LakeError: the file is gone or damaged.
        TransportError: the store does not answer.
    """
    return _whole(table, path, read_stored(lake, table, path).filter(pa.array(wanted)))


def _whole(table: Table, path: str, rows: pa.Table) -> pa.Table:
    """Rows with all columns of the table, in its types."""
    schema = table.arrow_schema
    return completed(table, path, rows, rows.num_rows, schema.names).cast(schema)
