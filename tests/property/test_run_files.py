"""Sorted runs against lists: merging keeps every entry, and searching finds what is there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lake_layout.run_files import Entries, find, merge_runs, merged, open_run, sort_entries, write_run

SMALL = st.tuples(st.integers(-20, 20), st.integers(-3, 3))
LARGE = st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
PAIRS = st.lists(st.one_of(SMALL, LARGE), max_size=80)


def entries(pairs: list[tuple[int, int]]) -> Entries:
    ordered = sorted(pairs)
    return np.array([k for k, _ in ordered], np.int64), np.array([v for _, v in ordered], np.int64)


def pairs_of(pieces: list[Entries]) -> list[tuple[int, int]]:
    return [(int(k), int(v)) for keys, values in pieces for k, v in zip(keys, values, strict=True)]


@settings(max_examples=200)
@given(PAIRS, PAIRS, st.integers(1, 7))
def test_merging_keeps_every_entry_in_order(
    first: list[tuple[int, int]], second: list[tuple[int, int]], block: int
) -> None:
    assert pairs_of(list(merged(entries(first), entries(second), block))) == sorted(first + second)


@given(PAIRS)
def test_sorting_is_by_key_then_value(pairs: list[tuple[int, int]]) -> None:
    keys = np.array([k for k, _ in pairs], np.int64)
    values = np.array([v for _, v in pairs], np.int64)
    assert pairs_of([sort_entries(keys, values)]) == sorted(pairs)


@settings(max_examples=200)
@given(PAIRS, PAIRS)
def test_searching_finds_what_is_there(pairs: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    asked = sorted(pairs[::2] + others)
    known, same = find(entries(pairs), *entries(asked))
    assert known.tolist() == [key in {k for k, _ in pairs} for key, _ in asked]
    assert same.tolist() == [pair in set(pairs) for pair in asked]


@settings(max_examples=30)
@given(PAIRS.filter(bool), PAIRS.filter(bool))
def test_files_hold_what_was_written(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        older = write_run(folder, "b", len(first), 0, 1, [entries(first)])
        newer = write_run(folder, "b", len(second), 1, 2, [entries(second)])
        both = merge_runs(folder, "b", older, newer)
        assert pairs_of([open_run(folder, both)]) == sorted(first + second)
        assert (both.rows, both.after, both.upto) == (len(first) + len(second), 0, 2)
