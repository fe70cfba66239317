"""An index on local disk, derived from a table: sorted runs of 16 bytes a row, by bucket.

::

    <directory>/<table id>/<name>/manifest.json          which runs there are, up to which version of the table
    <directory>/<table id>/<name>/<bucket>.<n>.run       all keys (int64, ascending), then their values (int64)

Runs never change. A refresh writes runs for what commits added since and merges small ones, so that a bucket has
few; the manifest is replaced last and names what counts. Whatever is absent, cut short or of another table is
built again from the table.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from lake_layout.added_since import files_added
from lake_layout.lake import Lake, delta_faults
from lake_layout.reading import read_file
from schemas.errors import LakeError
from schemas.table import Table

log = structlog.get_logger(__name__)

Int64s = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

ENTRY_BYTES = 16
_FORMAT = 1
_MERGE_ROWS = 1_000_000
_GATHER_ROWS = 4_000_000
_MOST_REBUILT_BY_COMMIT = 2_000


@dataclass(frozen=True, slots=True)
class IndexLocation:
    """A folder on this machine's own disk; picklable."""

    directory: str


@dataclass(frozen=True)
class RunSource:
    """What of a table goes into an index.

    Attributes:
        table: the table.
        name: of the index, unique for the table; part of a file name.
        where: rows that count: for each column the values it may have.
        bucket: string column that parts the index; letters and digits.
        key: int64 column that is searched for.
        value: int64 column that is compared.
    """

    table: Table
    name: str
    where: tuple[tuple[str, tuple[str, ...]], ...]
    bucket: str
    key: str
    value: str

    @property
    def columns(self) -> list[str]:
        return [*(column for column, _ in self.where), self.bucket, self.key, self.value]

    def filter(self, rows: pa.Table) -> pa.Table:
        """The rows that count."""
        for column, values in self.where:
            rows = rows.filter(pc.is_in(rows.column(column), pa.array(values)))
        return rows


@dataclass(frozen=True)
class Run:
    """A run's file, number of entries, and the span of table versions (after, upto] that it holds."""

    file: str
    rows: int
    after: int
    upto: int


@dataclass(frozen=True)
class Manifest:
    """The runs by bucket, oldest first, and the version of the table that they reach."""

    version: int
    runs: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)


_EMPTY = Manifest(-1)


class SortedRuns:
    """An index as of one version; open while it is held."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.version = manifest.version
        self._runs = {
            bucket: [_mapped(folder / run.file, run.rows) for run in runs]
            for bucket, runs in manifest.runs.items()
        }

    def lookup(self, bucket: str, key: Int64s, value: Int64s) -> tuple[Bools, Bools]:
        """For each pair: whether the key is in the bucket, and whether it is with this value."""
        known = np.zeros(len(key), bool)
        same = np.zeros(len(key), bool)
        order = np.argsort(key)  # ascending look-ups touch each page once
        for keys, values in self._runs.get(bucket, ()):
            low = np.empty(len(key), np.int64)
            high = np.empty(len(key), np.int64)
            low[order] = np.searchsorted(keys, key[order], "left")
            high[order] = np.searchsorted(keys, key[order], "right")
            known |= high > low
            found = np.flatnonzero(high > low)
            # values of one key are ascending: a binary search of its own for each key that is there
            for row in found.tolist():
                span = values[low[row] : high[row]]
                place = int(np.searchsorted(span, value[row]))
                same[row] |= place < len(span) and span[place] == value[row]
        return known, same


def open_runs(lake: Lake, location: IndexLocation, source: RunSource, version: int) -> SortedRuns:
    """The index as of a version of its table; brought there first.

    Several processes may do so at once. Cost follows what was added since the last time, or the whole table where
    the index is absent.

    Raises:
        LakeError, TransportError: the table cannot be read.
    """
    folder = Path(location.directory) / lake.table_id(source.table) / source.name
    with _locked(folder):
        manifest = _read_manifest(folder)
        if manifest.version > version and any(
            run.upto > version for runs in manifest.runs.values() for run in runs
        ):
            # somebody is further; what was merged cannot be taken apart, so this version gets an index of its own
            folder = folder / f"at-{version}"
            manifest = _read_manifest(folder)
        elif manifest.version > version:
            return SortedRuns(folder, Manifest(version, manifest.runs))
        if manifest.version < version:
            manifest = _refresh(lake, source, folder, manifest, version)
        return SortedRuns(folder, manifest)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refresh(lake: Lake, source: RunSource, folder: Path, manifest: Manifest, version: int) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _extend(lake, source, folder, manifest, version)
    except LakeError as error:
        if manifest.version < 0 or error.code not in ("LAKE-LOG-GONE", "OBJECT-MISSING"):
            raise
        # what commits added can no longer be read one by one: the table's live rows can
        return _extend(lake, source, folder, _EMPTY, version)


def _extend(lake: Lake, source: RunSource, folder: Path, manifest: Manifest, version: int) -> Manifest:
    if manifest.version < 0:
        for old in folder.glob("*.run"):
            old.unlink()
        log.info("index_rebuilt", index=source.name, version=version)
        pieces = _all_rows(lake, source, version)
    else:
        pieces = _added_rows(lake, source, manifest.version, version)
    runs = {bucket: list(found) for bucket, found in manifest.runs.items()}
    for bucket, keys, values in _gathered(source, pieces):
        run = Run(f"{bucket}.{uuid.uuid4().hex}.run", len(keys), manifest.version, version)
        _write_run(folder / run.file, len(keys), [_sorted(keys, values)])
        runs.setdefault(bucket, []).append(run)
    dropped: list[Run] = []
    for bucket, found in runs.items():
        _merge_small(folder, bucket, found, dropped)
    fresh = Manifest(version, {bucket: tuple(found) for bucket, found in sorted(runs.items())})
    _write_manifest(folder, fresh)
    for run in dropped:
        (folder / run.file).unlink(missing_ok=True)
    for behind in folder.glob("at-*"):
        if int(behind.name[3:]) < version - _MOST_REBUILT_BY_COMMIT:
            shutil.rmtree(behind, ignore_errors=True)
    return fresh


def _all_rows(lake: Lake, source: RunSource, version: int) -> Iterator[pa.Table]:
    dataset = lake.dataset(source.table, version)
    with delta_faults(source.table):
        for batch in dataset.to_batches(columns=source.columns):
            yield pa.Table.from_batches([batch])


def _added_rows(lake: Lake, source: RunSource, after: int, upto: int) -> Iterator[pa.Table]:
    for file in files_added(lake, source.table, after, upto):
        yield read_file(lake, source.table, file.path, source.columns)


def _gathered(source: RunSource, pieces: Iterator[pa.Table]) -> Iterator[tuple[str, Int64s, Int64s]]:
    """Keys and values by bucket, some millions at a time, so that memory does not grow with the table."""
    waiting: list[pa.Table] = []
    rows = 0
    for piece in pieces:
        chosen = source.filter(piece).select([source.bucket, source.key, source.value])
        waiting.append(chosen)
        rows += chosen.num_rows
        if rows >= _GATHER_ROWS:
            yield from _by_bucket(source, waiting)
            waiting, rows = [], 0
    if waiting:
        yield from _by_bucket(source, waiting)


def _by_bucket(source: RunSource, pieces: Sequence[pa.Table]) -> Iterator[tuple[str, Int64s, Int64s]]:
    table = pa.concat_tables(pieces).combine_chunks()
    for bucket in pc.unique(table.column(source.bucket)).to_pylist():
        rows = table.filter(pc.equal(table.column(source.bucket), bucket))
        yield bucket, rows.column(source.key).to_numpy(), rows.column(source.value).to_numpy()


def _sorted(keys: Int64s, values: Int64s) -> tuple[Int64s, Int64s]:
    order = np.lexsort((values, keys))
    return keys[order], values[order]


def _merge_small(folder: Path, bucket: str, runs: list[Run], dropped: list[Run]) -> None:
    """Merge the newest runs while they are not much smaller than the one before: few runs, each row moved rarely."""
    while len(runs) > 1 and runs[-2].rows <= 2 * runs[-1].rows:
        newer, older = runs.pop(), runs.pop()
        merged = Run(f"{bucket}.{uuid.uuid4().hex}.run", older.rows + newer.rows, older.after, newer.upto)
        _write_run(
            folder / merged.file,
            merged.rows,
            _merged(_mapped(folder / older.file, older.rows), _mapped(folder / newer.file, newer.rows)),
        )
        dropped += [older, newer]
        runs.append(merged)


def _merged(first: tuple[Int64s, Int64s], second: tuple[Int64s, Int64s]) -> Iterator[tuple[Int64s, Int64s]]:
    """Two sorted runs as one, a million entries of the longer at a time; all entries of a key stay together."""
    if len(first[0]) < len(second[0]):
        first, second = second, first
    start_a = start_b = 0
    while start_a < len(first[0]):
        end_a, end_b = min(start_a + _MERGE_ROWS, len(first[0])), len(second[0])
        if end_a < len(first[0]):
            cut = first[0][end_a - 1]
            end_a = int(np.searchsorted(first[0], cut, "right"))
            end_b = int(np.searchsorted(second[0], cut, "right")) if end_a < len(first[0]) else len(second[0])
        yield _sorted(
            np.concatenate([first[0][start_a:end_a], second[0][start_b:end_b]]),
            np.concatenate([first[1][start_a:end_a], second[1][start_b:end_b]]),
        )
        start_a, start_b = end_a, end_b
    if start_b < len(second[0]):
        yield second[0][start_b:], second[1][start_b:]


def _write_run(
    path: Path, rows: int, pieces: Sequence[tuple[Int64s, Int64s]] | Iterator[tuple[Int64s, Int64s]]
) -> None:
    with path.open("xb") as file:
        written = 0
        for keys, values in pieces:
            file.seek(8 * written)
            file.write(np.ascontiguousarray(keys).tobytes())
            file.seek(8 * (rows + written))
            file.write(np.ascontiguousarray(values).tobytes())
            written += len(keys)
        file.flush()
        os.fsync(file.fileno())


def _mapped(path: Path, rows: int) -> tuple[Int64s, Int64s]:
    if rows == 0:
        empty = np.zeros(0, np.int64)
        return empty, empty
    whole = np.memmap(path, np.int64, "r", shape=(2 * rows,))
    return whole[:rows], whole[rows:]


def _read_manifest(folder: Path) -> Manifest:
    """The manifest, empty where it or one of its runs is not as it was written."""
    try:
        tree = json.loads((folder / "manifest.json").read_text("ascii"))
        if tree["format"] != _FORMAT:
            return _EMPTY
        runs = {bucket: tuple(Run(**run) for run in found) for bucket, found in tree["runs"].items()}
        for found in runs.values():
            for run in found:
                if (folder / run.file).stat().st_size != ENTRY_BYTES * run.rows:
                    return _EMPTY
        return Manifest(int(tree["version"]), runs)
    except (OSError, ValueError, KeyError, TypeError):
        return _EMPTY


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    tree = {
        "format": _FORMAT,
        "version": manifest.version,
        "runs": {
            bucket: [
                {"file": run.file, "rows": run.rows, "after": run.after, "upto": run.upto} for run in runs
            ]
            for bucket, runs in manifest.runs.items()
        },
    }
    temporary = folder / f"manifest.{uuid.uuid4().hex}.tmp"
    with temporary.open("w", encoding="ascii") as file:
        json.dump(tree, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "manifest.json")
