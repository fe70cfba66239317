"""The MLLP listener: many connections, each message acknowledged once Kafka has it.

Delivery: a message that was acknowledged with AA or CA is in Kafka, on all in-sync replicas. One that was answered
    AE, or not at all because the connection or this process ended, may be there too; its sender sends it again, and
    the lake takes a message only once.
Ordering: the messages of a connection are answered in the order they came, and handed to Kafka in that order but for
    those that go to an object first or are tried again (nothing that the tables say depends on it).
Memory: ``memory_limit``, one message of the largest size, and 64 KiB for each connection; Kafka's client holds what is
    under way (part of the limit) a second time. Beyond it sockets are not read from, and senders wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from connectors.listening.budget import Budget
from connectors.listening.open_ports import OpenPorts
from connectors.listening.reports import Tally
from connectors.listening.sources import Candidates, Match
from connectors.mllp.acknowledge import Answer, ControlIds, Outcome, answer
from connectors.mllp.frame import Fault, Frame, FrameReader, Noted, Refused, framed
from connectors.mllp.metrics import (
    ACKNOWLEDGED,
    ANSWERS_UNSENT,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    CONNECTIONS_REFUSED,
    DELIVERY_SECONDS,
    FRAMING_FAULTS,
    RECEIVED,
    RECEIVED_BYTES,
    REFUSED,
    SECONDS,
)
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, StoredObject, record_for
from schemas.errors import IngestError, MessageError, TransportError
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source

log = structlog.get_logger(__name__)

MOST_UNDER_WAY = 64
"""Messages of one connection that may be on their way to Kafka at a time (senders that do not wait for answers)."""

CR_SECONDS = 0.3
"""A frame whose FS is followed by nothing for so long is taken as ended."""

RETRY_SECONDS = 1.0
STOP_SECONDS = 30.0
"""Patience with what is under way when the listener or a connection ends."""

READ_BYTES = 64 * 1024
TOO_LARGE = "The message is larger than the limit of its source."


@dataclass(frozen=True)
class Service:
    """What all connections share.

    Attributes:
        topic: Kafka topic.
        deliver: returns once Kafka has the record, raises where it has not.
        store: writes a message that is too large for Kafka to the lake's objects (blocking; run in a thread).
        matches: configured sources.
        default: source of what no configured one fits.
        waits: while Kafka or the store is away: let the sender wait (True) or answer AE.
        threshold: bytes of the largest message that goes into a Kafka record.
        memory_limit: bytes held by all connections together, where the listener has a budget of its own.
        max_connections: open at a time.
    """

    topic: str
    deliver: Callable[[Record], Awaitable[None]]
    store: Callable[[bytes], StoredObject]
    matches: tuple[Match, ...]
    default: Source
    waits: bool = False
    threshold: int = OBJECT_THRESHOLD
    memory_limit: int = 256 * 1024 * 1024
    max_connections: int = 2_000


class Listener(OpenPorts["Connection"]):
    """Listens on one or more ports until it is stopped.

    Args:
        service: what the connections do with messages.
        budget: shared with other listeners of this process; None for one of its own.
    """

    def __init__(self, service: Service, budget: Budget | None = None) -> None:
        super().__init__("mllp", budget or Budget(service.memory_limit), CONNECTIONS, STOP_SECONDS)
        self.service = service
        self.ids = ControlIds()
        self.read_buffer = memoryview(
            bytearray(READ_BYTES)
        )  # bytes are copied out of it before the next read

    def connection(self) -> Connection:
        """What serves one sender."""
        return Connection(self)


class Connection(asyncio.BufferedProtocol):
    """One sender."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.service = listener.service
        self.budget = listener.budget
        self.candidates = Candidates((), self.service.default)
        self.reader = FrameReader(0)
        self.answers: deque[asyncio.Task[Answer]] = deque()
        self.transport: asyncio.Transport | None = None
        self.tally = Tally()
        self.peer = ""
        self.port = 0
        self._opened = self._heard = time.monotonic()
        self._held = 0  # bytes in the reader that the budget counts
        self._paused = False
        self._stopping = False
        self._ending_since: float | None = None  # cannot write, or waits for the last bytes to be taken
        self._expiry: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._writer: asyncio.Task[None] | None = None

    @property
    def heard(self) -> float:
        """When something was last heard of the sender or said to it (monotonic seconds)."""
        return self._heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self.listener.connections) >= self.service.max_connections:
            CONNECTIONS_REFUSED.labels("too_many").inc()
            transport.abort()
            return
        self.transport = transport
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        self.port = int((transport.get_extra_info("sockname") or ("", 0))[1])
        self.candidates = Candidates.of(self.service.matches, self.service.default, self.port, self.peer)
        self.reader = FrameReader(self.candidates.size_limit)
        self.listener.add(self)
        self._writer = asyncio.get_running_loop().create_task(self._write_answers())
        self._writer.add_done_callback(self._written)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """One buffer serves all connections: what was read is taken out of it before anything else runs."""
        return self.listener.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.transport is None:
            return
        self._heard = time.monotonic()
        RECEIVED_BYTES.inc(nbytes)
        self.tally.bytes += nbytes
        self.listener.reports.total.bytes += nbytes
        self.reader.feed(self.listener.read_buffer[:nbytes])
        self._advance()

    def eof_received(self) -> bool:
        if self.transport is None:
            return False
        self.reader.finish()
        self._stopping = True
        self._advance()
        self._more.set()
        # the answers that are under way are still written, but TLS cannot be closed by halves
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended plays no part
        if self.transport is None:
            return
        self.transport = None
        self._stopping = True
        self.reader.finish()
        self._advance()
        self._more.set()
        self._may_write.set()
        if self._writer is None or self._writer.done():
            self._gone()

    def _gone(self) -> None:
        """Neither transport nor writer is left; whoever is last says so."""
        if self not in self.listener.connections:
            return
        if self._expiry is not None:
            self._expiry.cancel()
        held, self._held = self._held, 0
        self.reader = FrameReader(0)
        self.budget.release(held)
        self.budget.forget(self)
        self.listener.discard(self)
        level = log.info if self.tally.received else log.debug
        seconds = round(time.monotonic() - self._opened, 1)
        level("connection_closed", peer=self.peer, port=self.port, seconds=seconds, **self.tally.as_fields())

    def pause_writing(self) -> None:
        self._may_write.clear()
        self._ending_since = time.monotonic()

    def resume_writing(self) -> None:
        self._may_write.set()
        if self.transport is not None and not self.transport.is_closing():
            self._ending_since = None

    def resume(self) -> None:
        """Read on: bytes were freed."""
        if self._paused and self.transport is not None:
            self._paused = False
            self._heard = time.monotonic()
            self.transport.resume_reading()
            self._advance()

    def _advance(self) -> None:
        """Take the frames that are whole, as far as the bounds allow; then read on or wait."""
        while len(self.answers) < MOST_UNDER_WAY and (event := self.reader.next()) is not None:
            self._take(event)
        self._count()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self.transport is None:
            return
        if self.reader.is_dead:
            CONNECTIONS_CLOSED.labels(Fault.ENDLESS_GARBAGE.value).inc()
            self.stop()
            return
        if self.reader.awaits_cr:
            self._expiry = asyncio.get_running_loop().call_later(CR_SECONDS, self._expire)
        full = len(self.answers) >= MOST_UNDER_WAY
        if not self._paused and (full or self.budget.must_wait(self)):
            self._paused = True
            self.transport.pause_reading()

    def _expire(self) -> None:
        self.reader.expire()
        self._advance()

    def _count(self) -> None:
        """Tell the budget how many bytes the reader keeps."""
        change = self.reader.buffered - self._held
        self._held = self.reader.buffered
        if change > 0:
            self.budget.hold(change)
        elif change < 0:
            self.budget.release(-change)

    def _take(self, event: Frame | Refused | Noted) -> None:
        if isinstance(event, Noted):
            FRAMING_FAULTS.labels(event.fault.value).inc()
            return
        self.budget.settled(self)
        self.tally.received += 1
        self.listener.reports.total.received += 1
        if isinstance(event, Refused):
            FRAMING_FAULTS.labels(event.fault.value).inc()
            work = self._refuse(event)
        else:
            self.budget.hold(len(event.data))
            self.budget.begin()
            work = self._store(event.data)
        self.answers.append(asyncio.get_running_loop().create_task(work))
        self._more.set()

    async def _refuse(self, refused: Refused) -> Answer:
        """The answer to a message that was not kept."""
        try:
            header = read_header(refused.start, self.candidates.charset)
        except MessageError:
            header = None
        RECEIVED.labels(self._source(header).name).inc()
        if refused.fault is Fault.TOO_LARGE:
            return self._answer(header, Outcome.REFUSED, "MLLP-TOO-LARGE", TOO_LARGE)
        return self._answer(header, Outcome.REFUSED, "MLLP-CUT", "A new message began before this one ended.")

    def _source(self, header: Header | None) -> Source:
        return self.candidates.source_of(header) if header is not None else self.candidates.without_header

    async def _store(self, data: bytes) -> Answer:
        """Everything between a whole message and its acknowledgement."""
        began = time.monotonic()
        header: Header | None = None
        source = self.candidates.without_header
        try:
            try:
                header = read_header(data, self.candidates.charset)
            except MessageError as problem:
                RECEIVED.labels(source.name).inc()
                return self._answer(None, Outcome.REFUSED, problem.code, "No MSH segment can be read.")
            source = self.candidates.source_of(header)
            RECEIVED.labels(source.name).inc()
            if not header.control_id.strip():
                return self._answer(header, Outcome.REFUSED, "HL7-CONTROL-ID-MISSING", "MSH-10 is empty.")
            if len(data) > source.size_limit:
                return self._answer(header, Outcome.REFUSED, "MLLP-TOO-LARGE", TOO_LARGE)
            await self._until_stored(data, header, source, datetime.now(UTC))
            return self._answer(header, Outcome.STORED)
        except IngestError as error:
            self.listener.reports.trouble("messages_not_stored", self.peer, source.name, error.code)
            return self._answer(header, Outcome.NOT_STORED, error.code, "Not stored; send it again.")
        except Exception as error:  # noqa: BLE001 - a sender must never be left without an answer
            log.error("message_failed", peer=self.peer, source=source.name, kind=type(error).__name__)
            return self._answer(header, Outcome.NOT_STORED, "MLLP-INTERNAL", "Not stored; send it again.")
        finally:
            SECONDS.observe(time.monotonic() - began)
            self.budget.release(len(data))
            self.budget.end()

    async def _until_stored(self, data: bytes, header: Header, source: Source, received: datetime) -> None:
        stored: StoredObject | None = None
        while True:
            try:
                if len(data) > self.service.threshold and stored is None:
                    stored = await asyncio.to_thread(self.service.store, data)
                record = record_for(data, header, source, received, stored=stored, topic=self.service.topic)
                handed_over = time.monotonic()
                await self.service.deliver(record)
            except TransportError as error:
                # waiting helps only against what passes: other errors are answered at once
                if not self.service.waits or self._stopping:
                    raise
                self.listener.reports.trouble("senders_wait", self.peer, source.name, error.code)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                DELIVERY_SECONDS.observe(time.monotonic() - handed_over)
                return

    def _answer(self, header: Header | None, outcome: Outcome, code: str = "", sentence: str = "") -> Answer:
        for tally in (self.tally, self.listener.reports.total):
            tally.stored += outcome is Outcome.STORED
            tally.not_stored += outcome is Outcome.NOT_STORED
            tally.refused += outcome is Outcome.REFUSED
        if code:
            REFUSED.labels(code).inc()
        else:
            self.listener.reports.stored()
        now = datetime.now(UTC).astimezone()
        return answer(header, outcome, now, self.listener.ids, code=code, sentence=sentence)

    async def _write_answers(self) -> None:
        """Write answers in the order of the messages, until there will be no more."""
        while True:
            while self.answers:
                reply = await self.answers[0]
                self.answers.popleft()
                await self._may_write.wait()
                self._write(reply)
                self._go_on()
            if self._stopping:
                return
            self._more.clear()
            await self._more.wait()

    def _written(self, writer: asyncio.Task[None]) -> None:
        """Nothing more will be written: the connection ends."""
        error = None if writer.cancelled() else writer.exception()
        if error is not None:
            log.error("connection_failed", peer=self.peer, kind=type(error).__name__)
        if self.transport is None:
            self._gone()
        else:
            self._ending_since = time.monotonic()
            self.transport.close()

    def _write(self, reply: Answer) -> None:
        if self.transport is None or self.transport.is_closing():
            ANSWERS_UNSENT.inc()
            return
        if reply.messages:
            self.transport.write(b"".join(framed(message) for message in reply.messages))
        for code in reply.codes:
            ACKNOWLEDGED.labels(code).inc()
        self._heard = time.monotonic()

    def _go_on(self) -> None:
        """An answer was written: there is room for another message of this connection."""
        if not self._paused or self.transport is None:
            if self._stopping and self.reader.buffered:
                self._advance()
            return
        while len(self.answers) < MOST_UNDER_WAY and (event := self.reader.next()) is not None:
            self._take(event)
        self._count()
        if len(self.answers) < MOST_UNDER_WAY and not self._stopping and not self.budget.must_wait(self):
            self.resume()

    def tick(self, now: float) -> None:
        """Once a second: end a connection that has long been idle, or that takes no answers."""
        if self._ending_since is not None:
            if now - self._ending_since > min(STOP_SECONDS, self.candidates.idle_timeout):
                CONNECTIONS_CLOSED.labels("takes_no_answers").inc()
                self.abort()
        elif not self.answers and not self._paused and now - self._heard > self.candidates.idle_timeout:
            CONNECTIONS_CLOSED.labels("idle").inc()
            self.stop()

    def stop(self) -> None:
        """Read no more; end once what is under way was answered."""
        self._stopping = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._more.set()

    def give_up(self) -> None:
        CONNECTIONS_CLOSED.labels("stalled").inc()
        self.abort()

    def abort(self) -> None:
        """End at once, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
        if self._writer is not None:
            self._writer.cancel()
