"""One message as a tree: segments, fields, repetitions, components, subcomponents; escapes resolved at the leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.hl7v2.decode import Decoded
from pipelines.hl7v2.gather import texts
from pipelines.hl7v2.locate import Rows, Spans, parts, repetitions
from pipelines.hl7v2.split import Split, split_batch

Leaf = str
Component = tuple[Leaf, ...]
"""Subcomponents; one where the component has no subcomponent separator."""
Repetition = tuple[Component, ...]
FieldValue = tuple[Repetition, ...]
"""Repetitions; none where the field is empty."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a message.

    Attributes:
        name: as sent.
        fields: HL7 fields from 1; of MSH the first two are its delimiters.
    """

    name: str
    fields: tuple[FieldValue, ...]


def read_trees(decoded: Decoded) -> list[list[Segment]]:
    """The trees of the readable messages of a batch; made for looking at messages, not for many of them."""
    split = split_batch(decoded)
    trees: list[list[Segment]] = [[] for _ in decoded.rows]
    for segment in range(len(split)):
        trees[int(split.message[segment])].append(_segment(split, segment))
    return trees


def _segment(split: Split, segment: int) -> Segment:
    first, last = split.first_separator[segment], split.first_separator[segment + 1]
    start, end = int(split.starts[segment]), int(split.ends[segment])
    after = int(split.separators[first]) if first < last else end
    name = split.data[start:after].tobytes().decode()
    is_header = name.upper() == "MSH"
    rows = Rows(split, np.array([segment]), int(is_header), {}, {})
    count = int(last - first) + int(is_header)
    fields = [_field(split, rows, number) for number in range(1, count + 1)]
    if is_header and fields:
        fields[0] = (((split.data[after : after + 1].tobytes().decode(),),),)
        if len(fields) > 1:
            whole = rows.whole(2).filled()
            encoding = split.data[int(whole.low[0]) : int(whole.high[0])].tobytes().decode()
            fields[1] = (((encoding,),),) if encoding else ()
    return Segment(name, tuple(fields))


def _field(split: Split, rows: Rows, number: int) -> FieldValue:
    whole = rows.whole(number)
    if whole.empty:
        return ()
    found = repetitions(split.structure, whole, rows.repeated)
    values: list[Repetition] = [()] * (_count(split, whole, 0, 0x7E) + 1)
    for place in range(len(found.owner)):
        spans = found.spans.take(np.array([place]))
        components = _count(split, spans, 0, 0x5E) + 1
        values[int(found.number[place])] = tuple(
            _component(split, rows, spans, component) for component in range(1, components + 1)
        )
    return tuple(values)


def _component(split: Split, rows: Rows, spans: Spans, component: int) -> Component:
    inner = parts(split.structure, spans, ((component, 0),))[component, 0]
    count = 1 if inner.empty else _count(split, inner, 0, 0x26) + 1
    asked = tuple((component, number) for number in range(1, count + 1))
    found = parts(split.structure, spans, asked)
    return tuple(texts(split, found[part], rows.segments)[0].as_py() or "" for part in asked)


def _count(split: Split, spans: Spans, row: int, delimiter: int) -> int:
    low, high = int(spans.low[row]), int(spans.high[row])
    return int(np.count_nonzero(split.structure[low:high] == delimiter))
