"""Normalise: files that raw commits added → typed tables, quarantine, and last of all the ledger.

::

    parts ─► ReadIds ─► by month ─► Decide ──────────────┐ (pass 1: hashes and ids only)
      │                    │                             ▼
      └──────────────────────────────────────────► ParsePart ─► files of tables ─► CommitTables ┐
                           │                        │    │                                      │
                           │     unreadable in body │    │ ledger rows of the part              │
                           ▼                        │    ▼                                      ▼
                        Redecide ◄──────────────────┘  WriteLedger ─► files of the ledger ─► CommitLedger

A message that only the reading of its body shows to be unreadable was counted among the candidates in pass 1.
Redecide judges its month again without it, so that dispositions do not depend on how messages fall into
batches; the tables' rows do not change by that, since copies of an unreadable message are unreadable too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows

from lake_layout.commit import is_done, replacing
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile
from lake_layout.handles import current_handle
from lake_layout.stage import commit_table
from pipelines.costs import Costs
from pipelines.deduplicate import NOTHING_BEFORE, decide, open_index
from pipelines.dispositions import (
    IDENTITY_COLUMNS,
    bad_part_rows,
    buckets_of,
    code_lists,
    judge_envelopes,
    quarantine_rows,
    scatter,
)
from pipelines.helpers import helpers
from pipelines.parts import Part, coded, from_bytes, to_bytes
from pipelines.read_again import withdrawn
from pipelines.read_part import Batch, OfTable, PartRead, Places, Unreadable, read_part, read_part_of
from pipelines.steps import count_steps, step, steps_of
from pipelines.write_tables import write_by_partition
from schemas.table import Table
from schemas.tables.ops import LEDGER, QUARANTINE

_COMMITTED_TOGETHER = 8

_COMMITTER = "tables"
"""Key under which all files but the ledger's go to one committer."""


Told = object
"""An element of one of ``ParsePart``'s outputs; in its window, where it is told at the end of a bundle."""


@dataclass(frozen=True, slots=True)
class LedgerOfPart:
    """Ledger rows of a part (an IPC stream), where its unreadable messages fail, and bad parts of others (likewise)."""

    rows: bytes
    places: Places
    bad_parts: bytes


@dataclass(eq=False)  # not frozen: Beam keeps hints and the pipeline on it
class Normalise(beam.PTransform):  # type: ignore[misc]
    """The graph of one batch of the normalise stage.

    Attributes:
        batch: what is claimed.
        parts: the shares of workers.
        again: messages whose former rows leave the tables, as an IPC stream of what ``read_again.messages_of`` gives.
        processes: that read parts side by side; with one, parts are read in turn where the graph runs.
    """

    batch: Batch
    parts: tuple[Part, ...]
    again: bytes | None = None
    processes: int = 1

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        batch = self.batch
        # Each transform costs a small batch some milliseconds: none is here that does not do something of its own.
        parts = begin | "Parts" >> beam.Create([(part.number, part) for part in self.parts])

        ids = parts | "ReadIds" >> beam.ParDo(ReadIds(batch))
        months = ids | "ByMonth" >> beam.GroupByKey()
        decisions = months | "Decide" >> beam.ParDo(Decide(batch))

        parsed = (
            (parts, decisions)
            | "PartsAndDecisions" >> beam.Flatten()
            | "PartWithDecisions" >> beam.GroupByKey()
            | "ParsePart"
            >> beam.ParDo(ParsePart(batch, self.processes)).with_outputs("ledger", "unreadable", main="files")
        )

        unreadable = beam.pvalue.AsList(parsed.unreadable)
        corrections = months | "Redecide" >> beam.ParDo(Redecide(batch), unreadable)
        ledger_files = (
            (parsed.ledger, corrections)
            | "LedgersAndCorrections" >> beam.Flatten()
            | "LedgerWithCorrections" >> beam.GroupByKey()
            | "WriteLedger" >> beam.ParDo(WriteLedger(batch)).with_outputs("quarantine", main="ledger")
        )

        files = [parsed.files, ledger_files.quarantine]
        if self.again is not None:
            # rows leave tables that no file is for, too
            files.append(begin | "Withdraw" >> beam.Create([(_COMMITTER, None)]))
        committed = (
            files
            | "AllTables" >> beam.Flatten()
            | "GatherTables" >> beam.GroupByKey()
            | "CommitTables" >> beam.ParDo(CommitTables(batch, self.again))
        )
        return (
            (ledger_files.ledger, committed)
            | "LedgerLast" >> beam.Flatten()
            | "GatherLedger" >> beam.GroupByKey()
            | "CommitLedger" >> beam.ParDo(CommitLedger(batch))
        )


class ReadIds(beam.DoFn):  # type: ignore[misc]
    """Part → per month, the ids of its messages that may be read (pass 1)."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, numbered: tuple[int, Part]) -> Iterator[tuple[str, bytes]]:
        _, part = numbered
        with step("read"):
            raw = read_part(self.batch, part, IDENTITY_COLUMNS)
        fail_point("ids-read")
        yield from steps_of("deduplicate", ids_by_month(self.batch, part.number, raw))


class Decide(beam.DoFn):  # type: ignore[misc]
    """The ids of a month → dispositions, by part."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, month: tuple[str, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        bucket, pieces = month
        with step("deduplicate"):
            decided = list(_by_part(decide_month(self.batch, bucket, _concat(pieces))))
        fail_point("month-decided")
        yield from decided


class Redecide(beam.DoFn):  # type: ignore[misc]
    """The ids of a month, once more without the messages whose bodies could not be read; only what changes."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(
        self, month: tuple[str, Iterable[bytes]], unreadable: list[Unreadable]
    ) -> Iterator[tuple[int, bytes]]:
        if not unreadable:
            return
        bucket, pieces = month
        ids = _concat(pieces)
        reasons = {(id_hash, content_hash): code for id_hash, content_hash, code in unreadable}
        keys = zip(ids.column("id_hash").to_pylist(), ids.column("content_hash").to_pylist(), strict=True)
        reason = pa.array([reasons.get(key) for key in keys], pa.string())
        if reason.null_count == len(reason):
            return
        readable = decide_month(self.batch, bucket, ids.filter(pc.is_null(reason)))
        copies = ids.select(["file", "row"]).filter(pc.is_valid(reason))
        quarantined = pa.array(["quarantined"] * copies.num_rows, pa.string())
        yield from _by_part(
            pa.concat_tables(
                [
                    readable.append_column("reason", pa.nulls(readable.num_rows, pa.string())),
                    copies.append_column("disposition", quarantined).append_column(
                        "reason", reason.drop_null()
                    ),
                ]
            )
        )


class ParsePart(beam.DoFn):  # type: ignore[misc]
    """Part and decisions → files of the tables, ledger rows, and keys of what proved unreadable (pass 2).

    With helpers all parts of a bundle are read at once, and told of at its end.
    """

    def __init__(self, batch: Batch, processes: int) -> None:
        self.batch, self.processes = batch, processes
        self._mine: list[tuple[int, Part, pa.Array]] = []
        self._theirs: list[tuple[int, Future[PartRead]]] = []

    def start_bundle(self) -> None:
        self._mine, self._theirs = [], []

    @coded
    def process(self, grouped: tuple[int, Iterable[Part | bytes]]) -> Iterator[Told]:
        number, inputs = grouped[0], list(grouped[1])
        (part,) = (one for one in inputs if isinstance(one, Part))
        with step("deduplicate"):
            decided = _decided((one for one in inputs if isinstance(one, bytes)), part.rows)
        if self.processes == 1:
            yield from _told(number, read_part_of(self.batch, part, decided), lambda value: value)
        elif number % self.processes == 0:
            self._mine.append((number, part, decided))
        else:
            reading = helpers().submit(self.processes - 1, read_part_of, self.batch, part, decided)
            self._theirs.append((number, reading))

    @coded
    def finish_bundle(self) -> Iterator[Told]:
        for number, part, decided in self._mine:
            yield from _told(number, read_part_of(self.batch, part, decided), GlobalWindows.windowed_value)
        for number, reading in self._theirs:
            yield from _told(number, reading.result(), GlobalWindows.windowed_value)


class WriteLedger(beam.DoFn):  # type: ignore[misc]
    """Ledger rows of a part and their corrections → files of the ledger and of the quarantine."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(
        self, grouped: tuple[int, Iterable[LedgerOfPart | bytes]]
    ) -> Iterator[tuple[str, NewFile] | beam.pvalue.TaggedOutput]:
        inputs = list(grouped[1])
        (told,) = (one for one in inputs if isinstance(one, LedgerOfPart))
        with step("ledger"):
            ledger = correct(from_bytes(told.rows), (one for one in inputs if isinstance(one, bytes)))
            whole = quarantine_rows(ledger, told.places)
            bad = pa.concat_tables([whole, bad_part_rows(ledger, from_bytes(told.bad_parts))])
        for file in steps_of("write", write_by_partition(self.batch.lake, LEDGER, ledger)):
            yield LEDGER.name, file
        for count in ledger.column("disposition").value_counts().to_pylist():
            Metrics.counter("phl", f"disposition_{count['values']}").inc(count["counts"])
        for file in steps_of("write", write_by_partition(self.batch.lake, QUARANTINE, bad)):
            yield beam.pvalue.TaggedOutput("quarantine", (_COMMITTER, (QUARANTINE.name, file)))


class CommitTables(beam.DoFn):  # type: ignore[misc]
    """All files of the batch but the ledger's → a commit of each table; says to the ledger's committer that it is done.

    Several at a time: it is the store's answers that take long.
    """

    def __init__(self, batch: Batch, again: bytes | None = None) -> None:
        self.batch, self.again = batch, again

    @coded
    def process(self, grouped: tuple[str, Iterable[OfTable | None]]) -> Iterator[tuple[str, NewFile | None]]:
        by_table: dict[str, list[NewFile]] = {}
        if self.again is not None:
            by_table = {table.name: [] for table in (*self.batch.modality.tables, QUARANTINE)}
        for one in grouped[1]:
            if one is not None:
                by_table.setdefault(one[0], []).append(one[1])
        with ThreadPoolExecutor(_COMMITTED_TOGETHER) as pool:
            for costs in pool.map(self._commit, by_table, by_table.values()):
                count_steps(costs)
        fail_point("tables-committed")
        yield LEDGER.name, None

    def _commit(self, name: str, files: list[NewFile]) -> Costs:
        table = next(table for table in (*self.batch.modality.tables, QUARANTINE) if table.name == name)
        costs = Costs()
        with costs.step("commit"):
            files = sorted(files, key=lambda file: file.path)
            if self.again is None:
                commit_table(self.batch.lake, self.batch.claim, table, files)
            else:
                commit_instead(self.batch, table, files, from_bytes(self.again))
        return costs


def commit_instead(batch: Batch, table: Table, files: list[NewFile], messages: pa.Table) -> None:
    """Commit files of a table, and with them take out the former rows of messages that were read again.

    Raises:
        LakeError, TransportError: as ``replacing``.
    """

    def attempt() -> None:
        if not is_done(current_handle(batch.lake, table), table, batch.claim):
            kept, removed = withdrawn(batch.lake, table, messages)
            fail_point("rows-left")
            commit_table(batch.lake, batch.claim, table, [*files, *kept], removed)

    replacing(attempt)


class CommitLedger(beam.DoFn):  # type: ignore[misc]
    """The ledger's commit, after all others: it ends the batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, grouped: tuple[str, Iterable[NewFile | None]]) -> Iterator[int]:
        files = sorted((file for file in grouped[1] if file is not None), key=lambda file: file.path)
        with step("commit"):
            commit_table(self.batch.lake, self.batch.claim, LEDGER, files)
        yield sum(file.rows for file in files)


def ids_by_month(batch: Batch, part: int, raw: pa.Table) -> Iterator[tuple[str, bytes]]:
    """By month as sent, the ids of the messages of a part that may be read."""
    verdicts = judge_envelopes(raw, batch.modality, batch.sources)
    candidates = pc.is_null(verdicts.disposition)
    ids = pa.table(
        {
            "file": pa.array(np.full(raw.num_rows, part, np.int32)),
            "row": pa.array(np.arange(raw.num_rows, dtype=np.int32)),
            **{
                name: raw.column(name)
                for name in ("received_at", "topic_id", "partition", "offset", "id_hash", "content_hash")
            },
            "bucket": buckets_of(raw.column("sent_date")),
        }
    ).filter(candidates)
    for bucket in pc.unique(ids.column("bucket")).to_pylist():
        yield (
            bucket,
            to_bytes(ids.filter(pc.equal(ids.column("bucket"), bucket)).drop_columns(["bucket"])),
        )


def decide_month(batch: Batch, bucket: str, ids: pa.Table) -> pa.Table:
    """Dispositions of a month's ids against the index as it was when the batch was claimed.

    Of messages that are read again all that bear the same ids are in the batch, and are judged among themselves.
    """
    if batch.again:
        return decide(ids, NOTHING_BEFORE, bucket).select(["file", "row", "disposition"])
    index = open_index(batch.lake, batch.index, batch.modality.raw.name, batch.ledger_version)
    return decide(ids, index, bucket).select(["file", "row", "disposition"])


def _told(number: int, done: PartRead, wrapped: Callable[[object], object]) -> Iterator[Told]:
    """What ``ParsePart`` says of a part."""
    count_steps(done.costs)
    for file in done.files:
        yield wrapped((_COMMITTER, file))
    for key in done.unreadable:
        yield beam.pvalue.TaggedOutput("unreadable", wrapped(key))
    yield beam.pvalue.TaggedOutput(
        "ledger", wrapped((number, LedgerOfPart(done.ledger, done.places, done.bad_parts)))
    )


def correct(ledger: pa.Table, corrections: Iterable[bytes]) -> pa.Table:
    """Ledger rows with the dispositions that judging again without unreadable messages changed.

    A copy that was taken for a duplicate of an unreadable message is quarantined for the same reason.
    """
    pieces = [from_bytes(piece) for piece in corrections]
    if not pieces:
        return ledger
    changed = pa.concat_tables(pieces)
    new, reason = (
        scatter(changed.column(name), changed.column("row"), ledger.num_rows)
        for name in ("disposition", "reason")
    )
    names = ledger.column_names
    disposition = pc.coalesce(new, ledger.column("disposition").combine_chunks())
    codes = code_lists(ledger.column("codes").combine_chunks(), reason)
    ledger = ledger.set_column(names.index("disposition"), "disposition", disposition)
    return ledger.set_column(names.index("codes"), "codes", codes)


def _concat(pieces: Iterable[bytes]) -> pa.Table:
    return pa.concat_tables([from_bytes(piece) for piece in pieces]).combine_chunks()


def _by_part(decided: pa.Table) -> Iterator[tuple[int, bytes]]:
    for number in pc.unique(decided.column("file")).to_pylist():
        yield (
            number,
            to_bytes(decided.filter(pc.equal(decided.column("file"), number)).drop_columns(["file"])),
        )


def _decided(pieces: Iterable[bytes], length: int) -> pa.Array:
    tables = [from_bytes(piece) for piece in pieces]
    if not tables:
        return pa.nulls(length, pa.string())
    decided = pa.concat_tables(tables)
    return scatter(decided.column("disposition"), decided.column("row"), length)
