"""A bound on the bytes that all connections hold together: when it is reached, senders wait."""

from __future__ import annotations

import time
from typing import Protocol

from connectors.listening.metrics import HELD_BYTES, UNDER_WAY, WAITING

FAVOUR_SECONDS = 30.0
"""How long a favoured connection may take to finish its message while others wait for memory."""

STALL_SECONDS = 5.0
"""How long it may send nothing at all."""


class Reader(Protocol):
    """A connection that can be told to read on, or to end."""

    @property
    def heard(self) -> float:
        """When a byte came last (monotonic seconds)."""

    def resume(self) -> None:
        """Read on."""

    def give_up(self) -> None:
        """End at once: what was begun is dropped, and its sender sends it again."""


class Budget:
    """Counts held bytes and says who must wait.

    When nothing is under way that could free bytes (all that is held are beginnings of messages), the connection
    that waits longest is favoured: it may go on beyond the bound until its message is whole. One is favoured at a
    time; should it stall, it is ended and the next one favoured. What is held is therefore never more than the
    limit, one message of the largest size, and what each connection reads from its socket in one go.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.under_way = 0
        self._waiting: dict[Reader, None] = {}
        self._favoured: Reader | None = None
        self._since = 0.0

    def hold(self, count: int) -> None:
        """Bytes came in."""
        self.held += count
        HELD_BYTES.set(self.held)

    def release(self, count: int) -> None:
        """Bytes are no longer held."""
        self.held -= count
        HELD_BYTES.set(self.held)
        self._wake()

    def begin(self) -> None:
        """A message is whole and on its way to Kafka."""
        self.under_way += 1
        UNDER_WAY.set(self.under_way)

    def end(self) -> None:
        """It was answered."""
        self.under_way -= 1
        UNDER_WAY.set(self.under_way)
        self._wake()

    def settled(self, reader: Reader) -> None:
        """A connection's message is whole or was refused: it is favoured no longer."""
        if self._favoured is reader:
            self._favoured = None

    def must_wait(self, reader: Reader) -> bool:
        """Whether a connection must stop reading; it is resumed later."""
        if self.held <= self.limit or reader is self._favoured:
            return False
        self._waiting[reader] = None
        if self._may_favour() and next(iter(self._waiting)) is reader:
            self._favour_first()
            return False
        WAITING.set(len(self._waiting))
        return True

    def forget(self, reader: Reader) -> None:
        """A connection is gone."""
        self._waiting.pop(reader, None)
        self.settled(reader)
        self._wake()

    def tick(self, now: float) -> None:
        """To be called every second or so: whoever is favoured may have stalled.

        Args:
            now: monotonic seconds.
        """
        reader = self._favoured
        if reader is not None and self._waiting:
            if now - self._since > FAVOUR_SECONDS or now - max(reader.heard, self._since) > STALL_SECONDS:
                reader.give_up()
                self.forget(reader)
        else:
            self._wake()

    def _may_favour(self) -> bool:
        return self.under_way == 0 and self._favoured is None

    def _favour_first(self) -> Reader:
        reader = next(iter(self._waiting))
        del self._waiting[reader]
        self._favoured, self._since = reader, time.monotonic()
        WAITING.set(len(self._waiting))
        return reader

    def _wake(self) -> None:
        while self._waiting and self.held <= self.limit:
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            reader.resume()
        if self._waiting and self._may_favour():
            self._favour_first().resume()
        WAITING.set(len(self._waiting))
