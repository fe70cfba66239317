"""Curate: rows that normalised commits added → curated tables, aliases, and last of all ``ops/curation``.

::

    folds ─► CurateTable ─► what changes in each table ─► CommitTables (tables, then aliases, then ops/curation)

Of one table: the rows become states; keys that aliases re-name are re-named; the key index tells in which month each
key lives; of the files there that hold any of these keys the rows of other keys are copied as they are, and the
versions of these are joined with the new ones; what comes out is written to the month that each key lives in now. A
key that is new touches no file that is there.

What the table holds before the batch's commit is the fold of all earlier batches, whatever upkeep made of its files:
so a batch decides against it as it finds it, and where it has the batch's commit nothing is decided again. Aliases
are committed after all tables, so that what a batch finds of them is the same each time that it is run.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import TypeVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake_layout.added_since import AddedFile, files_added
from lake_layout.claims import Claim
from lake_layout.commit import is_done
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of, live_files
from lake_layout.reading import read_file
from lake_layout.rewrite import split_file
from lake_layout.sorted_runs import UNDATED, WHOLE, IndexLocation, RunSource, open_runs
from lake_layout.stage import commit_table
from pipelines.fold import (
    ALIASES_SCHEMA,
    NO_ALIASES,
    aliases_of,
    formerly,
    has_aliases,
    join,
    join_aliases,
    kept,
    laid,
    read,
    rekeyed,
    state_of,
    state_schema,
)
from pipelines.fold_keys import I64, Bools
from pipelines.fold_versions import rows_of
from pipelines.parts import coded, from_bytes, to_bytes
from pipelines.steps import Costs, count_steps
from pipelines.withdrawn import withdrawn_rows
from schemas.errors import LakeError
from schemas.fold import Fold
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.curated import FOLDS, curated
from schemas.tables.curation import ALIAS, CURATION, NORMALISED_OF, STAGE, progress_id

ROWS_TOGETHER = 250_000
"""So many versions are joined at a time: bounds a worker's memory. More are parted by key, on the local disk."""

ROWS_OF_FILE = 400_000
"""Rows of a month gathered before they become a file."""

FEWEST_COPIED = 50_000
"""Of a file with fewer rows beside those that change, these are written with what changes."""

_TOGETHER = 2
"""Files and parts worked on at the same time: little of it keeps Python's lock. Bounds a worker's memory."""

_AGAIN = 5
"""Times that a table is decided anew because upkeep has merged files meanwhile."""

_COMMITTED_TOGETHER = 8
_EPOCH = date(1970, 1, 1)

T = TypeVar("T")
U = TypeVar("U")

FOLD_OF: Mapping[str, Fold] = {curated(fold).name: fold for fold in FOLDS}
"""Folds by the names of their curated tables."""


def inputs_of(fold: Fold) -> tuple[str, ...]:
    """Names of the normalised tables that a fold reads, its own first."""
    return tuple(dict.fromkeys([fold.table.name, *(echo.table for echo in fold.echoes)]))


@dataclass(frozen=True)
class News:
    """Rows that are to be folded into the curated tables.

    Attributes:
        lake: where the tables lie.
        sources: settings of the senders.
        index: where the key indexes lie on this machine's own disk.
        versions: by normalised table, after which version, and up to which, commits added them.
    """

    lake: Lake
    sources: Sources
    index: IndexLocation
    versions: Mapping[str, tuple[int, int]]

    def files(self, table: str) -> list[AddedFile]:
        """The files with the new rows of a normalised table."""
        if table not in self.versions:
            return []
        return files_added(self.lake, NORMALISED_OF[table], *self.versions[table])

    def rows(self, table: str, file: AddedFile) -> pa.Table:
        """The rows of such a file."""
        return read_file(self.lake, NORMALISED_OF[table], file.path)

    def withdrawn(self, table: str) -> Iterator[pa.Table]:
        """Rows that left a normalised table, since their messages were read again."""
        if table in self.versions:
            yield from withdrawn_rows(self.lake, NORMALISED_OF[table], *self.versions[table])

    def everything(self, fold: Fold) -> Everything:
        """All rows that a fold's inputs have once these are taken in."""
        reached = current_handle(self.lake, CURATION)
        versions = {
            name: self.versions.get(name) or (0, int(reached.transaction_version(progress_id(name)) or 0))
            for name in inputs_of(fold)
        }
        there = {name: version for name, version in versions.items() if version[1]}
        return Everything(self.lake, self.sources, self.index, there)

    def aliases(self, fold: Fold, asked: I64) -> pa.Table:
        """What was known of some numbers before these rows came (``ALIASES_SCHEMA``)."""
        source = RunSource(ALIAS, "alias", (), "table", "alias_hash", "key_hash", least=True)
        version = int(current_handle(self.lake, ALIAS).version())
        index = open_runs(self.lake, self.index, source, version)
        there, key = index.least(fold.table.name.rpartition("/")[2], asked)
        return pa.table([asked[there], key[there]], schema=ALIASES_SCHEMA)


@dataclass(frozen=True)
class Everything(News):
    """All rows up to a version of each normalised table, as if nothing had been folded before."""

    def files(self, table: str) -> list[AddedFile]:
        """The files of the table as of the version."""
        if table not in self.versions:
            return []
        version = self.versions[table][1]
        live = live_files(self.lake, NORMALISED_OF[table], version)
        return [AddedFile(one.path, one.rows, one.size, one.partition, version) for one in live]

    def withdrawn(self, table: str) -> Iterator[pa.Table]:  # noqa: ARG002 - nothing was folded
        """None: what left is not among them."""
        yield from ()

    def aliases(self, fold: Fold, asked: I64) -> pa.Table:  # noqa: ARG002 - nothing was known
        """Nothing: all is said by the rows themselves."""
        return NO_ALIASES


@dataclass(frozen=True)
class Batch:
    """What every step of the graph knows: the claim, and the rows that it takes in."""

    claim: Claim
    news: News

    @classmethod
    def of(cls, lake: Lake, claim: Claim, sources: Sources, index: IndexLocation) -> Batch:
        """The batch of a claim."""
        names = {progress_id(fold.table.name): fold.table.name for fold in FOLDS}
        versions = {names[app]: (claim.begin[app], end) for app, end in claim.end.items()}
        return cls(claim, News(lake, sources, index, versions))

    @property
    def tables(self) -> list[str]:
        """Names of the curated tables whose folds have news."""
        return [name for name, fold in FOLD_OF.items() if set(inputs_of(fold)) & set(self.news.versions)]


@dataclass(frozen=True, slots=True)
class TableChange:
    """What a batch does to a curated table.

    Attributes:
        table: its name.
        add: files to be added.
        remove: files whose rows the new ones have.
        aliases: those that were not known like this (an IPC stream).
        rows: rows read of the fold's own table.
        keys: things that they say anything of.
    """

    table: str
    add: tuple[NewFile, ...]
    remove: tuple[NewFile, ...]
    aliases: bytes
    rows: int
    keys: int


@dataclass(eq=False)  # not frozen: Beam keeps hints and the pipeline on it
class Curate(beam.PTransform):  # type: ignore[misc]
    """The graph of one batch of the curate stage."""

    batch: Batch

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            begin
            | "Tables" >> beam.Create(self.batch.tables)
            | "ShareOut" >> beam.Reshuffle()
            | "CurateTable" >> beam.ParDo(CurateTable(self.batch))
            | "Gather" >> beam.GroupByKey()
            | "CommitTables" >> beam.ParDo(CommitTables(self.batch))
        )


class CurateTable(beam.DoFn):  # type: ignore[misc]
    """Name of a curated table → what changes in it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, table: str) -> Iterator[tuple[str, TableChange]]:
        costs = Costs()
        change = change_of(self.batch, table, costs)
        count_steps(costs)
        yield STAGE, change


class CommitTables(beam.DoFn):  # type: ignore[misc]
    """What changes in all tables → their commits; then the aliases'; last the one that ends the batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @coded
    def process(self, grouped: tuple[str, Iterable[TableChange]]) -> Iterator[int]:
        changes = sorted(grouped[1], key=lambda change: change.table)
        with ThreadPoolExecutor(_COMMITTED_TOGETHER) as pool:
            for costs in pool.map(lambda change: commit_change_of(self.batch, change), changes):
                count_steps(costs)
        fail_point("tables-committed")
        costs = Costs()
        with costs.step("commit"):
            commit_aliases(self.batch, changes)
            commit_curation(self.batch, changes)
        count_steps(costs)
        yield sum(change.rows for change in changes)


def commit_change_of(batch: Batch, change: TableChange) -> Costs:
    """Commit what changes in a table, once; decide it anew where upkeep has merged files that it was to replace.

    Raises:
        LakeError, TransportError: as ``commit_table``.
    """
    costs = Costs()
    table = curated(FOLD_OF[change.table])
    for again in range(_AGAIN):
        try:
            with costs.step("commit"):
                commit_table(batch.news.lake, batch.claim, table, change.add, change.remove)
        except LakeError as error:
            if error.code != "LAKE-REMOVED-ALREADY" or again + 1 == _AGAIN:
                raise
            change = change_of(batch, change.table, costs)
        else:
            break
    return costs


def commit_aliases(batch: Batch, changes: Sequence[TableChange]) -> None:
    """Commit what was not known of aliases; after all curated tables, which have followed it by now."""
    rows = ALIAS.arrow_schema.empty_table()
    for change in changes:
        pairs = from_bytes(change.aliases)
        names = pa.repeat(change.table.rpartition("/")[2], pairs.num_rows)
        rows = pa.concat_tables([rows, pa.table([names, *pairs.columns], schema=ALIAS.arrow_schema)])
    files = [write_file(batch.news.lake, ALIAS, rows, None)] if rows.num_rows else []
    commit_table(batch.news.lake, batch.claim, ALIAS, files)


def commit_curation(batch: Batch, changes: Sequence[TableChange]) -> None:
    """Commit what the batch did; this ends it."""
    versions = batch.news.versions
    rows = pa.Table.from_pylist(
        [
            {
                "batch_number": batch.claim.batch,
                "table": change.table,
                "from_version": versions[source][0],
                "to_version": versions[source][1],
                "rows_read": change.rows,
                "keys_changed": change.keys,
                "curated_at": batch.claim.made_at,
            }
            for change in changes
            if (source := FOLD_OF[change.table].table.name) in versions
        ],
        schema=pa.schema([one for one in CURATION.arrow_schema if one.name != CURATION.partition_by]),
    )
    month = batch.claim.made_at.date().replace(day=1)
    files = [write_file(batch.news.lake, CURATION, rows, month)] if rows.num_rows else []
    commit_table(batch.news.lake, batch.claim, CURATION, files)


def change_of(batch: Batch, name: str, costs: Costs) -> TableChange:
    """What a batch does to a curated table, as that is now; its new files are written.

    Args:
        batch: the batch.
        name: of the curated table.
        costs: what it takes is added here.
    """
    fold, lake = FOLD_OF[name], batch.news.lake
    table = curated(fold)
    handle = current_handle(lake, table)
    done = is_done(handle, table, batch.claim)
    writer = Writer(lake, table, costs)
    removed: list[LiveFile] = []
    with tempfile.TemporaryDirectory(prefix="phl-curate-") as folder:
        stated = stated_by(batch.news, fold, Path(folder), costs)
        fail_point("table-stated")
        if not done:  # else by a process before this one, which may have died before it could say what it did
            standing = Standing.of(batch.news, fold, handle, stated.touched)
            removed = standing.take_in(stated, costs, writer)
            for rows in stated.joined(standing, costs, partial(laid, fold)):
                writer.add(rows)
            writer.finish()
    remove = tuple(NewFile(name, one.path, one.size, one.partition, one.rows, "") for one in removed)
    fail_point("table-decided")
    return TableChange(name, tuple(writer.files), remove, to_bytes(stated.fresh), stated.rows, stated.keys)


def now_of(news: News, name: str) -> tuple[I64, pa.Table]:
    """What is true now of the things that new rows speak of, though no batch has taken them in yet.

    Args:
        news: the rows.
        name: of the curated table.

    Returns:
        Keys of things whose rows in the curated table do not count, and the rows that count instead.
    """
    fold, costs = FOLD_OF[name], Costs()
    table = curated(fold)
    shown = [table.arrow_schema.empty_table()]
    with tempfile.TemporaryDirectory(prefix="phl-curate-") as folder:
        stated = stated_by(news, fold, Path(folder), costs)
        standing = Standing.of(news, fold, current_handle(news.lake, table), stated.touched)
        standing.take_in(stated, costs)
        shown += stated.joined(standing, costs, partial(read, fold))
    return stated.touched, pa.concat_tables(shown)


# What new rows say ---------------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """States put aside: in memory, or in a file each on the local disk.

    Attributes:
        folder: where; None for in memory.
        schema: of the states.
        held: what is held in memory.
        files: on disk.
    """

    folder: Path | None
    schema: pa.Schema
    held: list[pa.Table] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def put(self, state: pa.Table) -> None:
        """Put a state aside."""
        if self.folder is None:
            self.held.append(state)
            return
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{len(self.files)}.arrow"
        said = state.select(
            [one for one in state.column_names if state.column(one).null_count < state.num_rows]
        )
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, said.schema, options=options) as file:
            file.write_table(said)
        self.files.append(path)

    def take(self) -> Iterator[pa.Table]:
        """What was put aside, once, in that order."""
        held, self.held = self.held, []
        files, self.files = self.files, []
        yield from held
        for path in files:
            with pa.OSFile(str(path)) as source:
                said = pa.ipc.open_file(source).read_all()
            path.unlink()
            columns = [
                said.column(one.name) if one.name in said.column_names else pa.nulls(said.num_rows, one.type)
                for one in self.schema
            ]
            yield pa.table(columns, schema=self.schema)


@dataclass
class Stated:
    """What new rows say, parted by key, and with it what the table has of the same things.

    Attributes:
        fold: the fold.
        rows: how many rows were read of its own table.
        keys: how many things they speak of.
        known: aliases of what they speak of.
        fresh: those that were not known before, or with a greater key.
        touched: keys of all that may change, ascending.
        anew: keys of those of them that are folded from the beginning, ascending.
        parts: states, by parts of the keys.
    """

    fold: Fold
    rows: int
    keys: int
    known: pa.Table
    fresh: pa.Table
    touched: I64
    anew: I64
    parts: list[Shelf]

    def put(self, state: pa.Table) -> None:
        """Take up a state, under the keys that its things are known by."""
        state = rekeyed(self.fold, state, self.known) if self.known.num_rows else state
        if len(self.parts) == 1:
            self.parts[0].put(state)
            return
        place = part_of(int64s(state, "key_hash"), len(self.parts))
        for number in np.unique(place).tolist():
            self.parts[number].put(state.filter(pa.array(place == number)))

    def joined(
        self, standing: Standing, costs: Costs, lay: Callable[[pa.Table], pa.Table]
    ) -> Iterator[pa.Table]:
        """The joined state of each part, in the months that its things live in now, laid out as rows."""

        def of_part(part: Shelf) -> tuple[pa.Table | None, Costs]:
            spent = Costs()
            with spent.step("fold"):
                pieces = [piece for piece in part.take() if piece.num_rows]
                return lay(standing.at_home(join(self.fold, *pieces))) if pieces else None, spent

        with ThreadPoolExecutor(_TOGETHER) as pool:
            for rows, spent in few_ahead(pool, of_part, self.parts):
                costs.add(spent)
                if rows is not None:
                    yield rows


def stated_by(news: News, fold: Fold, folder: Path, costs: Costs) -> Stated:
    """Read the new rows of a fold.

    Args:
        news: which rows.
        fold: the fold.
        folder: to put aside what memory has no room for.
        costs: what it takes is added here.
    """
    files = [(name, file) for name in inputs_of(fold) for file in news.files(name)]
    parts = -(-sum(file.rows for _, file in files) // ROWS_TOGETHER) or 1
    schema = state_schema(fold)
    waiting = Shelf(folder / "read" if parts > 1 else None, schema)
    said, former, named = [NO_ALIASES], [NO_ALIASES], [np.zeros(0, np.int64)]
    with ThreadPoolExecutor(_TOGETHER) as pool:  # a message's rows of a table are in one file
        for one in few_ahead(pool, lambda file: _stated_in(news, fold, file[0], file[1]), files):
            costs.add(one.costs)
            if has_aliases(fold):
                named.append(np.unique(int64s(one.state, "alias_hash")))
                said.append(one.aliases)
                former.append(one.former)
            with costs.step("fold"):
                waiting.put(one.state)
    anew = keys_withdrawn(news, fold, join_aliases(*said))
    if len(anew):
        again = 0
        for state in states_again(news, fold, join_aliases(*said), anew, costs):
            again += state.num_rows
            named.append(np.unique(int64s(state, "alias_hash")))
            waiting.put(state)
        parts = max(parts, -(-again // ROWS_TOGETHER))
    with costs.step("aliases"):
        known, fresh, moving = resolve(news, fold, join_aliases(*said), join_aliases(*former), named)
    shelves = [Shelf(folder / f"part-{number}" if parts > 1 else None, schema) for number in range(parts)]
    own = sum(file.rows for name, file in files if name == fold.table.name)
    stated = Stated(fold, own, 0, known, fresh, moving, anew, shelves)
    keys = [np.zeros(0, np.int64)]
    for state in waiting.take():
        with costs.step("fold"):
            keys.append(np.unique(known_keys(state, known)))
            stated.put(state)
    spoken_of = np.unique(np.concatenate(keys))
    stated.keys, stated.touched = len(spoken_of), np.union1d(np.union1d(spoken_of, moving), anew)
    return stated


def keys_withdrawn(news: News, fold: Fold, said: pa.Table) -> I64:
    """Keys, by any number, of things of which rows left the tables, ascending.

    Args:
        news: the rows.
        fold: the fold.
        said: aliases that the new rows say.
    """
    keys = [np.zeros(0, np.int64)]
    for name in inputs_of(fold):
        for rows in news.withdrawn(name):
            keys += _both_keys(news, fold, said, _state(news, fold, name, rows))
    return np.unique(np.concatenate(keys))


def states_again(news: News, fold: Fold, said: pa.Table, keys: I64, costs: Costs) -> Iterator[pa.Table]:
    """What all rows that the tables have now say of some things.

    Args:
        news: the rows that are taken in.
        fold: the fold.
        said: aliases that the new rows say.
        keys: of the things, ascending.
        costs: what it takes is added here.
    """
    everything = news.everything(fold)
    for name in inputs_of(fold):
        for file in everything.files(name):
            with costs.step("fold"):
                state = _state(news, fold, name, everything.rows(name, file))
                own, known = _both_keys(news, fold, said, state)
                state = state.filter(pa.array(np.isin(own, keys) | np.isin(known, keys)))
            if state.num_rows:
                yield state


def _both_keys(news: News, fold: Fold, said: pa.Table, state: pa.Table) -> tuple[I64, I64]:
    """The keys that the things of a state have of themselves, and those that they are known by."""
    own = int64s(state, "key_hash")
    if not has_aliases(fold):
        return own, own
    asked = np.unique(int64s(state, "alias_hash"))
    return own, known_keys(state, join_aliases(news.aliases(fold, asked[asked != 0]), said))


@dataclass(frozen=True, slots=True)
class _StatedIn:
    """What a file says: its state, aliases, and keys of the same numbers before anybody said so."""

    state: pa.Table
    aliases: pa.Table
    former: pa.Table
    costs: Costs


def _stated_in(news: News, fold: Fold, name: str, file: AddedFile) -> _StatedIn:
    costs = Costs()
    with costs.step("read"):
        rows = news.rows(name, file)
    with costs.step("fold"):
        state = _state(news, fold, name, rows)
        if not has_aliases(fold) or name != fold.table.name:
            return _StatedIn(state, NO_ALIASES, NO_ALIASES, costs)
        aliases = aliases_of(fold, rows, sources=news.sources)
        return _StatedIn(state, aliases, formerly(fold, rows, sources=news.sources), costs)


def few_ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """What is made of each item, in their order; no more of them are under way or waiting than the pool has threads."""
    making: deque[Future[U]] = deque()
    for item in items:
        if len(making) >= _TOGETHER:
            yield making.popleft().result()
        making.append(pool.submit(work, item))
    while making:
        yield making.popleft().result()


def _state(news: News, fold: Fold, name: str, rows: pa.Table) -> pa.Table:
    """What rows of one of a fold's inputs say."""
    if name == fold.table.name:
        return state_of(fold, rows, sources=news.sources)
    none = fold.table.arrow_schema.empty_table()
    return state_of(fold, none, echoes={name: rows}, sources=news.sources)


def resolve(
    news: News, fold: Fold, said: pa.Table, former: pa.Table, named: Sequence[I64]
) -> tuple[pa.Table, pa.Table, I64]:
    """What numbers stand for by now.

    Args:
        news: the rows.
        fold: their fold.
        said: aliases that the rows say.
        former: keys that the same numbers had before anybody said so.
        named: alias hashes of what the rows speak of.

    Returns:
        The aliases of what the rows speak of; those that are new or have a lesser key; and all keys from which and to
        which those move versions.
    """
    if not has_aliases(fold):
        return NO_ALIASES, NO_ALIASES, np.zeros(0, np.int64)
    asked = np.unique(np.concatenate([*named, int64s(said, "alias_hash")]))
    asked = asked[asked != 0]
    before = news.aliases(fold, asked)
    known = join_aliases(before, said)
    alias, key = int64s(known, "alias_hash"), int64s(known, "key_hash")
    new = key != values_at(alias, before, key + 1)
    own = int64s(former, "key_hash")[np.isin(int64s(former, "alias_hash"), alias[new])]
    old = int64s(before, "key_hash")[np.isin(int64s(before, "alias_hash"), alias[new])]
    return known, known.filter(pa.array(new)), np.unique(np.concatenate([own, old, key[new]]))


def values_at(alias: I64, aliases: pa.Table, otherwise: I64) -> I64:
    """The key of each alias; ``otherwise`` where there is none. Aliases are ascending."""
    source, key = int64s(aliases, "alias_hash"), int64s(aliases, "key_hash")
    if not len(source):
        return otherwise
    place = np.minimum(np.searchsorted(source, alias), len(source) - 1)
    return np.where(source[place] == alias, key[place], otherwise)


def known_keys(state: pa.Table, aliases: pa.Table) -> I64:
    """The keys that the things of a state are known by."""
    keys, alias = int64s(state, "key_hash"), int64s(state, "alias_hash")
    return np.where(alias != 0, values_at(alias, aliases, keys), keys)


def part_of(keys: I64, parts: int) -> I64:
    """In which of some parts of equal width of all 64-bit numbers each key is."""
    found: I64 = (((keys >> 32) + 2**31) * parts) >> 32
    return found


# What the table has --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """A curated table before the batch: its files, and where the things live that may change.

    Attributes:
        lake: where.
        fold: the fold.
        files: live files by partition.
        keys: of the things, ascending.
        month: the month that each lives in, as days since 1970; ``UNDATED``.
        there: whether it is there.
    """

    lake: Lake
    fold: Fold
    files: Mapping[date | None, Sequence[LiveFile]]
    keys: I64
    month: I64
    there: Bools

    @classmethod
    def of(cls, news: News, fold: Fold, handle: DeltaTable, keys: I64) -> Standing:
        """The table as a handle has it.

        Raises:
            LakeError, TransportError: it cannot be read, or the key index cannot be written.
        """
        table = curated(fold)
        files: dict[date | None, list[LiveFile]] = {}
        for file in files_of(handle, table):
            files.setdefault(file.partition, []).append(file)
        there, month = np.zeros(len(keys), bool), np.full(len(keys), UNDATED)
        if files:
            index = open_runs(
                news.lake, news.index, key_source(table), int(handle.version()), table_id=str(handle.metadata().id)
            )  # fmt: skip
            there, month = index.least(WHOLE, keys)
        return cls(news.lake, fold, files, keys, month, there)

    def take_in(self, stated: Stated, costs: Costs, writer: Writer | None = None) -> list[LiveFile]:
        """Join the versions of the things with what was stated.

        Args:
            stated: takes the versions.
            costs: what it takes is added here.
            writer: takes the rows of other things from the same files.

        Returns:
            The files that hold any of the things.
        """
        there = self.keys[self.there], self.month[self.there]
        keys = {partition: there[0][there[1] == days_of(partition)] for partition in self.files}
        files = [
            (file, keys[name]) for name, files in self.files.items() for file in files if len(keys[name])
        ]
        found = []
        with ThreadPoolExecutor(_TOGETHER) as pool:
            for file, pieces in few_ahead(
                pool, lambda one: (one[0], self._parted(one[0], one[1], writer)), files
            ):
                if pieces is None:
                    continue
                mine, rest, spent = pieces
                costs.add(spent)
                with costs.step("fold"):
                    stated.put(kept(self.fold, _not_of(mine, stated.anew)))
                if writer is not None and rest is not None:
                    writer.take(rest)
                found.append(file)
        return found

    def _parted(
        self, file: LiveFile, keys: I64, writer: Writer | None
    ) -> tuple[pa.Table, NewFile | pa.Table | None, Costs] | None:
        """Rows of a file that are of some keys (ascending), and the others where a writer wants them."""
        costs, table = Costs(), curated(self.fold)
        with costs.step("copy"):
            mine = self._rows_of(file, keys)
            if not mine.any():
                return None
            if writer is not None:
                taken, rest = split_file(self.lake, table, file.path, mine, FEWEST_COPIED)
                return taken, rest, costs
            rows = read_file(self.lake, table, file.path).cast(table.arrow_schema)
            return rows_of(rows, np.flatnonzero(mine)), None, costs

    def _rows_of(self, file: LiveFile, keys: I64) -> Bools:
        """Which rows of a file are of some keys (ascending)."""
        low, high = np.int64(str(file.low["key_hash"])), np.int64(str(file.high["key_hash"]))
        within = keys[np.searchsorted(keys, low) : np.searchsorted(keys, high, "right")]
        if not len(within):
            return np.zeros(1, bool)
        hashes = int64s(read_file(self.lake, curated(self.fold), file.path, ["key_hash"]), "key_hash")
        place = np.minimum(np.searchsorted(within, hashes), len(within) - 1)
        mine: Bools = within[place] == hashes
        return mine

    def at_home(self, state: pa.Table) -> pa.Table:
        """A state whose things live no later than where the index has them."""
        keys = int64s(state, "key_hash")
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.there[place] & (self.keys[place] == keys)
        column = state.column("home_month")
        stated = pc.fill_null(column.cast(pa.int32()).cast(pa.int64()), UNDATED).to_numpy()
        home = np.where(known, np.minimum(stated, self.month[place]), stated)
        if (home == stated).all():
            return state
        days = np.where(home == UNDATED, 0, home).astype(np.int32)
        months = pa.array(days, mask=home == UNDATED).cast(pa.date32())
        return state.set_column(state.schema.get_field_index("home_month"), "home_month", months)


def _not_of(rows: pa.Table, keys: I64) -> pa.Table:
    """Rows of other things than those of some keys."""
    return rows.filter(pa.array(~np.isin(int64s(rows, "key_hash"), keys))) if len(keys) else rows


def key_source(table: Table) -> RunSource:
    """The key index of a curated table: where each thing lives. It lives in the earliest month that it ever had."""
    return RunSource(table, "keys", (), None, "key_hash", "home_month", least=True)


def days_of(partition: date | None) -> int:
    """A partition as the key index has it."""
    return UNDATED if partition is None else (partition - _EPOCH).days


@dataclass
class Writer:
    """Gathers rows of a curated table by month and writes them.

    Attributes:
        lake: where.
        table: the curated table.
        costs: what it takes is added here.
        files: that were written.
        waiting: rows by month.
    """

    lake: Lake
    table: Table
    costs: Costs
    files: list[NewFile] = field(default_factory=list)
    waiting: dict[date | None, list[pa.Table]] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Take up rows; a month with enough of them is written."""
        with self.costs.step("write"):
            column = rows.column("home_month")
            months = pc.unique(column).to_pylist()
            for month in months:
                same = (
                    pc.is_null(column) if month is None else pc.equal(column, pa.scalar(month, pa.date32()))
                )
                flags = pc.fill_null(same, False).to_numpy()
                mine = rows if len(months) == 1 else rows_of(rows, np.flatnonzero(flags))
                self.waiting.setdefault(month, []).append(mine)
                if sum(piece.num_rows for piece in self.waiting[month]) >= ROWS_OF_FILE:
                    self._write(month)

    def take(self, rest: NewFile | pa.Table) -> None:
        """Take up a file that is written already, or rows too few for one."""
        if isinstance(rest, NewFile):
            self.files.append(rest)
        else:
            self.add(rest)

    def finish(self) -> None:
        """Write the rest."""
        with self.costs.step("write"):
            for month in list(self.waiting):
                self._write(month)

    def _write(self, month: date | None) -> None:
        rows = pa.concat_tables(self.waiting.pop(month)).drop_columns(["home_month"])
        self.files.append(write_file(self.lake, self.table, rows, month))


def int64s(rows: pa.Table, name: str) -> I64:
    """A column without nulls as numbers."""
    found: I64 = rows.column(name).to_numpy()
    return found
