"""Identify: rows that normalised commits added → who is who, and last of all ``ops/identity``.

::

    batch ─► Identify ─► read what is new ─► find what it touches ─► resolve that ─► commit what changes

What is new are edges and identifiers that messages list. It touches whole components (``pipelines.identity_graph``
looks them up in what ``pipelines.identity_known`` keeps on the local disk); those are resolved twice, from what was
known of them and with what is new, and what differs is committed, all tables at once, to ``ops/identity_change``. No
file of the tables themselves is looked at: ``pipelines.identity_changes`` brings changes into them later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.added_since import AddedFile, files_added
from lake_layout.claims import Claim
from lake_layout.commit import is_done
from lake_layout.fail_points import fail_point
from lake_layout.files import write_file
from lake_layout.handles import current_handle
from lake_layout.kept_rows import KeptRows
from lake_layout.lake import Lake
from lake_layout.reading import read_file
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import commit_table
from pipelines.costs import Costs
from pipelines.identity import (
    Identity,
    edges_of_links,
    edges_of_patients,
    edges_of_steward,
    join_seen,
    resolve_in_shares,
    seen_of,
)
from pipelines.identity_changes import change_rows, joined
from pipelines.identity_components import I64, Bools
from pipelines.identity_edges import Owners, seen_in_images
from pipelines.identity_graph import Graph
from pipelines.identity_known import known_rows
from pipelines.parts import coded
from pipelines.steps import count_steps
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.identification import IDENTIFICATION, IDENTITY_CHANGE, STATING, progress_id
from schemas.tables.identity import (
    IDENTIFIER_REDIRECT,
    IDENTIFIER_SEEN,
    PERSON,
    PERSON_ID_HISTORY,
    PERSON_IDENTIFIER,
    PERSON_LINK,
    SEEN,
    STEWARD_QUEUE,
    UNITS,
)
from schemas.tables.imaging import IMAGING_STUDY
from schemas.tables.normalised import PATIENT, PATIENT_LINK
from schemas.tables.steward_event import STEWARD_EVENT

_COMPARED_TOGETHER = 50_000
"""Rows that are plain values at a time."""

_JOINED_TOGETHER = 500_000
"""Rows of what is seen that wait before they are joined."""

_ORIGIN = (
    "version_time", "sent_sequence", "received_at", "topic_id", "partition", "offset", "reading", "segment_index",
    "source", "institution", "message_type",
)  # fmt: skip

_COLUMNS: Final[Mapping[str, tuple[str, ...] | None]] = {
    PATIENT.name: (*_ORIGIN, "identifiers"),
    IMAGING_STUDY.name: ("patient_id", "patient_authority", "event_time", "version_time"),
}
"""What is read of a table; else all of it."""


@dataclass(frozen=True)
class Batch:
    """What the graph of a batch knows.

    Attributes:
        lake: where the tables lie.
        claim: the batch.
        sources: settings of the senders.
        index: where the indexes lie.
    """

    lake: Lake
    claim: Claim
    sources: Sources
    index: IndexLocation

    @property
    def versions(self) -> dict[str, tuple[int, int]]:
        """By normalised table, after which version, and up to which, commits added what is new."""
        names = {progress_id(name): name for name in STATING}
        return {names[app]: (self.claim.begin[app], end) for app, end in self.claim.end.items()}

    def files(self) -> dict[str, list[AddedFile]]:
        """The files with the new rows, by normalised table."""
        return {
            name: files_added(self.lake, STATING[name], *versions) for name, versions in self.versions.items()
        }


@dataclass(eq=False)  # not frozen: Beam keeps hints and the pipeline on it
class Identify(beam.PTransform):  # type: ignore[misc]
    """The graph of one batch of the identity stage: components reach over all rows, so one worker has it all."""

    batch: Batch

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return begin | "Batch" >> beam.Create([0]) | "ResolveBatch" >> beam.ParDo(ResolveBatch(self.batch))


class ResolveBatch(beam.DoFn):  # type: ignore[misc]
    """Anything → the batch's commits."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, _: int) -> Iterator[int]:
        costs = Costs()
        rows = resolve_batch(self.batch, costs)
        count_steps(costs)
        yield rows


def resolve_batch(batch: Batch, costs: Costs) -> int:
    """Take a batch in; where it broke off before, only what is left.

    Args:
        batch: the batch.
        costs: what it takes is added here.

    Returns:
        How many rows were new.

    Raises:
        LakeError, TransportError: as ``commit_table``.
    """
    lake, files = batch.lake, batch.files()
    if not is_done(current_handle(lake, IDENTITY_CHANGE), IDENTITY_CHANGE, batch.claim):
        commit_changes(batch, decided(batch, files, costs), costs)
    rows = {name: sum(file.rows for file in some) for name, some in files.items()}
    with costs.step("commit"):
        commit_progress(batch, rows)
    return sum(rows.values())


def decided(batch: Batch, files: Mapping[str, Sequence[AddedFile]], costs: Costs) -> pa.Table:
    """What a batch changes: rows of ``IDENTITY_CHANGE``."""
    lake = batch.lake
    with costs.step("read"):
        paths = {name: [file.path for file in some] for name, some in files.items()}
        stated = stated_by(lake, batch.sources, paths)
    with costs.step("components"), known_rows(lake, batch.index, batch.claim.batch - 1) as rows:
        known = known_of(rows, keys_touched(rows, stated))
    fail_point("known-read")
    with costs.step("resolve"):
        before = Whole.of(known.edges, known.seen)
        after = Whole.of(pa.concat_tables([known.edges, stated.edges]), join_seen(known.seen, stated.seen))
        return changed(known, before, after, batch.claim)


# What rows say -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stated:
    """What is said of who is who.

    Attributes:
        edges: ``PERSON_LINK``.
        seen: ``SEEN``, joined.
    """

    edges: pa.Table
    seen: pa.Table

    @property
    def changed(self) -> I64:
        """Keys of all identifiers that anything is said of."""
        columns = [self.edges.column("key"), self.edges.column("to_key")]
        columns += [self.seen.column("patient_key"), self.seen.column("key")]
        return np.unique(np.concatenate([int64s(column) for column in columns]))


def stated_by(lake: Lake, sources: Sources, paths: Mapping[str, Sequence[str]]) -> Stated:
    """Read files.

    Args:
        lake: where.
        sources: settings of the senders.
        paths: files by normalised table.

    Raises:
        LakeError, TransportError: as ``read_file``.
    """
    owners = Owners.of(sources)
    edges, seen, waiting = [PERSON_LINK.arrow_schema.empty_table()], SEEN.empty_table(), [SEEN.empty_table()]
    for name, some in paths.items():
        for path in some:
            rows = read_file(lake, STATING[name], path, _COLUMNS.get(name))
            if name == PATIENT.name:
                edges.append(edges_of_patients(rows, owners))
                waiting.append(seen_of(rows))
                if sum(table.num_rows for table in waiting) > _JOINED_TOGETHER:
                    seen, waiting = join_seen(seen, *waiting), [SEEN.empty_table()]
            elif name == IMAGING_STUDY.name:
                waiting.append(seen_in_images(rows))
            elif name == PATIENT_LINK.name:
                edges.append(edges_of_links(rows, owners))
            elif name == STEWARD_EVENT.name:
                edges.append(edges_of_steward(rows))
    return Stated(pa.concat_tables(edges), join_seen(seen, *waiting))


# What is known -------------------------------------------------------------------------------------------------------


def keys_touched(rows: KeptRows, stated: Stated) -> I64:
    """Keys of all identifiers in the components that something is said of; ascending."""
    changed = np.unique(np.concatenate([stated.changed, _superseded(rows, stated.edges)]))
    return Graph.of(rows, stated.edges, stated.seen).reached(changed)


def _superseded(rows: KeptRows, edges: pa.Table) -> I64:
    """Keys that an earlier reading of the same messages named."""
    again = edges.filter(pc.greater(edges.column("reading"), 0)).select(["topic_id", "partition", "offset"])
    if not again.num_rows:
        return np.zeros(0, np.int64)
    former = rows.rows(PERSON_LINK, again.group_by(again.column_names).aggregate([]))
    return np.concatenate([int64s(former.column("key")), int64s(former.column("to_key"))])


def known_of(rows: KeptRows, keys: I64) -> Stated:
    """What is known of some identifiers."""
    return Stated(
        rows.rows(PERSON_LINK, pa.table({"key": keys})),
        rows.rows(IDENTIFIER_SEEN, pa.table({"patient_key": keys})),
    )


# What becomes of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """Who is who, and what it follows from.

    Attributes:
        identity: who is who.
        seen: ``SEEN``.
    """

    identity: Identity
    seen: pa.Table

    @classmethod
    def of(cls, edges: pa.Table, seen: pa.Table) -> Whole:
        return cls(resolve_in_shares(edges, seen), seen)


def changed(known: Stated, before: Whole, after: Whole, claim: Claim) -> pa.Table:
    """What changes in all tables of identity: rows of ``IDENTITY_CHANGE``.

    Args:
        known: what is known of what is touched, as it is in the tables.
        before: who was who by that.
        after: who is who.
        claim: the batch.
    """
    was, now = before.identity, after.identity
    both = (
        (PERSON, was.persons, now.persons),
        (PERSON_IDENTIFIER, was.identifiers, now.identifiers),
        (PERSON_ID_HISTORY, was.history, now.history),
        (IDENTIFIER_REDIRECT, was.redirects, now.redirects),
        (STEWARD_QUEUE, was.queue, now.queue),
        (IDENTIFIER_SEEN, known.seen, after.seen),
        (PERSON_LINK, known.edges, now.links),
    )
    return pa.concat_tables(
        change_rows(table, *_differing(UNITS[table.name], former, coming), claim.batch, claim.made_at)
        for table, former, coming in both
    )


def _differing(unit: tuple[str, ...], former: pa.Table, coming: pa.Table) -> tuple[pa.Table, pa.Table]:
    """What differs.

    Args:
        unit: columns that name what is replaced as a whole.
        former: rows that were there.
        coming: rows that are to be there.

    Returns:
        Names of what was there and goes (the columns of ``unit``), and the rows that come.
    """
    was, now = joined(former, unit), joined(coming, unit)
    was_hashed, now_hashed = _hashed(former), _hashed(coming)
    names = pc.unique(
        pa.chunked_array(
            [
                *was.filter(pa.array(_differs(was_hashed, now_hashed))).chunks,
                *now.filter(pa.array(_differs(now_hashed, was_hashed))).chunks,
            ],
            pa.string(),
        )
    )
    gone = pc.unique(was.filter(pc.is_in(was, names)))
    place = pc.index_in(gone, was.combine_chunks())
    return former.select(unit).take(place), coming.filter(pc.is_in(now, names))


def _hashed(rows: pa.Table) -> I64:
    found = [
        hash(text)
        for first in range(0, rows.num_rows, _COMPARED_TOGETHER)
        for text in texts_of(rows.slice(first, _COMPARED_TOGETHER))
    ]
    return np.array(found, np.int64)


def _differs(mine: I64, other: I64) -> Bools:
    """Which of my rows the other side has not, or not as often; both by hash."""
    names, place, count = np.unique(mine, return_inverse=True, return_counts=True)
    there, often = np.unique(other, return_counts=True)
    if not len(there):
        return np.ones(len(mine), np.bool_)
    at = np.minimum(np.searchsorted(there, names), len(there) - 1)
    differs: Bools = ~((there[at] == names) & (often[at] == count))[place]
    return differs


def texts_of(rows: pa.Table) -> list[tuple[object, ...]]:
    """Rows as tuples of plain values."""
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in rows.columns
    ]
    return list(zip(*columns, strict=True))


def commit_changes(batch: Batch, changes: pa.Table, costs: Costs) -> None:
    """Commit what a batch changes, all tables at once.

    Raises:
        LakeError, TransportError: as ``commit_table``.
    """
    if not changes.num_rows:
        return
    with costs.step("write"):
        files = [write_file(batch.lake, IDENTITY_CHANGE, changes, None)]
    with costs.step("commit"):
        commit_table(batch.lake, batch.claim, IDENTITY_CHANGE, files)


def commit_progress(batch: Batch, rows: Mapping[str, int]) -> None:
    """Commit what the batch read; this ends it."""
    told = pa.Table.from_pylist(
        [
            {
                "batch_number": batch.claim.batch,
                "table": name,
                "from_version": begin,
                "to_version": end,
                "rows_read": rows[name],
                "identified_at": batch.claim.made_at,
            }
            for name, (begin, end) in batch.versions.items()
        ],
        schema=pa.schema(
            [one for one in IDENTIFICATION.arrow_schema if one.name != IDENTIFICATION.partition_by]
        ),
    )
    month = batch.claim.made_at.date().replace(day=1)
    commit_table(
        batch.lake, batch.claim, IDENTIFICATION, [write_file(batch.lake, IDENTIFICATION, told, month)]
    )


def int64s(column: pa.ChunkedArray | pa.Array) -> I64:
    """A column without nulls as numbers."""
    found: I64 = column.to_numpy().astype(np.int64)
    return found


def everything(
    lake: Lake, sources: Sources, paths: Mapping[str, Iterable[str]]
) -> list[tuple[Table, pa.Table]]:
    """The rows of all tables of identity, as one resolve over all rows makes them.

    Args:
        lake: where.
        sources: settings of the senders.
        paths: files by normalised table.
    """
    stated = stated_by(lake, sources, {name: list(some) for name, some in paths.items()})
    found = resolve_in_shares(stated.edges, stated.seen)
    return [
        (PERSON, found.persons),
        (PERSON_IDENTIFIER, found.identifiers),
        (PERSON_ID_HISTORY, found.history),
        (IDENTIFIER_REDIRECT, found.redirects),
        (STEWARD_QUEUE, found.queue),
        (IDENTIFIER_SEEN, stated.seen),
        (PERSON_LINK, found.links),
    ]
