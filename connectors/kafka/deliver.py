"""Records into Kafka: confirmed by all in-sync replicas, or said not to be.

Delivery: what was confirmed is there. What was not confirmed in time may still arrive: the sender sends again, and
    the lake takes a message only once.
Ordering: records of one key in the order they were handed over (idempotent producer), but for those whose sender
    was told that they failed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka.connection import KafkaConnection
from connectors.records import Record
from schemas.errors import ConfigError, IngestError, TransportError

log = structlog.get_logger(__name__)

DELIVERY_SECONDS = 10.0
"""How long Kafka may take to confirm a record before its sender hears that it was not stored."""

FLUSH_SECONDS = 120.0
_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_IN_FLIGHT_RECORDS = 50_000

_SETTINGS: dict[str, str | int | bool] = {
    "linger.ms": 2,
    "compression.type": "lz4",
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 512 * 1024,
    "message.max.bytes": 1_048_576,
    "reconnect.backoff.max.ms": 1_000,
    "partitioner": "murmur2_random",  # as Kafka's own clients part keys
}
_FIXED: dict[str, str | int | bool] = {"enable.idempotence": True, "acks": "all"}

_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
    }
)


def make_producer(connection: KafkaConnection, delivery_seconds: float) -> Producer:
    """An idempotent producer that waits for all in-sync replicas.

    Raises:
        ConfigError: ``KAFKA-SETTINGS``.
    """
    preferred = {
        **_SETTINGS,
        "delivery.timeout.ms": int(delivery_seconds * 1000),
        "socket.timeout.ms": 10_000,
    }
    return connection.producer(preferred, _FIXED)


def delivery_error(error: KafkaError, topic: str) -> IngestError:
    """What a failed delivery means, without librdkafka's text."""
    if error.code() in _REFUSED:
        return ConfigError(
            "KAFKA-REFUSED", "Kafka refuses the record; see size limits and access rules", topic=topic,
            kafka_error=error.name(),
        )  # fmt: skip
    return TransportError(
        "KAFKA-NOT-STORED", "Kafka did not confirm the record in time", topic=topic, kafka_error=error.name()
    )


@dataclass
class Deliverer:
    """Delivers records from an asyncio loop; one for all connections.

    A thread of its own polls for confirmations and wakes the loop once for all that came together.

    Attributes:
        connection: where to.
        delivery_seconds: patience for one record.
    """

    connection: KafkaConnection
    delivery_seconds: float = DELIVERY_SECONDS
    _producer: Producer = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _confirmed: deque[tuple[asyncio.Future[None], KafkaError | None, str]] = field(default_factory=deque)
    _woken: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin, inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._producer = make_producer(self.connection, self.delivery_seconds)
        threading.Thread(target=self._poll, name="kafka-confirmations", daemon=True).start()

    async def deliver(self, record: Record) -> None:
        """Return once Kafka has the record.

        Raises:
            TransportError: ``KAFKA-NOT-STORED``, after ``delivery_seconds``.
            ConfigError: ``KAFKA-REFUSED``.
        """
        future: asyncio.Future[None] = self._loop.create_future()

        def confirmed(error: KafkaError | None, _message: Message) -> None:
            self._confirmed.append((future, error, record.topic))
            if not self._woken:
                self._woken = True
                self._loop.call_soon_threadsafe(self._settle)

        deadline = time.monotonic() + self.delivery_seconds
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=confirmed,
                )
                break
            except BufferError:
                if time.monotonic() > deadline:
                    raise TransportError(
                        "KAFKA-NOT-STORED", "Kafka did not take the record in time", topic=record.topic
                    ) from None
                await asyncio.sleep(0.02)
            except KafkaException as exception:
                error = exception.args[0]
                raise delivery_error(error, record.topic) from None
        await future

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)

    def _settle(self) -> None:
        """In the loop: tell all whose answer has come."""
        self._woken = False
        while self._confirmed:
            future, error, topic = self._confirmed.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(delivery_error(error, topic))

    async def close(self) -> None:
        """Wait for what is under way, then end."""
        await asyncio.to_thread(self._producer.flush, self.delivery_seconds)
        self._stop.set()


def deliver_all(
    connection: KafkaConnection,
    records: Iterable[Record],
    on_delivered: Callable[[Record], object],
    *,
    delivery_seconds: float = FLUSH_SECONDS,
) -> int:
    """Deliver records one after the other, many under way at once; returns when Kafka has them all.

    Args:
        connection: where to.
        records: read no faster than Kafka confirms: 64 MiB or 50,000 records are under way at most.
        on_delivered: called for each confirmed record.
        delivery_seconds: patience for one record.

    Returns:
        how many were delivered.

    Raises:
        TransportError: ``KAFKA-NOT-STORED``: all that were confirmed before are there; run again.
        ConfigError: ``KAFKA-REFUSED``, ``KAFKA-SETTINGS``.
    """
    producer = make_producer(connection, delivery_seconds)
    failed: list[KafkaError] = []
    flight = {"records": 0, "bytes": 0, "delivered": 0}

    def callback(record: Record) -> Callable[[KafkaError | None, Message], None]:
        size = len(record.value)

        def confirmed(error: KafkaError | None, _message: Message) -> None:
            flight["records"] -= 1
            flight["bytes"] -= size
            if error is not None:
                failed.append(error)
            else:
                flight["delivered"] += 1
                on_delivered(record)

        return confirmed

    topic = ""
    for record in records:
        topic = record.topic
        while flight["records"] >= _IN_FLIGHT_RECORDS or (
            flight["records"] and flight["bytes"] + len(record.value) > _IN_FLIGHT_BYTES
        ):
            producer.poll(0.05)
        if failed:
            break
        flight["records"] += 1
        flight["bytes"] += len(record.value)
        try:
            while True:
                try:
                    producer.produce(
                        record.topic,
                        record.value,
                        record.key,
                        headers=list(record.headers),
                        on_delivery=callback(record),
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        except KafkaException as exception:
            raise delivery_error(exception.args[0], record.topic) from None
        producer.poll(0)
    left = producer.flush(delivery_seconds + 5)
    if failed:
        raise delivery_error(failed[0], topic)
    if left:
        raise TransportError(
            "KAFKA-NOT-STORED", "Kafka did not confirm all records in time", topic=topic, records=left
        )
    return flight["delivered"]
