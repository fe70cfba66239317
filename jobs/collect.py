"""Taking in what laboratories drop: the sources with ``protocol = "files"``, wired to Kafka and the lake."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import structlog
from prometheus_client import Counter, Gauge

from connectors.kafka.deliver import deliver_all
from connectors.kafka.topics import ensure_topic
from connectors.records import Record
from connectors.result_files import FAULTS, LAB_TOPIC, Collector, Drop, FolderDrop, StoreDrop, Taken, Tally
from jobs.settings import Settings, SourceSettings
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from schemas.errors import ConfigError, TransportError

log = structlog.get_logger(__name__)

TAKEN = Counter("phl_collect_files", "Files that were taken.", ["source"])
WAITING = Gauge("phl_collect_waiting", "Files that may not be whole yet.", ["source"])
NOT_TAKEN = Gauge(
    "phl_collect_faults", "Files, or folders, that could not be read at the last look.", ["source", "code"]
)
ROUNDS = Counter(
    "phl_collect_looks", "Looks at where files are dropped: done, failed.", ["source", "outcome"]
)


def collectors(settings: Settings, names: Sequence[str]) -> list[Collector]:
    """A collector for each source that drops files, or for the named ones.

    Raises:
        ConfigError: ``CONFIG-SOURCE``: one is named that drops none, or there is none at all; ``CONFIG-MAPPING``.
    """
    dropping = {one.name: one for one in settings.source_settings if one.protocol == "files"}
    unknown = [name for name in names if name not in dropping]
    if unknown or not dropping:
        raise ConfigError(
            "CONFIG-SOURCE",
            'no source with protocol = "files" has this name'
            if unknown
            else 'no source has protocol = "files"',
            setting="--source" if unknown else "sources",
        )
    topic, sources = settings.kafka.topic_prefix + LAB_TOPIC, settings.sources()
    connection, store = settings.kafka_connection(), open_store(settings.lake_location())
    ensure_topic(
        connection, topic, settings.topic_partitions, replication_factor=settings.kafka.replication_factor
    )

    def deliver(records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
        deliver_all(connection, records, on_delivered)

    return [
        Collector(
            source=sources.get(one.name),
            drop=_drop(settings, one),
            taken=Taken(store, one.name),
            deliver=deliver,
            put=store.put_if_absent,
            pattern=one.glob,
            marker=one.done_marker,
            topic=topic,
            threshold=int(settings.listen.object_threshold),
            move_to=one.move_to,
        )
        for one in dropping.values()
        if not names or one.name in names
    ]


def _drop(settings: Settings, source: SourceSettings) -> Drop:
    path = source.path or ""
    if not path.startswith("s3://"):
        return FolderDrop(Path(path))
    lake = settings.lake_location()
    return StoreDrop(
        open_store(LakeLocation(path, lake.endpoint, lake.access_key, lake.secret_key, lake.region))
    )


def collect_once(settings: Settings, some: Sequence[Collector]) -> Mapping[str, Tally]:
    """Take what is there; where whole files are told by looking twice, look twice.

    Raises:
        TransportError, ConfigError: Kafka or the lake's store do not take it.
    """
    tallies = {one.source.name: one.round() for one in some}
    waiting = [one for one in some if tallies[one.source.name].waiting and not one.marker]
    if waiting:
        threading.Event().wait(max(settle_of(settings, one.source.name) for one in waiting))
    for one in waiting:
        first, second = tallies[one.source.name], one.round()
        second.taken += first.taken
        second.bytes += first.bytes
        second.known = first.known
        tallies[one.source.name] = second
    return tallies


def collect_every(some: Sequence[Collector], seconds: float, told: Callable[[str, Tally], object]) -> None:
    """Look again and again until SIGTERM or SIGINT; what does not answer is tried again."""
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    former = {one: signal.signal(one, ask) for one in (signal.SIGTERM, signal.SIGINT)}
    faults: dict[str, Mapping[str, int]] = {}
    try:
        while not stop.is_set():
            for one in some:
                try:
                    tally = one.round()
                except TransportError as error:
                    log.warning("collect_waits", source=one.source.name, code=error.code)
                    ROUNDS.labels(one.source.name, "failed").inc()
                    continue
                _count(one.source.name, tally)
                if tally.taken or tally.faults != faults.get(one.source.name, {}):
                    told(one.source.name, tally)
                faults[one.source.name] = tally.faults
            stop.wait(seconds)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _count(source: str, tally: Tally) -> None:
    ROUNDS.labels(source, "done").inc()
    TAKEN.labels(source).inc(tally.taken)
    WAITING.labels(source).set(tally.waiting)
    for code in FAULTS:
        NOT_TAKEN.labels(source, code).set(tally.faults[code])


def settle_of(settings: Settings, name: str) -> float:
    """How long a file of a source may be left alone by its writer before it is whole, in seconds."""
    return next(one.settle for one in settings.source_settings if one.name == name)
