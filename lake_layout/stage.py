"""The protocol of a batch: claim it, commit its tables one by one, the last one ends it.

No transaction spans several Delta tables. What makes a batch whole is that it can be run again: the claim says
what is to be done, and each table's ``txn`` says whether its part is done. A process that dies leaves a claim that
the next one adopts; a process that lives on by mistake (a zombie) finds the ``txn`` at the end, or its handle
stale, or its claim closed, and stops.
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import structlog
from deltalake import DeltaTable

from lake_layout.added_since import files_added, log_path
from lake_layout.claims import Claim, batch_app_id, claim_path, is_marked, mark, newest_claim
from lake_layout.commit import commit_by_hand
from lake_layout.files import NewFile
from lake_layout.lake import Lake
from lake_layout.objects import ObjectStore, open_store
from schemas.errors import LakeError, TransportError
from schemas.table import Table

log = structlog.get_logger(__name__)

_RACES = 8


@dataclass(frozen=True)
class Stage:
    """A stage and the tables it writes.

    Attributes:
        name: such as ``normalise-hl7v2``.
        tables: all of them.
        last: the one whose commit ends a batch.
    """

    name: str
    tables: tuple[Table, ...]
    last: Table


@dataclass(frozen=True)
class Plan:
    """What a batch shall do: see the fields of ``Claim``."""

    begin: Mapping[str, int]
    end: Mapping[str, int]
    pins: Mapping[str, int]


@dataclass(frozen=True)
class Progress:
    """How far a stage is, as its last table says."""

    handle: DeltaTable

    def version(self, app_id: str) -> int | None:
        """The version recorded under an app id; None where there is none yet."""
        return self.handle.transaction_version(app_id)


def begin_batch(lake: Lake, stage: Stage, plan: Callable[[Progress], Plan | None], code: str) -> Claim | None:
    """Claim the next batch, or take over one that was begun.

    Args:
        lake: where.
        stage: whose batch.
        plan: what the batch shall do, from how far the stage is; None where there is nothing to do.
        code: hash of program and configuration. An open claim of the same code is adopted as it stands; one of
            other code is rolled back first.

    Raises:
        LakeError: a table is not the one that the open claim was made for.
        TransportError: the store does not answer.
    """
    store = open_store(lake.location)
    attempt = uuid.uuid4().hex
    for _ in range(_RACES):
        last = lake.open(stage.last)
        batch = (last.transaction_version(batch_app_id(stage.name)) or 0) + 1
        open_claim = newest_claim(store, stage.name, batch)
        generation = 0
        if open_claim is not None:
            closing = is_marked(store, open_claim, "closing")
            if open_claim.code == code and not closing:
                log.info("claim_adopted", stage=stage.name, batch=batch, generation=open_claim.generation)
                return dataclasses.replace(open_claim, attempt=attempt)
            if not is_marked(store, open_claim, "closed"):
                roll_back(lake, stage, open_claim)
                last = lake.open(stage.last)
            generation = open_claim.generation + 1
        planned = plan(Progress(last))
        if planned is None:
            return None
        claim = Claim(
            stage=stage.name,
            batch=batch,
            generation=generation,
            attempt=attempt,
            begin=dict(planned.begin),
            end=dict(planned.end),
            pins=dict(planned.pins),
            code=code,
            tables={table.name: lake.table_id(table) for table in stage.tables},
            last=stage.last.name,
            made_at=datetime.now(UTC),
        )
        if store.put_if_absent(claim_path(stage.name, batch, generation), claim.to_json()):
            return claim
        log.info("claim_lost", stage=stage.name, batch=batch, generation=generation)
    raise TransportError("CLAIM-CONTENDED", "other processes keep claiming this stage's batches", stage=stage.name)


def roll_back(lake: Lake, stage: Stage, claim: Claim) -> None:
    """Take back what a claim of other code committed, and shut its tables to whoever still runs it.

    First the claim is marked, so that nobody begins a commit for it; then every table gets a commit that sets
    its ``txn``s back. Whoever looked before the mark holds a handle from before that commit, and Delta refuses
    its commit because of the same app ids.
    """
    store = open_store(lake.location)
    mark(store, claim, "closing")
    log.warning("claim_rolled_back", stage=claim.stage, batch=claim.batch, generation=claim.generation)
    for table in stage.tables:
        for _ in range(_RACES):
            handle = lake.open(table)
            _require_table(handle, claim, table)
            done = all(handle.transaction_version(app_id) == end for app_id, end in claim.end.items())
            remove = _files_of(lake, table, handle, claim) if done else []
            if commit_by_hand(handle, table, [], remove, claim.begin, _metadata(claim, "roll back")):
                break
        else:
            raise TransportError("COMMIT-CONTENDED", "other processes keep committing to the table", table=table.name)
    mark(store, claim, "closed")


def _files_of(lake: Lake, table: Table, handle: DeltaTable, claim: Claim) -> list[str]:
    """Paths that the commit of a claim added to a table."""
    store = open_store(lake.location)
    for version in range(handle.version(), -1, -1):
        entry = store.get_or_none(log_path(table, version))
        if entry is None:
            break
        info = _commit_info(entry)
        if info.get("phl.stage") == claim.stage and info.get("phl.batch") == str(claim.batch):
            if info.get("phl.generation") == str(claim.generation) and info.get("phl.what") == "batch":
                return [file.path for file in files_added(lake, table, version - 1, version)]
            break
    raise LakeError(
        "CLAIM-COMMIT-GONE", "the commit of an open claim is no longer in the table's log", table=table.name,
        batch=claim.batch,
    )  # fmt: skip


def _commit_info(entry: bytes) -> dict[str, str]:
    for line in entry.splitlines():
        action = json.loads(line) if line.strip() else {}
        if "commitInfo" in action:
            return {key: str(value) for key, value in action["commitInfo"].items()}
    return {}


def _metadata(claim: Claim, what: str) -> dict[str, str]:
    return {
        "phl.what": what,
        "phl.stage": claim.stage,
        "phl.batch": str(claim.batch),
        "phl.generation": str(claim.generation),
        "phl.attempt": claim.attempt,
        "phl.code": claim.code,
    }


def _require_table(handle: DeltaTable, claim: Claim, table: Table) -> None:
    if str(handle.metadata().id) != claim.tables.get(table.name):
        raise LakeError(
            "LAKE-TABLE-REPLACED", "another table stands where the batch's table was", table=table.name, batch=claim.batch
        )


class CommitOutcome(Enum):
    """What became of a table's part of a batch."""

    COMMITTED = "committed"
    ALREADY_DONE = "already done"
    IDLE = "idle"


def commit_table(lake: Lake, claim: Claim, table: Table, files: Sequence[NewFile]) -> CommitOutcome:
    """Commit a table's part of a batch, once, whoever tries it how often.

    A table that gets no rows is not committed, unless it is the last one, whose commit ends the batch.

    Args:
        lake: where.
        claim: the batch.
        table: one of its tables; the last one only after all others.
        files: what was written for it.

    Raises:
        LakeError: ``STAGE-AHEAD`` (somebody is past this batch), ``CLAIM-CLOSED`` (it was rolled back),
            ``LAKE-TABLE-REPLACED``, ``LAKE-FILE-GONE``, and what ``commit_by_hand`` raises.
        TransportError: the store does not answer, or others commit all the time.
    """
    store = open_store(lake.location)
    is_last = table.name == claim.last
    if not files and not is_last:
        return CommitOutcome.IDLE
    for file in files:
        if store.size(f"{table.name}/{file.path}") != file.size:
            raise LakeError("LAKE-FILE-GONE", "a file that was written is not there as written", table=table.name)
    txns = {**claim.end, **({claim.batch_app_id: claim.batch} if is_last else {})}
    for attempt in range(_RACES):
        handle = lake.open(table)
        _require_table(handle, claim, table)
        if _is_done(handle, claim, table, txns):
            return CommitOutcome.ALREADY_DONE if attempt == 0 else _whose(lake, table, handle, claim)
        _require_open(store, claim)
        if commit_by_hand(handle, table, files, [], txns, _metadata(claim, "batch")):
            return CommitOutcome.COMMITTED
        log.info("commit_refused", stage=claim.stage, batch=claim.batch, table=table.name, attempt=attempt)
        time.sleep(min(0.05 * 2**attempt, 2.0))
    raise TransportError("COMMIT-CONTENDED", "the table's commits keep being refused", table=table.name)


def _is_done(handle: DeltaTable, claim: Claim, table: Table, txns: Mapping[str, int]) -> bool:
    """Whether the table has the batch; LakeError where it is beyond it."""
    there = {app_id: handle.transaction_version(app_id) for app_id in txns}
    if all(there[app_id] == end for app_id, end in txns.items()):
        return True
    if all(version is None or version < txns[app_id] for app_id, version in there.items()):
        return False
    raise LakeError(
        "STAGE-AHEAD",
        "the table is beyond this batch: another process runs the same stage; stop one of them",
        table=table.name,
        batch=claim.batch,
    )


def _require_open(store: ObjectStore, claim: Claim) -> None:
    """Refuse to commit for a claim that was rolled back, or is not there."""
    newest = newest_claim(store, claim.stage, claim.batch)
    if newest is None or newest.generation != claim.generation or is_marked(store, claim, "closing"):
        raise LakeError(
            "CLAIM-CLOSED", "another version of the program took this batch over", stage=claim.stage, batch=claim.batch
        )


def _whose(lake: Lake, table: Table, handle: DeltaTable, claim: Claim) -> CommitOutcome:
    """After an answer that was lost: did my commit get through, or another process's for the same claim?"""
    store = open_store(lake.location)
    for version in range(handle.version(), max(-1, handle.version() - 16), -1):
        info = _commit_info(store.get_or_none(log_path(table, version)) or b"")
        if info.get("phl.attempt") == claim.attempt and info.get("phl.batch") == str(claim.batch):
            return CommitOutcome.COMMITTED
    return CommitOutcome.ALREADY_DONE
