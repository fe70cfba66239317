"""The C-STORE SCP: associations, objects, answers (PS3.4 annex B, PS3.7 §9.1).

Delivery: Success is answered only when the object is in the lake and its record is confirmed by Kafka. Where anything
    fails in between, the sender is told and sends again; the object has the same place then, and the record is a
    duplicate downstream. A crash repeats, it never loses.
Ordering: of an association, as sent; objects of a study have the same key.
Memory: two buffers of 256 KiB for each association, whatever the size of the objects.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from connectors.dicom.commands import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    OUT_OF_RESOURCES,
    SUCCESS,
    UNRECOGNISED_OPERATION,
    Command,
    read_command,
    response,
)
from connectors.dicom.metrics import (
    ANSWERED,
    ASSOCIATIONS,
    ASSOCIATIONS_ABORTED,
    ASSOCIATIONS_REFUSED,
    REFUSED,
    SECONDS,
)
from connectors.dicom.sources import TOO_MANY, DicomSource, Rejection, find_source
from connectors.dicom.storage import TOO_LARGE, Answer, Incoming, Keep
from connectors.dicom.upper_layer import (
    ABORT,
    DATA,
    INVALID_PARAMETER,
    RELEASE_RQ,
    RELEASED,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    Context,
    GoneError,
    ProtocolError,
    Request,
    Wire,
    aborted,
    command_pdu,
    negotiate,
    read_pdu_head,
    read_request,
    rejected,
)
from connectors.listening.reports import Reports

log = structlog.get_logger(__name__)

REQUEST_SECONDS: Final = 30.0
"""How long a new connection may take to say what it wants (the ARTIM timer, PS3.8 §9.1.5), TLS included."""

GRACE_SECONDS: Final = 30.0
"""How long objects that are under way may take when the listener stops."""

FAREWELL_SECONDS: Final = 5.0
"""How long the other side may take to close after a last PDU (state 13, PS3.8 §9.2). Closing at once, with bytes of it
unread, would reset the connection, and the PDU that says why would be lost on its way."""

TICK_SECONDS: Final = 1.0

REJECTED_AT_ONCE: Final = 16
"""Connections beyond the limit that are told so; further ones are just closed."""

COMMAND_LIMIT: Final = 64 * 1024


@dataclass(frozen=True)
class DicomService:
    """What a listener for DICOM works with.

    Attributes:
        sources: all of protocol ``dicom``.
        keep: stores what came in and delivers its record.
        max_associations: open at a time, of all sources.
    """

    sources: tuple[DicomSource, ...]
    keep: Keep
    max_associations: int = 64


class DicomListener:
    """Open ports and their associations, a thread for each."""

    def __init__(self, service: DicomService) -> None:
        self.service = service
        self._lock = threading.Lock()
        self._open: dict[_Association, str] = {}
        self._threads = 0
        self._stopping = threading.Event()
        self._sockets: list[socket.socket] = []
        self._accepting: list[threading.Thread] = []
        self._reports = Reports("dicom")

    def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a port, for the sources that have it.

        Returns:
            the port, where 0 was given.

        Raises:
            OSError: it cannot be had.
        """
        sources = [one for one in self.service.sources if one.port == port]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=128)
        listening.settimeout(TICK_SECONDS)
        self._sockets.append(listening)
        thread = threading.Thread(
            target=self._accept, args=(listening, sources, tls), name=f"dicom-{port}", daemon=True
        )
        self._accepting.append(thread)
        thread.start()
        return int(listening.getsockname()[1])

    def close(self) -> None:
        """Take no more associations, answer the objects that are under way, end."""
        self._stopping.set()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._accepting:
            thread.join()
        deadline = time.monotonic() + GRACE_SECONDS
        while True:
            with self._lock:
                left = list(self._open)
                running = self._threads
            if not running:
                return
            late = time.monotonic() > deadline
            for association in left:
                association.stop(now=late)
            if late:
                log.warning("dicom_associations_cut", associations=running)
                return
            time.sleep(0.05)

    def admit(self, association: _Association, source: DicomSource) -> bool:
        """Count an association, unless there are too many."""
        with self._lock:
            counted = [name for name in self._open.values() if name]
            if (
                len(counted) >= self.service.max_associations
                or counted.count(source.source.name) >= source.max_associations
            ):
                return False
            self._open[association] = source.source.name
            ASSOCIATIONS.set(len(counted) + 1)
            return True

    def count(self, peer: str, source: str, answer: Answer, size: int) -> None:
        """An object was answered."""
        ANSWERED.labels(f"{answer.status:04X}").inc()
        total = self._reports.total
        with self._lock:
            total.received += 1
            total.bytes += size
            if answer.status == SUCCESS:
                total.stored += 1
                self._reports.stored()
                return
            REFUSED.labels(answer.reason).inc()
            if answer.status == OUT_OF_RESOURCES and answer.reason != TOO_LARGE:
                total.not_stored += 1
                self._reports.trouble("dicom_object_not_stored", peer, source, answer.reason)
                return
            total.refused += 1
        log.warning(
            "dicom_object_refused", peer=peer, source=source, code=answer.reason,
            status=f"{answer.status:04X}",
        )  # fmt: skip

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def _accept(
        self, listening: socket.socket, sources: Sequence[DicomSource], tls: ssl.SSLContext | None
    ) -> None:
        while not self.stopping:
            try:
                with self._lock:
                    self._reports.tick(time.monotonic(), len(self._open))
                connection, address = listening.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self.stopping:  # no file descriptors, or a connection that was gone again
                    log.warning("dicom_accept_failed", errno=error.errno or 0)
                    self._stopping.wait(0.1)
                continue
            with self._lock:
                allowed = self._threads < self.service.max_associations + REJECTED_AT_ONCE
                self._threads += allowed
            if not allowed:
                ASSOCIATIONS_REFUSED.labels(TOO_MANY.reason).inc()
                connection.close()
                continue
            threading.Thread(
                target=self._run, args=(connection, str(address[0]), sources, tls), name="dicom", daemon=True
            ).start()

    def _run(
        self,
        connection: socket.socket,
        peer: str,
        sources: Sequence[DicomSource],
        tls: ssl.SSLContext | None,
    ) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.settimeout(REQUEST_SECONDS)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            association = _Association(self, connection, peer, sources)
            with self._lock:
                self._open[association] = ""
            try:
                association.run()
                with self._lock:
                    self._open[association] = ""
                    stopping = self.stopping
                if not stopping:
                    association.part()
            finally:
                with self._lock:
                    del self._open[association]
                    ASSOCIATIONS.set(sum(1 for name in self._open.values() if name))
        except (OSError, ssl.SSLError) as error:
            ASSOCIATIONS_ABORTED.labels("tls" if isinstance(error, ssl.SSLError) else "connection").inc()
        finally:
            connection.close()
            with self._lock:
                self._threads -= 1


@dataclass(eq=False)
class _Association:
    """One association, from its request to its end; all but ``stop`` is its own thread's."""

    listener: DicomListener
    connection: socket.socket
    peer: str
    candidates: Sequence[DicomSource]
    _wire: Wire = field(init=False)
    _source: DicomSource = field(init=False)
    _contexts: Mapping[int, Context] = field(default_factory=dict)
    _called: str = ""
    _context_id: int = 0
    _command_bytes: bytearray = field(default_factory=bytearray)
    _command: Command | None = None
    _incoming: Incoming | None = None
    _busy: bool = False

    def __post_init__(self) -> None:
        self._wire = Wire(self.connection)

    def stop(self, *, now: bool) -> None:
        """From another thread: end, at once where no message is under way."""
        if now or not self._busy:
            with contextlib.suppress(OSError):
                # not SSLSocket's own: that takes TLS away from the thread that is reading
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR if now else socket.SHUT_RD)

    def part(self) -> None:
        """After its end: say no more, and wait until the other side has closed, or long enough."""
        until = time.monotonic() + FAREWELL_SECONDS
        plain = socket.socket  # what comes now is not looked at, and TLS has no half that could be closed
        with contextlib.suppress(OSError):
            plain.shutdown(self.connection, socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not plain.recv(self.connection, COMMAND_LIMIT):
                    return

    def run(self) -> None:
        """Serve it."""
        try:
            request = read_request(self._wire)
            found = self._admitted(request)
            if isinstance(found, Rejection):
                ASSOCIATIONS_REFUSED.labels(found.reason).inc()
                self._wire.send(rejected(found))
                return
            self._source = found
            self.connection.settimeout(found.source.idle_timeout)
            answer, self._contexts = negotiate(request)
            self._wire.send(answer)
            self._serve()
        except ProtocolError as error:
            self._break_off("protocol", error.reason)
        except GoneError:
            if self.listener.stopping and not self._busy:
                self._break_off("stopping", None)
            else:
                ASSOCIATIONS_ABORTED.labels("gone").inc()
        finally:
            if self._incoming is not None:
                self._incoming.close()

    def _break_off(self, why: str, reason: int | None) -> None:
        ASSOCIATIONS_ABORTED.labels(why).inc()
        with contextlib.suppress(GoneError):
            self._wire.send(aborted(reason))

    def _admitted(self, request: Request) -> DicomSource | Rejection:
        found = find_source(self.candidates, self.peer, request.called, request.calling)
        if isinstance(found, DicomSource) and not self.listener.admit(self, found):
            return TOO_MANY
        return found

    def _serve(self) -> None:
        while True:
            if self.listener.stopping and not self._busy:
                self._break_off("stopping", None)
                return
            kind, length = read_pdu_head(self._wire)
            if kind == DATA:
                self._data(length)
            elif kind == RELEASE_RQ:
                self._wire.take(min(length, 4))
                self._wire.send(RELEASED)
                return
            elif kind == ABORT:
                ASSOCIATIONS_ABORTED.labels("by-sender").inc()
                return
            else:
                raise ProtocolError(UNEXPECTED_PDU if 0 < kind < ABORT else UNRECOGNISED_PDU)

    def _data(self, left: int) -> None:
        """A P-DATA-TF PDU: presentation data values, each a fragment (PS3.8 §9.3.5, annex E)."""
        while left > 0:
            if left < 6:
                raise ProtocolError(INVALID_PARAMETER)
            head = self._wire.need(6)
            length, context_id, control = int.from_bytes(head[:4], "big"), head[4], head[5]
            if length < 2 or length + 4 > left or context_id not in self._contexts:
                raise ProtocolError(INVALID_PARAMETER)
            left -= length + 4
            self._busy = True
            if control & 1:
                self._command_fragment(context_id, length - 2, last=bool(control & 2))
            else:
                self._data_fragment(context_id, length - 2, last=bool(control & 2))

    def _command_fragment(self, context_id: int, length: int, *, last: bool) -> None:
        if self._command is not None or len(self._command_bytes) + length > COMMAND_LIMIT:
            raise ProtocolError(INVALID_PARAMETER)
        self._command_bytes += self._wire.take(length)
        if not last:
            return
        command = read_command(bytes(self._command_bytes))
        self._command_bytes = bytearray()
        if command is None:
            raise ProtocolError(INVALID_PARAMETER)
        self._command, self._context_id = command, context_id
        if command.number(COMMAND_FIELD) == C_STORE_RQ:
            self._incoming = Incoming.of(
                command, self._contexts[context_id], self._source.source, self.listener.service.keep.folder
            )
        if not command.has_data_set:
            self._whole()

    def _data_fragment(self, context_id: int, length: int, *, last: bool) -> None:
        if self._command is None or context_id != self._context_id:
            raise ProtocolError(INVALID_PARAMETER)
        while length:
            view = self._wire.some(length)
            length -= len(view)
            if self._incoming is not None:
                self._incoming.write(view)
        if last:
            self._whole()

    def _whole(self) -> None:
        """A message is there with all that belongs to it."""
        command, incoming = self._command, self._incoming
        assert command is not None
        self._command = self._incoming = None
        kind = command.number(COMMAND_FIELD)
        if incoming is not None:
            started = time.monotonic()
            with contextlib.closing(incoming):
                answer = incoming.finished(self.listener.service.keep)
            SECONDS.observe(time.monotonic() - started)
            self.listener.count(self.peer, self._source.source.name, answer, incoming.size)
            self._answer(command, answer)
        elif kind == C_ECHO_RQ:
            self._answer(command, Answer(SUCCESS))
        elif kind != C_CANCEL_RQ:
            self._answer(command, Answer(UNRECOGNISED_OPERATION))
        self._busy = False

    def _answer(self, command: Command, answer: Answer) -> None:
        self._wire.send(command_pdu(self._context_id, response(command, answer.status, answer.reason)))
