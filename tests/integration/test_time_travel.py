"""What was known and what was true at a time: of a preliminary result, a correction, and an older one that is late."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import pipelines.curate_stated
from jobs.curated_then import Times, rows_then
from schemas.tables.curated import FOLDS, curated
from tests.curated_lake import SOURCES, CuratedLake, city_messages, expected, plain, rows_of
from tests.stated_rows import RECEIVED

ROOT = Path(__file__).parents[2]


def result(day: str, value: str, status: str) -> tuple[bytes, str]:
    lines = [
        f"MSH|^~\\&|LIS|H|||{day}0800+0000||ORU^R01|{day}{value}|P|2.5.1",
        "PID|1||123^^^H",
        f"OBR|1||F1^LIS|CBC^Blood count^L|||{day}0700",
        f"OBX|1|NM|718-7^Test^LN||{value}|g/dL|||||{status}",
        "",
    ]
    return "\r".join(lines).encode(), "test"


ARRIVING = [result("20260410", "5.0", "P"), result("20260412", "5.5", "C"), result("20260411", "5.1", "F")]
"""In the order in which they are received, a second apart."""

NONE: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> CuratedLake:
    lake = CuratedLake(tmp_path_factory.mktemp("lake")).create()
    rows = rows_of(ARRIVING)
    for number in range(len(ARRIVING)):
        lake.put(rows, [number])
    return lake


def query(lake: CuratedLake, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}
    environment |= {"PHL_LAKE_URI": str(lake.folder / "lake"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli.main", "query", "--csv", *arguments],
        env=environment, cwd=lake.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


SQL = "SELECT value_number, status, since::DATE FROM curated.observation"


@pytest.mark.parametrize(
    ("times", "answer"),
    [
        (("--known-at", "2026-06-01"), ("5.0", "P", "2026-04-10")),
        (("--known-at", "2026-06-01T08:00:01+08:00"), ("5.5", "C", "2026-04-12")),
        (("--known-at", "2026-06-01T00:00:02Z"), ("5.5", "C", "2026-04-12")),
        (("--true-at", "2026-04-10"), NONE),
        (("--true-at", "2026-04-11"), ("5.0", "P", "2026-04-10")),
        (("--true-at", "2026-04-12"), ("5.1", "F", "2026-04-11")),
        (("--true-at", "2026-04-12 08:00:00"), ("5.5", "C", "2026-04-12")),
        (("--true-at", "2026-04-12", "--known-at", "2026-06-01T00:00:01"), ("5.0", "P", "2026-04-10")),
    ],
)
def test_what_was_known_and_what_was_true(
    lake: CuratedLake, times: tuple[str, ...], answer: tuple[str, ...]
) -> None:
    """Though nothing is curated yet: the normalised rows say it."""
    found = query(lake, *times, SQL)
    assert found.returncode == 0, found.stderr
    assert [tuple(row) for row in csv.reader(found.stdout.splitlines()[1:])] == ([answer] if answer else [])


def test_other_tables_are_as_they_are_and_a_time_wants_sql(lake: CuratedLake) -> None:
    past = ("--known-at", "2020-01-01")
    sql = "SELECT (SELECT count(*) FROM normalised.observation), (SELECT count(*) FROM curated.observation)"
    assert query(lake, *past, sql).stdout.splitlines()[1:] == ["3,0"]
    now = query(lake, *past, "SELECT count(*) FROM curated_now.observation")
    assert now.returncode == 2
    assert "does not exist" in now.stderr
    listed = query(lake, *past)
    assert listed.returncode == 78
    assert "a time wants SQL" in listed.stderr


def test_what_was_known_is_one_fold_over_what_was_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every table, at several times, whatever the files that the rows lie in."""
    monkeypatch.setattr(pipelines.curate_stated, "ROWS_TOGETHER", 100)
    count = 200
    rows = rows_of(city_messages(count))
    lake = CuratedLake(tmp_path).create()
    offsets = list(range(count))
    random.Random(3).shuffle(offsets)
    for begin in range(0, count, 50):
        lake.put(rows, offsets[begin : begin + 50])
    names = [curated(fold).name for fold in FOLDS]
    for reached in (0, 70, count):
        times = Times(known_at=RECEIVED + timedelta(seconds=reached - 1))
        folder = tmp_path / str(reached)
        folder.mkdir()
        found = rows_then(lake.lake, SOURCES, names, times, folder)
        truth = expected(rows, range(reached))
        for fold in FOLDS:
            name = curated(fold).name
            wanted = [row for row in truth[name] if row["shown"]]
            assert plain(fold, found[name].to_table()) == wanted, (name, reached)


def test_what_was_true_is_one_fold_over_what_tells_so(tmp_path: Path) -> None:
    count = 200
    rows = rows_of(city_messages(count))
    told = sorted(rows["normalised/observation"].column("version_time").to_pylist())
    limit: datetime = told[len(told) // 2]
    lake = CuratedLake(tmp_path).create()
    lake.put(rows, range(count))
    found = rows_then(
        lake.lake, SOURCES, [curated(fold).name for fold in FOLDS], Times(true_at=limit), tmp_path
    )
    truth = expected({name: _until(some, limit) for name, some in rows.items()})
    shown = 0
    for fold in FOLDS:
        name = curated(fold).name
        shown += found[name].count_rows()
        assert plain(fold, found[name].to_table()) == [row for row in truth[name] if row["shown"]], name
    assert 0 < shown < sum(row["shown"] for some in expected(rows).values() for row in some)


def _until(rows: pa.Table, limit: datetime) -> pa.Table:
    times: list[Any] = rows.column("version_time").to_pylist()
    return rows.filter(pa.array([time <= limit for time in times]))
