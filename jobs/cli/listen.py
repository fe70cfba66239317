"""``phl listen``: what senders send, into Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def listen_command(
    port: Annotated[
        int | None, typer.Option(help="Instead of listen.port, for MLLP; 0 for any free one.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve Prometheus metrics there (loopback).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Take messages by the protocols of the sources; each is acknowledged once Kafka has it.

    HL7 v2 over MLLP is answered AA (CA) when the message is stored on all in-sync replicas, AE (CE) when it could not
    be stored, AR (CR) when it cannot be a message. Ends with SIGTERM or Ctrl-C after answering what is under way.
    """
    import asyncio

    from prometheus_client import REGISTRY

    from jobs.listen import listen
    from jobs.metrics import serve_metrics
    from jobs.settings import load_settings

    settings = load_settings(config)
    wanted = metrics_port if metrics_port is not None else settings.listen.metrics_port
    served = serve_metrics(REGISTRY, wanted) if wanted is not None else None

    def ready(ports: dict[str, list[int]]) -> None:
        host = settings.listen.host
        metrics = served.port if served else None
        if as_json:
            report = {"host": host, "ports": ports["mllp"], "protocols": ports, "metrics_port": metrics}
            typer.echo(json.dumps(report))
        else:
            places = (f"{host}:{one} ({protocol})" for protocol, opened in ports.items() for one in opened)
            typer.echo(f"listening on {', '.join(places)}")

    asyncio.run(listen(settings, port, ready))
