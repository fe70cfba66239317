"""Which version wins: dense numbers for keys, the order of versions, the greatest of each register."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.columns import Absent, whole
from pipelines.fold_keys import I64, Bools, hash_of_texts, mixed
from pipelines.kernel import kernel
from schemas.fold import VERSION

Rank = np.ndarray[tuple[int, int], np.dtype[np.int64]]
NONE = -1
WITHOUT_SEGMENT = len(VERSION) - 1
"""How much of ``VERSION`` orders messages: what is said in one message is said at once."""


@kernel
def _number(first: I64, second: I64, slots: I64, ids: I64) -> int:
    """Number distinct pairs in the order they come; ``slots`` is an open-addressed table larger than the pairs."""
    mask = len(slots) - 1
    count = 0
    for row in range(len(first)):
        hashed = (
            np.uint64(first[row]) ^ (np.uint64(second[row]) * np.uint64(0x9E3779B97F4A7C15))
        ) * np.uint64(0xFF51AFD7ED558CCD)
        slot = np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(mask))
        while True:
            other = slots[slot]
            if other < 0:
                slots[slot] = row
                ids[row] = count
                count += 1
                break
            if first[other] == first[row] and second[other] == second[row]:
                ids[row] = ids[other]
                break
            slot = (slot + 1) & mask
    return count


@kernel
def _greatest(ids: I64, rows: I64, rank: Rank, best: I64) -> None:
    """Of each id the row of the greatest rank."""
    for place in range(len(rows)):
        row = rows[place]
        mine = best[ids[row]]
        if mine < 0:
            best[ids[row]] = row
            continue
        for level in range(len(rank)):
            if rank[level, row] != rank[level, mine]:
                if rank[level, row] > rank[level, mine]:
                    best[ids[row]] = row
                break


@kernel
def _later(rank: Rank, rows: I64, others: I64, out: Bools) -> None:
    """Whether each row ranks above the one beside it; what is beside nothing does."""
    for place in range(len(rows)):
        out[place] = True
        if others[place] < 0:
            continue
        out[place] = False
        for level in range(len(rank)):
            one = rank[level, rows[place]]
            other = rank[level, others[place]]
            if one != other:
                out[place] = one > other
                break


@kernel
def _least(ids: I64, values: I64, least: I64) -> None:
    for row in range(len(ids)):
        least[ids[row]] = min(least[ids[row]], values[row])


def number(first: I64, second: I64 | None = None) -> tuple[I64, int]:
    """Dense numbers from 0 of keys, or of pairs of them, and how many there are."""
    ids = np.empty(len(first), np.int64)
    slots = np.full(1 << max(4, int(2 * len(first)).bit_length()), NONE, np.int64)
    return ids, _number(first, np.zeros_like(first) if second is None else second, slots, ids)


def greatest(ids: I64, count: int, rank: Rank, rows: I64 | None = None) -> I64:
    """The row of the greatest rank of each id; ``NONE`` where no row has it.

    Args:
        ids: of every row.
        count: of ids.
        rank: levels by rows, the first level telling most.
        rows: the rows that count; None for all.
    """
    best = np.full(count, NONE, np.int64)
    _greatest(ids, np.arange(len(ids)) if rows is None else rows, rank, best)
    return best


def later(rank: Rank, rows: I64, others: I64) -> Bools:
    """Whether each row ranks above the one beside it; true beside ``NONE``."""
    out = np.empty(len(rows), bool)
    _later(rank, rows, others, out)
    return out


def least(ids: I64, count: int, values: I64) -> I64:
    """The least value of each id."""
    found = np.full(count, np.iinfo(np.int64).max, np.int64)
    _least(ids, values, found)
    return found


def rank_of(rows: pa.Table) -> Rank:
    """``VERSION`` of each row as numbers: levels by rows."""
    levels = np.empty((len(VERSION), rows.num_rows), np.int64)
    for level, name in enumerate(VERSION):
        column = whole(rows.column(name))
        if name == "topic_id":
            levels[level] = _in_order(column)
        else:
            levels[level] = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return levels


def _in_order(texts: pa.Array) -> I64:
    """The place of each text among all in their order."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    place = {text: number for number, text in enumerate(sorted(set(distinct)))}
    places = np.array([place[text] for text in distinct] or [0], np.int64)
    found: I64 = places[encoded.indices.to_numpy()]
    return found


def message_of(rows: pa.Table, rank: Rank) -> I64:
    """A hash of the message, and the reading of it, that each row is of."""
    numbers = [rank[VERSION.index(name)].view(np.uint64) for name in ("partition", "offset", "reading")]
    return mixed(hash_of_texts(rows.column("topic_id")), *numbers).view(np.int64)


class Taken:
    """Values of columns by row; null where that is negative. Most columns of most tables say nothing."""

    def __init__(self, rows: I64) -> None:
        self._places = pa.array(rows, mask=rows < 0) if (rows < 0).any() else pa.array(rows)
        self._absent = Absent(len(rows))

    def of(self, column: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The values of a column."""
        if column.null_count == len(column):
            return self._absent.of(column.type)
        return whole(column).take(self._places)


def taken(column: pa.Array | pa.ChunkedArray, rows: I64) -> pa.Array:
    """A column's values by row; null where that is negative."""
    return Taken(rows).of(column)


def rows_of(table: pa.Table, rows: I64) -> pa.Table:
    """Some rows of a table."""
    values = Taken(rows)
    return pa.table([values.of(column) for column in table.columns], schema=table.schema)


def int64(rows: pa.Table, name: str) -> I64:
    """A column without nulls as numbers."""
    found: I64 = whole(rows.column(name)).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def flags(rows: pa.Table, name: str) -> Bools:
    """A column of true and false without nulls."""
    found: Bools = whole(rows.column(name)).to_numpy(zero_copy_only=False)
    return found
