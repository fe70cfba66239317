"""The local index: the same answers whatever was refreshed, merged, cut short or asked for out of turn."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_layout import sorted_runs
from lake_layout.files import write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.sorted_runs import IndexLocation, RunSource, open_runs
from lake_layout.stage import Plan, Stage, begin_batch, commit_table
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


PAIRS = st.lists(st.tuples(st.integers(-20, 20), st.integers(-3, 3)), max_size=60)


@settings(max_examples=200)
@given(PAIRS, PAIRS, st.integers(1, 7))
def test_merging_keeps_every_entry_in_order(
    first: list[tuple[int, int]], second: list[tuple[int, int]], block: int
) -> None:
    def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        ordered = sorted(pairs)
        return np.array([k for k, _ in ordered], np.int64), np.array([v for _, v in ordered], np.int64)

    saved = sorted_runs._MERGE_ROWS
    sorted_runs._MERGE_ROWS = block
    try:
        pieces = list(sorted_runs._merged(arrays(first), arrays(second)))
    finally:
        sorted_runs._MERGE_ROWS = saved
    merged = [(int(k), int(v)) for keys, values in pieces for k, v in zip(keys, values, strict=True)]
    assert merged == sorted(first + second)
