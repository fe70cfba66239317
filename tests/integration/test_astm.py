"""Instruments and the listener, with a real Kafka: what is acknowledged is there, whatever ends or goes away."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from connectors.astm.client import AstmClient
from connectors.astm.frame import ACK, ENQ, EOT, NAK, framed, parts_of
from connectors.astm.server import Listener, Service
from connectors.astm.session import STANDARD
from connectors.kafka.deliver import Deliverer
from connectors.kafka.topics import ensure_topic
from connectors.listening.sources import Match
from connectors.listening.tls import client_tls
from connectors.records import Record
from connectors.routing import StoredObject, store_large
from schemas.errors import TransportError
from schemas.source import Source
from tests.conftest import KafkaServer, RunPhl
from tests.integration.mllp_setting import Process, certificates, counted, run, until_refused, values

QUICK = replace(STANDARD, busy=0.2)


def result(number: int, results: int = 4, text: str = "") -> bytes:
    """A message of an instrument."""
    rows = [f"R|{n}|^^^T{n}|{number}.{n}|mmol/L||N||F||||20260301081500" for n in range(1, results + 1)]
    records = [f"H|\\^&|{number}||Analyser^1||||||||P|LIS2-A2", f"P|1||P{number:06d}||{text}^测试"]
    return "\r".join([*records, f"O|1|S{number:06d}||^^^T", *rows, "L|1|N", ""]).encode()


def query(number: int) -> bytes:
    return f"H|\\^&|||Analyser^1\rQ|1|^S{number:06d}||ALL||||||||O\rL|1|N\r".encode()


@dataclass
class Running:
    listener: Listener
    port: int
    topic: str
    objects: dict[str, bytes]

    async def client(self) -> AstmClient:
        client = AstmClient(QUICK)
        await client.connect("localhost", self.port)
        return client

    async def line(self) -> Bare:
        return Bare(*await asyncio.open_connection("localhost", self.port))


@dataclass
class Bare:
    """A line on which a test says just what it wants."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes, answer: int = 1) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.read(answer), 20)


@asynccontextmanager
async def listening(
    kafka: KafkaServer, change: Callable[[Service], Service] = lambda service: service, **source: object
) -> AsyncIterator[Running]:
    topic = f"astm.{uuid.uuid4().hex}"
    await asyncio.to_thread(ensure_topic, kafka.connection, topic, 2, {})
    deliverer = Deliverer(kafka.connection)
    deliverer.start()
    objects: dict[str, bytes] = {}

    def store(message: bytes) -> StoredObject:
        return store_large(message, objects.__setitem__, "lab")

    match = Match(replace(Source("analyser"), **source))  # type: ignore[arg-type]
    listener = Listener(change(Service(topic, deliverer.deliver, store, (match,))))
    port = await listener.open("localhost", 0)
    try:
        yield Running(listener, port, topic, objects)
    finally:
        await listener.close()
        await deliverer.close()


def test_messages_of_many_lines_are_in_kafka_when_they_are_acknowledged(kafka: KafkaServer) -> None:
    sent = [result(number, results=1 + number % 7) for number in range(200)]

    async def work() -> None:
        async with listening(kafka) as running:

            async def line(part: int) -> None:
                client = await running.client()
                outcome = await client.send(sent[part::20])
                assert (outcome.delivered, outcome.failed) == (10, {})
                await client.close()

            await asyncio.gather(*(line(part) for part in range(20)))
            found = await asyncio.to_thread(values, kafka, running.topic)
            assert sorted(found) == sorted(sent)
            assert running.listener.budget.held == 0

    run(work())


def test_a_large_message_goes_to_an_object_and_one_beyond_the_limit_is_refused(kafka: KafkaServer) -> None:
    large, beyond = result(1, results=200), result(2, results=2_000)

    async def work() -> None:
        change = lambda service: replace(service, threshold=5_000)  # noqa: E731
        async with listening(kafka, change, size_limit=20_000) as running:
            client = AstmClient(QUICK, frame_text=4_000, tries=2)
            await client.connect("localhost", running.port)
            outcome = await client.send([large])
            assert outcome.delivered == 1
            assert list(running.objects.values()) == [large]
            assert next(iter(running.objects)).startswith("objects/lab/")
            assert sum((await client.send([beyond])).failed.values()) == 1
            assert (await client.send([result(3)])).delivered == 1, "the line goes on"
            await client.close()
            found = await asyncio.to_thread(values, kafka, running.topic)
            assert sorted(found) == [b"", result(3)]

    run(work())


def test_a_query_is_kept_and_answered_when_the_line_is_free(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            await client.send([query(1)])
            answers = await client.listen(15)
            assert [answer.split(b"\r")[1:] for answer in answers] == [[b"L|1|I", b""]]
            assert answers[0].startswith(b"H|\\^&|||PHL|||||Analyser^1|")
            assert (await client.send([result(1)])).delivered == 1
            await client.close()
            found = await asyncio.to_thread(values, kafka, running.topic)
            assert sorted(found) == sorted([query(1), result(1)])

    run(work())


def test_a_connection_that_ends_in_a_message_leaves_nothing_and_frees_its_memory(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            line = await running.line()
            assert await line.say(ENQ) == ACK
            assert await line.say(framed(1, b"H|\\^&\r")) == ACK
            line.writer.write(framed(2, result(1))[:50])
            line.writer.close()
            while running.listener.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert running.listener.budget.held == 0
            assert await asyncio.to_thread(values, kafka, running.topic) == []

    run(work())


def test_a_message_without_an_end_is_kept_once_its_sender_ends_the_session(kafka: KafkaServer) -> None:
    whole, begun = result(1), result(2).rpartition(b"L|1")[0]

    def away_once(service: Service) -> Service:
        tries: list[Record] = []

        async def deliver(record: Record) -> None:
            if not record.value.endswith(b"L|1|N\r") and not tries:
                tries.append(record)
                raise TransportError("KAFKA-NOT-STORED", "not there", topic=record.topic)
            await service.deliver(record)

        return replace(service, deliver=deliver, keep_seconds=0.5)

    async def work() -> None:
        async with listening(kafka, away_once) as running:
            line = await running.line()
            assert await line.say(ENQ) == ACK
            assert await line.say(framed(1, whole)) == ACK
            assert await line.say(framed(2, begun)) == ACK
            line.writer.write(EOT)
            assert await line.say(ENQ) == NAK, "no session before it is kept"
            found: list[bytes] = []
            while len(found) < 2:
                found = await asyncio.to_thread(values, kafka, running.topic)
            assert sorted(found) == sorted([whole, begun])
            assert running.listener.budget.held == 0
            assert await line.say(ENQ) == ACK
            line.writer.close()

    run(work())


def test_lines_that_hold_more_than_the_memory_wait_and_all_get_through(kafka: KafkaServer) -> None:
    sent = [result(number, results=600) for number in range(12)]

    async def work() -> None:
        change = lambda service: replace(service, memory_limit=60_000)  # noqa: E731
        async with listening(kafka, change) as running:
            most = 0

            async def line(message: bytes) -> None:
                nonlocal most
                client = AstmClient(QUICK, frame_text=2_000, tries=100)
                await client.connect("localhost", running.port)
                assert (await client.send([message])).delivered == 1
                most = max(most, running.listener.budget.held)
                await client.close()

            await asyncio.gather(*(line(message) for message in sent))
            found = await asyncio.to_thread(values, kafka, running.topic)
            assert sorted(found) == sorted(sent)
            assert running.listener.budget.held == 0

    run(work())


def test_who_is_no_source_and_who_is_silent_is_not_held(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka, idle_timeout=0.5) as running:
            line = await running.line()
            assert await asyncio.wait_for(line.reader.read(), 20) == b"", (
                "closed after half a second of silence"
            )
        elsewhere = lambda service: replace(  # noqa: E731
            service, matches=(Match(Source("other"), peer="192.0.2.1"),)
        )
        async with listening(kafka, elsewhere) as running:
            before = counted("phl_astm_connections_refused_total", reason="no_source")
            with pytest.raises((TransportError, ConnectionError)):
                await (await running.client()).send([result(1)])
            assert counted("phl_astm_connections_refused_total", reason="no_source") == before + 1

    run(work())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def astm_env(env: dict[str, str], port: int) -> dict[str, str]:
    source = {"name": "analyser", "protocol": "astm", "port": port, "institution": "520103001"}
    return env | {"PHL_SOURCES": json.dumps([source])}


def test_kill_9_in_the_middle_of_frames_loses_nothing_that_was_acknowledged(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path
) -> None:
    """Instruments send what was not acknowledged to its end again, and so in the end everything is there."""
    port = free_port()
    env = astm_env(phl_env, port)
    acknowledged: set[bytes] = set()
    to_send = [[result(part * 1_000 + number) for number in range(40)] for part in range(6)]

    async def instrument(messages: list[bytes]) -> None:
        while messages:
            client = AstmClient(QUICK)
            try:
                await client.connect("127.0.0.1", port)
                while messages:
                    assert (await client.send(messages[:1])).delivered == 1
                    acknowledged.add(messages.pop(0))
            except TransportError:
                await asyncio.sleep(0.1)
            finally:
                await client.close()

    async def work() -> None:
        process = Process(env, tmp_path)
        tasks = [asyncio.create_task(instrument(list(messages))) for messages in to_send]
        half = Bare(*await asyncio.open_connection("127.0.0.1", port))
        await half.say(ENQ)
        for number, (text, ends) in enumerate(parts_of(result(9_000)), 1):
            half.writer.write(framed(number % 8, text, ends=ends)[: None if number < 3 else 9])
            if number == 3:
                break
        for wanted in (60, 150):
            while len(acknowledged) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            process.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.process.wait, 30)
            process = await asyncio.to_thread(Process, env, tmp_path)
        await asyncio.gather(*tasks)
        assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0

    run(work())
    there = values(kafka, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.lab")
    assert acknowledged == {message for messages in to_send for message in messages}
    assert set(there) == acknowledged, "all of it, and nothing of the message that broke off"


SENTINEL = "SENTINELPATIENT"


def test_while_kafka_is_away_frames_are_refused_and_then_taken_and_nothing_of_patients_is_printed(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    env = astm_env(phl_env, port) | {"PHL_LISTEN_DELIVERY_SECONDS": "3", "PHL_LOG_LEVEL": "debug"}
    process = Process(env, tmp_path, "--metrics-port", "0")
    message = result(7, text=SENTINEL)
    begun = message.removesuffix(b"L|1|N\r")

    async def work() -> None:
        client = AstmClient(QUICK, tries=5)
        await client.connect("127.0.0.1", port)
        assert (await client.send([result(1, text=SENTINEL)])).delivered == 1
        await asyncio.to_thread(kafka.stop)
        line = Bare(*await asyncio.open_connection("127.0.0.1", port))
        assert await line.say(ENQ) == ACK
        assert await line.say(framed(1, message)) == NAK, "not stored"
        assert await line.say(framed(1, message)[:-4] + b"00\r\n") == NAK, "wrong checksum"
        line.writer.write(framed(1, begun) + EOT)
        asked = asyncio.create_task(client.send([message]))
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka.start)
        assert (await asked).delivered == 1
        await client.close()

    run(work())
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=20) as answer:
        metrics = answer.read().decode()
    assert process.end(signal.SIGTERM) == 0
    assert set(values(kafka, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.lab")) == {
        result(1, text=SENTINEL),
        message,
        begun,
    }, "what was acknowledged without an L record too"
    printed = process.printed()
    assert "KAFKA-NOT-STORED" in printed
    assert "ASTM-LEFT" in printed
    assert 'phl_astm_faults_total{fault="checksum",source="analyser"} 1.0' in metrics
    for text in (printed, metrics):
        assert SENTINEL not in text
        assert "S000007" not in text


def test_send_as_an_instrument_over_mutual_tls_and_a_listener_that_ends(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl
) -> None:
    certificates(tmp_path)
    names = {"cert": "listener.pem", "key": "listener.key", "client_ca": "ca.pem"}
    port = free_port()
    env = astm_env(phl_env, port) | {
        f"PHL_LISTEN_TLS__{n.upper()}": str(tmp_path / f) for n, f in names.items()
    }
    (tmp_path / "day.astm").write_bytes((result(1) + query(2) + result(3)).replace(b"\r", b"\n"))
    process = Process(env, tmp_path)
    to = (
        "send",
        tmp_path / "day.astm",
        "--protocol",
        "astm",
        "--to",
        f"localhost:{port}",
        "--ca",
        tmp_path / "ca.pem",
    )
    known = run_phl(*to, "--cert", tmp_path / "sender.pem", "--key", tmp_path / "sender.key")
    assert known.returncode == 0, known.stderr
    assert "answered  L|1|I" in known.stdout
    assert "sent 3 messages, 3 accepted" in known.stdout
    assert run_phl(*to, "--patience", "5").returncode != 0, "a sender without a certificate is not let in"

    async def work() -> None:
        tls = client_tls(*(str(tmp_path / name) for name in ("ca.pem", "sender.pem", "sender.key")))
        line = Bare(*await asyncio.open_connection("localhost", port, ssl=tls))
        assert await line.say(ENQ) == ACK
        assert await line.say(framed(1, b"H|\\^&\r")) == ACK
        process.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until_refused, port)
        assert await line.say(framed(2, b"L|1|N\r")) == EOT, "acknowledged, and asked to stop"
        assert await line.say(EOT) == b"", "then the listener ends"

    run(work())
    assert process.process.wait(60) == 0
    there = values(kafka, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.lab")
    assert sorted(there) == sorted([result(1), query(2), result(3), b"H|\\^&\rL|1|N\r"])
    (tmp_path / "none.astm").write_bytes(result(1) + b"H|\\^&\r")
    half = run_phl("send", tmp_path / "none.astm", "--protocol", "astm", "--to", f"localhost:{port}")
    assert half.returncode != 0
