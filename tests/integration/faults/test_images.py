"""Senders of images that do not give up, while the listener, the broker and the store die: all of it is in the lake."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

from jobs.soak.tally import Tally
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from tests.conftest import KafkaServer, RunPhl, S3Server
from tests.integration.mllp_setting import Process
from tests.integration.test_dicom_process import kept, recorded, with_source
from tests.tools.dicom_sender import RawSender, instance, store_pdus

SENDERS = 4
LARGE = 9_000_000


def send_until_stored(port: int, number: int, pixels: int) -> None:
    """As a sender that follows the protocol: again, until the answer is Success."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with RawSender(port) as sender:
                if sender.store(number, instance(number, pixels)) == 0:
                    return
        except (OSError, EOFError):
            time.sleep(0.2)
    raise AssertionError("not stored")


def test_everything_dies_in_the_middle_of_images_and_nothing_is_lost(
    kafka: KafkaServer, s3: S3Server, lake_location: LakeLocation, phl_env: dict[str, str], tmp_path: Path,
    run_phl: RunPhl, tally: Tally,
) -> None:  # fmt: skip
    env, port = with_source(phl_env)
    env |= {"PHL_LISTEN_DELIVERY_SECONDS": "3"}
    process = Process(env, tmp_path)
    here = threading.Barrier(SENDERS + 1)

    def send(first: int) -> None:
        with RawSender(port) as sender:
            assert sender.store(first, instance(first, 600_000)) == 0
            pdus = b"".join(store_pdus(first + 1, instance(first + 1, LARGE)))
            sender.socket.sendall(pdus[: len(pdus) // 2])
            here.wait(60)
            here.wait(60)
        send_until_stored(port, first + 1, LARGE)

    threads = [threading.Thread(target=send, args=(10 * number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    here.wait(60)
    process.end(signal.SIGKILL)
    s3.kill()
    kafka.kill()
    here.wait(60)
    kafka.start()
    process = Process(env, tmp_path)  # the store is still away
    time.sleep(1)
    s3.start()
    for thread in threads:
        thread.join(120)
    assert process.end(signal.SIGTERM) == 0
    for what in ("listener killed", "broker killed", "store killed"):
        tally.add(f"beside images: {what}")

    objects = recorded(kafka, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.dicom")
    assert len(objects) == 2 * SENDERS
    assert kept(open_store(lake_location)) == objects
    assert not list((tmp_path / "state" / "spool" / "dicom").iterdir())
    waiting = checked(run_phl, "--strict")
    assert (waiting["listed"], waiting["waiting"], waiting["orphans"]) == (8, 8, 0), (
        "Kafka knows them already"
    )
    assert run_phl("ingest", "--once").returncode == 0
    assert run_phl("verify", "--strict").returncode == 0
    found = checked(run_phl, "--strict", "--deep", "--no-kafka")
    assert (found["named"], found["listed"], found["hashed"], found["orphans"]) == (8, 8, 8, 0)


def checked(run_phl: RunPhl, *options: str) -> dict[str, object]:
    """The report of a check of objects that finds nothing wrong."""
    done = run_phl("objects", "check", "--grace", "0s", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report
