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
        rows = []
        for stage in ("land", "normalise"):
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "jobs.cli.main", "ingest", "--once", "--stage", stage], env=running.env
            )
            with PeakMemory(process.pid) as memory:
                code = process.wait()
            seconds = time.perf_counter() - started
            if code:
                raise SystemExit(f"phl ingest ended with {code}")
            rows.append((stage, seconds, memory.peak))
        whole = sum(seconds for _, seconds, _ in rows)
        subprocess.run([sys.executable, "-m", "jobs.cli.main", "verify"], env=running.env, check=True)
        peer = python_hl7(list(islice(corpus(1, options.messages), 2_000)))
        table = [
            (name, f"{options.messages / seconds:,.0f}", f"{seconds:.1f}", f"{peak:,.0f}")
            for name, seconds, peak in rows
        ]
        table.append(
            (
                "Kafka → tables",
                f"{options.messages / whole:,.0f}",
                f"{whole:.1f}",
                f"{max(peak for *_, peak in rows):,.0f}",
            )
        )
        table.append(("python-hl7, parsing alone, one core", f"{peer:,.0f}", "", ""))
        show(
            f"{options.messages:,} messages of {size / options.messages:,.0f} bytes",
            ("stage (start of the process included)", "messages/s", "seconds", "peak MiB"),
            table,
        )


if __name__ == "__main__":
    main()
