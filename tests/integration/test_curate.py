"""Curated tables are a function of the set of normalised rows, whatever the batches, crashes and takeovers."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

import pipelines.curate
import pipelines.curate_standing
import pipelines.curate_stated
from jobs import run_stages
from jobs.curated_now import named_in, newer
from jobs.lake_views import lake_views
from jobs.run_stages import Limits, curate_batch, curate_lag
from jobs.verify_curated import verify_curated
from lake_layout.maintain import maintain
from schemas.errors import LakeError
from schemas.tables.curated import ENCOUNTER_FOLD, FOLDS, OBSERVATION_FOLD, curated
from schemas.tables.curation import CURATE_TABLES, CURATION
from tests.conftest import RunPhl
from tests.curated_lake import SOURCES, CuratedLake, Rows, city_messages, expected, rows_of

MESSAGES = 300


@pytest.fixture(scope="module")
def city() -> Rows:
    return rows_of(city_messages(MESSAGES))


def assert_curated(lake: CuratedLake, truth: dict[str, list[dict[str, Any]]]) -> None:
    for fold in FOLDS:
        assert lake.curated(fold) == truth[curated(fold).name], curated(fold).name


def curate_all(lake: CuratedLake) -> int:
    batches = 0
    while curate_batch(lake.context) is not None:
        batches += 1
    return batches


def test_one_batch_is_one_fold(city: Rows, tmp_path: Path) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(city, range(MESSAGES))
    assert curate_lag(lake.context) > 0
    assert curate_all(lake) == 1
    assert curate_lag(lake.context) == 0
    assert_curated(lake, expected(city))
    counted = {row["table"]: row for row in lake.lake.dataset(CURATION).to_table().to_pylist()}
    assert counted["curated/observation"]["rows_read"] == city["normalised/observation"].num_rows


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_batches_and_their_order(
    city: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Few versions together and small files, so that parts, several files and rewriting are all met."""
    rng = random.Random(seed)
    monkeypatch.setattr(pipelines.curate_stated, "ROWS_TOGETHER", rng.choice([20, 300, 250_000]))
    monkeypatch.setattr(pipelines.curate_standing, "ROWS_OF_FILE", rng.choice([50, 400_000]))
    monkeypatch.setattr(pipelines.curate_standing, "FEWEST_COPIED", rng.choice([1, 10, 50_000]))
    lake = CuratedLake(tmp_path, limits=Limits(curated_rows=rng.choice([1, 500, 10_000]))).create()
    offsets = list(range(MESSAGES))
    rng.shuffle(offsets)
    while offsets:
        size = rng.choice([5, 60, 150])
        lake.put(city, offsets[:size])
        del offsets[:size]
        for _ in range(rng.choice([0, 1, 2])):
            curate_batch(lake.context)
        if rng.random() < 0.3:
            monkeypatch.setattr("lake_layout.maintain.SMALL_FILES", 2)
            maintain(lake.lake, curated(rng.choice(FOLDS)))
        if rng.random() < 0.3:
            shutil.rmtree(tmp_path / "index", ignore_errors=True)
    curate_all(lake)
    assert_curated(lake, expected(city))


class CrashError(Exception):
    """The process dies here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, *, after: bool) -> Callable[[], int]:
    """Let the nth call of a function of the stage die, before or after it has done its work; gives the calls so far."""
    stage = pipelines.curate_standing if name == "write_file" else pipelines.curate
    original = getattr(stage, name)
    calls: list[int] = []

    def deadly(*args: object, **kwargs: object) -> object:
        calls.append(1)
        dies = len(calls) == nth
        if dies and not after:
            raise CrashError
        result = original(*args, **kwargs)
        if dies:
            raise CrashError
        return result

    monkeypatch.setattr(stage, name, deadly)
    return lambda: len(calls)


STEPS = [
    ("write_file", 4, True), ("commit_table", 7, True), ("commit_aliases", 1, False), ("commit_aliases", 1, True),
    ("commit_curation", 1, True),
]  # fmt: skip


@pytest.mark.parametrize(("step", "nth", "after"), STEPS)
def test_a_batch_is_run_again_from_wherever_it_broke_off(
    city: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int, after: bool
) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(city, range(0, MESSAGES, 6))
    curate_all(lake)
    lake.put(city, range(3, MESSAGES, 6))
    with monkeypatch.context() as patch:
        crash_at(patch, step, nth, after=after)
        with pytest.raises(LakeError):
            curate_batch(lake.context)
    lake.put(city, range(1, MESSAGES, 6))
    curate_all(lake)
    assert_curated(lake, expected(city, {*range(0, MESSAGES, 3), *range(1, MESSAGES, 6)}))


@pytest.mark.parametrize(
    ("step", "nth"), [("commit_table", 2), ("commit_aliases", 1), ("commit_curation", 1)]
)
def test_other_code_takes_over_what_a_crash_left_half_done(
    city: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(city, range(0, MESSAGES, 6))
    curate_all(lake)
    lake.put(city, range(3, MESSAGES, 6))
    with monkeypatch.context() as patch:
        crash_at(patch, step, nth, after=True)
        with pytest.raises(LakeError):
            curate_batch(lake.context)
    lake.put(city, range(1, MESSAGES, 6))
    code_hash = run_stages.code_hash
    monkeypatch.setattr(run_stages, "code_hash", lambda *args: code_hash(*args, "another program"))
    curate_all(lake)
    assert_curated(lake, expected(city, {*range(0, MESSAGES, 3), *range(1, MESSAGES, 6)}))


def test_nothing_new_commits_nothing(city: Rows, tmp_path: Path) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(city, range(60))
    curate_all(lake)
    versions = [lake.lake.version(table) for table in CURATE_TABLES]
    assert curate_batch(lake.context) is None
    assert [lake.lake.version(table) for table in CURATE_TABLES] == versions


def test_new_things_touch_no_file_and_changed_ones_only_theirs(tmp_path: Path) -> None:
    """Each message is of an order of its own, but the last one, which corrects the first."""
    messages = [(result(f"F{number}", "20260310", "5.0"), "test") for number in range(6)]
    rows = rows_of([*messages, (result("F0", "20260311", "5.5", "C"), "test")])
    lake = CuratedLake(tmp_path).create()
    table = curated(OBSERVATION_FOLD)

    def files() -> set[str]:
        return {str(path) for path in lake.lake.open(table).file_uris()}

    lake.put(rows, range(3))
    curate_all(lake)
    first = files()
    lake.put(rows, range(3, 6))
    curate_all(lake)
    both = files()
    assert first < both
    lake.put(rows, [6])
    curate_all(lake)
    assert files() & both == both - first
    assert shown(lake, "value_number", "status") == [(5.0, "F")] * 5 + [(5.5, "C")]


def test_a_late_message_moves_all_of_a_thing_to_an_earlier_month(tmp_path: Path) -> None:
    messages = [
        (result("F1", "20260410", "5.0", code="718-7"), "test"),
        (result("F2", "20260411", "6.0"), "test"),
        (result("F1", "20260228", "4.0", "P", code="2951-2"), "test"),
    ]
    rows = rows_of(messages)
    lake = CuratedLake(tmp_path).create()
    for number in range(3):
        lake.put(rows, [number])
        curate_all(lake)
    assert_curated(lake, expected(rows))
    found = lake.lake.dataset(curated(OBSERVATION_FOLD)).to_table(columns=["home_month", "filler_order"])
    months = {(row["filler_order"], str(row["home_month"])) for row in found.to_pylist()}
    assert months == {("F1", "2026-02-01"), ("F2", "2026-04-01")}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_an_order_first_known_by_its_placer_is_the_same_order_later(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """A result that knows the placer's number only, then fillers' numbers, the lesser of which counts."""
    messages = [
        (result("", "20260410", "5.0", placer="P1"), "test"),
        (result("F1", "20260412", "5.2", placer="P1", code="2951-2"), "test"),
        (result("F9", "20260409", "4.9", placer="P1"), "test"),
        (result("F9", "20260408", "4.8"), "test"),
    ]
    rows = rows_of(messages)
    lake = CuratedLake(tmp_path).create()
    for number in order:
        lake.put(rows, [number])
        curate_all(lake)
    assert_curated(lake, expected(rows))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_an_order_without_its_detail_counts_for_the_medication_of_its_number(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """Nothing tells of what the cancellation is, so it makes no medication where there is none."""
    header = "MSH|^~\\&|HIS|H|||202604{}0800||{}|{}|P|2.3.1\rPID|1||123^^^H\r"
    messages = [
        header.format(10, "ORM^O01", "A") + "ORC|NW|P1^HIS\rRXO|AMOX^Amoxicillin^L|500||mg\r",
        header.format(12, "ORM^O01", "B") + "ORC|OC|P1^HIS\rORC|OC|P2^HIS\r",
        header.format(11, "RDE^O11", "C") + "ORC|NW|P1^HIS|F1^PHARM\rRXE||AMOX^Amoxicillin^L|500||mg\r",
    ]
    rows = rows_of([(one.encode(), "test") for one in messages])
    lake = CuratedLake(tmp_path).create()
    for number in order:
        lake.put(rows, [number])
        curate_all(lake)
    assert_curated(lake, expected(rows))
    with lake_views(lake.lake) as views:
        sql = "SELECT filler_order, medication_code, request, state FROM curated.medication_request"
        assert views.connection.execute(sql).fetchall() == [("F1", "AMOX", "NW", "CA")]


def result(
    filler: str, day: str, value: str, status: str = "F", *, placer: str = "", code: str = "718-7"
) -> bytes:
    """A message with one result."""
    return "\r".join(
        [
            f"MSH|^~\\&|LIS|H|||{day}0800||ORU^R01|{filler}{placer}{day}{code}|P|2.5.1",
            "PID|1||123^^^H",
            f"OBR|1|{placer}^HIS|{filler}^LIS|CBC^Blood count^L|||{day}0700" if placer else
            f"OBR|1||{filler}^LIS|CBC^Blood count^L|||{day}0700",
            f"OBX|1|NM|{code}^Test^LN||{value}|g/dL|||||{status}",
            "",
        ]
    ).encode()  # fmt: skip


def shown(lake: CuratedLake, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the observations that queries see, sorted."""
    rows = lake.lake.dataset(curated(OBSERVATION_FOLD)).to_table()
    rows = rows.filter(pc.field("shown"))
    return sorted(tuple(row[name] for name in columns) for row in rows.to_pylist())


def test_queries_show_what_is_so_now_and_what_no_batch_has_folded_in_yet(tmp_path: Path) -> None:
    messages = [
        (result("F1", "20260410", "5.0"), "test"),
        (result("F2", "20260411", "6.0"), "test"),
        (result("F1", "20260412", "5.5", "C"), "test"),
        (result("F3", "20260413", "7.0"), "test"),
    ]
    rows = rows_of(messages)
    lake = CuratedLake(tmp_path).create()
    lake.put(rows, [0, 1])
    curate_all(lake)
    lake.put(rows, [2, 3])
    context = lake.context
    sql = "SELECT value_number FROM curated_now.observation ORDER BY 1"
    now = newer(lake.lake, context.sources, context.index, named_in(sql))
    with lake_views(lake.lake, now=now) as views:
        plain = views.connection.execute("SELECT value_number FROM curated.observation ORDER BY 1").fetchall()
        fresh = views.connection.execute(sql).fetchall()
        names = [row[0] for row in views.connection.execute("DESCRIBE curated_now.observation").fetchall()]
        assert views.rows(views.views["curated/observation"]) == 2
    assert plain == [(5.0,), (6.0,)]
    assert fresh == [(5.5,), (6.0,), (7.0,)]
    assert not {"shown", "kept", "register"} & {*names}
    curate_all(lake)
    now = newer(lake.lake, context.sources, context.index, named_in(sql))
    with lake_views(lake.lake, now=now) as views:
        for layer in ("curated", "curated_now"):
            found = views.connection.execute(
                f"SELECT value_number FROM {layer}.observation ORDER BY 1"
            ).fetchall()
            assert found == fresh


def test_ingest_curates_and_status_tells_what_waits(run_phl: RunPhl, tmp_path: Path) -> None:
    folder = tmp_path / "messages"
    folder.mkdir()

    def load(name: str, message: bytes) -> None:
        (folder / name).write_bytes(message)
        assert run_phl("load", folder / name, "--source", "test").returncode == 0

    load("first.hl7", result("F1", "20260410", "5.0"))
    done = run_phl("ingest", "--once", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["curate"]["batches"] == 1
    load("second.hl7", result("F1", "20260412", "5.5", "C"))
    ingested = run_phl("ingest", "--once", "--json", "--stage", "land", "--stage", "normalise")
    assert {*json.loads(ingested.stdout)} >= {"land hl7v2", "normalise hl7v2"}
    waiting = json.loads(run_phl("status", "--json").stdout)["uncurated"]
    assert waiting["normalised/observation"] == 1
    assert json.loads(run_phl("status", "--json").stdout)["uncoded"] == {"normalised/observation": 1}
    sql = "SELECT a.value_number, b.value_number FROM curated.observation a, curated_now.observation b"
    asked = run_phl("query", "--csv", sql)
    assert asked.stdout.splitlines()[1:] == ["5.0,5.5"], asked.stderr
    assert json.loads(run_phl("curate", "--json").stdout)["curate"]["messages"] == sum(waiting.values())
    assert run_phl("query", "--csv", sql).stdout.splitlines()[1:] == ["5.5,5.5"]
    status = json.loads(run_phl("status", "--json").stdout)
    assert (status["uncurated"], status["uncoded"]) == ({}, {})


def test_verifying_folds_everything_again(
    city: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clean after several batches and without the index; not where a file was lost or a row changed."""
    monkeypatch.setattr(pipelines.curate_stated, "ROWS_TOGETHER", 200)
    lake = CuratedLake(tmp_path).create()
    index = lake.context.index
    assert verify_curated(lake.lake, SOURCES, index) == []
    for number in range(2):
        lake.put(city, range(number, MESSAGES, 2))
        curate_all(lake)
    assert verify_curated(lake.lake, SOURCES, index) == []
    shutil.rmtree(tmp_path / "index")
    assert verify_curated(lake.lake, SOURCES, index) == []
    table = curated(ENCOUNTER_FOLD)
    lake.lake.open(table).delete("shown")
    (difference,) = verify_curated(lake.lake, SOURCES, index)
    assert (difference.code, difference.table) == ("CURATED-DIFFERS", table.name)
    assert difference.messages > 0
    assert difference.expected > difference.found
