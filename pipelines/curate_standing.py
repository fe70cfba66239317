"""What a curated table has of things: which files hold them, in which month they live, and how these are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of
from lake_layout.reading import read_file
from lake_layout.rewrite import split_file
from lake_layout.sorted_runs import UNDATED, WHOLE, RunSource, open_runs
from pipelines.costs import Costs
from pipelines.curate_stated import TOGETHER, News, Stated, few_ahead, int64s
from pipelines.fold import (
    kept,
)
from pipelines.fold_keys import I64, Bools
from pipelines.fold_versions import rows_of
from schemas.fold import Fold
from schemas.table import Table
from schemas.tables.curated import curated

ROWS_OF_FILE = 400_000
"""Rows of a month gathered before they become a file."""

FEWEST_COPIED = 50_000
"""Of a file with fewer rows beside those that change, these are written with what changes."""

_EPOCH = date(1970, 1, 1)


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
        with ThreadPoolExecutor(TOGETHER) as pool:
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
