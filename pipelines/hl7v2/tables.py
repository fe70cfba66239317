"""The rows of all tables of a batch, as the mappings of ``schemas/hl7v2/mappings`` say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.columns import Wanted, taken, wanted_parts
from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.documents import Documents
from pipelines.hl7v2.gather import texts
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.messages import Messages
from pipelines.hl7v2.observations import add_observation_columns
from pipelines.hl7v2.subjects import Subjects
from pipelines.hl7v2.table_rows import TableRows, leaf
from schemas.hl7v2.mapping import Place, TableMapping
from schemas.hl7v2.mappings import FAMILIES
from schemas.hl7v2.mappings.header import MESSAGE_HEADER_FROM_MSH
from schemas.table import INSTANT
from schemas.tables.columns import ORIGIN
from schemas.tables.normalised import (
    DIAGNOSTIC_REPORT,
    FINDING,
    MESSAGE_HEADER,
    OBSERVATION,
    PATIENT,
    SEGMENT,
)

_ONE_DAY = 86_400_000_000

OTHERS = (MESSAGE_HEADER_FROM_MSH,)
"""What messages of no family become beside rows of ``segment``."""

_OF_FAMILY = (*(family.mappings for family in FAMILIES), OTHERS)

MAPPINGS: tuple[TableMapping, ...] = tuple(
    {id(mapping): mapping for mappings in _OF_FAMILY for mapping in mappings}.values()
)
"""Every mapping once, in the order of the families."""

_USES = np.array([[any(mapping is one for one in some) for mapping in MAPPINGS] for some in _OF_FAMILY], bool)
"""Which family (the last row: none of them) uses which mapping."""

_REPORTS = np.array(
    [any(mapping.table is DIAGNOSTIC_REPORT for mapping in family.mappings) for family in FAMILIES] + [False],
    bool,
)


def _asked() -> Iterator[Place]:
    """All places that are read from a batch."""
    for mapping in MAPPINGS:
        types = {field.name: field.type for field in mapping.table.fields}
        for name, places in mapping.places.items():
            yield from places if types[name] == pa.string() else map(leaf, places)
        yield from map(leaf, mapping.version)
        for around in mapping.telephones.values():
            yield from around
    for text in (
        "MSH-4.1", "MSH-4.2", "MSH-7.1", "MSH-9.1", "MSH-9.2", "MSH-10", "MSH-18", "EVN-1.1",
        *(f"OBX-5.{number}" for number in range(1, 8)),
        *(f"OBX-3.{number}" for number in range(1, 7)),
    ):  # fmt: skip
        yield Place.of(text)


WANTED: Wanted = MappingProxyType(dict(wanted_parts(_asked())))
"""Parts of fields that are read: those of a field are found in one pass over it."""


WANTED_TEXTS: Wanted = MappingProxyType(
    dict(
        wanted_parts(
            replace(places[0], first=False, next=False)
            for mapping in MAPPINGS
            for column in mapping.table.fields
            if column.type == pa.string() and len(places := mapping.places.get(column.name, ())) == 1
        )
    )
)
"""Those of them that become texts as they are: all of a segment are copied in one pass."""


def read_tables(messages: Messages, documents: Documents) -> dict[str, pa.Table]:
    """All tables of a batch, by name.

    Args:
        messages: the batch.
        documents: where large documents go.

    Returns:
        Arrow tables with ``row`` (index of the message among the readable ones) and the table's own columns.
    """
    columns = messages.columns
    subjects = Subjects.of(columns, messages.authority)
    pieces: dict[str, list[pa.Table]] = {}
    held = np.zeros(len(columns.split), bool)
    for number, mapping in enumerate(MAPPINGS):
        made = _rows_of(mapping, messages, _USES[:, number])
        if not len(made):
            continue
        made.read()
        _add_subject(made, subjects)
        if mapping.table is OBSERVATION:
            reported = _REPORTS[messages.family[made.pick(made.rows.message)]]
            add_observation_columns(made, documents, reported=reported)
        elif mapping.table.name in _SPECIAL:
            _SPECIAL[mapping.table.name](made, subjects)
        pieces.setdefault(mapping.table.name, []).append(_finished(made))
        held[made.segments] = True
    rest = np.flatnonzero(~held)
    tables = {name: _joined(some) for name, some in pieces.items()}
    if len(rest):
        tables[SEGMENT.name] = _segments(rest, messages, subjects)
    found = _findings(messages)
    if found.num_rows:
        tables[FINDING.name] = found
    return tables


def _joined(pieces: list[pa.Table]) -> pa.Table:
    """Rows by several mappings as one table; columns that are dictionaries in some only become plain."""
    if len(pieces) == 1:
        return pieces[0]
    plain = pa.schema(
        [pa.field(one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
         for one in pieces[0].schema]
    )  # fmt: skip
    return pa.concat_tables([piece.cast(plain) for piece in pieces]).combine_chunks()


def _rows_of(mapping: TableMapping, messages: Messages, uses: Bools) -> TableRows:
    """The segments that become rows by a mapping."""
    columns = messages.columns
    rows = columns.rows(mapping.segment)
    wanted = uses[messages.family[rows.message]]
    if mapping.later:
        wanted &= columns.link(mapping.segment, mapping.segment, first=True) != np.arange(len(rows))
    for other in mapping.unless:
        wanted &= columns.link(mapping.segment, other) < 0
    chosen = None if wanted.all() else np.flatnonzero(wanted)
    return TableRows(mapping, messages, chosen)


def _add_subject(made: TableRows, subjects: Subjects) -> None:
    """Patient and order of the rows, where their table asks for them."""
    names = {field.name for field in made.mapping.table.fields}
    if "patient_id" in names:
        link = made.link("PID")
        made.columns["patient_id"], made.columns["patient_authority"] = subjects.linked(link)
    if "order_index" in names:
        made.columns["order_index"] = _order_index(made)


def _order_index(made: TableRows) -> pa.Array:
    """Number of each row's order group within its message, from 0."""
    columns = made.messages.columns
    own = columns.relations.group[made.segments]
    index = own - columns.first_group[columns.split.message[made.segments]]
    return pa.array(index.astype(np.int32), mask=own < 0)


def _patient(made: TableRows, subjects: Subjects) -> None:
    made.columns["identifiers"] = made.take(subjects.identifiers)
    missing = made.columns["patient_id"].is_null().to_numpy(zero_copy_only=False)
    made.note("HL7-PATIENT-ID-MISSING", missing, Place("PID", 3))


def _header(made: TableRows, _: Subjects) -> None:
    """In which charset a message was said to be, in which it was read, and whether that had to be guessed."""
    decoded = made.messages.columns.split.decoded
    message = pa.array(made.pick(made.rows.message))
    made.columns["charset_declared"] = decoded.declared.take(message)
    codecs = pa.DictionaryArray.from_arrays(pa.array(decoded.codec), pa.array(decoded.codecs, pa.string()))
    made.columns["charset_used"] = codecs.take(message)
    made.columns["charset_guessed"] = pa.array(decoded.guessed).take(message)


_SPECIAL: Mapping[str, Callable[[TableRows, Subjects], None]] = MappingProxyType(
    {PATIENT.name: _patient, MESSAGE_HEADER.name: _header}
)
"""What a table has beside its mapped columns."""


def _finished(made: TableRows) -> pa.Table:
    """Complete rows with what every table has."""
    made.columns["version_time"] = _version(made)
    return _table(made.mapping, made.columns, made.segments, made.messages, made.noted.lists(len(made)))


def _table(
    mapping: TableMapping, made: Mapping[str, pa.Array], segments: I64, messages: Messages, codes: pa.Array
) -> pa.Table:
    origin = {field.name for field in ORIGIN}
    split = messages.columns.split
    message = split.message[segments]
    return pa.table(
        {
            "row": pa.array(message.astype(np.int32)),
            "segment_index": pa.array(split.ordinal[segments].astype(np.int32)),
            "codes": codes,
            "version_time": made["version_time"],
            "sent_sequence": taken(messages.sent_sequence, message),
            **{
                field.name: made[field.name] if field.name in made else pa.nulls(len(segments), field.type)
                for field in mapping.table.fields
                if field.name not in origin
            },
        }
    )


def _version(made: TableRows) -> pa.Array:
    """The time that orders versions: as mapped, else MSH-7, else the receipt; never a day past the receipt."""
    message = made.pick(made.rows.message)
    received = made.messages.received[message]
    instant = _own_time(made.messages)[message]
    if made.mapping.version:
        times = made.first_time(made.mapping.version, noting=False)
        instant = np.where(times.valid, times.instant, instant)
    future = instant > received + _ONE_DAY
    made.note("HL7-VERSION-TIME-FUTURE", future)
    return pa.array(np.where(future, received, instant)).cast(INSTANT)


def _own_time(messages: Messages) -> I64:
    """MSH-7 of each message, else its receipt."""
    return np.where(messages.time.valid, messages.time.instant, messages.received)


def _segments(segments: I64, messages: Messages, subjects: Subjects) -> pa.Table:
    """Whole segments, decoded, with delimiters and escapes as sent."""
    columns = messages.columns
    split = columns.split
    made = TableRows(TableMapping(SEGMENT, "", MappingProxyType({}), ()), messages, segments)
    message = split.message[segments]
    starts, ends = split.starts[segments], split.ends[segments]
    text = texts(split, Spans(starts, ends, len(segments)), segments, escaped=False)
    first = split.first_separator[segments]
    there = first < split.first_separator[segments + 1]
    after = (
        np.where(there, split.separators[np.minimum(first, max(len(split.separators) - 1, 0))], ends)
        if len(split.separators)
        else ends
    )
    made.columns["text"] = text
    made.columns["name"] = texts(split, Spans(starts, after, len(segments)), segments, escaped=False)
    link = columns.row_of("PID")[columns.relations.patient[segments]]
    made.columns["patient_id"], made.columns["patient_authority"] = subjects.linked(link)
    received = messages.received[message]
    instant = _own_time(messages)[message]
    future = instant > received + _ONE_DAY
    rows = made.noted.note("HL7-VERSION-TIME-FUTURE", future)
    messages.findings.note("HL7-VERSION-TIME-FUTURE", segments[rows])
    made.columns["version_time"] = pa.array(np.where(future, received, instant)).cast(INSTANT)
    return _table(made.mapping, made.columns, segments, messages, made.noted.lists(len(segments)))


def _findings(messages: Messages) -> pa.Table:
    """Every finding with its place."""
    found = messages.findings.all()
    columns = messages.columns
    split = columns.split
    message = split.message[found.segment]
    own = _own_time(messages)[message]
    received = messages.received[message]
    codes, names = np.unique(split.names[found.segment], return_inverse=True)
    texts_ = [int(code).to_bytes(3, "big").decode("latin-1") if code else None for code in codes.tolist()]
    made = found.columns()
    made["segment"] = taken(pa.array(texts_, pa.string()), names.astype(np.int64))
    made["version_time"] = pa.array(np.where(own > received + _ONE_DAY, received, own)).cast(INSTANT)
    codes_list = pa.ListArray.from_arrays(
        pa.array(np.arange(len(found.segment) + 1, dtype=np.int32)), made["code"]
    )
    mapping = TableMapping(FINDING, "", MappingProxyType({}), ())
    return _table(mapping, made, found.segment, messages, codes_list)
