"""``phl listen`` for DICOM: megabytes a second until the lake has an object and Kafka its header.

``python -m benchmarks.store [--megabytes M]``; starts its own Kafka and S3 store. Senders, listener, broker and store
share the machine; the store takes more CPU for an object than the listener. Beside it pynetdicom's own storescp, which
writes files to a folder and does not wait for the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.cluster import cluster
from benchmarks.listener import child
from benchmarks.measure import PeakMemory, cpu_of_service, show

TITLE: Final = "C-STORE, 4 associations at once; Success when the lake has the object and Kafka the header"
ASSOCIATIONS: Final = 4
WARM_UP: Final = 10
"""Megabytes before anything is measured."""

LOADS: Final = ((512 * 1024, 262_144), (512 * 1024, 16_382), (20_000_000, 262_144))
"""Bytes of an object, and the length of the PDUs that it comes in."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def measured(
    name: str, port: int, pids: Sequence[int], size: int, pdu_length: int, megabytes: int
) -> tuple[str, ...]:
    """One load against one listener, the first of the processes; CPU of the others is counted too."""
    pid = pids[0]
    objects = max(megabytes * 1_000_000 // size // ASSOCIATIONS, 1)
    first = time.time_ns() // 1_000_000  # objects that nobody has yet
    arguments = [str(one) for one in (port, ASSOCIATIONS, objects, size, pdu_length, first)]
    before = [cpu_of_service(one) for one in pids]
    with PeakMemory(pid) as memory:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.store_senders", *arguments],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    found = json.loads(done.stdout)
    sent = ASSOCIATIONS * objects * size / 1e9
    cpu = [(cpu_of_service(one) - was) / sent for one, was in zip(pids, before, strict=True)]
    return (
        f"{name}, objects of {size / 1e6:.1f} MB, PDUs of {pdu_length // 1024} KiB",
        f"{found['megabytes']:,.0f}",
        f"{found['objects']:,.0f}",
        f"{1000 * found['median']:,.0f}",
        f"{cpu[0]:.1f}",
        f"{sum(cpu[1:]):.1f}" if cpu[1:] else "",
        f"{found['not_stored']}",
        f"{memory.peak:,.0f}",
    )


def reached(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def peer(folder: Path, port: int) -> list[str]:
    """The command line of pynetdicom's own storescp, with PDUs as long as senders like."""
    options = ["--output-directory", str(folder), "--max-pdu", "0", "--quiet", "--ae-title", "ANY-SCP"]
    return [sys.executable, "-m", "pynetdicom", "storescp", str(port), *options]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400, help="of each load")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as temporary:
        folder = Path(temporary)
        with cluster(folder) as services:
            for name, more in (
                ("phl listen", {}),
                ("phl listen, lake in a folder", {"PHL_LAKE_URI": str(folder / "lake")}),
            ):
                port = free_port()
                source = {"name": "pacs", "protocol": "dicom", "port": port}
                env = services.env | {"PHL_SOURCES": json.dumps([source])} | more
                if more:  # settings of S3 have no place beside a folder
                    env = {key: value for key, value in env.items() if not key.startswith("PHL_S3_")}
                with child("-m", "jobs.cli.main", "listen", "--port", "0", "--json", env=env) as (process, _):
                    pids = [process.pid, *services.pids.values()]
                    measured(name, port, pids, *LOADS[0], WARM_UP)
                    rows += [measured(name, port, pids, *load, options.megabytes) for load in LOADS]
        port = free_port()
        (folder / "peer").mkdir()
        with subprocess.Popen(
            peer(folder / "peer", port), env=os.environ | {"PYTHONWARNINGS": "ignore"}
        ) as storescp:
            try:
                reached(port)
                for size, pdu_length in LOADS:
                    rows.append(
                        measured("storescp", port, [storescp.pid], size, pdu_length, options.megabytes)
                    )
            finally:
                storescp.terminate()
    show(
        TITLE,
        (
            "load",
            "MB/s",
            "objects/s",
            "median ms to the answer",
            "CPU ms/MB",
            "of Kafka and S3",
            "not stored",
            "peak MiB",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
