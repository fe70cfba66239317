"""Lists of structures: the repetitions of CX, XPN, XAD, XTN, CWE … fields.

What the repetitions of a field become is read once for all segments of a name, whichever rows list them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, Entries, Listed, lists
from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.locate import Spans
from schemas.hl7v2.datatypes import AROUND_TELEPHONE, DataType, data_type_of
from schemas.hl7v2.mapping import Place
from schemas.tables.columns import DELETED
from schemas.tables.structures import IDENTIFIER


def text_lists(columns: Columns, places: Sequence[Place], name: str, chosen: I64 | None = None) -> pa.Array:
    """For some rows the texts of all repetitions of some places; those without text are left out."""
    part = (places[0].component, places[0].subcomponent)

    def read(entries: Entries) -> Listed:
        (values,) = columns.entry_texts(entries, [columns.parts(entries, (part,))[part]])
        return Listed.of(values, values.is_valid().to_numpy(zero_copy_only=False))

    return _lists(columns, places, name, chosen, pa.string(), part, read)


def structure_lists(
    columns: Columns, places: Sequence[Place], name: str, struct: pa.StructType, chosen: I64 | None = None
) -> pa.Array:
    """For some rows all repetitions of some places, parted after their data type."""

    def read(entries: Entries) -> Listed:
        parts = _parts(columns, entries, data_type_of(struct))
        some = np.zeros(len(entries), bool)
        for part in parts.values():
            if part.null_count < len(part):
                some |= part.is_valid().to_numpy(zero_copy_only=False)
        return Listed.of(pa.StructArray.from_arrays(list(parts.values()), fields=list(struct)), some)

    return _lists(columns, places, name, chosen, struct, struct, read)


def identifier_lists(
    columns: Columns, places: Sequence[Place], name: str, authority: pa.Array, chosen: I64 | None = None
) -> pa.Array:
    """For some rows all identifiers (CX) of some places; what has no value, or only deletes, is left out.

    Args:
        columns: the batch.
        places: whole fields.
        name: whose rows.
        authority: of identifiers without one, for each message.
        chosen: which rows; None for all.
    """

    def read(entries: Entries) -> Listed:
        parts = _parts(columns, entries, data_type_of(IDENTIFIER))
        parts["authority"] = pc.coalesce(
            parts["authority"], authority.take(pa.array(columns.split.message[entries.segments]))
        )
        value = parts["value"]
        there = pc.and_(pc.is_valid(value), pc.fill_null(pc.not_equal(value, '""'), False))
        made = pa.StructArray.from_arrays(list(parts.values()), fields=list(IDENTIFIER))
        return Listed.of(made, there.to_numpy(zero_copy_only=False))

    return _lists(columns, places, name, chosen, IDENTIFIER, "identifier", read)


def _lists(
    columns: Columns, places: Sequence[Place], name: str, chosen: I64 | None,
    item: pa.DataType, kind: Hashable, read: Callable[[Entries], Listed],
) -> pa.Array:  # fmt: skip
    """For some rows what all repetitions of some places become, place after place."""
    count = len(columns.rows(name)) if chosen is None else len(chosen)
    pieces = []
    for place in places:
        which, owner = columns.belonging(place, name, chosen)
        if len(owner):
            pieces.append(columns.listed(place, kind, read).taken(which, owner))
    if not pieces:
        return columns.absent(count, pa.list_(item))
    values, owner = pieces[0]
    if len(pieces) > 1:
        owner = np.concatenate([owner for _, owner in pieces])
        order = np.argsort(owner, kind="stable")
        values = pa.concat_arrays([values for values, _ in pieces]).take(pa.array(order))
        owner = owner[order]
    return lists(values, owner, count)


def _parts(columns: Columns, entries: Entries, data_type: DataType) -> dict[str, pa.Array]:
    asked = [place for places in data_type.parts.values() for place in places]
    asked += AROUND_TELEPHONE if data_type.name == "XTN" else ()
    found = columns.parts(entries, asked)
    chosen = []
    alone = np.zeros(len(entries), bool)  # telephone numbers that are written in one
    for name, places in data_type.parts.items():
        spans: Spans = found[places[0]]
        written = spans.present()
        for place in places[1:]:
            written = spans.present()
            spans = spans.otherwise(written, found[place])
        if data_type.name == "XTN" and name == "value":
            alone = written
        chosen.append(spans)
    made = dict(zip(data_type.parts, columns.entry_texts(entries, chosen), strict=True))
    if data_type.name == "XTN":
        around = columns.entry_texts(entries, [found[part] for part in AROUND_TELEPHONE])
        made["value"] = whole_number(made["value"], around, alone)
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
