"""Handles that a process keeps: as new as a fresh one, and moved by nobody while somebody has them out."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from lake_layout.commit import Change, commit_change
from lake_layout.files import write_file
from lake_layout.handles import borrowed_handle, current_handle
from lake_layout.lake import Lake, LakeLocation
from schemas.table import Field, Table

TABLE = Table("ops/numbers", "Numbers for tests.", (Field("n", pa.int64(), "A number."),))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(LakeLocation(str(tmp_path / "lake")))
    found.create_missing((TABLE,))
    return found


def put(lake: Lake, number: int, **txns: int) -> None:
    """Commit a row, and txn versions by app id."""
    file = write_file(lake, TABLE, pa.table({"n": [number]}), None)
    commit_change(lake, TABLE, lambda _: Change([file], (), txns, {"kind": "test"}))


def test_a_kept_handle_knows_what_a_fresh_one_knows(lake: Lake) -> None:
    for number in range(12):
        put(lake, number, **{f"app{number % 3}": number, "all": number})
        kept, fresh = current_handle(lake, TABLE), lake.open(TABLE)
        assert kept.version() == fresh.version() == number + 1
        for app in ("app0", "app1", "app2", "all", "nobody"):
            assert kept.transaction_version(app) == fresh.transaction_version(app)


def test_progress_is_known_though_log_entries_in_between_are_gone(lake: Lake) -> None:
    put(lake, 1, app=1)
    assert current_handle(lake, TABLE).transaction_version("app") == 1
    put(lake, 2, app=2)
    put(lake, 3, other=3)
    lake.open(TABLE).create_checkpoint()
    (Path(lake.table_uri(TABLE)) / "_delta_log" / f"{2:020d}.json").unlink()
    kept = current_handle(lake, TABLE)
    assert (kept.version(), kept.transaction_version("app"), kept.transaction_version("other")) == (3, 2, 3)


def test_nobody_moves_a_handle_that_is_out(lake: Lake) -> None:
    put(lake, 1, app=1)
    with borrowed_handle(lake, TABLE) as mine:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: put(lake, number, app=number), range(2, 10)))
        assert current_handle(lake, TABLE).version() == 9
        assert (mine.version(), mine.transaction_version("app")) == (1, 1)
    assert current_handle(lake, TABLE).version() == 9


def test_a_table_that_took_the_place_of_another_is_seen(lake: Lake) -> None:
    put(lake, 1, app=7)
    former = current_handle(lake, TABLE)
    assert former.transaction_version("app") == 7
    shutil.rmtree(lake.table_uri(TABLE))
    lake.create_missing((TABLE,))
    for number in range(3):
        put(lake, number)
    now = current_handle(lake, TABLE)
    assert now.metadata().id != former.metadata().id
    assert (now.version(), now.transaction_version("app")) == (3, None)


def test_a_handle_is_opened_anew_after_an_error(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), borrowed_handle(lake, TABLE) as broken:
        _ = 1 // 0
    assert current_handle(lake, TABLE) is not broken
