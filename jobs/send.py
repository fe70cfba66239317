"""Send messages over MLLP and gather the answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from connectors.mllp.client import Acknowledgement, MllpClient
from schemas.errors import IngestError, MessageError

NOT_STORED = ("AE", "CE")
ACCEPTED = ("AA", "CA", "ACK")
RETRY_SECONDS = 1.0


@dataclass
class Sent:
    """What came of sending.

    Attributes:
        answers: (MSA-1, or ACK and NAK of an instrument's host; reason) → how many messages; the reason is empty
            where all is well.
        unanswered: messages for which no answer came though one had to.
        not_asked: messages that ask for no answer (MSH-15, MSH-16), or only in case of an error, and got none.
        replies: messages with which an instrument's queries were answered.
    """

    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    unanswered: int = 0
    not_asked: int = 0
    replies: list[bytes] = field(default_factory=list)

    @property
    def codes(self) -> dict[str, int]:
        """MSA-1, or ACK and NAK → how many messages."""
        found: dict[str, int] = {}
        for (code, _), count in sorted(self.answers.items()):
            found[code] = found.get(code, 0) + count
        return found

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → how many messages."""
        found: dict[str, int] = {}
        for (_, reason), count in sorted(self.answers.items()):
            if reason:
                found[reason] = found.get(reason, 0) + count
        return found

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + self.unanswered + self.not_asked

    @property
    def accepted(self) -> int:
        return sum(self.codes.get(code, 0) for code in ACCEPTED)

    @property
    def failed(self) -> int:
        """Messages that were not accepted, or whose answer is missing."""
        return self.total - self.accepted - self.not_asked

    def count(self, answer: Acknowledgement | None) -> None:
        """A message was sent."""
        if answer is None:
            self.not_asked += 1
            return
        key = (answer.code, answer.reason)
        self.answers[key] = self.answers.get(key, 0) + 1


async def send_all(
    messages: Iterable[bytes], host: str, port: int, *, connections: int = 1, tls: ssl.SSLContext | None = None,
    patience: float = 60.0, retries: int = 0,
) -> Sent:  # fmt: skip
    """Send messages over some connections at once, each waiting for its answer before the next.

    Args:
        messages: as they are to be sent.
        host: of the listener.
        port: of the listener.
        connections: at once.
        tls: None for a plain connection.
        patience: seconds to wait for an answer.
        retries: how often to send a message again that was answered AE or CE, a second later.

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
                    answer = await client.ask(message)
                    for _ in range(retries):
                        if answer is None or answer.code not in NOT_STORED:
                            break
                        await asyncio.sleep(RETRY_SECONDS)
                        answer = await client.ask(message)
                    sent.count(answer)
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
