"""From a message's bytes to the record that goes to Kafka: its key, its headers, and where large ones lie.

A record's key keeps the messages of one patient in one partition, and with that in order; nothing that the tables
say depends on that order, so a key that is wrong costs nothing but locality. It is therefore read with little
effort and never fails, whatever the bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from connectors.records import (
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
from schemas.hl7v2.charsets import TRAIL_BYTES_LOOK_LIKE_DELIMITERS
from schemas.hl7v2.header import Header
from schemas.source import Source

HL7_TOPIC = "raw.hl7v2"
HL7_CONTENT_TYPE = b"application/hl7-v2"
OBJECT_THRESHOLD = 900_000
"""The largest message in bytes that goes into a Kafka record; brokers take 1,048,588 bytes with all headers."""

_KEY_BYTES = 256
_PATIENT_LINE = re.compile(rb"[\r\n]PID[^\r\n]*")

PutObject = Callable[[str, bytes], object]
"""Writes bytes to a path below the lake's root, where nothing is there yet; raises where it could not."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Where a message too large for Kafka lies.

    Attributes:
        path: below the lake's root.
        size: bytes.
        sha256: hexadecimal, lower case.
    """

    path: str
    size: int
    sha256: str


def store_large(message: bytes, put: PutObject, modality: str = "hl7v2") -> StoredObject:
    """Write a message to ``objects/<modality>/<sha256[:2]>/<sha256>``; doing so again changes nothing.

    Args:
        message: the bytes as received.
        put: such as the ``put_if_absent`` of the lake's object store.
        modality: short name of what kind of message it is.

    Raises:
        IngestError: whatever ``put`` raises.
    """
    digest = hashlib.sha256(message).hexdigest()
    stored = StoredObject(f"objects/{modality}/{digest[:2]}/{digest}", len(message), digest)
    put(stored.path, message)
    return stored


def record_for(
    message: bytes,
    header: Header | None,
    source: Source,
    received_at: datetime,
    batch: str = "",
    *,
    stored: StoredObject | None = None,
    topic: str = HL7_TOPIC,
) -> Record:
    """The record of one HL7 v2 message.

    Args:
        message: the bytes as received.
        header: its MSH; None where it has none that can be read (the key is then the source's name).
        source: the connection it came by.
        received_at: when the whole message was there.
        batch: id of the batch file or envelope it came in.
        stored: where the bytes went if they were too large for a record; the value is then empty.
        topic: the raw topic.
    """
    headers: list[tuple[str, bytes]] = [
        (SOURCE, source.name.encode()),
        (CONTENT_TYPE, HL7_CONTENT_TYPE),
        (RECEIVED_AT, timestamp(received_at)),
    ]
    if batch:
        headers.append((BATCH, batch.encode()))
    if stored is not None:
        headers += [
            (OBJECT_PATH, stored.path.encode()),
            (OBJECT_SIZE, str(stored.size).encode()),
            (OBJECT_SHA256, stored.sha256.encode()),
        ]
    return Record(topic, record_key(message, header, source), b"" if stored else message, tuple(headers))


def record_key(message: bytes, header: Header | None, source: Source) -> bytes:
    """Institution and patient id, with ``|`` between them; the source's name where there is no patient id.

    The institution is MSH-4.1, else the source's institution, else its name. The patient id is the first
    component (HL7 v2.5.1 §2.A.14, CX.1) of the PID-3 repetition whose assigning authority comes first in
    ``source.patient_authorities``, else of the first repetition.
    """
    if header is None:
        return source.name.encode()
    patient = _patient_id(message, header, source)
    if not patient:
        return source.name.encode()
    institution = header.component(4) or (source.institution or source.name).encode()
    return b"%b|%b" % (institution[:_KEY_BYTES], patient[:_KEY_BYTES])


def _patient_id(message: bytes, header: Header, source: Source) -> bytes:
    line = _PATIENT_LINE.search(message, header.end)
    if line is None:
        return b""
    identifiers = _third_field(line.group()[1:], header, source)
    repetitions = [
        part.split(header.component_separator)
        for part in identifiers.split(header.repetition_separator or b"\r")  # no line end is in a segment
    ]
    for authority in source.patient_authorities:
        wanted = authority.encode()
        for parts in repetitions:
            if (
                len(parts) > 3
                and parts[3].split(header.subcomponent_separator or b"&", 1)[0] == wanted
                and parts[0]
            ):
                return parts[0]
    first = next((parts[0] for parts in repetitions if parts[0]), b"")
    return b"" if first == b'""' else first


def _third_field(line: bytes, header: Header, source: Source) -> bytes:
    parts = line.split(header.separator, 4)
    if len(parts) < 4:
        return b""
    codec = header.codec or source.charset
    if codec not in TRAIL_BYTES_LOOK_LIKE_DELIMITERS or b"".join(parts[:4]).isascii():
        return parts[3]
    # half an ideograph may look like the separator: split the characters instead
    characters = line.decode(codec, "replace").split(header.separator.decode("latin-1"), 4)
    return characters[3].encode("utf-8") if len(characters) > 3 else b""
