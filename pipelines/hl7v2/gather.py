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
    if escaped and split.escapes.count:
        first = split.escapes.first_from(ranges.low)
        places = np.flatnonzero(split.escapes.get(first) < ranges.high)
        if places.size:
            texts = _resolved(split, ranges, message, texts, places)
    if ranges.complete:
        return texts
    index = np.zeros(ranges.length, np.int64)
    index[ranges.rows] = np.arange(len(ranges.rows))
    return texts.take(pa.array(index, mask=~ranges.present()))


def row_strings(rows: RowSet, number: int, component: int = 0, subcomponent: int = 0) -> pa.Array:
    """The text of one place in the first repetition of a field, for every row of a row set."""
    return strings(rows.split, rows.place(number, component, subcomponent), rows.message)


def _copied(data: U8, ranges: Ranges) -> pa.Array:
    lengths = ranges.high - ranges.low
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    # Which byte of the batch each byte of the column is: the place's beginning and how far into it.
    index = np.repeat(ranges.low - offsets[:-1], lengths)
    index += np.arange(total)
    kind, width = (pa.string(), np.int32) if total < 2**31 - 1 else (pa.large_string(), np.int64)
    return pa.Array.from_buffers(
        kind, len(lengths), [None, pa.py_buffer(offsets.astype(width)), pa.py_buffer(data[index])]
    )


def _resolved(split: Split, ranges: Ranges, message: I64, texts: pa.Array, places: I64) -> pa.Array:
    """The column with escape sequences resolved where there are any (few rows: one at a time)."""
    decoded = split.decoded
    resolved = []
    for place, text in zip(places.tolist(), texts.take(pa.array(places)).to_pylist(), strict=True):
        sender = int(message[ranges.rows[place]])
        delimiters = decoded.delimiters.get(sender, USUAL_DELIMITERS)
        resolved.append(unescape(text, delimiters, decoded.codec_of(sender)))
    mask: Bools = np.zeros(len(texts), bool)
    mask[places] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(resolved, texts.type))
