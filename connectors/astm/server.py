"""The listener of laboratory instruments: many lines, each message acknowledged to its end once Kafka has it.

Delivery: a message whose last frame was answered ACK is in Kafka, on all in-sync replicas. One whose last frame was
    answered NAK, or not at all because the session, the connection or this process ended, may be there too; its sender
    sends it again, and the lake takes a message only once. A message without an L record whose session its sender ended
    goes to Kafka too, after the fact: it is tried until Kafka has it or this process ends, and the line takes no
    session meanwhile.
Ordering: the messages of a line are handed to Kafka in the order they came, one after the other.
Memory: ``memory_limit`` (shared with other listeners), one message of the largest size, and 256 KiB for each
    connection. Beyond it sockets are not read from, and new sessions are refused (NAK), to be tried again.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog

from connectors.astm.frame import ACK, ENQ, EOT, NAK, Fault, Noted
from connectors.astm.messages import asks, no_information, record_of
from connectors.astm.metrics import (
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    CONNECTIONS_REFUSED,
    FAULTS,
    MESSAGES,
    NOT_STORED,
    QUERIES,
    RECEIVED,
    RECEIVED_BYTES,
    SECONDS,
    SENT,
)
from connectors.astm.session import (
    STANDARD,
    Delivered,
    Event,
    Failed,
    Left,
    Line,
    Received,
    Role,
    Send,
    Times,
)
from connectors.listening.budget import Budget
from connectors.listening.open_ports import OpenPorts
from connectors.listening.reports import TROUBLE_SECONDS, Tally
from connectors.listening.sources import Match
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, StoredObject
from schemas.errors import IngestError
from schemas.source import Source

log = structlog.get_logger(__name__)

MOST_UNDER_WAY = 4
"""Frames of one line whose messages may be on their way to Kafka at a time (senders that wait for no answers)."""

MOST_ANSWERS = 16
"""Answers to queries that a line may have before it."""

STOP_SECONDS = 10.0
"""Patience with sessions that are under way when the listener ends, and with a peer that takes no answers."""

_SENT = {ACK: "ack", NAK: "nak", EOT: "eot", ENQ: "enq"}
_LOGGED = frozenset(
    {
        Fault.ABORTED, Fault.LEFT, Fault.TOO_LARGE, Fault.RESENDS, Fault.TIMEOUT, Fault.UNANSWERED, Fault.NO_TERMINATOR,
        Fault.GARBAGE, Fault.ENDLESS_GARBAGE,
    }
)  # fmt: skip
"""Faults that somebody should look at, since a message may not have been taken, or not as a whole."""


@dataclass(frozen=True)
class Service:
    """What all connections share.

    Attributes:
        topic: Kafka topic.
        deliver: returns once Kafka has the record, raises where it has not.
        store: writes a message that is too large for Kafka to the lake's objects (blocking; run in a thread).
        matches: configured sources; a connection that none of them fits is refused.
        threshold: bytes of the largest message that goes into a Kafka record.
        memory_limit: bytes held by all connections together, where the listener has a budget of its own.
        max_connections: open at a time.
        times: of the standard.
        keep_seconds: until a message is tried again that nobody sends again.
    """

    topic: str
    deliver: Callable[[Record], Awaitable[None]]
    store: Callable[[bytes], StoredObject]
    matches: tuple[Match, ...]
    threshold: int = OBJECT_THRESHOLD
    memory_limit: int = 256 * 1024 * 1024
    max_connections: int = 2_000
    times: Times = STANDARD
    keep_seconds: float = 5.0


class Listener(OpenPorts["Connection"]):
    """Listens on one or more ports until it is stopped.

    Args:
        service: what the connections do with messages.
        budget: shared with other listeners of this process; None for one of its own.
    """

    def __init__(self, service: Service, budget: Budget | None = None) -> None:
        super().__init__("astm", budget or Budget(service.memory_limit), CONNECTIONS, STOP_SECONDS)
        self.service = service
        self._refused_at: float | None = None

    def connection(self) -> Connection:
        """What serves one line."""
        return Connection(self)

    def source_at(self, port: int, peer: str) -> Source | None:
        """Whose line it is; that of the most particular entry."""
        fitting = [match for match in self.service.matches if match.fits_connection(port, peer)]
        fitting.sort(key=lambda match: match.peer is None)
        return fitting[0].source if fitting else None

    def refused(self, reason: str, peer: str, port: int) -> None:
        """A connection was closed at once."""
        CONNECTIONS_REFUSED.labels(reason).inc()
        now = time.monotonic()
        if self._refused_at is None or now - self._refused_at > TROUBLE_SECONDS:
            self._refused_at = now
            code = "ASTM-" + reason.upper().replace("_", "-")
            log.warning("connection_refused", protocol="astm", peer=peer, port=port, code=code)


class Connection(asyncio.Protocol):
    """One line."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.service = listener.service
        self.budget = listener.budget
        self.source = Source("astm")
        self.line = Line(Role.HOST, size_limit=0)
        self.transport: asyncio.Transport | None = None
        self.tally = Tally()
        self.peer = ""
        self.port = 0
        self._opened = self._heard = time.monotonic()
        self._held = 0  # bytes in the line that the budget counts
        self._storing: set[asyncio.Task[None]] = set()
        self._keeping = 0  # messages that nobody sends again
        self._paused = False
        self._stopping = False
        self._takes_nothing_since: float | None = None
        self._said: dict[Fault, float] = {}

    @property
    def heard(self) -> float:
        """When something was last heard of the sender or said to it (monotonic seconds)."""
        return self._heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.peer = str((transport.get_extra_info("peername") or ("",))[0])
        self.port = int((transport.get_extra_info("sockname") or ("", 0))[1])
        source = self.listener.source_at(self.port, self.peer)
        full = len(self.listener.connections) >= self.service.max_connections
        if source is None or full:
            self.listener.refused("too_many" if full else "no_source", self.peer, self.port)
            transport.abort()
            return
        self.transport, self.source = transport, source
        self.line = Line(Role.HOST, size_limit=source.size_limit, times=self.service.times)
        opened = transport.get_extra_info("socket")
        if (
            opened is not None
        ):  # a line is silent for hours; whether the instrument is still there, TCP finds out
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.listener.add(self)
        log.debug("connection_opened", protocol="astm", peer=self.peer, port=self.port, source=source.name)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            return
        self._heard = time.monotonic()
        RECEIVED_BYTES.inc(len(data))
        self.tally.bytes += len(data)
        self.listener.reports.total.bytes += len(data)
        self.line.busy = self._refuses_sessions
        self.line.feed(data, self._heard)
        self._act()

    @property
    def _refuses_sessions(self) -> bool:
        return self._stopping or self._keeping > 0 or self.budget.held > self.budget.limit

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended plays no part
        if self.transport is None:
            return
        self.transport = None
        self.line.finish()
        self._act()
        self._gone()

    def _gone(self) -> None:
        """The connection has ended; whoever is last says so."""
        if self.transport is not None or self._storing or self not in self.listener.connections:
            return
        self.budget.forget(self)
        self.listener.discard(self)
        level = log.info if self.tally.received else log.debug
        level(
            "connection_closed", protocol="astm", peer=self.peer, port=self.port, source=self.source.name,
            seconds=round(time.monotonic() - self._opened, 1), **self.tally.as_fields(),
        )  # fmt: skip

    def pause_writing(self) -> None:
        """The peer takes no answers: read no more from it."""
        self._takes_nothing_since = time.monotonic()
        self._pause()

    def resume_writing(self) -> None:
        self._takes_nothing_since = None
        self._read_on()

    def resume(self) -> None:
        """Read on: bytes were freed."""
        self._read_on()

    def _pause(self) -> None:
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if not self._paused or self.transport is None or self.transport.is_closing():
            return
        full = len(self._storing) >= MOST_UNDER_WAY or self._takes_nothing_since is not None
        if full or self.budget.must_wait(self):
            return
        self._paused = False
        self._heard = time.monotonic()
        self.line.defer(self._heard)
        self.transport.resume_reading()

    def _act(self) -> None:
        """Do what the line says; then read on, wait, or end."""
        said = bytearray()
        while (event := self.line.next()) is not None:
            if isinstance(event, Send):
                SENT.labels(_SENT.get(event.data, "frame")).inc()
                said += event.data
            else:
                self._do(event)
        if said and self.transport is not None and not self.transport.is_closing():
            self.transport.write(bytes(said))
        change, self._held = self.line.held - self._held, self.line.held
        if change > 0:
            self.budget.hold(change)
        elif change < 0:
            self.budget.release(-change)
        if self.transport is None:
            return
        if self.line.is_dead:
            CONNECTIONS_CLOSED.labels(Fault.ENDLESS_GARBAGE.value).inc()
            self.abort()
        elif self._stopping and self.line.is_neutral and not self._storing:
            self.transport.close()
        elif len(self._storing) >= MOST_UNDER_WAY or self.budget.must_wait(self):
            self._pause()

    def _do(self, event: Event) -> None:
        match event:
            case Received(ticket, messages):
                self._take(messages, lambda received: self._store(ticket, messages, received))
            case Left(message):
                self._keeping += 1
                self._take((message,), lambda received: self._keep(message, received))
            case Noted(fault, count):
                self._note(fault, count)
            case Delivered():
                QUERIES.labels("delivered").inc()
            case Failed(count):
                QUERIES.labels("failed").inc(count)

    def _note(self, fault: Fault, count: int) -> None:
        FAULTS.labels(self.source.name, fault.value).inc(count)
        now = time.monotonic()
        if fault in _LOGGED and now - self._said.get(fault, -TROUBLE_SECONDS) >= TROUBLE_SECONDS:
            self._said[fault] = now
            code = "ASTM-" + fault.name.replace("_", "-")
            log.warning(
                "line_fault", protocol="astm", peer=self.peer, port=self.port, source=self.source.name, code=code,
                frame=self.line.frame,
            )  # fmt: skip

    def _take(
        self, messages: tuple[bytes, ...], work: Callable[[datetime], Coroutine[None, None, None]]
    ) -> None:
        """Begin what is to be done with messages that are there, and count what they hold."""
        self.budget.settled(self)
        self.budget.hold(sum(map(len, messages)))
        self.budget.begin()
        for tally in (self.tally, self.listener.reports.total):
            tally.received += len(messages)
        RECEIVED.labels(self.source.name).inc(len(messages))
        task = asyncio.get_running_loop().create_task(work(datetime.now(UTC)))
        self._storing.add(task)
        task.add_done_callback(self._stored)

    async def _store(self, ticket: int, messages: tuple[bytes, ...], received: datetime) -> None:
        """Everything between the frame that completes messages and its answer."""
        began = time.monotonic()
        try:
            reason = await self._deliver(messages, received)
        finally:
            self.budget.release(sum(map(len, messages)))
            self.budget.end()
        self._count(len(messages), reason)
        SECONDS.observe(time.monotonic() - began)
        self._heard = time.monotonic()
        waited_for = self.line.settle(ticket, stored=not reason, now=self._heard)
        if waited_for and not reason:
            self._answer_queries(messages)

    async def _keep(self, message: bytes, received: datetime) -> None:
        """What nobody waits for, or sends again: tried until it is safe."""
        try:
            while reason := await self._deliver((message,), received):
                self._count(1, reason)
                await asyncio.sleep(self.service.keep_seconds)
        except asyncio.CancelledError:
            log.error(
                "message_lost", protocol="astm", peer=self.peer, source=self.source.name, code="ASTM-LEFT"
            )
            raise
        finally:
            self.budget.release(len(message))
            self.budget.end()
            self._keeping -= 1
            self.line.busy = self._refuses_sessions
        self._count(1, "")
        self._answer_queries((message,))

    async def _deliver(self, messages: tuple[bytes, ...], received: datetime) -> str:
        """Messages to Kafka; the code of why that failed, or nothing."""
        try:
            for message in messages:
                large = len(message) > self.service.threshold
                stored = await asyncio.to_thread(self.service.store, message) if large else None
                await self.service.deliver(
                    record_of(message, self.source, received, self.service.topic, stored)
                )
        except IngestError as error:
            self.listener.reports.trouble("messages_not_stored", self.peer, self.source.name, error.code)
            return error.code
        except Exception as error:  # noqa: BLE001 - the frame is refused, and its sender sends it again
            log.error("message_failed", peer=self.peer, source=self.source.name, kind=type(error).__name__)
            return "ASTM-INTERNAL"
        return ""

    def _count(self, messages: int, reason: str) -> None:
        for tally in (self.tally, self.listener.reports.total):
            tally.stored += 0 if reason else messages
            tally.not_stored += messages if reason else 0
        MESSAGES.labels("not_stored" if reason else "stored").inc(messages)
        if reason:
            NOT_STORED.labels(reason).inc(messages)
        else:
            self.listener.reports.stored()

    def _answer_queries(self, messages: tuple[bytes, ...]) -> None:
        """There is nothing to offer to those who ask; they hear so once the line is theirs to listen on."""
        now = datetime.now(ZoneInfo(self.source.time_zone))
        for message in messages:
            if asks(message) and self.line.offered < MOST_ANSWERS:
                self.line.offer([no_information(message, now)], self._heard)

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        self._act()
        self._read_on()
        self._gone()

    def tick(self, now: float) -> None:
        """Once a second: what is due on the line; end a connection that was long idle, or that takes no answers."""
        if self.transport is None:
            return
        if self._takes_nothing_since is not None and now - self._takes_nothing_since > STOP_SECONDS:
            CONNECTIONS_CLOSED.labels("takes_no_answers").inc()
            self.abort()
        elif not self._paused:
            self.line.tick(now)
            self._act()
            if self.line.is_idle and not self._storing and now - self._heard > self.source.idle_timeout:
                CONNECTIONS_CLOSED.labels("idle").inc()
                if self.transport is not None:
                    self.transport.close()

    def stop(self) -> None:
        """Begin no more sessions; end once the message that is under way was answered."""
        self._stopping = True
        self.line.busy = self.line.wishes_to_stop = True
        self._act()

    def give_up(self) -> None:
        CONNECTIONS_CLOSED.labels("stalled").inc()
        self.abort()

    def abort(self) -> None:
        """End at once, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()
