"""``phl soak``: everything fails, for as long as you like."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigError

NAMES = (
    "kills",
    "listener",
    "instruments",
    "drops",
    "images",
    "broker",
    "store",
    "answers",
    "disk",
    "room",
    "two",
    "zombie",
    "program",
    "topic",
)


def soak_command(
    minutes: Annotated[float, typer.Option(min=0, help="How long; at least one round is run.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the traffic and of what fails.")] = 1,
    messages: Annotated[int, typer.Option(min=20, help="Sent before each kind of trouble.")] = 60,
    trouble: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this; may be given again: {', '.join(NAMES)}."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the services running, to look around.")] = False,
    folder: Annotated[Path | None, typer.Option(help="State folder, made afresh; default .phl/soak.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """A small city while stages, listener, Kafka, S3 store and disk fail in turn; exit 1 where anything was lost.

    Stages and phl collect are killed at every fail point, the listener beside messages, instruments and images, the
    services at any moment; the store's answers get lost, come twice or say what is not so; two ingesters run at once,
    one that was taken for dead wakes up, the program changes in the middle of a batch, a topic is made anew. After each
    round phl verify --strict --deep must be clean, every object that a row names must be there with its bytes,
    and every table what the city knows.
    """
    if not set(trouble or ()) <= set(NAMES):
        raise ConfigError("CONFIG-SOAK", f"--trouble is one of {', '.join(NAMES)}", setting="--trouble")
    from jobs.soak.soak import FOLDER, PLACES, Soak

    def say(line: str) -> None:
        typer.echo(f"{time.strftime('%H:%M:%S')} {line}", err=as_json)

    soak = Soak(folder or FOLDER, seed, messages, say, trouble or ())
    soak.prepare()
    try:
        outcome = soak.run(minutes)
    finally:
        if not keep:
            soak.down()
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "rounds": outcome.rounds,
                    "messages": outcome.messages,
                    "sent_again": outcome.repeated,
                    "faults": dict(outcome.tally.faults),
                    "fail_points_visited": len(outcome.tally.places),
                    "fail_points": PLACES,
                    "problems": outcome.problems,
                    "seconds": round(outcome.seconds, 1),
                }
            )
        )
    else:
        for line in outcome.tally.lines():
            typer.echo(line)
        typer.echo(f"fail points visited: {len(outcome.tally.places)} of {PLACES}")
        typer.echo(
            f"{outcome.rounds} rounds, {outcome.messages:,} messages, {outcome.seconds / 60:.1f} minutes: "
            + ("phl verify clean, tables as the city knows them" if not outcome.problems else "LOST")
        )
        for problem in outcome.problems:
            typer.echo(problem)
    if outcome.problems:
        raise typer.Exit(1)
