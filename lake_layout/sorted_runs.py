"""An index on local disk, derived from a table: sorted runs of 16 bytes a row, by bucket.

::

    <directory>/<table id>/<name>/manifest.json          which runs there are, up to which version of the table
    <directory>/<table id>/<name>/<bucket>.<n>.run       all keys (int64, ascending), then their values (int64)
    <directory>/<table id>/<name>/at-<version>/          the same for a version that those runs have left behind

Runs never change. A refresh writes runs for what commits added since and merges small ones, so that a bucket has
few; the manifest is replaced last and names what counts. Whatever is absent, damaged, made for another question or
of another table is built again from the table's live rows, and so it is where rows were taken out of the table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
import xxhash

from lake_layout.delta_log import newly_added, read_commits
from lake_layout.fail_points import fail_point
from lake_layout.lake import Lake, delta_faults
from lake_layout.reading import read_file
from lake_layout.run_files import (
    Bools,
    Entries,
    Int64s,
    Run,
    RunDamagedError,
    find,
    least,
    merge_runs,
    open_run,
    sort_entries,
    write_run,
)
from schemas.errors import LakeError, TransportError
from schemas.table import Table

log = structlog.get_logger(__name__)

_FORMAT = 2
_GATHER_ROWS = 2_000_000
_MOST_MERGED_ROWS = 64_000_000
"""Runs get no larger than this (1 GiB), so that no refresh takes longer than it takes to write one."""

_KEPT_BEHIND = 2_000
"""Indexes of versions that lie further behind are removed."""

WHOLE = "all"
"""The bucket of an index that is not parted."""

UNDATED = 2**62
"""What stands for no date; after every date."""

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")


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
        bucket: string column that parts the index; letters and digits. None: it is all in one, ``WHOLE``.
        key: int64 column that is searched for.
        value: int64 column that is compared; or a date, by its day, where null is ``UNDATED``.
        least: only the least value of each key is asked for (``SortedRuns.least``): the others are not kept, and a
            key whose rows a batch has rewritten stays as it was; where one is gone, its entry may be there still.
    """

    table: Table
    name: str
    where: tuple[tuple[str, tuple[str, ...]], ...]
    bucket: str | None
    key: str
    value: str
    least: bool = False

    @property
    def columns(self) -> list[str]:
        parted = [] if self.bucket is None else [self.bucket]
        return [*(column for column, _ in self.where), *parted, self.key, self.value]

    @property
    def question(self) -> str:
        """Hash of what is asked of the table; runs that were made for another do not count."""
        special = [True] * self.least
        asked = repr((self.table.name, self.where, self.bucket, self.key, self.value, *special))
        return xxhash.xxh3_64_hexdigest(asked.encode())

    def chosen(self, rows: pa.Table) -> pa.Table:
        """Bucket, key and value of the rows that count."""
        for column, values in self.where:
            rows = rows.filter(pc.is_in(rows.column(column), pa.array(values)))
        value = rows.column(self.value)
        if pa.types.is_date32(value.type):
            value = pc.fill_null(value.cast(pa.int32()).cast(pa.int64()), UNDATED)
        bucket = pa.repeat(WHOLE, rows.num_rows) if self.bucket is None else rows.column(self.bucket)
        return pa.table({"bucket": bucket, "key": rows.column(self.key), "value": value})


@dataclass(frozen=True)
class Manifest:
    """The runs by bucket, oldest first, and the version of the table that they reach."""

    version: int
    runs: Mapping[str, tuple[Run, ...]] = field(default_factory=dict)

    def as_of(self, version: int) -> Manifest | None:
        """What an earlier version had, None where a run reaches across it."""
        if any(run.after < version < run.upto for runs in self.runs.values() for run in runs):
            return None
        kept = {name: tuple(run for run in runs if run.upto <= version) for name, runs in self.runs.items()}
        return Manifest(version, kept)


_EMPTY = Manifest(-1)


class SortedRuns:
    """An index as of one version."""

    def __init__(self, lake: Lake, folder: Path, source: RunSource, version: int) -> None:
        self.version = version
        self._lake, self._home, self._source = lake, folder, source
        self._folder, self._manifest, _ = self._prepared(None)

    def lookup(self, bucket: str, key: Int64s, value: Int64s) -> tuple[Bools, Bools]:
        """For each pair: whether the key is in the bucket, and whether it is with this value.

        Raises:
            LakeError, TransportError: as ``open_runs``, where the runs had to be made again.
        """
        order = np.argsort(key)
        keys, values = key[order], value[order]
        known = np.zeros(len(key), np.bool_)
        same = np.zeros(len(key), np.bool_)
        for entries in self._entries(bucket):
            known_here, same_here = find(entries, keys, values)
            known[order] |= known_here
            same[order] |= same_here
        return known, same

    def least(self, bucket: str, key: Int64s) -> tuple[Bools, Int64s]:
        """For each key: whether it is in the bucket, and its least value there (else any number).

        Raises:
            LakeError, TransportError: as ``open_runs``, where the runs had to be made again.
        """
        order = np.argsort(key)
        known, value = _least_of(self._entries(bucket), key[order])
        found, values = np.empty_like(known), np.empty_like(value)
        found[order], values[order] = known, value
        return found, values

    def _entries(self, bucket: str) -> list[Entries]:
        """The runs of a bucket, mapped only while they are searched: each takes a file descriptor."""
        try:
            return _opened(self._folder, self._manifest, bucket)
        except RunDamagedError:  # or somebody went on and merged them
            self._folder, self._manifest, entries = self._prepared(bucket)
            return entries

    def _prepared(self, bucket: str | None) -> tuple[Path, Manifest, list[Entries]]:
        try:
            with _locked(self._home):
                return _prepare(self._lake, self._home, self._source, self.version, bucket)
        except OSError as error:
            raise TransportError(
                "INDEX-DISK", "the index on the local disk cannot be written; is the disk full?",
                index=self._source.name, kind=type(error).__name__, errno=error.errno or 0,
            ) from None  # fmt: skip


def open_runs(
    lake: Lake, location: IndexLocation, source: RunSource, version: int, *, table_id: str | None = None
) -> SortedRuns:
    """The index as of a version of its table; brought there first.

    Several processes may do so at once: the first one works, the others wait and find it done. Cost follows what was
    added since the last time, or the whole table where the index is absent.

    Args:
        lake: where the table lies.
        location: where the index lies.
        source: what is indexed.
        version: of the table.
        table_id: the table's id, where the caller knows it (a claim has it); else it is looked up.

    Raises:
        LakeError: the table cannot be read.
        TransportError: the store does not answer; ``INDEX-DISK`` where the index cannot be written.
    """
    home = Path(location.directory) / (table_id or lake.table_id(source.table)) / source.name
    return SortedRuns(lake, home, source, version)


def _prepare(
    lake: Lake, folder: Path, source: RunSource, version: int, bucket: str | None
) -> tuple[Path, Manifest, list[Entries]]:
    """Folder and runs of a version, and those of a bucket mapped; the caller holds the lock."""
    manifest = _read_manifest(folder, source)
    if manifest is not None and manifest.version > version:
        manifest = manifest.as_of(version)
        if manifest is None:
            # somebody is further; what was merged cannot be taken apart, so this version gets an index of its own
            folder /= f"at-{version}"
            folder.mkdir(exist_ok=True)
            manifest = _read_manifest(folder, source)
    for known in (manifest or _EMPTY, _EMPTY):
        try:
            ready = known if known.version == version else _refresh(lake, source, folder, known, version)
            return folder, ready, [] if bucket is None else _opened(folder, ready, bucket)
        except RunDamagedError:
            log.warning("index_damaged", index=source.name, version=version)
    raise LakeError(
        "INDEX-DAMAGED", "the index is damaged as soon as it is written; see the disk", index=source.name
    )


def _least_of(runs: Sequence[Entries], keys: Int64s) -> tuple[Bools, Int64s]:
    """Whether any run has each key (ascending), and the least value of all."""
    known = np.zeros(len(keys), np.bool_)
    value = np.full(len(keys), np.iinfo(np.int64).max)
    for entries in runs:
        here, least_here = least(entries, keys)
        known |= here
        value[here] = np.minimum(value[here], least_here[here])
    return known, value


def _opened(folder: Path, manifest: Manifest, bucket: str) -> list[Entries]:
    return [open_run(folder, run) for run in manifest.runs.get(bucket, ())]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refresh(lake: Lake, source: RunSource, folder: Path, manifest: Manifest, version: int) -> Manifest:
    if manifest.version >= 0:
        added = _added_files(lake, source, manifest.version, version)
        if added is not None:
            pieces = (read_file(lake, source.table, path, source.columns) for path in added)
            try:
                return _extend(source, folder, manifest, version, pieces)
            except LakeError as error:
                if error.code != "OBJECT-MISSING":
                    raise
            # a file was compacted and deleted since: its rows are in the live ones
    log.info("index_rebuilt", index=source.name, version=version)
    return _extend(source, folder, _EMPTY, version, _all_rows(lake, source, version))


def _added_files(lake: Lake, source: RunSource, after: int, upto: int) -> list[str] | None:
    """Paths of the files that commits added; None where only the live rows tell what the table has now.

    That is so where a commit is gone from the log, or took out rows that the index may hold. A batch that rewrites
    files takes nothing out of an index of least values, and what it copies is there already: those of a key only get
    less.
    """
    versions = range(after + 1, upto + 1)
    found: dict[str, None] = {}
    for commit in read_commits(lake.store, source.table.name, versions):
        if commit is None:
            return None
        rewritten = source.least and commit.ours.get("kind") == "batch"
        if not rewritten and any(path not in found for path in commit.gone):
            return None
        found |= {added.path: None for added in newly_added(commit, found)}
    return list(found)


def _all_rows(lake: Lake, source: RunSource, version: int) -> Iterator[pa.Table]:
    dataset = lake.dataset(source.table, version)
    with delta_faults(source.table):
        for batch in dataset.to_batches(columns=source.columns):
            yield pa.Table.from_batches([batch])


def _extend(
    source: RunSource, folder: Path, manifest: Manifest, version: int, pieces: Iterator[pa.Table]
) -> Manifest:
    """Write runs for new rows and the manifest that has them, and drop what no longer counts."""
    kept = {run.file for runs in manifest.runs.values() for run in runs}
    _sweep(folder, kept)
    runs = {bucket: list(found) for bucket, found in manifest.runs.items()}
    for bucket, keys, values in _gathered(source, pieces):
        entries = sort_entries(keys, values)
        of_bucket = runs.setdefault(bucket, [])
        if source.least:
            entries = _news(entries, [open_run(folder, run) for run in of_bucket])
        rows = len(entries[0])
        if not rows:
            continue
        of_bucket.append(write_run(folder, bucket, rows, manifest.version, version, [entries]))
        fail_point("run-written")
        _merge_small(folder, bucket, of_bucket, kept)
    fresh = Manifest(version, {bucket: tuple(found) for bucket, found in sorted(runs.items())})
    _write_manifest(folder, source, fresh)
    fail_point("manifest-written")
    _sweep(folder, {run.file for found in fresh.runs.values() for run in found})
    for behind in folder.glob("at-*"):
        if int(behind.name[3:]) < version - _KEPT_BEHIND:
            shutil.rmtree(behind, ignore_errors=True)
    return fresh


def _news(entries: Entries, runs: Sequence[Entries]) -> Entries:
    """Of each key the least value, where the runs have none that is as little."""
    keys, values = entries
    begins = np.ones(len(keys), bool)
    begins[1:] = keys[1:] != keys[:-1]
    keys, values = keys[begins], values[begins]
    known, value = _least_of(runs, keys)
    news = ~known | (values < value)
    return keys[news], values[news]


def _sweep(folder: Path, kept: set[str]) -> None:
    """Remove what no manifest names: what was merged, and what a process left that was ended in the middle."""
    for path in folder.iterdir():
        if path.suffix in (".run", ".tmp") and path.name not in kept:
            path.unlink(missing_ok=True)


def _gathered(source: RunSource, pieces: Iterator[pa.Table]) -> Iterator[tuple[str, Int64s, Int64s]]:
    """Keys and values by bucket, some millions at a time, so that memory does not grow with the table."""
    waiting: list[pa.Table] = []
    rows = 0
    for piece in pieces:
        chosen = source.chosen(piece)
        waiting.append(chosen)
        rows += chosen.num_rows
        if rows >= _GATHER_ROWS:
            yield from _by_bucket(source, waiting)
            waiting, rows = [], 0
    if rows:
        yield from _by_bucket(source, waiting)


def _by_bucket(source: RunSource, pieces: Sequence[pa.Table]) -> Iterator[tuple[str, Int64s, Int64s]]:
    table = pa.concat_tables(pieces)
    buckets = table.column("bucket").combine_chunks().dictionary_encode()
    names = buckets.dictionary.to_pylist()
    nulls = sum(table.column(name).null_count for name in ("bucket", "key", "value"))
    if nulls or not all(_BUCKET.fullmatch(name) for name in names):
        raise LakeError(
            "INDEX-ROW",
            "a row has no key, value or bucket, or one no file can be named for",
            index=source.name,
        )
    keys, values = (table.column(name).to_numpy() for name in ("key", "value"))
    number = buckets.indices.to_numpy()
    order = np.argsort(number, kind="stable")
    cuts = np.searchsorted(number[order], np.arange(len(names) + 1))
    for place, name in enumerate(names):
        rows = order[cuts[place] : cuts[place + 1]]
        yield name, keys[rows], values[rows]


def _merge_small(folder: Path, bucket: str, runs: list[Run], kept: set[str]) -> None:
    """Merge the newest runs while they are not much smaller than the one before: few runs, each row moved rarely.

    Args:
        folder: where the runs lie.
        bucket: whose runs.
        runs: oldest first; changed in place.
        kept: files that the manifest on disk names: they stay until it is replaced.
    """
    while (
        len(runs) > 1
        and runs[-2].rows <= 2 * runs[-1].rows
        and runs[-2].rows + runs[-1].rows <= _MOST_MERGED_ROWS
    ):
        older, newer = runs[-2:]
        runs[-2:] = [merge_runs(folder, bucket, older, newer)]
        for run in (older, newer):
            if run.file not in kept:
                (folder / run.file).unlink()


def _read_manifest(folder: Path, source: RunSource) -> Manifest | None:
    """The manifest; None where there is none, or none that can be used."""
    try:
        tree = json.loads((folder / "manifest.json").read_text("ascii"))
        if tree["format"] != _FORMAT or tree["question"] != source.question:
            return None
        runs = {bucket: tuple(Run(**run) for run in found) for bucket, found in tree["runs"].items()}
        return Manifest(int(tree["version"]), runs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_manifest(folder: Path, source: RunSource, manifest: Manifest) -> None:
    tree = {
        "format": _FORMAT,
        "question": source.question,
        "version": manifest.version,
        "runs": {bucket: [dataclasses.asdict(run) for run in runs] for bucket, runs in manifest.runs.items()},
    }
    temporary = folder / f"manifest.{uuid.uuid4().hex}.tmp"
    with temporary.open("w", encoding="ascii") as file:
        json.dump(tree, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "manifest.json")
    handle = os.open(folder, os.O_RDONLY)  # the new name is on disk before old runs go
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
