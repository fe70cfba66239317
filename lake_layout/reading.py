"""Read a file of a table, only as much of it as the asked-for columns take."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from lake_layout.columns import Absent
from lake_layout.files import NULL_PARTITION, of_type
from lake_layout.lake import Lake
from lake_layout.objects import ObjectStore, open_store
from schemas.errors import LakeError
from schemas.table import Table

_TAIL = 256 * 1024
"""Read with the first request: the footer, and with it small files as a whole."""

_TAIL_WITH_BYTES = 8 * 1024 * 1024
"""The same where messages' own bytes are asked for, which are most of their file."""


def read_file(lake: Lake, table: Table, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a file of a table, its partition column filled in from its place.

    Args:
        lake: where.
        table: which table.
        path: relative to the table.
        columns: names, in the order wanted; None for all. A column that the file is too old for is null.

    Raises:
        LakeError: the file is gone or damaged.
        TransportError: the store does not answer.
    """
    names = [field.name for field in table.fields] if columns is None else list(columns)
    types = {field.name: field.type for field in table.fields}
    if not set(names) <= set(types):
        raise LakeError("LAKE-COLUMNS", "a column is asked for that the table has not", table=table.name)
    source = _source(lake, table, path, _TAIL_WITH_BYTES if pa.binary() in map(types.get, names) else _TAIL)
    with _damage(table, path):
        file = pq.ParquetFile(source, pre_buffer=True)
        stored = set(file.schema_arrow.names)
        rows = file.read([name for name in names if name in stored], use_threads=False)
    return completed(table, path, rows, file.metadata.num_rows, names)


def read_coded(lake: Lake, table: Table, path: str) -> pa.Table:
    """All columns of a file of a table, strings as dictionaries mostly: what is often said is looked at once.

    Raises:
        LakeError, TransportError: as ``read_file``.
    """
    rows = read_stored(lake, table, path)
    return completed(table, path, rows, rows.num_rows, table.arrow_schema.names, coded=True)


def completed(
    table: Table, path: str, rows: pa.Table, count: int, names: Sequence[str], *, coded: bool = False
) -> pa.Table:
    """Columns of a table, made of those that a file has.

    Args:
        table: which table.
        path: of the file: from there the value of the partition column.
        rows: columns as they are stored.
        count: of the rows, which may have no column.
        names: in the order wanted; a column that the file has not is null.
        coded: leave dictionaries as they are.
    """
    types = {field.name: field.type for field in table.fields}
    stored, absent = set(rows.column_names), Absent(count)

    def column(name: str) -> pa.Array | pa.ChunkedArray:
        if name in stored:
            return (of_type if coded else _cast)(rows.column(name), types[name])
        value = partition_of(table, path) if name == table.partition_by else None
        kind = types[name]
        return absent.of(kind) if value is None else pa.repeat(pa.scalar(value, kind), count)

    return pa.table({name: column(name) for name in names})


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column.cast(kind)


def read_stored(lake: Lake, table: Table, path: str) -> pa.Table:
    """The columns that a file has, as it has them: strings mostly as dictionaries.

    Raises:
        LakeError, TransportError: as ``read_file``.
    """
    source = _source(lake, table, path, _TAIL)
    with _damage(table, path):
        plain = pq.ParquetFile(source)
        texts = [field.name for field in plain.schema_arrow if pa.types.is_string(field.type)]
        file = pq.ParquetFile(source, metadata=plain.metadata, pre_buffer=True, read_dictionary=texts)
        return file.read(use_threads=False)


def _source(lake: Lake, table: Table, path: str, tail: int) -> _Ranges:
    with _damage(table, path):
        return _Ranges(open_store(lake.location), f"{table.name}/{path}", tail)


@contextlib.contextmanager
def _damage(table: Table, path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError):  # bytes that cannot be decompressed are the latter
        raise LakeError(
            "LAKE-FILE-DAMAGED", "a file of the table cannot be read", table=table.name, path=path
        ) from None


def partition_of(table: Table, path: str) -> date | None:
    """Value of the partition column for a file, from its path.

    Raises:
        LakeError: the path is not one of this table's.
    """
    if table.partition_by is None:
        return None
    folder = path.partition("/")[0]
    name, _, text = folder.partition("=")
    try:
        value = None if text == NULL_PARTITION else date.fromisoformat(text)
    except ValueError:
        name, value = "", None
    if name != table.partition_by:
        raise LakeError("LAKE-PATH", "a file does not lie in a partition of its table", table=table.name)
    return value


class _Ranges(io.RawIOBase):
    """An object as a file that is read in ranges."""

    def __init__(self, store: ObjectStore, path: str, tail: int) -> None:
        super().__init__()
        self._store, self._path = store, path
        self._tail, self._size = store.get_tail(path, tail)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        start = self._place
        end = self._size if size is None or size < 0 else min(start + size, self._size)
        self._place = max(end, start)
        in_tail = start - (self._size - len(self._tail))
        if in_tail >= 0:
            return self._tail[in_tail : in_tail + end - start]
        return self._store.get_range(self._path, start, end - start)
