"""``phl listen`` and ``phl send`` as processes: kill -9, SIGTERM, a broker that goes away, what is printed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from connectors.mllp.client import MllpClient, read_acknowledgement
from connectors.mllp.frame import framed
from schemas.errors import TransportError
from tests.conftest import KafkaServer, RunPhl
from tests.integration.messages import adt
from tests.integration.mllp_setting import Process, certificates, run, values


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


def test_sigterm_answers_what_is_under_way(
    kafka: KafkaServer, phl_env: dict[str, str], tmp_path: Path
) -> None:
    process = Process(phl_env, tmp_path)
    topic = phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.hl7v2"
    answered: list[bytes] = []

    async def work() -> None:
        client = MllpClient(20.0)
        await client.connect("127.0.0.1", process.port)
        await client.write(b"".join(framed(adt(number)) for number in range(50)))
        answered.append(read_acknowledgement(await client.receive()).control_id)
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(TransportError, match="MLLP-CLOSED"):  # noqa: PT012 - after the last answer
            while True:
                reply = read_acknowledgement(await client.receive())
                assert reply.code == "AA"
                answered.append(reply.control_id)
        with pytest.raises(TransportError, match="MLLP-UNREACHABLE"):
            await MllpClient(20.0).connect("127.0.0.1", process.port)

    run(work())
    assert process.process.wait(60) == 0
    # all fifty came in one packet: each of them was whole, so each has its answer and is in Kafka
    assert answered == [f"A{number:06d}".encode() for number in range(50)]
    assert sorted(values(kafka, topic)) == sorted(adt(number) for number in range(50))


SENTINEL = "SENTINELPATIENT"


def test_nothing_of_a_patient_is_printed_or_counted(phl_env: dict[str, str], tmp_path: Path) -> None:
    process = Process(phl_env | {"PHL_LOG_LEVEL": "debug"}, tmp_path, "--metrics-port", "0")
    good = adt(1, family=SENTINEL).replace(b"P000001", SENTINEL.encode())
    bad = [
        good.replace(b"|A000001|", b"||"),
        good.replace(b"MSH|", b"XXX|", 1),
        SENTINEL.encode(),
        good.replace(b"MSH|^~", b"MSH|||", 1),
        good.replace(b"UNICODE UTF-8", SENTINEL.encode()),
        good.replace("测试".encode(), b"\xff\xfe"),
    ]

    async def work() -> None:
        client = MllpClient(20.0)
        await client.connect("127.0.0.1", process.port)
        for message in (good, *bad):
            read_acknowledgement(await client.send(message))
        await client.write(SENTINEL.encode() + framed(good)[:-1] + framed(good)[:60] + framed(good))
        for _ in range(3):
            read_acknowledgement(await client.receive())
        await client.close()

    run(work())
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=20) as answer:
        metrics = answer.read().decode()
    assert process.end(signal.SIGTERM) == 0
    printed = process.printed()
    assert "connection_closed" in printed
    assert 'phl_mllp_acknowledged_total{code="AA"} 5.0' in metrics
    assert 'phl_mllp_acknowledged_total{code="AR"} 5.0' in metrics
    assert 'phl_mllp_refused_total{reason="HL7-CONTROL-ID-MISSING"} 1.0' in metrics
    assert 'phl_mllp_received_total{source="mllp"} 10.0' in metrics
    for text in (printed, metrics):
        assert SENTINEL not in text
        assert "A000001" not in text


def test_send_shows_the_answers(phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl) -> None:
    (tmp_path / "good.hl7").write_bytes(adt(1) + adt(2) + adt(3))
    (tmp_path / "bad.hl7").write_bytes(adt(4).replace(b"|A000004|", b"||"))
    process = Process(phl_env, tmp_path)
    to = ("--to", f"127.0.0.1:{process.port}")
    good = run_phl("send", tmp_path / "good.hl7", *to, "--json", "--connections", "2")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout) == {
        "sent": 3, "accepted": 3, "unanswered": 0, "not_asked": 0, "codes": {"AA": 3}, "reasons": {},
    }  # fmt: skip
    both = run_phl("send", tmp_path / "good.hl7", tmp_path / "bad.hl7", *to)
    assert both.returncode == 1
    assert "HL7-CONTROL-ID-MISSING" in both.stdout
    assert "sent 4 messages, 3 accepted" in both.stdout
    assert process.end(signal.SIGTERM) == 0
    nobody = run_phl("send", tmp_path / "good.hl7", *to)
    assert nobody.returncode == 75
    assert "MLLP-UNREACHABLE" in nobody.stderr
    assert run_phl("send", tmp_path / "good.hl7", "--to", "nowhere").returncode == 78


def test_listen_and_send_over_mutual_tls(phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl) -> None:
    certificates(tmp_path)
    (tmp_path / "good.hl7").write_bytes(adt(1))
    names = {"cert": "listener.pem", "key": "listener.key", "client_ca": "ca.pem"}
    env = phl_env | {f"PHL_LISTEN_TLS__{name.upper()}": str(tmp_path / file) for name, file in names.items()}
    process = Process(env, tmp_path)
    to = (
        "send",
        tmp_path / "good.hl7",
        "--to",
        f"localhost:{process.port}",
        "--ca",
        tmp_path / "ca.pem",
        "--patience",
        "20",
    )
    known = run_phl(*to, "--cert", tmp_path / "sender.pem", "--key", tmp_path / "sender.key")
    assert known.returncode == 0, known.stderr
    assert run_phl(*to).returncode != 0, "a sender without a certificate is not let in"
    assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.printed()


def test_a_port_that_is_taken_is_a_wrong_setting(
    phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl
) -> None:
    process = Process(phl_env, tmp_path)
    second = run_phl("listen", "--port", str(process.port))
    assert second.returncode == 78
    assert "listen.port" in second.stderr
    assert process.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "a..b", "a" * 300])
def test_an_address_that_this_machine_has_not_is_a_wrong_setting(run_phl: RunPhl, host: str) -> None:
    done = run_phl("listen", env={"PHL_LISTEN_HOST": host})
    assert done.returncode == 78
    assert "LISTEN-HOST" in done.stderr
    assert "setting=listen.host" in done.stderr


def test_a_port_that_cannot_be_had_names_its_own_setting(
    phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl
) -> None:
    process = Process(phl_env, tmp_path)
    sources = json.dumps([{"name": "one"}, {"name": "two", "port": process.port}])
    done = run_phl("listen", "--port", "0", env={"PHL_SOURCES": sources})
    assert done.returncode == 78
    assert "setting=sources[1].port" in done.stderr
    assert process.end(signal.SIGTERM) == 0
    done = run_phl("listen", "--port", "99999")
    assert done.returncode == 78
    assert "setting=listen.port" in done.stderr


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
