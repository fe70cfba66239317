"""Batches: claimed once, run again after a crash, taken over by other code, whatever comes between two steps."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jobs.soak.faulty_store import faulty_store, nothing
from lake_layout.claims import Claim, batch_app_id, claim_path, claims_of, is_newest
from lake_layout.commit import CommitOutcome, CommitState, commit_change, commit_table
from lake_layout.files import NewFile
from lake_layout.lake import Lake, LakeLocation
from lake_layout.live_files import live_files
from lake_layout.maintain import maintain
from lake_layout.objects import ObjectStore
from lake_layout.rollback import roll_back_earlier
from lake_layout.stage import Plan, Progress, begin_batch
from schemas.errors import LakeError, TransportError
from schemas.table import Table
from tests.integration.lake_cases import (
    FIRST,
    LAND,
    LAND_ID,
    LAST,
    NORMALISE,
    NORMALISE_ID,
    RAW,
    SECOND,
    claim_land,
    claim_normalise,
    file_of,
    land,
    offsets,
    up_to,
)

TABLES = (FIRST, SECOND, LAST)


@pytest.fixture(params=["lake_location", "local_location"])
def lake(request: pytest.FixtureRequest) -> Lake:
    """An empty lake, on S3 and in a folder."""
    lake = Lake(request.getfixturevalue(request.param))
    lake.create_missing((RAW, *TABLES))
    return lake


def commit(lake: Lake, claim: Claim, table: Table) -> CommitOutcome:
    """The batch's share of a table: five rows that begin where the batch does."""
    return commit_table(lake, claim, table, [file_of(lake, table, claim.begin[NORMALISE_ID], 5)])


def everywhere(lake: Lake, expected: list[int]) -> None:
    assert {table.name: offsets(lake, table) for table in TABLES} == dict.fromkeys(
        [t.name for t in TABLES], expected
    )


def test_a_claim_travels(lake: Lake) -> None:
    claim = claim_land(lake, 5)
    assert pickle.loads(pickle.dumps(claim)) == claim
    assert Claim.from_json(claim.to_json()) == claim


def test_nothing_to_do_is_not_claimed(lake: Lake) -> None:
    land(lake, 5)
    assert begin_batch(lake, LAND, up_to(LAND_ID, 5), "code") is None
    assert claims_of(lake.store, LAND.name, 2) == []


@pytest.mark.parametrize("steps", range(5))
def test_a_batch_is_done_again_from_wherever_it_broke_off(lake: Lake, steps: int) -> None:
    claim = claim_normalise(lake, 5)
    for table in TABLES[:steps]:
        commit(lake, claim, table)
    again = claim_normalise(lake, 9 if steps > 2 else 5)
    assert (again.batch, again.generation) == ((2, 1) if steps > 2 else (1, 1))
    states = [commit(lake, again, table).state for table in TABLES]
    done = 0 if steps > 2 else steps
    assert states == [CommitState.ALREADY_DONE] * done + [CommitState.COMMITTED] * (3 - done)
    everywhere(lake, [*range(5), *range(5, 10)] if steps > 2 else [*range(5)])


def test_an_open_claim_is_adopted_as_it_stands_though_raw_went_on(lake: Lake) -> None:
    """Otherwise a table that had its commit would lack what arrived since, or have it twice."""
    first = claim_normalise(lake, 5)
    commit(lake, first, FIRST)
    adopted = begin_batch(lake, NORMALISE, up_to(NORMALISE_ID, 99), "code")
    assert adopted is not None
    assert replace(adopted, attempt=first.attempt) == first
    assert adopted.attempt != first.attempt


def test_the_last_table_ends_the_batch(lake: Lake) -> None:
    claim = claim_normalise(lake, 5)
    for table in (FIRST, SECOND):
        commit(lake, claim, table)
    assert lake.open(LAST).transaction_version(batch_app_id(NORMALISE.name)) is None
    commit(lake, claim, LAST)
    assert lake.open(LAST).transaction_version(batch_app_id(NORMALISE.name)) == 1
    assert claim_normalise(lake, 9).batch == 2


def test_idle_tables_are_not_committed_but_the_last_is(lake: Lake) -> None:
    claim = claim_normalise(lake, 5)
    assert commit_table(lake, claim, FIRST, []).version == 0
    assert commit_table(lake, claim, LAST, []) == CommitOutcome(CommitState.COMMITTED, 1)
    assert [lake.version(table) for table in TABLES] == [0, 0, 1]
    # and a batch later it has not fallen behind
    later = claim_normalise(lake, 9)
    assert commit(lake, later, FIRST).state is CommitState.COMMITTED


def test_of_many_that_claim_one_decides(lake: Lake) -> None:
    start = threading.Barrier(8)

    def begin(end: int) -> Claim:
        start.wait()
        return claim_land(lake, end)

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(begin, range(10, 18)))
    assert len({(claim.end[LAND_ID], claim.made_at) for claim in claims}) == 1
    end = claims[0].end[LAND_ID]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(
            pool.map(lambda c: commit_table(lake, c, RAW, [file_of(lake, RAW, 0, end)]).state, claims)
        )
    assert sorted(state.value for state in outcomes) == ["already done"] * 7 + ["committed"]
    assert offsets(lake, RAW) == list(range(end))


def test_many_stages_that_share_a_table_all_get_through(lake: Lake) -> None:
    stages = [replace(LAND, name=f"land-{number}") for number in range(6)]

    def work(number: int) -> CommitState:
        claim = begin_batch(lake, stages[number], up_to(f"app:{number}", 5), "code")
        assert claim is not None
        return commit_table(lake, claim, RAW, [file_of(lake, RAW, number * 5, 5)]).state

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(6))) == {CommitState.COMMITTED}
    assert offsets(lake, RAW) == list(range(30))


def test_other_code_takes_back_what_was_half_done(lake: Lake) -> None:
    done = claim_normalise(lake, 5)
    for table in TABLES:
        commit(lake, done, table)
    older = claim_normalise(lake, 9, "older")
    commit(lake, older, FIRST)
    newer = claim_normalise(lake, 8, "newer")
    assert (newer.batch, newer.generation, dict(newer.begin), dict(newer.end)) == (
        2, 2, {NORMALISE_ID: 5}, {NORMALISE_ID: 8},
    )  # fmt: skip
    everywhere(lake, [*range(5)])
    for table in TABLES:
        with pytest.raises(LakeError):
            commit(lake, older, table)
        assert commit(lake, newer, table).state is CommitState.COMMITTED
    everywhere(lake, [*range(10)])


def test_other_code_runs_what_was_half_done_though_it_would_plan_nothing(lake: Lake) -> None:
    older = claim_normalise(lake, 5, "older")
    commit(lake, older, FIRST)
    newer = begin_batch(lake, NORMALISE, lambda _: None, "newer")
    assert newer is not None
    assert (dict(newer.end), newer.generation) == (dict(older.end), 2)
    everywhere(lake, [])


def interrupt_before_commit(patch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Let something happen between a commit's look at the claims and the commit itself."""
    pending = [what]

    def look(store: ObjectStore, claim: Claim) -> bool:
        found = is_newest(store, claim)
        if pending:
            pending.pop()()
        return found

    patch.setattr("lake_layout.commit.is_newest", look)


@pytest.mark.parametrize("table", TABLES)
def test_a_process_given_up_for_dead_cannot_commit_behind_the_fence(
    lake: Lake, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked at table and claims before it was taken over, and commits only afterwards."""
    older = claim_normalise(lake, 5, "older")
    newer: list[Claim] = []
    interrupt_before_commit(monkeypatch, lambda: newer.append(claim_normalise(lake, 5, "newer")))
    with pytest.raises(LakeError) as refused:
        commit(lake, older, table)
    assert refused.value.code in ("CLAIM-TAKEN-OVER", "STAGE-AHEAD")
    everywhere(lake, [])
    for each in TABLES:
        commit(lake, newer[0], each)
    everywhere(lake, [*range(5)])


def test_an_adopter_that_is_quicker_leaves_nothing_to_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claim_normalise(lake, 5)
    interrupt_before_commit(monkeypatch, lambda: commit(lake, claim_normalise(lake, 5), FIRST))
    assert commit(lake, claim, FIRST).state is CommitState.ALREADY_DONE
    assert offsets(lake, FIRST) == [*range(5)]


@pytest.mark.parametrize("fences", range(3))
def test_a_take_over_that_broke_off_is_completed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, fences: int
) -> None:
    older = claim_normalise(lake, 5, "older")
    for table in (FIRST, SECOND):
        commit(lake, older, table)
    left = [fences]

    def dying(*arguments: object, **named: object) -> CommitOutcome:
        if not left[0]:
            raise TransportError("TEST", "the process dies here")
        left[0] -= 1
        return commit_change(*arguments, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("lake_layout.rollback.commit_change", dying)
        with pytest.raises(TransportError):
            claim_normalise(lake, 5, "newer")
    newest = claim_normalise(lake, 5, "newest" if fences == 1 else "newer")
    assert newest.generation == (3 if fences == 1 else 2)
    everywhere(lake, [])
    for table in TABLES:
        commit(lake, newest, table)
    everywhere(lake, [*range(5)])


def test_a_late_second_roll_back_takes_nothing_from_the_new_claim(lake: Lake) -> None:
    """Two processes of the new program took over together; one is done and has committed before the other begins."""
    older = claim_normalise(lake, 5, "older")
    commit(lake, older, FIRST)
    newer = claim_normalise(lake, 7, "newer")
    commit(lake, newer, FIRST)
    versions = [lake.version(table) for table in TABLES]
    roll_back_earlier(lake, TABLES, [older], newer)
    assert [lake.version(table) for table in TABLES] == versions
    assert commit(lake, newer, FIRST).state is CommitState.ALREADY_DONE
    assert offsets(lake, FIRST) == [*range(5)]


def test_upkeep_leaves_what_may_have_to_be_taken_back(lake: Lake) -> None:
    for number in range(20):
        claim = claim_normalise(lake, 5 * number + 5)
        for table in TABLES:
            commit(lake, claim, table)
    older = claim_normalise(lake, 105, "older")
    commit(lake, older, FIRST)
    assert maintain(lake, FIRST).merged == 20
    claim_normalise(lake, 105, "newer")
    everywhere(lake, [*range(100)])


@pytest.mark.parametrize("when", ["while open", "while committing", "between batches"])
def test_a_table_that_replaces_another_is_refused(lake: Lake, when: str) -> None:
    claim = claim_normalise(lake, 5)
    if when == "between batches":
        for table in TABLES:
            commit(lake, claim, table)
    for info in list(lake.store.list(f"{SECOND.name}/")):
        lake.store.delete(info.path)
    lake.create_missing((SECOND,))
    step = (
        (lambda: commit(lake, claim, SECOND))
        if when == "while committing"
        else (lambda: claim_normalise(lake, 9))
    )
    with pytest.raises(LakeError) as refused:
        step()
    assert refused.value.code == "LAKE-TABLE-REPLACED"
    assert offsets(lake, SECOND) == []


def test_the_next_number_comes_from_the_table_not_from_the_claims(lake: Lake) -> None:
    land(lake, 5)
    lake.store.put(claim_path(LAND.name, 7, 1), b"{}")
    lake.store.delete(claim_path(LAND.name, 1, 1))
    assert claim_land(lake, 9).batch == 2


@pytest.mark.parametrize("begin", [0, 3, 7])
def test_a_plan_that_does_not_go_on_from_the_progress_is_refused(lake: Lake, begin: int) -> None:
    land(lake, 5)

    def plan(_: Progress) -> Plan:
        return Plan({LAND_ID: begin}, {LAND_ID: 9}, {})

    if begin == 7:  # a gap is the plan's own affair: offsets that Kafka lost and an operator gave up
        claim = begin_batch(lake, LAND, plan, "code")
        assert claim is not None
        return
    with pytest.raises(LakeError) as refused:
        begin_batch(lake, LAND, plan, "code")
    assert refused.value.code == "STAGE-PLAN"


def test_a_damaged_claim_stops_the_stage(lake: Lake) -> None:
    lake.store.put(claim_path(LAND.name, 1, 1), b'{"stage": "land-t"}')
    with pytest.raises(LakeError) as refused:
        claim_land(lake, 5)
    assert refused.value.code == "CLAIM-DAMAGED"


@pytest.mark.parametrize("answer", ["lost", "412", "500", "409"])
def test_a_commit_whose_answer_is_wrong_is_found_in_the_log(lake_location: LakeLocation, answer: str) -> None:
    """The store has taken the commit and says otherwise, or nothing."""
    with faulty_store(lake_location) as faulty:
        lake = Lake(faulty.location)
        lake.create_missing((RAW,))
        claim = claim_land(lake, 5)
        file = file_of(lake, RAW, 0, 5)
        faulty.once("PUT", f"{1:020d}.json", answer)
        assert commit_table(lake, claim, RAW, [file]) == CommitOutcome(CommitState.COMMITTED, 1)
        assert len(faulty.seen) == 1
        assert commit_table(lake, claim, RAW, [file]).state is CommitState.ALREADY_DONE
        assert offsets(lake, RAW) == [*range(5)]


def test_a_refusal_by_anothers_commit_is_not_taken_for_ones_own(
    lake_location: LakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(lake_location)
    lake.create_missing((RAW,))
    claim = claim_land(lake, 5)
    other = replace(LAND, name="other")

    def other_commits() -> None:
        theirs = begin_batch(lake, other, up_to("other", 5), "code")
        assert theirs is not None
        commit_table(lake, theirs, RAW, [file_of(lake, RAW, 100, 5)])

    interrupt_before_commit(monkeypatch, other_commits)
    assert commit_table(lake, claim, RAW, [file_of(lake, RAW, 0, 5)]) == CommitOutcome(
        CommitState.COMMITTED, 2
    )
    assert offsets(lake, RAW) == [*range(5), *range(100, 105)]


@pytest.mark.parametrize("answer", ["lost", "412", "500"])
def test_a_claim_whose_answer_is_wrong_is_ones_own(lake_location: LakeLocation, answer: str) -> None:
    with faulty_store(lake_location) as faulty:
        lake = Lake(faulty.location)
        lake.create_missing((RAW,))
        faulty.once("PUT", ".1.json", answer)
        claim = claim_land(lake, 5)
        assert len(faulty.seen) == 1
        assert claims_of(lake.store, LAND.name, 1) == [claim]


def test_a_store_that_takes_no_commits_is_reported_as_away(lake_location: LakeLocation) -> None:
    with faulty_store(lake_location) as faulty:
        lake = Lake(faulty.location)
        lake.create_missing((RAW,))
        claim = claim_land(lake, 5)
        file = file_of(lake, RAW, 0, 5)
        faulty.always("PUT", f"{1:020d}.json", "away 503")
        with pytest.raises(TransportError) as away:
            commit_table(lake, claim, RAW, [file])
        assert "phlsecret" not in repr(away.value)
        faulty.fault = nothing
        assert commit_table(lake, claim, RAW, [file]).state is CommitState.COMMITTED
        assert offsets(lake, RAW) == [*range(5)]


def test_other_code_puts_back_what_was_removed(lake: Lake) -> None:
    """A batch that had replaced a file is taken over: its rows go, and the former ones are there again."""
    first = claim_normalise(lake, 5)
    for table in TABLES:
        commit(lake, first, table)
    half = claim_normalise(lake, 9)
    former = [
        NewFile(FIRST.name, file.path, file.size, file.partition, file.rows, "")
        for file in live_files(lake, FIRST)
    ]
    commit_table(lake, half, FIRST, [file_of(lake, FIRST, 50, 3)], former)
    assert offsets(lake, FIRST) == [50, 51, 52]
    again = commit_table(lake, half, FIRST, [file_of(lake, FIRST, 50, 3)], former)
    assert again.state is CommitState.ALREADY_DONE
    taken = claim_normalise(lake, 9, "other code")
    assert taken.generation == 2
    assert offsets(lake, FIRST) == [*range(5)]
    (restored,) = live_files(lake, FIRST)
    assert (restored.rows, restored.low["offset"], restored.high["offset"]) == (5, 0, 4)
    commit_table(lake, taken, FIRST, [file_of(lake, FIRST, 70, 2)], former)
    assert offsets(lake, FIRST) == [70, 71]
    lake.open(FIRST).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert offsets(lake, FIRST) == [70, 71]


def test_what_is_gone_is_not_put_back(lake: Lake) -> None:
    first = claim_normalise(lake, 5)
    for table in TABLES:
        commit(lake, first, table)
    half = claim_normalise(lake, 9)
    former = [
        NewFile(FIRST.name, file.path, file.size, file.partition, file.rows, "")
        for file in live_files(lake, FIRST)
    ]
    commit_table(lake, half, FIRST, [file_of(lake, FIRST, 50, 3)], former)
    lake.store.delete(f"{FIRST.name}/{former[0].path}")
    with pytest.raises(LakeError) as caught:
        claim_normalise(lake, 9, "other code")
    assert caught.value.code == "ROLLBACK-FILE-GONE"
    assert offsets(lake, FIRST) == [50, 51, 52]
