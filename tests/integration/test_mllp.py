"""The listener with a real broker: only what Kafka has is acknowledged, and nobody is left without an answer."""

from __future__ import annotations

import asyncio
import functools
import signal
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from connectors.kafka.deliver import Deliverer
from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic, ensure_topic
from connectors.mllp.client import Acknowledgement, MllpClient, client_tls, read_acknowledgement
from connectors.mllp.frame import framed
from connectors.mllp.server import Listener, Service, tls_context
from connectors.mllp.sources import Match
from connectors.records import Record
from connectors.routing import StoredObject, store_large
from schemas.errors import TransportError
from schemas.source import Source
from tests.conftest import KafkaServer, phl_command
from tests.integration.messages import FACILITY, adt

pytestmark = pytest.mark.usefixtures("kafka")
DEFAULT = Source("mllp", idle_timeout=60.0)


@dataclass
class Running:
    listener: Listener
    port: int
    topic: str
    objects: dict[str, bytes]

    async def client(self, tls: ssl.SSLContext | None = None) -> MllpClient:
        client = MllpClient(20.0)
        await client.connect("localhost", self.port, tls)
        return client

    async def ask(self, message: bytes) -> Acknowledgement:
        client = await self.client()
        try:
            return read_acknowledgement(await client.send(message))
        finally:
            await client.close()


@asynccontextmanager
async def listening(
    kafka: KafkaServer,
    change: Callable[[Service], Service] = lambda service: service,
    *,
    tls: ssl.SSLContext | None = None,
    delivery_seconds: float = 10.0,
) -> AsyncIterator[Running]:
    topic = f"mllp.{uuid.uuid4().hex}"
    await asyncio.to_thread(ensure_topic, kafka.connection, topic, 2, {})
    deliverer = Deliverer(kafka.connection, delivery_seconds)
    deliverer.start()
    objects: dict[str, bytes] = {}

    def store(message: bytes) -> StoredObject:
        return store_large(message, objects.__setitem__)

    listener = Listener(change(Service(topic, deliverer.deliver, store, (), DEFAULT)))
    port = await listener.open("localhost", 0, tls)
    try:
        yield Running(listener, port, topic, objects)
    finally:
        await listener.close()
        await deliverer.close()


def values(kafka: KafkaServer, topic: str) -> list[bytes]:
    """All values of a topic."""
    state = describe_topic(kafka.connection, topic)
    found: list[bytes] = []
    for partition, (low, high) in state.partitions.items():
        for records in read_range(kafka.connection, OffsetRange(topic, state.topic_id, partition, low, high)):
            found += [value or b"" for value in records.values]
    return found


def run(work: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 120))


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
            running = Running(listener, port, other.topic, {})
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


def certificates(folder: Path) -> None:
    """A small authority, a listener's and a sender's certificate (openssl)."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    (folder / "ext").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    for name in ("listener", "sender"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")  # fmt: skip


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


class Process:
    """``phl listen`` as a process of its own."""

    def __init__(self, env: dict[str, str], folder: Path, *more: str) -> None:
        self.log = (folder / f"listen-{uuid.uuid4().hex[:6]}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            phl_command("listen", "--port", "0", "--json", *more),
            env=env, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "phl listen ended at once"
        import json

        self.port = int(json.loads(line)["ports"][0])

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.log.close()
        return code


def test_kill_9_with_messages_under_way_loses_nothing_acknowledged(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path
) -> None:
    topic = phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.hl7v2"
    acknowledged: set[bytes] = set()

    async def sender(port: int, first: int) -> None:
        client = MllpClient(10.0)
        try:
            await client.connect("127.0.0.1", port)
            for number in range(first, first + 10_000):
                message = adt(number)
                if read_acknowledgement(await client.send(message)).accepted:
                    acknowledged.add(message)
        except TransportError:
            return  # the listener was killed

    async def work(port: int, process: Process) -> None:
        tasks = [asyncio.create_task(sender(port, part * 100_000)) for part in range(8)]
        while len(acknowledged) < 300:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        process.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*tasks)

    for _ in range(2):
        process = Process(phl_env, tmp_path)
        before = len(acknowledged)
        acknowledged_now = acknowledged.copy()
        acknowledged.clear()
        run(work(process.port, process))
        acknowledged |= acknowledged_now
        process.process.wait(30)
        assert len(acknowledged) > before or before
    assert acknowledged <= set(values(kafka, topic))


def test_sigterm_answers_what_is_under_way(phl_env: dict[str, str], tmp_path: Path) -> None:
    process = Process(phl_env, tmp_path)

    async def work() -> None:
        client = MllpClient(20.0)
        await client.connect("127.0.0.1", process.port)
        await client.write(b"".join(framed(adt(number)) for number in range(50)))
        first = await client.receive()
        assert read_acknowledgement(first).code == "AA"
        process.process.send_signal(signal.SIGTERM)
        answers = 1
        try:
            while True:
                assert read_acknowledgement(await client.receive()).code == "AA"
                answers += 1
        except TransportError:
            assert answers >= 1

    run(work())
    assert process.process.wait(60) == 0


@pytest.mark.parametrize("policy", ["answer", "wait"])
def test_a_broker_that_goes_away(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path, policy: str
) -> None:
    env = phl_env | {"PHL_LISTEN_WHEN_AWAY": policy, "PHL_LISTEN_DELIVERY_SECONDS": "3"}
    process = Process(env, tmp_path)
    topic = phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.hl7v2"

    async def work() -> None:
        client = MllpClient(90.0)
        await client.connect("127.0.0.1", process.port)
        assert read_acknowledgement(await client.send(adt(1))).code == "AA"
        await asyncio.to_thread(kafka.stop)
        asked = asyncio.create_task(client.send(adt(2)))
        if policy == "answer":
            assert read_acknowledgement(await asked).code == "AE"
            await asyncio.to_thread(kafka.start)
        else:
            await asyncio.sleep(6)
            assert not asked.done(), "the sender waits"
            await asyncio.to_thread(kafka.start)
            assert read_acknowledgement(await asked).code == "AA"
        deadline = time.monotonic() + 60
        while (code := read_acknowledgement(await client.send(adt(3))).code) != "AA":
            assert code == "AE"
            assert time.monotonic() < deadline, "the listener does not go on after the broker came back"
        await client.close()

    try:
        run(work())
    finally:
        process.end(signal.SIGTERM)
    there = set(values(kafka, topic))
    assert {adt(1), adt(3)} <= there
    assert policy == "answer" or adt(2) in there
