"""What names a message and what it says, without reading its body: the envelope columns of ``raw/hl7v2``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from pipelines.hl7v2.decode import I64, buffers, check_readable, choose_codec
from pipelines.hl7v2.envelope_kernels import IF_UTF8, ODD, Texts, are_utf8, read_ordinary
from pipelines.hl7v2.transcode import words_of
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
_FIELDS = 18
_DIGITS = re.compile(rb"[0-9]{0,8}")
_BLANKED = (7, 8, 13)
"""MSH fields that a resend changes: time, security, sequence number."""


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns of messages.

    ``id_hash`` covers source, MSH-3, MSH-4, MSH-10 and the date of MSH-7 as sent; where MSH-10 is empty the
    content takes its place. ``content_hash`` covers the message with MSH-7, MSH-8 and MSH-13 left out, line ends
    made one and empty fields at the end of a segment dropped.

    Ordinary messages are read together; only the others are looked at one by one.

    Args:
        payloads: messages as received; any bytes.
        sources: the source of each.

    Returns:
        the fields ``schemas.tables.raw.ENVELOPE``.
    """
    if not payloads:
        return read_one_by_one([], [])
    columns, odd = _read_together(pa.array(payloads, pa.binary()), sources)
    if len(odd):
        rows = odd.tolist()
        alone = read_one_by_one([payloads[row] for row in rows], [sources[row] for row in rows])
        flags = np.zeros(len(payloads), np.bool_)
        flags[odd] = True
        mask = pa.array(flags)
        columns = [
            pc.replace_with_mask(column, mask, values)
            for column, values in zip(columns, alone.columns, strict=True)
        ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def read_one_by_one(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The same, whatever the messages are, by looking at each alone."""
    made = _Columns()
    for payload, source in zip(payloads, sources, strict=True):
        _add(made, payload, source)
    return pa.RecordBatch.from_arrays(made.arrays(), schema=SCHEMA)


def _read_together(payload: pa.Array, source_of_each: Sequence[Source]) -> tuple[list[pa.Array], I64]:
    """The columns of a batch, and the rows that they do not hold: messages to be looked at alone."""
    known = {id(source): source for source in source_of_each}
    sources = list(known.values())
    place = {key: number for number, key in enumerate(known)}
    source_of = np.fromiter((place[id(source)] for source in source_of_each), np.int64, len(payload))
    offsets, data = buffers(payload)
    words = words_of(data)
    kind, content, naming, key, control_id, sent_date = read_ordinary(
        data, words, offsets, *_joined([source.name.encode() for source in sources]), source_of
    )
    keys = _strings(key).dictionary_encode()
    usual = [_usual(*text.split("|")) if text else None for text in keys.dictionary.to_pylist()]
    index = keys.indices.to_numpy()
    kind[np.array([found is None for found in usual], np.bool_)[index]] = ODD

    unsure = np.flatnonzero(kind == IF_UTF8)
    if len(unsure):
        charset = [source.charset == "utf-8" for source in sources]
        read_as_utf8 = np.array(
            [
                charset if found is None or found[2] is None else [found[2] == "utf-8"] * len(sources)
                for found in usual
            ]
        )[index[unsure], source_of[unsure]]
        kind[unsure[~(read_as_utf8 & are_utf8(data, words, offsets, unsure))]] = ODD

    types, processing = (
        pa.array([None if found is None else found[place] for found in usual], pa.string())
        for place in (0, 1)
    )
    columns = [
        _or_null(_strings(control_id)),
        _or_null(types).take(keys.indices),
        processing.take(keys.indices),
        _or_null(_strings(sent_date)),
        pa.array(_hashes(naming)),
        pa.array(_hashes(content)),
        pa.nulls(len(payload), pa.string()),
    ]
    return columns, np.flatnonzero(kind == ODD)


def _joined(texts: Sequence[bytes]) -> Texts:
    lengths = np.array([0, *map(len, texts)], np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths)


def _strings(texts: Texts) -> pa.Array:
    """ASCII strings as an array, without a copy of their bytes."""
    data, offsets = texts
    return pa.StringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)
    )


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _hashes(texts: Texts) -> I64:
    """The hash of each of some strings."""
    data, offsets = texts[0].data, texts[1].tolist()
    found = [xxh3_64_intdigest(data[low:high]) for low, high in itertools.pairwise(offsets)]
    return np.array(found, np.uint64).view(np.int64)


@dataclass
class _Columns:
    """Columns of messages that are looked at alone, in the making."""

    control_id: list[str | None] = field(default_factory=list)
    message_type: list[str | None] = field(default_factory=list)
    processing_id: list[str | None] = field(default_factory=list)
    sent_date: list[str | None] = field(default_factory=list)
    id_hash: list[int] = field(default_factory=list)
    content_hash: list[int] = field(default_factory=list)
    problem: list[str | None] = field(default_factory=list)

    def arrays(self) -> list[pa.Array]:
        """In the order of ``SCHEMA``."""
        texts = [self.control_id, self.message_type, self.processing_id, self.sent_date]
        return [
            *(pa.array(values, pa.string()) for values in texts),
            *(
                pa.array(np.array(values, np.uint64).view(np.int64))
                for values in (self.id_hash, self.content_hash)
            ),
            pa.array(self.problem, pa.string()),
        ]


def _add(made: _Columns, payload: bytes, source: Source) -> None:
    try:
        header = check_readable(payload, source.charset)
    except MessageError as problem:
        _add_unreadable(made, payload, source, problem.code)
        return
    codec = header.codec or source.charset
    fields = [header.fields[0], *header.fields[2:], *((b"",) * (_FIELDS + 1 - len(header.fields)))]
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


def _usual(message_type: str, processing_id: str, charset: str) -> tuple[str, str, str | None] | None:
    """Type, processing id, codec of ordinary headers with this MSH-9, -11, -18; None to look at them alone."""
    fields = [b""] * (_FIELDS + 1)
    fields[9], fields[11], fields[18] = message_type.encode(), processing_id.encode(), charset.encode()
    codec = codec_of(fields[18])
    if is_unsupported(fields[18]) or is_seven_bit(codec or ""):
        return None
    header = Header(b"|", b"^~\\&", tuple(fields), 0, codec)
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
