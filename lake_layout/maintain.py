"""Upkeep of a table between batches: checkpoints, small files made one, old log entries and claims removed.

Run by the process that runs the table's stage, so that it never meets a batch of its own half done. Removed files
stay in the store: a stage that is behind still reads them by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import structlog
from deltalake import DeltaTable

from lake_layout.claims import claim_path
from lake_layout.commit import commit_by_hand
from lake_layout.files import write_file
from lake_layout.lake import Lake, delta_faults
from lake_layout.objects import open_store
from lake_layout.reading import read_file
from schemas.table import Table

log = structlog.get_logger(__name__)

CHECKPOINT_EVERY = 50
SMALL_BYTES = 16 * 1024 * 1024
MERGED_BYTES = 64 * 1024 * 1024
SMALL_FILES = 16
MOST_LIVE_FILES = 5_000
KEPT_BATCHES = 20


@dataclass(frozen=True)
class Upkeep:
    """What was done to a table: files that were merged, files they became, files that are live now."""

    merged: int
    into: int
    live: int


def maintain(lake: Lake, table: Table, *, read_up_to: int | None = None) -> Upkeep:
    """Keep a table quick to open and to read.

    Args:
        lake: where.
        table: which.
        read_up_to: the version that whoever follows this table's commits has reached; None where nobody does. Log
            entries after it are never cleaned.
    """
    handle = lake.open(table)
    merged = into = 0
    for small in small_files(handle, table):
        if _compact(lake, table, small):
            merged, into = merged + len(small), into + 1
    handle = lake.open(table)
    live = handle.get_add_actions().num_rows
    if live > MOST_LIVE_FILES:
        log.warning("too_many_live_files", table=table.name, files=live, limit=MOST_LIVE_FILES)
    if handle.version() - _checkpoint(lake, table) >= CHECKPOINT_EVERY:
        with delta_faults(table):
            handle.create_checkpoint()
            if read_up_to is None or read_up_to >= handle.version():
                handle.cleanup_metadata()
    return Upkeep(merged, into, live)


def small_files(handle: DeltaTable, table: Table) -> Iterator[list[tuple[str, date | None]]]:
    """Groups of small live files of one partition that are worth making one: (path, partition)."""
    actions = pa.table(handle.get_add_actions(flatten=True)).sort_by("modification_time")
    column = f"partition.{table.partition_by}"
    partitions = actions.column(column).to_pylist() if column in actions.column_names else [None] * len(actions)
    groups: dict[date | None, list[tuple[str, date | None]]] = {}
    sizes: dict[date | None, int] = {}
    paths, lengths = actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist()
    for path, size, partition in zip(paths, lengths, partitions, strict=True):
        if size >= SMALL_BYTES:
            continue
        groups.setdefault(partition, []).append((path, partition))
        sizes[partition] = sizes.get(partition, 0) + size
        if sizes[partition] >= MERGED_BYTES:
            yield groups.pop(partition)
            sizes.pop(partition)
    for group in groups.values():
        if len(group) >= SMALL_FILES:
            yield group


def _compact(lake: Lake, table: Table, small: Sequence[tuple[str, date | None]]) -> bool:
    """Make one file of several; whether it was committed (somebody else's commit in between is no fault)."""
    handle = lake.open(table)
    columns = [field.name for field in table.fields if field.name != table.partition_by]
    rows = pa.concat_tables([read_file(lake, table, path, columns) for path, _ in small])
    file = write_file(lake, table, rows, small[0][1])
    done = commit_by_hand(
        handle, table, [file], [path for path, _ in small], {}, {"phl.what": "compact"}, new_rows=False
    )
    log.info("files_merged", table=table.name, files=len(small), rows=file.rows, committed=done)
    return done


def _checkpoint(lake: Lake, table: Table) -> int:
    """Version of the last checkpoint; -1 where there is none."""
    data = open_store(lake.location).get_or_none(f"{table.name}/_delta_log/_last_checkpoint")
    if data is None:
        return -1
    try:
        return int(json.loads(data)["version"])
    except (ValueError, KeyError, TypeError):
        return -1


def forget_claims(lake: Lake, stage: str, batch: int) -> None:
    """Remove the claim of a batch that ended long before ``batch``; cost does not grow with their number."""
    old = batch - KEPT_BATCHES
    if old < 1:
        return
    store = open_store(lake.location)
    generation = 0
    while store.size(claim_path(stage, old, generation)) is not None:
        for ending in ("closing", "closed", "json"):
            store.delete(claim_path(stage, old, generation, ending))
        generation += 1
