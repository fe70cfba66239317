"""``make bench``: all benchmarks, one after the other."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.measure import show

MODULES = (
    "benchmarks.hl7_parse",
    "benchmarks.dicom_parse",
    "benchmarks.lab_files",
    "benchmarks.fold",
    "benchmarks.curate",
    "benchmarks.identity",
    "benchmarks.ingest",
    "benchmarks.listener",
    "benchmarks.astm",
    "benchmarks.latency",
    "benchmarks.harvest",
    "benchmarks.store",
)


def main() -> None:
    """Each in a process of its own, so that none leaves memory or threads to the next."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "jobs.cli.main", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    show("phl --help", ("median s", "longest s"), [(f"{statistics.median(times):.2f}", f"{max(times):.2f}")])
    for module in MODULES:
        subprocess.run([sys.executable, "-m", module], check=True)


if __name__ == "__main__":
    main()
