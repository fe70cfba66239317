"""``phl codes``: what local codes and units mean."""

from __future__ import annotations

import codecs
import hashlib
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow as pa

    from jobs.settings import Settings
    from lake_layout.lake import Lake


class Action(StrEnum):
    """What is to be done."""

    LOAD = "load"
    UNMAPPED = "unmapped"
    LIST = "list"
    SHOW = "show"


def codes_command(
    action: Annotated[
        Action,
        typer.Argument(
            help="Load a map, list codes without meaning, list a map, show what became of a code."
        ),
    ],
    what: Annotated[
        str | None, typer.Argument(help="Load: the CSV file. Show: a local or LOINC code.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="Name of the source, as in phl.toml; load: * for all."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="So many rows at most.")] = None,
    units: Annotated[
        bool, typer.Option("--units", help="Unmapped: units that values could not be turned from.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="List: all that was ever loaded, not what counts now.")
    ] = False,
    charset: Annotated[str, typer.Option(help="Load: charset of the file, such as gb18030.")] = "utf-8",
    by: Annotated[str | None, typer.Option(help="Load: who, else the account's name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Load: check the file, change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV with a line of names.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Map local codes to LOINC, and see which are not mapped; observations keep what was sent.

    load takes a CSV file with the columns code and loinc, and any of code_system, specimen_type, method, unit, display,
    canonical_unit, valid_from, valid_to; the entry that names most counts. Its entries add to those loaded before and
    take the place of the same ones; an empty loinc takes one back. What is in the lake is mapped at once, without being
    read again. phl codes unmapped --source S --csv > map.csv writes a list that can be filled in and loaded.
    """
    if as_json and as_csv:
        raise ConfigError("CONFIG-CODES", "give --json or --csv, not both", setting="--json, --csv")
    if (what is None) == (action in (Action.LOAD, Action.SHOW)):
        raise ConfigError("CONFIG-CODES", "load takes a file, show a code, the others none", setting="WHAT")
    if action is Action.LOAD:
        _load(config, Path(str(what)), source, charset, by, dry_run=dry_run, as_json=as_json)
        return
    from jobs import codes
    from jobs.settings import load_settings

    settings = load_settings(config)
    asked = codes.Asked(source, what, top)
    if action is Action.UNMAPPED:
        _show(
            settings, lambda ask: (codes.odd_units if units else codes.unmapped)(ask, asked), as_json, as_csv
        )
    elif action is Action.LIST:
        _show(settings, lambda ask: codes.listed(ask, asked, history=history), as_json, as_csv)
    else:
        _show(settings, lambda ask: codes.meanings(ask, asked), as_json, as_csv)


def _show(
    settings: Settings,
    ask: Callable[[duckdb.DuckDBPyConnection], pa.RecordBatchReader],
    as_json: bool,
    as_csv: bool,
) -> None:
    from jobs.codes import TABLES
    from jobs.lake_views import lake_views
    from jobs.print_rows import write_csv, write_json, write_pretty
    from lake_layout.lake import Lake

    with lake_views(Lake(settings.lake_location()), TABLES) as views:
        reader = ask(views.connection)
        if as_json:
            write_json(reader, sys.stdout)
        elif as_csv:
            write_csv(reader, sys.stdout)
        else:
            write_pretty(reader, 1000)
        sys.stdout.flush()


def _load(
    config: Path | None,
    path: Path,
    source: str | None,
    charset: str,
    by: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from jobs.decisions import decided_by
    from jobs.settings import load_settings
    from lake_layout.lake import Lake
    from pipelines.codes.concept_map import LARGEST_FILE, MapFileError, read_map
    from pipelines.codes.keep import Load, load_map
    from schemas.tables.coding import CODES_TABLES

    settings = load_settings(config)
    named = _source(settings, source)
    try:
        codec = "utf-8-sig" if codecs.lookup(charset).name == "utf-8" else charset
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError("CODES-FILE", "the file is too large for a concept map", setting="FILE")
        data = path.read_bytes()
    except LookupError:
        raise ConfigError(
            "CODES-CHARSET", "no such charset; utf-8 or gb18030, say", setting="--charset"
        ) from None
    except OSError as error:
        raise ConfigError(
            "CODES-FILE", "the file cannot be read", setting="FILE", kind=type(error).__name__
        ) from None
    lake = Lake(settings.lake_location())
    try:
        entries = read_map(data, named, codec)
        if dry_run:
            typer.echo(
                json.dumps({"entries": len(entries)}) if as_json else f"{len(entries)} entries, nothing wrong"
            )
            return
        lake.create_missing(CODES_TABLES)
        load = Load(entries, decided_by(by), path.name, hashlib.sha256(data).hexdigest())
        fresh, number = load_map(lake, load)
    except MapFileError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise
    coded = _code_again(lake)
    if as_json:
        told = {"entries": len(entries), "changed": fresh, "load": number, "combinations": coded}
        typer.echo(json.dumps(told))
    elif fresh:
        typer.echo(
            f"load {number}: {fresh} of {len(entries)} entries are new; {coded} combinations were coded again"
        )
    else:
        typer.echo(f"nothing new in {len(entries)} entries")


def _source(settings: Settings, name: str | None) -> str:
    import re

    import structlog

    from schemas.tables.coding import EVERY_SOURCE

    if name is None or (name != EVERY_SOURCE and not re.fullmatch(r"[A-Za-z0-9._-]+", name)):
        raise ConfigError("CONFIG-SOURCE", "say whose codes: --source NAME, or * for all", setting="--source")
    if name != EVERY_SOURCE and name not in settings.sources().by_name:
        structlog.get_logger(__name__).warning("source_not_configured", source=name)
    return name


def _code_again(lake: Lake) -> int:
    """What was observed so far, by the map as it is now."""
    from lake_layout.handles import current_handle
    from pipelines.codes.keep import coded_up_to, keep_current
    from schemas.tables.normalised import OBSERVATION

    end = int(current_handle(lake, OBSERVATION).version()) if lake.exists(OBSERVATION) else coded_up_to(lake)
    return keep_current(lake, end).combinations
