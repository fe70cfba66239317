"""Records into a real broker, and what becomes of them when it loses its memory."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.deliver import Deliverer, deliver_all
from connectors.kafka.topics import ensure_topic
from connectors.records import Record
from jobs.services.kafka import start_kafka
from schemas.errors import ConfigError, TransportError
from tests.conftest import KafkaServer
from tests.integration.mllp_setting import run, values


def records(topic: str, count: int, size: int = 10) -> list[Record]:
    return [
        Record(topic, b"key", b"%0*d" % (size, number), (("source", b"test"),)) for number in range(count)
    ]


def test_all_are_delivered_and_each_is_told(kafka: KafkaServer, topic: str) -> None:
    ensure_topic(kafka.connection, topic, 2, {})
    sent = records(topic, 5_000)
    told: list[Record] = []
    assert deliver_all(kafka.connection, iter(sent), told.append) == len(sent)
    assert (
        sorted(record.value for record in told) == sorted(values(kafka, topic)) == [one.value for one in sent]
    )


def test_more_bytes_than_may_be_under_way_are_delivered(kafka: KafkaServer, topic: str) -> None:
    ensure_topic(kafka.connection, topic, 2, {})
    assert deliver_all(kafka.connection, iter(records(topic, 100, 900_000)), lambda _: None) == 100
    assert len(values(kafka, topic)) == 100


def test_a_record_that_kafka_refuses_is_the_operators_to_mend(kafka: KafkaServer, topic: str) -> None:
    ensure_topic(kafka.connection, topic, 1, {})
    with pytest.raises(ConfigError, match="KAFKA-REFUSED"):
        deliver_all(kafka.connection, records(topic, 1, 3_000_000), lambda _: None)


def test_a_broker_that_is_away_is_said_in_time(topic: str) -> None:
    nobody = KafkaConnection({"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(TransportError, match="KAFKA-NOT-STORED"):
        deliver_all(nobody, records(topic, 10), lambda _: None, delivery_seconds=1.5)

    async def work() -> None:
        deliverer = Deliverer(nobody, 1.5)
        deliverer.start()
        for answer in await asyncio.gather(
            *map(deliverer.deliver, records(topic, 3)), return_exceptions=True
        ):
            assert isinstance(answer, TransportError)
        await deliverer.close()

    run(work())


def test_a_broker_that_lost_confirmed_records_does_not_end_delivery(tmp_path: Path) -> None:
    """Restored from an older copy it refuses the producer's numbers; that producer is then of no use any more."""
    folder, copy = tmp_path / "broker", tmp_path / "copy"
    record = start_kafka(folder, tmp_path / "kafka.log", preferred_port=None, heap_mebibytes=400)
    server = KafkaServer(folder, record)
    try:
        ensure_topic(server.connection, "t", 1, {})

        async def work() -> None:
            deliverer = Deliverer(server.connection, 10.0)
            deliverer.start()
            for one in records("t", 10):
                await deliverer.deliver(one)
            await asyncio.to_thread(server.stop)
            shutil.copytree(folder, copy)
            await asyncio.to_thread(server.start)
            for one in records("t", 10):
                await deliverer.deliver(one)
            await asyncio.to_thread(server.stop)
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
            await asyncio.to_thread(server.start)
            refused = 0
            for one in records("t", 20, 20):
                try:
                    await deliverer.deliver(one)
                except TransportError:
                    refused += 1
            assert 0 < refused < 20
            await deliverer.deliver(Record("t", b"key", b"last", ()))
            await deliverer.close()

        run(work())
        assert b"last" in values(server, "t")
    finally:
        server.stop()
