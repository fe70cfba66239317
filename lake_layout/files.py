"""Parquet files of a table: written first under a fresh name, made part of the table by a commit later."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_layout.fail_points import fail_point
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from schemas.errors import LakeError
from schemas.table import INSTANT, Field, Table

FIRST_YEAR, LAST_YEAR = 1900, 2199
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_STATISTIC = 64
_LAST_CHARACTER = "\U0010ffff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_HARDLY_REPEATED = (INSTANT, pa.int64(), pa.float64(), pa.binary())
"""Columns of these types are written as they are; of others each value once, and then its number."""

Bound = str | int
_ROW_GROUP = 128 * 1024
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was written and waits for its commit.

    Attributes:
        table: name of its table.
        path: relative to the table.
        size: bytes.
        partition: value of the partition column; None for null or where the table has none.
        rows: number of rows.
        stats: statistics as Delta keeps them (JSON).
        copied: all its rows are those of a file that goes in the same commit.
    """

    table: str
    path: str
    size: int
    partition: date | None
    rows: int
    stats: str
    copied: bool = False


def write_file(lake: Lake, table: Table, rows: pa.Table, partition: date | None) -> NewFile:
    """Write rows as one file, sorted, under a name that no attempt ever used.

    Args:
        lake: where.
        table: whose; the file's columns are its fields but for the partition column and those that are all null.
        rows: a ``pa.Table`` with these columns in any order; strings may be dictionaries of such.
        partition: value of the partition column.

    Raises:
        LakeError: ``LAKE-PARTITION-RANGE`` outside 1900–2199, ``LAKE-COLUMNS`` on other columns or types.
        TransportError: the store does not take it.
    """
    fields = [field for field in table.fields if field.name != table.partition_by]
    schema = pa.schema([pa.field(f.name, f.type, nullable=f.nullable) for f in fields])
    check_partition(table, partition)
    if sorted(rows.column_names) != sorted(schema.names):
        raise LakeError("LAKE-COLUMNS", "rows have other columns than their table", table=table.name)
    rows = rows.select(schema.names)
    if [_value_type(kind) for kind in rows.schema.types] != schema.types:
        raise LakeError("LAKE-COLUMNS", "rows have other types than their table", table=table.name)
    for field, column in zip(fields, rows.columns, strict=True):
        if not field.nullable and column.null_count:
            raise LakeError(
                "LAKE-COLUMNS", "null in a column that has none", table=table.name, column=field.name
            )
    if not rows.num_rows:
        raise LakeError("LAKE-COLUMNS", "a file without rows is not written", table=table.name)
    return put_file(lake, table, _ordered(table, rows), partition)


def put_file(
    lake: Lake, table: Table, rows: pa.Table, partition: date | None, *, copied: bool = False
) -> NewFile:
    """Write rows that are as they must be, and sorted, as one file.

    Args:
        lake: where.
        table: whose.
        rows: some columns of the table, the others being null; strings may be dictionaries of such.
        partition: value of the partition column.
        copied: as ``NewFile`` has it.

    Raises:
        TransportError: the store does not take it.
    """
    there = set(
        rows.column_names
    )  # asked of the rows for each field, names took as long as writing a small file
    fields = [field for field in table.fields if field.name in there]
    sink = pa.BufferOutputStream()
    pq.write_table(
        _said(fields, rows.select([field.name for field in fields])),
        sink,
        compression="zstd",
        row_group_size=_ROW_GROUP,
        use_dictionary=[field.name for field in fields if field.type not in _HARDLY_REPEATED],
        write_statistics=[name for name in table.statistics if name != table.partition_by],
        store_schema=False,  # or readers would take dictionaries for a type of the table
    )
    data = sink.getvalue()
    path = f"{folder_of(table, partition)}part-{uuid.uuid4()}.zstd.parquet"
    fail_point("before-file")
    open_store(lake.location).put(f"{table.name}/{path}", data.to_pybytes())
    fail_point("after-file")
    # not as ASCII: the library reads escaped characters beyond U+FFFF as others, and filters pass over the rows
    stats = json.dumps(statistics(table, rows), ensure_ascii=False)
    return NewFile(table.name, path, data.size, partition, rows.num_rows, stats, copied)


def _said(fields: Sequence[Field], rows: pa.Table) -> pa.Table:
    """Rows without the columns that say nothing: readers find null where a file lacks a column, as in an old one."""
    said = [
        (pa.field(field.name, column.type, nullable=field.nullable), column)
        for field, column in zip(fields, rows.columns, strict=True)
        if column.null_count < len(column)
    ]
    return pa.Table.from_arrays([column for _, column in said], schema=pa.schema([kind for kind, _ in said]))


def _ordered(table: Table, rows: pa.Table) -> pa.Table:
    """The rows sorted as the table asks; equal ones keep their order."""
    order = order_of(table, rows)
    return rows if order is None else taken(rows, order)


def order_of(table: Table, rows: pa.Table) -> pa.Array | None:
    """Where to take rows from to have them sorted as the table asks, equal ones as they are; None if they are."""
    keys = [name for name in table.sort_by if name != table.partition_by]
    if not keys:
        return None
    plain = pa.table({name: _plain(rows.column(name)) for name in keys})
    order = pc.sort_indices(plain, sort_keys=[(name, "ascending") for name in keys])
    places = order.to_numpy()
    # they mostly come in order, and moving payloads costs
    return None if bool(np.all(places[1:] > places[:-1])) else order


def taken(rows: pa.Table, order: pa.Array) -> pa.Table:
    """Rows in another order, all of them."""
    columns = [column if column.null_count == len(column) else column.take(order) for column in rows.columns]
    return pa.Table.from_arrays(columns, schema=rows.schema)


def of_type(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """A column as a type of a table's field, or as a dictionary of it."""
    return column if _value_type(column.type) == kind else column.cast(kind)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(_value_type(column.type))


def check_partition(table: Table, partition: object) -> None:
    """Refuse a partition value that could make the table unreadable.

    The library commits any text, and then cannot read the table's log, for good; so a value is made from a date
    and from nothing else.

    Raises:
        LakeError: ``LAKE-PARTITION-RANGE``.
    """
    if table.partition_by is None:
        fits = partition is None
    elif partition is None:
        fits = next(field.nullable for field in table.fields if field.name == table.partition_by)
    else:
        # a datetime is a date too, and would bring its time of day into the path
        fits = type(partition) is date and FIRST_YEAR <= partition.year <= LAST_YEAR and partition.day == 1
    if not fits:
        raise LakeError(
            "LAKE-PARTITION-RANGE",
            "a partition must be the first day of a month from 1900 to 2199",
            table=table.name,
        )


def partition_text(partition: date | None) -> str | None:
    """A partition value as the log has it."""
    return None if partition is None else partition.isoformat()


def folder_of(table: Table, partition: date | None) -> str:
    """Folder of a partition, relative to the table, with ``/`` at its end."""
    if table.partition_by is None:
        return ""
    return f"{table.partition_by}={partition.isoformat() if partition else NULL_PARTITION}/"


def statistics(table: Table, rows: pa.Table) -> dict[str, object]:
    """Row count, and minimum, maximum and null count of the table's few statistics columns."""
    smallest: dict[str, Bound] = {}
    greatest: dict[str, Bound] = {}
    nulls: dict[str, int] = {}
    for name in table.statistics:
        if name == table.partition_by:
            continue
        if name not in rows.column_names:
            nulls[name] = rows.num_rows
            continue
        column = rows.column(name)
        nulls[name] = column.null_count
        if column.null_count == len(column):
            continue
        if pa.types.is_dictionary(column.type):
            column = _plain(pc.unique(column))
        ends = pc.min_max(column)
        smallest[name], greatest[name] = _at_most(ends["min"]), _at_least(ends["max"])
    return {"numRecords": rows.num_rows, "minValues": smallest, "maxValues": greatest, "nullCount": nulls}


def _at_most(scalar: pa.Scalar) -> Bound:
    """A lower bound as Delta's statistics write it, not above the value.

    There must be one wherever there are values: the library compares with null where a bound is left out, and
    filters then pass over the file's rows.
    """
    bound = _bound(scalar)
    return bound[:_LONGEST_STATISTIC] if isinstance(bound, str) else bound


def _at_least(scalar: pa.Scalar) -> Bound:
    """An upper bound likewise, not below the value."""
    bound = _bound(scalar)
    if not isinstance(bound, str):
        return bound
    # cut before a character that the one put in its place is above
    end = _LONGEST_STATISTIC
    while bound[end : end + 1] == _LAST_CHARACTER:
        end += 1
    return bound if end >= len(bound) else bound[:end] + _LAST_CHARACTER


def _bound(scalar: pa.Scalar) -> Bound:
    if pa.types.is_timestamp(scalar.type):
        # beyond these years the log has no form for it
        microseconds = scalar.cast(pa.timestamp("us", tz="UTC")).value
        moment = _EPOCH + timedelta(
            microseconds=min(max(microseconds, _FIRST_MICROSECOND), _LAST_MICROSECOND)
        )
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(len("0001-01-01T00:00:00.000000Z"))
    value = scalar.as_py()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int):
        return value
    raise LakeError("LAKE-COLUMNS", "columns of this type have no statistics", type=str(scalar.type))
