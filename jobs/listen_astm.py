"""Listen for laboratory instruments: what the listener needs of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.astm.messages import LAB_TOPIC
from connectors.astm.server import Listener, Service
from jobs.listen import ProtocolService, Shared, matches_of

if TYPE_CHECKING:
    from jobs.settings import Settings


def astm_service(settings: Settings) -> ProtocolService:
    """The listener of sources with ``protocol = "astm"``, each at its port."""
    topic = settings.kafka.topic_prefix + LAB_TOPIC
    matches = matches_of(settings, "astm")

    def start(shared: Shared) -> Listener:
        service = Service(
            topic=topic,
            deliver=shared.deliver,
            store=lambda message: shared.store(message, "lab"),
            matches=matches,
            threshold=int(settings.listen.object_threshold),
            max_connections=settings.listen.max_connections,
        )
        return Listener(service, shared.budget)

    ports = sorted({match.port for match in matches if match.port is not None})
    return ProtocolService("astm", topic, ports, settings.listen.max_connections, start)
