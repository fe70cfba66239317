"""A bound on the bytes that all connections hold together: when it is reached, senders wait."""

from __future__ import annotations

from typing import Protocol

from connectors.mllp.metrics import HELD_BYTES, WAITING


class Reader(Protocol):
    """A connection that can be told to read on."""

    def resume(self) -> None: ...


class Budget:
    """Counts held bytes and says who must wait.

    When nothing is under way that could free bytes (all that is held are beginnings of messages), the connection
    that waits longest is favoured: it may go on beyond the bound until its message is whole. Should it stall, the
    next one is favoured a second later.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.under_way = 0
        self._waiting: dict[Reader, None] = {}
        self._favoured: set[Reader] = set()

    def hold(self, count: int) -> None:
        """Bytes came in."""
        self.held += count
        HELD_BYTES.set(self.held)

    def release(self, count: int) -> None:
        """Bytes are no longer held."""
        self.held -= count
        HELD_BYTES.set(self.held)
        self._wake()

    def begin(self, reader: Reader) -> None:
        """A message of a connection is whole and on its way to Kafka."""
        self.under_way += 1
        self._favoured.discard(reader)

    def end(self) -> None:
        """It was answered."""
        self.under_way -= 1
        self._wake()

    def must_wait(self, reader: Reader) -> bool:
        """Whether a connection must stop reading; it is resumed later."""
        if self.held <= self.limit or reader in self._favoured:
            return False
        self._waiting[reader] = None
        WAITING.set(len(self._waiting))
        if self.under_way == 0 and not self._favoured and next(iter(self._waiting)) is reader:
            del self._waiting[reader]
            self._favoured.add(reader)
            WAITING.set(len(self._waiting))
            return False
        return True

    def forget(self, reader: Reader) -> None:
        """A connection is gone."""
        self._waiting.pop(reader, None)
        self._favoured.discard(reader)
        self._wake()

    def tick(self) -> None:
        """To be called now and then: whoever is favoured may have stalled."""
        if self._waiting and self.under_way == 0:
            self._favour()

    def _wake(self) -> None:
        while self._waiting and self.held <= self.limit:
            reader = next(iter(self._waiting))
            del self._waiting[reader]
            reader.resume()
        if self._waiting and self.under_way == 0 and not self._favoured:
            self._favour()
        WAITING.set(len(self._waiting))

    def _favour(self) -> None:
        reader = next(iter(self._waiting))
        del self._waiting[reader]
        self._favoured.add(reader)
        reader.resume()
