"""``phl status``: are the services up?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from jobs.services.start import Report


def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Say whether Kafka and the store answer, embedded or outside; exit code 1 where one does not."""
    from jobs.services.start import look
    from jobs.settings import load_settings

    reports = look(load_settings(config))
    if as_json:
        typer.echo(json.dumps({"services": [asdict(report) for report in reports]}))
    else:
        show(reports)
    if not all(report.up for report in reports):
        raise typer.Exit(1)


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
