"""Send messages as an instrument does (ASTM E1381) and gather the answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import replace

from connectors.astm.client import AstmClient
from connectors.astm.messages import asks
from connectors.astm.session import STANDARD
from jobs.send import Sent
from schemas.errors import IngestError

ANSWER_SECONDS = 5.0
"""How long to listen for the answer to a query."""


async def send_all_astm(
    messages: Iterable[bytes], host: str, port: int, *, connections: int = 1, tls: ssl.SSLContext | None = None,
    patience: float = STANDARD.reply, retries: int = 0,
) -> Sent:  # fmt: skip
    """Send messages over some lines at once, each in a session of its own.

    Args:
        messages: records, each ended by CR.
        host: of the listener.
        port: of the listener.
        connections: at once.
        tls: None for a plain connection.
        patience: seconds to wait for an answer, up to the 15 of the standard.
        retries: how often to send a message again that was refused, ten seconds later.

    Raises:
        TransportError: ``ASTM-UNREACHABLE``.
    """
    sent = Sent()
    waiting: Iterator[bytes] = iter(messages)
    times = replace(STANDARD, reply=min(patience, STANDARD.reply))

    async def one() -> None:
        client = AstmClient(times, tries=1 + retries)
        await client.connect(host, port, tls)
        try:
            for message in waiting:
                try:
                    outcome = await client.send([message])
                    _count(sent, "ACK", "", outcome.delivered)
                    for fault, count in outcome.failed.items():
                        _count(sent, "NAK", fault.value, count)
                    if outcome.delivered and asks(message):
                        sent.replies += await client.listen(ANSWER_SECONDS)
                        client.received.clear()
                except IngestError:
                    sent.unanswered += 1
                    await client.close()
                    client = AstmClient(times, tries=1 + retries)
                    await client.connect(host, port, tls)
        finally:
            await client.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return sent


def _count(sent: Sent, code: str, reason: str, count: int) -> None:
    if count:
        sent.answers[code, reason] = sent.answers.get((code, reason), 0) + count
