"""MLLP framing (HL7 v2 Implementation Guide, appendix C; "MLLP release 1"), without I/O.

A frame is ``VT message FS CR`` (0x0B … 0x1C 0x0D). Neither byte is ever half a character in UTF-8, GB 18030 or
Big5, so frames are found before the charset is known. What senders really send is looser, and each looseness
has one outcome here, whatever the sizes of the packets it comes in:

==============================  ===================================================================================
on the wire                     outcome
==============================  ===================================================================================
blanks, CR, LF between frames   passed over in silence (a late CR after FS is one of them)
other bytes before VT           dropped and counted (``GARBAGE``)
more of them than the limit     ``ENDLESS_GARBAGE``; the reader takes nothing more and the connection is to be closed
FS CR                           the end of the frame
FS LF, FS VT, FS at the end     the end of the frame, counted (``NO_CR``); also FS and nothing more for a
                                moment (``expire``)
FS and any other byte           data: a stray FS, often pasted text. Ending the frame there would acknowledge half
                                a message. Counted (``FS_IN_DATA``)
VT and a segment that starts    the sender gave up a message and started anew: the former one is refused
a message (MSH, FHS, BHS)       (``CUT``), the new one is read
VT and any other byte           data, for word processors write line breaks so. Counted (``VT_IN_DATA``)
VT VT MSH                       one start
nothing between VT and FS       a frame of no bytes: to be refused like every other that has no MSH
more bytes than the limit       refused as soon as that is clear (``TOO_LARGE``), then passed over up to its end,
                                without keeping it; the next frame is read as ever
the connection ends in a frame  ``PARTIAL``: dropped and counted; the sender has no acknowledgement and sends again
==============================  ===================================================================================
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

VT = b"\x0b"
FS = b"\x1c"
CR = b"\r"
END = FS + CR

KEPT_OF_REFUSED = 64 * 1024
"""Bytes of a refused frame that are kept, so that the refusal can repeat what its MSH says."""

_SPECIAL = re.compile(rb"[\x0b\x1c]")
_STARTS = tuple(bom + name for bom in (b"", b"\xef\xbb\xbf") for name in (b"MSH", b"FHS", b"BHS"))
_LOOK_AHEAD = max(map(len, _STARTS))
_BLANKS = b" \t\r\n"
_FS_BYTE, _CR_BYTE, _LF_BYTE, _VT_BYTE = 0x1C, 0x0D, 0x0A, 0x0B


class Fault(StrEnum):
    """Ways in which framing can be wrong; the values are metric labels."""

    GARBAGE = "garbage_before_frame"
    ENDLESS_GARBAGE = "endless_garbage"
    NO_CR = "no_cr_after_fs"
    FS_IN_DATA = "fs_in_data"
    VT_IN_DATA = "vt_in_data"
    CUT = "cut_by_new_frame"
    TOO_LARGE = "too_large"
    PARTIAL = "partial_frame"


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame; ``data`` is what stood between VT and FS, byte for byte."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that is to be answered with a refusal.

    Attributes:
        fault: ``CUT`` or ``TOO_LARGE``.
        start: the first bytes of it, at most ``KEPT_OF_REFUSED``.
    """

    fault: Fault
    start: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """Something wrong that is counted but not answered; it stands before the frame it belongs to.

    Attributes:
        fault: what was wrong.
        count: bytes dropped, or how often it was seen in the frame.
    """

    fault: Fault
    count: int


Event = Frame | Refused | Noted


class FrameReader:
    """Reads frames from bytes as they come: ``feed`` bytes, then take events with ``next`` until it has none.

    Each byte is looked at a bounded number of times however small the packets are, and at most
    ``limit`` bytes and what was fed but not yet taken are kept.

    Args:
        limit: the largest message in bytes.
        garbage_limit: the most bytes that may stand between two frames, blanks not counted.
    """

    def __init__(self, limit: int, garbage_limit: int = 64 * 1024) -> None:
        self._limit = limit
        self._garbage_limit = garbage_limit
        self._buffer = bytearray()
        self._scanned = 0  # in a frame: the buffer holds nothing special before this position
        self._in_frame = False
        self._skipping = False  # in a frame that was refused for its size
        self._garbage = 0
        self._stray_fs = 0
        self._stray_vt = 0
        self._finished = False
        self._dead = False
        self._events: deque[Event] = deque()

    @property
    def buffered(self) -> int:
        """Bytes that are kept now."""
        return len(self._buffer)

    @property
    def awaits_cr(self) -> bool:
        """Whether all of a frame but its last CR has come, so that ``expire`` would end it."""
        return (
            self._in_frame
            and self._scanned == len(self._buffer) - 1
            and self._buffer[self._scanned] == _FS_BYTE
        )

    @property
    def is_dead(self) -> bool:
        """Whether nothing more will be read because of endless garbage."""
        return self._dead

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes in, any number of them."""
        if not self._dead:
            self._buffer += data

    def finish(self) -> None:
        """No more bytes will come: what remains is judged once all frames before it were taken."""
        self._finished = True

    def expire(self) -> None:
        """The sender has been silent after an FS: take the frame as ended. Does nothing at any other point."""
        if self.awaits_cr:
            self._note(Fault.NO_CR, 1)
            self._end_frame(self._scanned, self._scanned + 1)

    def next(self) -> Event | None:
        """The next event, or None where more bytes are needed."""
        while not self._events:
            if not (self._read_frame() if self._in_frame else self._find_start()):
                self._judge_rest()
                break
        return self._events.popleft() if self._events else None

    def _note(self, fault: Fault, count: int) -> None:
        self._events.append(Noted(fault, count))

    def _find_start(self) -> bool:
        """Go to the next VT; False where there is none yet."""
        start = self._buffer.find(VT)
        between = self._buffer[: start if start >= 0 else len(self._buffer)]
        self._garbage += len(between.translate(None, _BLANKS))
        if self._garbage > self._garbage_limit:
            self._note(Fault.ENDLESS_GARBAGE, self._garbage_limit)
            self._garbage = 0
            self._dead = True
            self._buffer.clear()
            return False
        if start < 0:
            self._buffer.clear()
            return False
        del self._buffer[: start + 1]
        if self._garbage:
            self._note(Fault.GARBAGE, self._garbage)
            self._garbage = 0
        self._in_frame = True
        self._scanned = 0
        return True

    def _read_frame(self) -> bool:
        """Go to the next byte that may end the frame; False where that needs more bytes."""
        buffer = self._buffer
        found = _SPECIAL.search(buffer, self._scanned)
        at = found.start() if found else len(buffer)
        if not self._skipping and (at > self._limit if found else at > self._limit + _LOOK_AHEAD):
            self._refuse(Fault.TOO_LARGE, at)
            self._skipping = True
        if self._skipping:
            del buffer[:at]
            at = 0
        self._scanned = at
        if found is None:
            return False
        return self._at_fs(at) if buffer[at] == _FS_BYTE else self._at_vt(at)

    def _at_fs(self, at: int) -> bool:
        if at + 1 == len(self._buffer):
            return False
        after = self._buffer[at + 1]
        if after == _CR_BYTE:
            self._end_frame(at, at + 2)
        elif after in (_LF_BYTE, _VT_BYTE):
            self._note(Fault.NO_CR, 1)
            self._end_frame(at, at + 2 if after == _LF_BYTE else at + 1)
        else:
            self._stray_fs += 1
            self._scanned = at + 1
        return True

    def _at_vt(self, at: int) -> bool:
        ahead = bytes(self._buffer[at + 1 : at + 1 + _LOOK_AHEAD])
        if ahead.startswith(_STARTS):
            if at and not self._skipping:
                self._refuse(Fault.CUT, at)
            self._skipping = False
            del self._buffer[: at + 1]
            self._scanned = 0
            self._stray_fs = self._stray_vt = 0
            return True
        if len(ahead) < _LOOK_AHEAD and any(start.startswith(ahead) for start in _STARTS):
            return False
        self._stray_vt += 1
        self._scanned = at + 1
        return True

    def _end_frame(self, end: int, consumed: int) -> None:
        if not self._skipping:
            self._note_strays()
            with memoryview(self._buffer) as view:
                self._events.append(Frame(bytes(view[:end])))
        del self._buffer[:consumed]
        self._in_frame = self._skipping = False
        self._stray_fs = self._stray_vt = 0

    def _refuse(self, fault: Fault, end: int) -> None:
        self._note_strays()
        self._events.append(Refused(fault, bytes(self._buffer[: min(end, self._limit, KEPT_OF_REFUSED)])))

    def _note_strays(self) -> None:
        if self._stray_fs:
            self._note(Fault.FS_IN_DATA, self._stray_fs)
        if self._stray_vt:
            self._note(Fault.VT_IN_DATA, self._stray_vt)
        self._stray_fs = self._stray_vt = 0

    def _judge_rest(self) -> None:
        """After ``finish``, when no whole frame is left: say what remains, once."""
        if not self._finished:
            return
        if self.awaits_cr:
            self.expire()
        elif self._in_frame:
            if not self._skipping:
                self._note(Fault.PARTIAL, len(self._buffer))
            self._buffer.clear()
            self._in_frame = self._skipping = False
        elif self._garbage:
            self._note(Fault.GARBAGE, self._garbage)
            self._garbage = 0


def framed(message: bytes) -> bytes:
    """A message in its frame."""
    return b"%b%b%b" % (VT, message, END)
