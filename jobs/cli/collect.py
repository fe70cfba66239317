"""``phl collect``: files that laboratories drop → Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.result_files import Tally


def collect_command(
    source: Annotated[
        list[str] | None, typer.Option("--source", "-s", help="Only this source; may be given again.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Take what is there and end.")] = False,
    every: Annotated[str | None, typer.Option(help="Look again so often, such as 30s or 5m.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="With --every: serve Prometheus metrics there (loopback).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Take the result files of all sources with protocol = "files", each once it is whole.

    A file that is taken again changes nothing in the tables. Exit code 1 with --once: a file could not be taken, the
    others were. Ends with SIGTERM or Ctrl-C after what is under way.
    """
    if once == (every is not None):
        raise ConfigError("CONFIG-EVERY", "give --once, or --every 30s", setting="--every")
    from jobs.collect import collect_every, collect_once, collectors
    from jobs.durations import seconds
    from jobs.settings import load_settings

    settings = load_settings(config)
    pause = seconds(every, "--every") if every is not None else 0.0
    some = collectors(settings, source or [])
    if every is not None:
        if metrics_port is not None:
            from prometheus_client import REGISTRY

            from jobs.metrics import serve_metrics

            serve_metrics(REGISTRY, metrics_port)
        collect_every(some, pause, lambda name, tally: _report({name: tally}, as_json=as_json))
        return
    tallies = collect_once(settings, some)
    _report(tallies, as_json=as_json)
    if not all(tally.complete for tally in tallies.values()):
        raise typer.Exit(1)


def _report(tallies: Mapping[str, Tally], *, as_json: bool) -> None:
    from connectors.result_files import FAULTS

    if as_json:
        told = {
            name: {
                "taken": tally.taken,
                "known": tally.known,
                "waiting": tally.waiting,
                "bytes": tally.bytes,
                "faults": dict(sorted(tally.faults.items())),
            }
            for name, tally in tallies.items()
        }
        typer.echo(json.dumps(told))
        return
    for name, tally in tallies.items():
        known = f", {tally.known} taken before" if tally.known else ""
        waiting = f", {tally.waiting} not whole yet" if tally.waiting else ""
        typer.echo(f"{name}: {tally.taken} files taken ({tally.bytes:,} bytes){known}{waiting}")
        for code, number in sorted(tally.faults.items()):
            typer.echo(f"{number:>6} × {code}: {FAULTS[code]}")
