"""Splitting a batch of messages: positions, not pieces.

The delimiters of the whole batch are found at once; a segment is a pair of positions, and the nth field of all
segments of a name is arithmetic on an array of separators. Nothing is cut that nobody asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.hl7v2.decode import I64, U8, Bools, Decoded

_FAR = np.iinfo(np.int64).max


def name_code(name: str) -> int:
    """A segment name of three characters as one number, as in ``Split.names``."""
    return int.from_bytes(name.encode("ascii"), "big")


@dataclass(frozen=True)
class Marks:
    """Positions of one delimiter in the structure, in order.

    Attributes:
        at: the positions, with sentinels far beyond the end after them.
        count: how many there are.
    """

    at: I64
    count: int

    @classmethod
    def of(cls, structure: U8, delimiter: str) -> Marks:
        return cls.at_positions(np.flatnonzero(structure == ord(delimiter)))

    @classmethod
    def at_positions(cls, found: I64) -> Marks:
        return cls(np.concatenate((found, np.full(2, _FAR))), len(found))

    def first_from(self, positions: I64) -> I64:
        """Index of the first delimiter at or after each position."""
        return np.searchsorted(self.at[: self.count], positions)

    def get(self, index: I64) -> I64:
        """Positions by index; far beyond the end where there is none."""
        return self.at[np.minimum(index, self.count)]


@dataclass(frozen=True)
class Split:
    """The segments of a batch, in order.

    Attributes:
        data: UTF-8 text of the batch.
        starts: where each segment begins, after blanks before its name.
        ends: where it ends (its terminator is not part of it).
        message: index of its message.
        ordinal: position in its message from 0; blank segments are not counted.
        names: ``name_code`` of its name in upper case; 0 where that is not of three characters.
        first_of_message: index of each message's MSH segment.
        fields: field separators of the batch.
        first_field: for each segment, the index of its first field separator; one more entry for the end.
    """

    decoded: Decoded
    data: U8
    starts: I64
    ends: I64
    message: I64
    ordinal: I64
    names: I64
    first_of_message: I64
    fields: Marks
    first_field: I64

    @cached_property
    def components(self) -> Marks:
        return Marks.of(self.decoded.structure, "^")

    @cached_property
    def repetitions(self) -> Marks:
        return Marks.of(self.decoded.structure, "~")

    @cached_property
    def subcomponents(self) -> Marks:
        return Marks.of(self.decoded.structure, "&")

    @cached_property
    def escapes(self) -> Marks:
        """Escape characters, but for those of MSH-2."""
        marks = Marks.of(self.decoded.structure, "\\")
        at = marks.at[: marks.count]
        message = np.searchsorted(self.decoded.starts, at, side="right") - 1
        after = self.fields.get(self.first_field[self.first_of_message] + 1)
        return Marks.at_positions(at[at > after[message]])


def split_batch(decoded: Decoded) -> Split:
    """Find the segments and field separators of a batch.

    Segments end at CR, LF, CR LF or the end of the message; blank ones are passed over (HL7 v2.5.1 §2.5.1 has
    CR alone; the others are common).
    """
    structure = decoded.structure
    terminators = np.flatnonzero(structure == 0x0D)
    line_feeds = np.flatnonzero(structure == 0x0A)
    if line_feeds.size:
        terminators = np.sort(np.concatenate((terminators, line_feeds)), kind="stable")
    starts = np.sort(np.concatenate((decoded.starts, terminators + 1)), kind="stable")
    ends = np.sort(np.concatenate((terminators, decoded.ends)), kind="stable")
    filled = ends > starts
    if not filled.all():
        starts, ends = starts[filled], ends[filled]
    starts, ends = _without_leading_blanks(decoded.data, starts, ends)
    message = np.searchsorted(decoded.starts, starts, side="right") - 1
    counts = np.bincount(message, minlength=len(decoded.starts))
    first_of_message = np.cumsum(counts) - counts
    ordinal = np.arange(len(starts)) - first_of_message[message]
    fields = Marks.of(structure, "|")
    first_field = np.append(fields.first_from(starts), fields.count)
    return Split(
        decoded,
        decoded.data,
        starts,
        ends,
        message,
        ordinal,
        _names(decoded.data, starts, ends, fields, first_field),
        first_of_message,
        fields,
        first_field,
    )


def _without_leading_blanks(data: U8, starts: I64, ends: I64) -> tuple[I64, I64]:
    if not starts.size:
        return starts, ends
    heads = data[starts]
    odd = np.flatnonzero((heads == 0x20) | (heads == 0x09))
    if odd.size:
        starts = starts.copy()
        for segment in odd.tolist():
            text = data[starts[segment] : ends[segment]].tobytes()
            starts[segment] += len(text) - len(text.lstrip(b" \t"))
        filled = ends > starts
        starts, ends = starts[filled], ends[filled]
    return starts, ends


def _names(data: U8, starts: I64, ends: I64, fields: Marks, first_field: I64) -> I64:
    first = fields.get(first_field[:-1])
    three = np.minimum(first, ends) - starts == 3
    codes = np.zeros(len(starts), np.int64)
    last = max(len(data) - 1, 0)
    for place in range(3):
        letters = data[np.minimum(starts + place, last)].astype(np.int64)
        letters -= 32 * ((letters >= 0x61) & (letters <= 0x7A))
        codes = codes << 8 | letters
    return np.where(three, codes, 0)


@dataclass(frozen=True)
class Ranges:
    """Some places in the batch's text: one for each row of a row set that has anything there.

    Attributes:
        low: where each begins; ascending.
        high: where it ends; always beyond ``low``.
        rows: the row of the row set that each belongs to; ascending.
        length: number of rows of the row set.
        ascending: whether the places are in the order of the text, as all are but repetitions of several fields.
    """

    low: I64
    high: I64
    rows: I64
    length: int
    ascending: bool = True

    @property
    def complete(self) -> bool:
        """Whether every row has one."""
        return len(self.rows) == self.length

    def where(self, wanted: Bools) -> Ranges:
        """Those of the wanted rows only (``wanted`` has one value per row of the row set)."""
        keep = wanted[self.rows]
        return Ranges(self.low[keep], self.high[keep], self.rows[keep], self.length)

    def present(self) -> Bools:
        """For each row of the row set whether it has anything."""
        result = np.zeros(self.length, bool)
        result[self.rows] = True
        return result


_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class RowSet:
    """Segments that make the rows of something, such as all OBX of a batch.

    Attributes:
        split: their batch.
        segments: their indices, ascending.
        shift: 1 for MSH, where MSH-1 is the separator itself (HL7 v2.5.1 §2.5.4); 0 else.
    """

    split: Split
    segments: I64
    shift: int = 0
    _cache: dict[tuple[int, int, int], Ranges] = field(default_factory=dict, compare=False, repr=False)
    _components: dict[int, I64] = field(default_factory=dict, compare=False, repr=False)
    _parted: dict[str, Bools] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.segments)

    @cached_property
    def _first(self) -> I64:
        return self.split.first_field[self.segments]

    @cached_property
    def _last(self) -> I64:
        return self.split.first_field[self.segments + 1]

    @cached_property
    def _ends(self) -> I64:
        return self.split.ends[self.segments]

    @cached_property
    def _most(self) -> int:
        return int((self._last - self._first).max()) if len(self.segments) else 0

    @cached_property
    def message(self) -> I64:
        """Message of each row."""
        return self.split.message[self.segments]

    def nothing(self) -> Ranges:
        """No place in any row."""
        return Ranges(_NOTHING, _NOTHING, _NOTHING, len(self.segments))

    def whole(self, number: int) -> Ranges:
        """Field ``number`` with all its repetitions."""
        key = (number, -1, 0)
        if key not in self._cache:
            self._cache[key] = self._field(number - self.shift)
        return self._cache[key]

    def _field(self, number: int) -> Ranges:
        if number > self._most:
            return self.nothing()
        marks = self.split.fields.at
        index = self._first + (number - 1)
        inside = index < self._last
        rows = np.arange(len(self.segments))
        if inside.all():
            last, ends = self._last, self._ends
        else:
            rows = np.flatnonzero(inside)
            index, last, ends = index[rows], self._last[rows], self._ends[rows]
        low = marks[index] + 1
        high = np.where(index + 1 < last, marks[index + 1], ends)
        filled = high > low
        if not filled.all():
            low, high, rows = low[filled], high[filled], rows[filled]
        return Ranges(low, high, rows, len(self.segments))

    def place(self, number: int, component: int = 0, subcomponent: int = 0) -> Ranges:
        """A place in the first repetition of field ``number``.

        Args:
            number: HL7 field number.
            component: from 1; 0 for the whole repetition.
            subcomponent: from 1; 0 for the whole component.
        """
        key = (number, component, subcomponent)
        if key not in self._cache:
            if subcomponent == 1:
                result = self._first_part("&", self.place(number, component))
            elif subcomponent:
                result = part(self.split.subcomponents, self.place(number, component), subcomponent)
            elif component:
                result = part(
                    self.split.components, self.place(number), component, self._first_component(number)
                )
            else:
                result = self._first_part("~", self.whole(number))
            self._cache[key] = result
        return self._cache[key]

    def _first_part(self, delimiter: str, ranges: Ranges) -> Ranges:
        """The first part of each range; asked only of segments that have the delimiter at all, for most have not."""
        marks = self.split.subcomponents if delimiter == "&" else self.split.repetitions
        if delimiter not in self._parted:
            ends = marks.first_from(self._ends)
            self._parted[delimiter] = marks.first_from(self.split.starts[self.segments]) < ends
        parted = self._parted[delimiter][ranges.rows]
        places = np.flatnonzero(parted)
        if not places.size:
            return ranges
        low, high = ranges.low, ranges.high.copy()
        high[places] = np.minimum(high[places], marks.get(marks.first_from(low[places])))
        filled = high > low
        if filled.all():
            return Ranges(low, high, ranges.rows, ranges.length)
        return Ranges(low[filled], high[filled], ranges.rows[filled], ranges.length)

    def _first_component(self, number: int) -> I64:
        """The first component separator at or after the beginning of each first repetition of a field."""
        if number not in self._components:
            self._components[number] = self.split.components.first_from(self.place(number).low)
        return self._components[number]


def part(marks: Marks, ranges: Ranges, number: int, first: I64 | None = None) -> Ranges:
    """The nth part (from 1) of each range, parted by the marked delimiter; empty parts are left out.

    Args:
        marks: the delimiter.
        ranges: what is parted.
        number: which part.
        first: ``marks.first_from(ranges.low)``, where it is known.
    """
    low, high, rows = ranges.low, ranges.high, ranges.rows
    if not marks.count or not low.size:
        return ranges if number == 1 else Ranges(_NOTHING, _NOTHING, _NOTHING, ranges.length)
    index = marks.first_from(low) if first is None else first
    if number > 1:
        before = marks.get(index + (number - 2))
        keep = before < high
        if not keep.all():
            index, before, high, rows = index[keep], before[keep], high[keep], rows[keep]
        low = before + 1
    high = np.minimum(high, marks.get(index + (number - 1)))
    filled = high > low
    if not filled.all():
        low, high, rows = low[filled], high[filled], rows[filled]
    return Ranges(low, high, rows, ranges.length)


def parts(marks: Marks, ranges: Ranges) -> Ranges:
    """All parts of each range: as many ranges with the same row as there are parts; empty ones are left out."""
    if not marks.count or not ranges.low.size:
        return ranges
    first = marks.first_from(ranges.low)
    counts = marks.first_from(ranges.high) - first + 1
    total = int(counts.sum())
    if total == len(counts):
        return ranges
    offsets = np.cumsum(counts) - counts
    nth = np.arange(total) - np.repeat(offsets, counts)
    index = np.repeat(first, counts) + nth
    low = np.where(nth == 0, np.repeat(ranges.low, counts), marks.get(np.maximum(index - 1, 0)) + 1)
    high = np.minimum(np.repeat(ranges.high, counts), marks.get(index))
    filled = high > low
    return Ranges(low[filled], high[filled], np.repeat(ranges.rows, counts)[filled], ranges.length)


def part_count(marks: Marks, ranges: Ranges) -> I64:
    """In how many parts the marked delimiter parts each range."""
    if not marks.count:
        return np.ones(len(ranges.low), np.int64)
    return marks.first_from(ranges.high) - marks.first_from(ranges.low) + 1
