"""Kafka → normalised tables: messages a second and memory, on a mixed corpus of about 1 KB a message.

``python -m benchmarks.ingest [--messages N]``; starts its own Kafka and S3 store.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from benchmarks.cluster import cluster
from benchmarks.measure import PeakMemory, show
from benchmarks.peers import python_hl7
from jobs.city.corpus import corpus


def main() -> None:
    """Fill a topic, take it in with ``phl ingest --once`` in a process of its own, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as folder, cluster(Path(folder)) as running:
        size = running.produce(corpus(1, options.messages))
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli.main", "ingest", "--once", "--json"], env=running.env
        )
        with PeakMemory(process.pid) as memory:
            code = process.wait()
        whole = time.perf_counter() - started
        if code:
            raise SystemExit(f"phl ingest ended with {code}")
        empty = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "jobs.cli.main", "ingest", "--once"], env=running.env, check=True
        )
        start_up = time.perf_counter() - empty
        subprocess.run([sys.executable, "-m", "jobs.cli.main", "verify"], env=running.env, check=True)
        peer = python_hl7(list(islice(corpus(1, options.messages), 2_000)))
        net = whole - start_up
        table = [
            (
                "phl ingest --once, Kafka → tables",
                f"{options.messages / whole:,.0f}",
                f"{whole:.1f}",
                f"{memory.peak:,.0f}",
            ),
            ("the same without start and end", f"{options.messages / net:,.0f}", f"{net:.1f}", ""),
            ("python-hl7, parsing alone, one core", f"{peer:,.0f}", "", ""),
        ]
        show(
            f"{options.messages:,} messages of {size / options.messages:,.0f} bytes",
            ("", "messages/s", "seconds", "peak MiB of both stages"),
            table,
        )


if __name__ == "__main__":
    main()
