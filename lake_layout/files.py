"""Parquet files of a table: written first under a fresh name, made part of the table by a commit later."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake_layout.lake import Lake
from lake_layout.objects import open_store
from schemas.errors import LakeError
from schemas.table import Table

FIRST_YEAR, LAST_YEAR = 1900, 2199
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_LONGEST_STATISTIC = 64
_LAST_CHARACTER = "\U0010ffff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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
    """

    table: str
    path: str
    size: int
    partition: date | None
    rows: int
    stats: str


def write_file(lake: Lake, table: Table, rows: pa.Table, partition: date | None) -> NewFile:
    """Write rows as one file, sorted, under a name that no attempt ever used.

    Args:
        lake: where.
        table: whose; the file's columns are its fields but for the partition column.
        rows: a ``pa.Table`` with these columns in any order.
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
    if rows.schema.types != schema.types:
        raise LakeError("LAKE-COLUMNS", "rows have other types than their table", table=table.name)
    for field, column in zip(fields, rows.columns, strict=True):
        if not field.nullable and column.null_count:
            raise LakeError(
                "LAKE-COLUMNS", "null in a column that has none", table=table.name, column=field.name
            )
    rows = pa.Table.from_arrays(rows.columns, schema=schema)
    if not rows.num_rows:
        raise LakeError("LAKE-COLUMNS", "a file without rows is not written", table=table.name)
    rows = _ordered(table, rows)
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", row_group_size=_ROW_GROUP, write_statistics=True)
    data = sink.getvalue()
    path = f"{folder_of(table, partition)}part-{uuid.uuid4()}.zstd.parquet"
    open_store(lake.location).put(f"{table.name}/{path}", data.to_pybytes())
    # not as ASCII: the library reads escaped characters beyond U+FFFF as others, and filters pass over the rows
    stats = json.dumps(statistics(table, rows), ensure_ascii=False)
    return NewFile(table.name, path, data.size, partition, rows.num_rows, stats)


def _ordered(table: Table, rows: pa.Table) -> pa.Table:
    """The rows sorted as the table asks; equal ones keep their order."""
    keys = [(name, "ascending") for name in table.sort_by if name != table.partition_by]
    if not keys:
        return rows
    order = pc.sort_indices(rows, sort_keys=keys).to_numpy()
    if bool(np.all(order[1:] > order[:-1])):
        return rows  # they mostly come in order, and moving payloads costs
    return rows.take(pa.array(order))


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
        column = rows.column(name)
        nulls[name] = column.null_count
        if column.null_count == len(column):
            continue
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
