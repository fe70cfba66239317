"""From bytes as received to one buffer of UTF-8 text for a whole batch, ready to be split.

Decoding comes before splitting: in GB 18030 and Big5 the bytes of ``|``, ``^``, ``~`` and the backslash are also
halves of ordinary ideographs. A batch whose messages are all UTF-8 with the usual delimiters is not copied;
messages in another charset are decoded together, charset by charset.

Beside the text stands the *structure*, a buffer of equal length in which every message has the delimiters
``|^~\\&`` and none of these characters stands for itself. Where all messages have the usual delimiters both are
the same buffer, so the splitter never needs to know whose delimiters are whose.

A segment that ADD segments continue (HL7 v2.5.1 §2.10.2) is one segment in the text: the line end, the name ``ADD``
and its separator are taken out, so that the field goes on where it was broken off. The segments that follow are
counted accordingly. An ADD right after MSH continues a segment of another message, and one without fields says
that the rest is in another message: these stay segments of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2 import headers
from pipelines.hl7v2.headers import I32, continuations, read_headers
from pipelines.hl7v2.transcode import (
    TABLED,
    U64,
    Charset,
    charset,
    copy_messages,
    utf8_lengths,
    words_of,
    write_utf8,
)
from schemas.errors import MessageError
from schemas.hl7v2.charsets import (
    TRAIL_BYTES_LOOK_LIKE_DELIMITERS,
    codec_of,
    family,
    is_seven_bit,
    is_unsupported,
    plain_name,
)
from schemas.hl7v2.header import BOM, Header, read_header

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

USUAL_START = b"MSH|^~\\&|"
_BEFORE_MSH = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_UTF16_OR_32 = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|[Mm]\x00|\x00[Mm]|\x00\x00\x00[Mm]")

_DETECTION = ("utf-8", "gb18030", "latin-1")
_PAIRS = frozenset({"gb18030", "gbk", "big5", "cp950", "big5hkscs"})
"""Codecs whose characters are found as ``headers`` looks for them."""
MISMATCH = "HL7-CHARSET-MISMATCH"
GUESSED = "HL7-CHARSET-GUESSED"
UNKNOWN = "HL7-CHARSET-UNKNOWN"
DOUBTFUL = "HL7-CHARSET-DOUBTFUL"
FRAGMENT = "HL7-FRAGMENT"
CONTINUED = "HL7-SEGMENT-CONTINUED"


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
        return _to_usual(self)


@lru_cache(maxsize=256)
def _to_usual(delimiters: Delimiters) -> bytes:
    table = bytearray(range(256))
    table[ord("|")] = table[ord("^")] = table[ord("~")] = table[ord("\\")] = table[ord("&")] = 0
    own = (
        delimiters.subcomponent,
        delimiters.escape,
        delimiters.repetition,
        delimiters.component,
        delimiters.field,
    )
    for mine, usual in zip(own, "&\\~^|", strict=True):
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


@dataclass(frozen=True, slots=True)
class Found:
    """A finding on the decoding of some messages, and where in them.

    Attributes:
        messages: which; ascending.
        code: what.
        segment: name of the segment, where one is meant.
        field: number of the field, where one is meant.
    """

    messages: I64
    code: str
    segment: str | None = None
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
        declared: the first repetition of each message's MSH-18 as sent (string array); null where it is empty.
        found: findings on the decoding.
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
    declared: pa.Array
    found: list[Found]
    unreadable: list[Unreadable]

    def codec_of(self, message: int) -> str:
        """The codec of a message."""
        return self.codecs[int(self.codec[message])]

    @cached_property
    def guessed(self) -> Bools:
        """For each message whether its charset is a guess."""
        result = np.zeros(len(self.rows), bool)
        for one in self.found:
            if one.code == GUESSED:
                result[one.messages] = True
        return result

    @property
    def codes(self) -> list[tuple[int, str]]:
        """(message, code) of findings on the decoding."""
        return [(message, one.code) for one in self.found for message in one.messages.tolist()]


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
    if is_unsupported(header.field(18), header.repetition_separator):
        raise MessageError(
            "HL7-CHARSET-UNSUPPORTED", "MSH-18 names UTF-16 or UTF-32", segment="MSH", field=18
        )
    return header


def attempts(
    declared: str | None, default: str, *, marked: bool = False
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The charsets that a message may be in: as declared, else the source's default, else by detection.

    Args:
        declared: the Python codec that MSH-18 names; None where it is blank or unknown.
        default: the Python codec of its source.
        marked: the message begins with the byte order mark of UTF-8, which says more than MSH-18.

    Yields:
        Python codecs, each once, with the codes of what deviates if it is that one.
    """
    tried: set[str] = set()
    codes: tuple[str, ...] = (MISMATCH,) if marked and declared not in {None, "utf-8"} else ()
    groups = [("utf-8", codes)] if marked else []
    if declared is not None:
        groups += [(codec, ()) for codec in family(declared)]
        codes = (MISMATCH,)
    groups += [(codec, codes) for codec in family(default)]
    groups += [(codec, (*codes, GUESSED)) for codec in _DETECTION]
    for codec, deviations in groups:
        if codec not in tried:
            tried.add(codec)
            yield codec, deviations


def choose_codec(
    message: bytes, declared: str | None, default: str, *, marked: bool = False
) -> tuple[bytes, str, tuple[str, ...]]:
    """Decode a message strictly by the first of ``attempts`` that it is in.

    Args:
        message: its bytes, not only ASCII.
        declared: the Python codec that MSH-18 names; None where it is blank or unknown.
        default: the Python codec of its source.
        marked: whether it began with a byte order mark.

    Returns:
        the text in UTF-8, the codec that was used, the codes of what deviated.
    """
    last: tuple[str, tuple[str, ...]] = ("latin-1", (GUESSED,))
    for last in attempts(declared, default, marked=marked):
        text = _as_utf8(message, last[0])
        if text is not None:
            return text, *last
    return message.decode("latin-1").encode(), *last


def _as_utf8(message: bytes, codec: str) -> bytes | None:
    """The message's text in UTF-8; None where it is not in that charset."""
    try:
        text = message.decode(codec)
        return message if codec == "utf-8" else text.encode()
    except (UnicodeError, LookupError):
        return None


def decode_batch(payload: pa.Array, default_codecs: Sequence[str]) -> Decoded:
    """Decode a batch of messages.

    All headers are read in one pass. Messages with the usual delimiters are taken as they are where they are in
    ASCII or UTF-8, and decoded together where they are not; what is unusual is looked at one by one.

    Args:
        payload: binary array, one message a value.
        default_codecs: the charset of each message's source, a Python codec name each.

    Returns:
        the readable messages' text and structure, and what could not be read.
    """
    payload = pc.fill_null(payload, b"")
    offsets, data = buffers(payload)
    work = _Work.of(data, offsets, default_codecs)
    work.decode_together()
    work.decode_alone()
    return work.decoded()


@dataclass(frozen=True, slots=True)
class _Alone:
    """A message that was looked at by itself: text, and structure where that is another."""

    text: bytes
    structure: bytes | None
    delimiters: Delimiters


@dataclass
class _Work:
    """A batch while it is decoded.

    Attributes:
        data: bytes as received.
        words: ``words_of(data)``.
        offsets: where messages begin and end.
        flags: what ``headers`` found, for each message.
        codecs: Python codecs.
        default: for each message the codec of its source, index into ``codecs``.
        claimed: the one that MSH-18 names; -1 for none.
        codec: the one that is used.
        alone: messages that are looked at by themselves.
        lengths: of each message's text in UTF-8.
        kept: whether it can be read.
        names: different first repetitions of MSH-18 as text, and their numbers.
        name: for each message the number of its own; -1 for none.
        texts: row → what was made of a message by itself.
        found: rows, code, segment and field of findings.
        unreadable: messages that cannot be read.
    """

    data: U8
    words: U64
    offsets: I64
    flags: I32
    codecs: list[str]
    default: I64
    claimed: I64
    codec: I64
    alone: Bools
    lengths: I64
    kept: Bools
    names: dict[str, int]
    name: I64
    texts: dict[int, _Alone] = field(default_factory=dict)
    found: list[tuple[Sequence[int] | I64, str, str | None, int | None]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    @classmethod
    def of(cls, data: U8, offsets: I64, default_codecs: Sequence[str]) -> _Work:
        """Read the headers, and sort out what must be looked at alone."""
        count = len(offsets) - 1
        words = words_of(data)
        flags = np.zeros(count, np.int32)
        name = np.zeros(count, np.int32)
        places = np.zeros((headers.MOST_NAMES, 2), np.int64)
        number = read_headers(data, words, offsets, flags, name, places)
        sent = [data[low:high].tobytes() for low, high in places[:number].tolist()]
        codecs = sorted(set(default_codecs))
        index = {codec: place for place, codec in enumerate(codecs)}
        default = np.array(list(map(index.__getitem__, default_codecs)), np.int64)
        meant = [codec_of(value) for value in sent]
        codecs += sorted({codec for codec in meant if codec is not None} - index.keys())
        # one more entry, for NO_NAME and LOOK_ALONE look at the end
        claims = np.array(
            [codecs.index(codec) if codec is not None else -1 for codec in meant] + [-1], np.int64
        )
        refused = np.array([is_unsupported(value) for value in sent] + [False], bool)
        unknown = np.array([_is_unknown(value) for value in sent] + [False], bool)
        place = np.where(name >= 0, name, number)
        claimed = claims[place]
        codec = np.where(claimed >= 0, claimed, default)
        usual = flags & headers.USUAL != 0
        in_utf8 = np.array([one == "utf-8" for one in codecs], bool)
        odd = np.array([is_seven_bit(one) for one in codecs], bool)
        unsure = np.array([one in TRAIL_BYTES_LOOK_LIKE_DELIMITERS - _PAIRS for one in codecs], bool)
        sure = (flags & headers.HEADER_SURE != 0) & ~unsure[codec]
        sure |= (flags & headers.UTF8 != 0) & in_utf8[codec]
        alone = ~usual | (name == headers.LOOK_ALONE) | refused[place] | odd[codec]
        alone |= flags & headers.CONTINUED != 0
        alone |= (flags & headers.HEADER_HIGH != 0) & ~sure
        names: dict[str, int] = {}
        numbers = [names.setdefault(_first_repetition(value, b"~"), len(names)) for value in sent]
        work = cls(
            data,
            words,
            offsets,
            flags,
            codecs,
            default,
            claimed,
            codec,
            alone,
            np.diff(offsets),
            np.ones(count, bool),
            names,
            np.array([*numbers, -1], np.int64)[place],
        )
        together = ~alone
        work._note(np.flatnonzero(together & unknown[place]), UNKNOWN, "MSH", 18)
        unfinished = flags & (headers.POINTER | headers.UNFINISHED) != 0
        work._note(np.flatnonzero(together & unfinished), FRAGMENT)
        return work

    def _note(
        self,
        rows: Sequence[int] | I64,
        code: str,
        segment: str | None = None,
        field_number: int | None = None,
    ) -> None:
        if len(rows):
            self.found.append((rows, code, segment, field_number))

    def _number_of(self, codec: str) -> int:
        if codec not in self.codecs:
            self.codecs.append(codec)
        return self.codecs.index(codec)

    def decode_together(self) -> None:
        """Find the charset of the messages that are not ASCII, and how long they are in UTF-8."""
        foreign = (self.flags & headers.HIGH != 0) & ~self.alone
        in_utf8 = np.array([one == "utf-8" for one in self.codecs], bool)
        foreign &= ~((self.flags & headers.UTF8 != 0) & in_utf8[self.codec])
        rows = np.flatnonzero(foreign)
        keys = self.claimed[rows] * len(self.codecs) + self.default[rows]
        known = len(self.codecs)
        for key in np.unique(keys).tolist():
            claimed, default = divmod(key, known)
            pending = rows[keys == key]
            declared = self.codecs[claimed] if claimed >= 0 else None
            for codec, deviations in attempts(declared, self.codecs[default]):
                lengths = self._lengths(codec, pending)
                fits = lengths >= 0
                mine = pending[fits]
                if len(mine):
                    self.lengths[mine] = lengths[fits]
                    self.codec[mine] = self._number_of(codec)
                    for code in deviations:
                        self._note(mine, code, "MSH", 18)
                    pending = pending[~fits]
                if not len(pending):
                    break
        in_utf8 = np.array([one == "utf-8" for one in self.codecs], bool)
        self._note(
            rows[(self.flags[rows] & headers.WIDE != 0) & ~in_utf8[self.codec[rows]]], DOUBTFUL, "MSH", 18
        )

    def _lengths(self, codec: str, rows: I64) -> I64:
        """How long some messages are in UTF-8; -1 where one is not in that charset."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        if codec == "utf-8":
            return np.where(self.flags[rows] & headers.UTF8 != 0, ends - starts, -1)
        if codec in TABLED:
            table = charset(codec)
            return utf8_lengths(
                self.data, self.words, starts, ends, table.singles, table.doubles, table.fours
            )
        lengths = np.full(len(rows), -1)
        for place, row in enumerate(rows.tolist()):
            text = _as_utf8(self.data[starts[place] : ends[place]].tobytes(), codec)
            if text is not None:
                lengths[place] = len(text)
                self.texts[row] = _Alone(text, None, USUAL_DELIMITERS)
        return lengths

    def decode_alone(self) -> None:
        """Decode what is unusual, message by message."""
        for row in np.flatnonzero(self.alone).tolist():
            message = self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()
            default = self.codecs[self.default[row]]
            try:
                header = check_readable(message, default)
            except MessageError as problem:
                self.unreadable.append(_unreadable(row, problem))
                self.kept[row] = False
                continue
            self._add(row, message, header, default)

    def _add(self, row: int, message: bytes, header: Header, default: str) -> None:
        marked = message.startswith(BOM)
        if marked:
            default = "utf-8"
        before = _BEFORE_MSH.match(message)
        text = message = message[before.end() :] if before else message
        used = header.codec or default
        deviations: tuple[str, ...] = ()
        if not message.isascii() or (is_seven_bit(used) and b"\x1b" in message):
            text, used, deviations = choose_codec(message, header.codec, default, marked=marked)
        for code in deviations:
            self._note([row], code, "MSH", 18)
        if used != "utf-8" and self.flags[row] & headers.WIDE:
            self._note([row], DOUBTFUL, "MSH", 18)
        own = Delimiters.of(header)
        structure = text if own == USUAL_DELIMITERS else text.translate(own.to_usual)
        bits, joined = _continued(structure, text)
        if joined:
            self._note([row], CONTINUED, "ADD")
            text, structure = joined
        if bits & (headers.POINTER | headers.UNFINISHED) or any(
            byte > 0x20 and byte != 0x22 for byte in header.field(14)
        ):
            self._note([row], FRAGMENT)
        sent = header.field(18)
        if _is_unknown(sent, header.repetition_separator):
            self._note([row], UNKNOWN, "MSH", 18)
        self.name[row] = self._name_of(_first_repetition(sent, header.repetition_separator))
        self.codec[row] = self._number_of(used)
        self.lengths[row] = len(text)
        self.texts[row] = _Alone(text, structure if structure is not text else None, own)

    def _name_of(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names)) if name else -1

    def decoded(self) -> Decoded:
        """Put the batch together."""
        rows = np.flatnonzero(self.kept)
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        number = np.cumsum(self.kept) - 1
        data, structure = self.data, self.data
        delimiters = {
            int(number[row]): one.delimiters
            for row, one in self.texts.items()
            if one.delimiters != USUAL_DELIMITERS
        }
        tabled = self._tabled(rows)
        if self.texts or len(tabled) or len(rows) < len(self.kept):
            data = structure = self._text(rows, starts, ends, tabled)
            if delimiters:
                structure = data.copy()
                for row, one in self.texts.items():
                    if one.structure is not None:
                        place = number[row]
                        structure[starts[place] : ends[place]] = np.frombuffer(one.structure, np.uint8)
        found = [
            Found(number[np.asarray(rows_found, np.int64)], code, segment, field_number)
            for rows_found, code, segment, field_number in self.found
        ]
        return Decoded(
            data,
            structure,
            starts,
            ends,
            rows,
            delimiters,
            self.codecs,
            self.codec[rows],
            _declared(self.names, self.name[rows]),
            found,
            self.unreadable,
        )

    def _tabled(self, rows: I64) -> I64:
        """Rows that are to be written by a table: not ASCII, and in a charset that one is made for."""
        tabled = np.array([codec in TABLED for codec in self.codecs], bool)
        there = (self.flags[rows] & headers.HIGH != 0) & ~self.alone[rows] & tabled[self.codec[rows]]
        written: I64 = rows[there]
        return written

    def _text(self, rows: I64, starts: I64, ends: I64, tabled: I64) -> U8:
        """The text of all messages."""
        target = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        made = np.zeros(len(self.kept), bool)
        made[list(self.texts)] = True
        made[tabled] = True
        place = np.zeros(len(self.kept), np.int64)
        place[rows] = starts
        plain = rows[~made[rows]]
        copy_messages(self.data, self.offsets[plain], self.offsets[plain + 1], target, place[plain])
        codec = self.codec[tabled]
        for number in np.unique(codec).tolist():
            mine = tabled[codec == number]
            table: Charset = charset(self.codecs[number])
            write_utf8(
                self.data,
                self.words,
                self.offsets[mine],
                self.offsets[mine + 1],
                table.singles,
                table.doubles,
                table.fours,
                target,
                place[mine],
            )
        for row, one in self.texts.items():
            target[place[row] : place[row] + len(one.text)] = np.frombuffer(one.text, np.uint8)
        return target


def _declared(names: dict[str, int], index: I64) -> pa.Array:
    values = pa.array([name or None for name in names], pa.string())
    return values.take(pa.array(index, mask=index < 0))


def _first_repetition(declared: bytes, repetition: bytes) -> str:
    first = declared.split(repetition, 1)[0] if repetition else declared
    return first.decode("ascii", "backslashreplace")


def _is_unknown(declared: bytes, repetition: bytes = b"~") -> bool:
    """Whether MSH-18 says something that is not known."""
    first = declared.split(repetition, 1)[0] if repetition else declared
    return bool(plain_name(first)) and codec_of(declared, repetition) is None


def _continued(structure: bytes, text: bytes) -> tuple[int, tuple[bytes, bytes] | None]:
    """Join the segments that ADD segments continue.

    Args:
        structure: a message with the usual delimiters.
        text: the same as sent.

    Returns:
        what ``headers.continuations`` finds; text and structure joined, None where nothing is to be joined.
    """
    view = np.frombuffer(structure, np.uint8)
    bits, count = continuations(view, 0, len(view), np.zeros(0, np.int64))
    if not count:
        return bits, None
    cuts = np.zeros(2 * count, np.int64)
    continuations(view, 0, len(view), cuts)
    bounds = [0, *cuts.tolist(), len(view)]
    kept = list(zip(bounds[::2], bounds[1::2], strict=True))
    joined = b"".join([text[low:high] for low, high in kept])
    if structure is text:
        return bits, (joined, joined)
    return bits, (joined, b"".join([structure[low:high] for low, high in kept]))


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


def buffers(payload: pa.Array) -> tuple[I64, U8]:
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
