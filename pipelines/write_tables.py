"""Rows of the tables on their way into files, by a thread of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.claims import Claim
from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake
from pipelines.costs import Costs
from pipelines.dispositions import attach_origin, origin_of
from schemas.modality import Parsed
from schemas.table import Table

GATHERED_BYTES = 48 * 1024 * 1024
"""Rows of a table are gathered until they take so many bytes in memory, and then become a file: each file costs the
store, the commit and every later look at the table something, however small it is."""


@dataclass(frozen=True)
class Written:
    """Files that were written.

    Attributes:
        files: descriptors by table name.
        costs: nanoseconds of CPU by step.
    """

    files: list[tuple[str, NewFile]]
    costs: Mapping[str, int]


@dataclass
class TableFiles:
    """Gathers the rows of several pieces and writes them; to be used by one thread.

    Attributes:
        lake: where the tables lie.
        claim: the batch.
        reading: 0 for the first reading of a message.
        tables: those that the modality feeds.
        gathered: rows that wait, by name of the table.
    """

    lake: Lake
    claim: Claim
    reading: int
    tables: tuple[Table, ...]
    gathered: dict[str, list[pa.Table]] = field(default_factory=dict)

    def add(self, raw: pa.Table, parsed: Parsed) -> Written:
        """Take up a piece: what the parser made of raw rows. Tables with enough rows are written."""
        costs = Costs()
        with costs.step("attach"):
            origin = origin_of(raw, parsed, self.reading)
            for table in self.tables:
                rows = parsed.tables.get(table.name)
                if rows is not None and rows.num_rows:
                    full = attach_origin(table, rows, origin, self.claim)
                    self.gathered.setdefault(table.name, []).append(full)
        with costs.step("write"):
            files = list(self._write(GATHERED_BYTES))
        return Written(files, costs)

    def rest(self) -> Written:
        """Write what waits, two tables at a time: nothing else is left to be done meanwhile."""
        waiting = [
            (table, pieces) for table in self.tables if (pieces := self.gathered.pop(table.name, None))
        ]
        # the largest first, or one of the threads ends long before the other
        waiting.sort(key=lambda one: -_bytes_of(one[1]))
        with ThreadPoolExecutor(2) as pool:
            written = list(pool.map(lambda one: self._timed(*one), waiting))
        costs = Costs(write=sum(one.costs["write"] for one in written))
        return Written([file for one in written for file in one.files], costs)

    def _write(self, least_bytes: int) -> Iterator[tuple[str, NewFile]]:
        for table in self.tables:
            pieces = self.gathered.get(table.name, [])
            if pieces and _bytes_of(pieces) >= least_bytes:
                del self.gathered[table.name]
                yield from self._files(table, pieces)

    def _timed(self, table: Table, pieces: Sequence[pa.Table]) -> Written:
        costs = Costs()
        with costs.step("write"):
            files = list(self._files(table, pieces))
        return Written(files, costs)

    def _files(self, table: Table, pieces: Sequence[pa.Table]) -> Iterator[tuple[str, NewFile]]:
        for file in write_by_partition(self.lake, table, joined(pieces)):
            yield table.name, file


def _bytes_of(pieces: Sequence[pa.Table]) -> int:
    return sum(piece.nbytes for piece in pieces)


def joined(pieces: Sequence[pa.Table]) -> pa.Table:
    """Pieces as one table of one chunk.

    Args:
        pieces: tables with the same columns, in which a string column is plain in one piece and a dictionary in
            another, as it came.
    """
    names = pieces[0].column_names
    kinds = {name: _common([piece.column(name) for piece in pieces]) for name in names}
    alike = [pa.table({name: _as(piece.column(name), kinds[name]) for name in names}) for piece in pieces]
    return pa.concat_tables(alike).unify_dictionaries().combine_chunks()


def _common(columns: Sequence[pa.ChunkedArray]) -> pa.DataType:
    """The type of all columns that say anything, where it is one; else the plain type."""
    said = [column for column in columns if column.null_count < len(column)] or columns[:1]
    kinds = {_widely_numbered(column.type) for column in said}
    if len(kinds) == 1:
        return kinds.pop()
    kind = kinds.pop()
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _widely_numbered(kind: pa.DataType) -> pa.DataType:
    """The numbers of one piece's strings may be too narrow for those of all pieces."""
    return pa.dictionary(pa.int32(), kind.value_type) if pa.types.is_dictionary(kind) else kind


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    return pa.nulls(len(column), kind) if column.null_count == len(column) else column.cast(kind)


def write_by_partition(lake: Lake, table: Table, rows: pa.Table) -> Iterator[NewFile]:
    """Write rows to one file per month of the table's partition column."""
    if not rows.num_rows or table.partition_by is None:
        return
    column = rows.column(table.partition_by)
    months = pc.unique(column).to_pylist()
    rows = rows.drop_columns([table.partition_by])
    for month in months:
        same = pc.is_null(column) if month is None else pc.equal(column, pa.scalar(month, pa.date32()))
        yield write_file(lake, table, rows if len(months) == 1 else rows.filter(same), month)
