"""What names a message and what it says, without reading its body: the envelope columns of ``raw/hl7v2``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipelines.hl7v2.decode import USUAL_START, check_readable
from schemas.errors import MessageError
from schemas.hl7v2.charsets import TRAIL_BYTES_LOOK_LIKE_DELIMITERS
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source
from schemas.tables.raw import ENVELOPE

SCHEMA = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])

_LINE_ENDS = re.compile(rb"[\r\n]+[ \t\r\n]*")
_DIGITS = re.compile(rb"[0-9]{0,8}")
_BLANKED = (7, 8, 13)
"""MSH fields that a resend changes: time, security, sequence number."""

_Row = tuple[str | None, str | None, str | None, str | None, int, int, str | None]


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
    rows = [_envelope(payload, source) for payload, source in zip(payloads, sources, strict=True)]
    columns = zip(*rows, strict=True) if rows else ([] for _ in SCHEMA)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _envelope(payload: bytes, source: Source) -> _Row:
    try:
        if payload.startswith(USUAL_START):
            header = read_header(payload, source.charset)
        else:
            header = check_readable(payload, source.charset)
    except MessageError as problem:
        digest = _signed(xxh3_64_intdigest(payload))
        return None, None, None, None, _hash_of((source.name.encode(), payload)), digest, problem.code
    codec = header.codec or source.charset
    control_id = header.control_id
    sent = _DIGITS.match(header.field(7))
    date = sent.group() if sent else b""
    content = _content(payload, header, codec)
    id_hash = _hash_of(
        (source.name.encode(), header.field(3), header.field(4), control_id or b"\0" + content, date)
    )
    return (
        _text(control_id, codec),
        header.message_type or None,
        _text(header.component(11).strip(), codec) or "",
        date.decode("ascii") or None,
        id_hash,
        _signed(xxh3_64_intdigest(content)),
        None,
    )


def _content(payload: bytes, header: Header, codec: str) -> bytes:
    """The message without what a resend may change."""
    separator = header.separator
    fields = [b"" if number in _BLANKED else value for number, value in enumerate(header.fields)]
    del fields[1]  # MSH-1 is the separator itself
    head = separator.join(fields)
    body = payload[header.end :]
    if codec in TRAIL_BYTES_LOOK_LIKE_DELIMITERS and not payload.isascii():
        # half an ideograph may look like the separator: drop trailing ones in the text instead
        head, body = (_as_utf8(part, codec) for part in (head, body))
    if b"\n" in body or b"\r\r" in body or b"\r " in body:
        body = _LINE_ENDS.sub(b"\r", body)
    if separator + b"\r" in body or body.endswith(separator):
        body = b"\r".join(line.rstrip(separator) for line in body.split(b"\r"))
    return head.rstrip(separator) + b"\r" + body.strip(b"\r")


def _as_utf8(data: bytes, codec: str) -> bytes:
    try:
        return data.decode(codec).encode()
    except UnicodeError:
        return data  # not in that charset after all: then its bytes are compared as they are


def _hash_of(parts: Sequence[bytes]) -> int:
    """One hash over parts, none of which can run into the next."""
    return _signed(xxh3_64_intdigest(b"".join(b"%d:%b" % (len(part), part) for part in parts)))


def _signed(value: int) -> int:
    """64 bits as Delta keeps them."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: bytes, codec: str) -> str | None:
    if not value:
        return None
    try:
        return value.decode(codec)
    except (UnicodeError, LookupError):
        return value.decode("latin-1")
