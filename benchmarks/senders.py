"""Many MLLP senders in one process, each waiting for its answer before the next message.

``python -m benchmarks.senders HOST:PORT CONNECTIONS IDLE SECONDS WARM_UP``; prints one line of JSON. A process of its
own, so that what senders cost is not counted as the listener's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from itertools import islice
from typing import Final, cast

from connectors.mllp.frame import framed
from jobs.city.corpus import corpus

SAMPLES: Final = 20_000


class Sender(asyncio.Protocol):
    """A connection that sends the next message as soon as the last one is answered.

    Args:
        load: what all connections share.
        busy: whether it sends at all; others only stay open.
    """

    def __init__(self, load: Load, busy: bool) -> None:
        self.load = load
        self.busy = busy
        self.transport: asyncio.Transport | None = None
        self.answer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        assert self.transport is not None
        self.sent_at = time.perf_counter()
        self.transport.write(self.load.next())

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if not self.answer.endswith(b"\x1c\r"):
            return
        self.load.answered(time.perf_counter() - self.sent_at, b"|AA|" in self.answer)
        self.answer = b""
        if not self.load.over:
            self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.load.over:
            self.load.lost += 1


class Load:
    """Messages to send, and what came of them."""

    def __init__(self) -> None:
        self.frames = [framed(message) for message in islice(corpus(7, SAMPLES), SAMPLES)]
        self.number = 0
        self.counting = False
        self.over = False
        self.accepted = self.refused = self.lost = 0
        self.seconds = array("d")

    def next(self) -> bytes:
        self.number += 1
        return self.frames[self.number % SAMPLES]

    def answered(self, seconds: float, accepted: bool) -> None:
        if not self.counting:
            return
        self.seconds.append(seconds)
        self.accepted += accepted
        self.refused += not accepted


async def put_load(
    host: str, port: int, busy: int, idle: int, seconds: float, warm_up: float
) -> dict[str, float]:
    """Send over ``busy`` connections while ``idle`` more are open.

    Returns:
        messages a second, quantiles of the seconds to an answer, and how many were refused or lost.
    """
    load = Load()
    loop = asyncio.get_running_loop()
    senders: list[Sender] = []
    for number in range(busy + idle):
        _, sender = await loop.create_connection(lambda n=number: Sender(load, n < busy), host, port)  # type: ignore[misc]
        senders.append(sender)
    for sender in senders[:busy]:
        sender.send()
    await asyncio.sleep(warm_up)
    load.counting = True
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    load.counting = False
    took = time.perf_counter() - started
    load.over = True
    ordered = sorted(load.seconds) or [float("nan")]

    def quantile(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {
        "rate": load.accepted / took,
        "median": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
        "refused": load.refused,
        "lost": load.lost,
        "size": sum(map(len, load.frames)) / SAMPLES,
    }


def main() -> None:
    """See the module's text."""
    address, busy, idle, seconds, warm_up = sys.argv[1:]
    host, _, port = address.rpartition(":")
    print(
        json.dumps(
            asyncio.run(put_load(host, int(port), int(busy), int(idle), float(seconds), float(warm_up)))
        )
    )


if __name__ == "__main__":
    main()
