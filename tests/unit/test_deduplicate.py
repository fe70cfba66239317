"""Dispositions of a batch, against a reference that looks at one message after the other."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.deduplicate import decide
from schemas.table import INSTANT


class Known:
    """An index in a dictionary."""

    def __init__(self) -> None:
        self.contents: dict[int, set[int]] = {}

    def lookup(self, bucket: str, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert bucket == "202603"
        known = np.array([int(k) in self.contents for k in key], bool)
        same = np.array(
            [int(v) in self.contents.get(int(k), ()) for k, v in zip(key, value, strict=True)], bool
        )
        return known, same

    def add(self, key: int, value: int) -> None:
        self.contents.setdefault(key, set()).add(value)


def table_of(messages: list[tuple[int, int, int, int]]) -> pa.Table:
    """(received, partition, id, content) with offsets in order of the list."""
    return pa.table(
        {
            "received_at": pa.array([m[0] for m in messages], INSTANT),
            "topic_id": pa.array(["t"] * len(messages), pa.string()),
            "partition": pa.array([m[1] for m in messages], pa.int32()),
            "offset": pa.array(range(len(messages)), pa.int64()),
            "id_hash": pa.array([m[2] for m in messages], pa.int64()),
            "content_hash": pa.array([m[3] for m in messages], pa.int64()),
        }
    )


def reference(messages: list[tuple[int, int, int, int]], index: Known) -> list[str]:
    result = [""] * len(messages)
    order = sorted(range(len(messages)), key=lambda place: (messages[place][0], messages[place][1], place))
    for place in order:
        _, _, key, value = messages[place]
        seen = index.contents.get(key)
        result[place] = "accepted" if seen is None else "duplicate" if value in seen else "conflict"
        index.add(key, value)
    return result


MESSAGE = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(-3, 3), st.integers(-2, 2))


@given(
    st.lists(MESSAGE, max_size=40), st.lists(st.tuples(st.integers(-3, 3), st.integers(-2, 2)), max_size=8)
)
def test_a_batch_is_judged_as_one_message_after_the_other(
    messages: list[tuple[int, int, int, int]], before: list[tuple[int, int]]
) -> None:
    index, other = Known(), Known()
    for key, value in before:
        index.add(key, value)
        other.add(key, value)
    decided = decide(table_of(messages), index, "202603")
    assert decided.column("disposition").to_pylist() == reference(messages, other)
