"""``phl demo``: all of it in one go."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def demo_command(
    messages: Annotated[int, typer.Option(min=30, help="How many, over MLLP and in files together.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same traffic.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the services running, to look around.")] = False,
    folder: Annotated[Path | None, typer.Option(help="State folder, made afresh; default .phl/demo.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """A small city, from its messages to a query, compared with the truth; exit 1 where anything differs."""
    from jobs.demo import CODED, CORRECTION, FOLDER, QUERY, STUDIES, Demo
    from jobs.demo_identity import NAMES, lines_of
    from jobs.print_rows import print_grid

    demo = Demo(folder or FOLDER, messages, seed, lambda line: typer.echo(f"• {line}", err=as_json))
    demo.prepare()
    try:
        outcome = demo.run()
        if not as_json:
            typer.echo(f'\n$ phl query "{QUERY}"')
            typer.echo(demo.phl("query", QUERY).stdout)
            typer.echo(
                "a result that was corrected, before and after: phl query on normalised and curated.observation"
            )
            typer.echo(demo.phl("query", CORRECTION).stdout)
            typer.echo("what local codes and units mean: phl query on curated_coded.observation")
            typer.echo(demo.phl("query", CODED).stdout)
            typer.echo("studies and what is counted in them: phl query on curated_imaging.study")
            typer.echo(demo.phl("query", STUDIES).stdout)
            if outcome.pair is not None and outcome.merge is not None:
                typer.echo(
                    "a merge of two patients and its undoing: curated.person_identifier and curated_person.observation"
                )
                print_grid(NAMES, lines_of(outcome.pair, outcome.merge), [False, False, False, True])
    finally:
        if not keep:
            demo.phl("down", check=False)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "dispositions": outcome.dispositions,
                    "kinds_of_messages": outcome.kinds,
                    "tables": outcome.tables,
                    "rows_compared": outcome.rows,
                    "seconds": round(outcome.seconds, 1),
                    "differences": [vars(one) for one in outcome.differences],
                    "merge": None if outcome.merge is None else asdict(outcome.merge),
                }
            )
        )
    else:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.dispositions.items()))
        typer.echo(f"messages: {counts}")
        for one in outcome.differences:
            typer.echo(one.sentence())
        if not outcome.differences:
            typer.echo(
                f"the tables are what the city knows: {outcome.kinds} kinds of messages became"
                f" {outcome.rows:,} rows of {outcome.tables} tables, no difference ({outcome.seconds:.0f} s)"
            )
        if keep:
            typer.echo(
                f"still running; look around with: phl query --config {demo.config} …; end with: phl down --config …"
            )
    if outcome.differences:
        raise typer.Exit(1)
