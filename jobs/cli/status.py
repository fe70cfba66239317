"""``phl status``: are the services up, and how far are curated tables, persons and codes behind?"""

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

    Where the lake has curated tables, say too what is normalised and not folded into them, or not yet known of persons
    and codes.
    """
    from jobs.services.start import look
    from jobs.settings import load_settings

    settings = load_settings(config)
    reports = look(settings)
    waiting = _waiting(settings) if all(report.up for report in reports) else {}
    changes = _changes(settings) if "unidentified" in waiting else (0, None)
    if as_json:
        told = {"services": [asdict(report) for report in reports]}
        if changes[1]:
            told["identity_changes"] = [{"rows": changes[0], "since": changes[1]}]
        typer.echo(json.dumps(told | waiting))
    else:
        show(reports)
        for name, rows in waiting.items():
            named = ", ".join(f"{table} {count:,}" for table, count in sorted(rows.items()))
            typer.echo(
                f"{_BEHIND[name]} lack {sum(rows.values()):,} normalised rows: {named}"
                if rows
                else f"{_BEHIND[name]} are up to date"
            )
        if changes[1]:
            typer.echo(
                f"files of persons lack {changes[0]:,} changes since {changes[1]}; phl query shows them all the same"
            )
    if not all(report.up for report in reports):
        raise typer.Exit(1)


_BEHIND = {"uncurated": "curated tables", "unidentified": "persons", "uncoded": "codes"}


def _waiting(settings: Settings) -> dict[str, dict[str, int]]:
    """Rows by normalised table that the curated tables lack, that persons lack, and that codes lack.

    Without those for which nothing was normalised, or whose tables were never prepared.
    """
    from jobs import curated_progress
    from lake_layout.lake import Lake

    found: dict[str, dict[str, int]] = {}
    lake = Lake(settings.lake_location())
    for name, news in zip(
        _BEHIND,
        (curated_progress.uncurated, curated_progress.unidentified, curated_progress.uncoded),
        strict=True,
    ):
        try:
            found[name] = {table: rows for table, (_, rows) in news(lake).items()}
        except LakeError as error:
            if error.code != "LAKE-TABLE-MISSING":
                raise
    return found


def _changes(settings: Settings) -> tuple[int, str | None]:
    """How many changes of who is who the files of its tables lack, and since when."""
    from lake_layout.handles import current_handle
    from lake_layout.lake import Lake
    from lake_layout.live_files import files_of
    from pipelines.identity_apply import oldest_of
    from schemas.tables.identification import IDENTITY_CHANGE

    try:
        files = files_of(current_handle(Lake(settings.lake_location()), IDENTITY_CHANGE), IDENTITY_CHANGE)
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        files = []
    if not files:
        return 0, None
    return sum(file.rows for file in files), oldest_of(files).isoformat(timespec="seconds")


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
