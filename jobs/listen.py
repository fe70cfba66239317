"""Run the listener with the settings: producer, object store, sources, ports, metrics, signals."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from connectors.kafka.deliver import Deliverer
from connectors.kafka.topics import ensure_topic
from connectors.mllp.server import Listener, Service, ports_of, tls_context
from connectors.mllp.sources import Match
from connectors.routing import HL7_TOPIC, StoredObject, store_large
from schemas.errors import ConfigError
from schemas.source import Source

if TYPE_CHECKING:
    from jobs.settings import Settings
    from lake_layout.objects import ObjectStore

log = structlog.get_logger(__name__)

FILES_BESIDE = 128
"""Open files beside the senders' connections: brokers, the object store, metrics, libraries."""


def matches_of(settings: Settings) -> tuple[Match, ...]:
    """The configured sources that a listener can tell apart."""
    return tuple(Match(one.source(), one.port, one.peer, one.facility) for one in settings.source_settings)


def default_source(settings: Settings) -> Source:
    """The source of messages that no entry of ``[[sources]]`` matches."""
    return settings.sources().get(settings.listen.source)


def storing(settings: Settings) -> Callable[[bytes], StoredObject]:
    """Writes messages that are too large for Kafka to the lake; the lake is looked for at the first of them."""
    lock = threading.Lock()
    opened: list[ObjectStore] = []

    def store(message: bytes) -> StoredObject:
        from lake_layout.objects import open_store

        with lock:
            if not opened:
                opened.append(open_store(settings.lake_location()))
        return store_large(message, opened[0].put_if_absent)

    return store


def allow_open_files(wanted: int) -> None:
    """Let this process hold so many connections open, as far as the system's hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and soft != resource.RLIM_INFINITY:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("few_open_files", allowed=most, wanted=wanted, setting="listen.max_connections")


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """TLS of the listener.

    Raises:
        ConfigError: ``CONFIG-TLS``.
    """
    tls = settings.listen.tls
    if tls is None:
        return None
    try:
        return tls_context(str(tls.cert), str(tls.key), str(tls.client_ca) if tls.client_ca else None)
    except (ssl.SSLError, OSError):
        raise ConfigError(
            "CONFIG-TLS", "certificate and key do not go together, or are not PEM files", setting="listen.tls"
        ) from None


def _not_open(settings: Settings, port: int, error: Exception) -> ConfigError:
    """Which setting it is that keeps a port from being opened."""
    host = settings.listen.host
    no_host = isinstance(error, socket.gaierror | UnicodeError)
    if no_host or getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
        return ConfigError(
            "LISTEN-HOST", "this machine has no such address to listen on", setting="listen.host", host=host
        )
    owner = next((n for n, one in enumerate(settings.source_settings) if one.port == port), None)
    return ConfigError(
        "LISTEN-PORT", "the port cannot be had; does something else listen there?",
        setting="listen.port" if owner is None else f"sources[{owner}].port", host=host, port=port,
    )  # fmt: skip


async def listen(settings: Settings, port: int | None, ready: Callable[[list[int]], object]) -> None:
    """Listen until SIGTERM or SIGINT; what is under way is answered first.

    Args:
        settings: all settings.
        port: instead of ``listen.port``; 0 for any free one.
        ready: called with the ports once they are open.

    Raises:
        ConfigError: a port, certificate or topic is not as it must be.
        TransportError: Kafka does not answer at the start.
    """
    connection = settings.kafka_connection()
    topic = settings.kafka.topic_prefix + HL7_TOPIC
    ensure_topic(
        connection, topic, settings.topic_partitions, replication_factor=settings.kafka.replication_factor
    )
    deliverer = Deliverer(connection, settings.listen.delivery_seconds)
    deliverer.start()
    service = Service(
        topic=topic,
        deliver=deliverer.deliver,
        store=storing(settings),
        matches=matches_of(settings),
        default=default_source(settings),
        waits=settings.listen.when_away == "wait",
        threshold=int(settings.listen.object_threshold),
        memory_limit=int(settings.listen.memory_limit),
        max_connections=settings.listen.max_connections,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    allow_open_files(service.max_connections + FILES_BESIDE)
    listener = Listener(service)
    tls = tls_of(settings)
    opened = []
    for wanted in ports_of(service.matches, settings.listen.port if port is None else port):
        try:
            opened.append(await listener.open(settings.listen.host, wanted, tls))
        except (OSError, OverflowError, UnicodeError) as error:
            raise _not_open(settings, wanted, error) from None
    log.info("listening", host=settings.listen.host, ports=opened, topic=topic)
    ready(opened)
    await stop.wait()
    log.info("listener_stops", connections=len(listener.connections))
    await listener.close()
    await deliverer.close()
