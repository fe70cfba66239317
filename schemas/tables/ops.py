"""``ops/*``: what became of every message."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.raw import COORDINATES

DISPOSITIONS = ("accepted", "duplicate", "conflict", "ignored", "quarantined")
"""Every landed message ends in exactly one of these; accepted and conflict have rows in the tables."""

ROW_COUNT = pa.struct(
    [pa.field("table", pa.string(), nullable=False), pa.field("rows", pa.int32(), nullable=False)]
)

LEDGER = Table(
    name="ops/ledger",
    doc="One row per landed message: its disposition and the rows it claims. Its commit ends a batch.",
    fields=(
        Field(
            "landed_month", pa.date32(), "First day of the month it was received in (UTC).", nullable=False
        ),
        Field("raw_table", pa.string(), "The raw table it lies in, such as raw/hl7v2.", nullable=False),
        *COORDINATES,
        Field("source", pa.string(), "Name of the connection it came by.", nullable=False),
        Field("received_at", INSTANT, "When the connector had the whole message.", nullable=False),
        Field("control_id", pa.string(), "The message's own id.", "MSH-10"),
        Field("message_type", pa.string(), "Code and trigger.", "MSH-9"),
        Field(
            "sent_month",
            pa.string(),
            "Six digits year and month as sent, 'none' else: the duplicate index's bucket.",
        ),
        Field("id_hash", pa.int64(), "As in the raw table.", nullable=False),
        Field("content_hash", pa.int64(), "As in the raw table.", nullable=False),
        Field(
            "disposition",
            pa.string(),
            "accepted, duplicate, conflict, ignored or quarantined.",
            nullable=False,
        ),
        Field("codes", pa.list_(pa.string()), "Codes of findings and of the reason, sorted."),
        Field(
            "row_counts",
            pa.list_(ROW_COUNT),
            "Rows that it has in each table, and parts of it in quarantine.",
        ),
        Field("batch_number", pa.int64(), "The claim that decided it.", nullable=False),
        Field("reading", pa.int32(), "0 for the first reading; each reprocessing adds one.", nullable=False),
        Field("decided_at", INSTANT, "When the claim was made.", nullable=False),
    ),
    partition_by="landed_month",
    sort_by=("topic_id", "partition", "offset"),
    statistics=("topic_id", "partition", "offset", "received_at", "batch_number"),
)

QUARANTINE = Table(
    name="ops/quarantine",
    doc="Messages, and lines of files, that could not be read, by coordinates and code; their bytes stay in raw.",
    fields=(
        Field(
            "landed_month", pa.date32(), "First day of the month it was received in (UTC).", nullable=False
        ),
        Field("raw_table", pa.string(), "The raw table it lies in.", nullable=False),
        *COORDINATES,
        Field("source", pa.string(), "Name of the connection it came by.", nullable=False),
        Field("received_at", INSTANT, "When the connector had the whole message.", nullable=False),
        Field("code", pa.string(), "Why, such as HL7-NO-MSH.", nullable=False),
        Field("segment", pa.string(), "Where in the message, if a segment can be named."),
        Field(
            "segment_index",
            pa.int32(),
            "Position of that segment, counted from 0; of a file the line, counted from 1.",
        ),
        Field("field", pa.int32(), "HL7 field number, or column of a file, counted from 1."),
        Field("batch_number", pa.int64(), "The claim that decided it.", nullable=False),
        Field("reading", pa.int32(), "0 for the first reading.", nullable=False),
    ),
    partition_by="landed_month",
    sort_by=("topic_id", "partition", "offset"),
    statistics=("topic_id", "partition", "offset", "received_at"),
    row_key=("segment_index",),
)

RETRIED = ("replay", "reprocess")
"""Decisions that ask for messages to be read again."""

SETTLED = ("discard", "replace")
"""Decisions after which a message that could not be read is nobody's task any more."""

DECISION = Table(
    name="ops/decision",
    doc="What operators decided about messages, with who and why. A commit is one decision, a row a message or range.",
    fields=(
        Field("decision_id", pa.string(), "Names the decision.", nullable=False),
        Field(
            "action",
            pa.string(),
            "discard, replace (sent again, mended), replay (read single ones again), reprocess (a range).",
            nullable=False,
        ),
        Field("decided_at", INSTANT, "When.", nullable=False),
        Field("decided_by", pa.string(), "Who.", nullable=False),
        Field("why", pa.string(), "In their own words.", nullable=False),
        Field("raw_table", pa.string(), "The raw table that the messages lie in.", nullable=False),
        Field("received_from", INSTANT, "Of a range: received from then on."),
        Field("received_to", INSTANT, "Of a range: received before then."),
        Field("source", pa.string(), "Of a range: by this connection only."),
        Field("topic_id", pa.string(), "Of a message: where it lies in Kafka."),
        Field("partition", pa.int32(), "Likewise."),
        Field("offset", pa.int64(), "Likewise."),
        Field(
            "replacement_partition", pa.int32(), "Where the message that replaces it lies, in the same topic."
        ),
        Field("replacement_offset", pa.int64(), "Likewise."),
        Field(
            "last_batch",
            pa.int64(),
            "The last normalise batch that had ended: what later ones read is not read again.",
            nullable=False,
        ),
    ),
    partition_by=None,
    sort_by=("topic_id", "partition", "offset"),
    statistics=("decided_at",),
)
