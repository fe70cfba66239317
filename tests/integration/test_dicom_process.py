"""``phl listen`` as a C-STORE SCP, with Kafka and S3: either of them away, TLS, what is printed."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic
from lake_layout.location import LakeLocation
from lake_layout.objects import ObjectStore, open_store
from tests.conftest import KafkaServer, RunPhl, S3Server
from tests.integration.mllp_setting import Process, certificates
from tests.tools.dicom_sender import RawSender, instance, write_file


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def with_source(env: dict[str, str], **more: object) -> tuple[dict[str, str], int]:
    """Settings with a source that sends images, and its port."""
    port = free_port()
    source = {"name": "pacs", "protocol": "dicom", "port": port, "ae_title": "PHL"} | more
    return env | {"PHL_SOURCES": json.dumps([source])}, port


def recorded(kafka: KafkaServer, topic: str) -> dict[str, int]:
    """Path of an object → its size, of all records of a topic."""
    state = describe_topic(kafka.connection, topic)
    found = {}
    for partition, (low, high) in state.partitions.items():
        for records in read_range(kafka.connection, OffsetRange(topic, state.topic_id, partition, low, high)):
            for headers in records.headers:
                found[headers["attachment-uri"].decode()] = int(headers["attachment-size"])
    return found


def kept(store: ObjectStore) -> dict[str, int]:
    """Path of an object → its size, of all objects of images."""
    return {one.path: one.size for one in store.list("objects/dicom/")}


def test_while_something_is_away_objects_are_refused_and_sent_again(
    kafka: KafkaServer, s3: S3Server, phl_env: dict[str, str], lake_location: LakeLocation, tmp_path: Path
) -> None:
    env, port = with_source(phl_env)
    process = Process(env | {"PHL_LISTEN_DELIVERY_SECONDS": "3"}, tmp_path)
    servers: tuple[KafkaServer | S3Server, ...] = (s3, kafka)
    try:
        with RawSender(port) as sender:
            for number, server in enumerate(servers):
                server.stop()
                assert sender.store(number, instance(number)) == 0xA700
                server.start()
                deadline = time.monotonic() + 90
                while sender.store(number, instance(number)) != 0:
                    assert time.monotonic() < deadline, "the listener does not go on"
    finally:
        process.end(signal.SIGTERM)
    objects = recorded(kafka, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.dicom")
    assert len(objects) == 2
    assert kept(open_store(lake_location)) == objects


def test_send_by_dicom_over_mutual_tls(phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl) -> None:
    certificates(tmp_path)
    names = {"cert": "listener.pem", "key": "listener.key", "client_ca": "ca.pem"}
    tls = {name: str(tmp_path / file) for name, file in names.items()}
    env, port = with_source(phl_env, tls=tls, calling_ae_titles=["PHL-SEND"])
    process = Process(env, tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(3):
        write_file(tmp_path / "images", number)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    to = (
        "send", tmp_path / "images", "--to", f"localhost:{port}", "--protocol", "dicom", "--patience", "20",
        "--ca", tmp_path / "ca.pem", "--json",
    )  # fmt: skip
    own = ("--cert", tmp_path / "sender.pem", "--key", tmp_path / "sender.key")
    known = run_phl(*to, *own, "--connections", "2")
    assert known.returncode == 0, known.stderr
    report = json.loads(known.stdout)
    assert (report["sent"], report["accepted"], report["codes"]) == (3, 3, {"0000": 3})
    assert report["not_dicom"] == 1
    assert run_phl(*to).returncode == 75, "a sender without a certificate is not let in"
    other = run_phl(*to, *own, "--called", "OTHER")
    assert other.returncode == 78
    assert "DICOM-REJECTED" in other.stderr
    assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.printed()


def test_nothing_of_a_patient_is_printed(phl_env: dict[str, str], tmp_path: Path) -> None:
    sentinel = "SENTINELPATIENT"
    env, port = with_source(phl_env, size_limit=100_000)
    process = Process(env | {"PHL_LOG_LEVEL": "debug"}, tmp_path, "--metrics-port", "0")
    attempts: list[Callable[[RawSender], object]] = [
        lambda sender: sender.store(1, instance(1, patient=sentinel)),
        lambda sender: sender.store(1, instance(2, patient=sentinel)),
        lambda sender: sender.store(3, instance(3, 200_000, patient=sentinel)),
        lambda sender: sender.store(4, sentinel.encode()),
        lambda sender: sender.socket.sendall(sentinel.encode()),
    ]
    for attempt in attempts:
        with RawSender(port) as sender:
            attempt(sender)
    with RawSender(port, calling=sentinel) as sender:
        assert sender.answer == 2
    assert process.end(signal.SIGTERM) == 0
    assert "DICOM-TOO-LARGE" in process.printed()
    assert sentinel not in process.printed()
