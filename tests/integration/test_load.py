"""``phl load`` as a user runs it, into the real Kafka and the real S3 store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from tests.conftest import KafkaServer, RunPhl

SENTINEL = "Sentinelperson"
A = f"MSH|^~\\&|LAB|H|||20260301||ADT^A01|1|P|2.5.1\rPID|1||77^^^H||{SENTINEL}\r".encode()
B = b"MSH|^~\\&|LAB|H|||20260301||ORU^R01|2|P|2.5.1\rPID|1||78^^^H\r"
LARGE = B + b"OBX|1|ED|PDF||" + b"Q" * 1_000_000 + b"\r"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "batch.hl7").write_bytes(
        b"FHS|^~\\&\nBHS|^~\\&\n" + A.replace(b"\r", b"\n") + B + b"BTS|3\nFTS|1\n"
    )
    (folder / "large.hl7").write_bytes(LARGE)
    (folder / "README").write_text("no HL7 at all\n")
    return folder


def landed(kafka: KafkaServer, env: Mapping[str, str]) -> Iterator[tuple[bytes, Mapping[str, bytes]]]:
    """Values and headers of all records of the topic."""
    state = describe_topic(kafka.connection, env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.hl7v2")
    for partition, (low, high) in state.partitions.items():
        if low < high:
            offsets = OffsetRange(state.topic, state.topic_id, partition, low, high)
            for records in read_range(kafka.connection, offsets):
                for value, headers in zip(records.values, records.headers, strict=True):
                    yield value or b"", headers


def test_files_go_to_kafka_and_large_messages_to_objects(
    kafka: KafkaServer, lake_location: LakeLocation, run_phl: RunPhl, phl_env: Mapping[str, str], files: Path
) -> None:
    answer = run_phl("load", files, "--source", "county-3", "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["messages"], report["delivered"], report["objects"], report["files"]) == (3, 3, 1, 3)
    assert report["findings"] == {"BATCH-COUNT": 1, "NOT-HL7": 1}
    assert report["complete"]
    assert "source_not_configured" in answer.stderr
    assert SENTINEL not in answer.stdout + answer.stderr

    records = list(landed(kafka, phl_env))
    assert sorted(value for value, _ in records) == sorted([A.replace(b"\r", b"\n"), B, b""])
    assert {headers["source"] for _, headers in records} == {b"county-3"}
    (large,) = [headers for value, headers in records if not value]
    assert large["object-sha256"].decode() == hashlib.sha256(LARGE).hexdigest()
    assert open_store(lake_location).get(large["object-path"].decode()) == LARGE


def test_a_file_that_cannot_be_read_ends_with_1_and_the_others_are_sent(
    kafka: KafkaServer, run_phl: RunPhl, phl_env: Mapping[str, str], files: Path
) -> None:
    answer = run_phl("load", files / "absent.hl7", files / "batch.hl7", "--source", "county-3")
    assert answer.returncode == 1
    assert "FILE-UNREADABLE" in answer.stdout
    assert "absent.hl7" in answer.stdout
    assert len(list(landed(kafka, phl_env))) == 2


def test_a_dry_run_needs_no_services_and_sends_nothing(run_phl: RunPhl, files: Path) -> None:
    nowhere = {"PHL_KAFKA_BOOTSTRAP": "127.0.0.1:1", "PHL_S3_ENDPOINT": "http://127.0.0.1:1"}
    answer = run_phl("load", files, "-s", "county-3", "--dry-run", "--json", env=nowhere)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["messages"], report["delivered"], report["dry_run"]) == (3, 0, True)


@pytest.mark.parametrize("wrong", [["--source", "a b"], ["--source", "x", "--batch-id", "a\nb"]])
def test_wrong_arguments_are_refused_before_anything_starts(
    run_phl: RunPhl, files: Path, wrong: list[str]
) -> None:
    answer = run_phl("load", files, *wrong)
    assert answer.returncode == 78
    assert wrong[-2] in answer.stderr


def test_kafka_that_is_away_is_told(run_phl: RunPhl, files: Path) -> None:
    answer = run_phl("load", files, "--source", "x", "--json", env={"PHL_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert answer.returncode == 75
    report = json.loads(answer.stdout)
    assert report["broken_off"]
    assert not report["complete"]
    assert SENTINEL not in answer.stdout + answer.stderr
