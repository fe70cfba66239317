"""``phl reprocess``: ask for messages to be read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError


def reprocess_command(
    why: Annotated[str, typer.Option(help="Why. No patient data.")],
    start: Annotated[datetime | None, typer.Option("--from", help="Received from then on (UTC).")] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="Received before then (UTC).")] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    modality: Annotated[str, typer.Option(help="Which kind of messages, such as lab.")] = "hl7v2",
    by: Annotated[str | None, typer.Option(help="Who asks, else the account's name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Have the messages of a range read again from raw, with the parser and the settings of now.

    This asks; phl ingest does it with its next batches, in turn with what arrives. Rows of the former reading leave
    the tables when the new ones come; ops.ledger has both readings, ops.decision who asked and why.
    """
    if start is None and end is None and source is None:
        raise ConfigError("CONFIG-RANGE", "say which: --from, --to or --source", setting="--from")
    if start is not None and end is not None and start >= end:
        raise ConfigError("CONFIG-RANGE", "--from must be before --to", setting="--from")
    if not why.isprintable() or not why:
        raise ConfigError("CONFIG-WHY", "say why, in printable characters", setting="--why")
    from jobs.decisions import Decision, Range, decided_by, record
    from jobs.settings import load_settings
    from lake_layout.lake import Lake
    from pipelines.modalities import MODALITIES

    raw = {one.name: one.raw.name for one in MODALITIES}.get(modality)
    if raw is None:
        names = ", ".join(one.name for one in MODALITIES)
        raise ConfigError("CONFIG-MODALITY", f"give one of {names}", setting="--modality")
    asked = Range(_utc(start), _utc(end), source)
    lake = Lake(load_settings(config).lake_location())
    made = record(lake, raw, Decision("reprocess", decided_by(by), why), asked)
    if as_json:
        typer.echo(json.dumps({"action": "reprocess", "decisions": [made]}))
    else:
        typer.echo("they are to be read again by the next batches of phl ingest; recorded in ops.decision")
        if start or end:
            typer.echo("which they are goes by the time of receipt, not by the messages' own")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
