"""From bytes as received to one buffer of UTF-8 text for a whole batch, ready to be split.

Decoding comes before splitting: in GB 18030 and Big5 the bytes of ``|``, ``^``, ``~`` and the backslash are also
halves of ordinary ideographs. A batch whose messages are all UTF-8 with the usual delimiters is not copied.

Beside the text stands the *structure*, a buffer of equal length in which every message has the delimiters
``|^~\\&`` and none of these characters stands for itself. Where all messages have the usual delimiters both are
the same buffer, so the splitter never needs to know whose delimiters are whose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.errors import MessageError
from schemas.hl7v2.charsets import codec_of, is_unsupported
from schemas.hl7v2.header import BOM, Header, read_header

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]

USUAL_START = b"MSH|^~\\&|"
_USUAL = np.frombuffer(USUAL_START, np.uint8)
_BEFORE_MSH = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_UTF16_OR_32 = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|[Mm]\x00|\x00[Mm]|\x00\x00\x00[Mm]")

_DETECTION = ("utf-8", "gb18030")


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The delimiters of one message, as characters; empty where it has none of a kind.

    Attributes:
        field: MSH-1.
        component: first character of MSH-2.
        repetition: second character of MSH-2.
        escape: third character of MSH-2.
        subcomponent: fourth character of MSH-2.
        truncation: fifth character of MSH-2 (HL7 v2.7 §2.5.5.2).
    """

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = "#"

    @classmethod
    def of(cls, header: Header) -> Delimiters:
        return cls(
            header.separator.decode("ascii"),
            header.component_separator.decode("ascii"),
            header.repetition_separator.decode("ascii"),
            header.escape_character.decode("ascii"),
            header.subcomponent_separator.decode("ascii"),
            header.encoding[4:5].decode("ascii") or "#",
        )

    @property
    def to_usual(self) -> bytes:
        """A table for ``bytes.translate`` that makes these delimiters the usual ones and blots out the others."""
        table = bytearray(range(256))
        for usual in b"|^~\\&":
            table[usual] = 0
        for mine, usual in (
            (self.subcomponent, "&"),
            (self.escape, "\\"),
            (self.repetition, "~"),
            (self.component, "^"),
            (self.field, "|"),
        ):
            if mine:
                table[ord(mine)] = ord(usual)
        return bytes(table)


USUAL_DELIMITERS = Delimiters()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that cannot be read: its row in the batch, a code and where in the message."""

    row: int
    code: str
    segment: str | None = None
    segment_index: int | None = None
    field: int | None = None


@dataclass(frozen=True)
class Decoded:
    """The readable messages of a batch as text.

    Attributes:
        data: UTF-8 text of all messages, one after the other; each begins with its MSH segment.
        structure: as ``data``, with the delimiters of every message made ``|^~\\&``.
        starts: where each message begins.
        ends: where it ends.
        rows: row of each message in the batch.
        delimiters: message → its delimiters, where they are not the usual ones.
        codecs: message → its Python codec, where it is not UTF-8.
        codes: (message, code) of findings on the decoding.
        unreadable: the batch's other rows.
    """

    data: U8
    structure: U8
    starts: I64
    ends: I64
    rows: I64
    delimiters: dict[int, Delimiters]
    codecs: dict[int, str]
    codes: list[tuple[int, str]]
    unreadable: list[Unreadable]


def check_readable(message: bytes, default_codec: str) -> Header:
    """Read the header of a message that may be unreadable.

    Args:
        message: one message as received.
        default_codec: charset of its source.

    Raises:
        MessageError: ``HL7-NO-MSH``, ``HL7-DELIMITERS`` or ``HL7-CHARSET-UNSUPPORTED``.
    """
    if _UTF16_OR_32.match(message):
        raise MessageError("HL7-CHARSET-UNSUPPORTED", "the message is in UTF-16 or UTF-32")
    header = read_header(message, default_codec)
    if is_unsupported(header.field(18)):
        raise MessageError("HL7-CHARSET-UNSUPPORTED", "MSH-18 names UTF-16 or UTF-32", segment="MSH", field=18)
    return header


def choose_codec(message: bytes, declared: str | None, default: str) -> tuple[str, str, tuple[str, ...]]:
    """Decode a message strictly: as declared, else as the source's default, else by detection.

    Args:
        message: its bytes, not only ASCII.
        declared: the Python codec that MSH-18 names; None where it is blank or unknown.
        default: the Python codec of its source.

    Returns:
        the text, the codec that was used, the codes of what deviated.
    """
    codes: tuple[str, ...] = ()
    if declared is not None:
        try:
            return message.decode(declared), declared, codes
        except (UnicodeError, LookupError):
            codes = ("HL7-CHARSET-MISMATCH",)
    try:
        return message.decode(default), default, codes
    except (UnicodeError, LookupError):
        codes = (*codes, "HL7-CHARSET-GUESSED")
    for codec in _DETECTION:
        try:
            return message.decode(codec), codec, codes
        except UnicodeError:
            continue
    return message.decode("latin-1"), "latin-1", codes


def declared_codec(message: bytes, default_codec: str) -> str | None:
    """The codec that MSH-18 names, for a message that begins with the usual delimiters."""
    end = message.find(b"\r")
    newline = message.find(b"\n", 0, end if end >= 0 else len(message))
    line = message[: newline if newline >= 0 else (end if end >= 0 else len(message))]
    if line.isascii():
        fields = line.split(b"|", 18)
        return codec_of(fields[17]) if len(fields) > 17 and fields[17] else None
    return read_header(message, default_codec).codec


def decode_batch(payload: pa.Array, default_codecs: Sequence[str]) -> Decoded:
    """Decode a batch of messages.

    Args:
        payload: binary array, one message a value.
        default_codecs: the charset of each message's source, a Python codec name each.

    Returns:
        the readable messages' text and structure, and what could not be read.
    """
    count = len(payload)
    offsets, data = _buffers(payload)
    usual = _begins_as_usual(data, offsets)
    high = len(data) > 0 and bool((data >= 0x80).any())
    if not high and bool(usual.all()):
        return Decoded(
            data, data, offsets[:-1], offsets[1:], np.arange(count, dtype=np.int64), {}, {}, [], []
        )

    messages: list[bytes] = [value or b"" for value in payload.to_pylist()]
    texts: list[bytes] = []
    structures: list[bytes] = []
    rows: list[int] = []
    delimiters: dict[int, Delimiters] = {}
    codecs: dict[int, str] = {}
    codes: list[tuple[int, str]] = []
    unreadable: list[Unreadable] = []
    copied = False
    for row, (message, as_usual) in enumerate(zip(messages, usual.tolist(), strict=True)):
        ascii_only = message.isascii()
        text = message
        own: Delimiters | None = None
        default = default_codecs[row]
        declared: str | None = None
        if as_usual:
            if not ascii_only:
                declared = declared_codec(message, default)
        else:
            try:
                header = check_readable(message, default)
            except MessageError as problem:
                unreadable.append(_unreadable(row, problem))
                continue
            declared = header.codec
            if message.startswith(BOM):
                default = "utf-8"
            before = _BEFORE_MSH.match(message)
            text = message = message[before.end() :] if before else message
            own = Delimiters.of(header)
            ascii_only = message.isascii()
            copied = True
        if not ascii_only:
            decoded, codec, deviations = choose_codec(message, declared, default)
            codes.extend((len(rows), code) for code in deviations)
            if codec != "utf-8":
                codecs[len(rows)] = codec
                text = decoded.encode("utf-8")
                copied = True
        elif declared not in (None, "utf-8", "ascii"):
            codecs[len(rows)] = declared or "utf-8"
        if own is not None and own != USUAL_DELIMITERS:
            delimiters[len(rows)] = own
            structures.append(text.translate(own.to_usual))
        else:
            structures.append(text)
        texts.append(text)
        rows.append(row)
    if not copied and not unreadable:
        return Decoded(
            data, data, offsets[:-1], offsets[1:], np.arange(count, dtype=np.int64), {}, codecs, codes, []
        )
    joined = np.frombuffer(b"".join(texts), np.uint8)
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter((len(text) for text in texts), np.int64, len(texts)), out=bounds[1:])
    structure = np.frombuffer(b"".join(structures), np.uint8) if delimiters else joined
    return Decoded(
        joined,
        structure,
        bounds[:-1],
        bounds[1:],
        np.asarray(rows, np.int64),
        delimiters,
        codecs,
        codes,
        unreadable,
    )


def _unreadable(row: int, problem: MessageError) -> Unreadable:
    segment = problem.coordinates.get("segment")
    field = problem.coordinates.get("field")
    return Unreadable(
        row,
        problem.code,
        str(segment) if segment is not None else None,
        0 if segment is not None else None,
        int(field) if field is not None else None,
    )


def _buffers(payload: pa.Array) -> tuple[I64, U8]:
    """Offsets (from 0) and bytes of a binary array, without a copy where it has no nulls."""
    if payload.null_count:
        payload = pa.array([value or b"" for value in payload.to_pylist()], payload.type)
    large = pa.types.is_large_binary(payload.type) or pa.types.is_large_string(payload.type)
    _, offsets_buffer, data_buffer = payload.buffers()
    count = len(payload)
    if count == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offsets_buffer, np.int64 if large else np.int32)[
        payload.offset : payload.offset + count + 1
    ].astype(np.int64)
    data = (
        np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
        if data_buffer is not None
        else np.zeros(0, np.uint8)
    )
    return offsets - offsets[0], data


def _begins_as_usual(data: U8, offsets: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which messages begin with ``MSH|^~\\&|``."""
    starts = offsets[:-1]
    result = (offsets[1:] - starts) >= len(_USUAL)
    candidates = np.flatnonzero(result)
    if candidates.size:
        heads = data[starts[candidates, None] + np.arange(len(_USUAL))]
        result[candidates] = (heads == _USUAL).all(axis=1)
    return result
