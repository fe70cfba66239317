"""Stages and their batches: plan, claim, adopt what a crash left open, take over what other code left open.

A batch is: ``begin_batch`` → write files → ``commit_table`` for each table, the last one last. Whatever dies in
between, the next ``begin_batch`` gives the same claim again until the last table has its commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog
from deltalake import DeltaTable

from lake_layout.claims import Claim, batch_app_id, claims_of, new_attempt, now, put_claim
from lake_layout.commit import CommitOutcome, CommitState, commit_table
from lake_layout.fail_points import fail_point
from lake_layout.handles import borrowed_handle, id_of
from lake_layout.lake import Lake
from lake_layout.rollback import roll_back_earlier
from schemas.errors import LakeError
from schemas.table import Table

__all__ = ["CommitOutcome", "CommitState", "Plan", "Progress", "Stage", "begin_batch", "commit_table"]

log = structlog.get_logger(__name__)

_ROUNDS = 20
_READERS = 8
"""Tables that are opened at the same time: it is the store's answers that take long."""


@dataclass(frozen=True)
class Stage:
    """A stage and the tables it writes.

    Attributes:
        name: such as ``land-hl7v2``; small letters, digits, dashes.
        tables: all it writes, ``last`` among them.
        last: committed after all others; its commit ends a batch.
    """

    name: str
    tables: tuple[Table, ...]
    last: Table


@dataclass(frozen=True)
class Plan:
    """From where to where a batch goes, by txn app id, and versions that its decisions are made against."""

    begin: Mapping[str, int]
    end: Mapping[str, int]
    pins: Mapping[str, int]


class Progress:
    """How far a stage has come, as its last table says."""

    def __init__(self, last: DeltaTable) -> None:
        self._last = last

    def version(self, app_id: str) -> int | None:
        """The txn version under an app id; None where there is none yet."""
        found = self._last.transaction_version(app_id)
        return None if found is None else int(found)


def begin_batch(lake: Lake, stage: Stage, plan: Callable[[Progress], Plan | None], code: str) -> Claim | None:
    """The batch to run now: the open one if there is one, else a new one.

    An open batch of the same code is adopted as it stands, whatever has arrived since. One of other code is taken
    over: the next generation is claimed, each table fenced against the former, and what that one added taken out.

    Args:
        lake: where.
        stage: which stage.
        plan: given the progress, what a batch would be; None where nothing is to be done.
        code: hash of program and configuration.

    Returns:
        The claim, with an attempt id of this call; None where nothing is to be done.

    Raises:
        LakeError: a table was replaced, or stands elsewhere than its progress says.
        TransportError: the store does not answer.
    """
    for _ in range(_ROUNDS):
        with borrowed_handle(lake, stage.last) as last, contextlib.suppress(_AnotherWasFirst):
            return _begin(lake, stage, plan, code, Progress(last))
    raise LakeError(
        "CLAIM-CONTENDED", "others keep claiming this stage's batches; stop them", stage=stage.name
    )


class _AnotherWasFirst(Exception):  # noqa: N818 - not an error: theirs is to be run
    """Another process has claimed the batch meanwhile."""


def _begin(
    lake: Lake, stage: Stage, plan: Callable[[Progress], Plan | None], code: str, progress: Progress
) -> Claim | None:
    done = progress.version(batch_app_id(stage.name)) or 0
    claims = claims_of(lake.store, stage.name, done + 1)
    if claims and claims[-1].code == code:
        return _adopt(lake, stage, claims)
    planned = plan(progress)
    if planned is None and (not claims or len(stage.tables) == 1):
        return None  # of a batch on one table nothing can be half done
    if planned is None:
        # What the other code began is still half in the tables, so it has to be run, as it was planned.
        planned = Plan(claims[-1].begin, claims[-1].end, claims[-1].pins)
    _check_plan(stage, planned, progress)
    tables = _table_ids(lake, stage)
    # Of the former batch where there is none of this: a table replaced between two batches shows so too.
    _check_ids(stage, (claims or claims_of(lake.store, stage.name, done))[-1:], tables)
    claim = Claim(
        stage=stage.name, batch=done + 1, generation=len(claims) + 1, attempt=new_attempt(),
        begin=dict(planned.begin), end=dict(planned.end), pins=dict(planned.pins), code=code, tables=tables,
        made_at=now(), last=stage.last.name,
    )  # fmt: skip
    if not put_claim(lake.store, claim):
        raise _AnotherWasFirst
    log.info("batch_claimed", stage=stage.name, batch=claim.batch, generation=claim.generation)
    fail_point("claim-made")
    if claims:
        roll_back_earlier(lake, stage.tables, claims, claim)
    return claim


def _adopt(lake: Lake, stage: Stage, claims: list[Claim]) -> Claim:
    claim = replace(claims[-1], attempt=new_attempt())
    _check_ids(stage, [claim], _table_ids(lake, stage))
    log.info("batch_adopted", stage=stage.name, batch=claim.batch, generation=claim.generation)
    fail_point("claim-adopted")
    if len(claims) > 1:
        # Whoever claimed it may have died before the former generation was rolled back everywhere.
        roll_back_earlier(lake, stage.tables, claims[:-1], claim)
    return claim


def _table_ids(lake: Lake, stage: Stage) -> dict[str, str]:
    with ThreadPoolExecutor(_READERS) as pool:
        ids = pool.map(lambda table: id_of(lake, table), stage.tables)
        return {table.name: table_id for table, table_id in zip(stage.tables, ids, strict=True)}


def _check_ids(stage: Stage, claims: list[Claim], tables: Mapping[str, str]) -> None:
    for claim in claims:
        for name, table_id in tables.items():
            if claim.tables.get(name, table_id) != table_id:
                raise LakeError(
                    "LAKE-TABLE-REPLACED", "another table has taken the place of one that the stage wrote; put it back",
                    stage=stage.name, batch=claim.batch, table=name,
                )  # fmt: skip


def _check_plan(stage: Stage, plan: Plan, progress: Progress) -> None:
    if not plan.end or set(plan.begin) != set(plan.end):
        raise LakeError("STAGE-PLAN", "a plan needs a begin and an end for each app id", stage=stage.name)
    for app_id, end in plan.end.items():
        begin = plan.begin[app_id]
        if not 0 <= begin < end or (progress.version(app_id) or begin) > begin:
            raise LakeError(
                "STAGE-PLAN", "a plan must begin where the stage stands", stage=stage.name, app_id=app_id
            )
