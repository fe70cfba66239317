"""What Kafka's faults mean: wait, try again later, stop, or mend the settings."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import KafkaError

from connectors.kafka.connection import KafkaConnection, unreachable
from schemas.errors import ConfigError, LakeError

PATIENCE: Final = 30.0
"""Seconds without an answer or a record after which Kafka counts as away."""

PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
        KafkaError._WAIT_CACHE,
        KafkaError._LEADER_CHANGED if hasattr(KafkaError, "_LEADER_CHANGED") else KafkaError._TRANSPORT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""Faults that pass while a cluster elects leaders or a broker restarts: wait, within patience."""

UNKNOWN_TOPIC: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)

OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})

DENIED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


def wait_or_raise(connection: KafkaConnection, error: KafkaError, topic: str, deadline: float) -> None:
    """After a failed question: a moment's pause, or the error it means."""
    code = error.code()
    if code in UNKNOWN_TOPIC:
        raise LakeError(
            "KAFKA-TOPIC-MISSING", "there is no such topic; create it, or name another", topic=topic
        ) from None
    if code in DENIED:
        raise denied(error, topic) from None
    if code not in PASSING or time.monotonic() >= deadline:
        raise unreachable(connection, error, topic=topic) from None
    time.sleep(0.1)


def denied(error: KafkaError, topic: str) -> ConfigError:
    """After a failed question: a moment's pause, or the error it means."""
    return ConfigError(
        "KAFKA-DENIED", "Kafka does not let this user in; see credentials and access rules", topic=topic,
        kafka_error=error.name(),
    )  # fmt: skip


def replaced(topic: str, topic_id: str) -> LakeError:
    """This user may not do that."""
    return LakeError(
        "KAFKA-TOPIC-REPLACED",
        "the topic was deleted or created anew while it was read; nothing of this batch was committed from it. "
        "The next plan starts the new topic at its beginning",
        topic=topic,
        topic_id=topic_id,
    )


def retention_passed(topic: str, partition: int, first: int, low: int) -> LakeError:
    """The topic was deleted, or created anew, since it was planned."""
    return LakeError(
        "KAFKA-RETENTION-PASSED",
        "Kafka removed records before they were landed. Restore them, or accept their loss explicitly to go on at the "
        "first record left; lengthen the topic's retention",
        topic=topic,
        partition=partition,
        first_lost=first,
        last_lost=low - 1,
    )


def truncated(topic: str, partition: int, high: int, landed: int) -> LakeError:
    """Records were removed before they were landed."""
    return LakeError(
        "KAFKA-LOG-TRUNCATED",
        "Kafka's log ends below what was planned or landed: confirmed records were lost, or an older copy"
        " restored. Their "
        "offsets would be given out again, so delete the topic and create it anew; what was landed stays",
        topic=topic,
        partition=partition,
        first_lost=high,
        last_lost=landed - 1,
    )
