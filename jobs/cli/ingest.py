"""``phl ingest``: Kafka → raw → normalised → curated tables, once or for ever; ``phl curate``: the last step alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.durations import seconds
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

    from jobs.settings import Settings


STAGES = ("land", "normalise", "curate")


def ingest_command(
    once: Annotated[bool, typer.Option("--once", help="Take in what is there, then end.")] = False,
    every: Annotated[str | None, typer.Option(help="Look for new messages this often, such as 5s.")] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Only this stage: land, normalise or curate; may be given again."),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics there (loopback).")
    ] = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Go on behind offsets that Kafka no longer has (with --once)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Take messages from Kafka into the lake: land every byte, normalise and deduplicate, curate what is true now.

    --once ends when nothing is left; --every 5s goes on until Ctrl-C and starts a stage again when it fails.
    """
    if once == (every is not None):
        raise ConfigError(
            "CONFIG-INGEST", "give either --once or --every DURATION", setting="--once, --every"
        )
    if not set(stage or ()) <= set(STAGES):
        raise ConfigError("CONFIG-INGEST", "--stage is land, normalise or curate", setting="--stage")
    if accept_loss and not once:
        raise ConfigError(
            "CONFIG-INGEST", "--accept-loss goes with --once: a decision for one run", setting="--accept-loss"
        )
    from jobs.settings import load_settings

    settings = load_settings(config)
    stages = [name for name in STAGES if not stage or name in stage]
    if once:
        _once(settings, stages, config, accept_loss=accept_loss, as_json=as_json)
    else:
        port = metrics_port if metrics_port is not None else settings.ingest.metrics_port
        pause = seconds(str(every), "--every")
        pauses = {
            name: settings.curate.every if name == "curate" and len(stages) > 1 else pause for name in stages
        }
        _for_ever(pauses, port, config)


def curate_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Fold the normalised rows that are new into the curated tables: what is true now; who is who; codes."""
    from jobs.settings import load_settings

    _once(load_settings(config), ["curate"], config, accept_loss=False, as_json=as_json)


def _once(
    settings: Settings, stages: list[str], config: Path | None, *, accept_loss: bool, as_json: bool
) -> None:
    from jobs.landing_beside import leave_landing, start_landing, wait_to_begin

    beside = {"land", "normalise"} <= set(stages)
    landing = start_landing(config, accept_loss=accept_loss) if beside else None
    try:
        from jobs.ingest_once import StageFailedError, curate_once, ingest_once, ingest_side_by_side
        from jobs.wiring import contexts
        from pipelines.batch_memory import keep_memory

        keep_memory()
        wired = contexts(settings, accept_loss=accept_loss)
        if landing is None:
            if not wait_to_begin():
                return
            report = ingest_once(wired, stages)
        else:
            report = ingest_side_by_side(wired, landing)
            report |= curate_once(wired) if "curate" in stages else {}
    except StageFailedError as failed:
        raise typer.Exit(failed.exit_code) from None
    finally:
        if landing is not None:
            leave_landing(landing)
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, done in report.items():
        found = ", ".join(f"{key} {count}" for key, count in done["dispositions"].items() if count)
        typer.echo(
            f"{name}: {done['messages']} {'messages' if ' ' in name else 'rows'} in {done['batches']} batches, "
            f"{done['seconds']:.1f} s" + (f" ({found})" if found else "")
        )


def _for_ever(pauses: Mapping[str, float], port: int | None, config: Path | None) -> None:
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with tempfile.TemporaryDirectory(prefix="phl-metrics-") as folder:
        if port is not None:
            # Read when the metrics are imported, by the workers and below; this process serves the sum.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            _serve(folder, port, list(pauses))
        from jobs.supervise import Worker, supervise, worker_command

        workers = [Worker(stage, worker_command(stage, every, config)) for stage, every in pauses.items()]
        supervise(workers, lambda: bool(asked))
    sys.stderr.flush()


def _serve(folder: str, port: int, stages: list[str]) -> None:
    from prometheus_client import CollectorRegistry

    from jobs.metrics import serve_metrics
    from jobs.stage_metrics import StageCollector, begin
    from pipelines.modalities import MODALITIES

    begin(stages, [modality.name for modality in MODALITIES])
    registry = CollectorRegistry()
    registry.register(StageCollector(folder))
    serve_metrics(registry, port)
