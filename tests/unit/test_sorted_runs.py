"""The local index: the same answers whatever was refreshed, merged, cut short or asked for out of turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake_layout import sorted_runs
from lake_layout.delta_log import log_path
from lake_layout.files import NewFile, put_file, write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.live_files import live_files
from lake_layout.sorted_runs import UNDATED, WHOLE, IndexLocation, RunSource, open_runs
from lake_layout.stage import Plan, Progress, Stage, begin_batch, commit_table
from schemas.errors import LakeError, TransportError
from schemas.table import Field, Table

TABLE = Table(
    "ops/keys",
    "Keys for tests.",
    (
        Field("month", pa.date32(), "Month."),
        Field("kind", pa.string(), "Kind."),
        Field("bucket", pa.string(), "Bucket."),
        Field("k", pa.int64(), "Key."),
        Field("v", pa.int64(), "Value."),
    ),
    partition_by="month",
)
SOURCE = RunSource(TABLE, "keys", (("kind", ("good",)),), "bucket", "k", "v")


def commit(lake: Lake, rows: list[tuple[str, str, int, int]]) -> int:
    """Add rows (kind, bucket, key, value) in a commit of their own; the new version."""
    stage = Stage("keys", (TABLE,), TABLE)

    def plan(progress: object) -> Plan:
        done = progress.version("app") or 0  # type: ignore[attr-defined]
        return Plan({"app": done}, {"app": done + 1}, {})

    claim = begin_batch(lake, stage, plan, "code")
    assert claim is not None
    kind, bucket, key, value = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "kind": pa.array(kind, pa.string()),
            "bucket": pa.array(bucket, pa.string()),
            "k": pa.array(key, pa.int64()),
            "v": pa.array(value, pa.int64()),
        }
    )
    commit_table(lake, claim, TABLE, [write_file(lake, TABLE, table, date(2026, 3, 1))])
    return lake.version(TABLE)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(LakeLocation(str(tmp_path / "lake")))
    made.create_missing([TABLE])
    return made


def ask(
    lake: Lake, folder: Path, version: int, bucket: str, pairs: list[tuple[int, int]]
) -> list[tuple[bool, bool]]:
    index = open_runs(lake, IndexLocation(str(folder)), SOURCE, version)
    known, same = index.lookup(
        bucket, np.array([k for k, _ in pairs], np.int64), np.array([v for _, v in pairs], np.int64)
    )
    return list(zip(known.tolist(), same.tolist(), strict=True))


def test_each_version_sees_what_was_there_then(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    first = commit(lake, [("good", "202603", 1, 10), ("bad", "202603", 2, 20)])
    second = commit(lake, [("good", "202603", 1, 11), ("good", "none", 3, 30)])
    pairs = [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30)]
    old = [(True, True), (True, False), (True, False), (False, False), (False, False)]
    new = [(True, True), (True, True), (True, False), (False, False), (False, False)]
    assert ask(lake, folder, first, "202603", pairs) == old
    assert ask(lake, folder, second, "202603", pairs) == new
    assert ask(lake, folder, first, "202603", pairs) == old, "asked again after the index went on"
    assert ask(lake, folder, second, "none", [(3, 30), (1, 10)]) == [(True, True), (False, False)]


def test_a_damaged_index_is_built_again(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    version = commit(lake, [("good", "202603", key, key) for key in range(100)])
    assert ask(lake, folder, version, "202603", [(5, 5), (500, 5)]) == [(True, True), (False, False)]
    for run in folder.rglob("*.run"):
        run.write_bytes(run.read_bytes()[:-8])
    assert ask(lake, folder, version, "202603", [(5, 5), (500, 5)]) == [(True, True), (False, False)]
    for manifest in folder.rglob("manifest.json"):
        manifest.write_text("{")
    assert ask(lake, folder, version, "202603", [(99, 99)]) == [(True, True)]


def test_another_lake_has_another_index(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    lakes = [Lake(LakeLocation(str(tmp_path / name))) for name in ("one", "two")]
    for number, lake in enumerate(lakes):
        lake.create_missing([TABLE])
        commit(lake, [("good", "202603", number, 0)])
    assert ask(lakes[0], folder, 1, "202603", [(0, 0), (1, 0)]) == [(True, True), (False, False)]
    assert ask(lakes[1], folder, 1, "202603", [(0, 0), (1, 0)]) == [(False, False), (True, True)]


def test_runs_stay_few_and_complete(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for number in range(24):
        version = commit(lake, [("good", "202603", number * 10 + k, k) for k in range(10)])
        assert ask(lake, folder, version, "202603", [(number * 10 + 3, 3)]) == [(True, True)]
    assert len(list(folder.rglob("*.run"))) <= 6
    assert ask(lake, folder, version, "202603", [(k, k % 10) for k in range(240)]) == [(True, True)] * 240


def runs_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.run"))


def test_a_run_of_zeros_is_noticed_at_once(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    version = commit(lake, [("good", "202603", key, key) for key in range(1, 100)])
    assert ask(lake, folder, version, "202603", [(5, 5)]) == [(True, True)]
    (run,) = runs_of(folder)
    run.write_bytes(bytes(run.stat().st_size))
    assert ask(lake, folder, version, "202603", [(5, 5)]) == [(True, True)]


def test_a_run_damaged_in_its_middle_is_not_merged(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    first = commit(lake, [("good", "202603", key, key) for key in range(5000)])
    assert ask(lake, folder, first, "202603", [(2500, 2500)]) == [(True, True)]
    (run,) = runs_of(folder)
    damaged = bytearray(run.read_bytes())
    damaged[20_000] ^= 1  # the low byte of key 2500: only the whole tells
    run.write_bytes(damaged)
    assert ask(lake, folder, first, "202603", [(2500, 2500)]) != [(True, True)], (
        "as good a look costs too much"
    )
    second = commit(lake, [("good", "202603", key, key) for key in range(5000, 9000)])
    assert ask(lake, folder, second, "202603", [(2500, 2500), (8000, 8000)]) == [(True, True)] * 2


def test_rows_taken_out_of_the_table_are_forgotten(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    commit(lake, [("good", "202603", 1, 1)])
    first = commit(lake, [("good", "202603", 2, 2)])
    assert ask(lake, folder, first, "202603", [(1, 1), (2, 2)]) == [(True, True)] * 2
    lake.open(TABLE).delete("k = 1")
    second = lake.version(TABLE)
    assert second > first
    assert ask(lake, folder, second, "202603", [(1, 1), (2, 2)]) == [(False, False), (True, True)]
    assert ask(lake, folder, first, "202603", [(1, 1), (2, 2)]) == [(True, True)] * 2


def test_a_compaction_adds_nothing(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for number in range(3):
        version = commit(lake, [("good", "202603", number, k) for k in range(4)])
        ask(lake, folder, version, "202603", [(0, 0)])
    lake.open(TABLE).optimize.compact()
    assert lake.version(TABLE) > version
    before = sum(run.stat().st_size for run in runs_of(folder))
    answers = ask(lake, folder, lake.version(TABLE), "202603", [(0, 0), (2, 3), (2, 4)])
    assert answers == [(True, True), (True, True), (True, False)]
    assert sum(run.stat().st_size for run in runs_of(folder)) == before


def test_without_the_log_the_live_rows_tell(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    first = commit(lake, [("good", "202603", 1, 1)])
    assert ask(lake, folder, first, "202603", [(1, 1)]) == [(True, True)]
    second = commit(lake, [("good", "202603", 2, 2)])
    third = commit(lake, [("good", "none", 3, 3)])
    lake.open(TABLE).create_checkpoint()
    (tmp_path / "lake" / log_path(TABLE.name, second)).unlink()
    assert ask(lake, folder, third, "202603", [(1, 1), (2, 2), (3, 3)]) == [(True, True)] * 2 + [
        (False, False)
    ]


def test_what_a_killed_process_left_is_removed(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    version = commit(lake, [("good", "202603", 1, 1)])
    ask(lake, folder, version, "202603", [(1, 1)])
    (run,) = runs_of(folder)
    (run.parent / "202603.0.run").write_bytes(b"half a ru")
    (run.parent / "manifest.0.tmp").write_bytes(b"{")
    version = commit(lake, [("good", "none", 2, 2)])
    assert ask(lake, folder, version, "202603", [(1, 1), (2, 2)]) == [(True, True), (False, False)]
    left = {path.name for path in run.parent.iterdir()}
    assert not left & {"202603.0.run", "manifest.0.tmp"}
    assert run.name in left


def test_another_question_has_other_runs(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    version = commit(lake, [("good", "202603", 1, 1), ("bad", "202603", 2, 2)])
    assert ask(lake, folder, version, "202603", [(1, 1), (2, 2)]) == [(True, True), (False, False)]
    both = replace(SOURCE, where=(("kind", ("good", "bad")),))
    index = open_runs(lake, IndexLocation(str(folder)), both, version)
    known, _ = index.lookup("202603", np.array([1, 2]), np.array([1, 2]))
    assert known.tolist() == [True, True]


def test_an_index_in_use_answers_on_while_others_refresh(lake: Lake, tmp_path: Path) -> None:
    location = IndexLocation(str(tmp_path / "index"))
    first = commit(lake, [("good", "202603", 1, 1)])
    held = open_runs(lake, location, SOURCE, first)
    for number in range(2, 6):
        open_runs(lake, location, SOURCE, commit(lake, [("good", "202603", number, number)]))
    known, same = held.lookup("202603", np.array([1, 2]), np.array([1, 2]))
    assert known.tolist() == same.tolist() == [True, False]


def test_versions_left_behind_need_no_index_of_their_own_where_runs_end_there(
    lake: Lake, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    first = commit(lake, [("good", "202603", 1, 1)])
    ask(lake, folder, first, "202603", [])
    second = commit(lake, [("good", "202604", 2, 2)])
    ask(lake, folder, second, "202603", [])
    assert ask(lake, folder, first, "202604", [(2, 2)]) == [(False, False)]
    assert ask(lake, folder, second, "202604", [(2, 2)]) == [(True, True)]
    assert not list(folder.rglob("at-*"))


def test_memory_and_runs_are_bounded_when_dates_are_scattered(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = [f"2020{month:02}" for month in range(1, 13)]
    for number in range(8):
        version = commit(lake, [("good", buckets[(7 * k) % 12], 100 * number + k, k) for k in range(60)])
    widest: list[int] = []
    by_bucket = sorted_runs._by_bucket

    def watched(
        source: RunSource, pieces: Sequence[pa.Table]
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        widest.append(sum(piece.num_rows for piece in pieces))
        yield from by_bucket(source, pieces)

    monkeypatch.setattr(sorted_runs, "_GATHER_ROWS", 50)
    monkeypatch.setattr(sorted_runs, "_by_bucket", watched)
    for bucket in buckets:
        pairs = [(100 * number + k, k) for number in range(8) for k in range(60)]
        expected = [(buckets[(7 * k) % 12] == bucket,) * 2 for _, k in pairs]
        assert ask(lake, tmp_path / "index", version, bucket, pairs) == expected
    assert len(widest) > 1
    assert max(widest) <= 50 + 60
    assert len(runs_of(tmp_path / "index")) <= 12 * 4


def test_runs_beyond_a_size_are_not_merged(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_runs, "_MOST_MERGED_ROWS", 25)
    for number in range(12):
        version = commit(lake, [("good", "202603", number * 10 + k, k) for k in range(10)])
        ask(lake, tmp_path / "index", version, "202603", [])
    assert max(run.stat().st_size for run in runs_of(tmp_path / "index")) <= 25 * 16
    assert (
        ask(lake, tmp_path / "index", version, "202603", [(k, k % 10) for k in range(120)])
        == [(True, True)] * 120
    )


def _asked(uri: str, folder: str, version: int) -> int:
    index = open_runs(Lake(LakeLocation(uri)), IndexLocation(folder), SOURCE, version)
    keys = np.arange(0, 1000)
    known, _ = index.lookup("202603", keys, keys)
    return int(known.sum())


def test_several_processes_refresh_at_once(lake: Lake, tmp_path: Path) -> None:
    """Also to different versions: each sees what its own version has."""
    versions = [commit(lake, [("good", "202603", 50 * n + k, k) for k in range(50)]) for n in range(4)]
    asked = versions * 4
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = list(
            pool.map(_asked, [lake.location.uri] * 16, [str(tmp_path / "index")] * 16, asked, timeout=300)
        )
    assert found == [50 * (versions.index(version) + 1) for version in asked]


def test_a_full_disk_is_a_coded_error(lake: Lake, tmp_path: Path) -> None:
    version = commit(lake, [("good", "202603", 1, 1)])
    (tmp_path / "index").write_text("a file where a folder should be")
    with pytest.raises(TransportError) as caught:
        ask(lake, tmp_path / "index", version, "202603", [(1, 1)])
    assert caught.value.code == "INDEX-DISK"


@pytest.mark.parametrize("bucket", ["../../escaped", "", "x" * 65])
def test_no_bucket_names_a_file_elsewhere(lake: Lake, tmp_path: Path, bucket: str) -> None:
    version = commit(lake, [("good", bucket, 1, 1)])
    with pytest.raises(LakeError) as caught:
        ask(lake, tmp_path / "index", version, "202603", [(1, 1)])
    assert caught.value.code == "INDEX-ROW"


LEAST = RunSource(TABLE, "homes", (), None, "k", "month", least=True)


def put(
    lake: Lake, month: date | None, keys: list[int], remove: bool = False, copied: Sequence[int] = ()
) -> int:
    """Add keys in a month, in place of all files that are there or beside them, copied ones too; the new version."""
    stage = Stage("keys", (TABLE,), TABLE)

    def plan(progress: Progress) -> Plan:
        done = progress.version("app") or 0
        return Plan({"app": done}, {"app": done + 1}, {})

    claim = begin_batch(lake, stage, plan, "code")
    assert claim is not None
    files = [write_file(lake, TABLE, good(keys), month)]
    if copied:
        files.append(put_file(lake, TABLE, good(copied), month, copied=True))
    there = [NewFile(TABLE.name, f.path, f.size, f.partition, f.rows, "") for f in live_files(lake, TABLE)]
    commit_table(lake, claim, TABLE, files, there if remove else [])
    return lake.version(TABLE)


def good(keys: Sequence[int]) -> pa.Table:
    """Rows that count."""
    many = len(keys)
    return pa.table({"kind": ["good"] * many, "bucket": ["b"] * many, "k": list(keys), "v": [0] * many})


def homes(lake: Lake, folder: Path, version: int, keys: list[int]) -> list[int | None]:
    """The least month of each key, as days since 1970; None where it is not there."""
    there, month = open_runs(lake, IndexLocation(str(folder)), LEAST, version).least(WHOLE, np.array(keys))
    return [int(value) if found else None for found, value in zip(there, month, strict=True)]


def test_the_least_value_of_a_key_counts_as_of_each_version(lake: Lake, tmp_path: Path) -> None:
    """Months only get earlier; no date is later than any; a batch that rewrites files forgets nothing."""
    march, january = (date(2026, month, 1) for month in (3, 1))
    days = {one: (one - date(1970, 1, 1)).days for one in (march, january)}
    versions = [put(lake, march, [1, 2]), put(lake, None, [3]), put(lake, january, [2, 2, 3], remove=True)]
    expected: list[list[int | None]] = [
        [days[march], days[march], None],
        [days[march], days[march], UNDATED],
        [days[march], days[january], days[january]],
    ]
    for place in (0, 1, 2):
        assert homes(lake, tmp_path / "forth", versions[place], [1, 2, 3]) == expected[place]
    # made of the live rows alone: what is gone from the table is gone
    expected[2][0] = None
    for place in (2, 1, 0):
        assert homes(lake, tmp_path / "back", versions[place], [1, 2, 3]) == expected[place]


def test_the_least_values_of_what_a_batch_only_rewrote_add_nothing(lake: Lake, tmp_path: Path) -> None:
    march = date(2026, 3, 1)
    for _ in range(4):
        version = put(lake, march, list(range(100)), remove=True)
        homes(lake, tmp_path / "index", version, [1])
    assert sum(path.stat().st_size for path in runs_of(tmp_path / "index")) == 100 * 16


@pytest.mark.parametrize("looked_at", [[0, 1, 2], [1, 2], [2], [0, 2]])
def test_rows_that_were_only_copied_are_known_whenever_the_index_is_refreshed(
    lake: Lake, tmp_path: Path, looked_at: list[int]
) -> None:
    march = date(2026, 3, 1)
    there = (march - date(1970, 1, 1)).days
    versions = [
        put(lake, march, [1, 2, 3]),
        put(lake, march, [4], remove=True, copied=[1, 2, 3]),
        put(lake, march, [3, 5], remove=True, copied=[1, 2, 4]),
    ]
    for place in looked_at:
        last = [there if key <= (3, 4, 5)[place] else None for key in range(1, 7)]
        assert homes(lake, tmp_path / "index", versions[place], [1, 2, 3, 4, 5, 6]) == last


def test_rows_that_were_copied_are_not_read_again(lake: Lake, tmp_path: Path) -> None:
    march = date(2026, 3, 1)
    homes(lake, tmp_path / "index", put(lake, march, [1, 2]), [1])
    version = put(lake, march, [3], remove=True, copied=[1, 2])
    for copy in live_files(lake, TABLE):
        if copy.rows == 2:
            lake.store.delete(f"{TABLE.name}/{copy.path}")
    assert homes(lake, tmp_path / "index", version, [1, 2, 3]).count(None) == 0
