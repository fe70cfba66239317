"""HL7 v2 alone, on one core: envelopes and tables beside python-hl7 objects, on the mixed corpus.

``python -m benchmarks.hl7_parse [--messages N] [--batch N]``; no services.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa

from benchmarks.measure import show
from benchmarks.peers import python_hl7
from jobs.city.corpus import corpus
from pipelines.hl7v2.modality import HL7V2
from schemas.source import NO_SOURCES
from schemas.table import INSTANT


def raw_rows(messages: Sequence[bytes]) -> pa.Table:
    """Messages as the stage hands them over."""
    received = datetime(2030, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "payload": pa.array(messages, pa.binary()),
            "source": pa.array(["bench"] * len(messages)),
            "received_at": pa.array([received] * len(messages), INSTANT),
        }
    )


def rate(work: Callable[[], object], count: int, times: int = 3) -> float:
    """Messages a second, the median of some runs after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return count / sorted(seconds)[times // 2]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=25_000)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    messages = list(islice(corpus(1, options.messages), options.messages))
    size = sum(map(len, messages)) / len(messages)
    sources = [NO_SOURCES.get("bench")] * len(messages)
    batches = [raw_rows(messages[at : at + options.batch]) for at in range(0, len(messages), options.batch)]
    envelopes = rate(lambda: HL7V2.envelopes(messages, sources), len(messages))
    tables = rate(lambda: [HL7V2.parse(batch, NO_SOURCES) for batch in batches], len(messages))
    both = 1 / (1 / envelopes + 1 / tables)
    peer = python_hl7(messages[:2_000])
    show(
        f"{len(messages):,} messages of {size:,.0f} bytes in batches of {options.batch:,}, one core",
        ("what", "messages/s", "MB/s", "× python-hl7"),
        [
            (name, f"{value:,.0f}", f"{value * size / 1e6:,.0f}", f"{value / peer:,.1f}")
            for name, value in (
                ("envelopes: ids, hashes, unreadable ones", envelopes),
                ("parse: all columns of all tables", tables),
                ("both", both),
                ("python-hl7: objects, two fields of each OBX", peer),
            )
        ],
    )


if __name__ == "__main__":
    main()
