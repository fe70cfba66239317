"""What the tests of the stages share: a context on a fresh topic and lake, filling the topic, reading tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from confluent_kafka import Producer

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.ranges import ensure_topic
from connectors.records import Record
from connectors.routing import record_for
from jobs.run_stages import IN_PROCESS, Context, Limits
from lake_layout.lake import Lake, LakeLocation
from lake_layout.sorted_runs import IndexLocation
from pipelines.hl7v2.modality import HL7V2
from schemas.errors import MessageError
from schemas.hl7v2.header import Header, read_header
from schemas.source import NO_SOURCES, Source, Sources
from schemas.table import Table
from schemas.tables.ops import LEDGER

RECEIVED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
WHERE_FROM = ("batch_number", "decided_at")
"""Columns that say how a row was made, not what it is."""


@dataclass(frozen=True)
class Setting:
    """One installation: a prefix of topics on the shared broker, and a lake."""

    context: Context

    @property
    def lake(self) -> Lake:
        return self.context.lake

    def send(self, messages: Iterable[bytes], source: str = "test") -> None:
        """Write messages to the raw topic as a connector would."""
        send(self.context.connection, [self.record(message, source) for message in messages])

    def record(self, message: bytes, source: str = "test") -> Record:
        return record_for(
            message, header_or_none(message), Source(source), RECEIVED, topic=self.context.topic
        )

    def rows(self, table: Table, *, but: Sequence[str] = WHERE_FROM) -> list[tuple[object, ...]]:
        """All rows of a table, sorted, without the columns that say how a row was made."""
        return rows_of(self.lake, table, but=but)

    def dispositions(self) -> dict[str, int]:
        """Messages by disposition."""
        found: dict[str, int] = {}
        for row in self.lake.dataset(LEDGER).to_table(columns=["disposition"]).column(0).to_pylist():
            found[row] = found.get(row, 0) + 1
        return found


def make_setting(
    connection: KafkaConnection,
    location: LakeLocation,
    folder: Path,
    *,
    prefix: str | None = None,
    sources: Sources = NO_SOURCES,
    limits: Limits | None = None,
    options: tuple[str, ...] = IN_PROCESS,
) -> Setting:
    """A context with a topic of its own (or that of ``prefix``), not yet prepared."""
    name = prefix or f"t{uuid.uuid4().hex[:10]}-"
    context = Context(
        lake=Lake(location),
        connection=connection,
        modality=HL7V2,
        sources=sources,
        index=IndexLocation(str(folder / "index")),
        limits=limits or Limits(),
        options=options,
        topic_prefix=name,
    )
    ensure_topic(connection, context.topic, 4, {})
    return Setting(context)


def header_or_none(message: bytes) -> Header | None:
    try:
        return read_header(message)
    except MessageError:
        return None


def send(connection: KafkaConnection, records: Sequence[Record]) -> None:
    """Write records and wait until Kafka has them all."""
    failed: list[object] = []
    producer = Producer({**connection.properties, "enable.idempotence": True})
    for record in records:
        while True:
            try:
                producer.produce(
                    record.topic, record.value, record.key, headers=list(record.headers),
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )  # fmt: skip
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0
    assert not failed


def rows_of(lake: Lake, table: Table, *, but: Sequence[str] = WHERE_FROM) -> list[tuple[object, ...]]:
    """All rows of a table, sorted, as Python values; for small tables."""
    names = [field.name for field in table.fields if field.name not in but]
    view = lake.dataset(table)
    with duckdb.connect() as connection:
        connection.register("t", view)
        columns = ", ".join(f'"{name}"' for name in names)
        return connection.execute(f"SELECT {columns} FROM t ORDER BY ALL").fetchall()
