"""Identify: rows that normalised commits added → who is who, and last of all ``ops/identity``.

::

    batch ─► Identify ─► read what is new ─► find what it touches ─► resolve that ─► commit table by table

What is new are edges and identifiers that messages list. It touches whole components; those are resolved anew from
all that is known of them, and their rows take the place of the former ones. Of a file only what differs is rewritten,
so that a patient of whom nothing new is said costs nothing but the look.

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
from lake_layout.stage import commit_table
from pipelines.costs import Costs
from pipelines.identity import (
    ENDS,
    Ends,
    Identity,
    Touch,
    edges_of_links,
    edges_of_patients,
    edges_of_steward,
    ends_of,
    join_seen,
    person_id,
    resolve_in_shares,
    seen_of,
)
from pipelines.identity_components import I64, Bools
from pipelines.identity_edges import Owners, seen_in_images
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
    """

    lake: Lake
    claim: Claim
    sources: Sources

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
        touch = touch_of(lake, stated)
    with costs.step("read"):
        known = known_of(lake, touch)
    with costs.step("resolve"):
        seen = join_seen(known.seen, stated.seen)
        edges = pa.concat_tables([known.edges, stated.edges])
        places = places_of(resolve_in_shares(edges, seen), seen, touch, edges)
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


def touch_of(lake: Lake, stated: Stated) -> Touch:
    """Which components something is said of; reads keys only, of all edges and all that is seen."""
    changed = [stated.changed, _superseded(lake, stated.edges)]
    ends = [ends_of(stated.edges)]
    ends += [ends_of(read_file(lake, PERSON_LINK, one.path, ENDS)) for one in _live(lake, PERSON_LINK)]
    all_ends = Ends(
        np.concatenate([one.key for one in ends]),
        np.concatenate([one.to_key for one in ends]),
        np.concatenate([one.free for one in ends]),
    )
    named = np.unique(np.concatenate([all_ends.key[all_ends.free], all_ends.to_key[all_ends.free]]))
    patient, listed = [int64s(stated.seen.column("patient_key"))], [int64s(stated.seen.column("key"))]
    for one in _live(lake, IDENTIFIER_SEEN):
        rows = read_file(lake, IDENTIFIER_SEEN, one.path, ["patient_key", "key"])
        of, key = int64s(rows.column("patient_key")), int64s(rows.column("key"))
        joins = (of != key) & np.isin(key, named)
        patient.append(of[joins])
        listed.append(key[joins])
    return Touch.of(all_ends, np.concatenate(patient), np.concatenate(listed), np.concatenate(changed))


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


def known_of(lake: Lake, touch: Touch) -> Stated:
    """What is known of what is touched."""
    tables = {}
    for table, is_touched in ((PERSON_LINK, _touched_edges(touch)), (IDENTIFIER_SEEN, _touched_seen(touch))):
        tables[table.name] = [table.arrow_schema.empty_table()]
        for one in _live(lake, table):
            mine = is_touched.rows(read_file(lake, table, one.path, is_touched.columns))
            if mine.any():
                tables[table.name].append(_whole(lake, table, one.path).filter(pa.array(mine)))
    return Stated(*(pa.concat_tables(some) for some in tables.values()))


def _whole(lake: Lake, table: Table, path: str) -> pa.Table:
    return read_file(lake, table, path).cast(table.arrow_schema)


def _live(lake: Lake, table: Table) -> list[LiveFile]:
    return files_of(current_handle(lake, table), table)


# What becomes of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """Which rows of a table are touched.

    Attributes:
        columns: that tell.
        rows: rows of these columns → which of them.
    """

    columns: tuple[str, ...]
    rows: Callable[[pa.Table], Bools]


@dataclass(frozen=True)
class Place:
    """Where new rows take the place of former ones.

    Attributes:
        table: which.
        former: which of its rows go.
        rows: those that come.
    """

    table: Table
    former: Chosen
    rows: pa.Table


def places_of(found: Identity, seen: pa.Table, touch: Touch, edges: pa.Table) -> list[Place]:
    """The rows of all tables of identity, in the order in which they are to be committed.

    Args:
        found: what was resolved anew.
        seen: what is seen of the same patients.
        touch: what that is.
        edges: all edges that it was resolved from, those too that do not count any more.
    """
    ends = [edges.select(_NAME), edges.select([f"to_{name}" for name in _NAME]).rename_columns(_NAME)]
    kind = pa.schema([(name, pa.string()) for name in _NAME])
    named = pa.concat_tables([one.cast(kind) for one in (*ends, found.redirects.select(_NAME))])
    names = named.group_by(_NAME).aggregate([])
    persons = _persons_of(found, names)
    queued = pa.concat_tables([edges.select(_EDGE), found.links.select(_EDGE)])
    return [
        Place(PERSON, _listed(("person_id",), persons), found.persons),
        Place(PERSON_IDENTIFIER, _listed(("person_id",), persons), found.identifiers),
        Place(PERSON_ID_HISTORY, _listed(("person_id",), persons), found.history),
        Place(IDENTIFIER_REDIRECT, _listed(_NAME, _joined(names, _NAME)), found.redirects),
        Place(STEWARD_QUEUE, _listed(_EDGE, _joined(queued, _EDGE)), found.queue),
        Place(IDENTIFIER_SEEN, _touched_seen(touch), seen),
        Place(PERSON_LINK, _touched_edges(touch), found.links),
    ]


def _persons_of(found: Identity, names: pa.Table) -> pa.Array:
    """Ids of all persons that identifiers may have been; of those too that no edge names any more."""
    patients = names.filter(pc.equal(names.column("level"), "patient"))
    columns = (patients.column(name).to_pylist() for name in ("authority", "value"))
    ids = {person_id(authority, value) for authority, value in zip(*columns, strict=True)}
    return pa.array(sorted(ids | set(found.history.column("person_id").to_pylist())), pa.string())


def _touched_edges(touch: Touch) -> Chosen:
    return Chosen(ENDS, lambda rows: touch.edges(ends_of(rows)))


def _touched_seen(touch: Touch) -> Chosen:
    return Chosen(("patient_key",), lambda rows: touch.patients(int64s(rows.column("patient_key"))))


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
    table, coming = place.table, texts_of(place.rows)
    writer = Writer(lake, table)
    removed, there = [], set[tuple[object, ...]]()
    wanted = set(coming)
    for file in files_of(handle, table):
        former = place.former.rows(read_file(lake, table, file.path, place.former.columns))
        if not former.any():
            continue
        whole = _whole(lake, table, file.path)
        texts = texts_of(whole.filter(pa.array(former)))
        if wanted.issuperset(texts) and there.isdisjoint(texts):
            there.update(texts)  # they stay where they are
            continue
        writer.add(whole.filter(pa.array(~former)))
        removed.append(file.to_remove(table))
    writer.add(place.rows.filter(pa.array([text not in there for text in coming], pa.bool_())))
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

    def add(self, rows: pa.Table) -> None:
        """Take up rows."""
        if rows.num_rows:
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
