"""What batches changed in who is who, and its tables with these changes.

::

    batch ─► ops/identity_change ─┬─► who asks what is so now: a table's rows without what goes, and those that come
                                  └─► now and then (``pipelines.identity_apply``): the files of the tables

Of persons chosen at random every file of a large table has some, so a batch that rewrote files would rewrite all of
them. So a batch commits only what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of
from lake_layout.reading import read_file
from pipelines.identity_components import Bools
from schemas.table import Table
from schemas.tables.identification import APPLIED, IDENTITY_CHANGE
from schemas.tables.identity import UNITS

# What a batch changes ------------------------------------------------------------------------------------------------


def change_rows(table: Table, gone: pa.Table, coming: pa.Table, batch: int, decided_at: datetime) -> pa.Table:
    """Rows of ``IDENTITY_CHANGE``.

    Args:
        table: what is changed.
        gone: names of what goes: its columns ``UNITS``.
        coming: rows of the table that come.
        batch: the batch's number.
        decided_at: when it was claimed.
    """
    pieces = []
    for rows, goes in ((gone, True), (coming, False)):
        own = {"batch_number": batch, "of_table": table.name, "gone": goes, "decided_at": decided_at}
        columns = [
            pa.repeat(pa.scalar(own[one.name], one.type), rows.num_rows)
            if one.name in own
            else rows.column(one.name).cast(one.type)
            if one.name in rows.column_names
            else pa.nulls(rows.num_rows, one.type)
            for one in IDENTITY_CHANGE.arrow_schema
        ]
        pieces.append(pa.Table.from_arrays(columns, schema=IDENTITY_CHANGE.arrow_schema))
    return pa.concat_tables(pieces)


def joined(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """Columns as one text a row."""
    columns = [rows.column(name).cast(pa.string()) for name in names]
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x1e")


# What is so now ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """What some batches changed in a table, all in all.

    Attributes:
        gone: names of what goes, as one text each.
        units: the same as columns.
        rows: rows that come.
    """

    gone: pa.Array
    units: pa.Table
    rows: pa.Table

    @classmethod
    def of(cls, table: Table, changes: pa.Table) -> Standing:
        """Of all that batches changed.

        Args:
            table: which.
            changes: its rows of ``IDENTITY_CHANGE``, in any order.
        """
        unit, names = UNITS[table.name], joined(changes, UNITS[table.name])
        goes = changes.column("gone")
        marks = pa.table({"name": names.filter(goes), "batch": changes.column("batch_number").filter(goes)})
        last = marks.group_by("name").aggregate([("batch", "max")])
        gone = last.column("name").combine_chunks()
        units = (
            changes.filter(goes).select(unit).take(pc.index_in(gone, marks.column("name").combine_chunks()))
        )
        comes = pc.invert(goes)
        rows, place = changes.filter(comes), pc.index_in(names.filter(comes), gone)
        is_last = pc.greater_equal(rows.column("batch_number"), last.column("batch_max").take(place))
        schema = table.arrow_schema
        return cls(gone, units, rows.filter(pc.fill_null(is_last, True)).select(schema.names).cast(schema))

    def goes(self, rows: pa.Table, unit: Sequence[str]) -> Bools:
        """Which rows go, that batches before these brought."""
        found: Bools = pc.is_in(joined(rows, unit), self.gone).to_numpy().astype(bool)
        return found

    @property
    def is_nothing(self) -> bool:
        """Whether all stays as it is."""
        return not len(self.gone) and not self.rows.num_rows


def changes_of(lake: Lake, files: Sequence[LiveFile], table: Table, after: int, upto: int) -> pa.Table:
    """What batches changed in a table.

    Args:
        lake: where.
        files: of ``IDENTITY_CHANGE``.
        table: which.
        after: what came up to this batch is left out,
        upto: and what came after this one.

    Raises:
        LakeError, TransportError: as ``read_file``.
    """
    columns = ["batch_number", "of_table", "gone", *table.arrow_schema.names]
    types = {one.name: one.type for one in IDENTITY_CHANGE.arrow_schema}
    found = [pa.schema([(name, types[name]) for name in columns]).empty_table()]
    for file in files:
        if not has_changes(file, table, after, upto):
            continue
        rows = read_file(lake, IDENTITY_CHANGE, file.path, columns)
        batch = rows.column("batch_number")
        mine = pc.and_(pc.equal(rows.column("of_table"), table.name), pc.greater(batch, after))
        found.append(rows.filter(pc.and_(mine, pc.less_equal(batch, upto))))
    return pa.concat_tables(found)


def has_changes(file: LiveFile, table: Table, after: int, upto: int) -> bool:
    """Whether a file of ``IDENTITY_CHANGE`` may have any of a table by such batches."""
    low, high = batches_of(file)
    first, last = (str(ends.get("of_table", table.name)) for ends in (file.low, file.high))
    return high > after and low <= upto and first <= table.name <= last


def batches_of(file: LiveFile) -> tuple[int, int]:
    """The first and the last batch that a file of ``IDENTITY_CHANGE`` has changes of."""
    low, high = (ends.get("batch_number") for ends in (file.low, file.high))
    assert isinstance(low, int)
    assert isinstance(high, int)
    return low, high


def applied_up_to(handle: DeltaTable) -> int:
    """Up to which batch a table of identity has the changes."""
    return int(handle.transaction_version(APPLIED) or 0)


def rows_now(lake: Lake, changes: DeltaTable, table: Table, upto: int) -> Iterator[pa.Table]:
    """All rows of a table of identity as of a batch, file by file.

    Args:
        lake: where.
        changes: a handle on ``IDENTITY_CHANGE``, opened before the table is.
        table: which.
        upto: the batch; no earlier than what the table has applied.

    Raises:
        LakeError, TransportError: as ``read_file``.
    """
    some = files_of(changes, IDENTITY_CHANGE)
    handle = current_handle(lake, table)
    standing = Standing.of(table, changes_of(lake, some, table, applied_up_to(handle), upto))
    for file in files_of(handle, table):
        rows = read_file(lake, table, file.path).cast(table.arrow_schema)
        if len(standing.gone):
            rows = rows.filter(pa.array(~standing.goes(rows, UNITS[table.name])))
        yield rows
    yield standing.rows
