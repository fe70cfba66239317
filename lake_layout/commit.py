"""Commit files to a table, so that no race, repetition or lost answer adds rows twice or not at all.

The library's own checks are not enough: on a fresh handle it takes any ``txn``, its retries rebase a stale
rewrite over a compaction, it commits partition values that make the table unreadable for ever, and it removes
files that are not there. So all of that is checked here, and a commit is tried once per look at the table.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import structlog
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from lake_layout.claims import Claim, batch_app_id, claim_app_id, is_newest
from lake_layout.delta_log import COPIED, OURS, read_commits
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, check_partition, folder_of, partition_text
from lake_layout.handles import borrowed_handle
from lake_layout.lake import Lake, check_schema
from lake_layout.live_files import files_of
from lake_layout.objects import ObjectStore
from schemas.errors import LakeError, TransportError
from schemas.table import Table

log = structlog.get_logger(__name__)

ATTEMPTS = 40
"""Looks at a table before a commit is given up: other stages share the ledger and may be first again and again."""

UNCLEAR_ANSWERS = 3
"""Errors other than a refusal before a commit is given up; the library has tried each several times itself."""

REPLACED_AGAIN = 5
"""Times that a table is decided anew because upkeep has merged files meanwhile that were to be replaced."""

_CHECKERS = 8


class CommitState(Enum):
    """How a commit ended: by this call, or before it."""

    COMMITTED = "committed"
    ALREADY_DONE = "already done"


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What became of a commit, and the version of the table that has it (or was looked at)."""

    state: CommitState
    version: int


@dataclass(frozen=True)
class Change:
    """What one commit does to a table.

    Attributes:
        add: files to add.
        remove: files to remove, as the log has them; every one must be live.
        txns: txn versions to record, by app id.
        info: what the commit says of itself.
        data_change: False where it only lays the same rows out anew.
    """

    add: Sequence[NewFile]
    remove: Sequence[NewFile]
    txns: Mapping[str, int]
    info: Mapping[str, str | int]
    data_change: bool = True


def commit_table(
    lake: Lake, claim: Claim, table: Table, files: Sequence[NewFile], remove: Sequence[NewFile] = ()
) -> CommitOutcome:
    """Add a batch's files to one of its tables, and take out those that they replace, once.

    A table that is not the stage's last and is not changed is not committed. Repeating the call, in this process
    or another that runs the same claim, changes nothing.

    Args:
        lake: where.
        claim: the batch; its ends become the table's txn versions.
        table: one of the claim's tables.
        files: all files of the batch for this table.
        remove: live files whose rows the new ones have, or which go.

    Raises:
        LakeError: the table is another one than was claimed, is ahead of the batch, or has other columns; the
            batch was taken over; a file is not as it must be; a file to be removed is not live any more
            (``LAKE-REMOVED-ALREADY``). Nothing is committed then.
        TransportError: the store does not answer; whether the commit took place shows when it is repeated.
    """
    ends = table.name == claim.last
    if not files and not remove and not ends:
        return CommitOutcome(CommitState.ALREADY_DONE, lake.version(table))
    if table.name not in claim.tables:
        raise LakeError("CLAIM-TABLE", "the batch does not write this table", **_where(claim, table))
    check_files(lake, table, files)
    txns = {**claim.end, claim_app_id(claim.stage): claim.mark}
    if ends:
        txns[batch_app_id(claim.stage)] = claim.batch
    info: dict[str, str | int] = {
        "kind": "batch", "stage": claim.stage, "batch": claim.batch, "generation": claim.generation,
        "attempt": claim.attempt,
    }  # fmt: skip
    if copied := [file.path.rpartition("/")[2] for file in files if file.copied]:
        info[COPIED] = "/".join(copied)
    change = Change(files, remove, txns, info)

    def decide(handle: DeltaTable) -> Change | None:
        check_table_id(handle, table, claim)
        if is_done(handle, table, claim):
            return None
        if not is_newest(lake.store, claim):
            raise LakeError(
                "CLAIM-TAKEN-OVER",
                "the batch was taken over; this process must not go on",
                **_where(claim, table),
            )
        fail_point("before-last-commit" if ends else "before-commit")
        return change

    outcome = commit_change(lake, table, decide)
    fail_point("after-last-commit" if ends else "after-commit")
    log.info(
        "table_committed", table=table.name, stage=claim.stage, batch=claim.batch, version=outcome.version,
        state=outcome.state.value, files=len(files), rows=sum(file.rows for file in files), removed=len(remove),
    )  # fmt: skip
    return outcome


def replacing(attempt: Callable[[], None]) -> None:
    """Decide which files of a table others replace, and commit that; anew where upkeep has merged any meanwhile.

    Args:
        attempt: looks at the table as it is now, decides and commits.

    Raises:
        LakeError, TransportError: as ``commit_table``.
    """
    for _ in range(REPLACED_AGAIN - 1):
        try:
            return attempt()
        except LakeError as error:
            if error.code != "LAKE-REMOVED-ALREADY":
                raise
    return attempt()


def commit_change(lake: Lake, table: Table, decide: Callable[[DeltaTable], Change | None]) -> CommitOutcome:
    """Look at a table, decide, commit on that same look; begin again where somebody else was quicker.

    Args:
        lake: where.
        table: which table.
        decide: given a handle at the newest version, what to commit; None where nothing is to be done. Called again
            after each refusal, since the refusal means that the table has changed.
    """
    with borrowed_handle(lake, table) as handle:
        return _commit_on(handle, lake, table, decide)


def _commit_on(
    handle: DeltaTable, lake: Lake, table: Table, decide: Callable[[DeltaTable], Change | None]
) -> CommitOutcome:
    own = uuid.uuid4().hex
    unclear = 0
    for attempt in range(ATTEMPTS):
        seen = int(handle.version())
        change = decide(handle)
        if change is None:
            return CommitOutcome(CommitState.ALREADY_DONE, seen)
        check_schema(handle, table)
        _check_live(handle, table, change.remove)
        try:
            _commit(handle, table, change, own)
        except CommitFailedError:
            refusal = "refused"
        except (DeltaError, OSError) as error:
            refusal = type(error).__name__
            unclear += 1
        else:
            # A handle does not move by its own commit; without retries there is only one version it can be.
            return CommitOutcome(CommitState.COMMITTED, seen + 1)
        log.info("commit_refused", table=table.name, seen=seen, attempt=attempt, kind=refusal)
        # Refused, or unclear: the store may have taken the commit and said otherwise.
        time.sleep(random.uniform(0, 0.02 * min(attempt + 1, 10)))  # noqa: S311 - only to part racers
        handle = lake.open(table)
        mine = own_commit(lake.store, table, own, seen + 1, int(handle.version()))
        if mine is not None:
            return CommitOutcome(CommitState.COMMITTED, mine)
        if unclear >= UNCLEAR_ANSWERS:
            raise TransportError(
                "COMMIT-UNCLEAR", "the store does not take a commit", table=table.name, kind=refusal
            )
    raise TransportError("COMMIT-CONTENDED", "others commit to the table all the time", table=table.name)


def _commit(handle: DeltaTable, table: Table, change: Change, own: str) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    actions: list[AddAction | RemoveAction] = [
        AddAction(file.path, file.size, partition_values(table, file), now, change.data_change, file.stats)
        for file in change.add
    ]
    actions += [
        RemoveAction(
            file.path, change.data_change, now, size=file.size, partition_values=partition_values(table, file)
        )
        for file in change.remove
    ]
    handle.create_write_transaction(
        actions,
        mode="append",
        schema=handle.schema(),
        partition_by=[table.partition_by] if table.partition_by else None,
        commit_properties=CommitProperties(
            custom_metadata={OURS: {**change.info, "commit": own}},
            max_commit_retries=0,
            app_transactions=[
                Transaction(app_id, version) for app_id, version in sorted(change.txns.items())
            ],
        ),
        post_commithook_properties=PostCommitHookProperties(
            create_checkpoint=False, cleanup_expired_logs=False
        ),
    )


def partition_values(table: Table, file: NewFile) -> dict[str, str | None]:
    """A file's partition value in the log's form, made from a date and nothing else."""
    check_partition(table, file.partition)
    return {table.partition_by: partition_text(file.partition)} if table.partition_by else {}


def own_commit(store: ObjectStore, table: Table, own: str, first: int, newest: int) -> int | None:
    """The version among ``first`` … ``newest`` that a commit with this id made, None where there is none."""
    versions = range(first, newest + 1)
    for version, commit in zip(versions, read_commits(store, table.name, versions), strict=True):
        if commit is not None and commit.ours.get("commit") == own:
            return version
    return None


def check_table_id(handle: DeltaTable, table: Table, claim: Claim) -> None:
    """Refuse a table that took the place of the one claimed."""
    if str(handle.metadata().id) != claim.tables[table.name]:
        raise LakeError(
            "LAKE-TABLE-REPLACED", "the table is not the one that the batch was claimed for; put it back",
            **_where(claim, table),
        )  # fmt: skip


def check_files(lake: Lake, table: Table, files: Sequence[NewFile]) -> None:
    """Refuse files that are not the table's, lie in another partition than they say, or are not there whole."""
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise LakeError("LAKE-FILE-TWICE", "a file is named twice in one commit", table=table.name)
    for file in files:
        check_partition(table, file.partition)
        folder, slash, _ = file.path.rpartition("/")
        if file.table != table.name or folder + slash != folder_of(table, file.partition):
            raise LakeError("LAKE-FILE-FOREIGN", "a file belongs elsewhere", table=table.name, path=file.path)
    store = lake.store

    def size(file: NewFile) -> int | None:
        return store.size(f"{table.name}/{file.path}")

    with ThreadPoolExecutor(min(_CHECKERS, max(len(files), 1))) as pool:
        for file, there in zip(files, pool.map(size, files), strict=True):
            if there != file.size:
                raise LakeError(
                    "LAKE-FILE-GONE", "a file is not there as written", table=table.name, path=file.path
                )


def _check_live(handle: DeltaTable, table: Table, remove: Sequence[NewFile]) -> None:
    if not remove:
        return
    live = {file.path for file in files_of(handle, table)}
    if missing := [file.path for file in remove if file.path not in live]:
        raise LakeError(
            "LAKE-REMOVED-ALREADY", "a file to be removed is not part of the table any more", table=table.name,
            path=missing[0], files=len(missing),
        )  # fmt: skip


def is_done(handle: DeltaTable, table: Table, claim: Claim) -> bool:
    """Whether the table has this claim's commit.

    Raises:
        LakeError: it has that of a later claim, or parts of one.
    """
    mark = handle.transaction_version(claim_app_id(claim.stage)) or 0
    reached = {app_id: handle.transaction_version(app_id) for app_id in claim.end}
    done = {app_id for app_id, version in reached.items() if version == claim.end[app_id]}
    ahead = any((version or 0) > claim.end[app_id] for app_id, version in reached.items())
    if ahead or mark > claim.mark:
        raise LakeError(
            "STAGE-AHEAD", "the table is beyond this batch: another process runs the same stage; stop one of them",
            **_where(claim, table),
        )  # fmt: skip
    if not done:
        if table.name == claim.last and any(
            (v or claim.begin[a]) != claim.begin[a] for a, v in reached.items()
        ):
            raise LakeError(
                "LAKE-PLACE", "the table does not stand where the batch begins", **_where(claim, table)
            )
        return False
    if len(done) != len(reached) or mark != claim.mark:
        # Never written by our commits, which record all of these at once.
        raise LakeError(
            "LAKE-PROGRESS-MIXED", "the table's progress is not of one batch", **_where(claim, table)
        )
    return True


def _where(claim: Claim, table: Table) -> dict[str, str | int]:
    return {"table": table.name, "stage": claim.stage, "batch": claim.batch, "generation": claim.generation}
