"""Handles on tables that a process keeps: a look at a table then costs what was added since, not all of its log.

Opening reads every commit since the last checkpoint, and a stage looks at each of its tables for every batch. Nobody
commits on a kept handle: another thread may move it between a decision and its commit.
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


@dataclass
class _Kept:
    """A handle and what is known of it.

    Attributes:
        handle: threads share it, and any of them may bring it up to date.
        opened: the version it was opened at.
        entry: the log's entry at that version: another table has another there.
        progress: the version that ``txns`` are of,
        txns: txn versions by app id, as far as they were looked for.
    """

    handle: DeltaTable
    opened: int
    entry: bytes
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
    """A handle at the table's newest version, to look at; who commits opens one of his own.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    handles = _of(lake)
    with handles.lock:
        kept = handles.kept.pop(table.name, None)  # whatever goes wrong, it is opened anew
    if kept is None or not _is_still(lake, table, kept):
        kept = _opened(lake, table)
    else:
        with delta_faults(table):
            kept.handle.update_incremental()
    if kept is None:
        return lake.open(table)
    with handles.lock:
        handles.kept[table.name] = kept
    return kept.handle


def txn_version(lake: Lake, table: Table, handle: DeltaTable, app_id: str) -> int | None:
    """The txn version that a handle's version of the table has under an app id; None where there is none.

    The library reads the log since the last checkpoint for each answer; on a kept handle each is looked for once.
    """
    version = int(handle.version())
    kept = _of(lake).kept.get(table.name)
    if kept is None or kept.handle is not handle:
        return _looked_for(handle, app_id)
    if kept.progress != version:
        kept.progress, kept.txns = version, {}
    if app_id not in kept.txns:
        kept.txns[app_id] = _looked_for(handle, app_id)
    return kept.txns[app_id]


def _looked_for(handle: DeltaTable, app_id: str) -> int | None:
    found = handle.transaction_version(app_id)
    return None if found is None else int(found)


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
