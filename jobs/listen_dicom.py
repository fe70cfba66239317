"""``phl listen`` for DICOM: the listener's threads beside the loop that delivers to Kafka."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Final

from connectors.dicom.record import DICOM_TOPIC
from connectors.dicom.server import DicomListener, DicomService
from connectors.dicom.sources import DicomSource
from connectors.dicom.spool import open_spool_folder
from connectors.dicom.storage import Keep
from connectors.records import Record
from jobs.listen import ProtocolService, Shared
from schemas.errors import ConfigError, TransportError

if TYPE_CHECKING:
    from jobs.settings import Settings
    from lake_layout.objects import ObjectStore

FILES_EACH: Final = 4
"""Open files of an association: its socket, its object on disk, the store, a header written anew."""

_SLACK: Final = 30.0


class DicomListening:
    """The listener's threads, as ``jobs.listen`` wants a listener to be."""

    def __init__(self, listener: DicomListener) -> None:
        self._listener = listener

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        return self._listener.open(host, port, tls)

    async def close(self) -> None:
        """The loop goes on meanwhile: objects that are under way are delivered by it."""
        await asyncio.to_thread(self._listener.close)


def dicom_sources(settings: Settings) -> tuple[DicomSource, ...]:
    """The configured sources whose objects come by C-STORE."""
    return tuple(
        DicomSource(
            one.source(), one.port, one.ae_title, one.calling_ae_titles, one.peer, one.max_associations
        )
        for one in settings.source_settings
        if one.protocol == "dicom" and one.port is not None
    )


def dicom_service(settings: Settings) -> ProtocolService:
    """C-STORE and C-ECHO at the ports of the sources of protocol ``dicom``."""
    topic = settings.kafka.topic_prefix + DICOM_TOPIC
    sources = dicom_sources(settings)

    def start(shared: Shared) -> DicomListening:
        folder = settings.state_dir / "spool" / "dicom"
        try:
            open_spool_folder(folder)
        except OSError:
            raise ConfigError(
                "CONFIG-STATE-DIR", "the folder for objects on their way in cannot be written",
                setting="state_dir",
            ) from None  # fmt: skip
        keep = Keep(
            put=_LakeObjects(settings).put,
            deliver=_delivering(shared, settings.listen.delivery_seconds),
            folder=folder,
            topic=topic,
            threshold=int(settings.listen.object_threshold),
        )
        return DicomListening(DicomListener(DicomService(sources, keep, settings.listen.max_associations)))

    ports = sorted({one.port for one in sources})
    return ProtocolService("dicom", topic, ports, settings.listen.max_associations * FILES_EACH, start)


class _LakeObjects:
    """The lake's store, looked for at the first object."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: ObjectStore | None = None

    def put(self, path: str, file: IO[bytes], size: int, sha256: str) -> None:
        from lake_layout.objects import open_store

        with self._lock:
            if self._store is None:
                self._store = open_store(self._settings.lake_location())
        self._store.put_file(path, file, size, sha256)


def _delivering(shared: Shared, delivery_seconds: float) -> Callable[[Record], None]:
    """Delivers from a thread, by the loop that this is called in."""
    loop = asyncio.get_running_loop()

    async def deliver(record: Record) -> None:
        await shared.deliver(record)

    def delivered(record: Record) -> None:
        waiting = asyncio.run_coroutine_threadsafe(deliver(record), loop)
        try:
            waiting.result(delivery_seconds + _SLACK)
        except concurrent.futures.TimeoutError:
            waiting.cancel()
            raise TransportError(
                "KAFKA-NOT-STORED", "Kafka did not take the record in time", topic=record.topic
            ) from None

    return delivered
