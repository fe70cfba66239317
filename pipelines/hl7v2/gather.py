"""From positions to Arrow: the bytes of many places copied into one string column at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, U8, USUAL_DELIMITERS, Bools
from pipelines.hl7v2.split import Ranges, RowSet, Split
from pipelines.hl7v2.unescape import unescape


def strings(split: Split, ranges: Ranges, message: I64, *, escaped: bool = True) -> pa.Array:
    """The text of each row's place; null where a row has none.

    Args:
        split: the batch.
        ranges: the places.
        message: message of each row of the row set.
        escaped: whether escape sequences are resolved (HL7 v2.5.1 §2.7); a segment as sent keeps them.
    """
    texts = _copied(split.data, ranges)
    if escaped and split.escapes.count and len(ranges.low):
        places = _with_escapes(split, ranges)
        if places.size:
            return _resolved(split, message, texts, ranges.rows[places])
    return texts


def _with_escapes(split: Split, ranges: Ranges) -> I64:
    """The places that hold an escape character."""
    escapes = split.escapes
    if ranges.ascending and escapes.count < len(ranges.low):
        # few escapes: ask each in which place it stands
        at = escapes.at[: escapes.count]
        place = np.searchsorted(ranges.low, at, side="right") - 1
        return np.unique(place[(place >= 0) & (at < ranges.high[np.maximum(place, 0)])])
    return np.flatnonzero(escapes.get(escapes.first_from(ranges.low)) < ranges.high)


def row_strings(rows: RowSet, number: int, component: int = 0, subcomponent: int = 0) -> pa.Array:
    """The text of one place in the first repetition of a field, for every row of a row set."""
    return strings(rows.split, rows.place(number, component, subcomponent), rows.message)


def _copied(data: U8, ranges: Ranges) -> pa.Array:
    """The places' bytes: taken from a string array over the batch itself, in which every other value is a place."""
    count = len(ranges.low)
    if not count:
        return pa.nulls(ranges.length, pa.string())
    large = len(data) >= 2**31
    low, high = ranges.low, ranges.high
    order: I64 | None = None
    if not ranges.ascending:
        order = np.argsort(low)
        low, high = low[order], high[order]
    offsets = np.empty(2 * count, np.int64 if large else np.int32)
    offsets[::2], offsets[1::2] = low, high
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    text = pa.Array.from_buffers(pa.large_string() if large else pa.string(), 2 * count - 1, buffers)
    place = np.arange(0, 2 * count, 2)
    if order is not None:
        place[order] = place.copy()
    if ranges.complete:
        found = text.take(pa.array(place))
    else:
        index = np.zeros(ranges.length, np.int64)
        index[ranges.rows] = place
        found = text.take(pa.array(index, mask=~ranges.present()))
    return found.cast(pa.string()) if large else found


def _resolved(split: Split, message: I64, texts: pa.Array, rows: I64) -> pa.Array:
    """The column with escape sequences resolved in some rows (they are few: one at a time)."""
    decoded = split.decoded
    resolved = []
    for row, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
        sender = int(message[row])
        delimiters = decoded.delimiters.get(sender, USUAL_DELIMITERS)
        resolved.append(unescape(text, delimiters, decoded.codec_of(sender)))
    mask: Bools = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(resolved, texts.type))
