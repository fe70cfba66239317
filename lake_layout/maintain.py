"""Upkeep of a table between batches: small files made one, checkpoints, and old files, log entries, claims removed.

What is not finished is left alone: files and log entries of open batches (they may have to be rolled back) and
what another stage has not read yet. Everything else is only laid out anew, so nothing here can lose a row; a
compaction that meets another's commit looks again before it is tried again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

import pyarrow as pa
import structlog
from deltalake import DeltaTable

from lake_layout.added_since import files_added
from lake_layout.claims import FOLDER, GENERATIONS, Claim, claim_app_id, claim_of_path, newest_claims, now
from lake_layout.commit import Change, CommitState, commit_change
from lake_layout.delta_log import log_path, read_commit
from lake_layout.fail_points import fail_point
from lake_layout.files import write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake, delta_faults
from lake_layout.live_files import LiveFile, files_of
from lake_layout.place import Place, single_place
from lake_layout.reading import read_file
from schemas.table import Table

log = structlog.get_logger(__name__)

CHECKPOINT_EVERY = 10
"""Commits from one checkpoint to the next: whoever opens the table reads what came since."""

CLEAN_EVERY = 50
"""Commits from one look for what is no longer needed to the next; it lists the whole table."""

SMALL_BYTES = 8 * 1024 * 1024
"""Files below this are merged."""

MERGED_BYTES = 32 * 1024 * 1024
"""Merged files get about this large; their rows are held in memory as a whole."""

SMALL_FILES = 16
"""So many small files of a partition are worth a rewrite."""

MOST_LIVE_FILES = 5_000
"""Every refresh reads all of them: beyond this, commits get slow."""

KEPT_BATCHES = 20
"""Claims of so many batches are kept to look at."""

KEPT_DAYS = 30
"""So long the log tells single commits, and old versions can be read."""

KEPT_REMOVED_HOURS = 7 * 24
"""So long files stay that are not part of the table any more: readers may still be at them."""

NOBODY_READS: Mapping[str, int] = MappingProxyType({})

_TOGETHER = 4
"""Tables that are looked after at the same time; each may hold the rows of a merge in memory."""

_LOG_FILE = re.compile(r"(\d{20})\.(json|checkpoint\..*parquet)")


@dataclass(frozen=True)
class Upkeep:
    """What was done to a table.

    Attributes:
        merged: files that were merged.
        into: files that they became.
        live: files of the table now.
        cleaned: objects of its log removed.
        deleted: files deleted that were no part of it any more.
    """

    merged: int
    into: int
    live: int
    cleaned: int
    deleted: int


def maintain(
    lake: Lake,
    table: Table,
    *,
    read_up_to: int | None = None,
    kept_days: float = KEPT_DAYS,
    kept_removed_hours: int = KEPT_REMOVED_HOURS,
) -> Upkeep:
    """Keep a table quick to open and to read.

    Args:
        lake: where.
        table: which.
        read_up_to: the version that whoever follows this table's commits has reached; None where nobody does.
            Files and log entries after it are left alone.
        kept_days: log entries younger than this are kept.
        kept_removed_hours: files that left the table less than this ago are kept.

    Raises:
        LakeError, TransportError: the table cannot be read, or commits are refused all the time.
    """
    handle = current_handle(lake, table)
    return _maintain(
        lake, table, handle, newest_claims(lake.store), read_up_to, kept_days, kept_removed_hours
    )


def maintain_all(
    lake: Lake, tables: Sequence[Table], read_up_to: Mapping[str, int] = NOBODY_READS
) -> list[Upkeep]:
    """The same for several tables, some at a time: it is the store's answers that take long.

    Claims are looked for once, after all tables were opened: what a later batch adds is not seen here.

    Args:
        lake: where.
        tables: which.
        read_up_to: by name of a table, as for one; a table that is not there has nobody who follows it.
    """
    with ThreadPoolExecutor(_TOGETHER) as pool:
        handles = list(pool.map(lambda table: current_handle(lake, table), tables))
        claims = newest_claims(lake.store)
        return list(
            pool.map(
                lambda table, handle: _maintain(
                    lake, table, handle, claims, read_up_to.get(table.name), KEPT_DAYS, KEPT_REMOVED_HOURS
                ),
                tables,
                handles,
            )
        )


def _maintain(
    lake: Lake, table: Table, handle: DeltaTable, claims: Sequence[Claim], read_up_to: int | None,
    kept_days: float, kept_removed_hours: int,
) -> Upkeep:  # fmt: skip
    """The upkeep of a table, given a handle and the claims that were there after it was opened."""
    newest = int(handle.version())
    open_since = _open_since(lake, table, handle, claims)
    unread = newest if read_up_to is None else min(read_up_to, newest)
    untouched = min(unread, newest if open_since is None else open_since - 1)
    merged = into = 0
    for small in _small_files(lake, table, handle, untouched):
        if _compact(lake, table, small):
            merged, into = merged + len(small), into + 1
    if merged:
        handle = current_handle(lake, table)
    live = handle.get_add_actions().num_rows
    if live > MOST_LIVE_FILES:
        log.warning("too_many_live_files", table=table.name, files=live, limit=MOST_LIVE_FILES)
    checkpoint = last_checkpoint(lake, table)
    cleaned = deleted = 0
    if int(handle.version()) - checkpoint >= CHECKPOINT_EVERY:
        fail_point("before-checkpoint")
        with delta_faults(table):
            handle.create_checkpoint()
        fail_point("after-checkpoint")
        if int(handle.version()) // CLEAN_EVERY > checkpoint // CLEAN_EVERY:
            deleted = _delete_removed(table, handle, kept_removed_hours)
            fail_point("after-vacuum")
            cleaned = clean_log(lake, table, min(untouched, last_checkpoint(lake, table)), kept_days)
    upkeep = Upkeep(merged, into, live, cleaned, deleted)
    log.debug(
        "table_maintained",
        table=table.name,
        merged=merged,
        into=into,
        live=live,
        cleaned=cleaned,
        deleted=deleted,
    )
    return upkeep


def _open_since(lake: Lake, table: Table, handle: DeltaTable, claims: Sequence[Claim]) -> int | None:
    """The first version that a batch which has not ended added to the table; None where there is none."""
    found: list[int] = []
    for claim in claims:
        mark = handle.transaction_version(claim_app_id(claim.stage)) or 0
        # On its last table a batch's commit is its end.
        if mark // GENERATIONS != claim.batch or claim.last == table.name:
            continue
        for version in range(int(handle.version()), -1, -1):
            commit = read_commit(lake.store, table.name, version)
            if commit is None:
                found.append(version + 1)
                break
            if (commit.ours.get("stage"), commit.ours.get("batch")) == (claim.stage, claim.batch):
                found.append(version)
                break
    return min(found, default=None)


def _small_files(lake: Lake, table: Table, handle: DeltaTable, untouched: int) -> Iterator[list[LiveFile]]:
    """Groups of small files that are worth making one.

    Files of one topic partition stay with their like, so that the table's statistics go on telling where each
    partition ends.
    """
    newest = int(handle.version())
    recent = (
        {file.path for file in files_added(lake, table, untouched, newest)} if untouched < newest else set()
    )
    groups: dict[tuple[date | None, Place | None], list[LiveFile]] = {}
    for file in sorted(files_of(handle, table), key=lambda file: (file.modified, file.path)):
        if file.size >= SMALL_BYTES or file.path in recent:
            continue
        key = (file.partition, single_place(file))
        groups.setdefault(key, []).append(file)
        if sum(one.size for one in groups[key]) >= MERGED_BYTES:
            yield groups.pop(key)
    yield from (group for group in groups.values() if len(group) >= SMALL_FILES)


def _compact(lake: Lake, table: Table, small: Sequence[LiveFile]) -> bool:
    """Make one file of several; False where somebody else has taken one of them out meanwhile."""
    columns = [field.name for field in table.fields if field.name != table.partition_by]
    rows = pa.concat_tables([read_file(lake, table, file.path, columns) for file in small])
    fresh = write_file(lake, table, rows, small[0].partition)
    paths = {file.path for file in small}
    former = [file.to_remove(table) for file in small]

    def decide(handle: DeltaTable) -> Change | None:
        if not paths <= {file.path for file in files_of(handle, table)}:
            return None
        fail_point("before-merge")
        return Change([fresh], former, {}, {"kind": "compact"}, data_change=False)

    done = commit_change(lake, table, decide).state is CommitState.COMMITTED
    fail_point("after-merge")
    log.info("files_merged", table=table.name, files=len(small), rows=fresh.rows, committed=done)
    return done


def last_checkpoint(lake: Lake, table: Table) -> int:
    """Version of the last checkpoint; -1 where there is none."""
    data = lake.store.get_or_none(f"{table.name}/_delta_log/_last_checkpoint")
    if data is None:
        return -1
    try:
        return int(json.loads(data)["version"])
    except (ValueError, KeyError, TypeError):
        return -1


def clean_log(lake: Lake, table: Table, before: int, kept_days: float) -> int:
    """Remove log entries and checkpoints of versions below ``before`` that are older than ``kept_days``.

    ``before`` must not lie above a checkpoint. They go oldest first, so that what is left has no gap.

    Returns:
        How many objects were removed.
    """
    store = lake.store
    oldest = now() - timedelta(days=kept_days)
    removed = 0
    folder = log_path(table.name, 0).rpartition("/")[0]
    for info in sorted(store.list(f"{folder}/"), key=lambda info: info.path):
        version = _LOG_FILE.fullmatch(info.path.rpartition("/")[2])
        if version is None:
            continue
        if int(version[1]) >= before or info.modified > oldest:
            break
        store.delete(info.path)
        fail_point("log-entry-deleted")
        removed += 1
    return removed


def _delete_removed(table: Table, handle: DeltaTable, hours: int) -> int:
    """Delete files that left the table more than ``hours`` ago."""
    with delta_faults(table):
        if not handle.vacuum(hours, dry_run=True, enforce_retention_duration=False):
            return 0
        return len(handle.vacuum(hours, dry_run=False, enforce_retention_duration=False))


def forget_claims(lake: Lake, stage: str, batch: int) -> int:
    """Remove the claims of batches that ended long before ``batch``; how many."""
    old = []
    for info in lake.store.list(f"{FOLDER}/{stage}/"):
        place = claim_of_path(info.path)
        if place is not None and place[1] <= batch - KEPT_BATCHES:
            old.append(info.path)
    for path in old:
        lake.store.delete(path)
        fail_point("claim-deleted")
    return len(old)
