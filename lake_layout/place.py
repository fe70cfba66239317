"""Is a table still what its last batch left?

``restore`` and overwrite keep the recorded progress while they take rows away: whoever goes on from there loses
them for ever. So before a batch the newest commits are looked at, down to the last one of ours.
"""

from __future__ import annotations

import json

from deltalake import DeltaTable

from lake_layout.added_since import log_path
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from schemas.errors import LakeError
from schemas.table import Table

OURS = "phl.what"
"""Name in a commit's metadata that tells our commits from others."""


def commit_info(entry: bytes) -> dict[str, str]:
    """What a commit says of itself; empty where it says nothing."""
    for line in entry.splitlines():
        action = json.loads(line) if line.strip() else {}
        if "commitInfo" in action:
            return {key: str(value) for key, value in action["commitInfo"].items()}
    return {}


def check_place(lake: Lake, table: Table, handle: DeltaTable) -> None:
    """Refuse a table whose rows others changed since our last commit, unless they are the same again.

    Costs one small read where nobody else commits.

    Raises:
        LakeError: ``LAKE-PLACE`` with the version that has what our progress says.
    """
    store = open_store(lake.location)
    changed = False
    for version in range(handle.version(), 0, -1):
        entry = store.get_or_none(log_path(table, version))
        if entry is None:
            return  # cleaned, so long past
        if OURS in commit_info(entry):
            if changed and _live(lake.open(table, version)) != _live(handle):
                raise LakeError(
                    "LAKE-PLACE",
                    "others changed the table's rows after its last batch (restored or overwrote it), so its progress"
                    " no longer tells what it holds; restore the version named here",
                    table=table.name,
                    version=version,
                )
            return
        changed = changed or _changes_rows(entry)


def _changes_rows(entry: bytes) -> bool:
    for line in entry.splitlines():
        action = json.loads(line) if line.strip() else {}
        change = action.get("add") or action.get("remove")
        if change and change.get("dataChange", True):
            return True
    return False


def _live(handle: DeltaTable) -> frozenset[str]:
    return frozenset(handle.file_uris())
