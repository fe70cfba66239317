"""Changes of batches that have ended → the tables of identity; and then forgotten.

The tables are rewritten when changes have come together that are worth it: each of them then costs the same, whatever
the lake holds. In a small lake that is after every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake import DeltaTable

from lake_layout.claims import batch_app_id, now
from lake_layout.commit import REPLACED_AGAIN, Change, CommitState, check_files, commit_change
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of
from lake_layout.reading import read_file
from lake_layout.rewrite import split_file
from lake_layout.sorted_runs import IndexLocation
from pipelines.identity_changes import Standing, applied_up_to, batches_of, changes_of, has_changes
from pipelines.identity_known import known_rows
from schemas.errors import LakeError, TransportError
from schemas.table import Table
from schemas.tables.identification import APPLIED, FORGOTTEN, IDENTIFICATION, IDENTITY_CHANGE, STAGE
from schemas.tables.identity import IDENTITY, UNITS

log = structlog.get_logger(__name__)

ROWS_OF_FILE = 400_000
"""Rows gathered before they become a file."""

APPLIED_AT_A_SHARE = 16
"""Changes are applied where they have so many times less rows than the tables: then each costs the rewriting of so many
rows, whatever the tables hold."""

FEW_ROWS = 200_000
"""Tables that have so many rows together are rewritten after every batch."""

LONGEST_WAIT = timedelta(hours=1)
"""Changes older than this are applied, however few."""

_FEWEST_COPIED = 50_000
"""Of a file with fewer rows beside those that go, these are written with what comes."""


def apply_where_due(lake: Lake, index: IndexLocation, *, at_once: bool = False) -> bool:
    """Bring changes of batches that have ended into their tables, where enough have come together or wait too long.

    May be ended at any moment and begun again, by several processes at once too.

    Args:
        lake: where.
        index: where indexes lie: what is kept there has the changes before they are forgotten.
        at_once: however few they are.

    Returns:
        Whether there were any.

    Raises:
        LakeError, TransportError: a table cannot be read or written.
    """
    changes = current_handle(lake, IDENTITY_CHANGE)
    files = files_of(changes, IDENTITY_CHANGE)
    if not files or not (at_once or _is_due(lake, files)):
        return False
    done = int(current_handle(lake, IDENTIFICATION).transaction_version(batch_app_id(STAGE)) or 0)
    if min(batches_of(file)[0] for file in files) > done:
        return False
    for table in IDENTITY:
        _apply(lake, table, files, done)
    with known_rows(lake, index, done):
        pass
    _forget(lake, done)
    return True


def apply_what_waits(lake: Lake, index: IndexLocation) -> None:
    """The same where nothing new comes: only what waits too long.

    Raises:
        LakeError, TransportError: as ``apply_where_due``.
    """
    files = files_of(current_handle(lake, IDENTITY_CHANGE), IDENTITY_CHANGE)
    if files and oldest_of(files) < now() - LONGEST_WAIT:
        apply_where_due(lake, index, at_once=True)


def _is_due(lake: Lake, files: Sequence[LiveFile]) -> bool:
    waiting = sum(file.rows for file in files)
    there = sum(int(current_handle(lake, table).count()) for table in IDENTITY)
    if there <= FEW_ROWS or waiting * APPLIED_AT_A_SHARE >= there:
        return True
    return oldest_of(files) < now() - LONGEST_WAIT


def oldest_of(files: Sequence[LiveFile]) -> datetime:
    """When the oldest change in some files of ``IDENTITY_CHANGE`` was decided."""
    found = [file.low["decided_at"] for file in files]
    return min(one for one in found if isinstance(one, datetime))


def _apply(lake: Lake, table: Table, changes: Sequence[LiveFile], done: int) -> None:
    """Bring a table to a batch, once; decided anew where somebody else has changed it meanwhile."""
    for _ in range(REPLACED_AGAIN):
        handle = current_handle(lake, table)
        after = applied_up_to(handle)
        if after >= done or not any(has_changes(file, table, after, done) for file in changes):
            return
        standing = Standing.of(table, changes_of(lake, changes, table, after, done))
        if standing.is_nothing:
            return
        add, remove = _replaced(lake, table, files_of(handle, table), standing)
        check_files(lake, table, add)
        change = Change(add, remove, {APPLIED: done}, {"kind": "apply", "stage": STAGE, "batch": done})

        def decide(found: DeltaTable, change: Change = change, after: int = after) -> Change | None:
            if applied_up_to(found) != after:
                return None
            fail_point("before-apply")
            return change

        try:
            outcome = commit_change(lake, table, decide)
        except LakeError as error:
            if error.code != "LAKE-REMOVED-ALREADY":
                raise
            continue
        if outcome.state is CommitState.COMMITTED:
            fail_point("after-apply")
            log.info("changes_applied", table=table.name, upto=done, files=len(add), removed=len(remove))
            return
    raise TransportError("COMMIT-CONTENDED", "others commit to the table all the time", table=table.name)


def _replaced(
    lake: Lake, table: Table, files: Sequence[LiveFile], standing: Standing
) -> tuple[list[NewFile], list[NewFile]]:
    """Files to be added, and files whose other rows they have."""
    writer, removed, unit = Writer(lake, table), [], UNITS[table.name]
    for file in files if len(standing.gone) else ():
        mine = standing.goes(read_file(lake, table, file.path, unit), unit)
        if not mine.any():
            continue
        _, rest = split_file(lake, table, file.path, mine, _FEWEST_COPIED)
        writer.take(rest)
        removed.append(file.to_remove(table))
    writer.take(standing.rows)
    return writer.finish(), removed


def _forget(lake: Lake, done: int) -> None:
    """Take changes out that all tables have."""

    def decide(handle: DeltaTable) -> Change | None:
        if int(handle.transaction_version(FORGOTTEN) or 0) >= done:
            return None
        add, remove = [], []
        for file in files_of(handle, IDENTITY_CHANGE):
            low, high = batches_of(file)
            if low > done:
                continue
            remove.append(file.to_remove(IDENTITY_CHANGE))
            if high > done:  # merged with those of a later batch
                rows = read_file(lake, IDENTITY_CHANGE, file.path)
                rest = rows.filter(pc.greater(rows.column("batch_number"), done))
                add.append(write_file(lake, IDENTITY_CHANGE, rest, None))
        fail_point("before-forget")
        return Change(add, remove, {FORGOTTEN: done}, {"kind": "forget", "stage": STAGE, "batch": done})

    commit_change(lake, IDENTITY_CHANGE, decide)
    fail_point("after-forget")


@dataclass
class Writer:
    """Gathers rows of a table and writes them.

    Attributes:
        lake: where.
        table: which.
        files: that were written.
        waiting: rows that wait.
    """

    lake: Lake
    table: Table
    files: list[NewFile] = field(default_factory=list)
    waiting: list[pa.Table] = field(default_factory=list)

    def take(self, rows: NewFile | pa.Table) -> None:
        """Take up rows, or a file with such."""
        if isinstance(rows, NewFile):
            self.files.append(rows)
        elif rows.num_rows:
            self.waiting.append(rows)
        if sum(piece.num_rows for piece in self.waiting) >= ROWS_OF_FILE:
            self.finish()

    def finish(self) -> list[NewFile]:
        """Write what waits; all files."""
        if self.waiting:
            self.files.append(write_file(self.lake, self.table, pa.concat_tables(self.waiting), None))
            self.waiting = []
        return self.files
