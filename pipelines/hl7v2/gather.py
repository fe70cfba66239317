"""From positions to Arrow: the bytes of many places copied into one string column at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, U8, USUAL_DELIMITERS
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.split import Positions, Split
from pipelines.hl7v2.unescape import unescape
from pipelines.kernel import kernel

_MOST = 2**31 - 1


def texts(
    split: Split, spans: Spans, message: I64, index: I64 | None = None, *, escaped: bool = True
) -> pa.Array:
    """The text of each place; null where there is none.

    Args:
        split: the batch.
        spans: the places.
        message: message of each place (before ``index``).
        index: which place each value is taken from, -1 for none; None for each place in turn.
        escaped: whether escape sequences are resolved (HL7 v2.5.1 §2.7); a segment as sent keeps them.
    """
    count = len(spans) if index is None else len(index)
    if spans.empty or not count:
        return pa.nulls(count, pa.string())
    offsets = np.empty(count + 1, np.int64)
    valid = np.zeros((count + 7) // 8, np.uint8)
    linked = index is not None
    which = index if index is not None else _ALL
    absent = _measure(spans.low, spans.high, which, linked, offsets, valid)
    if absent == count:
        return pa.nulls(count, pa.string())
    total = int(offsets[-1])
    large = total > _MOST
    out = np.empty(total, np.uint8)
    flags = np.zeros(count if escaped and split.escaped else 0, np.uint8)
    marked = _copy(split.data, split.structure, spans.low, which, linked, offsets, out, flags)
    kind = pa.large_string() if large else pa.string()
    places = offsets if large else offsets.astype(np.int32)
    buffers = [pa.py_buffer(valid) if absent else None, pa.py_buffer(places), pa.py_buffer(out)]
    found = pa.Array.from_buffers(kind, count, buffers, absent)
    if not marked:
        return found
    rows = np.flatnonzero(flags)
    return _resolved(split, message[rows if index is None else index[rows]], found, rows)


_ALL = np.zeros(0, np.int64)


@kernel
def _measure(low: Positions, high: Positions, index: I64, linked: bool, offsets: I64, valid: U8) -> int:
    """Fill offsets and the bitmap of what is there; the number of what is not."""
    total = 0
    absent = 0
    for row in range(len(offsets) - 1):
        offsets[row] = total
        place = index[row] if linked else row
        if place >= 0 and high[place] > low[place]:
            total += high[place] - low[place]
            valid[row >> 3] |= np.uint8(1 << (row & 7))
        else:
            absent += 1
    offsets[len(offsets) - 1] = total
    return absent


@kernel
def _copy(
    data: U8,
    structure: U8,
    low: Positions,
    index: I64,
    linked: bool,
    offsets: I64,
    out: U8,
    flags: U8,
) -> int:
    """Copy the bytes; flag the values that hold an escape character, where ``flags`` has room; their number."""
    looking = len(flags) > 0
    marked = 0
    for row in range(len(offsets) - 1):
        to = offsets[row]
        size = offsets[row + 1] - to
        if size:
            place = index[row] if linked else row
            start = low[place]
            for step in range(size):
                out[to + step] = data[start + step]
            if looking:
                for step in range(size):
                    if structure[start + step] == 0x5C:
                        flags[row] = 1
                        marked += 1
                        break
    return marked


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
