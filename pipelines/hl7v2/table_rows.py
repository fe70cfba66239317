"""Rows of one table in the making: each column read as its type in the table says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.findings import Noted
from pipelines.hl7v2.locate import Rows, Spans
from pipelines.hl7v2.messages import Messages
from pipelines.hl7v2.numbers import Numbers
from pipelines.hl7v2.structures import identifier_lists, structure_lists, text_lists, whole_number
from pipelines.hl7v2.times import Times
from schemas.hl7v2.mapping import Place, TableMapping
from schemas.table import INSTANT
from schemas.tables.structures import IDENTIFIER


@dataclass
class TableRows:
    """Rows of one table in the making.

    Attributes:
        mapping: where the columns come from.
        messages: the batch.
        chosen: which segments of the mapping's name make a row; None for all.
        columns: columns made so far.
        noted: findings by row of the table.
    """

    mapping: TableMapping
    messages: Messages
    chosen: I64 | None
    columns: dict[str, pa.Array] = field(default_factory=dict)
    noted: Noted = field(default_factory=Noted)

    @property
    def name(self) -> str:
        """Name of the segments that make the rows."""
        return self.mapping.segment

    @cached_property
    def rows(self) -> Rows:
        """All segments of that name."""
        return self.messages.columns.rows(self.name)

    @cached_property
    def segments(self) -> I64:
        """Segment of each row of the table."""
        return self.pick(self.rows.segments)

    def __len__(self) -> int:
        return len(self.segments)

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Of values for all segments of the name those of the table's rows."""
        return values if self.chosen is None else values[self.chosen]

    def take(self, values: pa.Array) -> pa.Array:
        """Of a column for all segments of the name the table's rows."""
        return values if self.chosen is None else values.take(pa.array(self.chosen))

    def spans(self, number: int, component: int = 0, subcomponent: int = 0) -> Spans:
        """A place in the own segment of each row of the table."""
        spans = self.rows.place(number, component, subcomponent)
        return spans if self.chosen is None else spans.take(self.chosen)

    def link(self, other: str) -> I64:
        """For each row of the table the row of another segment that belongs to it."""
        return self.pick(self.messages.columns.link(self.name, other))

    def note(self, code: str, flags: Bools, place: Place | None = None) -> None:
        """Note a code for rows of the table, at a place of theirs, or at their own segment."""
        rows = self.noted.note(code, flags)
        if not len(rows):
            return
        if place is None:
            self.messages.findings.note(code, self.segments[rows])
            return
        columns = self.messages.columns
        segments = self.pick(columns.segments_of(place, self.name))[rows]
        segments = segments[segments >= 0]
        theirs = columns.rows(place.segment)
        repetition = theirs.repetition(place.field, columns.row_of(place.segment)[segments])
        self.messages.findings.note(code, segments, place.field, place.component, repetition)

    def read(self) -> None:
        """Read all columns that the mapping names."""
        types = {field.name: field.type for field in self.mapping.table.fields}
        for name, text in self.mapping.constants.items():
            self.columns[name] = constant(text, len(self))
        for name, places in self.mapping.places.items():
            kind = types[name]
            if kind == pa.string():
                self.columns[name] = self.messages.columns.text(places, self.name, self.chosen)
            elif kind == INSTANT:
                self.add_time(name, self.first_time(places), types)
            elif kind == pa.date32():
                self.columns[name] = self.first_time(places, dated=True).dates()
            elif kind == pa.float64():
                self.columns[name] = self.first_number(places).floats()
            elif kind == pa.int32():
                self.columns[name] = self.first_number(places).integers()
            else:
                self.columns[name] = self._list(places, kind)
        for name, around in self.mapping.telephones.items():
            self.columns[name] = self._telephone(name, around)

    def add_time(self, name: str, times: Times, types: dict[str, pa.DataType]) -> None:
        """Add an instant with its precision and offset."""
        self.columns[name] = times.instants()
        self.columns[f"{name}_precision"] = times.precisions()
        if f"{name}_offset" in types:
            self.columns[f"{name}_offset"] = times.offsets()

    def _list(self, places: Sequence[Place], kind: pa.DataType) -> pa.Array:
        columns = self.messages.columns
        if kind.value_type == pa.string():
            return text_lists(columns, places, self.name, self.chosen)
        if kind.value_type == IDENTIFIER:
            return identifier_lists(columns, places, self.name, self.messages.authority, self.chosen)
        return structure_lists(columns, places, self.name, kind.value_type, self.chosen)

    def _telephone(self, name: str, around: Sequence[Place]) -> pa.Array:
        """A column of telephone numbers, those joined that were sent in parts."""
        written = np.zeros(len(self), bool)
        for place in self.mapping.places[name][:-1]:
            written |= self.spans(place.field, place.component).present()
        texts = [self.messages.columns.text((place,), self.name, self.chosen) for place in around]
        return whole_number(self.columns[name], texts, written)

    def first_time(self, places: Sequence[Place], *, dated: bool = False, noting: bool = True) -> Times:
        """The first of several places that has a time; what is no time at a place before it is noted."""
        found: Times | None = None
        for place in map(leaf, places):
            times = self.messages.columns.time(place, self.name, dated=dated)
            if self.chosen is not None:
                times = times.take(self.chosen)
            if noting and times.refused.any():
                self.note(
                    "HL7-DTM-INVALID", times.refused if found is None else times.refused & ~found.valid, place
                )
            found = times if found is None else found.otherwise(times)
        return found if found is not None else Times.never(len(self))

    def first_number(self, places: Sequence[Place]) -> Numbers:
        """The first of several places that has a number; what is no number at a place before it is noted."""
        found: Numbers | None = None
        for place in map(leaf, places):
            numbers = self.messages.columns.number(place, self.name)
            if self.chosen is not None:
                numbers = numbers.take(self.chosen)
            refused = numbers.refused if found is None else numbers.refused & ~found.valid
            if refused.any():
                self.note("HL7-NM-INVALID", refused, place)
            found = numbers if found is None else found.otherwise(numbers)
        return found if found is not None else Numbers.never(len(self))


def leaf(place: Place) -> Place:
    """The place of a value that is never a whole field of several components."""
    return place if place.component else replace(place, component=1)


def constant(text: str, count: int) -> pa.Array:
    """The same text in every row, as a dictionary array."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([text]))
