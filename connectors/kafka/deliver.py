"""Records into Kafka: confirmed by all in-sync replicas, or said not to be.

Delivery: what was confirmed is there. What was not confirmed in time may still arrive: the sender sends again, and
    the lake takes a message only once.
Ordering: records of one key in the order they were handed over (idempotent producer), but for those whose sender
    was told that they failed.
Memory: whoever hands records over bounds what is under way; the producer's own queue has room for more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka.connection import KafkaConnection, kafka_error
from connectors.records import Record
from schemas.errors import ConfigError, IngestError, TransportError

log = structlog.get_logger(__name__)

DELIVERY_SECONDS = 10.0
"""How long Kafka may take to confirm a record before its sender hears that it was not stored."""

FLUSH_SECONDS = 120.0
_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_IN_FLIGHT_RECORDS = 50_000
_REPLACE_SECONDS = 10.0

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


def _is_fatal(error: KafkaError) -> bool:
    """Whether the producer will refuse everything from now on."""
    return error.fatal() or error.code() == KafkaError._FATAL


def _flushed(producer: Producer, patience: float) -> int:
    """Wait for all answers; how many are missing after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while len(producer) and time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):  # a fatal fault is told again at each call
            producer.flush(max(0.1, deadline - time.monotonic()))
    return len(producer)


@dataclass
class Deliverer:
    """Delivers records from an asyncio loop; one for all connections.

    A thread of its own polls for confirmations and wakes the loop once for all that came together. librdkafka's
    idempotent producer refuses all further work after some faults (such as a broker that came back without records
    that it had confirmed); it is replaced then, what it held is reported as not stored, and senders send it again.

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
    _broken: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Begin, inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._producer = make_producer(self.connection, self.delivery_seconds)
        self._thread = threading.Thread(target=self._poll, name="kafka-confirmations", daemon=True)
        self._thread.start()

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
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
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
                error = kafka_error(exception)
                if _is_fatal(error):
                    self._broken.set()
                raise delivery_error(error, record.topic) from None
        await future

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                self._producer.poll(0.1)
            except KafkaException:  # that is how a fatal fault is told
                self._broken.set()
            if self._broken.is_set():
                self._replace()

    def _replace(self) -> None:
        """In the polling thread: another producer instead of one that will never work again."""
        old = self._producer
        self._producer = make_producer(self.connection, self.delivery_seconds)
        self._broken.clear()
        old.purge()
        left = _flushed(old, _REPLACE_SECONDS)
        log.error("kafka_producer_replaced", unanswered=left)

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
        left = await asyncio.to_thread(_flushed, self._producer, self.delivery_seconds)
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        if left:
            log.warning("kafka_records_unconfirmed", records=left)


@dataclass
class _Flight:
    """Records handed over and not yet answered.

    Attributes:
        failed: why, of those that Kafka did not take.
    """

    records: int = 0
    bytes: int = 0
    delivered: int = 0
    failed: list[KafkaError] = field(default_factory=list)

    def has_room(self, size: int) -> bool:
        """Whether another record may go; a single one always may, however large."""
        return self.records == 0 or (
            self.records < _IN_FLIGHT_RECORDS and self.bytes + size <= _IN_FLIGHT_BYTES
        )

    def begin(
        self, record: Record, on_delivered: Callable[[Record], object]
    ) -> Callable[[KafkaError | None, Message], None]:
        """Count a record; returns what is to be called with the answer."""
        size = len(record.value)
        self.records += 1
        self.bytes += size

        def answered(error: KafkaError | None, _message: Message) -> None:
            self.records -= 1
            self.bytes -= size
            if error is not None:
                self.failed.append(error)
            else:
                self.delivered += 1
                on_delivered(record)

        return answered


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
    flight = _Flight()
    topic = ""
    try:
        for record in records:
            topic = record.topic
            while not flight.has_room(len(record.value)):
                producer.poll(0.05)
            if flight.failed:
                break
            _hand_over(producer, record, flight.begin(record, on_delivered))
            producer.poll(0)
        if flight.failed:
            producer.purge()
        producer.flush(delivery_seconds + 5)
    except KafkaException as exception:
        raise delivery_error(kafka_error(exception), topic) from None
    if flight.failed:
        raise delivery_error(flight.failed[0], topic)
    if flight.records:
        raise TransportError(
            "KAFKA-NOT-STORED",
            "Kafka did not confirm all records in time",
            topic=topic,
            records=flight.records,
        )
    return flight.delivered


def deliver_one(
    connection: KafkaConnection, record: Record, *, delivery_seconds: float = FLUSH_SECONDS
) -> tuple[int, int]:
    """Deliver a record; returns when Kafka has it.

    Returns:
        Its partition and offset.

    Raises:
        TransportError: ``KAFKA-NOT-STORED``.
        ConfigError: ``KAFKA-REFUSED``, ``KAFKA-SETTINGS``.
    """
    producer = make_producer(connection, delivery_seconds)
    failed: list[KafkaError] = []
    places: list[tuple[int, int]] = []

    def answered(error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None:
            failed.append(error)
        elif partition is not None and offset is not None:
            places.append((partition, offset))

    try:
        _hand_over(producer, record, answered)
        producer.flush(delivery_seconds + 5)
    except KafkaException as exception:
        raise delivery_error(kafka_error(exception), record.topic) from None
    if failed:
        raise delivery_error(failed[0], record.topic)
    if not places:
        raise TransportError(
            "KAFKA-NOT-STORED", "Kafka did not confirm the record in time", topic=record.topic
        )
    return places[0]


def _hand_over(
    producer: Producer, record: Record, answered: Callable[[KafkaError | None, Message], None]
) -> None:
    """Give a record to librdkafka, when its queue has room."""
    while True:
        try:
            producer.produce(
                record.topic, record.value, record.key, headers=list(record.headers), on_delivery=answered
            )
        except BufferError:
            producer.poll(0.1)
        else:
            return
