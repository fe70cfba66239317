"""Kafka → normalised tables: messages a second and memory, on a mixed corpus of about 1 KB a message.

``python -m benchmarks.ingest [--messages N] [--processes N]``; starts its own Kafka and S3 store. A second table says
where the CPU time goes: the steps as the stages themselves measure them, what is left of the processes' time (the
Kafka client's and Arrow's own threads, Beam, planning, claims), and the services beside them. Wall time depends on what
else the machine does, CPU time hardly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.cluster import Cluster, cluster
from benchmarks.measure import PeakMemory, cpu_of_children, cpu_of_service, show
from benchmarks.peers import python_hl7
from jobs.city.corpus import corpus


@dataclass(frozen=True)
class Run:
    """One ``phl ingest --once``.

    Attributes:
        wall: seconds.
        cpu: CPU seconds of its processes.
        peak: MiB resident, all processes.
        steps: ``stage: step`` → CPU seconds.
        services: service → CPU seconds.
    """

    wall: float
    cpu: float
    peak: float
    steps: Mapping[str, float]
    services: Mapping[str, float]


STAGES = ("--stage", "land", "--stage", "normalise")


def ingest(running: Cluster) -> Run:
    """Take in what is in the topic, in a process of its own as users do."""
    before = {name: cpu_of_service(pid) for name, pid in running.pids.items()}
    cpu, started = cpu_of_children(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli.main", "ingest", "--once", "--json", *STAGES],
        env=running.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    with PeakMemory(process.pid) as memory:
        out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"phl ingest ended with {process.returncode}")
    steps = {
        f"{stage.partition(' ')[0]}: {step}": seconds
        for stage, done in json.loads(out).items()
        for step, seconds in done["steps"].items()
    }
    return Run(
        time.perf_counter() - started,
        cpu_of_children() - cpu,
        memory.peak,
        steps,
        {name: cpu_of_service(pid) - before[name] for name, pid in running.pids.items()},
    )


def cost_rows(run: Run, idle: Run, messages: int) -> list[tuple[str, ...]]:
    """Where the CPU time goes, without what a run costs that has nothing to do."""
    costs = dict(sorted(run.steps.items()))
    costs["all else in both processes"] = max(0.0, run.cpu - idle.cpu - sum(costs.values()))
    costs |= run.services
    whole = sum(costs.values())
    rows = [
        (name, f"{1e6 * seconds / messages:.2f}", f"{seconds / whole:.0%}") for name, seconds in costs.items()
    ]
    return [*rows, ("together", f"{1e6 * whole / messages:.2f}", "")]


WARM_UP = 3_000


def main() -> None:
    """Fill a topic, take it in, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--processes", type=int, help="that read parts side by side, else one a processor")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as folder, cluster(Path(folder)) as running:
        if options.processes:
            running.env["PHL_INGEST_PROCESSES"] = str(options.processes)
        # kernels are compiled once in a machine's life, when they are first called: not here, then
        running.produce(corpus(2, WARM_UP))
        ingest(running)
        size = running.produce(corpus(1, options.messages))
        run = ingest(running)
        idle = ingest(running)
        subprocess.run([sys.executable, "-m", "jobs.cli.main", "verify"], env=running.env, check=True)
        peer = python_hl7(list(islice(corpus(1, options.messages), 2_000)))
        net = run.wall - idle.wall
        show(
            f"{options.messages:,} messages of {size / options.messages:,.0f} bytes",
            ("", "messages/s", "seconds", "CPU seconds", "peak MiB of both stages"),
            [
                (
                    "phl ingest --once, Kafka → tables",
                    f"{options.messages / run.wall:,.0f}",
                    f"{run.wall:.1f}",
                    f"{run.cpu:.1f}",
                    f"{run.peak:,.0f}",
                ),
                (
                    "the same without start and end",
                    f"{options.messages / net:,.0f}",
                    f"{net:.1f}",
                    f"{run.cpu - idle.cpu:.1f}",
                    "",
                ),
                ("python-hl7, parsing alone, one core", f"{peer:,.0f}", "", "", ""),
            ],
        )
        show(
            "where the CPU time goes",
            ("step", "µs a message", "share"),
            cost_rows(run, idle, options.messages),
        )


if __name__ == "__main__":
    main()
