"""Lists of structures: the repetitions of CX, XPN, XAD, XTN, CWE … fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, Entries
from pipelines.hl7v2.locate import Spans
from schemas.hl7v2.datatypes import DataType, data_type_of
from schemas.hl7v2.mapping import Place
from schemas.tables.structures import IDENTIFIER


def text_lists(columns: Columns, places: Sequence[Place], name: str) -> pa.Array:
    """For each row the texts of all repetitions of some places; those without text are left out."""
    entries = columns.entries(places, name)
    if not len(entries):
        return no_lists(pa.string(), entries.count)
    part = (places[0].component, places[0].subcomponent)
    values = columns.entry_texts(entries, columns.parts(entries, (part,))[part])
    return entries.lists(values, pc.is_valid(values))


def no_lists(item: pa.DataType, count: int) -> pa.Array:
    """No list in any row."""
    return pa.nulls(count, pa.list_(item))


def structure_lists(columns: Columns, places: Sequence[Place], name: str, struct: pa.StructType) -> pa.Array:
    """For each row all repetitions of some places, parted after their data type."""
    entries = columns.entries(places, name)
    if not len(entries):
        return no_lists(struct, entries.count)
    parts = _parts(columns, entries, data_type_of(struct))
    some = np.zeros(len(entries.owner), bool)
    for part in parts.values():
        some |= ~part.is_null().to_numpy(zero_copy_only=False)
    made = pa.StructArray.from_arrays(list(parts.values()), fields=list(struct))
    return entries.lists(made, pa.array(some))


def identifier_lists(columns: Columns, places: Sequence[Place], name: str, authority: pa.Array) -> pa.Array:
    """For each row all identifiers (CX) of some places; what has no value, or only deletes, is left out.

    Args:
        columns: the batch.
        places: whole fields.
        name: whose rows.
        authority: of identifiers without one, for each message.
    """
    entries = columns.entries(places, name)
    if not len(entries):
        return no_lists(IDENTIFIER, entries.count)
    parts = _parts(columns, entries, data_type_of(IDENTIFIER))
    parts["authority"] = pc.coalesce(
        parts["authority"], authority.take(pa.array(columns.split.message[entries.segments]))
    )
    value = parts["value"]
    there = pc.and_(pc.is_valid(value), pc.fill_null(pc.not_equal(value, '""'), False))
    made = pa.StructArray.from_arrays(list(parts.values()), fields=list(IDENTIFIER))
    return entries.lists(made, there)


def _parts(columns: Columns, entries: Entries, data_type: DataType) -> dict[str, pa.Array]:
    asked = [place for places in data_type.parts.values() for place in places]
    found = columns.parts(entries, asked)
    made = {}
    for name, places in data_type.parts.items():
        spans: Spans = found[places[0]]
        for place in places[1:]:
            spans = spans.otherwise(spans.present(), found[place])
        made[name] = columns.entry_texts(entries, spans)
    return made
