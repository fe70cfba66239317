"""What a connector hands to Kafka: one message and its headers, the same for every modality."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

SOURCE = "source"
CONTENT_TYPE = "content-type"
RECEIVED_AT = "received-at"
BATCH = "batch"
OBJECT_PATH = "object-path"
OBJECT_SIZE = "object-size"
OBJECT_SHA256 = "object-sha256"
ATTACHMENT_URI = "attachment-uri"
"""Where the whole object lies that the message is the header of: a path in the lake (``objects/dicom/…``), or what
stays elsewhere: ``s3://bucket/key``, ``file:///…``, ``…/x.zip!/member``."""
ATTACHMENT_SIZE = "attachment-size"
"""Its bytes."""
ATTACHMENT_SHA256 = "attachment-sha256"
"""Its SHA-256 in hexadecimal digits; absent where it was not read whole."""
ATTACHMENT_ETAG = "attachment-etag"
"""What its store calls its version; absent where there is none."""
REPLACES = "replaces"
"""Of a message that was mended by hand: topic id, partition and offset of the one that it stands for (``id:0:17``)."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message on its way to a raw topic.

    Attributes:
        topic: such as ``raw.hl7v2``.
        key: institution and patient id where found, else the source: keeps a patient's messages in order.
        value: the bytes exactly as received; empty where they went to an object.
        headers: header names of this module → UTF-8 values.
    """

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def timestamp(moment: datetime) -> bytes:
    """RFC 3339, UTC, microseconds: ``2026-03-01T08:15:00.000123Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode("ascii")
