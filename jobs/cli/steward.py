"""``phl steward``: people decide who is who."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from jobs.settings import Settings


class Action(StrEnum):
    """What is to be done."""

    LINK = "link"
    UNLINK = "unlink"
    CANNOT_LINK = "cannot-link"
    QUEUE = "queue"


def steward_command(
    action: Annotated[
        Action,
        typer.Argument(help="Say that two are one, not what was stated, never one; or list what waits."),
    ],
    first: Annotated[str | None, typer.Argument(help="An identifier: VALUE^^^AUTHORITY.")] = None,
    second: Annotated[str | None, typer.Argument(help="Another one.")] = None,
    why: Annotated[str | None, typer.Option(help="The reason; it is recorded.")] = None,
    who: Annotated[
        str | None, typer.Option(help="Who decides; it is recorded. Default: the user of this command.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="The most rows of a pretty table.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Decide who is who where messages do not, or wrongly.

    For example: phl steward unlink 'P1^^^CLINIC' 'P2^^^CLINIC' --why "two sisters".

    link: both identifiers are of one person. unlink: what was stated before of just these two does not hold, be it a
    merge. cannot-link: they are never one person, whatever messages say. The next phl ingest takes it in.

    queue lists what needs a decision: statements that were refused or blocked, or that do nothing.
    """
    from jobs.settings import load_settings

    asked = action is Action.QUEUE
    if asked != (first is None and second is None and why is None) or (not asked and second is None):
        raise ConfigError(
            "CONFIG-STEWARD",
            "give two identifiers and --why; with queue none",
            setting="FIRST, SECOND, --why",
        )
    settings = load_settings(config)
    if asked:
        _queue(settings, rows, as_json=as_json)
        return
    from jobs.decisions import decided_by
    from jobs.steward import event_of, read_identifier, send

    one, other = read_identifier(first or "", "FIRST"), read_identifier(second or "", "SECOND")
    event = event_of(action.value, decided_by(None, "--who") if who is None else who, why or "", one, other)
    send(settings, event)
    if as_json:
        typer.echo(json.dumps({"id": event.id, "action": event.action, "when": event.when.isoformat()}))
    else:
        typer.echo(f"recorded as event {event.id}; phl ingest takes it in")


def _queue(settings: Settings, rows: int, *, as_json: bool) -> None:
    from jobs.lake_views import lake_views
    from jobs.print_rows import write_json, write_pretty
    from jobs.steward import QUEUE
    from lake_layout.lake import Lake
    from schemas.tables.identity import STEWARD_QUEUE

    with lake_views(Lake(settings.lake_location()), (STEWARD_QUEUE,)) as views:
        reader = views.connection.sql(QUEUE).to_arrow_reader()
        if as_json:
            write_json(reader, sys.stdout)
        else:
            write_pretty(reader, rows)
