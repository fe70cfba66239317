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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa

from lake_layout.claims import Claim
from lake_layout.commit import is_done, replacing
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import commit_table
from pipelines.costs import Costs
from pipelines.curate_standing import Standing, Writer
from pipelines.curate_stated import FOLD_OF, News, inputs_of, stated_by
from pipelines.fold import laid, read
from pipelines.fold_keys import I64
from pipelines.parts import coded, from_bytes, to_bytes
from pipelines.steps import count_steps
from schemas.source import Sources
from schemas.tables.curated import FOLDS, curated
from schemas.tables.curation import ALIAS, CURATION, STAGE, progress_id

_COMMITTED_TOGETHER = 8


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
    decided: list[TableChange] = [change]

    def attempt() -> None:
        now = decided.pop() if decided else change_of(batch, change.table, costs)
        with costs.step("commit"):
            commit_table(batch.news.lake, batch.claim, table, now.add, now.remove)

    replacing(attempt)
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
            for rows in stated.joined(costs, lambda state: laid(fold, standing.at_home(state))):
                writer.add(rows)
            writer.finish()
    remove = tuple(one.to_remove(table) for one in removed)
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
        shown += stated.joined(costs, lambda state: read(fold, standing.at_home(state)))
    return stated.touched, pa.concat_tables(shown)
