"""Frames of the link between an instrument and its host (ASTM E1381-95 §6.3, CLSI LIS1-A), without I/O.

A frame is ``STX FN text ETB|ETX C1 C2 CR LF``: FN is a digit from 0 to 7, C1 C2 are the sum of all bytes from FN to
ETB or ETX modulo 256 in hexadecimal. Between frames stand single bytes: ENQ, ACK, NAK, EOT. None of these bytes is
ever half a character in UTF-8, GB 18030 or Big5. What comes in otherwise has one outcome here, whatever the sizes of
the packets it comes in; each frame that was sent leads to one token at most, so that it is answered once at most:

==================================  ================================================================================
on the wire                         outcome
==================================  ================================================================================
checksum that is wrong              ``Broken`` (``CHECKSUM``); in lower case it is as good as in upper case
FN that is no digit from 0 to 7     ``Broken`` (``NUMBER``)
more text than the limit            ``Broken`` (``TOO_LONG``) at its end; it is passed over without keeping it
text and an end, but no STX         ``Broken`` (``NO_START``): its STX was garbled
no CR LF after the checksum         the frame is whole with its checksum: CR, LF and blanks are passed over in silence
STX while no frame may come         passed over (``GARBAGE``)
STX within a frame                  the frame began anew (``CUT``)
EOT within a frame                  the frame was given up (``CUT``), then EOT
ENQ, ACK, NAK within a frame        text: answering a garbled byte would answer a frame that was not taken
ENQ in place of the CR or LF        passed over (``GARBAGE``), for the same reason
other bytes between frames          dropped and counted (``GARBAGE``)
more of them than the limit         ``ENDLESS_GARBAGE``; the reader takes nothing more
the connection ends in a frame      ``CUT``; the sender has no answer and sends again
==================================  ================================================================================
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

STX, ETX, EOT, ENQ, ACK, LF, CR, NAK, ETB = (
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\x06",
    b"\n",
    b"\r",
    b"\x15",
    b"\x17",
)

FRAME_TEXT = 240
"""Bytes of text in a frame that we send: what every receiver takes (E1381-95 §6.3.1)."""

LARGEST_FRAME_TEXT = 64_000
"""Bytes of text in a frame that we take (LIS1-A: 64,000 characters with what stands around it)."""

NUMBERS = 8
GARBAGE_LIMIT = 64 * 1024

_CHECKSUM_BYTES = 2
_BLANKS = b" \t\r\n\x00"
_BETWEEN = re.compile(rb"[\x02-\x06\x15\x17]")
_WITHIN = re.compile(rb"[\x02-\x04\x17]")
_BREAKS_CHECKSUM = frozenset(STX + EOT)
_HEX_DIGITS = b"0123456789ABCDEFabcdef"


class Control(Enum):
    """A byte that stands for itself between frames; the values are the bytes."""

    EOT = EOT
    ENQ = ENQ
    ACK = ACK
    NAK = NAK


class Fault(StrEnum):
    """What can be wrong on a line; the values are metric labels."""

    CHECKSUM = "checksum"
    NUMBER = "frame_number"
    TOO_LONG = "frame_too_long"
    NO_START = "no_stx"
    CUT = "frame_cut"
    GARBAGE = "garbage"
    ENDLESS_GARBAGE = "endless_garbage"
    REPEATED = "frame_repeated"
    UNEXPECTED = "unexpected"
    TOO_LARGE = "message_too_large"
    ABORTED = "message_aborted"
    LEFT = "message_left"
    NO_TERMINATOR = "no_terminator"
    UNANSWERED = "unanswered"
    RESENDS = "too_many_resends"
    TIMEOUT = "timeout"
    BUSY = "busy"
    CONTENTION = "contention"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose checksum is right.

    Attributes:
        number: 0 to 7.
        text: what stood between FN and ETB or ETX, byte for byte.
        ends: whether it ended with ETX: a record ends with it.
    """

    number: int
    text: bytes
    ends: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame that is not to be taken: to be answered NAK."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that is counted but not answered.

    Attributes:
        fault: what was wrong.
        count: bytes, or how often.
    """

    fault: Fault
    count: int = 1


Token = Control | Frame | Broken | Noted


class FrameReader:
    """Reads tokens from bytes as they come: ``feed`` bytes, then take tokens with ``next`` until it has none.

    Args:
        limit: bytes of the longest text of a frame.
        garbage_limit: the most bytes that may stand between two tokens, blanks not counted.
    """

    def __init__(self, limit: int = LARGEST_FRAME_TEXT, garbage_limit: int = GARBAGE_LIMIT) -> None:
        self._limit = limit
        self._garbage_limit = garbage_limit
        self._buffer = bytearray()
        self._scanned = 0  # in a frame: the buffer holds nothing special before this position
        self._in_frame = False
        self._skipping = False  # in a frame that is too long
        self._trailer = 0  # how many of CR LF may still come
        self._may_lack_start = True  # what stands between may be a frame without STX
        self._garbage = 0
        self._dead = False
        self._takes_frames = True
        self._tokens: deque[Token] = deque()

    @property
    def buffered(self) -> int:
        """Bytes that are kept now."""
        return len(self._buffer)

    @property
    def is_dead(self) -> bool:
        """Whether nothing more will be read because of endless garbage."""
        return self._dead

    def take_frames(self, *, wanted: bool) -> None:
        """Whether frames may come now; while they may not, STX is garbage, and does not hide the bytes behind it."""
        self._takes_frames = wanted
        if self._in_frame and not wanted:
            self._tokens.append(Noted(Fault.CUT))
            self._in_frame = self._skipping = False
            self._buffer.clear()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes in, any number of them."""
        if not self._dead:
            self._buffer += data

    def finish(self) -> None:
        """No more bytes will come."""
        if self._in_frame:
            self._tokens.append(Noted(Fault.CUT))
        self._note_garbage()
        self._in_frame = False
        self._buffer.clear()

    def next(self) -> Token | None:
        """The next token, or None where more bytes are needed."""
        while not self._tokens:
            if not (self._read_frame() if self._in_frame else self._read_between()):
                break
        return self._tokens.popleft() if self._tokens else None

    def _read_between(self) -> bool:
        """Go to the next byte that means something; False where there is none yet."""
        buffer = self._buffer
        while self._trailer and buffer:
            if not buffer.startswith((CR, LF, ENQ)):
                self._trailer = 0
                break
            self._garbage += buffer.startswith(ENQ)
            self._trailer -= 1
            del buffer[:1]
        found = _BETWEEN.search(buffer)
        at = found.start() if found else len(buffer)
        self._garbage += len(buffer[:at].translate(None, _BLANKS))
        del buffer[:at]
        if self._garbage > self._garbage_limit:
            self._tokens.append(Noted(Fault.ENDLESS_GARBAGE, self._garbage))
            self._garbage, self._dead = 0, True
            buffer.clear()
            return False
        if found is None:
            return False
        byte = bytes(buffer[:1])
        if byte in (ETX, ETB):
            return self._read_end_without_start()
        del buffer[:1]
        if byte == STX and not self._takes_frames:
            self._garbage += 1
            return True
        self._note_garbage()
        self._may_lack_start = True
        if byte == STX:
            self._in_frame, self._scanned = True, 0
        else:
            self._tokens.append(Control(byte))
        return True

    def _read_end_without_start(self) -> bool:
        """At ETX or ETB between frames: the end of a frame whose STX is missing, where text stood before it."""
        follows = bytes(self._buffer[1 : 1 + _CHECKSUM_BYTES])
        lacks_start = self._may_lack_start and self._garbage > 0 and not follows.strip(_HEX_DIGITS)
        if lacks_start and len(follows) < _CHECKSUM_BYTES:
            return False
        taken = 1 + _CHECKSUM_BYTES if lacks_start else 1
        self._garbage += taken
        del self._buffer[:taken]
        if lacks_start:
            self._note_garbage()
            self._end_frame(Broken(Fault.NO_START))
        return True

    def _read_frame(self) -> bool:
        """Go to the next byte that may end the frame; False where that needs more bytes."""
        buffer = self._buffer
        found = _WITHIN.search(buffer, self._scanned)
        at = found.start() if found else len(buffer)
        self._skipping = self._skipping or at > self._limit + 1
        if self._skipping:
            del buffer[:at]
            at = 0
        self._scanned = at
        if found is None:
            return False
        byte = bytes(buffer[at : at + 1])
        if byte in (STX, EOT):
            self._tokens.append(Noted(Fault.CUT))
            del buffer[: at + (byte == STX)]
            self._in_frame, self._skipping, self._scanned = byte == STX, False, 0
            return True
        return self._at_end(at, byte)

    def _at_end(self, at: int, byte: bytes) -> bool:
        """At ETX or ETB: the frame is whole where its checksum is there."""
        buffer = self._buffer
        checksum = bytes(buffer[at + 1 : at + 1 + _CHECKSUM_BYTES])
        broken_off = any(one in _BREAKS_CHECKSUM for one in checksum)
        if len(checksum) < _CHECKSUM_BYTES and not broken_off:
            return False
        if self._skipping:
            token: Frame | Broken = Broken(Fault.TOO_LONG)
        elif broken_off or checksum.strip(_HEX_DIGITS) or int(checksum, 16) != sum(buffer[: at + 1]) % 256:
            token = Broken(Fault.CHECKSUM)
        elif not b"0" <= buffer[:1] <= b"7":
            token = Broken(Fault.NUMBER)
        else:
            token = Frame(buffer[0] - ord("0"), bytes(buffer[1:at]), byte == ETX)
        del buffer[: at + 1 + (0 if broken_off else _CHECKSUM_BYTES)]
        self._end_frame(token)
        return True

    def _end_frame(self, token: Frame | Broken) -> None:
        """What remains of a broken frame is not answered a second time."""
        self._tokens.append(token)
        self._in_frame = self._skipping = False
        self._scanned = 0
        self._trailer = 2
        self._may_lack_start = isinstance(token, Frame)

    def _note_garbage(self) -> None:
        if self._garbage:
            self._tokens.append(Noted(Fault.GARBAGE, self._garbage))
            self._garbage = 0


def checksum(content: bytes) -> bytes:
    """Two hexadecimal digits of the sum of all bytes from FN to ETB or ETX (E1381-95 §6.3.3)."""
    return b"%02X" % (sum(content) % 256)


def framed(number: int, text: bytes, *, ends: bool = True) -> bytes:
    """A frame.

    Args:
        number: 0 to 7.
        text: without control characters but CR.
        ends: with ETX; else with ETB, since the record goes on in the next frame.
    """
    content = b"%d%b%b" % (number, text, ETX if ends else ETB)
    return b"%b%b%b%b%b" % (STX, content, checksum(content), CR, LF)


def parts_of(message: bytes, size: int = FRAME_TEXT) -> Iterator[tuple[bytes, bool]]:
    """The texts of a message's frames: each record begins a frame, long ones go on in further frames.

    Args:
        message: records, each ended by CR.
        size: the most bytes in a frame.

    Yields:
        the text, and whether the record ends with it.
    """
    for record in message.removesuffix(CR).split(CR):
        text = record + CR
        for start in range(0, len(text), size):
            yield text[start : start + size], start + size >= len(text)
