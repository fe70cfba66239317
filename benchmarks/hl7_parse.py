"""HL7 v2 alone, on one core: splitting, envelopes and tables beside python-hl7 and hl7apy.

``python -m benchmarks.hl7_parse [--messages N] [--batch N]``; no services.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa

from benchmarks.measure import show
from benchmarks.peers import hl7apy, python_hl7, python_hl7_split
from jobs.city.corpus import corpus
from pipelines.batch_memory import keep_memory
from pipelines.hl7v2.decode import decode_batch
from pipelines.hl7v2.modality import HL7V2
from pipelines.hl7v2.split import split_batch
from pipelines.read_part import PIECE_ROWS
from schemas.source import NO_SOURCES
from schemas.table import INSTANT
from schemas.tables import OBSERVATION

SEED = 1


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


def rate(work: Callable[[], object], count: int, times: int = 5) -> float:
    """Messages a second of CPU time, the median of some runs after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return count / sorted(seconds)[times // 2]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=PIECE_ROWS)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    keep_memory()
    mixed = list(islice(corpus(SEED, options.messages), options.messages))
    reports = [message for message in mixed if b"|ORU^R01" in message]
    measure("mixed", mixed, options.batch)
    measure("reports only", reports, options.batch)


def measure(title: str, messages: Sequence[bytes], batch: int) -> None:
    """Print the table of one corpus."""
    count = len(messages)
    size = sum(map(len, messages)) / count
    sources = [NO_SOURCES.get("bench")] * count
    batches = [raw_rows(messages[at : at + batch]) for at in range(0, count, batch)]
    parsed = [HL7V2.parse(one, NO_SOURCES).tables for one in batches]
    lines = sum(tables[OBSERVATION.name].num_rows for tables in parsed if OBSERVATION.name in tables)
    rows = sum(table.num_rows for tables in parsed for table in tables.values())
    tables = rate(lambda: [HL7V2.parse(one, NO_SOURCES) for one in batches], count)
    split_peer = python_hl7_split(messages[:2_000])
    rates = (
        ("split: decode, find every segment and field", rate(lambda: split(batches), count), split_peer),
        (
            "envelopes: ids, hashes, unreadable ones",
            rate(lambda: HL7V2.envelopes(messages, sources), count),
            None,
        ),
        ("parse: all columns of all tables", tables, split_peer),
        ("python-hl7: split", split_peer, split_peer),
        ("python-hl7: split, two fields of each OBX", python_hl7(messages[:2_000]), split_peer),
        ("hl7apy: groups, segments, fields", hl7apy(messages[:200]), split_peer),
    )
    show(
        f"{title}: {count:,} messages of {size:,.0f} bytes, {lines / count:.1f} OBX each, one core",
        ("what", "messages/s", "MB/s", "OBX/s", "× python-hl7 split"),
        [
            (
                name,
                f"{value:,.0f}",
                f"{value * size / 1e6:,.1f}",
                f"{value * lines / count:,.0f}",
                f"{value / peer:,.1f}" if peer else "",
            )
            for name, value, peer in rates
        ],
    )
    print(f"{rows:,} rows in {len({name for one in parsed for name in one})} tables")


def split(batches: Iterable[pa.Table]) -> None:
    """Decode batches and find every segment and field in them."""
    for batch in batches:
        split_batch(decode_batch(batch.column("payload").combine_chunks(), ["utf-8"] * batch.num_rows))


if __name__ == "__main__":
    main()
