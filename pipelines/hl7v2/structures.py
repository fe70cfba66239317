"""Lists of structures: the repetitions of CX, XPN, XAD, XTN, CWE … fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, Entries
from pipelines.hl7v2.decode import Bools
from pipelines.hl7v2.locate import Spans
from schemas.hl7v2.datatypes import AROUND_TELEPHONE, DataType, data_type_of
from schemas.hl7v2.mapping import Place
from schemas.tables.columns import DELETED
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
    asked += AROUND_TELEPHONE if data_type.name == "XTN" else ()
    found = columns.parts(entries, asked)
    made = {}
    for name, places in data_type.parts.items():
        spans: Spans = found[places[0]]
        written = spans.present()
        for place in places[1:]:
            written = spans.present()
            spans = spans.otherwise(written, found[place])
        made[name] = columns.entry_texts(entries, spans)
        if data_type.name == "XTN" and name == "value":
            around = [columns.entry_texts(entries, found[part]) for part in AROUND_TELEPHONE]
            made[name] = whole_number(made[name], around, written)
    return made


def whole_number(local: pa.Array, around: Sequence[pa.Array], written: Bools) -> pa.Array:
    """Telephone numbers, those joined that are not written in one: ``+86 851 5551234 x12``.

    Args:
        local: the number, or where it was sent in parts the local one.
        around: country code, area code and extension.
        written: which are written in one.
    """
    if all(part.null_count == len(part) for part in around):
        return local
    country, area, extension = (pc.if_else(pc.equal(part, DELETED), None, part) for part in around)
    country = pc.binary_join_element_wise("+", pc.utf8_ltrim(country, "+"), " ", "")
    area = pc.binary_join_element_wise(area, "", " ")
    extension = pc.binary_join_element_wise(" x", extension, "")
    country, area, extension = (pc.coalesce(part, "") for part in (country, area, extension))
    whole = pc.binary_join_element_wise(country, area, local, extension, "")
    joins = pc.and_(pc.fill_null(pc.not_equal(local, DELETED), False), pa.array(~written))
    return pc.if_else(joins, whole, local)
