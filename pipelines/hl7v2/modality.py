"""HL7 v2 as a modality: what the stages need to know of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, Decoded, Unreadable, decode_batch
from pipelines.hl7v2.documents import Documents
from pipelines.hl7v2.envelopes import read_envelopes
from pipelines.hl7v2.messages import read_messages
from pipelines.hl7v2.split import split_batch
from pipelines.hl7v2.tables import WANTED, WANTED_TEXTS, read_tables
from schemas.hl7v2.mappings import IGNORED
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Modality, Parsed
from schemas.source import Source, Sources
from schemas.tables import RAW_HL7V2
from schemas.tables.normalised import NORMALISED

PROCESSING_ID = "HL7-PROCESSING-ID"
_BETWEEN = "\x1f"


def triage(raw: pa.Table, sources: Sources) -> pa.Array:
    """Messages that are not read.

    Replies and queries (MSH-9.1, HL7 table 0076) state nothing of their own; of the others, those whose processing id
    (MSH-11.1, HL7 table 0103) their source does not accept.
    """
    columns = [pc.fill_null(raw.column(name), "") for name in ("source", "processing_id", "message_type")]
    joined = pc.binary_join_element_wise(*columns, _BETWEEN)
    keys = (joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined).dictionary_encode()
    codes = []
    for key in keys.dictionary.to_pylist():
        name, processing_id, message_type = key.split(_BETWEEN, 2)
        reason = IGNORED.get(message_type.partition("^")[0].strip().upper())
        accepted = processing_id in sources.get(name).processing_ids
        codes.append(reason if accepted else PROCESSING_ID)
    return pa.array(codes, pa.string()).take(keys.indices)


def parse(raw: pa.Table, sources: Sources) -> Parsed:
    """Read messages into tables.

    Args:
        raw: raw rows with ``payload``, ``source`` and ``received_at``.
        sources: settings of the senders.
    """
    names = raw.column("source").to_pylist()
    known = {name: sources.get(name) for name in set(names)}
    by_message = [known[name] for name in names]
    payload = raw.column("payload")
    whole = payload.combine_chunks() if isinstance(payload, pa.ChunkedArray) else payload
    decoded = decode_batch(whole, [source.charset for source in by_message])
    if not len(decoded.rows):
        return Parsed(MESSAGES_SCHEMA.empty_table(), _unreadable(decoded.unreadable), {})
    received = raw.column("received_at").cast(pa.int64()).to_numpy()[decoded.rows]
    return _read(decoded, [by_message[row] for row in decoded.rows.tolist()], received)


def _read(decoded: Decoded, sources: list[Source], received: I64) -> Parsed:
    messages = read_messages(split_batch(decoded), sources, received, WANTED, WANTED_TEXTS)
    documents = Documents()
    tables = read_tables(messages, documents)
    rows = pa.array(decoded.rows.astype(np.int32))
    time = messages.time
    about = pa.table(
        {
            "row": rows,
            "institution": messages.institution,
            "message_type": messages.message_type,
            "event_time": time.instants(),
            "event_time_precision": time.precisions(),
            "event_date": pa.array(time.day.astype(np.int32), mask=~time.valid).cast(pa.date32()),
            "codes": messages.findings.all().codes_of(messages.columns.split.message, len(rows)),
        },
        schema=MESSAGES_SCHEMA,
    )
    placed = {
        name: table.set_column(0, "row", rows.take(table.column("row"))) for name, table in tables.items()
    }
    return Parsed(about, _unreadable(decoded.unreadable), placed, documents.objects)


def _unreadable(found: list[Unreadable]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "row": one.row,
                "code": one.code,
                "segment": one.segment,
                "segment_index": one.segment_index,
                "field": one.field,
            }
            for one in found
        ],
        schema=UNREADABLE_SCHEMA,
    )


HL7V2 = Modality(
    name="hl7v2",
    topic="raw.hl7v2",
    raw=RAW_HL7V2,
    tables=NORMALISED,
    version=4,
    envelopes=read_envelopes,
    triage=triage,
    parse=parse,
    declared="pipelines.hl7v2.modality:HL7V2",
)
"""HL7 v2.1 to v2.8 messages in ER7 encoding."""
