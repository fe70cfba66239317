"""Run the listeners with the settings: producer, object store, sources, ports, metrics, signals.

Each protocol is a ``ProtocolService``; all of them share one process, one producer and one bound on memory.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from connectors.kafka.deliver import Deliverer
from connectors.kafka.topics import ensure_topic
from connectors.listening.budget import Budget
from connectors.listening.sources import Match, ports_of
from connectors.listening.tls import tls_context
from connectors.mllp.server import Listener, Service
from connectors.records import Record
from connectors.routing import HL7_TOPIC, StoredObject, store_large
from schemas.errors import ConfigError
from schemas.source import Source

if TYPE_CHECKING:
    from jobs.settings import Settings
    from lake_layout.objects import ObjectStore

log = structlog.get_logger(__name__)

FILES_BESIDE = 128
"""Open files beside the senders' connections: brokers, the object store, metrics, libraries."""


class Listening(Protocol):
    """A listener of one protocol."""

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a port (0 for any free one) and return it; raises OSError where it cannot be had."""

    async def close(self) -> None:
        """Take no more, answer what is under way, then end."""


@dataclass(frozen=True)
class Shared:
    """What the listeners of all protocols use together.

    Attributes:
        deliver: returns once Kafka has the record, raises where it has not.
        store: writes what is too large for Kafka to the lake's objects (bytes, name of the modality); blocking.
        budget: of the bytes that all of them hold.
    """

    deliver: Callable[[Record], Awaitable[None]]
    store: Callable[[bytes, str], StoredObject]
    budget: Budget


@dataclass(frozen=True)
class ProtocolService:
    """A protocol that is listened for.

    Attributes:
        name: as in the setting ``protocol`` of a source.
        topic: raw topic that its messages go to, with the configured prefix.
        ports: to be opened; 0 for any free one.
        connections: most that it holds open at a time.
        start: makes the listener.
    """

    name: str
    topic: str
    ports: Sequence[int]
    connections: int
    start: Callable[[Shared], Listening]


def mllp_service(settings: Settings, port: int | None) -> ProtocolService:
    """MLLP is always listened for: messages may come from senders that no source names."""
    topic = settings.kafka.topic_prefix + HL7_TOPIC
    matches = matches_of(settings, "mllp")

    def start(shared: Shared) -> Listener:
        service = Service(
            topic=topic,
            deliver=shared.deliver,
            store=lambda message: shared.store(message, "hl7v2"),
            matches=matches,
            default=default_source(settings),
            waits=settings.listen.when_away == "wait",
            threshold=int(settings.listen.object_threshold),
            max_connections=settings.listen.max_connections,
        )
        return Listener(service, shared.budget)

    wanted = ports_of(matches, settings.listen.port if port is None else port)
    return ProtocolService("mllp", topic, wanted, settings.listen.max_connections, start)


def services_of(settings: Settings, port: int | None) -> list[ProtocolService]:
    """The protocols that the sources speak.

    Args:
        settings: all settings.
        port: of MLLP, instead of ``listen.port``.

    Raises:
        ConfigError: ``LISTEN-PROTOCOL`` where a source speaks one that nothing listens for.
    """
    services = [mllp_service(settings, port)]
    spoken = {source.protocol for source in settings.source_settings}
    if "astm" in spoken:
        from jobs.listen_astm import astm_service

        services.append(astm_service(settings))
    if "dicom" in spoken:
        from jobs.listen_dicom import dicom_service  # late: pynetdicom takes a while to import

        services.append(dicom_service(settings))
    served = {service.name for service in services} | {"files"}
    for number, source in enumerate(settings.source_settings):
        if source.protocol not in served:
            raise ConfigError(
                "LISTEN-PROTOCOL", "phl listen does not speak that protocol",
                setting=f"sources[{number}].protocol",
            )  # fmt: skip
    return services


def matches_of(settings: Settings, protocol: str) -> tuple[Match, ...]:
    """The configured sources of a protocol that a listener can tell apart."""
    return tuple(
        Match(one.source(), one.port, one.peer, one.facility)
        for one in settings.source_settings
        if one.protocol == protocol
    )


def default_source(settings: Settings) -> Source:
    """The source of messages that no entry of ``[[sources]]`` matches."""
    return settings.sources().get(settings.listen.source)


def storing(settings: Settings) -> Callable[[bytes, str], StoredObject]:
    """Writes messages that are too large for Kafka to the lake; the lake is looked for at the first of them."""
    lock = threading.Lock()
    opened: list[ObjectStore] = []

    def store(message: bytes, modality: str) -> StoredObject:
        from lake_layout.objects import open_store

        with lock:
            if not opened:
                opened.append(open_store(settings.lake_location()))
        return store_large(message, opened[0].put_if_absent, modality)

    return store


def allow_open_files(wanted: int) -> None:
    """Let this process hold so many connections open, as far as the system's hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and soft != resource.RLIM_INFINITY:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("few_open_files", allowed=most, wanted=wanted, setting="listen.max_connections")


def tls_of(settings: Settings, port: int) -> ssl.SSLContext | None:
    """TLS at a port: that of its sources where they have their own, else the listener's.

    Raises:
        ConfigError: ``CONFIG-TLS``.
    """
    tls, setting = settings.listen.tls, "listen.tls"
    for number, source in enumerate(settings.source_settings):
        if source.port == port and source.tls is not None:
            tls, setting = source.tls, f"sources[{number}].tls"
    if tls is None:
        return None
    try:
        return tls_context(str(tls.cert), str(tls.key), str(tls.client_ca) if tls.client_ca else None)
    except (ssl.SSLError, OSError):
        raise ConfigError(
            "CONFIG-TLS", "certificate and key do not go together, or are not PEM files", setting=setting
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


async def listen(
    settings: Settings, port: int | None, ready: Callable[[dict[str, list[int]]], object]
) -> None:
    """Listen until SIGTERM or SIGINT; what is under way is answered first.

    Args:
        settings: all settings.
        port: of MLLP, instead of ``listen.port``; 0 for any free one.
        ready: called with the ports by protocol once they are open.

    Raises:
        ConfigError: a port, certificate or topic is not as it must be.
        TransportError: Kafka does not answer at the start.
    """
    services = services_of(settings, port)
    connection = settings.kafka_connection()
    for service in services:
        ensure_topic(
            connection, service.topic, settings.topic_partitions,
            replication_factor=settings.kafka.replication_factor,
        )  # fmt: skip
    deliverer = Deliverer(connection, settings.listen.delivery_seconds)
    deliverer.start()
    shared = Shared(deliverer.deliver, storing(settings), Budget(int(settings.listen.memory_limit)))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    allow_open_files(sum(service.connections for service in services) + FILES_BESIDE)
    listeners: list[Listening] = []
    opened: dict[str, list[int]] = {}
    for service in services:
        listener = service.start(shared)
        listeners.append(listener)
        opened[service.name] = []
        for wanted in service.ports:
            tls = tls_of(settings, wanted)
            try:
                opened[service.name].append(await listener.open(settings.listen.host, wanted, tls))
            except (OSError, OverflowError, UnicodeError) as error:
                raise _not_open(settings, wanted, error) from None
        log.info(
            "listening", protocol=service.name, host=settings.listen.host, ports=opened[service.name],
            topic=service.topic,
        )  # fmt: skip
    ready(opened)
    await stop.wait()
    log.info("listener_stops")
    await asyncio.gather(*(listener.close() for listener in listeners))
    await deliverer.close()
