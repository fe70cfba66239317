"""What the tests of the listener share: a listener in this process, one in a process of its own, certificates."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import REGISTRY

from connectors.kafka.deliver import Deliverer
from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic, ensure_topic
from connectors.mllp.client import Acknowledgement, MllpClient, read_acknowledgement
from connectors.mllp.server import Listener, Service
from connectors.routing import StoredObject, store_large
from schemas.source import Source
from tests.conftest import KafkaServer, phl_command

DEFAULT = Source("mllp", idle_timeout=60.0)


@dataclass
class Running:
    listener: Listener
    port: int
    topic: str
    objects: dict[str, bytes]
    deliverer: Deliverer

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
        yield Running(listener, port, topic, objects, deliverer)
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


def until_refused(port: int) -> None:
    """Wait until nobody listens on a port; one that closes resets what it had not accepted yet."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("localhost", port), timeout=10).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue
        time.sleep(0.05)
    raise AssertionError("it still listens")


def certificates(folder: Path) -> None:
    """A small authority (``ca.pem``), a listener's and a sender's certificate, and a key with a passphrase."""
    now = datetime.now(UTC)

    def issue(name: str, signer: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey) -> None:
        authority = name == "ca"
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named("ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(_pem(key, serialization.NoEncryption()))

    root = ec.generate_private_key(ec.SECP256R1())
    issue("ca", root, root)
    for name in ("listener", "sender"):
        key = ec.generate_private_key(ec.SECP256R1())
        issue(name, root, key)
        locked = serialization.BestAvailableEncryption(b"passphrase")
        (folder / f"{name}-locked.key").write_bytes(_pem(key, locked))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


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
        said = json.loads(line)
        self.port = int(said["ports"][0])
        self.metrics_port = said["metrics_port"]

    def printed(self) -> str:
        """What it wrote to stderr so far."""
        self.log.seek(0)
        return self.log.read()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def counted(name: str, **labels: str) -> float:
    """A metric of the listener in this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
