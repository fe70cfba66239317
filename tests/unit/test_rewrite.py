"""A file once more without some of its rows: no row is lost, changed or out of order."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.reading import read_coded, read_file
from lake_layout.rewrite import split_file
from schemas.table import INSTANT, Field, Table

TABLE = Table(
    "curated/things",
    "Things for tests.",
    (
        Field("month", pa.date32(), "Month."),
        Field("k", pa.int64(), "Key."),
        Field("name", pa.string(), "Name."),
        Field("names", pa.list_(pa.string()), "Names."),
        Field("at", INSTANT, "When."),
        Field("said_by_few", pa.string(), "Null but in one row."),
        Field("never_said", pa.string(), "Null."),
    ),
    partition_by="month",
    sort_by=("k",),
    statistics=("k", "at"),
)
MARCH = date(2026, 3, 1)
ROWS = 300


def rows_of_file() -> pa.Table:
    number = range(ROWS)
    return pa.table(
        {
            "k": list(number),
            "name": [None if one % 7 == 0 else f"名{one % 40}" for one in number],
            "names": [[f"n{one}", None] if one % 3 else None for one in number],
            "at": pa.array([datetime(2026, 3, 1, 0, 0, one % 60, tzinfo=UTC) for one in number], INSTANT),
            "said_by_few": pa.array(["once" if one == 5 else None for one in number], pa.string()),
            "never_said": pa.nulls(ROWS, pa.string()),
        }
    )


def test_rows_are_the_same_with_strings_read_as_dictionaries(tmp_path: Path) -> None:
    lake = Lake(LakeLocation(str(tmp_path)))
    file = write_file(lake, TABLE, rows_of_file(), MARCH)
    coded = read_coded(lake, TABLE, file.path)
    assert pa.types.is_dictionary(coded.schema.field("name").type)
    assert coded.cast(TABLE.arrow_schema).to_pylist() == read_file(lake, TABLE, file.path).to_pylist()


@pytest.mark.parametrize("gone", [[5], list(range(0, ROWS, 2)), list(range(ROWS - 1)), [0, ROWS - 1]])
@pytest.mark.parametrize("fewest", [0, ROWS])
def test_the_rows_of_a_file_are_parted(tmp_path: Path, gone: list[int], fewest: int) -> None:
    lake = Lake(LakeLocation(str(tmp_path)))
    file = write_file(lake, TABLE, rows_of_file(), MARCH)
    whole = read_file(lake, TABLE, file.path)
    out = np.isin(np.arange(ROWS), gone)
    taken, rest = split_file(lake, TABLE, file.path, out, fewest)
    assert taken.equals(whole.filter(pa.array(out)))
    if fewest:
        assert isinstance(rest, pa.Table)
        assert rest.equals(whole.filter(pa.array(~out)))
        return
    assert isinstance(rest, NewFile)
    assert (rest.copied, rest.partition, rest.rows) == (True, MARCH, ROWS - len(gone))
    assert read_file(lake, TABLE, rest.path).equals(whole.filter(pa.array(~out)))
    assert rest.path != file.path
