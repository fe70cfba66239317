"""Topics: create them so that they cannot lose messages, describe one life of a topic, tell it from the next.

A consumer does not notice that a topic was re-created under the same name, and the metadata that it offers has no
topic id; ``describe_topics`` has. It is asked when a plan is made, after each range was read, and by
``require_same_topic`` just before a commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import structlog
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from connectors.kafka.connection import KafkaConnection, kafka_error, unreachable
from connectors.kafka.faults import DENIED, PASSING, PATIENCE, denied, replaced, wait_or_raise
from schemas.errors import ConfigError, LakeError

log = structlog.get_logger(__name__)

RAW_TOPIC_CONFIG: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": str(1024 * 1024 + 64 * 1024),
    }
)
"""Raw topics keep everything until an operator says otherwise, and are never compacted.

1 MiB and 64 KiB: the largest value that a producer with librdkafka's default ``message.max.bytes`` sends, and its
key and headers.
"""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One life of a topic, as it is now.

    Attributes:
        topic: name.
        topic_id: Kafka's id; a topic created anew under the same name has another.
        partitions: number → (first offset that is still there, offset after the last one).
    """

    topic: str
    topic_id: str
    partitions: Mapping[int, tuple[int, int]]


def describe_topic(connection: KafkaConnection, topic: str, patience: float = PATIENCE) -> TopicState:
    """Id, partitions and offsets of a topic.

    The end is the last stable offset: what an open transaction wrote is not there yet.

    Raises:
        TransportError: ``KAFKA-UNREACHABLE``.
        LakeError: ``KAFKA-TOPIC-MISSING``; ``KAFKA-TOPIC-REPLACED`` where it was created anew meanwhile.
        ConfigError: ``KAFKA-DENIED``.
    """
    admin = connection.admin()
    deadline = time.monotonic() + patience
    topic_id, numbers = _describe(connection, admin, topic, deadline)
    low = _offsets(connection, admin, topic, numbers, OffsetSpec.earliest(), deadline)  # type: ignore[no-untyped-call]
    high = _offsets(connection, admin, topic, numbers, OffsetSpec.latest(), deadline)  # type: ignore[no-untyped-call]
    after, _ = _describe(connection, admin, topic, deadline)
    if after != topic_id:
        raise replaced(topic, topic_id)
    return TopicState(
        topic, topic_id, {number: (low[number], max(low[number], high[number])) for number in numbers}
    )


def same_topic(connection: KafkaConnection, topic: str, topic_id: str, patience: float = PATIENCE) -> bool:
    """Whether the topic of that name is still the one with that id (False also where it is gone).

    Raises:
        TransportError: ``KAFKA-UNREACHABLE``: nothing is known.
    """
    try:
        now, _ = _describe(connection, connection.admin(), topic, time.monotonic() + patience)
    except LakeError:
        return False
    return now == topic_id


def require_same_topic(
    connection: KafkaConnection, topic: str, topic_id: str, patience: float = PATIENCE
) -> None:
    """To be called right before a commit of what was read.

    Raises:
        LakeError: ``KAFKA-TOPIC-REPLACED``.
        TransportError: ``KAFKA-UNREACHABLE``.
    """
    if not same_topic(connection, topic, topic_id, patience):
        raise replaced(topic, topic_id)


def ensure_topic(
    connection: KafkaConnection,
    topic: str,
    partitions: int,
    config: Mapping[str, str] = RAW_TOPIC_CONFIG,
    *,
    replication_factor: int = -1,
    patience: float = PATIENCE,
) -> TopicState:
    """Create a raw topic where it is absent; where it is there, check that it can't lose messages.

    An existing topic keeps its partitions and settings; partitions that an operator adds are seen by the next plan.

    Args:
        connection: where.
        topic: name.
        partitions: of a new topic.
        config: settings of a new topic, ``RAW_TOPIC_CONFIG`` and what the operator changes in it.
        replication_factor: -1 for the cluster's default.
        patience: seconds to wait for Kafka.

    Raises:
        ConfigError: ``KAFKA-TOPIC-COMPACTED``, ``KAFKA-TOPIC-UNSAFE`` (replicated, but one replica may acknowledge
            alone or take over with records missing), ``KAFKA-TOPIC-REFUSED``, ``KAFKA-DENIED``.
        TransportError: ``KAFKA-UNREACHABLE``.
    """
    admin = connection.admin()
    new = NewTopic(
        topic, num_partitions=partitions, replication_factor=replication_factor, config=dict(config)
    )
    try:
        admin.create_topics([new], request_timeout=patience)[topic].result()
        log.info("kafka_topic_created", topic=topic, partitions=partitions)
    except KafkaException as exception:
        error = kafka_error(exception)
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            pass
        elif error.code() in DENIED:
            raise denied(error, topic) from None
        elif error.code() in PASSING:
            raise unreachable(connection, error, topic=topic) from None
        else:
            raise ConfigError(
                "KAFKA-TOPIC-REFUSED", "Kafka refuses to create the topic; see its settings", topic=topic,
                kafka_error=error.name(),
            ) from None  # fmt: skip
    state = _await_topic(connection, topic, patience)
    _check_durability(connection, admin, topic, patience)
    return state


def _await_topic(connection: KafkaConnection, topic: str, patience: float) -> TopicState:
    """The state of a topic that was just created: brokers hear of it one after the other."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return describe_topic(connection, topic, patience)
        except LakeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _check_durability(connection: KafkaConnection, admin: AdminClient, topic: str, patience: float) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        entries = admin.describe_configs([resource], request_timeout=patience)[resource].result()
        found = admin.describe_topics(TopicCollection([topic]), request_timeout=patience)[topic].result()
    except KafkaException as exception:
        error = kafka_error(exception)
        if error.code() in DENIED:  # may read and write, but not see settings: that is the operator's choice
            log.warning("kafka_topic_settings_hidden", topic=topic)
            return
        raise unreachable(connection, error, topic=topic) from None
    settings = {name: str(entry.value) for name, entry in entries.items()}
    if "compact" in settings.get("cleanup.policy", ""):
        raise ConfigError(
            "KAFKA-TOPIC-COMPACTED",
            "a raw topic must not be compacted: set cleanup.policy to delete",
            topic=topic,
        )
    replicas = min((len(partition.replicas) for partition in found.partitions), default=1)
    if replicas > 1:
        if int(settings.get("min.insync.replicas", "1")) < 2:
            raise ConfigError(
                "KAFKA-TOPIC-UNSAFE", "set min.insync.replicas of the topic to at least 2", topic=topic
            )
        if settings.get("unclean.leader.election.enable", "false") == "true":
            raise ConfigError(
                "KAFKA-TOPIC-UNSAFE", "set unclean.leader.election.enable of the topic to false", topic=topic
            )
    else:
        log.debug("kafka_topic_not_replicated", topic=topic)


def _describe(
    connection: KafkaConnection, admin: AdminClient, topic: str, deadline: float
) -> tuple[str, list[int]]:
    """Topic id and partition numbers."""
    while True:
        left = max(0.5, deadline - time.monotonic())
        try:
            found = admin.describe_topics(TopicCollection([topic]), request_timeout=left)[topic].result()
            return str(found.topic_id), sorted(partition.id for partition in found.partitions)
        except KafkaException as exception:
            wait_or_raise(connection, kafka_error(exception), topic, deadline)
        except ValueError:
            raise ConfigError(
                "KAFKA-TOPIC-NAME", "Kafka can't have a topic of that name", topic=topic
            ) from None


def _offsets(
    connection: KafkaConnection,
    admin: AdminClient,
    topic: str,
    numbers: Sequence[int],
    spec: OffsetSpec,
    deadline: float,
) -> dict[int, int]:
    """Offset of each partition by ``spec``."""
    places = [TopicPartition(topic, number) for number in numbers]
    while True:
        left = max(0.5, deadline - time.monotonic())
        try:
            asked = admin.list_offsets(
                dict.fromkeys(places, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=left,
            )
            return {place.partition: future.result().offset for place, future in asked.items()}
        except KafkaException as exception:
            wait_or_raise(connection, kafka_error(exception), topic, deadline)
