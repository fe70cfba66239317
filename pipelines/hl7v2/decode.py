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
import pyarrow.compute as pc

from schemas.errors import MessageError
from schemas.hl7v2.charsets import codec_of, is_unsupported
from schemas.hl7v2.header import BOM, Header, read_header

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

USUAL_START = b"MSH|^~\\&|"
_USUAL = np.frombuffer(USUAL_START, np.uint8)
_BEFORE_MSH = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_UTF16_OR_32 = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|[Mm]\x00|\x00[Mm]|\x00\x00\x00[Mm]")

_DETECTION = ("utf-8", "gb18030")
_LONGEST_NAME = 64
"""Bytes of an MSH-18 that may be looked at beside others; a longer one is looked at alone."""


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
        table[ord("|")] = table[ord("^")] = table[ord("~")] = table[ord("\\")] = table[ord("&")] = 0
        mine = (self.subcomponent, self.escape, self.repetition, self.component, self.field)
        for own, usual in zip(mine, "&\\~^|", strict=True):
            if own:
                table[ord(own)] = ord(usual)
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
        codecs: Python codecs.
        codec: for each message the one it was read by, index into ``codecs``; of a message that is all ASCII the
            one it names or its source's, which ``\\X..\\`` gives bytes of.
        codes: (message, code) of findings on the decoding.
        unreadable: the batch's other rows.
    """

    data: U8
    structure: U8
    starts: I64
    ends: I64
    rows: I64
    delimiters: dict[int, Delimiters]
    codecs: Sequence[str]
    codec: I64
    codes: list[tuple[int, str]]
    unreadable: list[Unreadable]

    def codec_of(self, message: int) -> str:
        """The codec of a message."""
        return self.codecs[int(self.codec[message])]


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
        raise MessageError(
            "HL7-CHARSET-UNSUPPORTED", "MSH-18 names UTF-16 or UTF-32", segment="MSH", field=18
        )
    return header


def choose_codec(message: bytes, declared: str | None, default: str) -> tuple[bytes, str, tuple[str, ...]]:
    """Decode a message strictly: as declared, else as the source's default, else by detection.

    Args:
        message: its bytes, not only ASCII.
        declared: the Python codec that MSH-18 names; None where it is blank or unknown.
        default: the Python codec of its source.

    Returns:
        the text in UTF-8, the codec that was used, the codes of what deviated.
    """
    codes: tuple[str, ...] = ()
    if declared is not None:
        text = _as_utf8(message, declared)
        if text is not None:
            return text, declared, codes
        codes = ("HL7-CHARSET-MISMATCH",)
    text = _as_utf8(message, default)
    if text is not None:
        return text, default, codes
    codes = (*codes, "HL7-CHARSET-GUESSED")
    for codec in _DETECTION:
        text = _as_utf8(message, codec)
        if text is not None:
            return text, codec, codes
    return message.decode("latin-1").encode(), "latin-1", codes


def _as_utf8(message: bytes, codec: str) -> bytes | None:
    """The message's text in UTF-8; None where it is not in that charset."""
    try:
        text = message.decode(codec)
        return message if codec == "utf-8" else text.encode()
    except (UnicodeError, LookupError):
        return None


def decode_batch(payload: pa.Array, default_codecs: Sequence[str]) -> Decoded:
    """Decode a batch of messages.

    Messages in ASCII or UTF-8 with the usual delimiters are found by looking at all headers at once and taken as
    they are; only the others are looked at one by one.

    Args:
        payload: binary array, one message a value.
        default_codecs: the charset of each message's source, a Python codec name each.

    Returns:
        the readable messages' text and structure, and what could not be read.
    """
    payload = pc.fill_null(payload, b"")
    offsets, data = _buffers(payload)
    defaults = sorted(set(default_codecs))
    place = {codec: number for number, codec in enumerate(defaults)}
    default = np.fromiter((place[codec] for codec in default_codecs), np.int64, len(default_codecs))
    named = _named_codecs(data, offsets, _begins_as_usual(data, offsets))
    codecs = [*defaults, *named.codecs]
    codec = np.where(named.codec >= 0, len(defaults) + named.codec, default)
    foreign = named.high & ~named.alone
    if foreign.any():
        in_utf8 = np.array([name == "utf-8" for name in codecs], bool)
        claimed = foreign & in_utf8[codec]
        foreign &= ~claimed
        foreign[_not_utf8(payload, np.flatnonzero(claimed))] = True
    if not foreign.any() and not named.alone.any():
        rows = np.arange(len(payload), dtype=np.int64)
        return Decoded(data, data, offsets[:-1], offsets[1:], rows, {}, codecs, codec, [], [])
    made = _Copy(data, offsets, codecs, codec)
    for row in np.flatnonzero(foreign | named.alone).tolist():
        if named.alone[row]:
            made.add_alone(row, default_codecs[row])
        else:
            declared = codecs[codec[row]] if named.codec[row] >= 0 else None
            made.add_foreign(row, declared, default_codecs[row])
    return made.decoded()


class _Copy:
    """A batch copied, with some messages decoded; the runs between them are taken as they are."""

    def __init__(self, data: U8, offsets: I64, codecs: list[str], codec: I64) -> None:
        self.view = memoryview(data.data)
        self.bounds = offsets.tolist()
        self.codecs = codecs
        self.codec = codec
        self.lengths = np.diff(offsets)
        self.kept = np.ones(len(self.lengths), bool)
        self.texts: list[bytes | memoryview] = []
        self.structures: list[bytes | memoryview] = []
        self.delimiters: dict[int, Delimiters] = {}
        self.codes: list[tuple[int, str]] = []
        self.unreadable: list[Unreadable] = []
        self.done = 0

    def _take(self, row: int) -> bytes:
        """Take the run before a message as it is, and cut the message out."""
        low, high = self.bounds[row], self.bounds[row + 1]
        if low > self.done:
            self._put(self.view[self.done : low])
        self.done = high
        return bytes(self.view[low:high])

    def _put(self, text: bytes | memoryview, structure: bytes | None = None) -> None:
        self.texts.append(text)
        self.structures.append(text if structure is None else structure)

    def add_foreign(self, row: int, declared: str | None, default: str) -> None:
        """Add a message with a usual header in another charset."""
        text, used, deviations = choose_codec(self._take(row), declared, default)
        self._note(row, len(text), used, deviations)
        self._put(text)

    def add_alone(self, row: int, default: str) -> None:
        """Add a message of which nothing is known."""
        message = self._take(row)
        try:
            header = check_readable(message, default)
        except MessageError as problem:
            self.unreadable.append(_unreadable(row, problem))
            self.kept[row] = False
            return
        if message.startswith(BOM):
            default = "utf-8"
        before = _BEFORE_MSH.match(message)
        text = message = message[before.end() :] if before else message
        used = header.codec or default
        deviations: tuple[str, ...] = ()
        if not message.isascii():
            text, used, deviations = choose_codec(message, header.codec, default)
        number = self._note(row, len(text), used, deviations)
        own = Delimiters.of(header)
        if own == USUAL_DELIMITERS:
            self._put(text)
        else:
            self.delimiters[number] = own
            self._put(text, text.translate(own.to_usual))

    def _note(self, row: int, length: int, used: str, deviations: tuple[str, ...]) -> int:
        number = row - len(self.unreadable)
        self.codes.extend((number, code) for code in deviations)
        if used not in self.codecs:
            self.codecs.append(used)
        self.codec[row] = self.codecs.index(used)
        self.lengths[row] = length
        return number

    def decoded(self) -> Decoded:
        """The whole batch."""
        self._put(self.view[self.done :])
        joined = np.frombuffer(b"".join(self.texts), np.uint8)
        structure = np.frombuffer(b"".join(self.structures), np.uint8) if self.delimiters else joined
        lengths = self.lengths[self.kept]
        ends = np.cumsum(lengths)
        return Decoded(
            joined,
            structure,
            ends - lengths,
            ends,
            np.flatnonzero(self.kept),
            self.delimiters,
            self.codecs,
            self.codec[self.kept],
            self.codes,
            self.unreadable,
        )


@dataclass(frozen=True)
class _Named:
    """What the headers of a batch say, as far as it shows without decoding.

    Attributes:
        codecs: Python codecs that are named.
        codec: for each message the one that MSH-18 names, index into ``codecs``; -1 for none.
        high: messages that are not all ASCII.
        alone: messages that must be looked at alone whatever their charset.
    """

    codecs: list[str]
    codec: I64
    high: Bools
    alone: Bools


def _named_codecs(data: U8, offsets: I64, usual: Bools) -> _Named:
    count = len(usual)
    alone = ~usual
    codec = np.full(count, -1)
    high = np.zeros(count, bool)
    rows = np.flatnonzero(usual)
    if not rows.size:
        return _Named([], codec, high, alone)
    starts, ends = offsets[:-1][rows], offsets[1:][rows]
    line_end = np.minimum(_first_in(_positions(data, b"\r\n"), starts), ends)
    beyond = np.zeros(len(data) + 1, bool)  # one more, for a range may begin at the end
    np.greater_equal(data, 0x80, out=beyond[:-1])
    if beyond.any():
        bounds = np.column_stack((starts, line_end, ends)).ravel()
        found = np.logical_or.reduceat(beyond, bounds)
        in_header, in_body = found[::3], found[1::3] & (ends > line_end)
        high[rows] = in_header | in_body
        alone[rows] = in_header
    separators = _positions(data, b"|")
    first = np.searchsorted(separators, starts)
    last = len(separators) - 1
    # MSH-2 follows the first separator, MSH-18 the seventeenth
    low = separators[np.minimum(first + 16, last)] + 1
    there = (first + 16 <= last) & (low <= line_end)
    following = np.where(first + 17 <= last, separators[np.minimum(first + 17, last)], len(data))
    length = np.where(there, np.minimum(following, line_end) - low, 0)
    codecs: list[str] = []
    for size in np.unique(length[length > 0]).tolist():
        same = np.flatnonzero(length == size)
        if size > _LONGEST_NAME:
            alone[rows[same]] = True
            continue
        names = data[low[same, None] + np.arange(size)].view(f"S{size}").ravel()
        for name in np.unique(names).tolist():
            mine = rows[same[names == name]]
            if is_unsupported(name):
                alone[mine] = True
            elif (meant := codec_of(name)) is not None:
                if meant not in codecs:
                    codecs.append(meant)
                codec[mine] = codecs.index(meant)
    return _Named(codecs, codec, high, alone)


def _positions(data: U8, characters: bytes) -> I64:
    found = data == characters[0]
    for character in characters[1:]:
        found |= data == character
    return np.flatnonzero(found)


def _first_in(positions: I64, starts: I64) -> I64:
    """The first of the positions at or after each start; far beyond the end where there is none."""
    return np.append(positions, np.iinfo(np.int64).max)[np.searchsorted(positions, starts)]


def _not_utf8(payload: pa.Array, rows: I64) -> I64:
    """Which of some messages are not valid UTF-8."""
    some = payload.take(pa.array(rows))
    text = pa.large_string() if pa.types.is_large_binary(payload.type) else pa.string()
    try:
        some.cast(text)
    except pa.ArrowInvalid:
        wrong = [
            row for row, message in zip(rows.tolist(), some.to_pylist(), strict=True) if not _is_utf8(message)
        ]
        return np.array(wrong, np.int64)
    return rows[:0]


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


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
    """Offsets (from 0) and bytes of a binary array without nulls, without a copy."""
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


def _begins_as_usual(data: U8, offsets: I64) -> Bools:
    """Which messages begin with ``MSH|^~\\&|``."""
    starts = offsets[:-1]
    result = (offsets[1:] - starts) >= len(_USUAL)
    candidates = np.flatnonzero(result)
    if candidates.size:
        heads = data[starts[candidates, None] + np.arange(len(_USUAL))]
        result[candidates] = (heads == _USUAL).all(axis=1)
    return result
