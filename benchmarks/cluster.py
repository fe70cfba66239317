"""A Kafka and an S3 store of the benchmark's own, with an empty lake and an empty topic."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.deliver import deliver_all
from connectors.kafka.topics import ensure_topic
from connectors.records import Record
from connectors.routing import HL7_TOPIC, record_for
from jobs.services.kafka import start_kafka
from jobs.services.processes import stop
from jobs.services.s3 import start_s3
from schemas.hl7v2.header import read_header
from schemas.source import Source


@dataclass(frozen=True)
class Cluster:
    """Running services and the environment of a ``phl`` that uses them.

    Attributes:
        env: names the services.
        connection: to Kafka.
        pids: of the services, by name.
    """

    env: dict[str, str]
    connection: KafkaConnection
    pids: Mapping[str, int]

    def produce(self, messages: Iterable[bytes]) -> int:
        """Fill the raw topic as a connector would; returns the bytes of all messages."""
        ensure_topic(self.connection, HL7_TOPIC, 4)
        source = Source("bench")
        now = datetime.now(UTC)
        size = 0

        def records() -> Iterator[Record]:
            nonlocal size
            for message in messages:
                size += len(message)
                yield record_for(message, read_header(message), source, now)

        deliver_all(self.connection, records(), lambda _: None)
        return size


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start the services in a folder; end them with the block."""
    kafka = start_kafka(folder / "kafka", folder / "kafka.log", preferred_port=None, heap_mebibytes=1024)
    store = start_s3(folder / "s3", folder / "s3.log", preferred_port=None)
    try:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PHL_")} | {
            "PHL_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "PHL_LAKE_URI": f"s3://{store.bucket}/bench-{time.time_ns()}/",
            "PHL_S3_ENDPOINT": store.endpoint,
            "PHL_S3_ACCESS_KEY": store.access_key,
            "PHL_S3_SECRET_KEY": store.secret_key,
            "PHL_STATE_DIR": str(folder / "state"),
            "PHL_LOG_LEVEL": os.environ.get("PHL_LOG_LEVEL", "warning"),
        }
        pids = {"Kafka broker": kafka.process.pid, "S3 store": store.process.pid}
        yield Cluster(env, KafkaConnection({"bootstrap.servers": kafka.bootstrap}), pids)
    finally:
        stop(kafka.process, 30)
        stop(store.process, 30)
