"""What listeners say in the log of all their connections: a line a minute, and troubles without a flood."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

REPORT_SECONDS = 60.0
TROUBLE_SECONDS = 10.0
"""While messages cannot be stored, the log says so once in so long, not for each of them."""


@dataclass
class Tally:
    """Messages of a connection, or of all, by what became of them."""

    received: int = 0
    stored: int = 0
    not_stored: int = 0
    refused: int = 0
    bytes: int = 0

    def as_fields(self) -> dict[str, int]:
        """For a log line."""
        return {
            "received": self.received, "stored": self.stored, "not_stored": self.not_stored,
            "refused": self.refused, "bytes": self.bytes,
        }  # fmt: skip


@dataclass
class Reports:
    """What the log says of all connections: a line a minute, and troubles without a flood.

    Attributes:
        protocol: whose connections.
        total: since the start.
    """

    protocol: str
    total: Tally = field(default_factory=Tally)
    _said_at: float = field(default_factory=time.monotonic)
    _said: int = 0
    _trouble_at: float | None = None
    _troubles: int = 0

    def trouble(self, event: str, peer: str, source: str, code: str) -> None:
        """A message could not be stored."""
        now = time.monotonic()
        self._troubles += 1
        if self._trouble_at is None or now - self._trouble_at > TROUBLE_SECONDS:
            log.warning(
                event, protocol=self.protocol, peer=peer, source=source, code=code, times=self._troubles
            )
            self._trouble_at, self._troubles = now, 0

    def stored(self) -> None:
        """One was stored."""
        if self._trouble_at is not None:
            self._trouble_at = None
            log.info("messages_stored_again", protocol=self.protocol, not_stored=self.total.not_stored)

    def tick(self, now: float, connections: int) -> None:
        """Once a minute, where anything came in: how much, how fast."""
        if now - self._said_at < REPORT_SECONDS:
            return
        if self.total.received > self._said:
            rate = (self.total.received - self._said) / (now - self._said_at)
            log.info(
                "listener_counts",
                protocol=self.protocol,
                connections=connections,
                per_second=round(rate, 1),
                **self.total.as_fields(),
            )
        self._said_at, self._said = now, self.total.received
