"""Send messages over MLLP and gather the answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from connectors.mllp.client import Acknowledgement, MllpClient, read_acknowledgement
from schemas.errors import IngestError, MessageError


@dataclass
class Sent:
    """What came of sending: answers by code, reasons of those that were not accepted.

    Attributes:
        codes: MSA-1 → how many.
        reasons: ERR-8 → how many.
        unanswered: messages for which no answer came.
    """

    codes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0

    @property
    def total(self) -> int:
        return sum(self.codes.values()) + self.unanswered

    @property
    def accepted(self) -> int:
        return self.codes.get("AA", 0) + self.codes.get("CA", 0)

    def count(self, answer: Acknowledgement) -> None:
        self.codes[answer.code] = self.codes.get(answer.code, 0) + 1
        if answer.reason:
            self.reasons[answer.reason] = self.reasons.get(answer.reason, 0) + 1


async def send_all(
    messages: Iterable[bytes], host: str, port: int, *, connections: int = 1, tls: ssl.SSLContext | None = None,
    patience: float = 60.0,
) -> Sent:  # fmt: skip
    """Send messages over some connections at once, each waiting for its answer before the next.

    Raises:
        TransportError: ``MLLP-UNREACHABLE``.
    """
    sent = Sent()
    waiting: Iterator[bytes] = iter(messages)

    async def one() -> None:
        client = MllpClient(patience)
        await client.connect(host, port, tls)
        try:
            for message in waiting:
                try:
                    sent.count(read_acknowledgement(await client.send(message)))
                except MessageError:
                    sent.unanswered += 1
                except IngestError:
                    sent.unanswered += 1
                    await client.close()
                    await client.connect(host, port, tls)
        finally:
            await client.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return sent
