"""Serve Prometheus metrics on loopback."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import start_http_server

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MetricsServer:
    """A running endpoint."""

    server: WSGIServer
    thread: Thread

    @property
    def port(self) -> int:
        """The port that it has, also where any was asked for."""
        return self.server.server_port

    def close(self) -> None:
        """Stop serving and free the port."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve_metrics(registry: CollectorRegistry, port: int, host: str = "127.0.0.1") -> MetricsServer:
    """Serve a registry at ``http://<host>:<port>/metrics`` from a thread of its own.

    Args:
        registry: what to serve.
        port: 0 for any free one.
        host: loopback unless told otherwise.

    Raises:
        ConfigError: ``METRICS-PORT`` where the port cannot be had.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError):
        raise ConfigError(
            "METRICS-PORT",
            "metrics cannot be served there; is the port taken?",
            setting="metrics_port",
            port=port,
        ) from None
    served = MetricsServer(server, thread)
    log.info("metrics_served", host=host, port=served.port)
    return served
