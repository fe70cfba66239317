"""What the Delta library lets happen on the real store, and that our commit does not.

Each test first provokes the library, so that a version which behaves otherwise is noticed.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from lake_layout.commit import Change, CommitState, commit_change
from lake_layout.files import NewFile
from lake_layout.lake import Lake, LakeLocation
from lake_layout.place import check_place
from lake_layout.stage import commit_table
from schemas.errors import LakeError
from schemas.table import Table
from tests.integration.lake_cases import (
    FIRST,
    LAND_ID,
    LAST,
    MARCH,
    RAW,
    SECOND,
    TOPIC_ID,
    claim_land,
    file_of,
    land,
    offsets,
    rows,
)


@pytest.fixture
def lake(lake_location: LakeLocation) -> Lake:
    lake = Lake(lake_location)
    lake.create_missing((RAW, FIRST, SECOND, LAST))
    return lake


def by_library(
    handle: DeltaTable,
    table: Table,
    add: list[NewFile],
    remove: list[NewFile] | None = None,
    *,
    txn: tuple[str, int] | None = None,
    partition: str = "2026-03-01",
    retries: int | None = None,
) -> None:
    """A commit as the library makes it when nobody is careful."""
    values: dict[str, str | None] = {"month": partition}
    handle.create_write_transaction(
        [
            *(AddAction(f.path, f.size, values, 0, True, f.stats) for f in add),
            *(RemoveAction(f.path, True, 0, size=f.size, partition_values=values) for f in remove or []),
        ],
        mode="append",
        schema=handle.schema(),
        partition_by=[str(table.partition_by)],
        commit_properties=CommitProperties(
            app_transactions=[Transaction(*txn)] if txn else [], max_commit_retries=retries
        ),
    )


def test_a_stale_handle_with_the_same_app_id_is_fenced(lake: Lake) -> None:
    """The fence that roll-backs rely on: it holds even with the library's retries."""
    stale = lake.open(RAW)
    by_library(lake.open(RAW), RAW, [file_of(lake, RAW, 0, 5)], txn=("app", 5))
    with pytest.raises(CommitFailedError):
        by_library(stale, RAW, [file_of(lake, RAW, 0, 5)], txn=("app", 5))
    assert offsets(lake, RAW) == list(range(5))


@pytest.mark.parametrize("repeated", [10, 4])
def test_a_txn_that_is_not_higher_is_refused_by_us(lake: Lake, repeated: int) -> None:
    earlier = claim_land(lake, 10)
    file = file_of(lake, RAW, 0, 10)
    assert commit_table(lake, earlier, RAW, [file]).state is CommitState.COMMITTED
    version = lake.version(RAW)
    assert commit_table(lake, earlier, RAW, [file_of(lake, RAW, 0, 10)]).state is CommitState.ALREADY_DONE
    land(lake, 20)
    with pytest.raises(LakeError) as refused:
        commit_table(lake, earlier, RAW, [file_of(lake, RAW, 0, 10)])
    assert refused.value.code == "STAGE-AHEAD"
    assert offsets(lake, RAW) == list(range(20))
    assert lake.version(RAW) == version + 1

    by_library(lake.open(RAW), RAW, [file_of(lake, RAW, 0, 10)], txn=(LAND_ID, repeated))
    assert lake.open(RAW).transaction_version(LAND_ID) == repeated, "the library refuses it by now"
    assert len(offsets(lake, RAW)) == 30


def test_a_stale_rewrite_is_not_rebased_over_a_compaction(lake: Lake) -> None:
    land(lake, 5)
    claim_file = claim_land(lake, 10)
    second = file_of(lake, RAW, 5, 5)
    commit_table(lake, claim_file, RAW, [second])
    stale = lake.open(RAW)

    def compact() -> NewFile:
        handle = lake.open(RAW)
        live = handle.get_add_actions().num_rows
        assert live == 2
        merged = file_of(lake, RAW, 0, 10)
        names = [path[path.index("month=") :] for path in handle.file_uris()]
        former = [NewFile(RAW.name, name, _size(lake, name), MARCH, 5, "") for name in names]
        commit_change(
            lake, RAW, lambda _: Change([merged], former, {}, {"kind": "compact"}, data_change=False)
        )
        return merged

    compact()
    assert offsets(lake, RAW) == list(range(10))
    version = lake.version(RAW)

    rewritten = file_of(lake, RAW, 5, 5)
    with pytest.raises(LakeError) as refused:
        commit_change(lake, RAW, lambda _: Change([rewritten], [second], {}, {"kind": "rewrite"}))
    assert refused.value.code == "LAKE-REMOVED-ALREADY"
    assert lake.version(RAW) == version
    assert offsets(lake, RAW) == list(range(10))

    # One that has looked before the compaction: without retries it is refused, with the library's it is not.
    with pytest.raises(CommitFailedError):
        by_library(stale, RAW, [rewritten], [second], retries=0)
    by_library(stale, RAW, [rewritten], [second])
    assert offsets(lake, RAW) == sorted([*range(10), *range(5, 10)]), "the library refuses it by now"


def _size(lake: Lake, path: str) -> int:
    size = lake.store.size(f"{RAW.name}/{path}")
    assert size is not None
    return size


@pytest.mark.parametrize(
    "value",
    [datetime(2026, 3, 1, tzinfo=UTC), date(1, 1, 1), date(2200, 1, 1),
     date(1899, 12, 1), date(2026, 3, 2), "2026-03-01"],
)  # fmt: skip
def test_a_partition_value_that_is_no_month_is_refused(lake: Lake, value: date) -> None:
    claim = claim_land(lake, 5)
    good = file_of(lake, RAW, 0, 5)
    bad = NewFile(RAW.name, f"month={value}/{good.path.rpartition('/')[2]}", good.size, value, 5, good.stats)
    with pytest.raises(LakeError) as refused:
        commit_table(lake, claim, RAW, [bad])
    assert refused.value.code == "LAKE-PARTITION-RANGE"
    assert lake.version(RAW) == 0


def test_a_bad_partition_value_makes_the_library_lose_a_table(lake: Lake) -> None:
    with pytest.raises(DeltaError):  # too late: the commit is in the log by then
        by_library(lake.open(FIRST), FIRST, [file_of(lake, FIRST, 0, 5)], partition="March")
    with pytest.raises(LakeError) as unreadable:
        lake.open(FIRST).get_add_actions()
    assert unreadable.value.code == "LAKE-TABLE-UNREADABLE"


def test_a_file_that_is_not_there_is_not_removed(lake: Lake) -> None:
    land(lake, 5)
    ghost = NewFile(RAW.name, f"month=2026-03-01/{uuid.uuid4()}.parquet", 10, MARCH, 5, "{}")
    with pytest.raises(LakeError) as refused:
        commit_change(lake, RAW, lambda _: Change((), [ghost], {}, {"kind": "test"}))
    assert refused.value.code == "LAKE-REMOVED-ALREADY"
    assert lake.version(RAW) == 1
    by_library(lake.open(RAW), RAW, [], [ghost])
    assert lake.version(RAW) == 2, "the library refuses it by now"


@pytest.mark.parametrize("how", ["restore", "overwrite"])
def test_rows_that_went_while_the_txn_stayed_are_noticed(lake: Lake, how: str) -> None:
    land(lake, 5)
    land(lake, 9)
    place = {LAND_ID: (TOPIC_ID, 0), f"land:t:{TOPIC_ID}:1": (TOPIC_ID, 1)}
    check_place(lake, RAW, place)
    if how == "restore":
        lake.open(RAW).restore(1)
    else:
        data = rows(0, 5).append_column("month", [[MARCH] * 5]).select([field.name for field in RAW.fields])
        write_deltalake(lake.open(RAW), data.cast(RAW.arrow_schema), mode="overwrite")
    assert lake.open(RAW).transaction_version(LAND_ID) == 9
    with pytest.raises(LakeError) as refused:
        check_place(lake, RAW, place)
    assert refused.value.code == "LAKE-PLACE"
    assert (refused.value.coordinates["recorded"], refused.value.coordinates["there"]) == (9, 5)


def test_the_greatest_offset_is_found_in_files_of_several_partitions(lake: Lake) -> None:
    """Statistics of such a file do not say where each partition ends; its rows do."""
    import pyarrow as pa

    from lake_layout.files import write_file

    mixed = rows(0, 6).set_column(1, "partition", pa.array([0, 0, 1, 1, 1, 1], pa.int32()))
    file = write_file(lake, RAW, mixed, MARCH)
    commit_change(lake, RAW, lambda _: Change([file], (), {"a": 2, "b": 6}, {"kind": "test"}))
    check_place(lake, RAW, {"a": (TOPIC_ID, 0), "b": (TOPIC_ID, 1)})
    with pytest.raises(LakeError):
        check_place(lake, RAW, {"b": (TOPIC_ID, 0)})


@pytest.mark.parametrize("fault", ["gone", "cut", "foreign", "twice", "elsewhere"])
def test_files_that_are_not_as_described_are_not_committed(lake: Lake, fault: str) -> None:
    claim = claim_land(lake, 5)
    file = file_of(lake, RAW, 0, 5)
    files = [file]
    if fault == "gone":
        lake.store.delete(f"{RAW.name}/{file.path}")
    elif fault == "cut":
        lake.store.put(f"{RAW.name}/{file.path}", b"PAR1")
    elif fault == "foreign":
        files = [file_of(lake, FIRST, 0, 5)]
    elif fault == "twice":
        files = [file, file]
    else:
        files = [NewFile(RAW.name, file.path, file.size, date(2026, 4, 1), 5, file.stats)]
    with pytest.raises(LakeError):
        commit_table(lake, claim, RAW, files)
    assert lake.version(RAW) == 0
