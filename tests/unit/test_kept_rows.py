"""Rows on the local disk are those of their tables, or are made again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake_layout.kept_rows import Kept, kept_rows
from schemas.errors import TransportError
from schemas.table import INSTANT, Field, Table

TABLE = Table(
    "ops/thing",
    "Things.",
    (
        Field("one", pa.int64(), "A key."),
        Field("other", pa.int64(), "Another."),
        Field("name", pa.string(), "A text."),
        Field("at", INSTANT, "A time."),
    ),
)
KEPT = (Kept(TABLE, (("one", "other"), ("other", "one"), ("name",))),)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def things(*rows: tuple[int, int, str | None]) -> pa.Table:
    columns = {
        "one": [row[0] for row in rows],
        "other": [row[1] for row in rows],
        "name": [row[2] for row in rows],
    }
    return pa.table({**columns, "at": [NOON] * len(rows)}, schema=TABLE.arrow_schema)


def of_keys(*keys: int) -> pa.Table:
    return pa.table({"one": pa.array(keys, pa.int64())})


def fill(folder: Path) -> None:
    with kept_rows(folder, KEPT) as rows:
        assert rows.reached is None
        rows.refill(
            3, [(TABLE, things((1, 1, "a"), (1, 2, "b"))), (TABLE, things((2, 1, None), (-5, 1, "a")))]
        )


def test_rows_are_looked_up_by_their_columns(tmp_path: Path) -> None:
    fill(tmp_path)
    with kept_rows(tmp_path, KEPT) as rows:
        assert rows.reached == 3
        found = rows.rows(TABLE, of_keys(1, 7, 2))
        assert found.schema == TABLE.arrow_schema
        assert found.sort_by([("one", "ascending"), ("other", "ascending")]) == things(
            (1, 1, "a"), (1, 2, "b"), (2, 1, None)
        )
        assert rows.rows(TABLE, pa.table({"name": ["b"], "other": [2]})) == things((1, 2, "b"))
        assert rows.rows(TABLE, of_keys()).num_rows == 0
        keys, values = rows.pairs(TABLE, "other", "one", np.array([1, 2]))
        assert sorted(zip(keys.tolist(), values.tolist(), strict=True)) == [(1, -5), (1, 2), (2, 1)]
        keys, values = rows.pairs(TABLE, "other", "one", np.array([1, 2]), ("name", ["a"]))
        assert (keys.tolist(), values.tolist()) == ([1], [-5])


def test_a_change_counts_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    fill(tmp_path)

    def broken() -> Iterator[tuple[Table, pa.Table, pa.Table]]:
        yield TABLE, of_keys(1), things((9, 9, "c"))
        raise RuntimeError

    with pytest.raises(RuntimeError), kept_rows(tmp_path, KEPT) as rows:
        rows.change(4, broken())
    with kept_rows(tmp_path, KEPT) as rows:
        assert rows.reached == 3
        assert rows.rows(TABLE, of_keys(1, 9)).num_rows == 2
        rows.change(4, [(TABLE, of_keys(1), things((9, 9, "c"), (1, 4, "d")))])
    with kept_rows(tmp_path, KEPT) as rows:
        assert rows.reached == 4
        assert rows.rows(TABLE, of_keys(1, 9)).num_rows == 2
        assert rows.rows(TABLE, of_keys(1)) == things((1, 4, "d"))


def test_what_is_damaged_or_of_other_columns_is_made_again(tmp_path: Path) -> None:
    fill(tmp_path)
    with kept_rows(tmp_path, [Kept(TABLE, (("one",),))]) as rows:
        assert rows.reached is None
    (tmp_path / "rows.sqlite").write_bytes(b"not what it was" * 1_000)
    with pytest.raises(TransportError, match="INDEX-REMOVED"), kept_rows(tmp_path, KEPT):
        pass
    fill(tmp_path)
    (tmp_path / "rows.sqlite").write_bytes(b"")
    fill(tmp_path)


def test_a_disk_that_takes_nothing_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransportError, match="INDEX-DISK"), kept_rows(tmp_path / "file", KEPT):
        pass
