"""Take back what a batch's former generation did to the tables, and keep it from doing more.

The new claim is there before any of this, so a process that still runs the former one either sees it and stops,
or has looked at the table before; then the fence (one commit that records the new claim under the app id that
every commit of the stage records) comes between its look and its commit, and it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import structlog
from deltalake import DeltaTable

from lake_layout.claims import GENERATIONS, Claim, claim_app_id
from lake_layout.commit import Change, CommitState, check_files, check_table_id, commit_change
from lake_layout.delta_log import Commit, read_commit
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, statistics
from lake_layout.lake import Lake
from lake_layout.reading import partition_of, read_file
from schemas.errors import LakeError
from schemas.table import Table

log = structlog.get_logger(__name__)


def roll_back_earlier(lake: Lake, tables: Sequence[Table], earlier: Sequence[Claim], claim: Claim) -> None:
    """Fence each table against earlier generations of a batch, remove what they added, put back what they removed.

    May be repeated, and by several processes at once: a table that has the fence is left alone.

    Args:
        lake: where.
        tables: the stage's tables.
        earlier: claims of the same batch before ``claim``.
        claim: the generation that takes over.

    Raises:
        LakeError: an earlier generation wrote a table that the stage no longer knows, the files that it added
            were rewritten since, or those that it removed are gone; nothing of that table is changed then.
    """
    known = {table.name for table in tables}
    if unknown := {name for former in earlier for name in former.tables} - known:
        raise LakeError(
            "ROLLBACK-TABLE", "an open batch of another program version wrote a table unknown to this one; "
            "end the batch with that version", stage=claim.stage, batch=claim.batch, table=min(unknown),
        )  # fmt: skip
    for table in tables:
        _fence(lake, table, earlier, claim)


def _fence(lake: Lake, table: Table, earlier: Sequence[Claim], claim: Claim) -> None:
    app_id = claim_app_id(claim.stage)
    removed = restored = 0

    def decide(handle: DeltaTable) -> Change | None:
        nonlocal removed, restored
        check_table_id(handle, table, claim)
        mark = int(handle.transaction_version(app_id) or 0)
        if mark >= claim.mark:
            return None
        files: list[NewFile] = []
        former_files: list[NewFile] = []
        txns = {app_id: claim.mark}
        if mark // GENERATIONS == claim.batch:
            former = next(one for one in earlier if one.mark == mark)
            commit = _newest_of(lake, table, former, int(handle.version()))
            if commit.ours.get("kind") == "batch":
                files = [_as_file(table, commit, index) for index in range(len(commit.added))]
                former_files = [_as_it_was(lake, table, file.path) for file in commit.removed]
                check_files(lake, table, former_files)
                txns |= dict(former.begin)
        removed, restored = len(files), len(former_files)
        fail_point("before-fence")
        return Change(former_files, files, txns, _info(claim))

    outcome = commit_change(lake, table, decide)
    fail_point("after-fence")
    if outcome.state is CommitState.COMMITTED:
        log.warning(
            "batch_rolled_back", stage=claim.stage, batch=claim.batch, generation=claim.generation, table=table.name,
            files=removed, restored=restored,
        )  # fmt: skip


def _newest_of(lake: Lake, table: Table, former: Claim, newest: int) -> Commit:
    """The last commit on the table that a claim made: its batch's or its fence. The table's txn says there is one."""
    for version in range(newest, -1, -1):
        commit = read_commit(lake.store, table.name, version)
        if commit is None:
            break
        ours = commit.ours
        if (ours.get("stage"), ours.get("batch"), ours.get("generation")) == (
            former.stage, former.batch, former.generation,
        ):  # fmt: skip
            return commit
    raise LakeError(
        "ROLLBACK-LOG-GONE", "the commit to be rolled back is gone from the log", table=table.name, stage=former.stage,
        batch=former.batch,
    )  # fmt: skip


def _as_file(table: Table, commit: Commit, index: int) -> NewFile:
    added = commit.added[index]
    return NewFile(table.name, added.path, added.size, partition_of(table, added.path), added.rows, "")


def _as_it_was(lake: Lake, table: Table, path: str) -> NewFile:
    """A file that was removed, which still lies there: upkeep keeps it for days."""
    size = lake.store.size(f"{table.name}/{path}")
    if size is None:
        raise LakeError(
            "ROLLBACK-FILE-GONE", "a file to be put back was deleted; restore it from a copy", table=table.name,
            path=path,
        )  # fmt: skip
    rows = read_file(lake, table, path, [name for name in table.statistics if name != table.partition_by])
    stats = json.dumps(statistics(table, rows), ensure_ascii=False)
    return NewFile(table.name, path, size, partition_of(table, path), rows.num_rows, stats)


def _info(claim: Claim) -> Mapping[str, str | int]:
    return {
        "kind": "fence", "stage": claim.stage, "batch": claim.batch, "generation": claim.generation,
        "attempt": claim.attempt,
    }  # fmt: skip
