"""The lake's tables as views in DuckDB: ``raw.hl7v2``, ``normalised.observation``, ``curated.observation`` and so on.

DuckDB reads each table through a pyarrow dataset of the Delta table's files, so it needs none of its
extensions (which it would have to download), and filters and the choice of columns reach the files. The
connection can do nothing outside itself: no file, no network, no settings.

Of curated tables only the rows that are so now are shown, without the columns that folds are made with.
``curated_now.*`` shows them with what is normalised and not curated yet, for the tables that a query names;
``curated_person.*`` with the person that each row is about, ``curated_coded.*`` with what codes and units
mean, ``curated_imaging.*`` studies and series with their counts and orders. Where a time is asked for, ``curated.*``
shows them as they were then instead. ``curated.order_alias`` is a view of others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from jobs.coded_views import show_coded
from jobs.identity_views import IdentityChanges, with_changes
from jobs.imaging_views import show_imaging
from jobs.order_alias import ORDER_ALIAS, SAID_IN, order_alias_sql
from jobs.person_views import show_persons
from lake_layout.lake import Lake
from schemas.errors import LakeError
from schemas.table import Field, Table
from schemas.tables import TABLES
from schemas.tables.coding import CODES_TABLES
from schemas.tables.curated import CURATED, HIDDEN
from schemas.tables.curation import CURATE_TABLES
from schemas.tables.identification import IDENTITY_TABLES

if TYPE_CHECKING:
    from deltalake import DeltaTable

_OPENED_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Now:
    """What is normalised and not curated yet.

    Attributes:
        changed: keys of things whose curated rows do not count any more.
        rows: rows of the curated table that count instead.
    """

    changed: pa.Array
    rows: pa.Table


NOTHING_NEWER: Final[Mapping[str, Now]] = MappingProxyType({})


@dataclass(frozen=True)
class View:
    """A table as it was when the views were made.

    Attributes:
        table: its declaration.
        delta: the handle it is read through; None where the table is not there yet (the view is then empty).
        made_of_others: whether there is no such table, only a view of others.
        changed: whether rows that its files do not have yet are shown, and others are not.
    """

    table: Table
    delta: DeltaTable | None
    made_of_others: bool = False
    changed: bool = False

    @property
    def version(self) -> int | None:
        """The Delta version that is read."""
        return None if self.delta is None else self.delta.version()

    def rows(self) -> int:
        """How many rows the table has, from its log."""
        return 0 if self.delta is None else int(self.delta.count())


@dataclass(frozen=True)
class LakeViews:
    """A connection and what it shows."""

    connection: duckdb.DuckDBPyConnection
    views: Mapping[str, View]

    def rows(self, view: View) -> int | None:
        """How many rows a view shows; None where one would have to reckon it to know."""
        if view.made_of_others:
            return None
        if view.table not in CURATED and not view.changed:
            return view.rows()
        found = self.connection.execute(f"SELECT count(*) FROM {view.table.view_name}").fetchone()  # noqa: S608
        assert found is not None
        return int(found[0])


@contextmanager
def lake_views(
    lake: Lake,
    tables: Sequence[Table] = (*TABLES, *CURATE_TABLES, *IDENTITY_TABLES, *CODES_TABLES),
    *,
    at_once: bool = True,
    leave_out: Callable[[View], Collection[str]] = lambda _: (),
    now: Mapping[str, Now] = NOTHING_NEWER,
    then: Mapping[str, ds.Dataset] | None = None,
) -> Iterator[LakeViews]:
    """Open the tables and show each as a view.

    Args:
        lake: where the tables lie.
        tables: which; a table that is not there is shown without rows.
        at_once: open them all at the same time; else one after the other in the order given, for a reader
            that must not see an earlier table newer than a later one.
        leave_out: gives paths of a table's files that are not to be read.
        now: by name of a curated table, what ``curated_now`` shows of it beside its rows.
        then: by name of a curated table, its rows as they were; then no other curated table is shown.

    Raises:
        LakeError: a table is there and cannot be opened.
    """
    if then is not None:
        tables = [one for one in tables if one.name in then or not one.name.startswith("curated/")]
    changes = IdentityChanges.before(lake, tables)
    if at_once:
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
            opened = list(pool.map(lambda table: View(table, _open(lake, table)), tables))
    else:
        opened = [View(table, _open(lake, table)) for table in tables]
    if changes is not None:
        opened = [replace(view, changed=changes.concern(view.table, view.delta)) for view in opened]
    with tempfile.TemporaryDirectory(prefix="phl-query-") as spill:
        connection = _connection(spill)
        try:
            if changes is not None:
                changes.show(connection)
            for view in opened:
                was = None if then is None else then.get(view.table.name)
                show(connection, view.table, _dataset(view, leave_out(view)) if was is None else was)
                if view.changed and view.delta is not None:
                    show_changed(connection, view.table, view.delta)
                if view.table.name in now:
                    show_now(connection, view.table, now[view.table.name])
            if then is None and {*SAID_IN, *CURATED} <= {*tables}:
                connection.execute(f"CREATE VIEW {ORDER_ALIAS.view_name} AS {order_alias_sql()}")
                opened.append(View(ORDER_ALIAS, None, made_of_others=True))
            persons = show_persons(connection, [view.table for view in opened])
            coded = show_coded(connection, [view.table for view in opened])
            imaging = show_imaging(connection, [view.table for view in opened])
            opened += [View(table, None, made_of_others=True) for table in (*persons, *coded, *imaging)]
            _lock(connection)
            yield LakeViews(connection, {view.table.name: view for view in opened})
        finally:
            connection.close()


def _open(lake: Lake, table: Table) -> DeltaTable | None:
    try:
        return lake.open(table)
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        return None


def _dataset(view: View, leave_out: Collection[str]) -> ds.Dataset | pa.Table:
    if view.delta is None:
        return view.table.arrow_schema.empty_table()
    whole = view.delta.to_pyarrow_dataset(schema=view.table.arrow_schema)
    if not leave_out:
        return whole
    kept = [fragment for fragment in whole.get_fragments() if fragment.path not in leave_out]
    return ds.FileSystemDataset(kept, whole.schema, whole.format, whole.filesystem)


def _connection(spill: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": spill,
        },
    )


def show(connection: duckdb.DuckDBPyConnection, table: Table, rows: ds.Dataset | pa.Table) -> None:
    """Make a view of a table's rows under the table's name in SQL."""
    layer, name = table.view_name.split(".", 1)
    connection.register(f"{layer}_{name}_files", rows)
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}"')
    what = f'{_columns(table)} FROM "{layer}_{name}_files" {"WHERE shown" if table in CURATED else ""}'
    connection.execute(f'CREATE VIEW "{layer}"."{name}" AS SELECT {what}')


def show_changed(connection: duckdb.DuckDBPyConnection, table: Table, delta: DeltaTable) -> None:
    """Let a view of a table of identity show what was changed too; the changes are shown already."""
    layer, name = table.view_name.split(".", 1)
    rows = with_changes(table, f"{layer}_{name}_files", delta)
    connection.execute(f'CREATE OR REPLACE VIEW "{layer}"."{name}" AS {rows}')


def show_now(connection: duckdb.DuckDBPyConnection, table: Table, now: Now) -> None:
    """Make a view of a curated table with what is not curated yet; its own view is there already."""
    layer, name = table.view_name.split(".", 1)
    changed = pa.table({"key_hash": now.changed})
    for part, rows in (("changed", changed), ("now", now.rows)):
        connection.register(f"{layer}_{name}_{part}", rows)
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{layer}_now"')
    connection.execute(
        f'CREATE VIEW "{layer}_now"."{name}" AS SELECT * FROM "{layer}"."{name}" '  # noqa: S608 - our names
        f'WHERE key_hash NOT IN (SELECT key_hash FROM "{layer}_{name}_changed") '
        f'UNION ALL SELECT {_columns(table)} FROM "{layer}_{name}_now"'
    )


def visible(table: Table) -> tuple[Field, ...]:
    """The columns that a view of a table shows."""
    return tuple(one for one in table.fields if table not in CURATED or one.name not in HIDDEN)


def _columns(table: Table) -> str:
    return ", ".join(f'"{field.name}"' for field in visible(table))


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Times in UTC; no variables of this program as tables, no files, no network, and no way back."""
    for setting in (
        "TimeZone='UTC'",
        "python_enable_replacements=false",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        connection.execute(f"SET {setting}")
