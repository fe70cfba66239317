"""Handles on tables that a process keeps: a look at a table then costs what was added since, not all of its log.

Opening reads every commit since the last checkpoint; a stage looks at each of its tables twice a batch.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass, field

from deltalake import DeltaTable

from lake_layout.delta_log import log_path
from lake_layout.lake import Lake, delta_faults
from lake_layout.location import LakeLocation
from schemas.table import Table

OPENED_AGAIN_AFTER = 10
"""Commits: progress is looked for in all of them that are newer than the checkpoint a handle was opened at."""


@dataclass(frozen=True)
class _Kept:
    """A handle, and the log's entry at the version where it was opened: another table has another there."""

    handle: DeltaTable
    opened: int
    entry: bytes


@dataclass
class _Handles:
    """The handles of one process on the tables of one lake, by table name."""

    kept: dict[str, _Kept] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@functools.lru_cache(maxsize=16)
def _handles(_location: LakeLocation, _process: int) -> _Handles:
    """One set per lake and process: handles must not be used on both sides of a fork."""
    return _Handles()


def current_handle(lake: Lake, table: Table) -> DeltaTable:
    """A handle at the table's newest version; for one thread at a time.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    handles = _handles(lake.location, os.getpid())
    with handles.lock:
        kept = handles.kept.pop(table.name, None)  # whatever goes wrong, it is opened anew
    if kept is None or not _is_still(lake, table, kept):
        kept = _opened(lake, table)
    else:
        with delta_faults(table):
            kept.handle.update_incremental()
    if kept is not None:
        with handles.lock:
            handles.kept[table.name] = kept
        return kept.handle
    return lake.open(table)


def forget_handle(lake: Lake, table: Table) -> None:
    """Open the table anew the next time: its handle has seen something unclear."""
    handles = _handles(lake.location, os.getpid())
    with handles.lock:
        handles.kept.pop(table.name, None)


def _is_still(lake: Lake, table: Table, kept: _Kept) -> bool:
    """Whether the handle's table is the one that lies there, and the handle not too old."""
    if int(kept.handle.version()) - kept.opened >= OPENED_AGAIN_AFTER:
        return False
    return lake.store.get_or_none(log_path(table.name, kept.opened)) == kept.entry


def _opened(lake: Lake, table: Table) -> _Kept | None:
    """None where maintenance has removed the newest entry: after a checkpoint, when nothing was added for long."""
    handle = lake.open(table)
    version = int(handle.version())
    entry = lake.store.get_or_none(log_path(table.name, version))
    return None if entry is None else _Kept(handle, version, entry)
