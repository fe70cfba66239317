"""Handles on tables that a process keeps: a look at a table then costs what was added since, not all of its log.

Opening reads every commit since the last checkpoint; a stage looks at each of its tables twice a batch.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from deltalake import DeltaTable

from lake_layout.delta_log import log_path
from lake_layout.lake import Lake, delta_faults
from lake_layout.location import LakeLocation
from schemas.table import Table

OPENED_AGAIN_AFTER = 10
"""Commits: progress is looked for in all of them that are newer than the checkpoint a handle was opened at."""


@dataclass
class _Kept:
    """A handle and what is known of it.

    Attributes:
        handle: for one thread at a time.
        opened: the version it was opened at.
        entry: the log's entry at that version: another table has another there.
        behind: this process has committed since the handle was brought up to date.
        progress: the version that ``txns`` are of,
        txns: txn versions by app id, as far as they are known.
    """

    handle: DeltaTable
    opened: int
    entry: bytes
    behind: bool = False
    progress: int = -1
    txns: dict[str, int | None] = field(default_factory=dict)


@dataclass
class _Handles:
    """The handles of one process on the tables of one lake, by table name."""

    kept: dict[str, _Kept] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@functools.lru_cache(maxsize=16)
def _handles(_location: LakeLocation, _process: int) -> _Handles:
    """One set per lake and process: handles must not be used on both sides of a fork."""
    return _Handles()


def _of(lake: Lake) -> _Handles:
    return _handles(lake.location, os.getpid())


def current_handle(lake: Lake, table: Table) -> DeltaTable:
    """A handle at the table's newest version.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    return _handle(lake, table, newest=True)


def recent_handle(lake: Lake, table: Table) -> DeltaTable:
    """A handle at a version that was the newest when this process looked last, for who commits without retries.

    A commit on it is refused where others have added to the table meanwhile.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    return _handle(lake, table, newest=False)


def _handle(lake: Lake, table: Table, *, newest: bool) -> DeltaTable:
    handles = _of(lake)
    with handles.lock:
        kept = handles.kept.pop(table.name, None)  # whatever goes wrong, it is opened anew
    if kept is None or not _is_still(lake, table, kept):
        kept = _opened(lake, table)
    elif newest or kept.behind:
        with delta_faults(table):
            kept.handle.update_incremental()
        kept.behind = False
    if kept is None:
        return lake.open(table)
    with handles.lock:
        handles.kept[table.name] = kept
    return kept.handle


def forget_handle(lake: Lake, table: Table) -> None:
    """Open the table anew the next time: something unclear has happened."""
    handles = _of(lake)
    with handles.lock:
        handles.kept.pop(table.name, None)


def txn_version(lake: Lake, table: Table, handle: DeltaTable, app_id: str) -> int | None:
    """The txn version that a handle's version of the table has under an app id; None where there is none.

    The library reads the log since the last checkpoint for each answer; here each is looked for once, and what this
    process has committed itself is known.
    """
    version = int(handle.version())
    kept = _of(lake).kept.get(table.name)
    if kept is None or kept.handle is not handle:
        found = handle.transaction_version(app_id)
        return None if found is None else int(found)
    if kept.progress != version:
        kept.progress, kept.txns = version, {}
    if app_id not in kept.txns:
        found = handle.transaction_version(app_id)
        kept.txns[app_id] = None if found is None else int(found)
    return kept.txns[app_id]


def committed(lake: Lake, table: Table, handle: DeltaTable, txns: Mapping[str, int]) -> None:
    """To be told of each commit that this process made on a handle, which does not move by that."""
    kept = _of(lake).kept.get(table.name)
    if kept is None or kept.handle is not handle:
        return
    version = int(handle.version())
    known = kept.txns if kept.progress == version else {}
    kept.behind, kept.progress, kept.txns = True, version + 1, {**known, **txns}


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
