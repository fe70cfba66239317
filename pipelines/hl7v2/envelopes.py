"""What names a message and what it says, without reading its body: the envelope columns of ``raw/hl7v2``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipelines.hl7v2.decode import USUAL_START, check_readable, choose_codec
from schemas.errors import MessageError
from schemas.hl7v2.charsets import (
    TRAIL_BYTES_LOOK_LIKE_DELIMITERS,
    codec_of,
    is_seven_bit,
    is_unsupported,
)
from schemas.hl7v2.header import Header
from schemas.source import Source
from schemas.tables.raw import ENVELOPE

SCHEMA = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])

_LINE_ENDS = re.compile(rb"[\r\n]+[ \t\r\n]*")
_DIGITS = re.compile(rb"[0-9]{0,8}")
_BLANKED = (7, 8, 13)
"""MSH fields that a resend changes: time, security, sequence number."""


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns of messages.

    ``id_hash`` covers source, MSH-3, MSH-4, MSH-10 and the date of MSH-7 as sent; where MSH-10 is empty the
    content takes its place. ``content_hash`` covers the message with MSH-7, MSH-8 and MSH-13 left out, line ends
    made one and empty fields at the end of a segment dropped.

    Args:
        payloads: messages as received; any bytes.
        sources: the source of each.

    Returns:
        the fields ``schemas.tables.raw.ENVELOPE``.
    """
    made = _Columns()
    for payload, source in zip(payloads, sources, strict=True):
        _add(made, payload, source)
    hashes = [np.array(values, np.uint64).view(np.int64) for values in (made.id_hash, made.content_hash)]
    texts = [made.control_id, made.message_type, made.processing_id, made.sent_date]
    arrays = [
        *(pa.array(values, pa.string()) for values in texts),
        *(pa.array(values) for values in hashes),
        pa.array(made.problem, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@dataclass
class _Columns:
    """Columns in the making, and what was read of values that come again and again."""

    control_id: list[str | None] = field(default_factory=list)
    message_type: list[str | None] = field(default_factory=list)
    processing_id: list[str | None] = field(default_factory=list)
    sent_date: list[str | None] = field(default_factory=list)
    id_hash: list[int] = field(default_factory=list)
    content_hash: list[int] = field(default_factory=list)
    problem: list[str | None] = field(default_factory=list)
    usual: dict[tuple[bytes, bytes, bytes], tuple[str, str, str | None] | None] = field(default_factory=dict)
    """(MSH-9, MSH-11, MSH-18) of ordinary headers → type, processing id, codec; None for a header to be refused."""


def _add(made: _Columns, payload: bytes, source: Source) -> None:
    if payload.startswith(USUAL_START):
        end = payload.find(b"\r")
        feed = payload.find(b"\n", 0, end if end >= 0 else len(payload))
        end = feed if feed >= 0 else (end if end >= 0 else len(payload))
        line = payload[:end]
        if line.isascii():
            # Many a message, so nothing is made of it that is not asked for: fields[n - 1] is MSH-n.
            fields = line.split(b"|")
            fields += (b"",) * (18 - len(fields))
            key = (fields[8], fields[10], fields[17])
            known = made.usual.get(key)
            if known is None and key not in made.usual:
                known = made.usual[key] = _usual(fields)
            if known is not None:
                _add_read(made, payload, source, (fields, b"|", end), (fields[9].decode("ascii"), *known))
                return
    try:
        header = check_readable(payload, source.charset)
    except MessageError as problem:
        _add_unreadable(made, payload, source, problem.code)
        return
    codec = header.codec or source.charset
    fields = [header.fields[0], *header.fields[2:], *((b"",) * (19 - len(header.fields)))]
    _add_read(
        made,
        payload,
        source,
        (fields, header.separator, header.end),
        (
            _text(header.control_id, codec),
            header.message_type,
            _text(header.component(11).strip(), codec),
            header.codec,
        ),
    )


def _usual(fields: list[bytes]) -> tuple[str, str, str | None] | None:
    codec = codec_of(fields[17])
    if is_unsupported(fields[17]) or is_seven_bit(codec or ""):
        return None
    header = Header(b"|", b"^~\\&", (b"MSH", b"|", *fields[1:]), 0, codec)
    return header.message_type, header.component(11).strip().decode("ascii"), header.codec


def _add_unreadable(made: _Columns, payload: bytes, source: Source, code: str) -> None:
    for column in (made.control_id, made.message_type, made.processing_id, made.sent_date):
        column.append(None)
    made.id_hash.append(_hash_of((source.name.encode(), payload)))
    made.content_hash.append(xxh3_64_intdigest(payload))
    made.problem.append(code)


def _add_read(
    made: _Columns,
    payload: bytes,
    source: Source,
    header: tuple[list[bytes], bytes, int],
    texts: tuple[str, str, str, str | None],
) -> None:
    """Add a message that can be read.

    Args:
        made: the columns.
        payload: the message.
        source: its source.
        header: MSH with MSH-n at index n - 1, the field separator, where MSH ends.
        texts: control id, message type, processing id, and the codec that MSH-18 names.
    """
    fields, separator, end = header
    control_id, message_type, processing_id, declared = texts
    date = fields[6][:8]
    if not date.isdigit():
        digits = _DIGITS.match(date)
        date = digits.group() if digits else b""
    named = (source.name.encode(), fields[2], fields[3], fields[9])
    for number in _BLANKED:
        fields[number - 1] = b""
    content = _content(payload, fields, separator, end, (declared, source.charset))
    made.control_id.append(control_id or None)
    made.message_type.append(message_type or None)
    made.processing_id.append(processing_id)
    made.sent_date.append(date.decode("ascii") or None)
    made.id_hash.append(_hash_of((*named[:3], named[3] or b"\0" + content, date)))
    made.content_hash.append(xxh3_64_intdigest(content))
    made.problem.append(None)


def _content(
    payload: bytes, fields: list[bytes], separator: bytes, end: int, charsets: tuple[str | None, str]
) -> bytes:
    """The message without what a resend may change."""
    head = separator.join(fields)
    body = payload[end:]
    if b"\n" in body or b"\r\r" in body or b"\r " in body or b"\r\t" in body:
        body = _LINE_ENDS.sub(b"\r", body)
    if separator + b"\r" in body or body.endswith(separator) or not head.isascii():
        codec = "ascii" if payload.isascii() else choose_codec(payload, *charsets)[1]
        if codec in TRAIL_BYTES_LOOK_LIKE_DELIMITERS:
            lines = [_without_empty_end(line, separator, codec) for line in (head, *body.split(b"\r"))]
            return lines[0] + b"\r" + b"\r".join(lines[1:]).strip(b"\r")
        body = b"\r".join([line.rstrip(separator) for line in body.split(b"\r")])
    return head.rstrip(separator) + b"\r" + body.strip(b"\r")


def _without_empty_end(line: bytes, separator: bytes, codec: str) -> bytes:
    """A segment without empty fields at its end, where the separator's byte may be half an ideograph."""
    bare = line.rstrip(separator)
    if len(bare) == len(line) or not bare or bare[-1] < 0x80:
        return bare
    try:
        return line.decode(codec).rstrip(separator.decode("ascii")).encode(codec)
    except UnicodeError:
        return line  # its charset is a guess: then nothing is dropped


def _hash_of(parts: Sequence[bytes]) -> int:
    """One hash over parts, none of which can run into the next."""
    return xxh3_64_intdigest(b"".join([b"%d:%b" % (len(part), part) for part in parts]))


def _text(value: bytes, codec: str) -> str:
    try:
        return value.decode(codec)
    except (UnicodeError, LookupError):
        return value.decode("latin-1")
