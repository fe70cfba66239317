"""``phl status``: are the services up, and how far are curated tables and persons behind?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import LakeError

if TYPE_CHECKING:
    from jobs.services.start import Report
    from jobs.settings import Settings


def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Say whether Kafka and the store answer, embedded or outside; exit code 1 where one does not.

    Where the lake has curated tables, say too what is normalised and not folded into them, or not yet known of persons.
    """
    from jobs.services.start import look
    from jobs.settings import load_settings

    settings = load_settings(config)
    reports = look(settings)
    waiting, unidentified = _waiting(settings) if all(report.up for report in reports) else (None, None)
    if as_json:
        told = {"services": [asdict(report) for report in reports]}
        more = {"uncurated": waiting, "unidentified": unidentified}
        typer.echo(json.dumps(told | {name: rows for name, rows in more.items() if rows is not None}))
    else:
        show(reports)
        for what, rows in (("curated tables", waiting), ("persons", unidentified)):
            if rows is not None:
                named = ", ".join(f"{name} {count:,}" for name, count in sorted(rows.items()))
                typer.echo(
                    f"{what} lack {sum(rows.values()):,} normalised rows: {named}"
                    if rows
                    else f"{what} are up to date"
                )
    if not all(report.up for report in reports):
        raise typer.Exit(1)


def _waiting(settings: Settings) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    """Rows by normalised table that the curated tables lack, and those that persons lack.

    None where nothing was normalised or the tables were never prepared.
    """
    from jobs.curated_progress import uncurated, unidentified
    from lake_layout.lake import Lake

    found: list[dict[str, int] | None] = []
    for news in (uncurated, unidentified):
        try:
            found.append({name: rows for name, (_, rows) in news(Lake(settings.lake_location())).items()})
        except LakeError as error:
            if error.code != "LAKE-TABLE-MISSING":
                raise
            found.append(None)
    return found[0], found[1]


def show(reports: Sequence[Report]) -> None:
    """A table of the services."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("service", "kind", "address", "state", "pid", "log"):
        table.add_column(title, overflow="fold")
    for report in reports:
        state = Text("up", style="green") if report.up else Text(report.problem, style="red")
        pid = "" if report.pid is None else str(report.pid)
        table.add_row(report.service, report.kind, Text(report.address), state, pid, Text(report.log))
    Console(width=None if Console().is_terminal else 160).print(table)
