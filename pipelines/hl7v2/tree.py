"""One message as a tree: segments, fields, repetitions, components, subcomponents; escapes resolved at the leaves."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.hl7v2.decode import USUAL_DELIMITERS, Decoded, Delimiters
from pipelines.hl7v2.split import split_batch
from pipelines.hl7v2.unescape import unescape

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


@dataclass(frozen=True, slots=True)
class _Text:
    """A part of a message, and the same with the usual delimiters in place of its own."""

    text: bytes
    structure: bytes

    def cut(self, delimiter: bytes) -> list[_Text]:
        """What stands between the delimiters."""
        pieces = []
        at = 0
        for piece in self.structure.split(delimiter):
            pieces.append(_Text(self.text[at : at + len(piece)], piece))
            at += len(piece) + 1
        return pieces


def read_trees(decoded: Decoded) -> list[list[Segment]]:
    """The trees of the readable messages of a batch; made for looking at messages, not for many of them."""
    split = split_batch(decoded)
    trees: list[list[Segment]] = [[] for _ in decoded.rows]
    for message, start, end in zip(
        split.message.tolist(), split.starts.tolist(), split.ends.tolist(), strict=True
    ):
        segment = _Text(split.data[start:end].tobytes(), split.structure[start:end].tobytes())
        delimiters = decoded.delimiters.get(message, USUAL_DELIMITERS)
        trees[message].append(_segment(segment, delimiters, decoded.codec_of(message)))
    return trees


def _segment(segment: _Text, delimiters: Delimiters, codec: str) -> Segment:
    first, *others = segment.cut(b"|")
    name = first.text.decode()
    if name.upper() != "MSH":
        return Segment(name, tuple(_field(one, delimiters, codec) for one in others))
    # MSH-1 is the separator behind the name, and nothing in MSH-2 is one (HL7 v2.5.1 §2.5.4)
    own = [segment.text[len(first.text) : len(first.text) + 1], *(one.text for one in others[:1])]
    fields = [(((one.decode(),),),) if one else () for one in own if others]
    return Segment(name, (*fields, *(_field(one, delimiters, codec) for one in others[1:])))


def _field(field: _Text, delimiters: Delimiters, codec: str) -> FieldValue:
    if not field.text:
        return ()
    return tuple(
        tuple(
            tuple(unescape(leaf.text.decode(), delimiters, codec) for leaf in component.cut(b"&"))
            for component in repetition.cut(b"^")
        )
        if repetition.text
        else ()
        for repetition in field.cut(b"~")
    )
