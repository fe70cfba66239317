"""A worker's share of messages, read: raw rows → rows of the tables, ledger rows, and what proved unreadable.

No part of a graph is needed for it, so that processes that help a worker (``pipelines.helpers``) load none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.claims import Claim
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from lake_layout.reading import read_file
from lake_layout.sorted_runs import IndexLocation
from pipelines.costs import Costs
from pipelines.dispositions import (
    IDENTITY_COLUMNS,
    Verdicts,
    code_lists,
    count_rows,
    judge_envelopes,
    ledger_rows,
    row_count_lists,
    scatter,
)
from pipelines.parts import Part, from_bytes, release_memory, to_bytes
from pipelines.read_again import only
from pipelines.write_tables import TableFiles, Written
from schemas.errors import LakeError
from schemas.modality import UNREADABLE_SCHEMA, Modality, Parsed
from schemas.source import Sources
from schemas.tables.ops import DECISION, LEDGER, QUARANTINE
from schemas.tables.raw import ATTACHMENT

READING = 0  # first reading of a message; reading again counts on (``pipelines.read_again``)

PIECE_BYTES = 64 * 1024 * 1024
PIECE_ROWS = 20_000
"""Messages are parsed together up to so many bytes and messages: bounds a worker's memory."""


PAYLOAD_COLUMNS = (*IDENTITY_COLUMNS, "content_type", "payload", "object_path", "size")
"""What pass 2 reads of a raw table, and besides what that has of its own (``ATTACHMENT``)."""


OfTable = tuple[str, NewFile]
"""A file, by the name of its table."""

Unreadable = tuple[int, int, str]
"""Id hash, content hash and code of a message whose body could not be read."""

Places = dict[int, tuple[str | None, int | None, int | None]]
"""By row: segment, its index and field that made a message unreadable."""


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


@dataclass(frozen=True)
class Piece:
    """What became of some messages that were read together.

    Attributes:
        raw: the raw rows of those that could be read.
        parsed: what the parser made of them.
        ledger: one row per message, in their order.
        places: by position in ``ledger``, where an unreadable message fails.
        bad_parts: ``UNREADABLE_SCHEMA``, parts that could not be read of messages that were, by position in ``ledger``.
        unreadable: keys of messages whose bodies could not be read.
        costs: of all this.
    """

    raw: pa.Table
    parsed: Parsed
    ledger: pa.Table
    places: Places
    bad_parts: pa.Table
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
    bad_parts = UNREADABLE_SCHEMA.empty_table() if parsed.bad_parts is None else parsed.bad_parts
    claimed = {**parsed.tables, QUARANTINE.name: bad_parts}
    counts = np.zeros((n, len(claimed)), np.int32)
    counts[read] = count_rows(claimed, len(read))
    ledger = ledger_rows(
        raw, disposition, code_lists(findings, reason), row_count_lists(list(claimed), counts),
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
    parts = _with_rows(bad_parts, read[bad_parts.column("row").to_numpy()])
    return Piece(chosen, parsed, ledger, places, parts, unreadable, costs)


def _with_rows(bad_parts: pa.Table, rows: np.ndarray) -> pa.Table:
    return bad_parts.set_column(0, bad_parts.schema.field("row"), pa.array(rows.astype(np.int32)))


def read_pieces(batch: Batch, part: Part) -> Iterator[pa.Table]:
    """The raw rows of a part in order, of several files together up to ``PIECE_BYTES`` and ``PIECE_ROWS``."""
    there = {field.name for field in batch.modality.raw.fields}
    columns = (*PAYLOAD_COLUMNS, *(field.name for field in ATTACHMENT if field.name in there))
    pending: list[pa.Table] = []
    filled = 0
    for rows in _files(batch, part, columns):
        size = pc.sum(rows.column("size")).as_py() or 0
        count = sum(one.num_rows for one in pending) + rows.num_rows
        if pending and (filled + size > PIECE_BYTES or count > PIECE_ROWS):
            yield pa.concat_tables(pending).combine_chunks()
            pending, filled = [], 0
        pending.append(rows)
        filled += size
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def read_part(batch: Batch, part: Part, columns: Sequence[str]) -> pa.Table:
    """Columns of all raw rows of a part, in the order of its files."""
    return pa.concat_tables(_files(batch, part, columns)).combine_chunks()


def _files(batch: Batch, part: Part, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a part, file by file."""
    skip, left = part.skip, part.rows
    for path in part.files:
        rows = read_file(batch.lake, batch.modality.raw, path, columns)
        if part.only is None:
            rows = rows.slice(skip, left)
            skip, left = 0, left - rows.num_rows
            yield rows
        else:
            yield only(rows, from_bytes(part.only))


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


@dataclass(frozen=True)
class PartRead:
    """What became of a part.

    Attributes:
        files: of its tables, by their names.
        ledger: one row per message, in their order, as an IPC stream.
        places: by position in ``ledger``, where an unreadable message fails.
        bad_parts: parts that could not be read of messages that were, as of a ``Piece``, as an IPC stream.
        unreadable: keys of messages whose bodies could not be read.
        costs: of all this.
    """

    files: list[OfTable]
    ledger: bytes
    places: Places
    bad_parts: bytes
    unreadable: list[Unreadable]
    costs: Costs


def read_part_of(batch: Batch, part: Part, decided: pa.Array) -> PartRead:
    """Read a part piece by piece and write its files.

    Args:
        batch: the batch.
        part: the part.
        decided: what pass 1 decided of each of its messages; null where the envelope already settles it.
    """
    done = PartRead([], b"", {}, b"", [], Costs())
    ledgers: list[pa.Table] = []
    bad_parts = [UNREADABLE_SCHEMA.empty_table()]

    def written(writing: Future[Written]) -> None:
        done.files.extend(writing.result().files)
        done.costs.add(writing.result().costs)

    first = 0
    # Neither parsing nor making files keeps Python's lock for long: a thread parses, one writes, this one reads.
    files = TableFiles(batch.lake, batch.claim, READING, batch.modality.tables)
    with ThreadPoolExecutor(1) as parser, ThreadPoolExecutor(1) as writer:
        writing: Future[Written] | None = None
        for piece in _one_ahead(parser, _pieces(batch, part, decided, done.costs)):
            if writing is not None:
                written(writing)
            writing = writer.submit(files.add, piece.raw, piece.parsed)
            done.costs.add(piece.costs)
            fail_point("part-parsed")
            done.unreadable.extend(piece.unreadable)
            ledgers.append(piece.ledger)
            done.places.update({first + row: place for row, place in piece.places.items()})
            bad_parts.append(_with_rows(piece.bad_parts, piece.bad_parts.column("row").to_numpy() + first))
            first += piece.ledger.num_rows
        if writing is not None:
            written(writing)
        written(writer.submit(files.rest))
    release_memory(part.rows)
    with done.costs.step("ledger"):
        return replace(
            done, ledger=to_bytes(pa.concat_tables(ledgers)), bad_parts=to_bytes(pa.concat_tables(bad_parts))
        )


def _pieces(batch: Batch, part: Part, decided: pa.Array, costs: Costs) -> Iterator[Callable[[], Piece]]:
    """What is to be done for each piece of the part."""
    first = 0
    pieces = read_pieces(batch, part)
    while True:
        with costs.step("read"):
            raw = next(pieces, None)
        if raw is None:
            return
        yield functools.partial(read_messages, batch, raw, decided.slice(first, raw.num_rows))
        first += raw.num_rows


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
