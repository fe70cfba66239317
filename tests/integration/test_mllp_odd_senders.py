"""Senders that do not behave: each has an answer or an end, and the others are served."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.listening.tls import client_tls, tls_context
from connectors.mllp.client import Acknowledgement, read_acknowledgement
from connectors.mllp.frame import framed
from connectors.mllp.server import Service
from connectors.records import Record
from connectors.routing import StoredObject, store_large
from schemas.errors import ConfigError, TransportError
from tests.conftest import KafkaServer
from tests.integration.messages import adt
from tests.integration.mllp_setting import DEFAULT, Running, certificates, counted, listening, run, values


async def answers(running: Running, data: bytes, count: int) -> list[Acknowledgement]:
    """Write bytes to a new connection and read so many answers."""
    client = await running.client()
    await client.write(data)
    found = [read_acknowledgement(await client.receive()) for _ in range(count)]
    await client.close()
    return found


FAULTS = {
    "bytes before VT": (b"hello" + framed(adt(1)), ["AA"], "garbage_before_frame"),
    "FS and the next VT": (framed(adt(1))[:-1] + framed(adt(2)), ["AA", "AA"], "no_cr_after_fs"),
    "FS and silence": (framed(adt(1))[:-1], ["AA"], "no_cr_after_fs"),
    "VT in a message": (framed(adt(1) + b"NTE|1||a\x0bb\r"), ["AA"], "vt_in_data"),
    "FS in a message": (framed(adt(1) + b"NTE|1||a\x1cb\r"), ["AA"], "fs_in_data"),
    "given up and begun anew": (framed(adt(1))[:90] + framed(adt(2)), ["AR", "AA"], "cut_by_new_frame"),
    "too large": (framed(adt(1) + b"Z" * 60_000) + framed(adt(2)), ["AR", "AA"], "too_large"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_framing_is_answered_and_counted(kafka: KafkaServer, name: str) -> None:
    data, codes, fault = FAULTS[name]

    async def work() -> None:
        small = replace(DEFAULT, size_limit=50_000)
        async with listening(kafka, lambda service: replace(service, default=small)) as running:
            before = counted("phl_mllp_framing_faults_total", fault=fault)
            found = await answers(running, data, len(codes))
            assert [one.code for one in found] == codes
            assert counted("phl_mllp_framing_faults_total", fault=fault) == before + 1
            stored = await asyncio.to_thread(values, kafka, running.topic)
            assert len(stored) == codes.count("AA")

    run(work())


def test_the_refusal_of_a_large_message_names_it(kafka: KafkaServer) -> None:
    async def work() -> None:
        small = replace(DEFAULT, size_limit=50_000)
        async with listening(kafka, lambda service: replace(service, default=small)) as running:
            (found,) = await answers(running, framed(adt(7) + b"Z" * 900_000), 1)
            assert (found.code, found.control_id) == ("AR", b"A000007")

    run(work())


def test_a_message_without_end_is_refused_and_not_kept(kafka: KafkaServer) -> None:
    async def work() -> None:
        small = replace(DEFAULT, size_limit=50_000)
        async with listening(kafka, lambda service: replace(service, default=small)) as running:
            client = await running.client()
            await client.write(b"\x0b" + adt(1))
            most = 0
            for _ in range(100):
                await client.write(b"Z" * 200_000)
                most = max(most, running.listener.budget.held)
            assert read_acknowledgement(await client.receive()).code == "AR"
            assert most < 200_000
            await client.write(b"\x1c\r" + framed(adt(2)))
            assert read_acknowledgement(await client.receive()).code == "AA", "the connection goes on"
            await client.close()

    run(work())


def test_nothing_but_noise_ends_the_connection(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            with pytest.raises(TransportError, match="MLLP-CLOSED"):  # noqa: PT012 - at which write is open
                for _ in range(100):
                    await client.write(b"GET / HTTP/1.1\r\n" * 1000)
                await client.receive()
            assert (await running.ask(adt(1))).code == "AA"

    run(work())


def with_conditions(number: int, accept: str, application: str) -> bytes:
    return adt(number).replace(b"|P|2.5.1|||||", f"|P|2.5.1|||{accept}|{application}|".encode(), 1)


def test_enhanced_mode_answers_what_was_asked_for(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            client = await running.client()
            for number, accept in enumerate(("NE", "ER", "AL", "SU")):
                await client.write(framed(with_conditions(number, accept, "NE")))
            await client.write(framed(with_conditions(9, "AL", "AL")))
            found = [read_acknowledgement(await client.receive()) for _ in range(4)]
            assert [(one.code, one.control_id) for one in found] == [
                ("CA", b"A000002"),
                ("CA", b"A000003"),
                ("CA", b"A000009"),
                ("AA", b"A000009"),
            ]
            assert await client.ask(with_conditions(10, "NE", "NE")) is None
            both = await client.ask(with_conditions(11, "AL", "AL"))
            assert both is not None
            assert (both.code, both.control_id) == ("AA", b"A000011")
            quiet = await client.ask(with_conditions(12, "ER", "NE"))
            assert quiet is None
            await client.close()
            assert len(await asyncio.to_thread(values, kafka, running.topic)) == 8, "silence is not loss"

    run(work())


def test_a_sender_that_closes_its_half_still_has_its_answers(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka) as running:
            reader, writer = await asyncio.open_connection("localhost", running.port)
            writer.write(b"".join(framed(adt(number)) for number in range(200)))
            writer.write_eof()
            assert (await reader.read()).count(b"MSA|AA|") == 200
            writer.close()
            assert not running.listener.connections

    run(work())


def test_a_sender_that_never_reads_its_answers_is_ended(kafka: KafkaServer) -> None:
    async def work() -> None:
        hasty = replace(DEFAULT, idle_timeout=1.0)
        async with listening(kafka, lambda service: replace(service, default=hasty)) as running:
            before = counted("phl_mllp_connections_closed_total", reason="takes_no_answers")
            _reader, writer = await asyncio.open_connection("localhost", running.port, limit=1024)
            nothing = framed(b"") * 20_000

            async def flood() -> None:
                while True:
                    writer.write(nothing)
                    await writer.drain()

            with pytest.raises(ConnectionError):
                await flood()
            assert counted("phl_mllp_connections_closed_total", reason="takes_no_answers") == before + 1
            assert (await running.ask(adt(1))).code == "AA"

    run(work())


def test_a_message_that_is_begun_and_left_is_ended(kafka: KafkaServer) -> None:
    async def work() -> None:
        hasty = replace(DEFAULT, idle_timeout=0.5)
        async with listening(kafka, lambda service: replace(service, default=hasty)) as running:
            before = counted("phl_mllp_framing_faults_total", fault="partial_frame")
            client = await running.client()
            await client.write(framed(adt(1))[:-30])
            with pytest.raises(TransportError, match="MLLP-CLOSED"):
                await client.receive()
            assert counted("phl_mllp_framing_faults_total", fault="partial_frame") == before + 1
            assert running.listener.budget.held == 0

    run(work())


def test_more_connections_than_allowed_are_closed_and_a_thousand_are_held(kafka: KafkaServer) -> None:
    async def work() -> None:
        async with listening(kafka, lambda service: replace(service, max_connections=200)) as running:
            clients = [await running.client() for _ in range(200)]
            with pytest.raises(TransportError, match="MLLP-CLOSED"):
                await running.ask(adt(0))
            found = await asyncio.gather(*(client.send(adt(n)) for n, client in enumerate(clients)))
            assert [read_acknowledgement(one).code for one in found] == ["AA"] * 200
            for client in clients:
                await client.close()
            while running.listener.connections:  # noqa: ASYNC110 - they end by themselves
                await asyncio.sleep(0.01)
            assert (await running.ask(adt(1))).code == "AA"

    run(work())


def failing(
    errors: list[Exception], then: Callable[[Record], Awaitable[None]]
) -> Callable[[Record], Awaitable[None]]:
    async def deliver(record: Record) -> None:
        if errors:
            raise errors.pop(0)
        await then(record)

    return deliver


def test_senders_wait_for_what_passes_and_not_for_what_does_not(kafka: KafkaServer) -> None:
    errors: list[Exception] = []

    def change(service: Service) -> Service:
        return replace(service, deliver=failing(errors, service.deliver), waits=True)

    async def work() -> None:
        async with listening(kafka, change) as running:
            errors[:] = [TransportError("KAFKA-NOT-STORED", "away")]
            assert (await running.ask(adt(1))).code == "AA"
            errors[:] = [ConfigError("KAFKA-REFUSED", "no")]
            found = await running.ask(adt(2))
            assert (found.code, found.reason) == ("AE", "KAFKA-REFUSED")

    run(work())


def test_a_store_that_is_away_is_ae_and_nothing_goes_to_kafka(kafka: KafkaServer) -> None:
    objects: dict[str, bytes] = {}
    errors: list[Exception] = [TransportError("STORE-UNREACHABLE", "away")]

    def store(message: bytes) -> StoredObject:
        if errors:
            raise errors.pop()
        return store_large(message, objects.__setitem__)

    async def work() -> None:
        async with listening(kafka, lambda service: replace(service, store=store, threshold=1000)) as running:
            large = adt(1) + b"NTE|1||" + b"x" * 2000 + b"\r"
            assert (await running.ask(large)).code == "AE"
            assert await asyncio.to_thread(values, kafka, running.topic) == []
            assert (await running.ask(large)).code == "AA"
            assert list(objects.values()) == [large]

    run(work())


def test_plain_text_on_a_tls_port_harms_nobody(kafka: KafkaServer, tmp_path: Path) -> None:
    certificates(tmp_path)
    server = tls_context(str(tmp_path / "listener.pem"), str(tmp_path / "listener.key"))

    async def work() -> None:
        async with listening(kafka, tls=server) as running:
            with pytest.raises(TransportError):
                await running.ask(adt(1))
            trusting = client_tls(str(tmp_path / "ca.pem"))
            client = await running.client(trusting)
            for byte in framed(adt(2)):
                await client.write(bytes([byte]))
            assert read_acknowledgement(await client.receive()).code == "AA"
            large = adt(3) + b"NTE|1||" + b"x" * 3_000_000 + b"\r"
            assert read_acknowledgement(await client.send(large)).code == "AA"
            assert list(running.objects.values()) == [large]
            await client.close()
            while running.listener.connections:  # noqa: ASYNC110 - it ends by itself
                await asyncio.sleep(0.01)

    run(work())


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    certificates(tmp_path)
    with pytest.raises((ssl.SSLError, OSError)):
        tls_context(str(tmp_path / "listener.pem"), str(tmp_path / "listener-locked.key"))
