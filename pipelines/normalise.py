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

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics

from lake_layout.claims import Claim
from lake_layout.commit import is_done, replacing
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from lake_layout.reading import read_file
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import commit_table
from pipelines.deduplicate import NOTHING_BEFORE, decide, open_index
from pipelines.dispositions import (
    IDENTITY_COLUMNS,
    Verdicts,
    buckets_of,
    code_lists,
    count_rows,
    judge_envelopes,
    ledger_rows,
    quarantine_rows,
    row_count_lists,
    scatter,
)
from pipelines.parts import Part, coded, from_bytes, release_memory, to_bytes
from pipelines.read_again import only, withdrawn
from pipelines.steps import Costs, count_steps, step, steps_of
from pipelines.write_tables import TableFiles, Written, write_by_partition
from schemas.errors import LakeError
from schemas.modality import Modality, Parsed
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.ops import DECISION, LEDGER, QUARANTINE

READING = 0  # first reading of a message; reading again counts on (``pipelines.read_again``)

PIECE_BYTES = 64 * 1024 * 1024
PIECE_ROWS = 34_000
"""Messages are parsed together up to so many bytes and messages: bounds a worker's memory."""

_COMMITTED_TOGETHER = 8

_COMMITTER = "tables"
"""Key under which all files but the ledger's go to one committer."""


PAYLOAD_COLUMNS = (*IDENTITY_COLUMNS, "payload", "object_path", "size")

OfTable = tuple[str, NewFile]
"""A file, by the name of its table."""

Unreadable = tuple[int, int, str]
"""Id hash, content hash and code of a message whose body could not be read."""

Places = dict[int, tuple[str | None, int | None, int | None]]
"""By row: segment, its index and field that made a message unreadable."""


@dataclass(frozen=True, slots=True)
class LedgerOfPart:
    """Ledger rows of a part (an IPC stream), and where its unreadable messages fail."""

    rows: bytes
    places: Places


@dataclass(frozen=True)
class Batch:
    """What every step of the graph knows.

    Attributes:
        lake: where the tables lie.
        claim: the batch: which raw versions, and the ledger version that duplicates are decided against.
        modality: what kind of messages.
        sources: settings of the senders.
        index: where the duplicate index lies on a worker's own disk.
    """

    lake: Lake
    claim: Claim
    modality: Modality
    sources: Sources
    index: IndexLocation

    @property
    def ledger_version(self) -> int:
        return self.claim.pins[LEDGER.name]

    @property
    def again(self) -> bool:
        """Whether it is of messages that were read before."""
        return DECISION.name in self.claim.pins


@dataclass(eq=False)  # not frozen: Beam keeps hints and the pipeline on it
class Normalise(beam.PTransform):  # type: ignore[misc]
    """The graph of one batch of the normalise stage.

    Attributes:
        batch: what is claimed.
        parts: the shares of workers.
        again: messages whose former rows leave the tables, as an IPC stream of what ``read_again.messages_of`` gives.
    """

    batch: Batch
    parts: tuple[Part, ...]
    again: bytes | None = None

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
            | "ParsePart" >> beam.ParDo(ParsePart(batch)).with_outputs("ledger", "unreadable", main="files")
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
    """Part and decisions → files of the tables, ledger rows, and keys of what proved unreadable (pass 2)."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(
        self, grouped: tuple[int, Iterable[Part | bytes]]
    ) -> Iterator[tuple[str, OfTable] | beam.pvalue.TaggedOutput]:
        number, inputs = grouped[0], list(grouped[1])
        (part,) = (one for one in inputs if isinstance(one, Part))
        with step("deduplicate"):
            disposition = _decided((one for one in inputs if isinstance(one, bytes)), part.rows)
        ledgers: list[pa.Table] = []
        places: Places = {}
        first = 0
        # Neither parsing nor making files keeps Python's lock for long: a thread parses, one writes, this one reads.
        files = TableFiles(self.batch.lake, self.batch.claim, READING, self.batch.modality.tables)
        with ThreadPoolExecutor(1) as parser, ThreadPoolExecutor(1) as writer:
            writing: Future[Written] | None = None
            for piece in _one_ahead(parser, self._pieces(part, disposition)):
                if writing is not None:
                    yield from _written(writing)
                writing = writer.submit(files.add, piece.raw, piece.parsed)
                count_steps(piece.costs)
                fail_point("part-parsed")
                for key in piece.unreadable:
                    yield beam.pvalue.TaggedOutput("unreadable", key)
                ledgers.append(piece.ledger)
                places |= {first + row: place for row, place in piece.places.items()}
                first += piece.ledger.num_rows
            if writing is not None:
                yield from _written(writing)
            yield from _written(writer.submit(files.rest))
        release_memory(part.rows)
        with step("ledger"):
            ledger = to_bytes(pa.concat_tables(ledgers))
        yield beam.pvalue.TaggedOutput("ledger", (number, LedgerOfPart(ledger, places)))

    def _pieces(self, part: Part, disposition: pa.Array) -> Iterator[Callable[[], Piece]]:
        """What is to be done for each piece of the part."""
        first = 0
        for raw in steps_of("read", read_pieces(self.batch, part)):
            yield functools.partial(read_messages, self.batch, raw, disposition.slice(first, raw.num_rows))
            first += raw.num_rows


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
            bad = quarantine_rows(ledger, told.places)
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


@dataclass(frozen=True)
class Piece:
    """What became of some messages that were read together.

    Attributes:
        raw: the raw rows of those that could be read.
        parsed: what the parser made of them.
        ledger: one row per message, in their order.
        places: by position in ``ledger``, where an unreadable message fails.
        unreadable: keys of messages whose bodies could not be read.
        costs: of all this.
    """

    raw: pa.Table
    parsed: Parsed
    ledger: pa.Table
    places: Places
    unreadable: list[Unreadable]
    costs: Costs


def read_messages(batch: Batch, raw: pa.Table, decided: pa.Array) -> Piece:
    """Parse messages and say what became of each (pass 2).

    Args:
        batch: the batch.
        raw: raw rows with the columns ``PAYLOAD_COLUMNS``.
        decided: what pass 1 decided of each; null where the envelope already settles it.
    """
    modality = batch.modality
    verdicts = judge_envelopes(raw, modality, batch.sources)
    disposition = pc.coalesce(verdicts.disposition, decided)
    read = np.flatnonzero(
        pc.is_in(disposition, pa.array(["accepted", "conflict"])).to_numpy(zero_copy_only=False)
    )
    costs = Costs()
    with costs.step("read"):
        chosen = with_objects(batch, raw.take(pa.array(read)))
    with costs.step("parse"):
        parsed = modality.parse(chosen, batch.sources)
    with costs.step("write"):
        store_objects(batch, parsed.objects)
    chosen = chosen.drop_columns(["payload"])
    with costs.step("ledger"):
        return _told(batch, raw, read, verdicts, disposition, chosen, parsed, costs)


def _told(
    batch: Batch, raw: pa.Table, read: np.ndarray, verdicts: Verdicts, disposition: pa.Array,
    chosen: pa.Table, parsed: Parsed, costs: Costs,
) -> Piece:  # fmt: skip
    """What became of the messages, given which rows were read and what the parser made of them."""
    modality, n = batch.modality, raw.num_rows
    bad = parsed.unreadable
    bad_rows = read[bad.column("row").to_numpy()]
    flags = np.zeros(n, bool)
    flags[bad_rows] = True
    disposition = pc.if_else(pa.array(flags), pa.scalar("quarantined"), disposition)
    reason = pc.coalesce(verdicts.code, scatter(bad.column("code"), pa.array(bad_rows), n))
    findings = scatter(
        parsed.messages.column("codes"), pa.array(read[parsed.messages.column("row").to_numpy()]), n
    )
    counts = np.zeros((n, len(parsed.tables)), np.int32)
    counts[read] = count_rows(parsed.tables, len(read))
    ledger = ledger_rows(
        raw, disposition, code_lists(findings, reason), row_count_lists(list(parsed.tables), counts),
        modality, batch.claim, READING,
    )  # fmt: skip
    places = {
        int(row): (place["segment"], place["segment_index"], place["field"])
        for row, place in zip(bad_rows, bad.to_pylist(), strict=True)
    }
    keys = raw.select(["id_hash", "content_hash"]).take(pa.array(bad_rows)).to_pylist()
    unreadable = [
        (key["id_hash"], key["content_hash"], code)
        for key, code in zip(keys, bad.column("code").to_pylist(), strict=True)
    ]
    return Piece(chosen, parsed, ledger, places, unreadable, costs)


def read_pieces(batch: Batch, part: Part) -> Iterator[pa.Table]:
    """The raw rows of a part in order, whole files together up to ``PIECE_BYTES`` and ``PIECE_ROWS``."""
    pending: list[pa.Table] = []
    filled = 0
    for path in part.files:
        rows = _read(batch, part, path, PAYLOAD_COLUMNS)
        size = pc.sum(rows.column("size")).as_py() or 0
        count = sum(one.num_rows for one in pending) + rows.num_rows
        if pending and (filled + size > PIECE_BYTES or count > PIECE_ROWS):
            yield pa.concat_tables(pending).combine_chunks()
            pending, filled = [], 0
        pending.append(rows)
        filled += size
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def read_part(batch: Batch, part: Part, columns: Iterable[str]) -> pa.Table:
    """Columns of all raw rows of a part, in the order of its files."""
    wanted = list(columns)
    pieces = [_read(batch, part, path, wanted) for path in part.files]
    return pa.concat_tables(pieces).combine_chunks()


def _read(batch: Batch, part: Part, path: str, columns: Sequence[str]) -> pa.Table:
    rows = read_file(batch.lake, batch.modality.raw, path, columns)
    return rows if part.only is None else only(rows, from_bytes(part.only))


def with_objects(batch: Batch, raw: pa.Table) -> pa.Table:
    """Put the bytes of messages that lie in objects into ``payload``."""
    outside = np.flatnonzero(pc.is_valid(raw.column("object_path")).to_numpy())
    if not len(outside):
        return raw
    store = open_store(batch.lake.location)
    payload = raw.column("payload").to_pylist()
    for row in outside:
        payload[row] = store.get(raw.column("object_path")[int(row)].as_py())
    return raw.set_column(raw.column_names.index("payload"), "payload", pa.array(payload, pa.binary()))


def store_objects(batch: Batch, objects: Mapping[str, bytes]) -> None:
    """Put what left its rows into the lake, before any row that refers to it is committed.

    A path is the hash of the bytes, so that storing them again, in another batch or after a crash, changes nothing.

    Raises:
        LakeError: ``OBJECT-DAMAGED``: other bytes lie at a path.
    """
    store = open_store(batch.lake.location)
    for path, data in objects.items():
        if not store.put_if_absent(path, data):
            raise LakeError("OBJECT-DAMAGED", "an object is there already with other bytes", path=path)
        fail_point("object-stored")


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


def _one_ahead(parser: ThreadPoolExecutor, work: Iterator[Callable[[], Piece]]) -> Iterator[Piece]:
    """What the parser's thread makes, in the order of the work; the next piece is read meanwhile."""
    making: Future[Piece] | None = None
    for one in work:
        following = parser.submit(one)
        if making is not None:
            yield making.result()
        making = following
    if making is not None:
        yield making.result()


def _written(writing: Future[Written]) -> list[tuple[str, OfTable]]:
    written = writing.result()
    count_steps(written.costs)
    return [(_COMMITTER, file) for file in written.files]


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
