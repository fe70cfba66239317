"""``phl ingest``: Kafka → raw → normalised tables, once or for ever."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.durations import seconds
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

    from jobs.settings import Settings


def ingest_command(
    once: Annotated[bool, typer.Option("--once", help="Take in what is there, then end.")] = False,
    every: Annotated[str | None, typer.Option(help="Look for new messages this often, such as 5s.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only this stage: land or normalise.")] = None,
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
    """Take messages from Kafka into the lake: land every byte, then normalise and deduplicate.

    --once ends when nothing is left; --every 5s goes on until Ctrl-C and starts a stage again when it fails.
    """
    if once == (every is not None):
        raise ConfigError(
            "CONFIG-INGEST", "give either --once or --every DURATION", setting="--once, --every"
        )
    if stage not in (None, "land", "normalise"):
        raise ConfigError("CONFIG-INGEST", "--stage is land or normalise", setting="--stage")
    if accept_loss and not once:
        raise ConfigError(
            "CONFIG-INGEST", "--accept-loss goes with --once: a decision for one run", setting="--accept-loss"
        )
    from jobs.settings import load_settings

    settings = load_settings(config)
    stages = [stage] if stage else ["land", "normalise"]
    if once:
        _once(settings, stages, config, accept_loss=accept_loss, as_json=as_json)
    else:
        port = metrics_port if metrics_port is not None else settings.ingest.metrics_port
        _for_ever(stages, seconds(str(every), "--every"), port, config)


def _once(
    settings: Settings, stages: list[str], config: Path | None, *, accept_loss: bool, as_json: bool
) -> None:
    from jobs.landing_beside import leave_landing, start_landing, wait_to_begin

    landing = None if len(stages) == 1 else start_landing(config, accept_loss=accept_loss)
    try:
        from jobs.batch_memory import keep_memory
        from jobs.ingest_once import StageFailedError, ingest_once, ingest_side_by_side
        from jobs.wiring import contexts

        keep_memory()
        wired = contexts(settings, accept_loss=accept_loss)
        if landing is None:
            if not wait_to_begin():
                return
            report = ingest_once(wired, stages)
        else:
            report = ingest_side_by_side(wired, landing)
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
            f"{name}: {done['messages']} messages in {done['batches']} batches, {done['seconds']:.1f} s"
            + (f" ({found})" if found else "")
        )


def _for_ever(stages: list[str], every: float, port: int | None, config: Path | None) -> None:
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with tempfile.TemporaryDirectory(prefix="phl-metrics-") as folder:
        if port is not None:
            # Read when the metrics are imported, by the workers and below; this process serves the sum.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            _serve(folder, port, stages)
        from jobs.supervise import Worker, supervise, worker_command

        workers = [Worker(stage, worker_command(stage, every, config)) for stage in stages]
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
