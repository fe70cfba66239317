"""Handles on tables that a process keeps: a look at a table then costs what was added since, not all of its log.

Opening reads every commit since the last checkpoint, and a stage looks at each of its tables for every batch. A handle
is moved only by who took it out, and who commits keeps it out until the commit is done: nobody moves it between a
decision and its commit. Others read from it meanwhile, or open their own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from deltalake import DeltaTable

from lake_layout.delta_log import log_path, read_commits
from lake_layout.lake import Lake, read_log
from lake_layout.location import LakeLocation
from schemas.table import Table

OPENED_AGAIN_AFTER = 100
"""Commits: what a handle keeps of its log grows with each."""

KEPT_OF_A_TABLE = 2
"""Who plans a batch has one out, and looks at the same table beside."""


class KeptTable(DeltaTable):
    """A table's handle that remembers what it was asked of progress, and knows the progress of what was added since.

    The library reads the log since the last checkpoint for each answer.

    Attributes:
        opened: the version it was opened at.
        entry: the log's entry at that version: another table has another there; None where maintenance removed it.
    """

    def __init__(self, lake: Lake, table: Table) -> None:
        """Open the table at its newest version.

        Raises:
            LakeError, TransportError: as ``Lake.open``.
        """
        uri, options, begin = lake.table_uri(table), lake.location.storage_options(), super().__init__
        read_log(table, lambda: begin(uri, storage_options=options))
        self._store, self._name = lake.store, table.name
        self.opened = int(self.version())
        self.entry = self._store.get_or_none(log_path(table.name, self.opened))
        self._txns: tuple[int, dict[str, int | None]] = (self.opened, {})

    def is_still_there(self) -> bool:
        """Whether it is the table that lies there now."""
        return (
            self.entry is not None
            and self._store.get_or_none(log_path(self._name, self.opened)) == self.entry
        )

    def update_incremental(self) -> None:
        """Move to the newest version."""
        super().update_incremental()
        known, txns = self._txns
        newest = int(self.version())
        txns = dict(txns)
        for commit in read_commits(self._store, self._name, range(known + 1, newest + 1)):
            if commit is None:
                txns = {}
                break
            txns.update(commit.txns)
        self._txns = (newest, txns)

    def transaction_version(self, app_id: str) -> int | None:
        """The txn version that the table has under an app id; None where there is none."""
        known, txns = self._txns
        if known != int(self.version()):  # another thread moves it just now
            return super().transaction_version(app_id)
        if app_id not in txns:
            txns[app_id] = super().transaction_version(app_id)
        return txns[app_id]


@dataclass
class _Handles:
    """The handles of one process on the tables of one lake that nobody has taken out, by table name."""

    kept: dict[str, list[KeptTable]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, table: Table) -> KeptTable | None:
        """One that nobody else moves from now on; None where there is none."""
        with self.lock:
            free = self.kept.get(table.name)
            return free.pop() if free else None

    def give_back(self, table: Table, handle: KeptTable) -> None:
        """Let others have it."""
        with self.lock:
            free = self.kept.setdefault(table.name, [])
            if len(free) < KEPT_OF_A_TABLE:
                free.append(handle)


@functools.lru_cache(maxsize=16)
def _handles(_location: LakeLocation, _process: int) -> _Handles:
    """One set per lake and process: handles must not be used on both sides of a fork."""
    return _Handles()


def _of(lake: Lake) -> _Handles:
    return _handles(lake.location, os.getpid())


def current_handle(lake: Lake, table: Table) -> DeltaTable:
    """A handle at the table's newest version, to look at; another thread may move it on.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    with borrowed_handle(lake, table) as handle:
        return handle


def id_of(lake: Lake, table: Table) -> str:
    """The id of the table that lies there now: what a kept handle says, after a look whether it is still that one.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    handles = _of(lake)
    kept = handles.take(table)
    if kept is None or not kept.is_still_there():
        return str(current_handle(lake, table).metadata().id)
    handles.give_back(table, kept)
    return str(kept.metadata().id)


@contextlib.contextmanager
def borrowed_handle(lake: Lake, table: Table) -> Iterator[DeltaTable]:
    """A handle at the table's newest version that nobody else moves until the block ends.

    Raises:
        LakeError, TransportError: as ``Lake.open``.
    """
    handles = _of(lake)
    kept = handles.take(table)  # whatever goes wrong, it is opened anew
    if kept is None or int(kept.version()) - kept.opened >= OPENED_AGAIN_AFTER or not kept.is_still_there():
        kept = KeptTable(lake, table)
    else:
        read_log(table, kept.update_incremental)
    yield kept
    handles.give_back(table, kept)
