"""``phl query``: SQL over the lake's tables."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

    from jobs.lake_views import LakeViews, Now, View

SQL_ERROR = 2
_DISCARDED_AT_ONCE = 10_000
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)


def query_command(
    sql: Annotated[
        str | None, typer.Argument(help="SQL; left out: the tables, their rows and columns.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the SQL from a file, - for stdin.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="An array with an object per row.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a line of names.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="The most rows of a pretty table.")] = 100,
    known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=_FORMATS, help="curated.* by what had been received by then (UTC without +08:00)."
        ),
    ] = None,
    true_at: Annotated[
        datetime | None,
        typer.Option(
            formats=_FORMATS, help="curated.* by what tells of itself that it is not later than that."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Ask the lake in SQL (DuckDB): phl query "SELECT count(*) FROM curated.observation".

    Tables are read only. curated.* show what is so now; curated_now.* the same with what no batch has folded in yet;
    curated_person.* the same with the person (person_id, as in curated.person) that each row is about;
    curated_coded.observation the same with LOINC codes, UCUM units and values in the concept's own unit,
    curated_coded.result of these each result once, be it measured or released.
    With --known-at or --true-at, or both, curated.* show what was so then; all other tables are as they are.

    Exit code 2: the SQL is wrong.
    """
    if as_json and as_csv:
        raise ConfigError("CONFIG-QUERY", "give --json or --csv, not both", setting="--json, --csv")
    if sql is not None and file is not None:
        raise ConfigError("CONFIG-QUERY", "give the SQL or --file, not both", setting="--file")
    text = _read(file) if file is not None else sql
    if known_at is None and true_at is None:
        views = _views_now(config, text or "")
    elif text is None:
        raise ConfigError("CONFIG-QUERY", "a time wants SQL", setting="--known-at, --true-at")
    else:
        views = _views_then(config, text, known_at, true_at)
    with views as lake:
        if text is None:
            _list_tables(lake, as_json=as_json, as_csv=as_csv)
        else:
            _ask(lake.connection, text, as_json=as_json, as_csv=as_csv, rows=rows)


@contextmanager
def _views_now(config: Path | None, sql: str) -> Iterator[LakeViews]:
    """All tables as they are."""
    from jobs.lake_views import lake_views
    from jobs.settings import load_settings
    from lake_layout.lake import Lake

    settings = load_settings(config)
    lake = Lake(settings.lake_location())
    now: Mapping[str, Now] = {}
    if "curated_now" in sql.lower():
        from jobs.curated_now import named_in, newer
        from lake_layout.sorted_runs import IndexLocation

        now = newer(lake, settings.sources(), IndexLocation(str(settings.index_dir)), named_in(sql))
    with lake_views(lake, now=now) as views:
        yield views


@contextmanager
def _views_then(
    config: Path | None, sql: str, known_at: datetime | None, true_at: datetime | None
) -> Iterator[LakeViews]:
    """The curated tables that SQL names as they were; the others as they are."""
    from jobs.curated_now import named_in
    from jobs.curated_then import Times, rows_then
    from jobs.lake_views import lake_views
    from jobs.settings import load_settings
    from lake_layout.lake import Lake

    settings = load_settings(config)
    lake = Lake(settings.lake_location())
    times = Times(_utc(known_at), _utc(true_at))
    with tempfile.TemporaryDirectory(prefix="phl-query-") as folder:
        then = rows_then(lake, settings.sources(), named_in(sql, "curated"), times, Path(folder))
        with lake_views(lake, then=then) as views:
            yield views


def _utc(time: datetime | None) -> datetime | None:
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "CONFIG-QUERY", "the SQL file cannot be read", setting="--file", kind=type(error).__name__
        ) from None


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, *, as_json: bool, as_csv: bool, rows: int) -> None:
    import duckdb

    from jobs.print_rows import write_csv, write_json, write_pretty

    try:
        statements = connection.extract_statements(sql)
        if not statements:
            typer.echo("there is no SQL statement", err=True)
            raise typer.Exit(SQL_ERROR)
        for statement in statements[:-1]:
            connection.execute(statement)
            while connection.fetchmany(_DISCARDED_AT_ONCE):  # the next one may not begin before it is read
                pass
        answer = connection.sql(statements[-1].query)
        if answer is None:  # a statement without rows, such as CREATE MACRO
            return
        reader = answer.to_arrow_reader()
        if as_json:
            write_json(reader, sys.stdout)
        elif as_csv:
            write_csv(reader, sys.stdout)
        else:
            write_pretty(reader, rows)
        sys.stdout.flush()
    except (duckdb.Error, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        typer.echo(without_values(error), err=True)
        raise typer.Exit(SQL_ERROR) from None


def without_values(error: Exception) -> str:
    """What DuckDB says of a statement; of an error at run time, without the value that it failed on."""
    import duckdb

    text = str(error)
    about_the_sql = (
        duckdb.ParserException, duckdb.SyntaxException, duckdb.BinderException, duckdb.CatalogException,
        duckdb.PermissionException, duckdb.NotImplementedException,
    )  # fmt: skip
    return text if isinstance(error, about_the_sql) else _QUOTED.sub("'…'", text)


def _list_tables(lake: LakeViews, *, as_json: bool, as_csv: bool) -> None:
    from jobs.lake_views import visible
    from jobs.print_rows import print_grid

    views = lake.views.values()
    if as_json:
        tables = [
            {
                "table": view.table.view_name,
                "doc": view.table.doc,
                "exists": view.delta is not None or view.made_of_others,
                "version": view.version,
                "rows": lake.rows(view),
                "columns": [
                    {"name": f.name, "type": str(f.type), "doc": f.doc, "standard": f.standard}
                    for f in visible(view.table)
                ],
            }
            for view in views
        ]
        typer.echo(json.dumps(tables, ensure_ascii=False))
        return
    names = ["table", "rows", "columns"]
    cells = [
        [
            view.table.view_name,
            _rows_of(lake, view),
            ", ".join(field.name for field in visible(view.table)),
        ]
        for view in views
    ]
    if as_csv:
        import csv

        csv.writer(sys.stdout).writerows([names, *cells])
        return
    print_grid(names, cells, [False, True, False])


def _rows_of(lake: LakeViews, view: View) -> str:
    if view.made_of_others:
        return "a view of others"
    return f"{lake.rows(view):,}" if view.delta is not None else "not there yet"
