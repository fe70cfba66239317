"""Pieces of a table become one, however each came by its columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.write_tables import joined

PLAIN = pa.array(["a", None, "c"])
WIDE = pa.array(["x", "a", None]).dictionary_encode()
NARROW = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["y", "a"]))
ABSENT = pa.nulls(2, pa.string())
MANY, MORE = (
    pa.DictionaryArray.from_arrays(
        pa.array(range(100), pa.int8()), pa.array([f"{name}{n}" for n in range(100)])
    )
    for name in ("many", "more")
)


@pytest.mark.parametrize(
    "columns",
    [
        [PLAIN, PLAIN],
        [WIDE, WIDE],
        [ABSENT, WIDE],
        [WIDE, ABSENT, WIDE],
        [WIDE, PLAIN],
        [NARROW, WIDE],
        [NARROW, ABSENT, PLAIN, WIDE],
        [ABSENT, ABSENT],
        [MANY, MORE],
        [MORE, ABSENT, NARROW, WIDE, MANY],
    ],
)
def test_pieces_are_joined_whatever_their_kinds_of_strings(columns: list[pa.Array]) -> None:
    whole = joined([pa.table({"text": column, "number": range(len(column))}) for column in columns])
    assert whole.column("text").to_pylist() == [value for column in columns for value in column.to_pylist()]
    assert whole.column("number").to_pylist() == [n for column in columns for n in range(len(column))]
    assert whole.column("text").num_chunks <= 1


def test_what_is_a_dictionary_everywhere_stays_one() -> None:
    whole = joined([pa.table({"text": WIDE}), pa.table({"text": ABSENT}), pa.table({"text": WIDE})])
    assert pa.types.is_dictionary(whole.column("text").type)
