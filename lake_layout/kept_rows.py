"""Rows of tables once more on local disk, derived from the lake, to be looked up by some of their columns.

A Parquet file gives rows of a few keys only with all their neighbours. A stage that has to know what is known of a
thousand things among millions keeps their rows here, in one SQLite file beside the sorted runs: a look-up costs the
depth of a tree. The file says which batch it has come to, in the same transaction as the rows; whatever is absent,
damaged, or of other columns is made again from the tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog
import xxhash

from lake_layout.fail_points import fail_point
from lake_layout.run_files import Entries
from schemas.errors import TransportError
from schemas.table import INSTANT, Table

log = structlog.get_logger(__name__)

_FORMAT = 1
_FILE = "rows.sqlite"
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file until it is closed in order."""

_CACHE_KIB = 128 * 1024
_ROWS_TOGETHER = 50_000
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@dataclass(frozen=True)
class Kept:
    """A table whose rows are kept.

    Attributes:
        table: which; its columns are texts, numbers and times.
        by: columns that rows are looked up by, the first of each being enough.
    """

    table: Table
    by: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        return self.table.name.replace("/", "_")


class KeptRows:
    """The rows, as of one batch.

    Attributes:
        reached: the batch up to which they have come; None where there are none.
    """

    def __init__(self, folder: Path, tables: Sequence[Kept]) -> None:
        self._folder, self._tables = folder, {kept.table.name: kept for kept in tables}
        columns = repr([(kept.table.name, kept.table.arrow_schema, kept.by) for kept in tables])
        self._question = xxhash.xxh3_64_hexdigest(f"{_FORMAT} {columns}".encode())
        self._file = _open(folder / _FILE) if (folder / _FILE).exists() else None
        self.reached = self._reached()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def refill(self, reached: int, pieces: Iterable[tuple[Table, pa.Table]]) -> None:
        """Begin anew.

        Args:
            reached: the batch that the rows are as of.
            pieces: all rows of all tables, in any order.
        """
        log.info("rows_kept_anew", reached=reached)
        self.close()
        for left in self._folder.glob("*.tmp*"):
            left.unlink(missing_ok=True)
        path = self._folder / f"{uuid.uuid4().hex}.tmp"
        path.touch(mode=0o600)
        with contextlib.closing(_open(path)) as file:
            file.execute("PRAGMA journal_mode = OFF")
            file.execute("PRAGMA synchronous = OFF")
            file.execute("BEGIN")
            for kept in self._tables.values():
                fields = ", ".join(f'"{one.name}" {_type(one.type)}' for one in kept.table.arrow_schema)
                file.execute(f'CREATE TABLE "{kept.name}" ({fields})')
            for table, rows in pieces:
                _insert(file, self._tables[table.name], rows)
            for kept in self._tables.values():
                for number, columns in enumerate(kept.by):
                    names = ", ".join(f'"{column}"' for column in columns)
                    file.execute(f'CREATE INDEX "{kept.name}_{number}" ON "{kept.name}" ({names})')
            file.execute("CREATE TABLE come_to (question TEXT, reached INTEGER)")
            file.execute("INSERT INTO come_to VALUES (?, ?)", (self._question, reached))
            file.execute("COMMIT")
        with path.open("rb") as written:
            os.fsync(written.fileno())
        fail_point("known-written")
        # what lies beside the former file would be taken for a part of the new one
        for name in (_FILE, *(f"{_FILE}{end}" for end in _BESIDE)):
            (self._folder / name).unlink(missing_ok=True)
        path.rename(self._folder / _FILE)
        self._file = _open(self._folder / _FILE)
        self.reached = reached

    def change(self, reached: int, changes: Iterable[tuple[Table, pa.Table, pa.Table]]) -> None:
        """Go on to a later batch, as a whole or not at all.

        Args:
            reached: the batch.
            changes: table, what goes (values of columns that rows are looked up by), and rows that come.
        """
        file = self._opened()
        file.execute("BEGIN IMMEDIATE")
        try:
            for table, gone, rows in changes:
                kept = self._tables[table.name]
                on = _wanted(file, gone)
                same = f'SELECT kept.rowid FROM wanted CROSS JOIN "{kept.name}" AS kept ON {on}'  # noqa: S608
                file.execute(f'DELETE FROM "{kept.name}" WHERE rowid IN ({same})')  # noqa: S608 - our names
                _insert(file, kept, rows)
            file.execute("UPDATE come_to SET reached = ?", (reached,))
            fail_point("known-written")
            file.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                file.execute("ROLLBACK")
            raise
        self.reached = reached

    def rows(self, table: Table, wanted: pa.Table) -> pa.Table:
        """All rows that have in some columns one of the rows of ``wanted``, which has these columns."""
        file, kept, schema = self._opened(), self._tables[table.name], table.arrow_schema
        on = _wanted(file, wanted)
        names = ", ".join(f'kept."{name}"' for name in schema.names)
        found = file.execute(f'SELECT {names} FROM wanted CROSS JOIN "{kept.name}" AS kept ON {on}')  # noqa: S608
        pieces = [schema.empty_table()]
        while some := found.fetchmany(_ROWS_TOGETHER):
            columns = zip(*some, strict=True)
            arrays = [_array(column, one.type) for column, one in zip(columns, schema, strict=True)]
            pieces.append(pa.Table.from_arrays(arrays, schema=schema))
        return pa.concat_tables(pieces)

    def pairs(
        self,
        table: Table,
        key: str,
        value: str,
        keys: np.ndarray,
        among: tuple[str, Sequence[str]] | None = None,
    ) -> Entries:
        """What stands beside some keys and is not the key itself.

        Args:
            table: which.
            key: column that is looked at.
            value: column with what stands beside it.
            keys: wanted, each once.
            among: a column, and the texts that it may have.
        """
        file, kept = self._opened(), self._tables[table.name]
        on = _wanted(file, pa.table({key: keys}))
        texts = () if among is None else tuple(among[1])
        also = "" if among is None else f'AND kept."{among[0]}" IN ({", ".join("?" * len(texts))})'
        found = file.execute(
            f'SELECT kept."{key}", kept."{value}" FROM wanted CROSS JOIN "{kept.name}" AS kept ON {on} '  # noqa: S608
            f'WHERE kept."{key}" <> kept."{value}" {also}',
            texts,
        ).fetchall()
        both = np.array(found, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _opened(self) -> sqlite3.Connection:
        assert self._file is not None, "rows are kept before they are looked up"
        return self._file

    def _reached(self) -> int | None:
        if self._file is None:
            return None
        try:
            found = self._file.execute("SELECT question, reached FROM come_to").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # else there is no such table
                raise
            return None
        return int(found[1]) if found and found[0] == self._question else None


@contextlib.contextmanager
def kept_rows(folder: Path, tables: Sequence[Kept]) -> Iterator[KeptRows]:
    """The rows kept in a folder; who else wants them waits.

    Raises:
        TransportError: ``INDEX-DISK`` where the disk does not take or give them, ``INDEX-REMOVED`` where they were
            damaged; they are made again the next time.
    """
    with _disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rows = KeptRows(folder, tables)
            try:
                yield rows
            finally:
                rows.close()


@contextlib.contextmanager
def _disk_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise TransportError(
                "INDEX-DISK", "the index on the local disk cannot be written; is the disk full?", index=folder.name,
                kind=getattr(error, "sqlite_errorname", type(error).__name__),
            ) from None  # fmt: skip
        (folder / _FILE).unlink(missing_ok=True)
        raise TransportError(
            "INDEX-REMOVED", "an index on the local disk was damaged; it is made again with the next try",
            index=folder.name,
        ) from None  # fmt: skip
    except OSError as error:
        raise TransportError(
            "INDEX-DISK", "the index on the local disk cannot be written; is the disk full?", index=folder.name,
            kind=type(error).__name__, errno=error.errno or 0,
        ) from None  # fmt: skip


def _open(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{_CACHE_KIB}"):
        file.execute(f"PRAGMA {setting}")
    return file


def _type(kind: pa.DataType) -> str:
    return "TEXT" if pa.types.is_string(kind) else "INTEGER"


def _wanted(file: sqlite3.Connection, rows: pa.Table) -> str:
    """Make a table of what is wanted; how kept rows are joined with it."""
    file.execute("DROP TABLE IF EXISTS temp.wanted")
    names = [f'"{name}"' for name in rows.column_names]
    file.execute(f"CREATE TEMP TABLE wanted ({', '.join(names)})")
    values = zip(*(_plain(column) for column in rows.columns), strict=True)
    alone = not file.in_transaction
    if alone:
        file.execute("BEGIN")  # else each row is a transaction
    file.executemany(f"INSERT INTO wanted VALUES ({', '.join('?' * len(names))})", values)  # noqa: S608
    if alone:
        file.execute("COMMIT")
    return " AND ".join(f"kept.{name} = wanted.{name}" for name in names)


def _insert(file: sqlite3.Connection, kept: Kept, rows: pa.Table) -> None:
    into = f'INSERT INTO "{kept.name}" VALUES ({", ".join("?" * rows.num_columns)})'  # noqa: S608 - our names
    for first in range(0, rows.num_rows, _ROWS_TOGETHER):
        some = rows.slice(first, _ROWS_TOGETHER)
        file.executemany(into, zip(*(_plain(column) for column in some.columns), strict=True))


def _plain(column: pa.ChunkedArray) -> list[object]:
    found: list[object] = (column.cast(pa.int64()) if column.type == INSTANT else column).to_pylist()
    return found


def _array(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    if kind == INSTANT:
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)
