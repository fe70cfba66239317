"""``phl listen`` with laboratory instruments: results a second until Kafka has confirmed their messages.

``python -m benchmarks.astm [--seconds S]``; starts its own Kafka. Instruments, listener and broker share the machine.
Each instrument waits for the answer to every frame, as the standard wants it: a message of ten results is fourteen
frames and sixteen answers. Beside it the same link without Kafka, which acknowledges at once and stores nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.listener import child
from benchmarks.measure import PeakMemory, show
from connectors.astm.client import AstmClient
from connectors.astm.server import Listener, Service
from connectors.listening.sources import Match
from connectors.records import Record
from connectors.routing import StoredObject
from jobs.services.kafka import start_kafka
from jobs.services.processes import stop
from schemas.source import Source

TITLE: Final = "analysers, every message confirmed by Kafka before its last frame is acknowledged"
LINES: Final = (1, 20, 100)
RESULTS: Final = 10
WARM_UP: Final = 3.0


def message(number: int) -> bytes:
    """A message of an analyser."""
    rows = [
        f"R|{n}|^^^T{n:02d}|{number % 977}.{n}|mmol/L|3.9^6.1|N||F||||20260301081500" for n in range(RESULTS)
    ]
    header = "H|\\^&|||Analyser^1.0|||||||P|LIS2-A2|20260301081500"
    order = f"O|1|S{number:08d}||^^^T00|R|20260301080000|||||||||SER"
    return "\r".join([header, f"P|1||P{number:08d}", order, *rows, "L|1|N", ""]).encode()


@dataclass
class Load:
    """What came of sending."""

    counting: bool = False
    over: bool = False
    delivered: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)


async def _line(port: int, part: int, load: Load) -> None:
    client = AstmClient()
    await client.connect("127.0.0.1", port)
    number = part * 1_000_000
    while not load.over:
        number += 1
        began = time.perf_counter()
        outcome = await client.send([message(number)])
        if load.counting:
            load.delivered += outcome.delivered
            load.failed += sum(outcome.failed.values())
            load.seconds.append(time.perf_counter() - began)
    await client.close()


async def _send(port: int, lines: int, seconds: float) -> dict[str, float]:
    load = Load()
    tasks = [asyncio.create_task(_line(port, part, load)) for part in range(lines)]
    await asyncio.sleep(WARM_UP)
    load.counting, started = True, time.perf_counter()
    await asyncio.sleep(seconds)
    load.counting = False
    took = time.perf_counter() - started
    load.over = True
    await asyncio.gather(*tasks)
    ordered = sorted(load.seconds) or [float("nan")]
    return {
        "rate": load.delivered / took,
        "failed": load.failed,
        "median": ordered[len(ordered) // 2],
        "p95": ordered[int(0.95 * len(ordered))],
    }


def _measured(name: str, port: int, pid: int, lines: int, seconds: float) -> tuple[str, ...]:
    """One load against one listener, from a process of its own."""
    with PeakMemory(pid) as memory:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.astm", "--send", f"{port},{lines}", "--seconds", str(seconds)],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    times = (f"{1000 * found[key]:.1f}" for key in ("median", "p95"))
    rates = (f"{RESULTS * found['rate']:,.0f}", f"{found['rate']:,.0f}")
    return (f"{name}, {lines} lines", *rates, *times, f"{found['failed']:.0f}", f"{memory.peak:,.0f}")


def _peer() -> None:
    """The link alone."""

    async def deliver(_record: Record) -> None:
        """Nothing is stored."""

    def store(_message: bytes) -> StoredObject:
        raise AssertionError("no message of these is large")

    async def serve() -> None:
        listener = Listener(Service("none", deliver, store, (Match(Source("bench")),)))
        print(await listener.open("127.0.0.1", 0), flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--peer", action="store_true", help="only be the peer that is compared with")
    parser.add_argument("--send", metavar="PORT,LINES", help="only send")
    options = parser.parse_args()
    if options.peer:
        _peer()
        return
    if options.send:
        port, lines = map(int, options.send.split(","))
        print(json.dumps(asyncio.run(_send(port, lines, options.seconds))))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as name:
        folder = Path(name)
        kafka = start_kafka(folder / "kafka", folder / "kafka.log", preferred_port=None)
        try:
            with child("-m", "benchmarks.astm", "--peer") as (_, line):
                port = int(line)  # one that is free once it has ended
            env = {key: value for key, value in os.environ.items() if not key.startswith("PHL_")}
            env |= {"PHL_LOG_LEVEL": "warning", "PHL_KAFKA_BOOTSTRAP": kafka.bootstrap}
            env |= {"PHL_STATE_DIR": str(folder / "state")}
            env |= {"PHL_SOURCES": json.dumps([{"name": "bench", "protocol": "astm", "port": port}])}
            for lines in LINES:
                with child("-m", "jobs.cli.main", "listen", "--port", "0", "--json", env=env) as (process, _):
                    rows.append(_measured("phl listen", port, process.pid, lines, options.seconds))
        finally:
            stop(kafka.process, 60.0)
    with child("-m", "benchmarks.astm", "--peer") as (process, line):
        rows.append(_measured("the link alone, stores nothing", int(line), process.pid, 20, options.seconds))
    show(
        TITLE,
        ("messages of ten results", "results/s", "messages/s", "median ms", "p95 ms", "failed", "peak MiB"),
        rows,
    )


if __name__ == "__main__":
    main()
