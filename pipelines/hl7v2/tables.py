"""The rows of the tables, column after column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, taken
from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.findings import Noted
from pipelines.hl7v2.gather import row_strings, strings
from pipelines.hl7v2.messages import Messages
from pipelines.hl7v2.split import Ranges, RowSet, part_count
from pipelines.hl7v2.times import read_times
from schemas.hl7v2.families import FAMILIES
from schemas.hl7v2.places import MAPPINGS, VALUE_TYPES, Place
from schemas.table import INSTANT, Table
from schemas.tables.clinical import (
    DIAGNOSTIC_REPORT,
    ENCOUNTER,
    IDENTIFIER,
    OBSERVATION,
    ORIGIN,
    PATIENT,
    SEGMENT,
    SERVICE_REQUEST,
)

TYPED = (PATIENT, ENCOUNTER, SERVICE_REQUEST, DIAGNOSTIC_REPORT, OBSERVATION)
_BIRTH = MAPPINGS[PATIENT.name].places["birth_date"][0]
_ONE_DAY = 86_400_000_000
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$"
_PATIENT_FIELDS = (3, 2, 4, 19)
"""PID-3 and, of old versions, PID-2, PID-4 and the social security number PID-19 (HL7 v2.5.1 §3.4.2)."""


@dataclass
class Rows:
    """Rows of one table in the making.

    Attributes:
        table: which.
        name: segment name that makes a row.
        index: rows of that segment's row set that are rows of the table.
        columns: columns made so far, each as long as ``index``.
        noted: findings by row of the table.
    """

    table: Table
    name: str
    index: I64
    columns: dict[str, pa.Array] = field(default_factory=dict)
    noted: Noted = field(default_factory=Noted)

    def pick(self, values: pa.Array) -> pa.Array:
        """Of a column of the segment's row set the rows of the table."""
        return values if len(values) == len(self.index) else values.take(pa.array(self.index))


def read_tables(messages: Messages) -> dict[str, pa.Table]:
    """All tables of a batch, by name.

    Returns:
        Arrow tables with ``row`` (index of the message among the readable ones) and the table's own columns.
    """
    columns = messages.columns
    subject = _Subject.of(messages)
    tables: dict[str, pa.Table] = {}
    taken_segments = np.zeros(len(columns.split.starts), bool)
    for table in TYPED:
        mapping = MAPPINGS[table.name]
        rows = columns.rows(mapping.segment)
        wanted = np.array([table in family.tables for family in FAMILIES] + [False], bool)
        index = np.flatnonzero(wanted[messages.family[rows.message]])
        made = Rows(table, mapping.segment, index)
        taken_segments[rows.segments[index]] = True
        if len(index):
            tables[table.name] = _typed(made, messages, subject)
    index = np.flatnonzero(~taken_segments)
    tables[SEGMENT.name] = _segments(index, messages, subject)
    return tables


def _typed(rows: Rows, messages: Messages, subject: _Subject) -> pa.Table:
    columns = messages.columns
    mapping = MAPPINGS[rows.table.name]
    types = {field.name: field.type for field in rows.table.fields}
    for name, places in mapping.places.items():
        if types[name] == INSTANT:
            times = columns.first_time(places, rows.name)
            rows.noted.note("HL7-DTM-INVALID", times.refused[rows.index])
            rows.columns[name] = rows.pick(times.instants())
            rows.columns[f"{name}_precision"] = rows.pick(times.precisions())
        elif types[name] == pa.string():
            rows.columns[name] = rows.pick(columns.first_text(places, rows.name))
    _SPECIAL[rows.table.name](rows, messages, subject)
    return _finished(rows, messages, columns.rows(rows.name).segments[rows.index], mapping.version)


def _finished(rows: Rows, messages: Messages, segments: I64, version: tuple[Place, ...]) -> pa.Table:
    """Complete rows with what every table has."""
    split = messages.columns.split
    message = split.message[segments]
    rows.columns["version_time"] = _version(rows, messages, message, version)
    rows.noted.add_to(messages.noted, message)
    made = {field.name for field in ORIGIN}
    return pa.table(
        {
            "row": pa.array(message.astype(np.int32)),
            "segment_index": pa.array(split.ordinal[segments].astype(np.int32)),
            "codes": rows.noted.lists(len(segments)),
            "version_time": rows.columns["version_time"],
            **{
                field.name: rows.columns[field.name]
                if field.name in rows.columns
                else pa.nulls(len(segments), field.type)
                for field in rows.table.fields
                if field.name not in made
            },
        }
    )


def _version(rows: Rows, messages: Messages, message: I64, places: tuple[Place, ...]) -> pa.Array:
    """The time that orders versions: as mapped, else MSH-7, else the receipt; never a day past the receipt."""
    received = messages.received[message]
    own = messages.time
    instant = np.where(own.valid[message], own.instant[message], received)
    if places:
        times = messages.columns.first_time(places, rows.name)
        instant = np.where(times.valid[rows.index], times.instant[rows.index], instant)
    future = instant > received + _ONE_DAY
    rows.noted.note("HL7-VERSION-TIME-FUTURE", future)
    return pa.array(np.where(future, received, instant)).cast(INSTANT)


@dataclass(frozen=True)
class _Subject:
    """Identifiers of the patients of a batch.

    Attributes:
        identifiers: a list for each PID.
        patient_id: the first one's value, for each PID.
        authority: the first one's authority, for each PID.
    """

    identifiers: pa.Array
    patient_id: pa.Array
    authority: pa.Array
    columns: Columns

    @classmethod
    def of(cls, messages: Messages) -> _Subject:
        columns = messages.columns
        entries = columns.entries("PID", _PATIENT_FIELDS)
        value = entries.text(1, 1)
        message = entries.message[entries.owner]
        default = messages.authority.take(pa.array(message))
        authority = pc.coalesce(entries.text(4, 1), entries.text(4, 2), default)
        kind = entries.text(5, 1)
        made = pa.StructArray.from_arrays([value, authority, kind], fields=list(IDENTIFIER))
        there = pc.and_(pc.is_valid(value), pc.fill_null(pc.not_equal(value, '""'), False))
        lists = entries.lists(made, there)
        starts = lists.offsets.to_numpy()[:-1]
        filled = pc.list_value_length(lists).to_numpy() > 0
        first = pa.array(np.where(filled, starts, 0), mask=~filled)
        flat = lists.flatten()
        if not len(flat):
            empty = pa.nulls(len(lists), pa.string())
            return cls(lists, empty, empty, columns)
        return cls(lists, flat.field("value").take(first), flat.field("authority").take(first), columns)

    def add(self, rows: Rows) -> None:
        """Give the rows their patient."""
        link = self.columns.link(rows.name, "PID")[rows.index]
        rows.columns["patient_id"] = taken(self.patient_id, link)
        rows.columns["patient_authority"] = taken(self.authority, link)


def _patient(rows: Rows, _messages: Messages, subject: _Subject) -> None:
    subject.add(rows)
    columns = subject.columns
    rows.columns["identifiers"] = rows.pick(subject.identifiers)
    missing = pc.is_null(rows.columns["patient_id"]).to_numpy(zero_copy_only=False)
    rows.noted.note("HL7-PATIENT-ID-MISSING", missing)
    pid = columns.rows("PID")
    birth = read_times(columns.split.data, pid.place(_BIRTH.field, 1), pid.message, None)
    rows.noted.note("HL7-DTM-INVALID", birth.refused[rows.index])
    rows.columns["birth_date"] = rows.pick(birth.dates())


def _encounter(rows: Rows, _messages: Messages, subject: _Subject) -> None:
    subject.add(rows)


def _order(rows: Rows, messages: Messages, subject: _Subject) -> None:
    subject.add(rows)
    columns = messages.columns
    orders = columns.rows("OBR")
    link = columns.link(rows.name, "OBR")[rows.index]
    # how many OBR of the message stand before: rows are in order, so the first of each message is found by search
    ordinal = np.arange(len(orders)) - np.searchsorted(orders.message, orders.message)
    rows.columns["order_index"] = taken(pa.array(ordinal.astype(np.int32)), link)


def _observation(rows: Rows, messages: Messages, subject: _Subject) -> None:
    _order(rows, messages, subject)
    columns = messages.columns
    link = columns.link("OBX", "OBR")[rows.index]
    reports = np.array([DIAGNOSTIC_REPORT in family.tables for family in FAMILIES] + [False], bool)
    in_report = reports[messages.family[columns.rows("OBX").message[rows.index]]]
    rows.noted.note("HL7-ORDER-MISSING", in_report & (link < 0))
    status = pc.and_(pc.is_null(rows.columns["status"]), pc.is_null(rows.columns["report_status"]))
    rows.noted.note("HL7-STATUS-MISSING", in_report & status.to_numpy(zero_copy_only=False))
    rows.columns["line"] = _lines(rows, columns, link)
    entries = columns.entries("OBX", (8,))
    flags = entries.text(1)
    rows.columns["interpretation"] = rows.pick(entries.lists(flags, pc.is_valid(flags)))
    _values(rows, columns)


def _lines(rows: Rows, columns: Columns, link: I64) -> pa.Array:
    """Ordinal among the lines of equal order, code and sub-id, in the order they were sent."""
    message = columns.rows("OBX").message[rows.index]
    group = [_numbers(pc.coalesce(rows.columns[f"observation_{name}"], rows.columns[f"observation_alt_{name}"]))
             for name in ("code", "system")]  # fmt: skip
    display = pc.if_else(
        pc.is_null(rows.columns["observation_code"]), rows.columns["observation_display"], None
    )
    keys = (message, link, *group, _numbers(display), _numbers(rows.columns["sub_id"]))
    count = len(rows.index)
    order = np.lexsort((np.arange(count), *keys[::-1]))
    new = np.ones(count, bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    start = np.maximum.accumulate(np.where(new, np.arange(count), 0))
    line = np.empty(count, np.int32)
    line[order] = np.arange(count) - start
    return pa.array(line)


def _numbers(values: pa.Array) -> I64:
    """A number for each distinct text; -1 for null."""
    numbers: I64 = pc.fill_null(values.dictionary_encode().indices, -1).to_numpy().astype(np.int64)
    return numbers


def _values(rows: Rows, columns: Columns) -> None:
    """OBX-5 after OBX-2 (HL7 v2.5.1 §7.4.2.5); what does not fit its type stays as text, with a finding."""
    kinds = rows.columns["value_type"].dictionary_encode()
    names = [VALUE_TYPES.get((name or "").strip().upper(), "") for name in kinds.dictionary.to_pylist()]
    number = pc.fill_null(kinds.indices, -1).to_numpy()
    count = len(rows.index)
    segments = columns.rows("OBX").segments[rows.index]

    def of_kind(kind: str) -> tuple[I64, RowSet]:
        """Which rows of the table are of a kind, and their segments."""
        chosen = np.array([name == kind for name in names] + [False], bool)
        found = np.flatnonzero(chosen[number])
        return found, RowSet(columns.split, segments[found])

    def component(those: RowSet, position: int) -> pa.Array:
        return row_strings(those, 5, position)

    plain, _ = of_kind("number")
    structured, those = of_kind("structured")
    range_or_ratio = pc.is_valid(component(those, 4))
    texts = [rows.columns["value_text"].take(pa.array(plain)), component(those, 2)]
    values, wrong = _as_numbers(pa.concat_arrays(texts))
    values = pc.if_else(
        pa.concat_arrays([pa.nulls(len(plain), pa.bool_()).fill_null(False), range_or_ratio]), None, values
    )
    numeric = np.concatenate([plain, structured])
    rows.columns["value_number"] = _spread(values, numeric, count)
    rows.noted.note("HL7-NM-INVALID", numeric[wrong])
    rows.columns["value_comparator"] = _spread(component(those, 1), structured, count)
    coded, those = of_kind("coded")
    for position, name in ((1, "code"), (2, "display"), (3, "system")):
        rows.columns[f"value_{name}"] = _spread(component(those, position), coded, count)
    timed, those = of_kind("time")
    times = read_times(columns.split.data, those.place(5, 1), those.message, columns.clock)
    rows.noted.note("HL7-DTM-INVALID", timed[times.refused])
    rows.columns["value_time"] = _spread(times.instants(), timed, count)
    rows.columns["value_time_precision"] = _spread(times.precisions(), timed, count)
    whole = columns.rows("OBX").whole(5)
    repetitions = np.zeros(whole.length, np.int32)
    repetitions[whole.rows] = part_count(columns.split.repetitions, whole)
    rows.columns["value_repetitions"] = pa.array(repetitions[rows.index])


def _spread(values: pa.Array, rows: I64, count: int) -> pa.Array:
    """A column with values in some rows and null in the others."""
    if not len(rows):
        return pa.nulls(count, values.type)
    index = np.zeros(count, np.int64)
    index[rows] = np.arange(len(rows))
    absent = np.ones(count, bool)
    absent[rows] = False
    return values.take(pa.array(index, mask=absent))


def _as_numbers(texts: pa.Array) -> tuple[pa.Array, Bools]:
    """Numbers of HL7 (NM, HL7 v2.5.1 §2.A.47), and which of the texts there are none (or too great a one)."""
    texts = pc.utf8_trim_whitespace(texts)
    fits = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
    bare = pc.utf8_ltrim(pc.if_else(fits, texts, None), "+")
    numbers = bare.cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(numbers), False)
    said = pc.fill_null(pc.and_(pc.not_equal(texts, ""), pc.not_equal(texts, '""')), False)
    wrong = pc.and_(said, pc.invert(finite)).to_numpy(zero_copy_only=False)
    return pc.if_else(finite, numbers, None), wrong


_SPECIAL: dict[str, Callable[[Rows, Messages, _Subject], None]] = {
    PATIENT.name: _patient,
    ENCOUNTER.name: _encounter,
    SERVICE_REQUEST.name: _order,
    DIAGNOSTIC_REPORT.name: _order,
    OBSERVATION.name: _observation,
}
"""What a table has beside its mapped columns."""


def _segments(segments: I64, messages: Messages, subject: _Subject) -> pa.Table:
    """Whole segments, decoded, with delimiters and escapes as sent."""
    columns = messages.columns
    split = columns.split
    rows = Rows(SEGMENT, "", segments)
    message = split.message[segments]
    count = len(segments)
    starts, ends = split.starts[segments], split.ends[segments]
    everything = Ranges(starts, ends, np.arange(count), count)
    rows.columns["text"] = strings(split, everything, message, escaped=False)
    first = split.fields.get(split.first_field[segments])
    named = Ranges(starts, np.minimum(first, ends), np.arange(count), count)
    filled = named.high > named.low
    if not filled.all():
        named = Ranges(starts[filled], np.minimum(first, ends)[filled], np.flatnonzero(filled), count)
    rows.columns["name"] = strings(split, named, message, escaped=False)
    # the patient of the segment: the PID before it, else the message's first
    pid = columns.rows("PID")
    if len(pid):
        before = np.searchsorted(pid.segments, segments, side="right") - 1
        first_of = np.searchsorted(pid.message, message)
        has = (first_of < len(pid)) & (pid.message[np.minimum(first_of, len(pid) - 1)] == message)
        inside = (before >= 0) & (pid.message[np.maximum(before, 0)] == message)
        link = np.where(inside, before, np.where(has, first_of, -1))
    else:
        link = np.full(count, -1)
    rows.columns["patient_id"] = taken(subject.patient_id, link)
    rows.columns["patient_authority"] = taken(subject.authority, link)
    return _finished(rows, messages, segments, ())
