"""A batch as columns: the text, time or number of any place for the segments of any name.

What stands in other segments is read from those that belong to the row (``schemas/hl7v2/structure.py``).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.gather import grid_texts, span_texts, texts
from pipelines.hl7v2.locate import Part, Repetitions, Rows, Spans, parts, repetitions
from pipelines.hl7v2.numbers import Numbers, read_numbers
from pipelines.hl7v2.relations import NONE, Relations
from pipelines.hl7v2.split import Split, name_code
from pipelines.hl7v2.times import Clock, Times, read_times
from schemas.hl7v2.datatypes import PREFERRED
from schemas.hl7v2.mapping import Place
from schemas.hl7v2.structure import BEFORE, DETAILS, IN_ORDER_GROUP, OF_DETAIL, ONCE_IN_MESSAGE

I32 = np.ndarray[tuple[int], np.dtype[np.int32]]
Wanted = Mapping[str, Mapping[int, tuple[Part, ...]]]
"""By segment name and field: the parts that are asked for, sorted."""


def wanted_parts(places: Iterable[Place]) -> Wanted:
    """All parts that some places ask for, so that one pass over a field finds them together."""
    found: dict[str, dict[int, set[Part]]] = defaultdict(lambda: defaultdict(set))
    for place in places:
        found[place.segment][place.field].add((place.component, place.subcomponent))
    return {
        name: {number: tuple(sorted(some)) for number, some in fields.items()}
        for name, fields in found.items()
    }


_NOTHING = np.zeros(0, np.int64)

_ABOVE = frozenset({"PID", "PV1", "ORC", *BEFORE, *ONCE_IN_MESSAGE})
"""Segments that rows belong to; of all others it is the segments that belong to the row."""


@dataclass(frozen=True)
class Entries:
    """Repetitions of fields as rows of their own.

    Attributes:
        spans: where each stands.
        segments: segment that each stands in.
    """

    spans: Spans
    segments: I64

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(frozen=True)
class Listed:
    """What repetitions become, and which of them are to be kept in lists.

    Attributes:
        values: one for each repetition.
        keep: which; None for all.
    """

    values: pa.Array
    keep: Bools | None = None

    @classmethod
    def of(cls, values: pa.Array, keep: Bools) -> Listed:
        return cls(values, None if keep.all() else keep)

    def taken(self, which: I64 | None, owner: I64) -> tuple[pa.Array, I64]:
        """Of some repetitions those that are kept: their values, and whose they are.

        Args:
            which: the repetitions; None for each in turn.
            owner: whose each of them is.
        """
        if self.keep is not None:
            which = np.arange(len(owner)) if which is None else which
            kept = self.keep[which]
            which, owner = which[kept], owner[kept]
        return (self.values if which is None else self.values.take(pa.array(which))), owner


def lists(values: pa.Array, owner: I64, count: int) -> pa.Array:
    """One list of values for each of some rows; null where there is none.

    Args:
        values: in the order of their rows.
        owner: row of each; ascending.
        count: number of rows.
    """
    counts = np.bincount(owner, minlength=count)
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(counts == 0))


@dataclass
class Columns:
    """Columns of a batch; what is read once is kept.

    Attributes:
        split: the batch.
        relations: what belongs to what.
        clock: how times without a zone are read.
        wanted: the parts that will be asked for.
        wanted_texts: those that will be asked for as texts of every segment.
    """

    split: Split
    relations: Relations
    clock: Clock
    wanted: Wanted
    wanted_texts: Wanted
    _gathered: dict[str, dict[Place, pa.Array]] = field(default_factory=dict)
    _rows: dict[str, Rows] = field(default_factory=dict)
    _row_of: dict[str, I64] = field(default_factory=dict)
    _links: dict[tuple[str, str, bool, bool], I64] = field(default_factory=dict)
    _texts: dict[tuple[tuple[Place, ...], str], pa.Array] = field(default_factory=dict)
    _encoded: dict[tuple[tuple[Place, ...], str], tuple[I32, pa.Array]] = field(default_factory=dict)
    _repeated: dict[tuple[str, int], Repetitions] = field(default_factory=dict)
    _listed: dict[tuple[str, int, Hashable], Listed] = field(default_factory=dict)
    _absent: dict[tuple[int, pa.DataType | None], pa.Array] = field(default_factory=dict)
    _times: dict[Place, Times] = field(default_factory=dict)
    _numbers: dict[Place, Numbers] = field(default_factory=dict)

    @cached_property
    def first_group(self) -> I64:
        """For each message the number that its first order group has or would have."""
        opened = np.append(
            np.maximum.accumulate(self.relations.group), NONE
        )  # the last: before the first segment
        return opened[self.split.first_of_message - 1] + 1

    def rows(self, name: str) -> Rows:
        """All segments of a name."""
        if name not in self._rows:
            segments = self.split.by_name.get(name_code(name), np.zeros(0, np.int64))
            preferred = {number: choice for (segment, number), choice in PREFERRED.items() if segment == name}
            self._rows[name] = Rows(
                self.split, segments, 1 if name == "MSH" else 0, dict(self.wanted.get(name, {})), preferred
            )
        return self._rows[name]

    def row_of(self, name: str) -> I64:
        """For each segment of the batch its row among those of a name; ``NONE`` for the others."""
        if name not in self._row_of:
            found = np.full(len(self.split) + 1, NONE, np.int64)  # the last one stands for "no segment"
            segments = self.rows(name).segments
            found[segments] = np.arange(len(segments))
            self._row_of[name] = found
        return self._row_of[name]

    def link(self, name: str, other: str, *, first: bool = False, following: bool = False) -> I64:
        """For each segment of a name the row of the ``other`` segment that belongs to it; ``NONE`` for none.

        Args:
            name: whose rows.
            other: which segments are looked for.
            first: whether the message's first one is meant.
            following: whether the first one after the row is meant, before the next row.
        """
        key = (name, other, first, following)
        if key not in self._links:
            self._links[key] = self._linked(name, other, first=first, following=following)
        return self._links[key]

    def _linked(self, name: str, other: str, *, first: bool, following: bool) -> I64:  # noqa: PLR0911 - a rule each
        mine = self.rows(name)
        theirs = self.rows(other)
        if not len(theirs):
            return np.full(len(mine), NONE, np.int64)
        if following:
            return self._after(mine, theirs, name)
        if first or other in ONCE_IN_MESSAGE:
            return self._first_in_message(other)[mine.message]
        if name == other:
            return np.arange(len(mine))
        if other == "PID":
            return self.row_of(other)[self.relations.patient[mine.segments]]
        if other == "PV1":
            return self.row_of(other)[self.relations.visit[mine.segments]]
        if other in IN_ORDER_GROUP:
            found = self._first_in_group(other)[self.relations.group[mine.segments]]
            if other == "SPM":
                before = self.row_of(other)[self.relations.specimen[mine.segments]]
                found = np.where(before >= 0, before, found)
            elif other in OF_DETAIL and name in DETAILS:
                behind = self._after(mine, theirs, name)
                detail = self.relations.detail[theirs.segments[behind]]
                found = np.where((behind >= 0) & (detail == mine.segments), behind, found)
            return found
        return self._before(mine, theirs) if other in BEFORE else self._after(mine, theirs, name)

    def _first_in_message(self, name: str) -> I64:
        rows = self.rows(name)
        found = np.full(len(self.split.first_of_message), NONE, np.int64)
        found[rows.message[::-1]] = np.arange(len(rows))[::-1]
        return found

    def _first_in_group(self, name: str) -> I64:
        rows = self.rows(name)
        found = np.full(self.relations.groups + 1, NONE, np.int64)  # the last one stands for "no group"
        found[self.relations.group[rows.segments][::-1]] = np.arange(len(rows))[::-1]
        found[-1] = NONE
        return found

    @staticmethod
    def _before(mine: Rows, theirs: Rows) -> I64:
        """The nearest before in the message."""
        found = np.searchsorted(theirs.segments, mine.segments) - 1
        there = (found >= 0) & (theirs.message[np.maximum(found, 0)] == mine.message)
        return np.where(there, found, NONE)

    @staticmethod
    def _after(mine: Rows, theirs: Rows, name: str) -> I64:
        """The first after, before the next segment of the row's own name; of the one of a message, in the message."""
        found = np.searchsorted(theirs.segments, mine.segments)
        place = np.minimum(found, len(theirs) - 1)
        there = (found < len(theirs)) & (theirs.message[place] == mine.message)
        if name not in ONCE_IN_MESSAGE:
            following = np.append(mine.segments[1:], np.iinfo(np.int64).max)
            there &= theirs.segments[place] < following
        return np.where(there, place, NONE)

    def owners(self, child: str, name: str) -> I64:
        """For each segment of the child's name the row of ``name`` that it belongs to; ``NONE`` for none."""
        children, mine = self.rows(child), self.rows(name)
        if not len(mine):
            return np.full(len(children), NONE, np.int64)
        if child == "NTE":
            return self.row_of(name)[self.relations.parent[children.segments]]
        if name in ONCE_IN_MESSAGE:
            return self._first_in_message(name)[children.message]
        if child in OF_DETAIL and name in DETAILS:
            return self.row_of(name)[self.relations.detail[children.segments]]
        found = self._before(children, mine)
        place = np.maximum(found, 0)
        same = (
            self.relations.group
            if child in IN_ORDER_GROUP and name in IN_ORDER_GROUP
            else self.relations.patient
        )
        there = same[children.segments] == same[mine.segments[place]]
        return np.where(there, found, NONE)

    def segments_of(self, place: Place, name: str) -> I64:
        """For each segment of a name the segment that a place is read from; ``NONE`` where there is none."""
        theirs = self.rows(place.segment).segments
        link = self._index(place, name, None)
        if link is None:
            return theirs
        return np.where(link >= 0, theirs[np.maximum(link, 0)], NONE) if len(theirs) else link

    def _index(self, place: Place, name: str, chosen: I64 | None) -> I64 | None:
        """Rows of the place's segment for some rows of a name; None for each in turn."""
        if place.segment == name and not place.first and not place.next:
            return chosen
        link = self.link(name, place.segment, first=place.first, following=place.next)
        return link if chosen is None else link[chosen]

    def spans(self, place: Place) -> Spans:
        """A place in each of the segments it stands in."""
        return self.rows(place.segment).place(place.field, place.component, place.subcomponent)

    def text(self, places: Sequence[Place], name: str, chosen: I64 | None) -> pa.Array:
        """The first of several places for some rows: of different fields the first that is there at all decides.

        What is read from segments of another name comes as a dictionary array: each of them is read once, however
        many rows it has.

        Args:
            places: tried in turn.
            name: whose rows.
            chosen: which rows; None for all.
        """
        key = (tuple(places), name)
        if chosen is None and key in self._texts:
            return self._texts[key]
        owner = self._owner(places, name)
        if owner is not None:
            found = self._linked_text(key[0], name, owner, chosen)
        elif len(places) == 1:
            place = places[0]
            spans = self.spans(place)
            if spans.empty:
                return self.absent(len(self.rows(name)) if chosen is None else len(chosen))
            index = self._index(place, name, chosen)
            own = self._own_texts(place.segment).get(place)
            if own is None:
                found = texts(self.split, spans, self.rows(place.segment).segments, index)
            else:
                found = own if index is None else taken(own, index)
        else:
            found = texts(self.split, self.first_spans(places, name), self.rows(name).segments, chosen)
        if chosen is None:
            self._texts[key] = found
        return found

    def _own_texts(self, name: str) -> dict[Place, pa.Array]:
        """Texts that will be asked for of all segments of a name, copied in one pass."""
        if name not in self._gathered:
            rows = self.rows(name)
            grid = rows.grid
            asked = [
                (Place(name, number, *part), grid.index[number, part])
                for number, some in self.wanted_texts.get(name, {}).items()
                for part in some
                if (number, part) in grid.index and grid.filled[grid.index[number, part]]
            ]
            which = np.array([place for _, place in asked], np.int64)
            found = grid_texts(self.split, grid.low, grid.high, which, rows.segments) if len(which) else []
            self._gathered[name] = dict(zip((place for place, _ in asked), found, strict=True))
        return self._gathered[name]

    def absent(self, count: int, kind: pa.DataType | None = None) -> pa.Array:
        """What is nowhere: one array for all such columns of a length and type (text, where none is given)."""
        key = (count, kind)
        if key not in self._absent:
            self._absent[key] = pa.nulls(count, pa.string() if kind is None else kind)
        return self._absent[key]

    def _owner(self, places: Sequence[Place], name: str) -> str | None:
        """The one segment from whose rows all places are read alike; None where there is no such one."""
        names = {place.segment for place in places}
        if name in names or any(place.first or place.next for place in places):
            return None
        if len(names) == 1:
            return names.pop()
        if "OBR" in names and names <= IN_ORDER_GROUP and name not in {*DETAILS, "ORC"}:
            # what an order group says can be read from its OBR, if it has one
            segments = self.rows(name).segments
            grouped = self.relations.group[segments] >= 0
            if "SPM" in names:
                grouped |= self.relations.specimen[segments] >= 0
            if np.array_equal(grouped, self.link(name, "OBR") >= 0):
                return "OBR"
        return None

    def _linked_text(self, places: tuple[Place, ...], name: str, owner: str, chosen: I64 | None) -> pa.Array:
        """The text of places for some rows, read once for each row of their owner: a dictionary array."""
        key = (places, owner)
        if key not in self._encoded:
            encoded = self.text(places, owner, None)
            if encoded.null_count == len(encoded):
                return self.absent(len(self.rows(name)) if chosen is None else len(chosen))
            if not pa.types.is_dictionary(encoded.type):
                encoded = encoded.dictionary_encode()
            codes = encoded.indices.fill_null(NONE).to_numpy().astype(np.int32)
            self._encoded[key] = np.append(codes, np.int32(NONE)), encoded.dictionary
        codes, dictionary = self._encoded[key]
        link = self.link(name, owner)
        found = codes[link if chosen is None else link[chosen]]
        return pa.DictionaryArray.from_arrays(pa.array(found, mask=found < 0), dictionary)

    def first_spans(self, places: Sequence[Place], name: str) -> Spans:
        """Where the first of several places stands, for all rows of a name."""
        result = Spans.nothing(len(self.rows(name)))
        decided = np.zeros(len(result), bool)
        groups = [
            list(same) for _, same in itertools.groupby(places, lambda place: (place.segment, place.field))
        ]
        for number, group in enumerate(groups):
            found = self._for(group[0], name, self.spans(group[0]))
            for place in group[1:]:
                found = found.otherwise(found.present(), self._for(place, name, self.spans(place)))
            result = result.otherwise(decided, found)
            if number + 1 < len(groups):
                whole = self.rows(group[0].segment).whole(group[0].field)
                decided |= self._for(group[0], name, whole).present()
        return result

    def _for(self, place: Place, name: str, spans: Spans) -> Spans:
        index = self._index(place, name, None)
        return spans if index is None else spans.take(index)

    def time(self, place: Place, name: str, *, dated: bool = False) -> Times:
        """The time of a place for all rows of a name.

        Args:
            place: where it stands.
            name: whose rows.
            dated: whether it is a date, which no zone moves.
        """
        if place not in self._times:
            rows = self.rows(place.segment)
            clock = None if dated else self.clock
            self._times[place] = read_times(self.split.data, self.spans(place), rows.message, clock)
        index = self._index(place, name, None)
        return self._times[place] if index is None else self._times[place].take(index)

    def number(self, place: Place, name: str) -> Numbers:
        """The number of a place for all rows of a name."""
        if place not in self._numbers:
            self._numbers[place] = read_numbers(self.split.data, self.spans(place))
        found = self._numbers[place]
        index = self._index(place, name, None)
        return found if index is None else found.take(index)

    def repeated(self, segment: str, number: int) -> Repetitions:
        """All repetitions of a field in all segments of a name."""
        key = (segment, number)
        if key not in self._repeated:
            rows = self.rows(segment)
            self._repeated[key] = repetitions(self.split.structure, rows.whole(number), rows.repeated)
        return self._repeated[key]

    def listed(self, place: Place, kind: Hashable, read: Callable[[Entries], Listed]) -> Listed:
        """What all repetitions of a place's field become, in all segments of its name; read once.

        Args:
            place: the field.
            kind: tells what ``read`` makes of them.
            read: called where that is not known yet.
        """
        key = (place.segment, place.field, kind)
        if key not in self._listed:
            found = self.repeated(place.segment, place.field)
            self._listed[key] = read(Entries(found.spans, self.rows(place.segment).segments[found.owner]))
        return self._listed[key]

    def belonging(self, place: Place, name: str, chosen: I64 | None) -> tuple[I64 | None, I64]:
        """The repetitions of a place's field that belong to some rows.

        Args:
            place: the field.
            name: whose rows.
            chosen: which rows; None for all.

        Returns:
            which of all repetitions of the field, None for each in turn; the row of each, ascending.
        """
        found = self.repeated(place.segment, place.field)
        if not len(found.owner):
            return None, _NOTHING
        own = place.segment == name and not place.first and not place.next
        if not own and (place.first or place.next or place.segment in _ABOVE):
            return self._of_linked(place, name, found, chosen)
        owner = found.owner if own else self.owners(place.segment, name)[found.owner]
        if chosen is not None:
            number = np.full(len(self.rows(name)) + 1, NONE, np.int64)  # the last one stands for "no row"
            number[chosen] = np.arange(len(chosen))
            owner = number[owner]
        elif own:
            return None, owner
        which = np.flatnonzero(owner >= 0)
        owner = owner[which]
        if not own:
            order = np.argsort(owner, kind="stable")
            which, owner = which[order], owner[order]
        return which, owner

    def _of_linked(self, place: Place, name: str, found: Repetitions, chosen: I64 | None) -> tuple[I64, I64]:
        """The repetitions in the one segment that each row is linked to."""
        link = self.link(name, place.segment, first=place.first, following=place.next)
        link = link if chosen is None else link[chosen]
        counts = np.append(np.bincount(found.owner, minlength=len(self.rows(place.segment))), 0)
        each = counts[link]  # the last one stands for "no segment"
        owner = np.repeat(np.arange(len(link)), each)
        begins = np.cumsum(counts) - counts
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(each) - each, each)
        return begins[link[owner]] + nth, owner

    def parts(self, entries: Entries, asked: Sequence[Part]) -> dict[Part, Spans]:
        """Parts of each entry."""
        return parts(self.split.structure, entries.spans, tuple(sorted(set(asked))))

    def entry_texts(self, entries: Entries, spans: Sequence[Spans]) -> list[pa.Array]:
        """The texts of parts of each entry."""
        return span_texts(self.split, spans, entries.segments)


def taken(values: pa.Array, link: I64) -> pa.Array:
    """Values by link; null where it leads nowhere."""
    if not len(values) or values.null_count == len(values):
        return pa.nulls(len(link), values.type)
    return values.take(pa.array(link, mask=link < 0) if (link < 0).any() else pa.array(link))
