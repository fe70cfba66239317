"""What stewards do: say who is who, and see what needs them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from connectors.kafka.deliver import deliver_all
from connectors.kafka.topics import ensure_topic
from connectors.records import CONTENT_TYPE, RECEIVED_AT, SOURCE, Record, timestamp
from jobs.settings import Settings
from pipelines.steward.modality import STEWARD
from schemas.errors import ConfigError
from schemas.steward import PatientIdentifier, StewardEvent

SENDER = "stewards"
"""The source that events of this command come from."""

_FORM = "give VALUE^^^AUTHORITY, as the tables have them; with ^TYPE behind it where that matters"

QUEUE = """SELECT code, event_code AS event, level, value, authority, to_value, to_authority, version_time AS stated,
       source, institution, "partition" || ':' || "offset" AS message
FROM curated.steward_queue ORDER BY version_time DESC, topic_id, "partition", "offset", segment_index, code, value"""
"""What a steward should look at, the latest first."""


def read_identifier(text: str, setting: str) -> PatientIdentifier:
    """An identifier as a CX writes it: value, two components that are not looked at, authority, type.

    Raises:
        ConfigError: ``CONFIG-IDENTIFIER``: it has no value or no authority.
    """
    value, *more = text.split("^")
    parts = [part.strip() for part in (*more, "", "", "", "")]
    if not value.strip() or not parts[2] or len(more) > 4:
        raise ConfigError("CONFIG-IDENTIFIER", _FORM, setting=setting)
    return PatientIdentifier(value.strip(), parts[2], parts[3] or None)


def event_of(
    action: str, who: str, why: str, first: PatientIdentifier, second: PatientIdentifier
) -> StewardEvent:
    """What a steward says now.

    Raises:
        ConfigError: ``CONFIG-STEWARD``: something is not said.
    """
    if not who.strip() or not why.strip():
        raise ConfigError("CONFIG-STEWARD", "say who decides, and why", setting="--who, --why")
    if (first.value, first.authority) == (second.value, second.authority):
        raise ConfigError("CONFIG-STEWARD", "give two identifiers", setting="SECOND")
    return StewardEvent(uuid.uuid4().hex, action, datetime.now(UTC), who.strip(), why.strip(), first, second)


def send(settings: Settings, event: StewardEvent) -> None:
    """Record an event; returns when Kafka has it.

    Raises:
        TransportError, ConfigError: as ``ensure_topic`` and ``deliver_all``.
    """
    connection, topic = settings.kafka_connection(), settings.kafka.topic_prefix + STEWARD.topic
    ensure_topic(
        connection, topic, settings.topic_partitions, replication_factor=settings.kafka.replication_factor
    )
    headers = (
        (SOURCE, SENDER.encode()), (CONTENT_TYPE, b"application/json"), (RECEIVED_AT, timestamp(event.when)),
    )  # fmt: skip
    deliver_all(connection, [Record(topic, SENDER.encode(), event.to_bytes(), headers)], lambda _: None)
