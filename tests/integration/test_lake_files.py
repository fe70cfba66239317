"""Files of a table: written, read, found again in the log; and upkeep, which changes no row."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake_layout.added_since import files_added
from lake_layout.claims import claims_of
from lake_layout.files import write_file
from lake_layout.lake import Lake
from lake_layout.live_files import live_files
from lake_layout.location import LakeLocation
from lake_layout.maintain import clean_log, forget_claims, last_checkpoint, maintain
from lake_layout.objects import S3Store
from lake_layout.reading import read_file
from lake_layout.stage import commit_table
from schemas.errors import ConfigError, LakeError
from schemas.table import INSTANT, Field, Table
from tests.integration.lake_cases import (
    FIRST,
    LAND,
    LAND_ID,
    LAST,
    MARCH,
    NOON,
    RAW,
    SECOND,
    claim_land,
    claim_normalise,
    file_of,
    land,
    offsets,
    rows,
    small_table,
)


@pytest.fixture(params=["lake_location", "local_location"])
def lake(request: pytest.FixtureRequest) -> Lake:
    lake = Lake(request.getfixturevalue(request.param))
    lake.create_missing((RAW, FIRST, SECOND, LAST))
    return lake


def test_a_file_comes_back_as_it_was_written(lake: Lake) -> None:
    shuffled = rows(0, 50).take(pa.array([*range(25, 50), *range(25)]))
    file = write_file(lake, RAW, shuffled, MARCH)
    back = read_file(lake, RAW, file.path)
    assert back.select(shuffled.column_names).equals(rows(0, 50)), "sorted, else unchanged"
    assert back.schema.types == RAW.arrow_schema.types
    assert set(back.column("month").to_pylist()) == {MARCH}
    assert read_file(lake, RAW, file.path, ["offset", "month"]).column_names == ["offset", "month"]
    assert lake.store.size(f"{RAW.name}/{file.path}") == file.size
    assert (file.rows, file.partition, file.table) == (50, MARCH, RAW.name)


def test_rows_without_a_month_have_their_own_partition(lake: Lake) -> None:
    claim = claim_land(lake, 5)
    file = write_file(lake, RAW, rows(0, 5), None)
    assert read_file(lake, RAW, file.path, ["month"]).column(0).null_count == 5
    commit_table(lake, claim, RAW, [file])
    assert lake.dataset(RAW).to_table(filter=pc.field("month").is_null()).num_rows == 5
    assert files_added(lake, RAW, 0, 1)[0].partition is None


def test_columns_are_read_without_the_payload_beside_them(
    lake_location: LakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pass 1 reads ids only; the bytes of the messages must stay in the store."""
    lake = Lake(lake_location)
    lake.create_missing((RAW,))
    heavy = rows(0, 64).set_column(
        4, "payload", pa.array([os.urandom(100_000) for _ in range(64)], pa.binary())
    )
    file = write_file(lake, RAW, heavy, MARCH)
    fetched: list[int] = []
    span = S3Store._get_span

    def counting(self: S3Store, path: str, what: str) -> tuple[bytes, int]:
        data, size = span(self, path, what)
        fetched.append(len(data))
        return data, size

    monkeypatch.setattr(S3Store, "_get_span", counting)
    assert read_file(lake, RAW, file.path, ["offset", "codes"]).column("offset").to_pylist() == [*range(64)]
    assert sum(fetched) < file.size / 10
    assert (
        read_file(lake, RAW, file.path, ["payload"]).column(0).to_pylist()
        == heavy.column("payload").to_pylist()
    )


def test_a_file_older_than_a_column_has_nulls_there(lake: Lake) -> None:
    file = file_of(lake, RAW, 0, 5)
    newer = Table(RAW.name, "d", (*RAW.fields, Field("added", INSTANT, "New.")), "month", (), ())
    assert read_file(lake, newer, file.path, ["added", "offset"]).column("added").null_count == 5


@pytest.mark.parametrize("damage", ["gone", "cut", "not parquet"])
def test_a_damaged_file_is_named_without_its_bytes(lake: Lake, damage: str) -> None:
    file = file_of(lake, RAW, 0, 5)
    path = f"{RAW.name}/{file.path}"
    if damage == "gone":
        lake.store.delete(path)
    else:
        lake.store.put(path, lake.store.get(path)[:-9] if damage == "cut" else b"MSH|^~\\&|SECRET")
    with pytest.raises(LakeError) as bad:
        read_file(lake, RAW, file.path)
    assert bad.value.code == ("OBJECT-MISSING" if damage == "gone" else "LAKE-FILE-DAMAGED")
    assert "SECRET" not in repr(bad.value)


def test_rows_that_are_not_the_tables_are_refused(lake: Lake) -> None:
    good = rows(0, 3)
    null = good.set_column(0, "topic_id", pa.nulls(3, pa.string()))
    text = good.set_column(2, "offset", pa.array(["SECRET"] * 3))
    for bad in (
        good.drop_columns(["offset"]),
        good.append_column("x", null.column(0)),
        null,
        text,
        good.slice(0, 0),
    ):
        with pytest.raises(LakeError) as refused:
            write_file(lake, RAW, bad, MARCH)
        assert refused.value.code == "LAKE-COLUMNS"
        assert "SECRET" not in str(refused.value)


def test_statistics_prune_and_never_lie(lake: Lake) -> None:
    """Files with instants that a Python datetime cannot say, with none, and with ordinary ones."""
    claim = claim_land(lake, 15)
    times = [
        pa.array([2**62, 0, 1, 2, 3], pa.int64()).cast(INSTANT),
        pa.nulls(5, INSTANT),
        pa.array([NOON + timedelta(microseconds=n) for n in range(5)], INSTANT),
    ]
    files = [
        write_file(lake, RAW, rows(n * 5, 5).set_column(3, "received_at", t), MARCH)
        for n, t in enumerate(times)
    ]
    stats = [json.loads(file.stats) for file in files]
    assert stats[0]["maxValues"]["received_at"] == "9999-12-31T23:59:59.999999Z"
    assert stats[1]["nullCount"]["received_at"] == 5
    assert stats[2]["maxValues"] == {
        "topic_id": stats[2]["minValues"]["topic_id"], "partition": 0, "offset": 14,
        "received_at": "2026-03-05T12:00:00.000004Z",
    }  # fmt: skip
    commit_table(lake, claim, RAW, files)
    view = lake.dataset(RAW)
    with duckdb.connect() as connection:
        connection.register("t", view)
        found = connection.execute(
            "SELECT \"offset\" FROM t WHERE received_at > '2026-03-05 12:00:00.000003+00'"
        )
        assert sorted(row[0] for row in found.fetchall()) == [0, 14]
    assert view.to_table(filter=pc.field("offset") == 7).num_rows == 1


@pytest.mark.parametrize(
    ("before", "text"),
    [("", "short"), ("x" * 63, "y"), ("𠮷" * 100, "文"), ("\U0010ffff" * 70, "z")],
    ids=["short", "at the limit", "long", "at the end of Unicode"],
)
def test_long_texts_are_found_by_their_bounds(lake: Lake, before: str, text: str) -> None:
    """A bound that is left out hides the rows: the library's reader compares with null then."""
    values = [before + text * n for n in range(1, 6)]
    file = write_file(lake, RAW, rows(0, 5).set_column(0, "topic_id", pa.array(values)), MARCH)
    commit_table(lake, claim_land(lake, 5), RAW, [file])
    view = lake.dataset(RAW)
    for value in values:
        assert view.to_table(filter=pc.field("topic_id") == value).num_rows == 1
    assert view.to_table(filter=pc.field("topic_id") > values[0]).num_rows == 4


def test_added_files_are_those_with_new_rows(lake: Lake) -> None:
    for end in (5, 9, 12):
        land(lake, end)
    added = files_added(lake, RAW, 0, 3)
    assert [(file.version, file.rows) for file in added] == [(1, 5), (2, 4), (3, 3)]
    assert {file.partition for file in added} == {MARCH}
    assert [file.version for file in files_added(lake, RAW, 1, 2)] == [2]
    assert files_added(lake, RAW, 3, 3) == []
    for end in range(13, 40):
        land(lake, end)
    assert maintain(lake, RAW).merged == 30
    again = files_added(lake, RAW, 0, lake.version(RAW))
    assert again[:3] == added
    assert sum(file.rows for file in again) == 39


def test_added_files_that_were_taken_back_are_left_out(lake: Lake) -> None:
    older = claim_normalise(lake, 5, "older")
    commit_table(lake, older, FIRST, [file_of(lake, FIRST, 0, 5)])
    claim_normalise(lake, 5, "newer")
    assert len(files_added(lake, FIRST, 0, 1)) == 1
    assert files_added(lake, FIRST, 0, lake.version(FIRST)) == []


def test_where_the_log_is_gone_coordinates_tell(lake: Lake) -> None:
    for end in range(1, 8):
        land(lake, end)
    expected = [file.path for file in files_added(lake, RAW, 5, 7)]
    lake.open(RAW).create_checkpoint()
    lake.open(RAW, 5).create_checkpoint()
    lake.open(RAW).create_checkpoint()
    lake.store.delete(f"{RAW.name}/_delta_log/{6:020d}.json")
    assert sorted(file.path for file in files_added(lake, RAW, 5, 7)) == sorted(expected)
    assert sum(file.rows for file in files_added(lake, RAW, 0, 7)) == 7
    assert [file.version for file in files_added(lake, RAW, 6, 7)] == [7]
    with pytest.raises(LakeError) as gone:
        files_added(lake, RAW, 4, 6)  # 6 can neither be read nor opened
    assert gone.value.code == "LAKE-LOG-GONE"


def test_upkeep_changes_no_row(lake: Lake) -> None:
    for end in range(5, 205, 5):
        land(lake, end)
    table_id, txn = lake.table_id(RAW), lake.open(RAW).transaction_version(LAND_ID)
    done = maintain(lake, RAW)
    assert (done.merged, done.into, done.live) == (40, 1, 1)
    assert offsets(lake, RAW) == [*range(200)]
    assert offsets(lake, RAW, 40) == [*range(200)]
    assert (lake.table_id(RAW), lake.open(RAW).transaction_version(LAND_ID)) == (table_id, txn)
    (file,) = live_files(lake, RAW)
    assert (file.rows, file.low["offset"], file.high["offset"]) == (200, 0, 199)
    again = maintain(lake, RAW)
    assert (again.merged, again.into) == (0, 0)


def test_upkeep_leaves_alone_what_was_not_read_yet(lake: Lake) -> None:
    for end in range(1, 41):
        land(lake, end)
    unread = {file.path for file in files_added(lake, RAW, 30, 40)}
    assert maintain(lake, RAW, read_up_to=30).merged == 30
    assert unread <= {file.path for file in live_files(lake, RAW)}
    assert offsets(lake, RAW) == [*range(40)]


def test_upkeep_checkpoints_and_cleans_but_never_past_what_was_read(lake: Lake) -> None:
    for end in range(1, 61):
        land(lake, end)
    done = maintain(lake, RAW, read_up_to=37, kept_days=0, kept_removed_hours=0)
    assert last_checkpoint(lake, RAW) == 61
    assert done.cleaned == 37
    assert done.deleted == 37
    left = [info.path for info in lake.store.list(f"{RAW.name}/_delta_log/0") if info.path.endswith(".json")]
    assert min(left).endswith(f"{37:020d}.json")
    assert [file.version for file in files_added(lake, RAW, 37, 60)] == [*range(38, 61)]
    assert lake.open(RAW).transaction_version(LAND_ID) == 60
    assert offsets(lake, RAW) == [*range(60)]
    assert land(lake, 65).batch == 61
    assert offsets(lake, RAW) == [*range(65)]


def test_young_log_entries_stay(lake: Lake) -> None:
    for end in range(1, 6):
        land(lake, end)
    lake.open(RAW).create_checkpoint()
    assert clean_log(lake, RAW, 5, kept_days=1) == 0
    assert clean_log(lake, RAW, 3, kept_days=0) == 3


def test_upkeep_and_a_stage_at_the_same_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit comes between upkeep's look and its own commit: both are in the table."""
    for end in range(1, 21):
        land(lake, end)

    def meanwhile(*arguments: object) -> object:
        if lake.version(RAW) == 20:
            land(lake, 30)
        return write_file(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("lake_layout.maintain.write_file", meanwhile)
    assert maintain(lake, RAW).merged == 20
    assert offsets(lake, RAW) == [*range(30)]


def test_too_many_files_are_alarmed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lake_layout.maintain.MOST_LIVE_FILES", 3)
    for end in range(1, 6):
        land(lake, end)
    assert maintain(lake, RAW).live == 5
    printed = capsys.readouterr()
    assert "too_many_live_files" in printed.out + printed.err


def test_old_claims_are_forgotten_and_the_last_ones_kept(lake: Lake) -> None:
    for end in range(1, 31):
        land(lake, end)
    assert forget_claims(lake, LAND.name, 30) == 10
    assert claims_of(lake.store, LAND.name, 10) == []
    assert len(claims_of(lake.store, LAND.name, 11)) == 1
    assert claim_land(lake, 31).batch == 31


def test_a_table_with_other_columns_is_refused(lake: Lake) -> None:
    other = Table(RAW.name, "d", RAW.fields[:-1], "month", (), ())
    with pytest.raises(LakeError) as refused:
        lake.create_missing((other,))
    assert refused.value.code == "LAKE-SCHEMA"
    assert refused.value.coordinates == {"table": RAW.name, "columns": RAW.fields[-1].name}


def test_tables_keep_their_logs_and_few_statistics(lake: Lake) -> None:
    configuration = lake.open(RAW).metadata().configuration
    assert configuration["delta.enableExpiredLogCleanup"] == "false"
    assert configuration["delta.dataSkippingStatsColumns"] == "topic_id,partition,offset,received_at"


def test_a_missing_table_says_what_to_do(local_location: LakeLocation) -> None:
    with pytest.raises(LakeError) as missing:
        Lake(local_location).open(RAW)
    assert missing.value.code == "LAKE-TABLE-MISSING"


@pytest.mark.parametrize("uri", ["", "ftp://x/y", "s3:///x"])
def test_an_address_that_is_none_is_a_setting_to_mend(uri: str) -> None:
    with pytest.raises(ConfigError):
        LakeLocation(uri)


def test_those_who_create_tables_at_the_same_time_share_them(lake: Lake) -> None:
    tables = [small_table(f"normalised/new_{number}") for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: lake.create_missing(tables), range(4)))
    assert [lake.version(table) for table in tables] == [0] * len(tables)
