"""One end of a line between an instrument and its host (ASTM E1381-95 §6, CLSI LIS1-A), without I/O or clock.

Both ends are the same machine, and each can send. It is told bytes and the time, and says what to send, what came in
and until when it may be left alone::

                    ENQ, answered ACK                     frame completes a message
    NEUTRAL ─────────────────────────► RECEIVING ─────────────────────────────────► STORING
       ▲  ▲   EOT, or silence for 30 s    │   ▲        stored: ACK, not stored: NAK     │
       │  └───────────────────────────────┘   └─────────────────────────────────────────┘
       │        ACK           last frame
       └── ENQUIRING ──► SENDING ──► EOT

Delivery: a frame that completes a message is answered ACK only after ``settle`` said that the message is safe. The
    others before it are answered at once; should the line fall silent or break before the message ends, what came of it
    is dropped, and the sender, whose message was not acknowledged to its end, sends it again. A sender that ends the
    session itself, with every frame acknowledged and no L record, need not know that anything is missing: what it sent
    is handed over (``Left``), to be stored without an answer.

What becomes of what is out of the ordinary, besides the faults of frames (``connectors.astm.frame``):

======================================  ============================================================================
what comes in                           outcome
======================================  ============================================================================
a broken frame                          NAK; after six resends of it (§6.5.1) no more answers until EOT, and what
                                        came of the message is dropped (``RESENDS``)
the number of the last frame again,     ACK, and the frame is dropped (``REPEATED``): its answer was lost
with the same text
another number than the next            NAK (``NUMBER``); also the last number with another text
more bytes than the size limit          NAK to each frame until EOT (``TOO_LARGE``)
the frame that waits for its message    dropped (``REPEATED``): one answer follows for both
to be stored, again
EOT while that waits                    not answered any more (``UNANSWERED``); the sender sends the message again
EOT within a message, all frames of     the message is handed over as far as it came (``LEFT``), since its frames were
which were acknowledged                 acknowledged
EOT within a message, after a frame     the sender gave up: what came of it is dropped (``ABORTED``)
that was refused, or silence
the next H without an L before          the message ends there (``NO_TERMINATOR``), and is kept as it is
ENQ between frames                      no answer: the first byte of a frame may have been garbled, and an ACK would
                                        be taken for that frame's. ENQ again, with nothing between: a new session
ENQ while busy                          NAK (``BUSY``), to be tried again after 10 s (§6.2)
ENQ as the answer to ENQ                contention (§6.2): the instrument tries again after 1 s, the host yields
                                        and tries again after 20 s
garbage as an answer                    passed over: an answer counted twice would acknowledge a frame too many
EOT as the answer to a frame            ACK, and the wish to stop (§6.3.5): we stop after the message's last frame,
                                        and go on after 15 s
======================================  ============================================================================
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from connectors.astm.frame import (
    ACK,
    ENQ,
    EOT,
    FRAME_TEXT,
    LARGEST_FRAME_TEXT,
    NAK,
    NUMBERS,
    Broken,
    Control,
    Fault,
    Frame,
    FrameReader,
    Noted,
    Token,
    framed,
    parts_of,
)
from connectors.astm.messages import Joiner, is_ended

MOST_RESENDS = 6
"""A frame is sent so often again before its sender gives up (§6.5.1)."""


class Role(Enum):
    """Which end of the line it is; instruments go first where both want to send."""

    HOST = "host"
    INSTRUMENT = "instrument"


@dataclass(frozen=True)
class Times:
    """Seconds of the standard (§6.5.2, §6.2), and how long we wait for a message to be stored.

    Attributes:
        reply: for the answer to ENQ or a frame.
        receiver: for the next frame or EOT.
        busy: after NAK to ENQ, before the next try.
        interrupted: after the other end wished to stop.
        contention: the host's wait after contention, and the instrument's.
        store: until a frame is answered NAK whose message is not stored; shorter than a sender's ``reply``.
    """

    reply: float = 15.0
    receiver: float = 30.0
    busy: float = 10.0
    interrupted: float = 15.0
    contention: tuple[float, float] = (20.0, 1.0)
    store: float = 12.0


STANDARD = Times()


class Phase(Enum):
    """Where the line is."""

    NEUTRAL = "neutral"
    RECEIVING = "receiving"
    STORING = "storing"
    GAVE_UP = "gave_up"
    ENQUIRING = "enquiring"
    SENDING = "sending"


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to be sent now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """Messages that a frame completed; to be answered by ``settle`` with the same ticket.

    Attributes:
        ticket: of this frame, as it came this time.
        messages: records, each ended by CR.
    """

    ticket: int
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """What was acknowledged of a message whose session ended before it did. Nobody waits for an answer.

    Attributes:
        message: records; each ended by CR, but for the last where only a part of it came.
    """

    message: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that was offered is at the other end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Messages that were offered could not be delivered.

    Attributes:
        count: how many.
        fault: why the last try failed.
    """

    count: int
    fault: Fault


Event = Send | Received | Left | Delivered | Failed | Noted


class Line:
    """A line; see the module's text.

    Args:
        role: which end this is.
        size_limit: bytes of the largest message that is taken.
        times: of the standard.
        frame_text: bytes of text in a frame that is sent.
        frame_limit: bytes of text in a frame that is taken.
        tries: how often a session is begun before its messages have failed.

    Attributes:
        phase: where it is.
        busy: ENQ is answered NAK; set with ``Left``, until whoever keeps that says otherwise.
        wishes_to_stop: the last frame of a message is answered EOT instead of ACK.
        frame: number of the last frame that came in, for log lines.
    """

    def __init__(
        self, role: Role, *, size_limit: int, times: Times = STANDARD, frame_text: int = FRAME_TEXT,
        frame_limit: int = LARGEST_FRAME_TEXT, tries: int = 3,
    ) -> None:  # fmt: skip
        self.role = role
        self.phase = Phase.NEUTRAL
        self.busy = False
        self.wishes_to_stop = False
        self.frame = 0
        self._size_limit = size_limit
        self._times = times
        self._frame_text = frame_text
        self._tries = tries
        self._reader = FrameReader(frame_limit)
        self._reader.take_frames(wanted=False)
        self._events: deque[Event] = deque()
        self._timer: float | None = None
        # what comes in
        self._joiner = Joiner()
        self._expected = 1
        self._last: tuple[int, bytes] | None = None
        self._refusals = 0
        self._refuses = False
        self._enq_before = False
        self._ticket = 0
        self._waiting: tuple[int, bytes] | None = None
        # what goes out
        self._outbox: deque[list[bytes]] = deque()
        self._frames: list[tuple[bytes, bool, bool]] = []
        self._stops = False
        self._sent = 0
        self._resends = 0
        self._failures = 0
        self._not_before = 0.0

    @property
    def held(self) -> int:
        """Bytes that are kept now of what came in, besides the messages that were handed over."""
        return self._reader.buffered + self._joiner.kept

    @property
    def is_dead(self) -> bool:
        """Whether nothing more will be read because of endless garbage."""
        return self._reader.is_dead

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way in either direction."""
        return self.phase is Phase.NEUTRAL and not self._outbox

    @property
    def is_neutral(self) -> bool:
        """Whether no session is under way."""
        return self.phase is Phase.NEUTRAL

    @property
    def offered(self) -> int:
        """Sessions that are to be sent."""
        return len(self._outbox)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do; None: only when bytes come."""
        if self.phase is Phase.NEUTRAL:
            return self._not_before if self._outbox else None
        return self._timer

    def next(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Bytes came in.

        Args:
            data: any number of them.
            now: monotonic seconds.
        """
        self._reader.feed(data)
        while (token := self._reader.next()) is not None:
            self._take(token, now)

    def finish(self) -> None:
        """The connection has ended: what was begun is dropped, what was offered has failed."""
        self._reader.finish()
        while (token := self._reader.next()) is not None:
            if isinstance(token, Noted):
                self._note(token.fault, token.count)
        if self.phase is Phase.STORING:
            self._note(Fault.UNANSWERED)
        self._end_session()
        left = sum(map(len, self._outbox))
        if left:
            self._events.append(Failed(left, Fault.CUT))
        self._outbox.clear()
        self._go(Phase.NEUTRAL)

    def defer(self, now: float) -> None:
        """Bytes were not read for a while, so the other end has not been silent: count its time anew."""
        if self._timer is not None and self.phase in (Phase.RECEIVING, Phase.GAVE_UP):
            self._timer = now + self._times.receiver

    def tick(self, now: float) -> None:
        """Do what is due: to be called at ``deadline``, or every second or so."""
        due = self.deadline
        if due is None or now < due:
            return
        match self.phase:
            case Phase.NEUTRAL:
                self._enquire(now)
            case Phase.RECEIVING | Phase.GAVE_UP:
                self._note(Fault.TIMEOUT)
                self._end_session()
            case Phase.STORING:
                self._settle(stored=False, now=now)
            case Phase.ENQUIRING | Phase.SENDING:
                self._send(EOT)
                self._try_again(Fault.TIMEOUT, now + self._times.busy)

    def settle(self, ticket: int, *, stored: bool, now: float) -> bool:
        """Whether the messages of a frame are safe.

        Returns:
            Whether that frame was still waited for; else nothing is said.
        """
        waited_for = self.phase is Phase.STORING and ticket == self._ticket
        if waited_for:
            self._settle(stored=stored, now=now)
        return waited_for

    def offer(self, messages: Sequence[bytes], now: float) -> None:
        """Messages to be sent in one session, as soon as the line is free.

        Args:
            messages: records, each ended by CR.
            now: monotonic seconds.
        """
        self._outbox.append(list(messages))
        if self.phase is Phase.NEUTRAL and now >= self._not_before:
            self._enquire(now)

    # -- what comes in ------------------------------------------------------------------------------------------

    def _take(self, token: Token, now: float) -> None:
        again, self._enq_before = self._enq_before, False
        match token:
            case Noted(fault, count):
                self._note(fault, count)
            case Control.ENQ:
                self._enq(again, now)
            case Control.EOT:
                self._eot(now)
            case Control.ACK | Control.NAK:
                self._reply(token, now)
            case Frame():
                self._frame_came(token, now)
            case Broken(fault):
                self._note(fault)
                if self.phase is Phase.RECEIVING:
                    self._refuse(now)

    def _enq(self, again: bool, now: float) -> None:
        match self.phase:
            case Phase.NEUTRAL:
                self._begin_session(now)
            case Phase.ENQUIRING:
                self._note(Fault.CONTENTION)
                host, instrument = self._times.contention
                self._go(Phase.NEUTRAL)
                self._not_before = now + (host if self.role is Role.HOST else instrument)
            case Phase.RECEIVING | Phase.STORING | Phase.GAVE_UP if again:
                self._end_session()
                self._begin_session(now)
            case _:
                self._note(Fault.UNEXPECTED)
                self._enq_before = True

    def _begin_session(self, now: float) -> None:
        if self.busy:
            self._note(Fault.BUSY)
            self._send(NAK)
            return
        self._go(Phase.RECEIVING)
        self._expected, self._last = 1, None
        self._refusals, self._refuses = 0, False
        self.frame = 0
        self._answer(ACK, now)

    def _end_session(self) -> None:
        """Back to neutral; what is there of a message is dropped."""
        if not self._joiner.is_empty and self.phase is not Phase.STORING:
            self._note(Fault.ABORTED)
        self._joiner.clear()
        self._waiting = None
        self._ticket += 1
        self._go(Phase.NEUTRAL)
        self._timer = None

    def _eot(self, now: float) -> None:
        match self.phase:
            case Phase.STORING:
                self._note(Fault.UNANSWERED)
                self._end_session()
            case Phase.RECEIVING:
                left = self._joiner.rest if not self._refusals else b""
                if left:
                    self._note(Fault.LEFT)
                    self._joiner.clear()
                    self._events.append(Left(left))
                    self.busy = True  # until its keeper says otherwise
                self._end_session()
            case Phase.GAVE_UP:
                self._end_session()
            case Phase.SENDING:
                self._acknowledged(now, stop=True)
        self.tick(now)  # what is offered may have waited for this

    def _frame_came(self, frame: Frame, now: float) -> None:
        mark = (frame.number, _digest(frame))
        if self.phase is Phase.STORING:
            self._note(Fault.REPEATED if mark == self._waiting else Fault.UNEXPECTED)
            return
        if self.phase is not Phase.RECEIVING:
            self._note(Fault.UNEXPECTED)
            return
        self.frame = frame.number
        if self._refuses:
            self._refuse(now)
        elif mark == self._last:
            self._note(Fault.REPEATED)
            self._answer(ACK, now)
        elif frame.number != self._expected:
            self._note(Fault.NUMBER)
            self._refuse(now)
        elif self._joiner.held + len(frame.text) > self._size_limit:
            self._note(Fault.TOO_LARGE)
            self._joiner.clear()
            self._refuses = True
            self._refuse(now)
        else:
            self._take_frame(frame, mark, now)

    def _take_frame(self, frame: Frame, mark: tuple[int, bytes], now: float) -> None:
        messages = self._joiner.add(frame.text, ends=frame.ends)
        self._waiting = mark
        if not messages:
            self._accept(now)
            return
        self._ticket += 1
        unended = sum(not is_ended(message) for message in messages)
        if unended:
            self._note(Fault.NO_TERMINATOR, unended)
        self._go(Phase.STORING)
        self._timer = now + self._times.store
        self._events.append(Received(self._ticket, messages))

    def _settle(self, *, stored: bool, now: float) -> None:
        self._go(Phase.RECEIVING)
        if stored:
            self._joiner.commit()
            self._accept(now, message=True)
        else:
            self._joiner.undo()
            self._refuse(now)

    def _accept(self, now: float, *, message: bool = False) -> None:
        """The frame is taken."""
        self._last, self._waiting = self._waiting, None
        self._expected = (self._expected + 1) % NUMBERS
        self._refusals = 0
        self._answer(EOT if message and self.wishes_to_stop and self._joiner.is_empty else ACK, now)

    def _refuse(self, now: float) -> None:
        """The frame is to be sent again."""
        self._refusals += 1
        if self._refusals <= MOST_RESENDS + 1:
            self._answer(NAK, now)
        if self._refusals > MOST_RESENDS:
            self._note(Fault.RESENDS)
            if not self._joiner.is_empty:
                self._note(Fault.ABORTED)
            self._joiner.clear()
            self._go(Phase.GAVE_UP)

    def _answer(self, reply: bytes, now: float) -> None:
        self._send(reply)
        self._timer = now + self._times.receiver

    # -- what goes out ------------------------------------------------------------------------------------------

    def _enquire(self, now: float) -> None:
        self._frames = []
        self._go(Phase.ENQUIRING)
        self._timer = now + self._times.reply
        self._send(ENQ)

    def _reply(self, reply: Control, now: float) -> None:
        match self.phase, reply:
            case Phase.ENQUIRING, Control.ACK:
                self._go(Phase.SENDING)
                self._frames = [frame for message in self._outbox[0] for frame in self._frames_of(message)]
                self._sent = self._resends = 0
                self._stops = False
                self._send_frame(now)
            case Phase.ENQUIRING, Control.NAK:
                self._try_again(Fault.BUSY, now + self._times.busy)
            case Phase.SENDING, Control.ACK:
                self._acknowledged(now)
            case Phase.SENDING, Control.NAK if self._resends < MOST_RESENDS:
                self._resends += 1
                self._send_frame(now)
            case Phase.SENDING, Control.NAK:
                self._send(EOT)
                self._try_again(Fault.RESENDS, now + self._times.busy)
            case _:
                self._note(Fault.UNEXPECTED)

    def _frames_of(self, message: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        """Text, whether a record ends with it, whether the message does."""
        parts = list(parts_of(message, self._frame_text))
        for number, (text, ends) in enumerate(parts, 1):
            yield text, ends, number == len(parts)

    def _send_frame(self, now: float) -> None:
        text, ends, _ = self._frames[self._sent]
        self._send(framed((self._sent + 1) % NUMBERS, text, ends=ends))
        self._timer = now + self._times.reply

    def _acknowledged(self, now: float, *, stop: bool = False) -> None:
        self._stops = self._stops or stop
        is_last = self._frames[self._sent][2]
        self._sent += 1
        self._resends = 0
        if is_last:
            self._outbox[0].pop(0)
            self._failures = 0
            self._events.append(Delivered())
        if not is_last or (self._outbox[0] and not self._stops):
            self._send_frame(now)
            return
        if not self._outbox[0]:
            self._outbox.popleft()
        self._send(EOT)
        self._go(Phase.NEUTRAL)
        self._timer = None
        self._not_before = now + self._times.interrupted if self._stops else now

    def _try_again(self, fault: Fault, not_before: float) -> None:
        """A session ended before its messages were delivered: begin another with what remains, or give up."""
        self._note(fault)
        self._go(Phase.NEUTRAL)
        self._timer = None
        self._not_before = not_before
        self._failures += 1
        if self._failures >= self._tries:
            self._failures = 0
            self._events.append(Failed(len(self._outbox.popleft()), fault))

    def _go(self, phase: Phase) -> None:
        self.phase = phase
        self._reader.take_frames(wanted=phase in (Phase.RECEIVING, Phase.STORING, Phase.GAVE_UP))

    def _send(self, data: bytes) -> None:
        self._events.append(Send(data))

    def _note(self, fault: Fault, count: int = 1) -> None:
        self._events.append(Noted(fault, count))


def _digest(frame: Frame) -> bytes:
    return hashlib.blake2b(frame.text, digest_size=16).digest()
