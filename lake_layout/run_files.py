"""Files of sorted entries on local disk: written once, mapped into memory, searched and merged.

A run holds 16 bytes an entry: all keys (int64, ascending), then their values (int64, ascending within a key).
"""

from __future__ import annotations

import mmap
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

Int64s = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
Entries = tuple[Int64s, Int64s]
"""Keys and values of equal length."""

ENTRY_BYTES = 16
MERGE_ROWS = 1_000_000
"""So many entries of a run are held in memory while it is merged."""

_EDGE_BYTES = 4096


class RunDamagedError(Exception):
    """A run is not as it was written; whoever keeps the runs makes them again."""


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        file: its name.
        rows: number of entries.
        after: it holds what came after this version of the table,
        upto: up to and with this one.
        edges: digest of its first and last page, looked at whenever it is opened.
        digest: of all of it, looked at whenever it is read as a whole.
    """

    file: str
    rows: int
    after: int
    upto: int
    edges: str
    digest: str


def sort_entries(keys: Int64s, values: Int64s) -> Entries:
    """By key, then by value. Quick where keys are sorted in stretches and few of them repeat."""
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_values = keys[order], values[order]
    ties = sorted_keys[1:] == sorted_keys[:-1]
    if bool(np.any(ties & (sorted_values[1:] < sorted_values[:-1]))):
        order = np.lexsort((values, keys))
        return keys[order], values[order]
    return sorted_keys, sorted_values


def write_run(folder: Path, bucket: str, rows: int, after: int, upto: int, pieces: Iterable[Entries]) -> Run:
    """Write entries, sorted as a whole, to a new file; durable when this returns.

    Raises:
        OSError: the disk is full or fails.
    """
    name = f"{bucket}.{uuid.uuid4().hex}.run"
    with (folder / name).open("xb") as file:
        written = 0
        for keys, values in pieces:
            file.seek(8 * written)
            file.write(np.ascontiguousarray(keys).data)
            file.seek(8 * (rows + written))
            file.write(np.ascontiguousarray(values).data)
            written += len(keys)
        file.flush()
        os.fsync(file.fileno())
    return Run(name, rows, after, upto, _edges(folder / name), _digest(folder / name))


def open_run(folder: Path, run: Run) -> Entries:
    """The entries of a run, mapped; they stay readable when the file is removed meanwhile.

    Raises:
        RunDamagedError: it is gone, or not as it was written, as far as size and edges tell.
    """
    try:
        path = folder / run.file
        if path.stat().st_size != ENTRY_BYTES * run.rows or _edges(path) != run.edges:
            raise RunDamagedError(run.file)
        with path.open("rb") as file:
            whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.int64)
    except (OSError, ValueError):
        raise RunDamagedError(run.file) from None
    return whole[: run.rows], whole[run.rows :]


def merge_runs(folder: Path, bucket: str, older: Run, newer: Run) -> Run:
    """Two neighbouring runs as a new one.

    Raises:
        RunDamagedError: one of them is not as it was written.
        OSError: the disk is full or fails.
    """
    for run in (older, newer):
        if _digest(folder / run.file) != run.digest:
            raise RunDamagedError(run.file)
    pieces = merged(open_run(folder, older), open_run(folder, newer))
    return write_run(folder, bucket, older.rows + newer.rows, older.after, newer.upto, pieces)


def merged(first: Entries, second: Entries, block: int = MERGE_ROWS) -> Iterator[Entries]:
    """Two sorted runs as one, ``block`` entries of the longer at a time; all entries of a key stay together."""
    if len(first[0]) < len(second[0]):
        first, second = second, first
    start_a = start_b = 0
    while start_a < len(first[0]):
        end_a, end_b = min(start_a + block, len(first[0])), len(second[0])
        if end_a < len(first[0]):
            cut = first[0][end_a - 1]
            end_a = int(np.searchsorted(first[0], cut, "right"))
            end_b = int(np.searchsorted(second[0], cut, "right")) if end_a < len(first[0]) else len(second[0])
        yield sort_entries(
            np.concatenate([first[0][start_a:end_a], second[0][start_b:end_b]]),
            np.concatenate([first[1][start_a:end_a], second[1][start_b:end_b]]),
        )
        start_a, start_b = end_a, end_b
    if start_b < len(second[0]):
        yield second[0][start_b:], second[1][start_b:]


def find(entries: Entries, key: Int64s, value: Int64s) -> tuple[Bools, Bools]:
    """For each pair: whether the key is there, and whether it is with this value.

    Args:
        entries: sorted.
        key: looked for; ascending, so that each page is touched once.
        value: looked for with it.
    """
    keys, values = entries
    known = np.zeros(len(key), np.bool_)
    same = np.zeros(len(key), np.bool_)
    if not len(keys) or not len(key):
        return known, same
    low = np.searchsorted(keys, key, "left")
    found = np.flatnonzero(keys[np.minimum(low, len(keys) - 1)] == key)
    known[found] = True
    # the values of a key are ascending: binary searches in all spans at once, for a sender that gives every
    # message the same control id makes long ones
    wanted = value[found]
    begin, end = low[found], np.searchsorted(keys, key[found], "right")
    stop = end.copy()
    while bool(np.any(begin < end)):
        middle = (begin + end) // 2
        open_span = begin < end
        smaller = open_span & (values[np.minimum(middle, len(values) - 1)] < wanted)
        begin = np.where(smaller, middle + 1, begin)
        end = np.where(open_span & ~smaller, middle, end)
    inside = begin < stop
    same[found] = inside & (values[np.minimum(begin, len(values) - 1)] == wanted)
    return known, same


def least(entries: Entries, key: Int64s) -> tuple[Bools, Int64s]:
    """For each key: whether it is there, and its least value (of those that are not there any number).

    Args:
        entries: sorted.
        key: looked for; ascending, so that each page is touched once.
    """
    keys, values = entries
    if not len(keys):
        return np.zeros(len(key), np.bool_), np.zeros(len(key), np.int64)
    low = np.minimum(np.searchsorted(keys, key, "left"), len(keys) - 1)
    return keys[low] == key, values[low]


def entries_of(entries: Entries, key: Int64s) -> Entries:
    """All entries of some keys.

    Args:
        entries: sorted.
        key: looked for; ascending, so that each page is touched once.
    """
    keys, values = entries
    low = np.searchsorted(keys, key, "left")
    many = np.searchsorted(keys, key, "right") - low
    ends = np.cumsum(many)
    place = np.repeat(low - ends + many, many) + np.arange(ends[-1] if len(ends) else 0)
    return keys[place], values[place]


def _edges(path: Path) -> str:
    with path.open("rb") as file:
        first = file.read(_EDGE_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _EDGE_BYTES))
        return xxhash.xxh3_64_hexdigest(first + file.read(_EDGE_BYTES))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return xxhash.xxh3_64_hexdigest(whole)
    except (OSError, ValueError):
        raise RunDamagedError(path.name) from None
