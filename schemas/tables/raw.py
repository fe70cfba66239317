"""``raw/*``: every byte as received, one row per Kafka record, append only."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import INSTANT, Field, Table

COORDINATES: tuple[Field, ...] = (
    Field(
        "topic_id", pa.string(), "Kafka's id of the topic; a re-created topic has another.", nullable=False
    ),
    Field("partition", pa.int32(), "Kafka partition.", nullable=False),
    Field("offset", pa.int64(), "Offset in the partition.", nullable=False),
)
"""What names a message for ever: topic id, partition, offset."""

RECORD: tuple[Field, ...] = (
    *COORDINATES,
    Field("kafka_time", INSTANT, "Time stamp that Kafka keeps with the record."),
    Field("source", pa.string(), "Name of the connection it came by.", nullable=False),
    Field("content_type", pa.string(), "Media type that the connector gave it."),
    Field("received_at", INSTANT, "When the connector had the whole message.", nullable=False),
    Field("batch", pa.string(), "Id of the batch file or envelope it came in."),
    Field("payload", pa.binary(), "The bytes as received; null where they stand in an object."),
    Field("object_path", pa.string(), "Where a message too large for Kafka lies in the lake."),
    Field("size", pa.int64(), "Bytes of the message.", nullable=False),
)

ENVELOPE: tuple[Field, ...] = (
    Field("control_id", pa.string(), "The message's own id, as text.", "MSH-10"),
    Field("message_type", pa.string(), "Code and trigger, such as ADT^A01.", "MSH-9"),
    Field("processing_id", pa.string(), "Production, training, debugging; empty where not sent.", "MSH-11.1"),
    Field(
        "sent_date",
        pa.string(),
        "Up to eight leading digits of the time of sending, as sent, no zone.",
        "MSH-7",
    ),
    Field("id_hash", pa.int64(), "64 bits of xxh3 over what names the message on its date.", nullable=False),
    Field(
        "content_hash",
        pa.int64(),
        "64 bits of xxh3 over the content without what a resend changes.",
        nullable=False,
    ),
    Field("problem", pa.string(), "Code of what makes the message unreadable; null where it can be read."),
)
"""What a modality reads of a message without parsing its body."""


ATTACHMENT: tuple[Field, ...] = (
    Field(
        "attachment_uri",
        pa.string(),
        "Where the whole object lies that the message is the header of: a path in the lake, or a URI of elsewhere.",
    ),
    Field("attachment_size", pa.int64(), "Bytes of the whole object."),
    Field(
        "attachment_sha256",
        pa.string(),
        "Its SHA-256, in hexadecimal digits; null where it was not read whole.",
    ),
    Field(
        "attachment_etag", pa.string(), "What its store calls its version (ETag); null where there is none."
    ),
)
"""What a raw table has besides, where its messages are the headers of larger objects."""


def raw_table(name: str, what: str, *more: Field) -> Table:
    """The raw table of a modality, ``raw/<name>``.

    Args:
        name: of the modality.
        what: its messages.
        more: further columns, such as ``ATTACHMENT``; land fills each from the record's header of that name, with
            ``-`` for ``_``.
    """
    return Table(
        name=f"raw/{name}",
        doc=f"{what}: every byte as received, in the order of arrival.",
        fields=(
            Field(
                "landed_month",
                pa.date32(),
                "First day of the month it was received in (UTC).",
                nullable=False,
            ),
            *RECORD,
            *more,
            *ENVELOPE,
        ),
        partition_by="landed_month",
        sort_by=("topic_id", "partition", "offset"),
        statistics=("topic_id", "partition", "offset", "received_at"),
    )
