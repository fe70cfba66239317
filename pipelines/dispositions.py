"""What became of each message: pure functions from raw rows, decisions and parser's answers to ledger rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.claims import Claim
from lake_layout.files import of_type
from schemas.modality import Modality, Parsed
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.ops import LEDGER, QUARANTINE, ROW_COUNT

NO_MONTH = "none"

IDENTITY_COLUMNS = (
    "topic_id", "partition", "offset", "source", "received_at", "control_id", "message_type", "processing_id",
    "sent_date", "id_hash", "content_hash", "problem", "landed_month",
)  # fmt: skip
"""Columns of a raw table that pass 1 reads: everything but the bytes."""


@dataclass(frozen=True)
class Verdicts:
    """Judgement of the messages of one part before their bodies are read.

    Attributes:
        disposition: string array; ``quarantined`` or ``ignored`` where the envelope decides, null else.
        code: string array; the reason, null where there is none.
    """

    disposition: pa.Array
    code: pa.Array


def judge_envelopes(raw: pa.Table, modality: Modality, sources: Sources) -> Verdicts:
    """Quarantine what cannot be a message and set aside what its source does not accept."""
    problem = _whole(raw.column("problem"))
    aside = modality.triage(raw, sources)
    disposition = pc.if_else(
        pc.is_valid(problem),
        pa.scalar("quarantined"),
        pc.if_else(pc.is_valid(aside), pa.scalar("ignored"), pa.scalar(None, pa.string())),
    )
    return Verdicts(_whole(disposition), _whole(pc.coalesce(problem, aside)))


def buckets_of(sent_date: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Buckets of the duplicate index: year and month as sent (``202603``), ``none`` where there is none.

    The zone plays no part: a resend carries the same digits as what it repeats.
    """
    text = _whole(sent_date)
    month = pc.utf8_slice_codeunits(text, 0, 6)
    valid = pc.match_substring_regex(month, r"^[0-9]{4}(0[1-9]|1[0-2])$")
    return pc.if_else(pc.fill_null(valid, False), month, pa.scalar(NO_MONTH))


@dataclass(frozen=True)
class Origin:
    """Where the messages of a piece came from, made ready once for the rows of all tables.

    Attributes:
        raw: columns of the raw rows, by name, and ``reading``.
        messages: columns of the messages that were read, and ``event_month``.
        place: by raw row, which of the messages it is; -1 for one that was not read.
    """

    raw: Mapping[str, pa.Array]
    messages: Mapping[str, pa.Array]
    place: np.ndarray


def origin_of(raw: pa.Table, parsed: Parsed, reading: int) -> Origin:
    """Where each message came from.

    Args:
        raw: the raw rows that were parsed.
        parsed: for what the parser says of each message.
        reading: 0 for the first reading of messages, where ``raw`` has no column that says it of each.
    """
    messages = parsed.messages
    place = np.full(raw.num_rows, -1, np.int64)
    place[_whole(messages.column("row")).to_numpy(zero_copy_only=False)] = np.arange(messages.num_rows)
    of_raw = ("topic_id", "partition", "offset", "source", "received_at")
    of_message = ("institution", "message_type", "event_time", "event_time_precision", "event_date")
    return Origin(
        {name: _repeating(raw.column(name)) for name in of_raw} | {"reading": readings_of(raw, reading)},
        {name: _repeating(messages.column(name)) for name in of_message}
        | {"event_month": month_start(messages.column("event_date"))},
        place,
    )


def attach_origin(table: Table, rows: pa.Table, origin: Origin, claim: Claim) -> pa.Table:
    """Complete what a parser gives for a table with where each row came from.

    Args:
        table: the target; its columns and their order are what comes out, strings in part as dictionaries.
        rows: the parser's rows: ``row`` (index into the raw rows) and columns of the table.
        origin: of the raw rows.
        claim: the batch.
    """
    row = _whole(rows.column("row"))
    message = pa.array(origin.place[row.to_numpy(zero_copy_only=False)])
    n = rows.num_rows
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        **{name: column.take(row) for name, column in origin.raw.items()},
        **{name: column.take(message) for name, column in origin.messages.items()},
        "batch_number": pa.array(np.full(n, claim.batch, np.int64)),
        **{name: rows.column(name) for name in rows.column_names if name != "row"},
    }
    return pa.table(
        {
            field.name: of_type(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(n, field.type)
            for field in table.fields
        }
    )


def readings_of(raw: pa.Table, reading: int) -> pa.Array:
    """Which reading of each raw row this is: its column ``reading`` where it has one, the same for all else."""
    if "reading" in raw.column_names:
        return _whole(raw.column("reading"))
    return pa.array(np.full(raw.num_rows, reading, np.int32))


def _repeating(column: pa.ChunkedArray) -> pa.Array:
    """Strings of which few differ as a dictionary: quicker to take from, and to write."""
    whole = _whole(column)
    return whole.dictionary_encode() if whole.type == pa.string() else whole


def month_start(dates: pa.ChunkedArray | pa.Array) -> pa.Array:
    """First day of each date's month, as date32; null stays null."""
    whole = _whole(dates)
    return pc.floor_temporal(whole.cast(pa.timestamp("s")), unit="month").cast(pa.date32())


def ledger_rows(
    raw: pa.Table,
    disposition: pa.Array,
    codes: pa.Array,
    row_counts: pa.Array,
    modality: Modality,
    claim: Claim,
    reading: int,
) -> pa.Table:
    """Rows of ``ops/ledger`` for all messages of a part, in the order of ``raw``."""
    n = raw.num_rows
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        name: raw.column(name)
        for name in ("landed_month", "topic_id", "partition", "offset", "source", "received_at", "control_id",
                     "message_type", "id_hash", "content_hash")
    }  # fmt: skip
    columns |= {
        "raw_table": pa.array([modality.raw.name] * n, pa.string()),
        "sent_month": buckets_of(raw.column("sent_date")),
        "disposition": disposition,
        "codes": codes,
        "row_counts": row_counts,
        "batch_number": pa.array(np.full(n, claim.batch, np.int64)),
        "reading": readings_of(raw, reading),
        "decided_at": pa.array([claim.made_at] * n, LEDGER.arrow_schema.field("decided_at").type),
    }
    return pa.table({field.name: columns[field.name].cast(field.type) for field in LEDGER.fields})


def quarantine_rows(
    ledger: pa.Table, places: Mapping[int, tuple[str | None, int | None, int | None]]
) -> pa.Table:
    """Rows of ``ops/quarantine`` for the ledger rows that are quarantined.

    Args:
        ledger: rows of the ledger.
        places: for rows (by position in ``ledger``) where the parser named it: segment, its index, field.
    """
    rows = np.flatnonzero(
        _whole(pc.equal(ledger.column("disposition"), "quarantined")).to_numpy(zero_copy_only=False)
    )
    named = [places.get(int(row), (None, None, None)) for row in rows]
    return _quarantined(
        ledger.take(pa.array(rows)),
        {
            "code": pc.list_element(ledger.column("codes").take(pa.array(rows)), 0)
            if len(rows)
            else pa.array([], pa.string()),
            "segment": pa.array([place[0] for place in named], pa.string()),
            "segment_index": pa.array([place[1] for place in named], pa.int32()),
            "field": pa.array([place[2] for place in named], pa.int32()),
        },
    )


def bad_part_rows(ledger: pa.Table, parts: pa.Table) -> pa.Table:
    """Rows of ``ops/quarantine`` for parts that could not be read of messages that were.

    Args:
        ledger: rows of the ledger.
        parts: ``schemas.modality.UNREADABLE_SCHEMA``, ``row`` being a position in ``ledger``.
    """
    told = {name: parts.column(name) for name in ("code", "segment", "segment_index", "field")}
    return _quarantined(ledger.take(parts.column("row")), told)


def _quarantined(messages: pa.Table, why: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        name: messages.column(name) for name in messages.column_names
    }
    columns |= why
    return pa.table({field.name: columns[field.name].cast(field.type) for field in QUARANTINE.fields})


def count_rows(tables: Mapping[str, pa.Table], messages: int) -> np.ndarray:
    """How many rows each message has in each table: int32 array of shape (messages, tables)."""
    counts = np.zeros((messages, len(tables)), np.int32)
    for column, rows in enumerate(tables.values()):
        if rows.num_rows:
            index = _whole(rows.column("row")).to_numpy(zero_copy_only=False)
            counts[:, column] = np.bincount(index, minlength=messages)
    return counts


def row_count_lists(names: Sequence[str], counts: np.ndarray) -> pa.Array:
    """The ledger's ``row_counts``: a list of (table, rows) per message, tables without rows left out."""
    present = counts > 0
    message, column = np.nonzero(present)
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    dictionary = pa.array(list(names), pa.string())
    values = pa.StructArray.from_arrays(
        [dictionary.take(pa.array(column)), pa.array(counts[message, column])], fields=list(ROW_COUNT)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def code_lists(per_message: pa.Array, reason: pa.Array) -> pa.Array:
    """The ledger's ``codes``: the reason of the disposition where there is one, else the parser's findings."""
    has_reason = _whole(pc.is_valid(reason))
    valid = has_reason.to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(valid)]).astype(np.int32)
    reasons = pa.ListArray.from_arrays(pa.array(offsets), reason.drop_null())
    return pc.if_else(has_reason, reasons, per_message)


def scatter(values: pa.Array | pa.ChunkedArray, rows: pa.Array | pa.ChunkedArray, length: int) -> pa.Array:
    """An array of ``length`` with ``values`` at the positions ``rows`` and null elsewhere."""
    place = np.full(length, -1, np.int64)
    place[_whole(rows).to_numpy(zero_copy_only=False)] = np.arange(len(rows))
    return _whole(values).take(pa.array(place, mask=place < 0))


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        return array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    return array
