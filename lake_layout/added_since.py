"""What the commits of a table added, read from its log: the input of the next stage.

Deltas of the live files would be fooled by compaction, and the change feed answers nothing where the log was
cleaned; the log itself says what each commit brought.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from urllib.parse import unquote

from lake_layout.lake import Lake
from lake_layout.objects import open_store
from lake_layout.reading import partition_of
from schemas.errors import LakeError
from schemas.table import Table


@dataclass(frozen=True, slots=True)
class AddedFile:
    """A file that a commit added with new rows.

    Attributes:
        path: relative to the table.
        rows: number of rows.
        size: bytes.
        partition: value of the partition column.
        version: the commit.
    """

    path: str
    rows: int
    size: int
    partition: date | None
    version: int


def files_added(lake: Lake, table: Table, after: int, upto: int) -> list[AddedFile]:
    """Files with new rows that the commits (after, upto] added, in the order of commits.

    Rewrites without new rows (compaction) do not count; what a later commit of the span took back does not
    either.

    Raises:
        LakeError: ``LAKE-LOG-GONE`` where a commit's log entry is no longer there.
    """
    versions = range(after + 1, upto + 1)
    store = open_store(lake.location)
    names = [log_path(table, version) for version in versions]
    if len(names) > 4:
        with ThreadPoolExecutor(8) as pool:
            entries = list(pool.map(store.get_or_none, names))
    else:
        entries = [store.get_or_none(name) for name in names]
    found: dict[str, AddedFile] = {}
    for version, entry in zip(versions, entries, strict=True):
        if entry is None:
            raise LakeError(
                "LAKE-LOG-GONE", "the table's log was cleaned past what has been read", table=table.name, version=version
            )
        for line in entry.splitlines():
            action = json.loads(line) if line.strip() else {}
            if (removed := action.get("remove")) and removed.get("dataChange"):
                found.pop(unquote(removed["path"]), None)
            if (added := action.get("add")) and added.get("dataChange"):
                path = unquote(added["path"])
                rows = json.loads(added.get("stats") or "{}").get("numRecords", 0)
                found[path] = AddedFile(path, rows, added["size"], partition_of(table, path), version)
    return list(found.values())


def log_path(table: Table, version: int) -> str:
    """Where the log entry of a commit lies, below the lake's root."""
    return f"{table.name}/_delta_log/{version:020d}.json"
