"""Identify: rows that normalised commits added → who is who, and last of all ``ops/identity``.

::

    batch ─► Identify ─► read what is new ─► find what it touches ─► resolve that ─► commit table by table

What is new are edges and identifiers that messages list. It touches whole components (``pipelines.identity_graph``
looks them up); those are resolved twice, from what was known of them and with what is new, and only rows that differ
are taken out of their files and written: a table of which no row differs is not even looked at, and rows of what was
not there before are added without a look.

``curated/identifier_seen`` and ``curated/patient_link``, which all else is made of, are committed after what is made
of them: a batch that broke off finds them as they were when it began, and decides the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake_layout.added_since import AddedFile, files_added
from lake_layout.claims import Claim
from lake_layout.commit import is_done, replacing
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of
from lake_layout.reading import read_file
from lake_layout.rewrite import rows_from, split_file
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import commit_table
from pipelines.costs import Costs
from pipelines.identity import (
    ENDS,
    Identity,
    Touch,
    edges_of_links,
    edges_of_patients,
    edges_of_steward,
    ends_of,
    join_seen,
    resolve_in_shares,
    seen_of,
)
from pipelines.identity_components import I64, Bools, among
from pipelines.identity_edges import Owners, seen_in_images
from pipelines.identity_graph import Graph
from pipelines.parts import coded
from pipelines.steps import count_steps
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.identification import IDENTIFICATION, STATING, progress_id
from schemas.tables.identity import (
    IDENTIFIER_REDIRECT,
    IDENTIFIER_SEEN,
    PERSON,
    PERSON_ID_HISTORY,
    PERSON_IDENTIFIER,
    PERSON_LINK,
    SEEN,
    STEWARD_QUEUE,
)
from schemas.tables.imaging import IMAGING_STUDY
from schemas.tables.normalised import PATIENT, PATIENT_LINK
from schemas.tables.steward_event import STEWARD_EVENT

ROWS_OF_FILE = 400_000
"""Rows gathered before they become a file."""

_FEWEST_COPIED = 50_000
"""Of a file with fewer rows beside those that change, these are written with what changes."""

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

_EDGE = (
    "topic_id", "partition", "offset", "segment_index", "kind", "level", "value", "authority", "to_value",
    "to_authority",
)  # fmt: skip
"""What names an edge in the steward's queue."""

_NAME = ("level", "authority", "value")


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
    with costs.step("read"):
        paths = {name: [file.path for file in some] for name, some in files.items()}
        stated = stated_by(lake, batch.sources, paths)
    with costs.step("components"):
        touch = touch_of(lake, batch.index, stated)
    with costs.step("read"):
        known, elsewhere = known_of(lake, touch)
    with costs.step("resolve"):
        before = Whole.of(known.edges, known.seen)
        after = Whole.of(pa.concat_tables([known.edges, stated.edges]), join_seen(known.seen, stated.seen))
        places = places_of(known, before, after, touch, elsewhere)
    for place in places:
        commit_place(batch, place, costs)
    rows = {name: sum(file.rows for file in some) for name, some in files.items()}
    with costs.step("commit"):
        commit_progress(batch, rows)
    return sum(rows.values())


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


def touch_of(lake: Lake, index: IndexLocation, stated: Stated) -> Touch:
    """Which components something is said of.

    Raises:
        LakeError, TransportError: as ``open_runs``.
    """
    changed = np.unique(np.concatenate([stated.changed, _superseded(lake, stated.edges)]))
    return Touch(Graph.of(lake, index, stated.edges, stated.seen).reached(changed), changed)


def _superseded(lake: Lake, edges: pa.Table) -> I64:
    """Keys that an earlier reading of the same messages named."""
    again = edges.filter(pc.greater(edges.column("reading"), 0))
    found = [np.zeros(0, np.int64)]
    if again.num_rows:
        places = _joined(again, _EDGE[:3])
        for one in _live(lake, PERSON_LINK):
            rows = read_file(lake, PERSON_LINK, one.path, [*_EDGE[:3], "key", "to_key"])
            rows = rows.filter(pc.is_in(_joined(rows, _EDGE[:3]), places))
            found += [int64s(rows.column("key")), int64s(rows.column("to_key"))]
    return np.concatenate(found)


def known_of(lake: Lake, touch: Touch) -> tuple[Stated, frozenset[str]]:
    """What is known of what is touched, and paths of the files that have nothing of it."""
    tables, elsewhere = {}, set[str]()
    for table, is_touched in ((PERSON_LINK, _touched_edges(touch)), (IDENTIFIER_SEEN, _touched_seen(touch))):
        tables[table.name] = [table.arrow_schema.empty_table()]
        for one in _live(lake, table):
            mine = is_touched.of_file(lake, table, one.path)
            if mine.any():
                tables[table.name].append(rows_from(lake, table, one.path, mine))
            else:
                elsewhere.add(one.path)
    edges, seen = (pa.concat_tables(some) for some in tables.values())
    return Stated(edges, seen), frozenset(elsewhere)


def _live(lake: Lake, table: Table) -> list[LiveFile]:
    return files_of(current_handle(lake, table), table)


# What becomes of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """Some rows of a table.

    Attributes:
        columns: that tell.
        rows: rows of these columns → which of them.
        keys: column → keys (ascending) of which all these rows have one, where that is quicker to look at.
    """

    columns: tuple[str, ...]
    rows: Callable[[pa.Table], Bools]
    keys: tuple[str, I64] | None = None

    def of_file(self, lake: Lake, table: Table, path: str) -> Bools:
        """Which rows of a file."""
        if self.keys is not None:
            column, keys = self.keys
            mine = among(int64s(read_file(lake, table, path, [column]).column(column)), keys)
            if self.columns == (column,) or not mine.any():
                return mine
        return self.rows(read_file(lake, table, path, self.columns))


@dataclass(frozen=True)
class Place:
    """Where new rows take the place of former ones.

    Attributes:
        table: which.
        former: which of its rows go; None where none do.
        rows: those that come.
        elsewhere: files that have none of those that go.
    """

    table: Table
    former: Chosen | None
    rows: pa.Table
    elsewhere: frozenset[str] = frozenset()


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


def places_of(
    known: Stated, before: Whole, after: Whole, touch: Touch, elsewhere: frozenset[str]
) -> list[Place]:
    """What changes in all tables of identity, in the order in which it is to be committed.

    Args:
        known: what is known of what is touched, as it is in the tables.
        before: who was who by that.
        after: who is who.
        touch: what is touched.
        elsewhere: files that have nothing of it.
    """
    was, now = before.identity, after.identity
    by_name = (
        (PERSON, ("person_id",), was.persons, now.persons),
        (PERSON_IDENTIFIER, ("person_id",), was.identifiers, now.identifiers),
        (PERSON_ID_HISTORY, ("person_id",), was.history, now.history),
        (IDENTIFIER_REDIRECT, _NAME, was.redirects, now.redirects),
        (STEWARD_QUEUE, _EDGE, was.queue, now.queue),
    )
    places = []
    for table, unit, former, coming in by_name:
        gone, rows = _changed(unit, former, coming)
        places.append(Place(table, _listed(unit, gone) if len(gone) else None, rows))
    by_key = (
        (IDENTIFIER_SEEN, "patient_key", known.seen, after.seen, _seen_of),
        (PERSON_LINK, "key", known.edges, now.links, _edges_of),
    )
    for table, key, former, coming, chosen in by_key:
        gone, rows = _changed((key,), former, coming)
        keys = np.sort(np.array([int(one) for one in gone.to_pylist()], np.int64))
        places.append(Place(table, chosen(touch, keys) if len(keys) else None, rows, elsewhere))
    return places


def _changed(unit: tuple[str, ...], former: pa.Table, coming: pa.Table) -> tuple[pa.Array, pa.Table]:
    """What differs.

    Args:
        unit: columns that name what is replaced as a whole.
        former: rows that were there.
        coming: rows that are to be there.

    Returns:
        Names of what was there and goes, and the rows that come.
    """
    was, now = _joined(former, unit), _joined(coming, unit)
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
    return gone, coming.filter(pc.is_in(now, names))


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


def _touched_edges(touch: Touch) -> Chosen:
    return Chosen(ENDS, lambda rows: touch.edges(ends_of(rows)), ("key", touch.keys))


def _touched_seen(touch: Touch) -> Chosen:
    return Chosen(
        ("patient_key",),
        lambda rows: touch.patients(int64s(rows.column("patient_key"))),
        ("patient_key", touch.keys),
    )


def _edges_of(touch: Touch, keys: I64) -> Chosen:
    """Touched edges of some identifiers (ascending)."""

    def rows_of(rows: pa.Table) -> Bools:
        ends = ends_of(rows)
        return touch.edges(ends) & among(ends.key, keys)

    return Chosen(ENDS, rows_of, ("key", keys))


def _seen_of(_: Touch, keys: I64) -> Chosen:
    """What is seen of some patients (ascending)."""
    return Chosen(
        ("patient_key",), lambda rows: among(int64s(rows.column("patient_key")), keys), ("patient_key", keys)
    )


def _listed(columns: tuple[str, ...], values: pa.Array) -> Chosen:
    """Rows that columns, joined, have one of some values in."""

    def rows_of(rows: pa.Table) -> Bools:
        found: Bools = pc.is_in(_joined(rows, columns), values).to_numpy().astype(bool)
        return found

    return Chosen(columns, rows_of)


def _joined(rows: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    """Columns as one text a row."""
    columns = [rows.column(name).cast(pa.string()) for name in names]
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x1e")


def commit_place(batch: Batch, place: Place, costs: Costs) -> None:
    """Put rows in the place of former ones, once; decided anew where upkeep has merged files meanwhile.

    Raises:
        LakeError, TransportError: as ``commit_table``.
    """

    def attempt() -> None:
        handle = current_handle(batch.lake, place.table)
        if is_done(handle, place.table, batch.claim):  # by a process before this one
            return
        with costs.step("write"):
            add, remove = replaced(batch.lake, place, handle)
        with costs.step("commit"):
            commit_table(batch.lake, batch.claim, place.table, add, remove)

    replacing(attempt)


def replaced(lake: Lake, place: Place, handle: DeltaTable) -> tuple[list[NewFile], list[NewFile]]:
    """Write what differs.

    Args:
        lake: where.
        place: the table, which of its rows are replaced, and by which.
        handle: on the table.

    Returns:
        Files to be added, and files whose other rows they have.
    """
    table, writer = place.table, Writer(lake, place.table)
    removed: list[NewFile] = []
    former = place.former
    for file in files_of(handle, table):
        if former is None or file.path in place.elsewhere:
            continue
        mine = former.of_file(lake, table, file.path)
        if not mine.any():
            continue
        _, rest = split_file(lake, table, file.path, mine, _FEWEST_COPIED)
        writer.take(rest)
        removed.append(file.to_remove(table))
    writer.take(place.rows)
    return writer.finish(), removed


def texts_of(rows: pa.Table) -> list[tuple[object, ...]]:
    """Rows as tuples of plain values."""
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in rows.columns
    ]
    return list(zip(*columns, strict=True))


@dataclass
class Writer:
    """Gathers rows of a table and writes them.

    Attributes:
        lake: where.
        table: which.
        files: that were written.
        waiting: rows that wait.
    """

    lake: Lake
    table: Table
    files: list[NewFile] = field(default_factory=list)
    waiting: list[pa.Table] = field(default_factory=list)

    def take(self, rows: NewFile | pa.Table) -> None:
        """Take up rows, or a file with such."""
        if isinstance(rows, NewFile):
            self.files.append(rows)
        elif rows.num_rows:
            self.waiting.append(rows)
        if sum(piece.num_rows for piece in self.waiting) >= ROWS_OF_FILE:
            self.finish()

    def finish(self) -> list[NewFile]:
        """Write what waits; all files."""
        if self.waiting:
            self.files.append(write_file(self.lake, self.table, pa.concat_tables(self.waiting), None))
            self.waiting = []
        return self.files


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
