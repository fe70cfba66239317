"""``phl listen``: messages a second until Kafka has confirmed them, and connections held open.

``python -m benchmarks.listener [--seconds S]``; starts its own Kafka. Senders, listener and broker share the machine.
Beside it python-hl7's own MLLP server, which parses and acknowledges but stores nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.measure import PeakMemory, show
from jobs.services.kafka import start_kafka
from jobs.services.processes import stop

TITLE: Final = "listener, every message confirmed by Kafka before its acknowledgement"
LOADS: Final = ((1, 0), (50, 0), (50, 1_000), (1_000, 0))
"""Connections that send, and others that are only open."""


@contextmanager
def child(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process that says on its first line where it listens; ended with the block."""
    process = subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait(60)


def load(port: int, busy: int, idle: int, seconds: float) -> dict[str, float]:
    """Let senders loose, in a process of their own."""
    arguments = [f"127.0.0.1:{port}", str(busy), str(idle), str(seconds), "3"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.senders", *arguments],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def row(name: str, found: Mapping[str, float], peak: float) -> tuple[str, ...]:
    """A line of the table."""
    times = (f"{1000 * found[key]:.1f}" for key in ("median", "p95", "p99"))
    return (name, f"{found['rate']:,.0f}", *times, f"{found['refused'] + found['lost']:.0f}", f"{peak:,.0f}")


def measured(name: str, port: int, pid: int, busy: int, idle: int, seconds: float) -> tuple[str, ...]:
    """One load against one listener."""
    with PeakMemory(pid) as memory:
        found = load(port, busy, idle, seconds)
    beside = f", {idle:,} more open" if idle else ""
    return row(f"{name}, {busy:,} senders{beside}", found, memory.peak)


def peer() -> None:
    """python-hl7's server, as its documentation shows it."""
    import hl7
    import hl7.mllp

    async def talk(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        server = await hl7.mllp.start_hl7_server(
            talk, "127.0.0.1", 0, encoding="utf-8", encoding_errors="replace"
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--peer", action="store_true", help="only be the peer that is compared with")
    options = parser.parse_args()
    if options.peer:
        peer()
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    rows = []
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as name:
        folder = Path(name)
        kafka = start_kafka(folder / "kafka", folder / "kafka.log", preferred_port=None)
        try:
            env = {key: value for key, value in os.environ.items() if not key.startswith("PHL_")}
            env |= {"PHL_LOG_LEVEL": "warning", "PHL_KAFKA_BOOTSTRAP": kafka.bootstrap}
            env |= {"PHL_STATE_DIR": str(folder / "state")}
            listening = ("-m", "jobs.cli.main", "listen", "--port", "0", "--json")
            for busy, idle in LOADS:
                with child(*listening, env=env) as (process, line):
                    port = int(json.loads(line)["ports"][0])
                    rows.append(measured("phl listen", port, process.pid, busy, idle, options.seconds))
        finally:
            stop(kafka.process, 60.0)
    with child("-m", "benchmarks.listener", "--peer") as (process, line):
        rows.append(measured("python-hl7, stores nothing", int(line), process.pid, 50, 0, options.seconds))
    show(
        TITLE,
        ("messages of about 1 KB", "messages/s", "median ms", "p95 ms", "p99 ms", "not AA", "peak MiB"),
        rows,
    )


if __name__ == "__main__":
    main()
