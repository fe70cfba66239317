"""``phl up``: the embedded services, the lake's tables and the topics."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def up_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Start the embedded Kafka and S3 store where they do not run yet; make the lake's tables and the topics.

    Services that the settings name are not started, only probed: the store must refuse a second conditional PUT.
    """
    from jobs.cli.status import show
    from jobs.services.start import bring_up
    from jobs.settings import load_settings

    reports = bring_up(load_settings(config), lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps({"services": [asdict(report) for report in reports]}))
    else:
        show(reports)
    if not all(report.up for report in reports):
        raise typer.Exit(1)
