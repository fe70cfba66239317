"""Files of HL7 v2 messages: single messages, several in a file, batch envelopes (HL7 v2.5.1 §2.10.3).

A file is cut at line starts, in bytes and before any decoding: line ends, VT and FS are never part of a
character in UTF-8, GB 18030, Big5 or the ISO 8859 family. It is read as a stream; at most one message of the
size limit is held.

What goes to Kafka, and as which bytes:

- A message begins at ``MSH`` at the start of a line (a byte order mark, blanks or VT may stand before it)
  that is followed by ``|``, by another delimiter and no letter or digit, or by nothing. Its bytes run from
  the M up to and including the terminator of its last segment (CR, LF or CRLF as it stands, none where there
  is none). What is between two messages and blank, and the framing characters VT and FS, belong to none.
- Whatever else is not blank and not an envelope segment (FHS, BHS, BTS, FTS) becomes a record of its own, so
  that it ends in quarantine and nothing is lost. Lines that follow a message without MLLP framing are part of
  it.

Delivery: every message at least once; a run that was broken off is simply repeated, since the tables take a
    message only once. What could not be read (over the size limit, unreadable file) is reported as a finding.
Ordering: the order of the file, per Kafka partition.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from schemas.hl7v2.charsets import TRAIL_BYTES_LOOK_LIKE_DELIMITERS
from schemas.source import MEBIBYTE

DEFAULT_SIZE_LIMIT: Final = 32 * MEBIBYTE
BLOCK_SIZE: Final = MEBIBYTE

_BOUNDARY = re.compile(
    rb"[\r\n\x0b\x1c](?:"
    rb"(?:\xef\xbb\xbf)?[ \t]{0,8}(?:"
    rb"(?P<message>[Mm][Ss][Hh])(?=\||[\r\n]|\Z|[!-/:-@\[-`{-~](?![A-Za-z0-9]))"
    rb"|(?P<envelope>FHS|BHS|BTS|FTS)(?=[!-/:-@\[-`{-~]|[\r\n]|\Z))"
    rb"|(?<=\x1c)(?P<end>(?=[\r\n])))"
)
_HORIZON: Final = 24  # no boundary is longer, with what it looks ahead at
_LINE_END = re.compile(rb"[\r\n\x1c]")
_FRAMING: Final = b"\r\n\x0b\x1c \t"
_BOM: Final = b"\xef\xbb\xbf"
_WIDE_MSH: Final = (b"M\0S\0H", b"\0\0M\0\0\0S")  # UTF-16 and UTF-32: quarantine names the charset
_ID_LIMIT: Final = 80


class Readable(Protocol):
    """A binary file, or what reads like one."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


class Kind(Enum):
    """What a piece of a file is."""

    MESSAGE = "message"
    OTHER = "other"
    ENVELOPE = "envelope"


_KINDS: Final = {"message": Kind.MESSAGE, "envelope": Kind.ENVELOPE, "end": Kind.OTHER}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a file.

    Attributes:
        kind: what it is.
        data: its bytes; empty where it is too large.
        position: where it begins, in bytes from the start of the file.
        size: its length in bytes.
        too_large: whether it is over the limit.
    """

    kind: Kind
    data: bytes
    position: int
    size: int
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class FileMessage:
    """Something to be sent to Kafka.

    Attributes:
        data: the bytes that become the record's value.
        position: where it begins in the file, in bytes.
        is_message: False for what only goes to quarantine.
        batch: ids and position within the envelope, None where there is none.
    """

    data: bytes
    position: int
    is_message: bool
    batch: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a file or envelope; never text from the file.

    Attributes:
        code: stable code, see ``FINDINGS``.
        position: byte position in the file.
        batch: which batch of the file, counted from 1; 0 where it is the file's own.
        expected: the number that the trailer states, where there is one.
        found: the number counted, or the size in bytes of what was skipped.
    """

    code: str
    position: int
    batch: int = 0
    expected: int | None = None
    found: int | None = None


FINDINGS: Final = {
    "BATCH-COUNT": "BTS-1 states another number of messages than the batch has",
    "BATCH-COUNT-UNREADABLE": "BTS-1 is not a number",
    "BATCH-NO-TRAILER": "the batch has no BTS segment",
    "BATCH-NO-HEADER": "a BTS segment without BHS before it",
    "FILE-COUNT": "FTS-1 states another number of batches than the file has",
    "FILE-COUNT-UNREADABLE": "FTS-1 is not a number",
    "FILE-NO-TRAILER": "the file has FHS and no FTS segment; it may have been cut off",
    "FILE-NO-HEADER": "an FTS segment without FHS before it",
    "FILE-EMPTY": "the file has no message",
    "NOT-A-MESSAGE": "bytes outside any message; sent on, they will be in quarantine",
    "NOT-HL7": "the file holds no message and was left out; name it by its own path to send it to quarantine",
    "TOO-LARGE": "a message over the size limit of its source was left out",
    "FILE-UNREADABLE": "the file could not be read",
}
"""Codes of findings and what they say."""

SKIPPED: Final = frozenset({"TOO-LARGE", "FILE-UNREADABLE"})
"""Findings that mean that something did not reach Kafka."""


def split(stream: Readable, limit: int = DEFAULT_SIZE_LIMIT, block_size: int = BLOCK_SIZE) -> Iterator[Piece]:
    """Cut a stream into messages, envelope segments and the rest.

    Args:
        stream: a binary file, read from where it stands to its end.
        limit: the largest message in bytes; of larger ones no bytes are kept.
        block_size: how much is read at a time, in bytes.

    Yields:
        Pieces in the order of the file; blank stretches and framing characters are left out.
    """
    cutter = _Cutter(limit)
    while block := stream.read(block_size):
        yield from cutter.feed(block)
    yield from cutter.finish()


class _Cutter:
    """Holds the stretch that is not yet known to be whole; memory is the size limit and one block."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray(b"\n")  # the file's beginning is the beginning of a line
        self._position = -1  # of the buffer's first byte in the file
        self._searched = 0  # no boundary begins before this index of the buffer
        self._kind = Kind.OTHER
        self._dropped = 0  # bytes of a too large stretch that are gone already

    def feed(self, block: bytes) -> Iterator[Piece]:
        self._buffer += block
        yield from self._cut(len(self._buffer) - _HORIZON)
        yield from self._forget_what_is_too_large()

    def finish(self) -> Iterator[Piece]:
        yield from self._cut(len(self._buffer))
        yield from self._emit(0, len(self._buffer))

    def _cut(self, certain: int) -> Iterator[Piece]:
        """Take all pieces that end at a boundary which begins before ``certain``."""
        start, position = 0, self._searched
        while (found := _BOUNDARY.search(self._buffer, position)) is not None and found.start() < certain:
            yield from self._emit(start, found.start() + 1)
            group = found.lastgroup or "end"
            start, position, self._kind = found.start(group), found.end(), _KINDS[group]
        # what begins after `certain` is looked at again when more is known
        self._searched = max(position, certain) - start
        self._discard(start)

    def _discard(self, count: int) -> None:
        del self._buffer[:count]
        self._position += count

    def _forget_what_is_too_large(self) -> Iterator[Piece]:
        """Drop all but the horizon of a stretch over the limit; only its length is counted on."""
        surplus = len(self._buffer) - _HORIZON
        if surplus > 0 and self._dropped + len(self._buffer) > self._limit + 2 * _HORIZON:
            if self._kind is Kind.ENVELOPE and (line_end := _LINE_END.search(self._buffer, 0, self._limit)):
                # the segment itself is whole; what is too large comes after it
                yield from self._emit(0, line_end.start())
                self._kind = Kind.OTHER
            self._dropped += surplus
            self._discard(surplus)
            self._searched = max(self._searched - surplus, 0)

    def _emit(self, start: int, end: int) -> Iterator[Piece]:
        """Yield the stretch ``buffer[start:end]`` as what it is."""
        kind, dropped, self._dropped = self._kind, self._dropped, 0
        data = bytes(self._buffer[start:end])
        position = self._position + start - dropped
        if dropped:
            yield Piece(kind, b"", position, dropped + len(data), too_large=True)
            return
        if kind is Kind.MESSAGE:
            data = _without_framing(data)
            yield self._measured(kind, data, position)
            return
        if kind is Kind.ENVELOPE:
            line_end = _LINE_END.search(data)
            cut = line_end.start() if line_end else len(data)
            yield self._measured(kind, data[:cut], position)
            data, position = data[cut:], position + cut
        rest = data.lstrip(_FRAMING)
        if rest.startswith(_BOM):
            rest = rest[len(_BOM) :].lstrip(_FRAMING)
        if rest:
            yield self._measured(Kind.OTHER, rest, position + len(data) - len(rest))

    def _measured(self, kind: Kind, data: bytes, position: int) -> Piece:
        too_large = len(data) > self._limit
        return Piece(kind, b"" if too_large else data, position, len(data), too_large)


def _without_framing(data: bytes) -> bytes:
    """A message up to the terminator of its last segment, without blank lines, BOM, VT and FS after it."""
    core = data.rstrip(_FRAMING)
    if core.endswith(_BOM) and core[: -len(_BOM)].endswith((b"\r", b"\n", b"\x1c")):
        core = core[: -len(_BOM)].rstrip(_FRAMING)
    tail = data[len(core) :]
    line_end = _LINE_END.search(tail)
    if line_end is None:
        # blanks that end the last field stay; a VT is the next frame's
        return core + tail.rstrip(b"\x0b")
    stop = line_end.start()
    if tail[stop : stop + 2] == b"\r\n":
        stop += 2
    elif tail[stop : stop + 1] != b"\x1c":
        stop += 1
    return core + tail[:stop]


def split_messages(data: bytes) -> Iterator[bytes]:
    """The messages in some bytes and whatever else is in them that would be sent, in order; no envelopes."""
    for piece in split(io.BytesIO(data), limit=len(data) + 1):
        if piece.kind is not Kind.ENVELOPE and not piece.too_large:
            yield piece.data


def stream_messages(stream: Readable, limit: int = DEFAULT_SIZE_LIMIT) -> Iterator[bytes]:
    """As ``split_messages``, in bounded memory; what is over the limit is passed over."""
    for piece in split(stream, limit):
        if piece.kind is not Kind.ENVELOPE and not piece.too_large:
            yield piece.data


@dataclass(slots=True)
class _Envelope:
    """The state between FHS and FTS, BHS and BTS."""

    charset: str
    file_id: str | None = None  # None: no FHS seen
    batch_id: str | None = None  # None: no BHS seen
    file_at: int = 0
    batch_at: int = 0
    batches: int = 0
    implied: bool = False  # messages stand in the file outside BHS…BTS
    messages: int = 0  # of the current batch
    total: int = 0

    def reference(self) -> str | None:
        """``file id/batch id#batch.message``, counted from 1: what stands in the ``batch`` header."""
        if self.file_id is None and self.batch_id is None:
            return None
        return f"{self.file_id or ''}/{self.batch_id or ''}#{self.batches}.{self.messages}"

    def close_batch(self) -> Iterator[Finding]:
        if self.batch_id is not None:
            yield Finding("BATCH-NO-TRAILER", self.batch_at, self.batches, found=self.messages)
        self.batch_id, self.messages = None, 0

    def close_file(self) -> Iterator[Finding]:
        yield from self.close_batch()
        if self.file_id is not None:
            yield Finding("FILE-NO-TRAILER", self.file_at, found=self.batches)
        self.file_id, self.batches, self.implied = None, 0, False

    def count(self) -> None:
        if self.batch_id is None and self.file_id is not None and not self.implied:
            # BHS may be left out (§2.10.3): the messages are one batch all the same
            self.implied = True
            self.batches += 1
            self.messages = 0
        self.messages += 1
        self.total += 1

    def take(self, piece: Piece) -> Iterator[Finding]:
        """Follow an envelope segment."""
        name = piece.data[:3]
        fields = _fields(piece.data, self.charset)
        if name == b"FHS":
            yield from self.close_file()
            self.file_id, self.file_at = _control_id(fields), piece.position
        elif name == b"BHS":
            yield from self.close_batch()
            self.batch_id, self.batch_at = _control_id(fields), piece.position
            self.batches += 1
            self.implied = False
        elif name == b"BTS":
            yield from self._trailer(
                "BATCH", fields, piece.position, self.batch_id is not None, self.messages
            )
            self.batch_id, self.messages, self.implied = None, 0, False
        else:
            yield from self.close_batch()
            yield from self._trailer("FILE", fields, piece.position, self.file_id is not None, self.batches)
            self.file_id, self.batches, self.implied = None, 0, False

    def _trailer(
        self, what: str, fields: list[str], position: int, opened: bool, counted: int
    ) -> Iterator[Finding]:
        batch = self.batches if what == "BATCH" else 0
        if not opened:
            yield Finding(f"{what}-NO-HEADER", position, batch)
            return
        stated = fields[1].strip() if len(fields) > 1 else ""
        if not stated:  # BTS-1 and FTS-1 are optional
            return
        if not (stated.isascii() and stated.isdigit() and len(stated) <= 12):
            yield Finding(f"{what}-COUNT-UNREADABLE", position, batch, found=counted)
        elif int(stated) != counted:
            yield Finding(f"{what}-COUNT", position, batch, expected=int(stated), found=counted)


def read_messages(
    stream: Readable, limit: int = DEFAULT_SIZE_LIMIT, charset: str = "utf-8", *, foreign: bool = False
) -> Iterator[FileMessage | Finding]:
    """What a file holds for Kafka, and what is wrong with it.

    Args:
        stream: the file, binary.
        limit: the largest message in bytes.
        charset: Python codec of the source, for the ids in envelopes.
        foreign: the file was not named by the user and may be anything: where it holds no message at all,
            nothing is sent.
    """
    envelope = _Envelope(charset)
    pieces = split(stream, limit)
    held: Piece | None = None
    seen = False
    for piece in pieces:
        if foreign and not seen and piece.kind is Kind.OTHER and not _is_wide(piece.data):
            held, seen = piece, True
            continue
        seen = True
        if held is not None:
            yield from _deliver(held, envelope)
            held = None
        if piece.kind is Kind.ENVELOPE and not piece.too_large:
            yield from envelope.take(piece)
        else:
            yield from _deliver(piece, envelope)
    if held is not None:
        yield Finding("NOT-HL7", held.position, found=held.size)
        return
    yield from envelope.close_file()
    if not envelope.total:
        yield Finding("FILE-EMPTY", 0)


def _deliver(piece: Piece, envelope: _Envelope) -> Iterator[FileMessage | Finding]:
    is_message = piece.kind is Kind.MESSAGE
    if is_message:
        envelope.count()
    if piece.too_large:
        yield Finding("TOO-LARGE", piece.position, envelope.batches, found=piece.size)
        return
    if not is_message:
        yield Finding("NOT-A-MESSAGE", piece.position, envelope.batches, found=piece.size)
    yield FileMessage(piece.data, piece.position, is_message, batch=envelope.reference())


def _is_wide(data: bytes) -> bool:
    return any(pattern in data[:4096] for pattern in _WIDE_MSH)


def _fields(segment: bytes, charset: str) -> list[str]:
    """Fields of an envelope segment; ``[n]`` is field n of BTS and FTS, n + 1 of FHS and BHS."""
    separator = segment[3:4]
    if not separator:
        return []
    codec = charset if charset in TRAIL_BYTES_LOOK_LIKE_DELIMITERS else "utf-8"
    try:
        text = segment.decode(codec)
    except UnicodeDecodeError:
        text = segment.decode("latin-1")
    return text.split(separator.decode("ascii"))


def _control_id(fields: list[str]) -> str:
    """FHS-11 or BHS-11, else the id in FHS-9 or BHS-9; printable characters only, at most 80."""
    for index in (10, 8):
        if len(fields) > index and fields[index].strip():
            return "".join(c for c in fields[index].strip() if c.isprintable())[:_ID_LIMIT]
    return ""
