"""The MLLP listener: many connections, each message acknowledged once Kafka has it.

Delivery: a message that was acknowledged with AA or CA is in Kafka, on all in-sync replicas. One that was answered
    AE, or not at all because the connection or this process ended, may be there too; its sender sends it again, and
    the lake takes a message only once.
Ordering: the messages of a connection are handed to Kafka and answered in the order they came.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from connectors.mllp.acknowledge import Answer, ControlIds, Outcome, answer
from connectors.mllp.budget import Budget
from connectors.mllp.frame import Fault, Frame, FrameReader, Noted, Refused, framed
from connectors.mllp.metrics import (
    ACKNOWLEDGED,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    CONNECTIONS_REFUSED,
    FRAMING_FAULTS,
    RECEIVED,
    RECEIVED_BYTES,
    REFUSED,
    SECONDS,
)
from connectors.mllp.sources import Candidates, Match
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, StoredObject, record_for
from schemas.errors import IngestError, MessageError
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source

log = structlog.get_logger(__name__)

MOST_UNDER_WAY = 64
"""Messages of one connection that may be on their way to Kafka at a time (senders that do not wait for answers)."""

CR_SECONDS = 0.3
"""A frame whose FS is followed by nothing for so long is taken as ended."""

RETRY_SECONDS = 1.0
STOP_SECONDS = 30.0


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
        memory_limit: bytes held by all connections together.
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


class Listener:
    """Listens on one or more ports until it is stopped.

    Args:
        service: what the connections do with messages.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.budget = Budget(service.memory_limit)
        self.ids = ControlIds()
        self.connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a port (0 for any free one) and return it.

        Raises:
            OSError: the port cannot be had.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), host, port, ssl=tls, backlog=1024)
        self._servers.append(server)
        if self._watch is None:
            self._watch = loop.create_task(self._close_idle())
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no more messages, answer those that are under way, then end."""
        for server in self._servers:
            server.close()
        deadline = time.monotonic() + STOP_SECONDS
        for connection in list(self.connections):
            connection.stop()
        while self.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - an end with a deadline
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._watch is not None:
            self._watch.cancel()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            self.budget.tick()
            for connection in list(self.connections):
                if connection.is_idle(now):
                    CONNECTIONS_CLOSED.labels("idle").inc()
                    connection.close()


class Connection(asyncio.Protocol):
    """One sender."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.service = listener.service
        self.budget = listener.budget
        self.candidates = Candidates((), self.service.default)
        self.reader = FrameReader(0)
        self.answers: deque[asyncio.Task[Answer]] = deque()
        self.transport: asyncio.Transport | None = None
        self.heard = time.monotonic()
        self.peer = ""
        self._held = 0  # bytes in the reader that the budget counts
        self._paused = False
        self._stopping = False
        self._expiry: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._writer: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self.listener.connections) >= self.service.max_connections:
            CONNECTIONS_REFUSED.labels("too_many").inc()
            transport.abort()
            return
        self.transport = transport
        self.peer = str(transport.get_extra_info("peername", ("",))[0])
        port = int(transport.get_extra_info("sockname", ("", 0))[1])
        self.candidates = Candidates.of(self.service.matches, self.service.default, port, self.peer)
        self.reader = FrameReader(self.candidates.size_limit)
        self.listener.connections.add(self)
        CONNECTIONS.set(len(self.listener.connections))
        self._writer = asyncio.get_running_loop().create_task(self._write_answers())

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        RECEIVED_BYTES.inc(len(data))
        self.reader.feed(data)
        self._advance()

    def eof_received(self) -> bool:
        self.reader.finish()
        self._stopping = True
        self._advance()
        self._more.set()
        return True  # the answers that are under way are still written

    def connection_lost(self, _error: Exception | None) -> None:
        if self.transport is None:
            return
        self.transport = None
        self._stopping = True
        self.reader.finish()
        self._advance()
        self._more.set()
        self._may_write.set()
        self.budget.forget(self)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def resume(self) -> None:
        """Read on: bytes were freed."""
        if self._paused and self.transport is not None:
            self._paused = False
            self.heard = time.monotonic()
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
        if isinstance(event, Refused):
            FRAMING_FAULTS.labels(event.fault.value).inc()
            work = self._refuse(event)
        else:
            self.budget.hold(len(event.data))
            self.budget.begin(self)
            work = self._store(event.data)
        self.answers.append(asyncio.get_running_loop().create_task(work))
        self._more.set()

    async def _refuse(self, refused: Refused) -> Answer:
        code, sentence = {
            Fault.TOO_LARGE: ("MLLP-TOO-LARGE", "The message is larger than the limit of its source."),
        }.get(refused.fault, ("MLLP-CUT", "A new message began before this one ended."))
        try:
            header = read_header(refused.start, self.candidates.charset)
        except MessageError:
            header = None
        return self._answer(header, Outcome.REFUSED, code, sentence)

    async def _store(self, data: bytes) -> Answer:
        """Everything between a whole message and its acknowledgement."""
        began = time.monotonic()
        header: Header | None = None
        try:
            try:
                header = read_header(data, self.candidates.charset)
            except MessageError as problem:
                return self._answer(
                    None, Outcome.REFUSED, problem.code, "The message has no MSH segment to be read."
                )
            source = self.candidates.source_of(header)
            RECEIVED.labels(source.name).inc()
            if not header.control_id.strip():
                return self._answer(header, Outcome.REFUSED, "HL7-CONTROL-ID-MISSING", "MSH-10 is empty.")
            if len(data) > source.size_limit:
                return self._answer(
                    header,
                    Outcome.REFUSED,
                    "MLLP-TOO-LARGE",
                    "The message is larger than the limit of its source.",
                )
            await self._until_stored(data, header, source, datetime.now(UTC))
            return self._answer(header, Outcome.STORED)
        except IngestError as error:
            log.warning("message_not_stored", peer=self.peer, code=error.code)
            return self._answer(
                header, Outcome.NOT_STORED, error.code, "The message could not be stored; send it again."
            )
        except Exception as error:  # noqa: BLE001 - a sender must never be left without an answer
            log.error("message_failed", peer=self.peer, kind=type(error).__name__)
            return self._answer(
                header, Outcome.NOT_STORED, "MLLP-INTERNAL", "The message could not be stored."
            )
        finally:
            SECONDS.observe(time.monotonic() - began)
            self.budget.release(len(data))
            self.budget.end()

    async def _until_stored(self, data: bytes, header: Header, source: Source, received: datetime) -> None:
        while True:
            try:
                stored: StoredObject | None = None
                if len(data) > self.service.threshold:
                    stored = await asyncio.to_thread(self.service.store, data)
                record = record_for(data, header, source, received, stored=stored, topic=self.service.topic)
                await self.service.deliver(record)
            except IngestError as error:
                if not self.service.waits or self._stopping:
                    raise
                log.warning("sender_waits", peer=self.peer, code=error.code)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _answer(self, header: Header | None, outcome: Outcome, code: str = "", sentence: str = "") -> Answer:
        if code:
            REFUSED.labels(code).inc()
        now = datetime.now(UTC).astimezone()
        return answer(header, outcome, now, self.listener.ids, code=code, sentence=sentence)

    async def _write_answers(self) -> None:
        """Write answers in the order of the messages, until there will be no more."""
        try:
            while True:
                while self.answers:
                    reply = await self.answers[0]
                    self.answers.popleft()
                    await self._may_write.wait()
                    if self.transport is not None and reply.messages:
                        self.transport.write(b"".join(framed(message) for message in reply.messages))
                    for code in reply.codes:
                        ACKNOWLEDGED.labels(code).inc()
                    self.heard = time.monotonic()
                    self._go_on()
                if self._stopping:
                    return
                self._more.clear()
                await self._more.wait()
        finally:
            self.budget.release(self._held)
            self._held = 0
            self.listener.connections.discard(self)
            CONNECTIONS.set(len(self.listener.connections))
            self.budget.forget(self)
            if self.transport is not None:
                self.transport.close()

    def _go_on(self) -> None:
        """An answer was written: there is room for another message of this connection."""
        if not self._paused or self.transport is None:
            if self._stopping and self.reader.buffered:
                self._advance()
            return
        while len(self.answers) < MOST_UNDER_WAY and (event := self.reader.next()) is not None:
            self._take(event)
        self._count()
        if len(self.answers) < MOST_UNDER_WAY and not self.budget.must_wait(self):
            self.resume()

    def is_idle(self, now: float) -> bool:
        """Whether nothing was heard for longer than the source allows, and nothing is under way."""
        return not self.answers and not self._paused and now - self.heard > self.candidates.idle_timeout

    def stop(self) -> None:
        """Read no more; end once what is under way was answered."""
        self._stopping = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._more.set()

    def close(self) -> None:
        """End now; nothing is under way."""
        self.stop()

    def abort(self) -> None:
        """End at once, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
        if self._writer is not None:
            self._writer.cancel()


def tls_context(cert: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """TLS for a listener; with ``client_ca`` every sender must show a certificate that it signed.

    Raises:
        ssl.SSLError, OSError: the files are not what they should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def ports_of(matches: Sequence[Match], default: int) -> list[int]:
    """All ports to listen on: the common one, and those of sources that have their own."""
    return sorted({default, *(match.port for match in matches if match.port is not None)})
