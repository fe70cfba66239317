"""What new rows say of things: read, folded, known by the keys of now, and put aside where memory has no room."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from lake_layout.added_since import AddedFile, files_added
from lake_layout.columns import Absent
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, live_files
from lake_layout.reading import read_coded
from lake_layout.sorted_runs import IndexLocation, RunSource, open_runs
from pipelines.costs import Costs
from pipelines.fold import (
    ALIASES_SCHEMA,
    NO_ALIASES,
    has_aliases,
    join,
    join_aliases,
    rekeyed,
    said_by,
    state_of,
    state_schema,
)
from pipelines.fold_keys import I64
from pipelines.fold_versions import rows_of
from pipelines.withdrawn import withdrawn_rows
from schemas.fold import Fold
from schemas.source import Sources
from schemas.tables.curated import FOLDS, curated
from schemas.tables.curation import ALIAS, CURATION, NORMALISED_OF, progress_id

ROWS_TOGETHER = 250_000
"""So many versions are joined at a time: bounds a worker's memory. More are parted by key, on the local disk."""

TOGETHER = 2
"""Files and parts worked on at the same time: little of it keeps Python's lock. Bounds a worker's memory."""

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
        """The rows of such a file, strings mostly as dictionaries."""
        return read_coded(self.lake, NORMALISED_OF[table], file.path)

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
        return [
            AddedFile(one.path, one.rows, one.size, one.partition, version)
            for one in live
            if self.counts(one)
        ]

    def counts(self, _file: LiveFile) -> bool:
        """Whether a file may have rows that count: all do."""
        return True

    def withdrawn(self, table: str) -> Iterator[pa.Table]:  # noqa: ARG002 - nothing was folded
        """None: what left is not among them."""
        yield from ()

    def aliases(self, fold: Fold, asked: I64) -> pa.Table:  # noqa: ARG002 - nothing was known
        """Nothing: all is said by the rows themselves."""
        return NO_ALIASES


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
            there, absent = frozenset(said.column_names), Absent(said.num_rows)
            columns = [
                said.column(one.name) if one.name in there else absent.of(one.type) for one in self.schema
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
        self.put_parted(self.parted(state))

    def parted(self, state: pa.Table) -> list[tuple[int, pa.Table]]:
        """A state under the keys that its things are known by, cut for the parts that it goes to; threads may call."""
        state = rekeyed(self.fold, state, self.known) if self.known.num_rows else state
        if len(self.parts) == 1:
            return [(0, state)]
        place = part_of(int64s(state, "key_hash"), len(self.parts))
        order = pa.array(np.argsort(place, kind="stable"))
        begins = np.searchsorted(place, np.arange(len(self.parts) + 1), sorter=order.to_numpy())
        sorted_by_part = rows_of(state, order.to_numpy())
        return [
            (number, sorted_by_part.slice(begin, end - begin))
            for number, (begin, end) in enumerate(itertools.pairwise(begins.tolist()))
            if end > begin
        ]

    def put_parted(self, pieces: Iterable[tuple[int, pa.Table]]) -> None:
        """Take up what was cut."""
        for number, piece in pieces:
            self.parts[number].put(piece)

    def joined(self, costs: Costs, lay: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
        """The joined state of each part, laid out as rows; ``lay`` is called by threads."""

        def of_part(part: Shelf) -> tuple[pa.Table | None, Costs]:
            spent = Costs()
            with spent.step("fold"):
                pieces = [piece for piece in part.take() if piece.num_rows]
                return lay(join(self.fold, *pieces)) if pieces else None, spent

        with ThreadPoolExecutor(TOGETHER) as pool:
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
    with ThreadPoolExecutor(TOGETHER) as pool:  # a message's rows of a table are in one file
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

    def of_state(state: pa.Table) -> tuple[I64, list[tuple[int, pa.Table]], Costs]:
        spent = Costs()
        with spent.step("fold"):
            return np.unique(known_keys(state, known)), stated.parted(state), spent

    with ThreadPoolExecutor(TOGETHER) as pool:
        for spoken, pieces, spent in few_ahead(pool, of_state, waiting.take()):
            costs.add(spent)
            keys.append(spoken)
            with costs.step("fold"):
                stated.put_parted(pieces)
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
        if not has_aliases(fold) or name != fold.table.name:
            return _StatedIn(_state(news, fold, name, rows), NO_ALIASES, NO_ALIASES, costs)
        return _StatedIn(*said_by(fold, rows, sources=news.sources), costs)


def few_ahead(pool: ThreadPoolExecutor, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """What is made of each item, in their order; no more of them are under way or waiting than the pool has threads."""
    making: deque[Future[U]] = deque()
    for item in items:
        if len(making) >= TOGETHER:
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


def int64s(rows: pa.Table, name: str) -> I64:
    """A column without nulls as numbers."""
    found: I64 = rows.column(name).to_numpy()
    return found
