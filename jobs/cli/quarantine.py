"""``phl quarantine``: messages that did not become rows."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from jobs.quarantine import Asked, Found
    from jobs.settings import Settings
    from lake_layout.lake import Lake
    from schemas.source import Source

_LINES = 50
"""So many lines of a message that cannot be read are printed; --raw has all of it."""


class Action(StrEnum):
    """What is to be done."""

    LIST = "list"
    SHOW = "show"
    REPLAY = "replay"
    DISCARD = "discard"


def quarantine_command(
    action: Annotated[
        Action, typer.Argument(help="List, show one, have them read again, or be done with them.")
    ],
    messages: Annotated[
        list[str] | None, typer.Argument(help="Which: PARTITION:OFFSET, as the list has them.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only with this code, such as HL7-NO-MSH.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only received from then on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only received before then (UTC).")] = None,
    ignored: Annotated[
        bool, typer.Option("--ignored", help="Messages that were set aside, not those that cannot be read.")
    ] = False,
    settled: Annotated[
        bool, typer.Option("--settled", help="List those too that somebody discarded or replaced.")
    ] = False,
    why: Annotated[str | None, typer.Option(help="Of a decision: why. No patient data.")] = None,
    by: Annotated[str | None, typer.Option(help="Of a decision: who, else the account's name.")] = None,
    mended: Annotated[
        Path | None, typer.Option("--with", help="Replay: send this file in place of the message.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show the bytes as received, nothing else.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="The most rows of a pretty table.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Say which messages could not be read, and why; show one (that is patient data); decide what becomes of them.

    A line of a file that could not be read is listed with its number (segment_index) while the others are rows.
    The list has coordinates and codes only. phl quarantine show 2:1047 --raw > message.hl7 takes one out to look at.
    replay asks for messages to be read again, which phl ingest does with its next batch; replay --with sends a mended
    one instead. discard takes them off the list. Who decided what and why stands in ops.decision.
    """
    named = messages or []
    if len(named) != 1 if action is Action.SHOW else action is Action.LIST and named:
        raise ConfigError("CONFIG-COORDINATES", "show takes one message, list none", setting="MESSAGE")
    from jobs.lake_views import lake_views
    from jobs.quarantine import TABLES, Asked, Coordinates, found, listed
    from jobs.settings import load_settings
    from lake_layout.lake import Lake

    settings = load_settings(config)
    lake = Lake(settings.lake_location())
    places = tuple(Coordinates.read(one) for one in named)
    asked = Asked(ignored, code, source, _utc(since), _utc(until), settled or bool(places), places)
    if action in (Action.REPLAY, Action.DISCARD):
        done = _decide(settings, lake, action, asked, why, by, mended)
        typer.echo(json.dumps(done) if as_json else _told(done))
        return
    with lake_views(lake, TABLES) as views:
        if action is Action.LIST:
            from jobs.print_rows import write_json, write_pretty

            reader = listed(views.connection, asked)
            if as_json:
                write_json(reader, sys.stdout)
            else:
                write_pretty(reader, rows)
            return
        one = found(lake, views.connection, places[0])
    if raw:
        sys.stdout.buffer.write(one.payload)
        return
    from jobs.print_rows import shown as printable
    from schemas.tables import RAW_HL7V2

    place = f"{one.coordinates.partition}:{one.coordinates.offset}"
    told: dict[str, object] = {"source": one.source, "disposition": one.disposition, "codes": list(one.codes)}
    if one.raw_table != RAW_HL7V2.name:
        _show_lines(place, one, told, settings.sources().get(one.source), as_json=as_json)
        return
    from jobs.show_message import show_message
    from jobs.show_message import write_pretty as write_message

    shown = show_message(place, one.payload, settings.sources().get(one.source))
    if as_json:
        typer.echo(json.dumps({**told, "message": shown.plain(tree=True, rows=True)}, ensure_ascii=False))
        return
    typer.echo(f"{place} from {one.source}: {one.disposition or 'not looked at yet'} {', '.join(one.codes)}")
    write_message(shown, tree=True, rows=False)
    if shown.problem is not None:
        for line in one.payload.decode("utf-8", "replace").replace("\r\n", "\r").split("\r")[:_LINES]:
            typer.echo(printable(line))


def _show_lines(place: str, one: Found, told: dict[str, object], source: Source, *, as_json: bool) -> None:
    """The lines that could not be read, with their numbers; of a message that was not read at all its first ones."""
    from jobs.print_rows import shown as printable

    charset = source.result_file.charset if source.result_file is not None else source.charset
    lines = re.split("\r\n|\r|\n", _text_of(one.payload, charset))
    parts = one.bad_parts[:_LINES] or [(number, "") for number in range(1, min(len(lines), _LINES) + 1)]
    bad = [
        {"line": line, "code": code, "text": lines[line - 1] if 0 < line <= len(lines) else ""}
        for line, code in parts
    ]
    if as_json:
        typer.echo(json.dumps({**told, "lines": bad}, ensure_ascii=False))
        return
    typer.echo(f"{place} from {one.source}: {one.disposition or 'not looked at yet'} {', '.join(one.codes)}")
    for part in bad:
        typer.echo(f"{part['line']:>7} {part['code']:<20} {printable(str(part['text']))}")


def _text_of(payload: bytes, charset: str) -> str:
    """A file as its reader sees it; bytes that are no characters are shown as such."""
    from pipelines.lab.file_lines import to_text
    from schemas.errors import MessageError

    try:
        text = to_text(payload, charset)
    except MessageError:
        return payload.decode(charset, "replace")
    return text.data.decode("utf-8") if text.mismatched else payload.decode(charset, "replace")


def _decide(
    settings: Settings,
    lake: Lake,
    action: Action,
    asked: Asked,
    why: str | None,
    by: str | None,
    mended: Path | None,
) -> dict[str, object]:
    """Record what was decided about the messages asked for; what was done, by name."""
    from jobs.decisions import Decision, decided_by, record, send_replacement
    from jobs.lake_views import lake_views
    from jobs.quarantine import TABLES, chosen, found

    if not why or not why.isprintable():
        raise ConfigError("CONFIG-WHY", "say why, in printable characters", setting="--why")
    if not (asked.messages or asked.code or asked.source or asked.since or asked.until):
        raise ConfigError(
            "CONFIG-COORDINATES", "say which: name messages, or a code, source or time", setting="MESSAGE"
        )
    if mended is not None and (action is not Action.REPLAY or len(asked.messages) != 1):
        raise ConfigError("CONFIG-REPLACEMENT", "--with goes with replay of one message", setting="--with")
    who = decided_by(by)
    with lake_views(lake, TABLES) as views:
        places = chosen(views.connection, asked)
        sender = found(lake, views.connection, asked.messages[0]).source if mended is not None else ""
    count = sum(len(some) for some in places.values())
    if mended is None:
        made = [record(lake, raw, Decision(action.value, who, why), some) for raw, some in places.items()]
        return {"action": action.value, "messages": count, "decisions": made}
    try:
        content = mended.read_bytes()
    except OSError as error:
        raise ConfigError(
            "CONFIG-REPLACEMENT", "the file cannot be read", setting="--with", kind=type(error).__name__
        ) from None
    ((raw, (replaced,)),) = places.items()
    sent = send_replacement(
        settings.kafka_connection(), lake.store, content, settings.sources().get(sender), replaced, raw,
        settings.kafka.topic_prefix, int(settings.listen.object_threshold),
    )  # fmt: skip
    made = [record(lake, raw, Decision("replace", who, why), [replaced], sent)]
    replacement = f"{sent.partition}:{sent.offset}"
    return {"action": "replace", "messages": 1, "decisions": made, "replacement": replacement}


def _told(done: dict[str, object]) -> str:
    what = {
        "replay": "are to be read again by the next batch of phl ingest",
        "discard": "discarded",
        "replace": f"replaced by {done.get('replacement')}",
    }
    return f"{done['messages']} messages {what[str(done['action'])]}; recorded in ops.decision"


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
