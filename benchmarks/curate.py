"""What a batch costs beside what the lake holds already, and how fast a month is rewritten.

``python -m benchmarks.curate [rows …]``: first the deciding of normalise (duplicates) and of curate (where things live)
against tables of 1, 10 and 100 million rows, of which only the columns are there that deciding looks at. Then a million
results are folded into a month of ten million, of which 2 % supersede, beside ``DeltaTable.merge`` doing the same to a
copy. What supersedes comes 1 to 30 days after what it corrects, and corrects results of all days of the month alike.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from benchmarks.fold import observations, results
from benchmarks.measure import PeakMemory, show
from connectors.kafka.connection import KafkaConnection
from jobs.run_stages import Context, curate_batch, prepare, prepare_curated
from lake_layout.commit import Change, commit_change
from lake_layout.files import NewFile, put_file, write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.sorted_runs import IndexLocation
from pipelines.batch_memory import keep_memory
from pipelines.costs import Costs
from pipelines.curate_standing import Standing
from pipelines.curate_stated import News, stated_by
from pipelines.deduplicate import decide, open_index
from pipelines.fold import laid, read, state_of
from pipelines.fold_keys import I64
from pipelines.hl7v2.modality import HL7V2
from pipelines.write_tables import write_by_partition
from schemas.source import Source, Sources
from schemas.table import INSTANT, Table
from schemas.tables.curated import OBSERVATION_FOLD, curated
from schemas.tables.normalised import OBSERVATION
from schemas.tables.ops import LEDGER

_SOURCES = Sources.of(Source("lis"))
_CURATED = curated(OBSERVATION_FOLD)
_JANUARY = date(2026, 1, 1)
_MONTHS = [_JANUARY] + [date(2025, month, 1) for month in range(2, 13)]
_FILE = 400_000
_NEW_FILE = 100_000
_BATCH = 100_000
_ROUNDS = 5
_DAYS = 30
"""Corrections come 1 to so many days late."""


def main() -> None:
    """Print the tables. Each size in a process of its own, so that memory is its own."""
    own = {"--apply": apply_in, "--merge": merge_in}
    if sys.argv[1:2] == ["--decide"]:
        decide_beside(int(sys.argv[2]))
        return
    if sys.argv[1:2] and sys.argv[1] in own:
        own[sys.argv[1]](Path(sys.argv[2]))
        return
    sizes = [int(one) for one in sys.argv[1:]] or [1_000_000, 10_000_000, 100_000_000]
    found = [_figures("--decide", str(size)) for size in sizes]
    rows = [
        (f"{size:,}", seen, home, f"{1e6 / float(home):,.0f}", memory, built)
        for size, (seen, home, memory, built) in zip(sizes, found, strict=True)
    ]
    if len(found) > 1:
        seen, home, memory = (f"{float(found[-1][at]) / float(found[0][at]):.2f}" for at in range(3))
        rows.append(("times from first to last", seen, home, "", memory, ""))
    show(
        f"which of {_BATCH:,} messages are duplicates, and what {_BATCH:,} results (5 % corrections, 1 to {_DAYS} days"
        f" late) say of things that live where, beside what is there: CPU µs each, median of {_ROUNDS}",
        (
            "rows there",
            "duplicates",
            "homes of results",
            "decided/s of CPU",
            "own MiB",
            "s to build both indexes",
        ),
        rows,
    )
    rewrite(10_000_000, 1_000_000)


def _figures(*arguments: str) -> list[str]:
    """What a process of this module prints in its last line; log lines may stand before."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.curate", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return answer.stdout.splitlines()[-1].split()


@contextmanager
def a_lake() -> Iterator[Context]:
    """A folder lake with all tables."""
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as folder:
        context = _context(Path(folder))
        prepare(context)
        prepare_curated(context)
        yield context


def _context(folder: Path) -> Context:
    return Context(
        lake=Lake(LakeLocation(f"{folder}/lake")),
        connection=KafkaConnection({"bootstrap.servers": "127.0.0.1:1"}),
        modality=HL7V2,
        sources=_SOURCES,
        index=IndexLocation(f"{folder}/index"),
    )


def put(lake: Lake, table: Table, files: list[NewFile]) -> int:
    """Commit files to a table."""
    change = Change(files, (), {}, {"kind": "batch"})
    return commit_change(lake, table, lambda _: change).version


def decide_beside(size: int) -> None:
    """Print CPU µs a message of normalise and a row of curate, peak MiB, and seconds to build the indexes."""
    with a_lake() as context:
        lake, random = context.lake, np.random.default_rng(size)
        known = state_of(
            OBSERVATION_FOLD, observations(_ROUNDS * _BATCH // 20, 0, 0, "P", 0), sources=_SOURCES
        )
        hashes = known.column("key_hash").to_numpy()
        curated_files, ledger_files = [], []
        per_file = min(_FILE, size // len(_MONTHS))
        for number, first in enumerate(range(0, size, per_file)):
            rows = min(per_file, size - first)
            month = _MONTHS[number % len(_MONTHS)]
            keys = np.sort(
                np.concatenate([hashes, _any(random, rows)])[:rows] if not first else _any(random, rows)
            )
            curated_files.append(
                put_file(
                    lake,
                    _CURATED,
                    pa.table({"key_hash": keys, "version_time": pa.nulls(rows, INSTANT)}),
                    month,
                )
            )
            ledger_files.append(put_file(lake, LEDGER, _ledger(random, rows, month), month))
        version = put(lake, _CURATED, curated_files)
        ledger = put(lake, LEDGER, ledger_files)
        began = time.perf_counter()
        index = open_index(lake, context.index, "raw/hl7v2", ledger)
        index.lookup("202601", hashes[:1], hashes[:1])
        news = News(lake, _SOURCES, context.index, {})
        handle = lake.open(_CURATED)
        Standing.of(news, OBSERVATION_FOLD, handle, np.sort(hashes[:1]))
        built = time.perf_counter() - began
        normalise, curate, memory = [], [], 0
        for turn in range(_ROUNDS + 1):  # the first one warms up
            ids = _ids(random, turn)
            began = time.process_time()
            decide(ids, open_index(lake, context.index, "raw/hl7v2", ledger), "202601")
            normalise.append(time.process_time() - began)
            many = _BATCH // 20
            known_orders = (turn % _ROUNDS) * many // 10 + np.arange(many // 10)
            rows = pa.concat_tables(
                [
                    results(known_orders, 0, "F", _late(known_orders)),
                    observations(_BATCH - many, size + turn * _BATCH, _BATCH, "F", 0),
                ]
            )
            file = write_file(lake, OBSERVATION, rows.drop_columns(["event_month"]), _JANUARY)
            upto = put(lake, OBSERVATION, [file])
            news = News(lake, _SOURCES, context.index, {OBSERVATION.name: (upto - 1, upto)})
            with tempfile.TemporaryDirectory() as folder:
                began = time.process_time()
                stated = stated_by(news, OBSERVATION_FOLD, Path(folder), Costs())
                standing = Standing.of(news, OBSERVATION_FOLD, handle, stated.touched)
                curate.append(time.process_time() - began)
            memory = max(memory, own_memory())
            if standing.there.sum() < many // 10:  # ten results an order
                raise AssertionError("what is known was not found")
        if handle.version() != version:
            raise AssertionError("the table has moved")
        each = [f"{float(np.median(one[1:])) / _BATCH * 1e6:.2f}" for one in (normalise, curate)]
    print(*each, memory, f"{built:.1f}")


def _late(orders: I64) -> I64:
    """How many hours after it each order is corrected."""
    return 24 * (1 + orders % _DAYS)


def own_memory() -> int:
    """MiB of this process that are not pages of files."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) // 1024


def _any(random: np.random.Generator, rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return random.integers(-(2**63), 2**63 - 1, rows, np.int64)


def _ledger(random: np.random.Generator, rows: int, month: date) -> pa.Table:
    def same(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))

    received = pa.array(np.full(rows, 1_767_225_600_000_000)).cast(INSTANT)
    columns = {
        "raw_table": same("raw/hl7v2"),
        "disposition": same("accepted"),
        "sent_month": same(f"{month:%Y%m}"),
        "id_hash": pa.array(_any(random, rows)),
        "content_hash": pa.array(_any(random, rows)),
    }
    for name in LEDGER.statistics:
        if name not in columns and name != LEDGER.partition_by:
            kind = next(one.type for one in LEDGER.fields if one.name == name)
            columns[name] = received if kind == INSTANT else pa.nulls(rows, kind)
    return pa.table(columns)


def _ids(random: np.random.Generator, turn: int) -> pa.Table:
    return pa.table(
        {
            "received_at": pa.array(np.full(_BATCH, turn)).cast(INSTANT),
            "topic_id": pa.array(["topic"]).take(pa.array(np.zeros(_BATCH, np.int32))),
            "partition": pa.array(np.zeros(_BATCH, np.int32)),
            "offset": pa.array(np.arange(_BATCH)),
            "id_hash": pa.array(_any(random, _BATCH)),
            "content_hash": pa.array(_any(random, _BATCH)),
        }
    )


def rewrite(standing: int, new: int) -> None:
    """Print how fast new rows are folded into a month, beside ``DeltaTable.merge``."""
    with a_lake() as context:
        lake = context.lake
        files = []
        for first in range(0, standing, _FILE):
            rows = observations(min(_FILE, standing - first), first // 10, first, "F", 0)
            there = laid(OBSERVATION_FOLD, state_of(OBSERVATION_FOLD, rows, sources=_SOURCES))
            files.append(write_file(lake, _CURATED, there.drop_columns(["home_month"]), _JANUARY))
        put(lake, _CURATED, files)
        folder = Path(lake.location.path).parent
        home = Path(lake.location.uri_of(_CURATED.name))
        shutil.copytree(home, folder / "merged")
        pieces = _pieces(standing, new)
        source = read(
            OBSERVATION_FOLD, state_of(OBSERVATION_FOLD, pa.concat_tables(pieces), sources=_SOURCES)
        )
        # curate is to find by itself that what was corrected after the month's end lives in the month
        source = source.set_column(
            source.schema.get_field_index("home_month"),
            source.schema.field("home_month"),
            pa.repeat(pa.scalar(_JANUARY), source.num_rows),
        )
        pq.write_table(source, folder / "folded.parquet")
        written = [file for piece in pieces for file in write_by_partition(lake, OBSERVATION, piece)]
        (folder / "written").write_bytes(pickle.dumps(written))
        ours, our_cpu, our_peak, *steps = _figures("--apply", str(folder))
        theirs, their_cpu, their_peak = _figures("--merge", str(folder))
    show(
        f"{new:,} results, 2 % superseding 1 to {_DAYS} days late, into a month of {standing:,}"
        f" (curate's CPU s: {' '.join(steps)})",
        ("", "s", "CPU s", "new rows/s", "peak MiB"),
        [
            ("curate, from normalised rows", ours, our_cpu, f"{new / float(ours):,.0f}", our_peak),
            ("DeltaTable.merge of folded rows", theirs, their_cpu, f"{new / float(theirs):,.0f}", their_peak),
            (
                "times",
                *(f"{float(b) / float(a):.1f}" for a, b in ((ours, theirs), (our_cpu, their_cpu))),
                "",
                f"{float(their_peak) / float(our_peak):.1f}",
            ),
        ],
    )


def _pieces(standing: int, new: int) -> list[pa.Table]:
    """New rows as messages bring them: new orders, and among them what corrects orders of the whole month."""
    many = _NEW_FILE // 50
    corrected = np.linspace(0, standing // 10 - 1, new // 50 // 10, dtype=np.int64)
    pieces = []
    for first in range(0, new, _NEW_FILE):
        orders = corrected[first // _NEW_FILE :: new // _NEW_FILE]
        offset = standing + first
        late = results(orders, offset + _NEW_FILE, "C", _late(orders))
        fresh = observations(_NEW_FILE - many, (standing + first) // 10, offset, "F", 0)
        pieces.append(pa.concat_tables([fresh, late]))
    return pieces


def apply_in(folder: Path) -> None:
    """Print seconds, CPU seconds, peak MiB and CPU seconds by step of a batch; in the way of a stage's worker."""
    context = _context(folder)
    keep_memory()
    # what a worker does first it does once: libraries, kernels, the index
    warm = write_file(context.lake, OBSERVATION, _before().drop_columns(["event_month"]), _JANUARY)
    put(context.lake, OBSERVATION, [warm])
    if curate_batch(context) is None:
        raise AssertionError("nothing was taken in")
    files: list[NewFile] = pickle.loads((folder / "written").read_bytes())
    put(context.lake, OBSERVATION, files)
    with PeakMemory() as memory:
        began, spent = time.perf_counter(), os.times()
        outcome = curate_batch(context)
        seconds, cpu = time.perf_counter() - began, _cpu_since(spent)
    if outcome is None or outcome.messages != sum(file.rows for file in files):
        raise AssertionError("not all rows were taken in")
    steps = [f"{name}={taken:.1f}" for name, taken in sorted(outcome.steps.items())]
    print(f"{seconds:.1f} {cpu:.1f} {memory.peak:.0f}", *steps)


def merge_in(folder: Path) -> None:
    """Print the same, without steps, of ``DeltaTable.merge``."""
    source = pq.read_table(folder / "folded.parquet", schema=_CURATED.arrow_schema)
    with PeakMemory() as memory:
        began, spent = time.perf_counter(), os.times()
        (
            DeltaTable(str(folder / "merged"))
            .merge(
                source,
                "old.home_month = DATE '2026-01-01' AND old.key_hash = new.key_hash"
                " AND old.group_hash = new.group_hash AND old.line = new.line AND old.shown",
                source_alias="new",
                target_alias="old",
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )
        seconds, cpu = time.perf_counter() - began, _cpu_since(spent)
    print(f"{seconds:.1f} {cpu:.1f} {memory.peak:.0f}")


def _before() -> pa.Table:
    """Results of an order that is no other's."""
    return observations(10, 1_200_000, 0, "F", 0)


def _cpu_since(before: os.times_result) -> float:
    now = os.times()
    return now.user + now.system - before.user - before.system


if __name__ == "__main__":
    main()
