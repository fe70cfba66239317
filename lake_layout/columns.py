"""Columns that say nothing, made once for all of a type: most of a table's columns are seldom sent."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


class Absent:
    """Columns of nulls of one length. Each takes as much memory as one of values, so those of a type are the same one.

    Attributes:
        count: of their rows.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._made: dict[pa.DataType, pa.Array] = {}

    def of(self, kind: pa.DataType) -> pa.Array:
        """Nulls of a type."""
        if kind not in self._made:
            self._made[kind] = pa.nulls(self.count, kind)
        return self._made[kind]


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return (
        column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    )  # the latter copies even one


def as_one(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of one schema as one, each column of it one array."""
    rows = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
    absent = Absent(rows.num_rows)
    columns = [
        absent.of(column.type) if column.null_count == len(column) else whole(column)
        for column in rows.columns
    ]
    return pa.table(columns, schema=rows.schema)
