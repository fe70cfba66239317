"""``phl status``: are the services up, and how far are the curated tables behind?"""

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

    Where the lake has curated tables, say too what is normalised and not folded into them yet.
    """
    from jobs.services.start import look
    from jobs.settings import load_settings

    settings = load_settings(config)
    reports = look(settings)
    waiting = _uncurated(settings) if all(report.up for report in reports) else None
    if as_json:
        told = {"services": [asdict(report) for report in reports]}
        typer.echo(json.dumps(told | ({} if waiting is None else {"uncurated": waiting})))
    else:
        show(reports)
        if waiting is not None:
            rows = sum(waiting.values())
            what = ", ".join(f"{name} {count:,}" for name, count in sorted(waiting.items()))
            typer.echo(
                f"curated tables lack {rows:,} normalised rows: {what}"
                if rows
                else "curated tables are up to date"
            )
    if not all(report.up for report in reports):
        raise typer.Exit(1)


def _uncurated(settings: Settings) -> dict[str, int] | None:
    """Rows by normalised table; None where nothing was normalised or the tables were never prepared."""
    from jobs.curated_progress import uncurated
    from lake_layout.lake import Lake

    try:
        return {name: rows for name, (_, rows) in uncurated(Lake(settings.lake_location())).items()}
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        return None


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
