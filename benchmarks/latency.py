"""Receipt to visible: seconds from a message's receipt until a reader of the tables sees its rows.

``python -m benchmarks.latency [--seconds N] [--rate N]``: ``phl ingest --every 1s`` runs while messages arrive
steadily; a reader looks at the ledger's commits as they appear.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks.cluster import Cluster, cluster
from benchmarks.measure import show
from connectors.kafka.deliver import FLUSH_SECONDS, make_producer
from connectors.kafka.topics import ensure_topic
from connectors.routing import HL7_TOPIC, record_for
from jobs.city.corpus import corpus
from lake_layout.added_since import files_added
from lake_layout.handles import current_handle
from lake_layout.lake import Lake, LakeLocation
from lake_layout.reading import read_file
from schemas.errors import LakeError
from schemas.hl7v2.header import read_header
from schemas.source import Source
from schemas.tables.ops import LEDGER

WARM_UP = 10.0
"""Seconds in which the workers start; what is received meanwhile does not count."""

LOOK_EVERY = 0.2
"""Seconds between two looks at the ledger; part of what is measured."""


def main() -> None:
    """Send, watch, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as folder, cluster(Path(folder)) as running:
        ensure_topic(running.connection, HL7_TOPIC, 4)
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli.main", "ingest", "--every", "1s"], env=running.env
        )
        try:
            delays = measure(running, options.seconds, options.rate)
        finally:
            process.terminate()
            process.wait(60)
    cuts = statistics.quantiles(delays, n=100)
    show(
        f"receipt to visible, {options.rate} messages/s, --every 1s, {len(delays):,} messages",
        ("median s", "95th percentile s", "longest s"),
        [(f"{cuts[49]:.2f}", f"{cuts[94]:.2f}", f"{max(delays):.2f}")],
    )


def measure(running: Cluster, seconds: float, rate: int) -> list[float]:
    """Delays of all messages that were received after the warm-up."""
    env = running.env
    lake = Lake(
        LakeLocation(
            env["PHL_LAKE_URI"], env["PHL_S3_ENDPOINT"], env["PHL_S3_ACCESS_KEY"], env["PHL_S3_SECRET_KEY"]
        )
    )
    source = Source("bench")
    producer = make_producer(running.connection, FLUSH_SECONDS)
    messages = corpus(3, int((seconds + WARM_UP) * rate) + rate)
    began = time.monotonic()
    counts_from = datetime.now(UTC).timestamp() + WARM_UP
    sent = seen = version = 0
    delays: list[float] = []
    while seen < sent or time.monotonic() - began < seconds + WARM_UP:
        due = int(min(time.monotonic() - began, seconds + WARM_UP) * rate)
        if due > sent:
            now = datetime.now(UTC)
            for message in islice(messages, due - sent):
                record = record_for(message, read_header(message), source, now)
                producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
            sent = due
        producer.poll(0)
        try:
            newest = int(current_handle(lake, LEDGER).version())
        except LakeError:  # the workers have not made the tables yet
            newest = 0
        visible = datetime.now(UTC).timestamp()
        for file in files_added(lake, LEDGER, version, newest) if newest > version else []:
            for received in read_file(lake, LEDGER, file.path, ["received_at"]).column(0).to_pylist():
                seen += 1
                if received.timestamp() >= counts_from:
                    delays.append(visible - received.timestamp())
        version = newest
        time.sleep(LOOK_EVERY)
    return delays


if __name__ == "__main__":
    main()
