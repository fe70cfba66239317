"""``phl down``: stop the embedded services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def down_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Stop the embedded Kafka and S3 store. What they hold stays for the next ``phl up``."""
    from jobs.services.start import take_down
    from jobs.settings import load_settings

    stopped = take_down(load_settings(config).state_dir)
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))
    else:
        typer.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
