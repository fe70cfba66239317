"""From positions to Arrow: the bytes of many places copied into one string column at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, U8, USUAL_DELIMITERS, Bools
from pipelines.hl7v2.locate import Grid, Spans
from pipelines.hl7v2.split import Split
from pipelines.hl7v2.unescape import unescape
from pipelines.kernel import copy_16, kernel

_MOST = 2**31 - 1
Bytes = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
Flags = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


def texts(
    split: Split, spans: Spans, segments: I64, index: I64 | None = None, *, escaped: bool = True
) -> pa.Array:
    """The text of each place; null where there is none.

    Args:
        split: the batch.
        spans: the places.
        segments: segment of each place (before ``index``).
        index: which place each value is taken from, -1 for none; None for each place in turn.
        escaped: whether escape sequences are resolved (HL7 v2.5.1 §2.7); a segment as sent keeps them.
    """
    if index is not None:
        spans, segments = spans.take(index), segments[np.maximum(index, 0)] if len(segments) else segments
    if spans.empty or not len(spans):
        return pa.nulls(len(spans), pa.string())
    low, high = spans.low.reshape(1, -1), spans.high.reshape(1, -1)
    (found,) = grid_texts(split, low, high, np.zeros(1, np.int64), segments, escaped=escaped)
    return found


def span_texts(split: Split, places: Sequence[Spans], segments: I64) -> list[pa.Array]:
    """The texts of several places of the same rows; null where there is none.

    Args:
        split: the batch.
        places: the places, each for all rows.
        segments: segment of each row.
    """
    some = [spans for spans in places if not spans.empty and len(spans)]
    if not some:
        return [pa.nulls(len(spans), pa.string()) for spans in places]
    low, high = np.stack([spans.low for spans in some]), np.stack([spans.high for spans in some])
    found = iter(grid_texts(split, low, high, np.arange(len(some)), segments))
    return [
        next(found) if not spans.empty and len(spans) else pa.nulls(len(spans), pa.string())
        for spans in places
    ]


def grid_texts(
    split: Split, low: Grid, high: Grid, which: I64, segments: I64, *, escaped: bool = True
) -> list[pa.Array]:
    """The texts of several places of the same rows, copied in one pass over the batch.

    Args:
        split: the batch.
        low: where the places begin, by place and row.
        high: where they end.
        which: places of the grid.
        segments: segment of each row.
        escaped: whether escape sequences are resolved.
    """
    with_escapes = split.escaped[segments] if escaped else np.zeros(low.shape[1], np.bool_)
    columns, flags = _copied(split.data, split.structure, low, high, which, with_escapes)
    found = []
    for place, column in enumerate(columns):
        rows = np.flatnonzero(flags[place])
        if len(rows):
            column = _resolved(split, split.message[segments[rows]], column, rows)  # noqa: PLW2901
        found.append(column if column.type == pa.string() else column.cast(pa.string()))
    return found


def copied(data: U8, low: Grid, high: Grid) -> list[pa.Array]:
    """The texts of several places of the same rows, as they stand; null where there is nothing.

    Args:
        data: text in UTF-8.
        low: where the places begin, by place and row.
        high: where they end.
    """
    columns, _ = _copied(data, data, low, high, np.arange(len(low)), np.zeros(low.shape[1], np.bool_))
    return [column if column.type == pa.string() else column.cast(pa.string()) for column in columns]


def _copied(
    data: U8, structure: U8, low: Grid, high: Grid, which: I64, with_escapes: Bools
) -> tuple[list[pa.Array], Flags]:
    """Columns of text, and which values of each hold an escape character."""
    count = low.shape[1]
    sizes, absent = np.empty(len(which), np.int64), np.empty(len(which), np.int64)
    offsets = np.empty((len(which), count + 1), np.int64 if len(data) > _MOST // 2 else np.int32)
    valid = np.zeros((len(which), (count + 7) // 8), np.uint8)
    _measure(low, high, which, offsets, valid, sizes, absent)
    room = sizes + _SPARE
    begins = np.cumsum(room) - room
    out = np.empty(int(room.sum()), np.uint8)
    flags = np.zeros((len(which), count if with_escapes.any() else 0), np.bool_)
    marked = np.zeros(len(which), np.bool_)
    _copy(data, structure, low, high, which, offsets, begins, out, with_escapes, flags, marked)
    text = pa.large_string() if offsets.dtype == np.int64 else pa.string()
    texts = pa.py_buffer(out)
    columns = []
    for place in range(len(which)):
        buffers = [
            pa.py_buffer(valid[place]) if absent[place] else None,
            pa.py_buffer(offsets[place]),
            texts.slice(int(begins[place]), int(sizes[place])),
        ]
        columns.append(pa.Array.from_buffers(text, count, buffers, int(absent[place])))
    return columns, flags


_SPARE = 16
"""Bytes behind the texts of a place that copying sixteen at a time may write to."""

_BLOCK = 256
"""Rows whose places are copied together, so that what is read stays in the cache from one place to the next."""


@kernel
def _measure(low: Grid, high: Grid, which: I64, offsets: Grid, valid: Bytes, sizes: I64, absent: I64) -> None:
    """Fill offsets, the bitmaps of what is there, the bytes of each place and how many rows have nothing."""
    count = low.shape[1]
    for place in range(len(which)):
        source = which[place]
        total = 0
        missing = 0
        for row in range(count):
            offsets[place, row] = total
            size = high[source, row] - low[source, row]
            if size > 0:
                total += size
                valid[place, row >> 3] |= np.uint8(1 << (row & 7))
            else:
                missing += 1
        offsets[place, count] = total
        sizes[place] = total
        absent[place] = missing


@kernel
def _copy(
    data: U8, structure: U8, low: Grid, high: Grid, which: I64, offsets: Grid, begins: I64, out: U8,
    escaped: Bools, flags: Flags, marked: Bools,
) -> None:  # fmt: skip
    """Copy the bytes; flag the values that hold an escape character, of segments that have any."""
    count = low.shape[1]
    last = len(data) - 16
    for block in range(0, count, _BLOCK):
        for place in range(len(which)):
            source = which[place]
            for row in range(block, min(block + _BLOCK, count)):
                start = low[source, row]
                size = high[source, row] - start
                to = begins[place] + offsets[place, row]
                step = 0
                while step < size:
                    if start + step <= last:
                        copy_16(out, to + step, data, start + step)  # type: ignore[call-arg]
                        step += 16
                    else:
                        out[to + step] = data[start + step]
                        step += 1
                if escaped[row]:
                    for step in range(size):
                        if structure[start + step] == 0x5C:
                            flags[place, row] = True
                            marked[place] = True
                            break


def _resolved(split: Split, message: I64, found: pa.Array, rows: I64) -> pa.Array:
    """The column with escape sequences resolved in some rows (they are few: one at a time)."""
    decoded = split.decoded
    resolved = [
        unescape(text, decoded.delimiters.get(sender, USUAL_DELIMITERS), decoded.codec_of(sender))
        for sender, text in zip(message.tolist(), found.take(pa.array(rows)).to_pylist(), strict=True)
    ]
    mask = np.zeros(len(found), bool)
    mask[rows] = True
    return pc.replace_with_mask(found, pa.array(mask), pa.array(resolved, found.type))
