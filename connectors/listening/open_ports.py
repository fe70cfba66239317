"""Open ports and their connections, whatever protocol they speak: from the first port to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from prometheus_client import Gauge

from connectors.listening.budget import Budget, Reader
from connectors.listening.reports import Reports

TICK_SECONDS = 1.0


class Connected(Reader, Protocol):
    """A connection that is open."""

    def tick(self, now: float) -> None:
        """Once a second: what is due at a time (monotonic seconds)."""

    def stop(self) -> None:
        """Begin nothing more; end once what is under way was answered."""

    def abort(self) -> None:
        """End at once, whatever is under way."""


C = TypeVar("C", bound=Connected)


class OpenPorts(ABC, Generic[C]):
    """Listens on one or more ports until it is closed.

    Args:
        protocol: its name, for the log.
        budget: of the bytes that connections hold; may be shared with other listeners of this process.
        gauge: shows how many connections are open.
        stop_seconds: patience with what is under way when it is closed.
    """

    def __init__(self, protocol: str, budget: Budget, gauge: Gauge, stop_seconds: float) -> None:
        self.budget = budget
        self.reports = Reports(protocol)
        self.connections: set[C] = set()
        self._gauge = gauge
        self._stop_seconds = stop_seconds
        self._servers: list[asyncio.Server] = []
        self._watch: asyncio.Task[None] | None = None
        self._all_gone = asyncio.Event()

    @abstractmethod
    def connection(self) -> asyncio.BaseProtocol:
        """What serves a connection that comes in; it calls ``add`` and ``discard``."""

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a port (0 for any free one) and return it.

        Raises:
            OSError: the port cannot be had.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.connection, host, port, ssl=tls, backlog=1024)
        self._servers.append(server)
        if self._watch is None:
            self._watch = loop.create_task(self._watch_connections())
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take nothing more, let connections end with what is under way, then end."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.stop()
        if self.connections:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), self._stop_seconds)
        for connection in list(self.connections):
            connection.abort()
        if self._watch is not None:
            self._watch.cancel()

    def add(self, connection: C) -> None:
        """A connection was opened."""
        self.connections.add(connection)
        self._gauge.set(len(self.connections))

    def discard(self, connection: C) -> None:
        """A connection has ended, and nothing of it is under way."""
        self.connections.discard(connection)
        self._gauge.set(len(self.connections))
        if not self.connections:
            self._all_gone.set()

    async def _watch_connections(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.budget.tick(now)
            self.reports.tick(now, len(self.connections))
            for connection in list(self.connections):
                connection.tick(now)
