"""What a batch costs beside what the lake holds already, and how fast a month is rewritten.

``python -m benchmarks.curate [rows …]``: first the deciding of normalise (duplicates) and of curate (where things live)
against tables of 1, 10 and 100 million rows, of which only the columns are there that deciding looks at. Then results
are folded into a month of ten million, of which 2 % supersede, beside ``DeltaTable.merge`` doing the same to a copy.
"""

from __future__ import annotations

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
from deltalake import DeltaTable

from benchmarks.fold import observations
from benchmarks.measure import PeakMemory, show
from connectors.kafka.connection import KafkaConnection
from jobs.run_stages import Context, curate_batch, prepare, prepare_curated
from lake_layout.commit import Change, commit_change
from lake_layout.files import NewFile, put_file, write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.sorted_runs import IndexLocation
from pipelines.costs import Costs
from pipelines.curate_standing import Standing
from pipelines.curate_stated import News, stated_by
from pipelines.deduplicate import decide, open_index
from pipelines.fold import laid, read, state_of
from pipelines.hl7v2.modality import HL7V2
from schemas.source import Source, Sources
from schemas.table import INSTANT, Table
from schemas.tables.curated import OBSERVATION_FOLD, curated
from schemas.tables.normalised import OBSERVATION
from schemas.tables.ops import LEDGER

_SOURCES = Sources.of(Source("lis"))
_CURATED = curated(OBSERVATION_FOLD)
_JANUARY = date(2026, 1, 1)
_MONTHS = [date(2025, month, 1) for month in range(2, 13)] + [_JANUARY]
_FILE = 400_000
_BATCH = 100_000
_ROUNDS = 5


def main() -> None:
    """Print the tables. Each size in a process of its own, so that memory is its own."""
    if sys.argv[1:2] == ["--decide"]:
        decide_beside(int(sys.argv[2]))
        return
    sizes = [int(one) for one in sys.argv[1:]] or [1_000_000, 10_000_000, 100_000_000]
    found = []
    for size in sizes:
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.curate", "--decide", str(size)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found.append((f"{size:,}", *answer.stdout.splitlines()[-1].split()))  # log lines may stand before
    show(
        f"which of {_BATCH:,} messages are duplicates, and what {_BATCH:,} results (5 % corrections) say of things that"
        f" live where, beside what is there: µs each, median of {_ROUNDS}",
        ("rows there", "duplicates", "homes of results", "own MiB", "s to build both indexes"),
        found,
    )
    rewrite(10_000_000, 1_000_000)


@contextmanager
def a_lake() -> Iterator[Context]:
    """A folder lake with all tables."""
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as folder:
        context = Context(
            lake=Lake(LakeLocation(f"{folder}/lake")),
            connection=KafkaConnection({"bootstrap.servers": "127.0.0.1:1"}),
            modality=HL7V2,
            sources=_SOURCES,
            index=IndexLocation(f"{folder}/index"),
        )
        prepare(context)
        prepare_curated(context)
        yield context


def put(lake: Lake, table: Table, files: list[NewFile]) -> int:
    """Commit files to a table."""
    change = Change(files, (), {}, {"kind": "batch"})
    return commit_change(lake, table, lambda _: change).version


def decide_beside(size: int) -> None:
    """Print µs a message of normalise and a row of curate, peak MiB, and seconds to build the indexes."""
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
            began = time.perf_counter()
            decide(ids, open_index(lake, context.index, "raw/hl7v2", ledger), "202601")
            normalise.append(time.perf_counter() - began)
            many = _BATCH // 20
            rows = pa.concat_tables(
                [
                    observations(many, (turn % _ROUNDS) * many // 10, 0, "F", 48),
                    observations(_BATCH - many, size + turn * _BATCH, _BATCH, "F", 0),
                ]
            )
            file = write_file(lake, OBSERVATION, rows.drop_columns(["event_month"]), _JANUARY)
            upto = put(lake, OBSERVATION, [file])
            news = News(lake, _SOURCES, context.index, {OBSERVATION.name: (upto - 1, upto)})
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                stated = stated_by(news, OBSERVATION_FOLD, Path(folder), Costs())
                standing = Standing.of(news, OBSERVATION_FOLD, handle, stated.touched)
                curate.append(time.perf_counter() - began)
            memory = max(memory, own_memory())
            if standing.there.sum() < many // 10:  # ten results an order
                raise AssertionError("what is known was not found")
        if handle.version() != version:
            raise AssertionError("the table has moved")
        each = [f"{float(np.median(one[1:])) / _BATCH * 1e6:.2f}" for one in (normalise, curate)]
    print(*each, memory, f"{built:.1f}")


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
        many = new // 50
        spread = np.linspace(0, standing // 10 - 1, 20, dtype=int)  # corrections of all days of the month
        pieces = [observations(many // 20, int(one), standing + new, "C", 48) for one in spread]
        pieces.append(observations(new - many, standing // 10 + 1_000, standing, "F", 0))
        for piece in pieces:
            put(
                lake,
                OBSERVATION,
                [write_file(lake, OBSERVATION, piece.drop_columns(["event_month"]), _JANUARY)],
            )
        Standing.of(
            News(lake, _SOURCES, context.index, {}),
            OBSERVATION_FOLD,
            lake.open(_CURATED),
            np.zeros(1, np.int64),
        )
        home = Path(lake.location.uri_of(_CURATED.name))
        copy = home.parent.parent / "merged"
        shutil.copytree(home, copy)
        with PeakMemory() as memory:
            began = time.perf_counter()
            outcome = curate_batch(context)
            ours = time.perf_counter() - began
        if outcome is None or outcome.messages != new:
            raise AssertionError("not all rows were taken in")
        steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in sorted(outcome.steps.items()))
        source = read(
            OBSERVATION_FOLD, state_of(OBSERVATION_FOLD, pa.concat_tables(pieces), sources=_SOURCES)
        )
        with PeakMemory() as beside:
            began = time.perf_counter()
            (
                DeltaTable(str(copy))
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
            theirs = time.perf_counter() - began
    show(
        f"{new:,} results, 2 % superseding, into a month of {standing:,} (CPU s: {steps})",
        ("", "s", "new rows/s", "peak MiB"),
        [
            ("curate, from normalised rows", f"{ours:.1f}", f"{new / ours:,.0f}", f"{memory.peak:,.0f}"),
            (
                "DeltaTable.merge of folded rows",
                f"{theirs:.1f}",
                f"{new / theirs:,.0f}",
                f"{beside.peak:,.0f}",
            ),
        ],
    )


if __name__ == "__main__":
    main()
