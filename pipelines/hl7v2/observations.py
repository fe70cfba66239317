"""What an observation has beside its mapped columns: the value by its type, and its ordinal among lines of a result."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import I32, Entries, lists
from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.documents import Documents, add_documents
from pipelines.hl7v2.gather import texts
from pipelines.hl7v2.locate import Grid, Spans, repetitions
from pipelines.hl7v2.numbers import read_numbers
from pipelines.hl7v2.table_rows import TableRows
from pipelines.hl7v2.times import read_times
from pipelines.kernel import kernel
from schemas.hl7v2.datatypes import VALUE_TYPES
from schemas.hl7v2.mapping import Place
from schemas.tables.columns import DELETED
from schemas.tables.structures import VALUE

_KINDS = ("text", "number", "structured", "coded", "time", "document", "quantity")
_VALUE = Place("OBX", 5)
_CODED = (
    (1, "code"), (2, "display"), (3, "system"), (4, "alt_code"), (5, "alt_display"), (6, "alt_system"),
    (7, "system_version"),
)  # fmt: skip
"""Components of a coded value (CWE) and the columns they become."""


_STRUCTURED = (
    (1, "value_comparator", pa.array([">", "<", ">=", "<=", "=", "<>", DELETED])),
    (3, "value_separator", pa.array(["-", "+", "/", ".", ":", DELETED])),
)
"""Components of a structured numeric that are no numbers (HL7 v2.5.1 §2.A.70), their columns, and what they may be."""


def add_observation_columns(made: TableRows, documents: Documents, *, reported: Bools) -> None:
    """Complete rows made of OBX.

    Args:
        made: the rows, with their mapped columns.
        documents: where large documents go.
        reported: for each row whether its message is a report, in which an OBX has an order and a status.
    """
    made.note("HL7-ORDER-MISSING", reported & (made.link("OBR") < 0) & (made.link("SPM") < 0))
    unsaid = pc.and_(pc.is_null(made.columns["status"]), pc.is_null(made.columns["report_status"]))
    made.note("HL7-STATUS-MISSING", reported & unsaid.to_numpy(zero_copy_only=False), Place("OBX", 11))
    made.columns["line"] = pa.array(made.pick(_line_numbers(made)))
    kind = _kinds_of(made)
    _add_values(made, kind)
    _add_repetitions(made, kind)
    add_documents(made, np.flatnonzero(kind == _KINDS.index("document")), documents)


def _line_numbers(made: TableRows) -> I32:
    """Ordinal of each OBX among those of equal order, code and sub-id, in the order they were sent.

    The code is OBX-3.1 and OBX-3.3, else the alternate triplet, else the text.
    """
    rows = made.rows
    code, system = (
        (first := rows.place(3, part)).otherwise(first.present(), rows.place(3, part + 3)) for part in (1, 3)
    )
    display = rows.place(3, 2).where(~rows.place(3, 1).present())
    keys = [spans.filled() for spans in (code, system, display, rows.place(4))]
    low, high = np.stack([one.low for one in keys]), np.stack([one.high for one in keys])
    line = np.empty(len(rows), np.int32)
    slots = np.full(1 << max(4, int(2 * len(rows)).bit_length()), -1, np.int64)
    relations = made.messages.columns.relations
    order, specimen, patient = (
        of[rows.segments] for of in (relations.group, relations.specimen, relations.patient)
    )
    # without an order, a result is one of its specimen, else of its patient
    order = np.where(order >= 0, order, -2 - np.where(specimen >= 0, specimen, patient))
    _lines(made.messages.columns.split.data, rows.message, order, low, high, slots, line)
    return line


@kernel
def _lines(data: U8, message: I64, order: I64, low: Grid, high: Grid, slots: I64, line: I32) -> None:
    """Number equal rows: ``slots`` is an open-addressed table, larger than the rows, of the last row of each key."""
    keys = len(low)
    mask = len(slots) - 1
    for row in range(len(message)):
        hashed = (np.uint64(0xCBF29CE484222325) ^ np.uint64(message[row])) * np.uint64(0x100000001B3)
        hashed = (hashed ^ np.uint64(order[row])) * np.uint64(0x100000001B3)
        for key in range(keys):
            for at in range(low[key, row], high[key, row]):
                hashed = (hashed ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
            hashed = (hashed ^ np.uint64(0x1FF)) * np.uint64(0x100000001B3)
        # mixed well, for the table is searched from slot to slot (the finish of MurmurHash3)
        hashed = (hashed ^ (hashed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        hashed = (hashed ^ (hashed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        slot = np.int64((hashed ^ (hashed >> np.uint64(33))) & np.uint64(mask))
        while True:
            other = slots[slot]
            if other < 0:
                line[row] = 0
                break
            same = message[other] == message[row] and order[other] == order[row]
            for key in range(keys):
                size = max(np.int64(0), high[key, row] - low[key, row])
                same = same and size == max(np.int64(0), high[key, other] - low[key, other])
                if same:
                    for step in range(size):
                        if data[low[key, row] + step] != data[low[key, other] + step]:
                            same = False
                            break
                if not same:
                    break
            if same:
                line[row] = line[other] + 1
                break
            slot = (slot + 1) & mask
        slots[slot] = row


def _kinds_of(made: TableRows) -> I64:
    """For each row the kind of its OBX-5, an index into ``_KINDS``."""
    types = made.columns["value_type"].dictionary_encode()
    names = [VALUE_TYPES.get((name or "").strip().upper(), "text") for name in types.dictionary.to_pylist()]
    numbers = np.array([_KINDS.index(name) for name in names] + [0], np.int64)
    kinds: I64 = numbers[pc.fill_null(types.indices, -1).to_numpy()]
    return kinds


def _of(kind: I64, *names: str) -> Bools:
    return np.isin(kind, [_KINDS.index(name) for name in names])


def _add_values(made: TableRows, kind: I64) -> None:
    """OBX-5 after OBX-2 (HL7 v2.5.1 §7.4.2.5); what does not fit its type stays as text, with a finding."""
    split = made.messages.columns.split
    message = made.pick(made.rows.message)

    def part(names: tuple[str, ...], number: int, sub: int = 0) -> Spans:
        """A component of the values of some kinds."""
        wanted = _of(kind, *names)
        return made.spans(5, number, sub).where(wanted) if wanted.any() else Spans.nothing(len(made))

    def text(spans: Spans) -> pa.Array:
        return texts(split, spans, made.segments)

    structured = _of(kind, "structured")
    ranged = part(("structured",), 4).present()
    number = part(("structured",), 2).otherwise(structured, part(("number",), 1))
    number = part(("quantity",), 1, 1).otherwise(_of(kind, "quantity"), number)
    numbers, upper = read_numbers(split.data, number), read_numbers(split.data, part(("structured",), 4))
    made.note("HL7-NM-INVALID", numbers.refused & ~structured, _VALUE)
    made.note("HL7-NM-INVALID", numbers.refused & structured, Place("OBX", 5, 2))
    made.note("HL7-NM-INVALID", upper.refused, Place("OBX", 5, 4))
    made.columns["value_number"] = pa.array(numbers.value, mask=~numbers.valid | ranged)
    made.columns["value_low"] = pa.array(numbers.value, mask=~(numbers.valid & ranged))
    made.columns["value_high"] = upper.floats()
    for place, name, known in _STRUCTURED:
        column = made.columns[name] = text(part(("structured",), place))
        made.note("HL7-SN-INVALID", _unknown(column, known), Place("OBX", 5, place))
    for place, name in _CODED:
        made.columns[f"value_{name}"] = text(part(("coded",), place))
    if _of(kind, "quantity").any():
        # CQ^unit, MO^currency, CP: price&currency
        unit = pc.coalesce(text(part(("quantity",), 2, 1)), text(part(("quantity",), 1, 2)))
        made.columns["unit_code"] = pc.coalesce(made.columns["unit_code"], unit)
    times = read_times(split.data, part(("time",), 1), message, made.messages.columns.clock)
    made.note("HL7-DTM-INVALID", times.refused, _VALUE)
    made.add_time("value_time", times, {field.name: field.type for field in made.mapping.table.fields})


def _unknown(column: pa.Array, known: pa.Array) -> Bools:
    """Which texts are none of those that are known."""
    if column.null_count == len(column):
        return np.zeros(len(column), bool)
    there = pc.is_in(pc.utf8_trim_whitespace(column.cast(pa.string())), known)
    found: Bools = pc.and_(column.is_valid(), pc.invert(there)).to_numpy(zero_copy_only=False)
    return found


def _add_repetitions(made: TableRows, kind: I64) -> None:
    """How many repetitions a value has, and where there are several, or one that is not the first, all of them."""
    columns = made.messages.columns
    rows = made.rows
    whole = rows.whole(_VALUE.field)
    counts = whole.present().astype(np.int32)
    repeated = np.flatnonzero(rows.repeated & whole.present())
    found = repetitions(columns.split.structure, whole.take(repeated), rows.repeated[repeated])
    counts[repeated] = np.bincount(found.owner, minlength=len(repeated))
    made.columns["value_repetitions"] = pa.array(made.pick(counts))
    owner = repeated[found.owner]
    several = np.flatnonzero((counts[owner] > 1) | (found.number > 0))
    few = Entries(found.spans.take(several), rows.segments[owner[several]])
    owner = owner[several]
    kinds = np.zeros(len(rows), np.int64)
    kinds[made.chosen if made.chosen is not None else slice(None)] = kind
    own = kinds[owner]
    data = columns.split.data
    parts = columns.parts(few, ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0)))
    numbers = read_numbers(data, parts[1, 0].where(_of(own, "number")))
    times = read_times(data, parts[1, 0].where(_of(own, "time")), rows.message[owner], None)
    refused = [("HL7-NM-INVALID", 0, numbers.refused), ("HL7-DTM-INVALID", 0, times.refused)]
    structured = _of(own, "structured")
    if structured.any():
        for place in (2, 4):
            limit = read_numbers(data, parts[place, 0].where(structured))
            refused.append(("HL7-NM-INVALID", place, limit.refused))
        for place, _, known in _STRUCTURED:
            (said,) = columns.entry_texts(few, [parts[place, 0].where(structured)])
            refused.append(("HL7-SN-INVALID", place, _unknown(said, known)))
    for code, place, flags in refused:
        _note_repetitions(made, code, place, flags, owner, found.number[several])
    coded = (parts[place, 0].where(_of(own, "coded")) for place in (1, 2, 3))
    text, *triplet = columns.entry_texts(few, [parts[0, 0], *coded])
    values = pa.StructArray.from_arrays([text, numbers.floats(), *triplet], fields=list(VALUE))
    made.columns["values"] = made.take(lists(values, owner, len(rows)))


def _note_repetitions(
    made: TableRows, code: str, component: int, refused: Bools, owner: I64, number: I64
) -> None:
    """Note which repetitions behind the first do not fit their type; the first has been noted with its row."""
    bad = np.flatnonzero(refused & (number > 0))
    if not len(bad):
        return
    row = np.full(len(made.rows), -1, np.int64)
    row[made.chosen if made.chosen is not None else slice(None)] = np.arange(len(made))
    bad = bad[row[owner[bad]] >= 0]
    made.noted.note(code, row[owner[bad]])
    segments = made.rows.segments[owner[bad]]
    made.messages.findings.note(code, segments, _VALUE.field, component, number[bad] + 1)
