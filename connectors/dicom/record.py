"""The record of a DICOM object: its header, and where the object lies; the same however it came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connectors.dicom.header import STUDY, Cut
from connectors.records import (
    ATTACHMENT_ETAG,
    ATTACHMENT_SHA256,
    ATTACHMENT_SIZE,
    ATTACHMENT_URI,
    BATCH,
    CONTENT_TYPE,
    OBJECT_PATH,
    OBJECT_SHA256,
    OBJECT_SIZE,
    RECEIVED_AT,
    SOURCE,
    Record,
    timestamp,
)
from connectors.routing import StoredObject
from schemas.source import Source

DICOM_TOPIC: Final = "raw.dicom"
DICOM_CONTENT_TYPE: Final = b"application/dicom"


@dataclass(frozen=True, slots=True)
class Attachment:
    """The whole object that a header belongs to.

    Attributes:
        uri: a path in the lake, or ``s3://bucket/key``, ``file:///…``, ``…/x.zip!/member`` of what stays elsewhere.
        size: bytes.
        sha256: hexadecimal; empty where it was not read whole.
        etag: what its store calls its version; empty where there is none.
    """

    uri: str
    size: int
    sha256: str = ""
    etag: str = ""


def record_of(
    found: Cut,
    source: Source,
    received_at: datetime,
    attachment: Attachment,
    stored: StoredObject | None = None,
    topic: str = DICOM_TOPIC,
    batch: str = "",
) -> Record:
    """The record of one object.

    Args:
        found: its header.
        source: the connection it came by.
        received_at: when all of it was there.
        attachment: where the object lies.
        stored: where the header went if it was too large for a record; the value is then empty.
        topic: the raw topic.
        batch: id of the run that found it.
    """
    headers: list[tuple[str, bytes]] = [
        (SOURCE, source.name.encode()),
        (CONTENT_TYPE, DICOM_CONTENT_TYPE),
        (RECEIVED_AT, timestamp(received_at)),
        (ATTACHMENT_URI, attachment.uri.encode()),
        (ATTACHMENT_SIZE, str(attachment.size).encode()),
    ]
    optional = ((ATTACHMENT_SHA256, attachment.sha256), (ATTACHMENT_ETAG, attachment.etag), (BATCH, batch))
    headers += [(name, value.encode()) for name, value in optional if value]
    if stored is not None:
        headers += [
            (OBJECT_PATH, stored.path.encode()),
            (OBJECT_SIZE, str(stored.size).encode()),
            (OBJECT_SHA256, stored.sha256.encode()),
        ]
    return Record(topic, record_key(found, source), b"" if stored else found.header, tuple(headers))


def record_key(found: Cut, source: Source) -> bytes:
    """Institution and study with ``|`` between them, so that a study's images stay together; else the source."""
    study = found.text(STUDY)[:64]
    return f"{source.institution or source.name}|{study}".encode() if study else source.name.encode()
