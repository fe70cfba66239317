"""``phl quarantine``: messages that did not become rows."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError

_LINES = 50
"""So many lines of a message that cannot be read are printed; --raw has all of it."""


class Action(StrEnum):
    """What is to be done."""

    LIST = "list"
    SHOW = "show"


def quarantine_command(
    action: Annotated[Action, typer.Argument(help="List messages, or show one of them.")],
    message: Annotated[
        str | None, typer.Argument(help="Which to show: PARTITION:OFFSET, as the list has them.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only with this code, such as HL7-NO-MSH.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only received from then on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only received before then (UTC).")] = None,
    ignored: Annotated[
        bool, typer.Option("--ignored", help="Messages that were set aside, not those that cannot be read.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Show the bytes as received, nothing else.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="The most rows of a pretty table.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Say which messages could not be read, and why; show what one of them says (that is patient data).

    The list has coordinates and codes only. phl quarantine show 2:1047 --raw > message.hl7 takes one out to look at.
    """
    if (action is Action.SHOW) != (message is not None):
        raise ConfigError("CONFIG-COORDINATES", "show takes one message, list none", setting="MESSAGE")
    from jobs.lake_views import lake_views
    from jobs.quarantine import TABLES, Asked, Coordinates, found, listed
    from jobs.settings import load_settings
    from lake_layout.lake import Lake

    settings = load_settings(config)
    lake = Lake(settings.lake_location())
    with lake_views(lake, TABLES) as views:
        if message is None:
            from jobs.print_rows import write_json, write_pretty

            asked = Asked(ignored, code, source, _utc(since), _utc(until))
            reader = listed(views.connection, asked)
            if as_json:
                write_json(reader, sys.stdout)
            else:
                write_pretty(reader, rows)
            return
        one = found(lake, views.connection, Coordinates.read(message))
    if raw:
        sys.stdout.buffer.write(one.payload)
        return
    from jobs.print_rows import shown as printable
    from jobs.show_message import show_message
    from jobs.show_message import write_pretty as write_message

    place = f"{one.coordinates.partition}:{one.coordinates.offset}"
    shown = show_message(place, one.payload, settings.sources().get(one.source))
    told = {"source": one.source, "disposition": one.disposition, "codes": list(one.codes)}
    if as_json:
        typer.echo(json.dumps({**told, "message": shown.plain(tree=True, rows=True)}, ensure_ascii=False))
        return
    typer.echo(f"{place} from {one.source}: {one.disposition or 'not looked at yet'} {', '.join(one.codes)}")
    write_message(shown, tree=True, rows=False)
    if shown.problem is not None:
        for line in one.payload.decode("utf-8", "replace").replace("\r\n", "\r").split("\r")[:_LINES]:
            typer.echo(printable(line))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
