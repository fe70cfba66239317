"""A batch as columns: the text or time of any place, for the segments of any name, linked to what they belong to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.gather import row_strings, strings
from pipelines.hl7v2.split import Ranges, RowSet, Split, name_code, part, parts
from pipelines.hl7v2.times import Clock, Times, read_times
from schemas.hl7v2.places import Place

NONE = -1
"""Stands for "no such row" among row numbers."""

_OWNERS = {"PID": (), "PV1": ("PID",), "OBR": ("PID",), "ORC": ("PID", "OBR"), "EVN": (), "MSH": ()}
"""For a segment that others belong to: the segments that end its reach when they come after it."""


@dataclass
class Columns:
    """Columns of a batch, each read once and kept.

    Attributes:
        split: the batch.
        clock: how times without a zone are read.
    """

    split: Split
    clock: Clock
    _rows: dict[str, RowSet] = field(default_factory=dict)
    _links: dict[tuple[str, str], I64] = field(default_factory=dict)
    _texts: dict[tuple[str, Place], pa.Array] = field(default_factory=dict)
    _times: dict[tuple[str, Place], Times] = field(default_factory=dict)

    def rows(self, name: str) -> RowSet:
        """All segments of a name."""
        if name not in self._rows:
            segments = np.flatnonzero(self.split.names == name_code(name))
            self._rows[name] = RowSet(self.split, segments, 1 if name == "MSH" else 0)
        return self._rows[name]

    def link(self, name: str, owner: str) -> I64:
        """For each segment of a name the row of the ``owner`` segment it belongs to; ``NONE`` where there is none.

        A segment belongs to the nearest one before it in its message, unless a segment that ends that one's reach
        stands between: an OBR before another patient's PID is not that patient's. The ORC of an OBX is the ORC of
        its OBR.
        """
        key = (name, owner)
        if key not in self._links:
            if name == owner:
                self._links[key] = np.arange(len(self.rows(name)))
            elif owner == "ORC" and name == "OBX":
                self._links[key] = through(self.link("OBX", "OBR"), self.link("OBR", "ORC"))
            else:
                self._links[key] = self._nearest(name, owner)
        return self._links[key]

    def _nearest(self, name: str, owner: str) -> I64:
        mine, theirs = self.rows(name).segments, self.rows(owner).segments
        found = np.searchsorted(theirs, mine) - 1
        if not len(theirs):
            return np.full(len(mine), NONE)
        begins = self.split.first_of_message[self.split.message[mine]]
        segment = theirs[np.maximum(found, 0)]
        there = (found >= 0) & (segment >= begins)
        for barrier in _OWNERS.get(owner, ()):
            walls = self.rows(barrier).segments
            if len(walls):
                before = np.searchsorted(walls, mine) - 1
                there &= (before < 0) | (walls[np.maximum(before, 0)] < segment)
        return np.where(there, found, NONE)

    def text(self, place: Place, name: str) -> pa.Array:
        """The text of a place for each segment of a name, taken from the segment it belongs to."""
        key = (name, place)
        if key not in self._texts:
            if place.segment == name:
                self._texts[key] = row_strings(
                    self.rows(name), place.field, place.component, place.subcomponent
                )
            else:
                own = self.text(place, place.segment)
                self._texts[key] = taken(own, self.link(name, place.segment))
        return self._texts[key]

    def time(self, place: Place, name: str) -> Times:
        """The time of a place for each segment of a name; of an old TS its first component counts."""
        key = (name, place)
        if key not in self._times:
            if place.segment == name:
                rows = self.rows(name)
                ranges = rows.place(place.field, place.component or 1, place.subcomponent)
                self._times[key] = read_times(self.split.data, ranges, rows.message, self.clock)
            else:
                self._times[key] = times_of(self.time(place, place.segment), self.link(name, place.segment))
        return self._times[key]

    def first_text(self, places: Sequence[Place], name: str) -> pa.Array:
        """The first of several places: of different fields the first that is there at all decides."""
        result: pa.Array | None = None
        decided: Bools | None = None
        for _, same in itertools.groupby(places, key=lambda place: (place.segment, place.field)):
            group = list(same)
            value = self.text(group[0], name)
            for place in group[1:]:
                value = pc.coalesce(value, self.text(place, name))
            there = self._present(group[0], name) if len(group) < len(places) else None
            if result is None or decided is None:
                result, decided = value, there
            else:
                result = pc.if_else(pa.array(decided), result, value)
                decided = decided | there if there is not None else decided
        return result if result is not None else pa.nulls(len(self.rows(name)), pa.string())

    def _present(self, place: Place, name: str) -> Bools:
        there = self.rows(place.segment).whole(place.field).present()
        link = self.link(name, place.segment)
        if not len(there):
            return np.zeros(len(link), bool)
        return (link >= 0) & there[np.maximum(link, 0)]

    def first_time(self, places: Sequence[Place], name: str) -> Times:
        """The first of several places that has a time; refused where any place before it has something else."""
        found = self.time(places[0], name)
        for place in places[1:]:
            found = found.otherwise(self.time(place, name))
        return found

    def entries(self, name: str, numbers: Sequence[int]) -> Entries:
        """All repetitions of some fields of the segments of a name, field after field."""
        rows = self.rows(name)
        found = [parts(self.split.repetitions, rows.whole(number)) for number in numbers]
        owner = np.concatenate([ranges.rows for ranges in found])
        order = np.argsort(owner, kind="stable")
        low = np.concatenate([ranges.low for ranges in found])[order]
        high = np.concatenate([ranges.high for ranges in found])[order]
        return Entries(self.split, low, high, owner[order], len(rows), rows.message)


@dataclass(frozen=True)
class Entries:
    """Repetitions as rows of their own.

    Attributes:
        split: the batch.
        low: where each begins.
        high: where it ends.
        owner: row of the segment it stands in; ascending.
        length: number of those segments.
        message: message of each of those segments.
    """

    split: Split
    low: I64
    high: I64
    owner: I64
    length: int
    message: I64

    def text(self, component: int, subcomponent: int = 0) -> pa.Array:
        """A component of each repetition."""
        count = len(self.low)
        ranges = Ranges(self.low, self.high, np.arange(count), count)
        ranges = part(self.split.components, ranges, component)
        if subcomponent:
            ranges = part(self.split.subcomponents, ranges, subcomponent)
        ranges = Ranges(ranges.low, ranges.high, ranges.rows, count, ascending=False)
        return strings(self.split, ranges, self.message[self.owner])

    def lists(self, values: pa.Array, keep: pa.Array) -> pa.Array:
        """One list of values for each segment, of the entries that are to be kept."""
        flags = keep.to_numpy(zero_copy_only=False)
        counts = np.bincount(self.owner[flags], minlength=self.length)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values.filter(keep))


def through(first: I64, second: I64) -> I64:
    """Follow one link and then another."""
    if not len(second):
        return np.full(len(first), NONE)
    return np.where(first >= 0, second[np.maximum(first, 0)], NONE)


def taken(values: pa.Array, link: I64) -> pa.Array:
    """Values by link; null where it leads nowhere."""
    if not len(values):
        return pa.nulls(len(link), values.type)
    return values.take(pa.array(np.maximum(link, 0), mask=link < 0))


def times_of(times: Times, link: I64) -> Times:
    """Times by link."""
    if not len(times.valid):
        return Times.never(len(link))
    return times.take(np.maximum(link, 0), link >= 0)
