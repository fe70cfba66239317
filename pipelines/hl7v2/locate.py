"""Where the fields, repetitions, components and subcomponents of many segments stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.split import Positions, Split
from pipelines.kernel import kernel

Part = tuple[int, int]
"""Component and subcomponent, from 1; (0, 0) for the whole repetition, subcomponent 0 for the whole component."""

Grid = np.ndarray[tuple[int, int], np.dtype[np.signedinteger]]
"""Positions by part and row."""

_NOWHERE = np.zeros(0, np.int32)
_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Spans:
    """A place in each of some rows.

    Attributes:
        low: where each begins.
        high: where each ends; not beyond ``low`` where there is nothing.
        empty: whether it is known that no row has anything; then the arrays may be of any length.
        length: number of rows.
    """

    low: Positions
    high: Positions
    length: int
    empty: bool = False

    def __len__(self) -> int:
        return self.length

    @classmethod
    def nothing(cls, length: int) -> Spans:
        """Nothing in any row."""
        return cls(_NOWHERE, _NOWHERE, length, empty=True)

    def present(self) -> Bools:
        """For each row whether it has anything."""
        return np.zeros(self.length, bool) if self.empty else self.high > self.low

    def take(self, index: I64) -> Spans:
        """The places by index, nothing where it is negative."""
        if self.empty or not self.length:
            return Spans.nothing(len(index))
        there = np.maximum(index, 0)
        return Spans(self.low[there], np.where(index >= 0, self.high[there], 0), len(index))

    def where(self, wanted: Bools) -> Spans:
        """The places of the wanted rows, nothing in the others."""
        return self if self.empty else Spans(self.low, np.where(wanted, self.high, 0), self.length)

    def otherwise(self, decided: Bools, other: Spans) -> Spans:
        """These where they are decided, the others elsewhere."""
        if self.empty and other.empty:
            return self
        mine, theirs = self.filled(), other.filled()
        return Spans(
            np.where(decided, mine.low, theirs.low), np.where(decided, mine.high, theirs.high), self.length
        )

    def filled(self) -> Spans:
        """The same with arrays of full length."""
        if not self.empty:
            return self
        zeros = np.zeros(self.length, np.int32)
        return Spans(zeros, zeros, self.length)


@dataclass(frozen=True)
class Rows:
    """Segments of one name.

    Attributes:
        split: their batch.
        segments: their indices, ascending.
        shift: 1 for MSH, where MSH-1 is the separator itself (HL7 v2.5.1 §2.5.4); 0 else.
        wanted: field → parts that are asked for, sorted; all are found in one pass.
        preferred: field → (component, codes): of several repetitions the one whose component comes first among
            the codes stands for the field.
    """

    split: Split
    segments: I64
    shift: int
    wanted: dict[int, tuple[Part, ...]]
    preferred: dict[int, tuple[int, tuple[str, ...]]]
    _fields: dict[int, Spans] = field(default_factory=dict, repr=False)
    _chosen: dict[int, Spans] = field(default_factory=dict, repr=False)
    _parts: dict[int, dict[Part, Spans]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.segments)

    @cached_property
    def message(self) -> I64:
        """Message of each row."""
        return self.split.message[self.segments]

    @cached_property
    def repeated(self) -> Bools:
        """For each row whether it has any repetition separator."""
        return self.split.repeated[self.segments]

    @cached_property
    def _first(self) -> I64:
        return self.split.first_separator[self.segments]

    @cached_property
    def _last(self) -> I64:
        return self.split.first_separator[self.segments + 1]

    @cached_property
    def _ends(self) -> I64:
        return self.split.ends[self.segments]

    @cached_property
    def _most(self) -> int:
        return int((self._last - self._first).max()) if len(self.segments) else 0

    def whole(self, number: int) -> Spans:
        """Field ``number`` with all its repetitions."""
        if number not in self._fields:
            place = number - self.shift
            count = len(self.segments)
            if place < 1 or place > self._most:
                self._fields[number] = Spans.nothing(count)
            else:
                low, high = np.empty(count, self.split.width), np.empty(count, self.split.width)
                there = _field(self.split.separators, self._first, self._last, self._ends, place, low, high)
                self._fields[number] = Spans(low, high, count) if there else Spans.nothing(count)
        return self._fields[number]

    def chosen(self, number: int) -> Spans:
        """Field ``number`` from the beginning of the repetition that stands for it: the first or the preferred."""
        if number not in self.preferred:
            return self.whole(number)
        if number not in self._chosen:
            whole = self.whole(number)
            component, codes = self.preferred[number]
            if not whole.empty:
                ranked = np.array([int.from_bytes(code.encode("ascii"), "big") for code in codes], np.int64)
                low = np.empty_like(whole.low)
                _prefer(self.split.structure, whole.low, whole.high, component, ranked, low)
                whole = Spans(low, whole.high, len(whole))
            self._chosen[number] = whole
        return self._chosen[number]

    def repetition(self, number: int, rows: I64) -> I64:
        """For some rows which repetition stands for field ``number``, from 1; 0 where it is the only one.

        Args:
            number: HL7 field number.
            rows: a few of these rows.
        """
        found = np.zeros(len(rows), np.int64)
        whole, chosen = self.whole(number), self.chosen(number)
        for place, row in enumerate([] if whole.empty else rows.tolist()):
            field = self.split.structure[whole.low[row] : whole.high[row]]
            if (ends := np.flatnonzero(field == 0x7E)).size:
                found[place] = 1 + np.searchsorted(ends, chosen.low[row] - whole.low[row])
        return found

    def place(self, number: int, component: int = 0, subcomponent: int = 0) -> Spans:
        """A place in the repetition that stands for field ``number``.

        Args:
            number: HL7 field number.
            component: from 1; 0 for the whole repetition.
            subcomponent: from 1; 0 for the whole component.
        """
        part = (component, subcomponent)
        if number > self._most + self.shift:
            return self._nowhere
        if number not in self._parts:
            self._parts[number] = self._located(number)
        found = self._parts[number]
        if part not in found:
            found |= parts(self.split.structure, self.chosen(number), (part,))
        return found[part]

    @cached_property
    def _nowhere(self) -> Spans:
        return Spans.nothing(len(self.segments))

    @cached_property
    def grid(self) -> Located:
        """All parts that will be asked for, of fields of which no repetition is preferred: found in one pass."""
        asked = [(n, part) for n, some in self._plain_fields() for part in some]
        found = Located.of([part for _, part in asked], len(self.segments), self.split.width)
        found.index.update({key: place for place, key in enumerate(asked)})
        numbers = [number - self.shift for number, _ in self._plain_fields()]
        bounds = np.cumsum([0, *(len(some) for _, some in self._plain_fields())])
        _locate(
            self.split.structure, self.split.separators, self.split.parted, self._first, self._last, self._ends,
            np.array(numbers, np.int64), bounds,
            found.component, found.subcomponent, found.low, found.high, found.filled,
        )  # fmt: skip
        return found

    def _plain_fields(self) -> list[tuple[int, tuple[Part, ...]]]:
        return [
            (number, self.wanted[number])
            for number in sorted(self.wanted)
            if number > self.shift and number not in self.preferred
        ]

    def _located(self, number: int) -> dict[Part, Spans]:
        """The parts of a field that will be asked for."""
        asked = self.wanted.get(number, ())
        if number in self.preferred:
            return parts(self.split.structure, self.chosen(number), asked)
        return {part: self.grid.spans(self.grid.index[number, part]) for part in asked if number > self.shift}


def parts(structure: U8, spans: Spans, asked: Sequence[Part]) -> dict[Part, Spans]:
    """Parts of the first repetition of each span, by component and subcomponent (sorted)."""
    if spans.empty:
        return dict.fromkeys(asked, spans)
    found = Located.of(asked, len(spans), spans.low.dtype)
    _parts(
        structure, spans.low, spans.high,
        found.component, found.subcomponent, found.low, found.high, found.filled,
    )  # fmt: skip
    return {part: found.spans(place) for place, part in enumerate(asked)}


@dataclass(frozen=True)
class Located:
    """The places of some parts of some rows.

    Attributes:
        component: of each part; 0 for the whole repetition.
        subcomponent: of each part; 0 for the whole component.
        low: where it begins, by part and row.
        high: where it ends.
        filled: for each part whether any row has it.
        index: (field, part) → its place, where several fields are located together.
    """

    component: I64
    subcomponent: I64
    low: Grid
    high: Grid
    filled: Bools
    index: dict[tuple[int, Part], int]

    @classmethod
    def of(cls, asked: Sequence[Part], count: int, width: np.dtype[np.signedinteger]) -> Located:
        """Room for parts of ``count`` rows."""
        component = np.array([part[0] for part in asked], np.int64)
        subcomponent = np.array([part[1] for part in asked], np.int64)
        low, high = np.zeros((len(asked), count), width), np.zeros((len(asked), count), width)
        return cls(component, subcomponent, low, high, np.zeros(len(asked), np.bool_), {})

    def spans(self, place: int) -> Spans:
        """What was found of a part."""
        count = self.low.shape[1]
        if not self.filled[place]:
            return Spans.nothing(count)
        return Spans(self.low[place], self.high[place], count)


@dataclass(frozen=True)
class Repetitions:
    """The repetitions of a field as rows of their own; empty ones are left out.

    Attributes:
        spans: where each stands.
        owner: index of the span that each is part of; ascending.
        number: its number within the field, from 0, empty ones counted.
    """

    spans: Spans
    owner: I64
    number: I64


def repetitions(structure: U8, spans: Spans, repeated: Bools) -> Repetitions:
    """All repetitions of fields.

    Args:
        structure: text with the usual delimiters.
        spans: the fields.
        repeated: whether the segment of each has any repetition separator.
    """
    if spans.empty:
        return Repetitions(Spans.nothing(0), _NOTHING, _NOTHING)
    most = len(spans) + _separators(structure, spans.low, spans.high, repeated)
    low, high = np.empty(most, spans.low.dtype), np.empty(most, spans.low.dtype)
    owner, number = np.empty(most, np.int64), np.empty(most, np.int64)
    count = _fill_repetitions(structure, spans.low, spans.high, repeated, low, high, owner, number)
    return Repetitions(
        Spans(low[:count], high[:count], count, empty=count == 0), owner[:count], number[:count]
    )


@kernel
def _field(
    separators: Positions, first: I64, last: I64, ends: I64, place: int, low: Positions, high: Positions
) -> int:
    """Bounds of a field of each segment; how many have anything there."""
    there = 0
    for row in range(len(first)):
        index = first[row] + place - 1
        if index < last[row]:
            low[row] = separators[index] + 1
            high[row] = separators[index + 1] if index + 1 < last[row] else ends[row]
            there += high[row] > low[row]
        else:
            low[row] = 0
            high[row] = 0
    return there


@kernel
def _parts(
    structure: U8,
    low: Positions,
    high: Positions,
    component: I64,
    subcomponent: I64,
    out_low: Grid,
    out_high: Grid,
    filled: Bools,
) -> None:
    """Find the asked parts of the first repetition of each span."""
    for row in range(len(low)):
        if high[row] > low[row]:
            _walk(
                structure, low[row], high[row], row,
                0, len(component), component, subcomponent, out_low, out_high, filled,
            )  # fmt: skip


@kernel
def _locate(
    structure: U8, separators: Positions, parted: Bools, first: I64, last: I64, ends: I64,
    places: I64, bounds: I64, component: I64, subcomponent: I64, out_low: Grid, out_high: Grid, filled: Bools,
) -> None:  # fmt: skip
    """Find the asked parts of the first repetition of some fields, in ascending order, of each segment."""
    for row in range(len(first)):
        begin = first[row] - 1
        stop = last[row]
        for number in range(len(places)):
            index = begin + places[number]
            if index >= stop:
                break
            start = separators[index] + 1
            end = separators[index + 1] if index + 1 < stop else ends[row]
            if end <= start:
                continue
            if not parted[index]:
                # a field of one part: nothing to look for
                for part in range(bounds[number], bounds[number + 1]):
                    if component[part] > 1:
                        break
                    if subcomponent[part] <= 1:
                        out_low[part, row] = start
                        out_high[part, row] = end
                        filled[part] = True
            else:
                _walk(
                    structure, start, end, row,
                    bounds[number], bounds[number + 1], component, subcomponent, out_low, out_high, filled,
                )  # fmt: skip


@kernel
def _walk(
    structure: U8, start: int, end: int, row: int, place: int, asked: int,
    component: I64, subcomponent: I64, out_low: Grid, out_high: Grid, filled: Bools,
) -> None:  # fmt: skip
    """Find parts in the first repetition between two positions, in one walk over its bytes.

    Args:
        structure: text with the usual delimiters.
        start: where the field begins.
        end: where it ends; beyond ``start``.
        row: where to write what is found.
        place: first of the asked parts, which are sorted.
        asked: behind the last of them.
        component: component of each part; 0 for the whole repetition.
        subcomponent: subcomponent of each part; 0 for the whole component.
        out_low: takes where each part begins.
        out_high: takes where it ends.
        filled: takes whether a part was found at all.
    """
    whole = place
    while place < asked and component[place] == 0:
        place += 1
    entire = place
    number = 1
    sub = 1
    begins = start
    sub_begins = start
    at = start
    while True:
        character = structure[at] if at < end else np.uint8(0x7E)
        if character in (0x5E, 0x7E, 0x26):
            after = place
            while after < asked and component[after] == number:
                if subcomponent[after] == sub:
                    if at > sub_begins:
                        out_low[after, row] = sub_begins
                        out_high[after, row] = at
                        filled[after] = True
                elif subcomponent[after] == 0 and character != 0x26 and at > begins:
                    out_low[after, row] = begins
                    out_high[after, row] = at
                    filled[after] = True
                after += 1
            if character == 0x26:
                sub += 1
                sub_begins = at + 1
            else:
                place = after
                number += 1
                sub = 1
                begins = at + 1
                sub_begins = at + 1
                if character == 0x7E or (place >= asked and whole == entire):
                    break
        at += 1
    if at > start:
        for one in range(whole, entire):
            out_low[one, row] = start
            out_high[one, row] = at
            filled[one] = True


@kernel
def _prefer(
    structure: U8, low: Positions, high: Positions, component: int, codes: I64, chosen: Positions
) -> None:
    """Where the repetition begins whose component comes first among the codes; others come after all of them."""
    for row in range(len(low)):
        chosen[row] = low[row]
        best = len(codes) + 1
        number = 1
        code = 0
        begins = low[row]
        size = 0
        for at in range(low[row], high[row] + 1):
            character = structure[at] if at < high[row] else np.uint8(0x7E)
            if character == 0x7E:
                rank = len(codes)
                for place in range(len(codes)):
                    if codes[place] == code:
                        rank = place
                        break
                if rank < best and at > begins:
                    best = rank
                    chosen[row] = begins
                begins = at + 1
                number = 1
                code = 0
                size = 0
            elif character == 0x5E:
                number += 1
            elif number == component and size < 7:
                code = code << 8 | int(character)
                size += 1


@kernel
def _separators(structure: U8, low: Positions, high: Positions, repeated: Bools) -> int:
    """How many repetition separators the spans hold; only those of repeated segments are looked at."""
    count = 0
    for row in range(len(low)):
        if repeated[row]:
            for at in range(low[row], high[row]):
                count += structure[at] == 0x7E
    return count


@kernel
def _fill_repetitions(
    structure: U8,
    low: Positions,
    high: Positions,
    repeated: Bools,
    out_low: Positions,
    out_high: Positions,
    owner: I64,
    numbers: I64,
) -> int:
    place = 0
    for row in range(len(low)):
        begins = low[row]
        number = 0
        if high[row] <= begins:
            continue
        for at in range(low[row] if repeated[row] else high[row], high[row] + 1):
            if at == high[row] or structure[at] == 0x7E:
                if at > begins:
                    out_low[place] = begins
                    out_high[place] = at
                    owner[place] = row
                    numbers[place] = number
                    place += 1
                begins = at + 1
                number += 1
    return place
