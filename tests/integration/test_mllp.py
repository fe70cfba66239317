"""The listener with a real broker: every message has its answer, and what is acknowledged is in Kafka."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic
from connectors.listening.sources import Match
from connectors.listening.tls import client_tls, tls_context
from connectors.mllp.client import read_acknowledgement
from connectors.mllp.frame import framed
from connectors.mllp.server import Listener, Service
from connectors.records import Record
from schemas.errors import TransportError
from tests.conftest import KafkaServer
from tests.integration.messages import FACILITY, adt
from tests.integration.mllp_setting import DEFAULT, Running, certificates, listening, run, values

pytestmark = pytest.mark.usefixtures("kafka")


def test_what_is_acknowledged_is_in_kafka_byte_for_byte(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            sent = [adt(number) for number in range(20)]
            client = await running.client()
            for message in sent:
                reply = read_acknowledgement(await client.send(message))
                assert reply.code == "AA"
                assert reply.control_id == message.split(b"|")[9]
            await client.close()
            assert sorted(await asyncio.to_thread(values, kafka, running.topic)) == sorted(sent)

    run(work())


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (b"", "AR", "HL7-NO-MSH"),
        (b"PID|1||1\r", "AR", "HL7-NO-MSH"),
        (b"MSHA^~\\&AXA\r", "AR", "HL7-DELIMITERS"),
        (adt(1).replace(b"A000001", b""), "AR", "HL7-CONTROL-ID-MISSING"),
        (adt(1) + b"Z" * 60_000, "AR", "MLLP-TOO-LARGE"),
    ],
)
def test_what_cannot_be_a_message_is_refused(
    kafka: KafkaServer, message: bytes, code: str, reason: str
) -> None:
    async def work() -> None:
        small = replace(DEFAULT, size_limit=50_000)
        async with listening(kafka, lambda service: replace(service, default=small)) as running:
            reply = await running.ask(message)
            assert (reply.code, reply.reason) == (code, reason)
            assert (await running.ask(adt(2))).code == "AA", "the next sender is served"
            assert await asyncio.to_thread(values, kafka, running.topic) == [adt(2)]

    run(work())


def test_packets_of_one_byte_and_of_many_frames(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            for byte in framed(adt(1)):
                await client.write(bytes([byte]))
            assert read_acknowledgement(await client.receive()).code == "AA"
            await client.write(b"".join(framed(adt(number)) for number in range(2, 202)))
            ids = [read_acknowledgement(await client.receive()).control_id for _ in range(200)]
            assert ids == [f"A{number:06d}".encode() for number in range(2, 202)], "answers come in order"
            await client.close()

    run(work())


def test_a_frame_without_its_last_cr_is_answered(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            await client.write(b"noise" + framed(adt(1))[:-1])
            assert read_acknowledgement(await client.receive()).code == "AA"
            await client.close()

    run(work())


def test_a_connection_that_ends_in_a_message_leaves_nothing(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            await client.write(framed(adt(1))[:-20])
            await client.close()
            assert (await running.ask(adt(2))).code == "AA"
            assert await asyncio.to_thread(values, kafka, running.topic) == [adt(2)]
            assert running.listener.budget.held == 0

    run(work())


def test_a_large_message_goes_to_an_object_first(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            large = adt(1) + b"NTE|1||" + b"x" * 2_000_000 + b"\r"
            assert (await running.ask(large)).code == "AA"
            assert list(running.objects.values()) == [large]
            assert await asyncio.to_thread(values, kafka, running.topic) == [b""]

    run(work())


def test_what_could_not_be_stored_is_ae_and_unforeseen_errors_too(kafka: KafkaServer) -> None:
    def refusing(error: Exception) -> Callable[[Record], Awaitable[None]]:
        async def deliver(_record: Record) -> None:
            raise error

        return deliver

    async def work() -> None:
        for error in (TransportError("KAFKA-NOT-STORED", "away"), ZeroDivisionError("SENTINEL")):
            deliver = refusing(error)

            def change(service: Service, deliver: Callable[[Record], Awaitable[None]] = deliver) -> Service:
                return replace(service, deliver=deliver)

            async with listening(kafka, change) as running:
                reply = await running.ask(adt(1))
                assert reply.code == "AE"
                assert reply.reason in ("KAFKA-NOT-STORED", "MLLP-INTERNAL")

    run(work())


def test_senders_wait_when_memory_is_full(kafka: KafkaServer) -> None:
    """Forty senders of 1 MiB each with room for 4: bounded memory, and all are answered in the end."""
    gate = asyncio.Event()
    most = 0

    async def work() -> None:
        nonlocal most
        async with listening(kafka) as other:
            deliver = other.listener.service.deliver

            async def slow(record: Record) -> None:
                await gate.wait()
                await deliver(record)

            service = replace(
                other.listener.service, deliver=slow, memory_limit=4 * 1024 * 1024, threshold=10**9
            )
            listener = Listener(replace(service, deliver=slow))
            port = await listener.open("localhost", 0)
            running = Running(listener, port, other.topic, {}, other.deliverer)
            body = b"NTE|1||" + b"x" * 900_000 + b"\r"
            asked = [asyncio.create_task(running.ask(adt(number) + body)) for number in range(40)]
            for _ in range(20):
                await asyncio.sleep(0.05)
                most = max(most, listener.budget.held)
            assert not any(task.done() for task in asked)
            gate.set()
            assert [reply.code for reply in await asyncio.gather(*asked)] == ["AA"] * 40
            assert listener.budget.held == 0
            await listener.close()
            # what each paused connection had already read from its socket comes on top of the limit
            assert most < 4 * 1024 * 1024 + 40 * 300_000

    run(work())


def test_beginnings_of_messages_alone_do_not_block_each_other(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka, lambda s: replace(s, memory_limit=1_000_000, threshold=10**9)) as running:
            body = b"NTE|1||" + b"x" * 600_000 + b"\r"
            clients = [await running.client() for _ in range(6)]
            whole = [framed(adt(number) + body) for number in range(6)]
            for client, data in zip(clients, whole, strict=True):
                await client.write(data[:400_000])
            writes = [asyncio.create_task(c.write(d[400_000:])) for c, d in zip(clients, whole, strict=True)]
            codes = [read_acknowledgement(await client.receive()).code for client in clients]
            await asyncio.gather(*writes)
            assert codes == ["AA"] * 6
            for client in clients:
                await client.close()

    run(work())


def test_sources_are_told_apart(kafka: KafkaServer) -> None:
    async def work() -> None:
        ward = replace(DEFAULT, name="ward")
        relay = replace(DEFAULT, name="relay")
        matches = (Match(ward, facility=FACILITY), Match(relay, peer="10.0.0.0/8"))
        async with listening(kafka, lambda service: replace(service, matches=matches)) as running:
            assert (await running.ask(adt(1))).code == "AA"
            assert (await running.ask(adt(2).replace(FACILITY.encode(), b"ELSEWHERE", 1))).code == "AA"
            state = await asyncio.to_thread(describe_topic, kafka.connection, running.topic)
            found = {}
            for partition, (low, high) in state.partitions.items():
                offsets = OffsetRange(running.topic, state.topic_id, partition, low, high)
                read = functools.partial(read_range, kafka.connection, offsets)
                for records in await asyncio.to_thread(lambda: list(read())):  # noqa: B023 - used at once
                    for value, headers in zip(records.values, records.headers, strict=True):
                        found[value] = headers["source"]
            assert sorted(found.values()) == [b"mllp", b"ward"]

    run(work())


def test_idle_connections_are_closed(kafka: KafkaServer) -> None:
    async def work() -> None:
        hasty = replace(DEFAULT, idle_timeout=0.5)
        async with listening(kafka, lambda service: replace(service, default=hasty)) as running:
            client = await running.client()
            assert read_acknowledgement(await client.send(adt(1))).code == "AA"
            with pytest.raises(TransportError, match="MLLP-CLOSED"):
                await client.receive()

    run(work())


def test_tls_and_mutual_tls(kafka: KafkaServer, tmp_path: Path) -> None:
    certificates(tmp_path)
    names = {
        name: str(tmp_path / name)
        for name in ("ca.pem", "listener.pem", "listener.key", "sender.pem", "sender.key")
    }

    async def work() -> None:
        server = tls_context(names["listener.pem"], names["listener.key"])
        async with listening(kafka, tls=server) as running:
            client = await running.client(client_tls(names["ca.pem"]))
            assert read_acknowledgement(await client.send(adt(1))).code == "AA"
            await client.close()
        mutual = tls_context(names["listener.pem"], names["listener.key"], names["ca.pem"])
        async with listening(kafka, tls=mutual) as running:
            known = await running.client(
                client_tls(names["ca.pem"], names["sender.pem"], names["sender.key"])
            )
            assert read_acknowledgement(await known.send(adt(2))).code == "AA"
            await known.close()
            with pytest.raises(TransportError):  # noqa: PT012 - TLS 1.3 says no only after the handshake
                unknown = await running.client(client_tls(names["ca.pem"]))
                await unknown.send(adt(3))

    run(work())
