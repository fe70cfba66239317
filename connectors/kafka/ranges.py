"""Kafka as a source of committed versions: plan offset ranges, read them, prove that the topic is still the same.

Delivery: a range names its records for ever (topic id, partition, offset), so reading it again gives the same
    records; exactly once comes from whoever commits ``end`` together with the rows.
Ordering: within a range, by offset. Ranges are independent of each other.

Topics are read from their own start to the high watermark (last stable offset) as it was when the plan was made.
Nothing is skipped in silence: what retention removed before it was landed, a log that ends below what was landed,
and a topic that was deleted and created anew while it was read are errors that name the offsets.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from connectors.kafka.connection import KafkaConnection, kafka_error, unreachable
from connectors.kafka.faults import (
    DENIED,
    OUT_OF_RANGE,
    PASSING,
    PATIENCE,
    UNKNOWN_TOPIC,
    denied,
    replaced,
    retention_passed,
    truncated,
)
from connectors.kafka.topics import (
    TopicState,
    describe_topic,
    ensure_topic,
    require_same_topic,
    same_topic,
)
from schemas.errors import IngestError, LakeError, TransportError

__all__ = [
    "OffsetRange",
    "Records",
    "TopicState",
    "describe_topic",
    "ensure_topic",
    "plan_ranges",
    "range_of_app_id",
    "read_range",
    "require_same_topic",
    "same_topic",
    "share_out",
    "split_ranges",
]

log = structlog.get_logger(__name__)

CHUNK_MESSAGES: Final = 25_000

CHUNK_BYTES: Final = 32 * 1024 * 1024

_CONSUMED: Final = 2_500
"""Records that are taken over from librdkafka at once."""

_NO_HEADERS: Final[Mapping[str, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class OffsetRange:
    """Offsets [start, end) of one partition of one life of a topic."""

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int

    @property
    def app_id(self) -> str:
        """What progress on this partition is kept under; its version is the next offset to land."""
        return app_id(self.topic, self.topic_id, self.partition)

    def __len__(self) -> int:
        return max(0, self.end - self.start)


@dataclass(frozen=True)
class Records:
    """Some records of a range, as columns of equal length in the order of offsets.

    Attributes:
        offsets: of each record.
        timestamps: milliseconds since 1970, -1 where Kafka has none.
        values: the bytes; None for a tombstone.
        headers: name → value; of a repeated name the last value, of a null value nothing.
        missing: offset ranges [first, end) since the chunk before that hold no record, though they lie in the
            range: a producer's transaction markers or aborted transactions, or a compacted log.
    """

    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes | None]
    headers: Sequence[Mapping[str, bytes]]
    missing: Sequence[tuple[int, int]] = field(default=())

    def __len__(self) -> int:
        return len(self.offsets)


def app_id(topic: str, topic_id: str, partition: int) -> str:
    """``land:<topic>:<topic id>:<partition>``; none of the parts can hold a colon."""
    return f"land:{topic}:{topic_id}:{partition}"


def range_of_app_id(app: str, start: int, end: int) -> OffsetRange:
    """The range that an app id and two offsets stand for.

    Raises:
        LakeError: ``LAND-APP-ID``: not an app id of the land stage.
    """
    parts = app.split(":")
    if len(parts) != 4 or parts[0] != "land" or not parts[3].isdecimal():
        raise LakeError(
            "LAND-APP-ID", "progress of the land stage is kept under a name it does not know", app_id=app
        )
    return OffsetRange(parts[1], parts[2], int(parts[3]), start, end)


def plan_ranges(
    state: TopicState,
    position: Callable[[str], int | None],
    limit: int | None = None,
    *,
    accept_loss: bool = False,
) -> list[OffsetRange]:
    """What is to be landed next: at most one range a partition, in the order of partitions.

    A topic id that was never landed starts at offset 0, whatever an earlier topic of the same name had. Partitions
    that were added later are new in the same way.

    Where retention removed records that were not landed yet (also those before a first landing: nobody can tell
    whether they were acknowledged to a sender) this is an error. It is the operator's to say that what is lost is
    lost, by ``accept_loss``: the range then starts at the first record left and the loss is logged.

    Args:
        state: from ``describe_topic``.
        position: app id → next offset to land, None where nothing was landed.
        limit: most messages of all ranges together; shared out so that no partition starves.
        accept_loss: go on after records were lost by retention.

    Raises:
        LakeError: ``KAFKA-RETENTION-PASSED`` with ``first_lost`` and ``last_lost``; ``KAFKA-LOG-TRUNCATED`` where the
            log ends below what was landed. The latter can't be accepted, for offsets would come to name two
            different messages: the topic must be deleted and created anew.
    """
    starts: dict[int, int] = {}
    for partition, (low, high) in sorted(state.partitions.items()):
        landed = position(app_id(state.topic, state.topic_id, partition)) or 0
        if high < landed:
            raise truncated(state.topic, partition, high, landed)
        if landed < low:
            if not accept_loss:
                raise retention_passed(state.topic, partition, landed, low)
            log.warning(
                "kafka_loss_accepted", topic=state.topic, topic_id=state.topic_id, partition=partition,
                first_lost=landed, last_lost=low - 1,
            )  # fmt: skip
        starts[partition] = max(landed, low)
    backlog = {partition: state.partitions[partition][1] - start for partition, start in starts.items()}
    shares = backlog if limit is None else share_out(backlog, limit)
    return [
        OffsetRange(state.topic, state.topic_id, partition, start, start + shares[partition])
        for partition, start in starts.items()
        if shares[partition] > 0
    ]


def share_out(backlog: Mapping[int, int], limit: int) -> dict[int, int]:
    """Divide ``limit`` among partitions: equal shares, and what small ones leave goes to the others.

    The shares add up to min(limit, sum of the backlog).
    """
    shares: dict[int, int] = {}
    left = limit
    for place, partition in enumerate(sorted(backlog, key=lambda number: (backlog[number], number))):
        fair = -(-left // (len(backlog) - place))
        shares[partition] = min(backlog[partition], fair)
        left -= shares[partition]
    return shares


def split_ranges(ranges: Iterable[OffsetRange], messages: int) -> list[OffsetRange]:
    """Cut ranges into pieces of nearly equal size, of at most ``messages`` each, so that workers share them."""
    pieces: list[OffsetRange] = []
    for whole in ranges:
        size = len(whole)
        count = -(-size // max(1, messages))
        cuts = [whole.start + size * cut // count for cut in range(count + 1)] if count else []
        pieces += [
            OffsetRange(whole.topic, whole.topic_id, whole.partition, start, end)
            for start, end in itertools.pairwise(cuts)
        ]
    return pieces


def read_range(
    connection: KafkaConnection,
    offsets: OffsetRange,
    *,
    chunk_messages: int = CHUNK_MESSAGES,
    chunk_bytes: int = CHUNK_BYTES,
    patience: float = PATIENCE,
) -> Iterator[Records]:
    """Read all records of a range.

    Memory: a chunk (``chunk_bytes`` and one fetch more), and librdkafka's queue, up to 64 MiB.

    Args:
        connection: where.
        offsets: what.
        chunk_messages: most records of a chunk.
        chunk_bytes: a chunk ends with the record that brings its values to this size.
        patience: seconds without progress after which Kafka counts as away.

    Yields:
        Chunks in the order of offsets, none empty but for a range without any record.

    Raises:
        TransportError: ``KAFKA-READ-STALLED``, ``KAFKA-UNREACHABLE``, ``KAFKA-READ-FAILED``.
        LakeError: ``KAFKA-RETENTION-PASSED``, ``KAFKA-LOG-TRUNCATED``, ``KAFKA-TOPIC-REPLACED``, at the latest
            after the last chunk.
        ConfigError: ``KAFKA-DENIED``.
    """
    if not len(offsets):
        return
    reader = _Reader(connection, offsets, chunk_messages, chunk_bytes, patience)
    try:
        yield from reader.chunks()
    finally:
        reader.close()
    require_same_topic(connection, offsets.topic, offsets.topic_id, patience)


class _Reader:
    """One consumer on one range."""

    def __init__(
        self,
        connection: KafkaConnection,
        offsets: OffsetRange,
        chunk_messages: int,
        chunk_bytes: int,
        patience: float,
    ) -> None:
        self.connection, self.range, self.patience = connection, offsets, patience
        self.chunk_messages, self.chunk_bytes = chunk_messages, chunk_bytes
        self.next = offsets.start
        self.last_fault: KafkaError | None = None
        self.consumer = _range_consumer(connection, offsets, self._remember)

    def _remember(self, error: KafkaError) -> None:
        self.last_fault = error

    def close(self) -> None:
        self.consumer.close()

    def chunks(self) -> Iterator[Records]:
        """Records in chunks; the caller closes the reader."""
        end = self.range.end
        chunk = _Chunk()
        yielded = False
        self._assign()
        heard = time.monotonic()
        while self.next < end:
            # no more than is left, or it would wait for what is not to come
            batch = self._consume(min(self.chunk_messages - len(chunk), _CONSUMED, end - self.next))
            before = self.next
            for part in self._whole_or_single(batch, self.chunk_bytes - chunk.size):
                self._add(chunk, part)
                if chunk.size >= self.chunk_bytes or len(chunk) >= self.chunk_messages:
                    yield self._told(chunk)
                    yielded = True
                    chunk = _Chunk()
                    heard = time.monotonic()  # the time a caller takes is not Kafka's
                if self.next >= end:
                    break
            if self.next > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > self.patience:
                raise self._stalled()
        if len(chunk) or chunk.missing or not yielded:
            yield self._told(chunk)

    def _whole_or_single(self, batch: list[Message], room: int) -> Iterator[list[Message]]:
        """What was consumed as a whole, if it is records one after the other and fits, else one at a time."""
        expected = range(self.next, self.next + len(batch))
        if (
            batch
            and all(message.error() is None for message in batch)
            and [message.offset() for message in batch] == list(expected)
            and sum(map(len, batch)) <= room
        ):
            yield batch
        else:
            yield from ([message] for message in batch)

    def _add(self, chunk: _Chunk, messages: list[Message]) -> None:
        """Add records one after the other, or whatever one message stands for."""
        end = self.range.end
        error = messages[0].error()
        if error is not None:
            if self._nothing_up_to_end(error, messages[0]):
                chunk.missing.append((self.next, end))
                self.next = end
                return
            self._judge(error)
            return
        first = messages[0].offset()
        assert first is not None, "a record without an error has an offset"
        if first < self.next:
            return
        if first > self.next:
            chunk.missing.append((self.next, min(first, end)))
            self.next = min(first, end)
        if first < end:
            chunk.add(first, messages)
            self.next = first + len(messages)

    def _told(self, chunk: _Chunk) -> Records:
        for first, end in chunk.missing:
            log.warning(
                "kafka_offsets_missing", topic=self.range.topic, partition=self.range.partition, first=first,
                last=end - 1,
            )  # fmt: skip
        return Records(chunk.offsets, chunk.timestamps, chunk.values, chunk.headers, tuple(chunk.missing))

    def _assign(self) -> None:
        place = TopicPartition(self.range.topic, self.range.partition, self.range.start)
        try:
            self.consumer.assign([place])
        except KafkaException as exception:
            raise self._fault(kafka_error(exception)) from None

    def _consume(self, count: int) -> list[Message]:
        try:
            return self.consumer.consume(count, min(0.2, self.patience))
        except KafkaException as exception:
            self._judge(kafka_error(exception))
            return []

    def _nothing_up_to_end(self, error: KafkaError, message: Message) -> bool:
        """At the end of the log, behind the range: only transaction markers or aborted records were left."""
        reached = message.offset()
        return error.code() == KafkaError._PARTITION_EOF and reached is not None and reached >= self.range.end

    def _judge(self, error: KafkaError) -> None:
        """Go on, or raise what an error event means."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            return  # a broker that was just elected may know less than the plan did; it will know more
        if code in PASSING and not error.fatal():
            self.last_fault = error
            return
        if code in OUT_OF_RANGE or code in UNKNOWN_TOPIC:
            raise self._changed(error)
        raise self._fault(error)

    def _stalled(self) -> IngestError:
        """No record for long: did the log change under us, or is Kafka away?"""
        return self._changed(None)

    def _changed(self, error: KafkaError | None) -> IngestError:  # noqa: PLR0911 - one answer a cause
        """What became of the topic that an offset can't be read any more."""
        try:
            state = describe_topic(self.connection, self.range.topic, min(self.patience, 10.0))
        except TransportError:
            state = None
        except LakeError as gone:
            return gone
        here: dict[str, str | int] = {
            "topic": self.range.topic,
            "partition": self.range.partition,
            "offset": self.next,
        }
        if state is None:
            return unreachable(self.connection, error or self.last_fault, **here)
        if state.topic_id != self.range.topic_id:
            return replaced(self.range.topic, self.range.topic_id)
        low, high = state.partitions.get(self.range.partition, (0, 0))
        if self.next < low:
            return retention_passed(
                self.range.topic, self.range.partition, self.next, min(low, self.range.end)
            )
        if high < self.range.end:
            return truncated(self.range.topic, self.range.partition, high, self.range.end)
        if error is not None:
            return self._fault(error)
        return TransportError(
            "KAFKA-READ-STALLED", "Kafka has the records but does not send them; try again",
            **(here | ({"kafka_error": self.last_fault.name()} if self.last_fault else {})),
        )  # fmt: skip

    def _fault(self, error: KafkaError) -> IngestError:
        if error.code() in DENIED:
            return denied(error, self.range.topic)
        return TransportError(
            "KAFKA-READ-FAILED", "Kafka refused to give records; try again", topic=self.range.topic,
            partition=self.range.partition, offset=self.next, kafka_error=error.name(),
        )  # fmt: skip


class _Chunk:
    """Records of a chunk in the making, as columns."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.values: list[bytes | None] = []
        self.headers: list[Mapping[str, bytes]] = []
        self.missing: list[tuple[int, int]] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, first: int, messages: list[Message]) -> None:
        """Add records whose offsets follow one another from ``first`` on."""
        self.offsets += range(first, first + len(messages))
        self.values += [message.value() for message in messages]
        self.timestamps += [
            -1 if kind == TIMESTAMP_NOT_AVAILABLE else moment
            for kind, moment in [message.timestamp() for message in messages]
        ]
        self.headers += [_headers(message) for message in messages]
        self.size += sum(map(len, messages))


def _headers(message: Message) -> Mapping[str, bytes]:
    try:
        pairs = message.headers()
    except UnicodeDecodeError:  # a name that is not UTF-8: not one of ours
        return _NO_HEADERS
    if not pairs:
        return _NO_HEADERS
    # the library's types allow a mapping and text too, which it never gives for a record that was read
    named: list[tuple[str, bytes | None]] = list(pairs)  # type: ignore[arg-type]
    found: dict[str, bytes | None] = dict(named)
    if None in found.values():
        return {name: value for name, value in named if value is not None}
    return found  # type: ignore[return-value] # no value is null


def _range_consumer(
    connection: KafkaConnection, offsets: OffsetRange, on_error: Callable[[KafkaError], None]
) -> Consumer:
    """A consumer that reads far ahead, but not much further than the range."""
    preferred: dict[str, str | int | bool] = {
        "group.id": "phl-land",
        "queued.min.messages": min(100_000, max(1_000, len(offsets))),
        "queued.max.messages.kbytes": 64 * 1024,
        "fetch.message.max.bytes": 4 * 1024 * 1024,
        "fetch.queue.backoff.ms": 10,
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
    }
    fixed: dict[str, str | int | bool] = {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "check.crcs": True,
        "error_cb": on_error,  # type: ignore[dict-item]
    }
    return connection.consumer(preferred, fixed)
