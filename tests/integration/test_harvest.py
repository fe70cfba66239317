"""``phl harvest`` as a user runs it, into the real Kafka, from folders and the real S3 store."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pydicom
import pytest

from connectors.dicom.harvest import Look, outcomes
from connectors.dicom.header import Cut, find_cut
from connectors.dicom.record import DICOM_TOPIC
from connectors.dicom.s3_place import S3Place
from connectors.kafka.ranges import OffsetRange, read_range
from connectors.kafka.topics import describe_topic, ensure_topic
from connectors.routing import HL7_TOPIC
from jobs.harvest import name_hash
from jobs.soak.faulty_store import faulty_store, nothing, seeded
from lake_layout.objects import s3_client
from schemas.errors import TransportError
from schemas.source import Source
from tests.conftest import ROOT, KafkaServer, RunPhl, S3Server, phl_command
from tests.dicom_files import DATA, SENTINEL, SMALL, fill, pack, small

COUNT = 900
"""Images that a harvest is killed among: it remembers what Kafka confirmed after each 500."""


def landed(kafka: KafkaServer, env: Mapping[str, str]) -> Iterator[tuple[bytes, Mapping[str, bytes]]]:
    """Values and headers of all records of the topic."""
    state = describe_topic(kafka.connection, env["PHL_KAFKA_TOPIC_PREFIX"] + DICOM_TOPIC)
    for partition, (low, high) in state.partitions.items():
        if low < high:
            offsets = OffsetRange(state.topic, state.topic_id, partition, low, high)
            for records in read_range(kafka.connection, offsets):
                for value, headers in zip(records.values, records.headers, strict=True):
                    yield value or b"", headers


def uris(kafka: KafkaServer, env: Mapping[str, str]) -> list[str]:
    return sorted(headers["attachment-uri"].decode() for _, headers in landed(kafka, env))


def header_of(data: bytes) -> bytes:
    cut = find_cut(data, ended=True)
    assert isinstance(cut, Cut)
    return cut.header


def test_a_folder_goes_to_kafka_once(
    kafka: KafkaServer, run_phl: RunPhl, phl_env: Mapping[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    fill(archive, 20)
    (archive / f"{SENTINEL}.txt").write_text("a letter")
    pack(archive / "more.zip", ((f"{number}.dcm", small(number)) for number in range(20, 25)))
    answer = run_phl("harvest", archive, "--source", "pacs-1", "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["delivered"], report["looked_at"], report["findings"]) == (
        25,
        26,
        {"HARVEST-NOT-DICOM": 1},
    )
    assert SENTINEL not in answer.stdout + answer.stderr
    records = list(landed(kafka, phl_env))
    assert sorted(value for value, _ in records) == sorted(header_of(small(number)) for number in range(25))
    assert {headers["source"] for _, headers in records} == {b"pacs-1"}

    names = tmp_path / "names"
    second = run_phl("harvest", archive, "--source", "pacs-1", "--list-names", names)
    assert second.returncode == 0, second.stderr
    assert "skipped 26 that a former run has settled" in second.stdout
    assert len(uris(kafka, phl_env)) == 25
    third = run_phl("harvest", archive, "--source", "pacs-2", "--list-names", names)
    letter = f"file://{archive}/{SENTINEL}.txt"
    assert names.read_text() == f"HARVEST-NOT-DICOM\t{name_hash(letter)}\t{letter}\n"
    assert name_hash(letter) in third.stdout
    assert names.stat().st_mode & 0o777 == 0o600


def test_an_s3_prefix_is_read_by_ranges_and_taken_again_where_it_changed(
    kafka: KafkaServer, s3: S3Server, run_phl: RunPhl, phl_env: Mapping[str, str], tmp_path: Path
) -> None:
    location = s3.location("unused")
    client = s3_client(location)
    prefix = f"pacs-{tmp_path.name}"

    def put(key: str, data: bytes) -> None:
        client.put_object(Bucket=s3.bucket, Key=f"{prefix}/{key}", Body=data)

    large = (DATA / "test_files" / "rtdose_expb.dcm").read_bytes() + bytes(3_000_000)
    put("large 张+&.dcm", large)
    put("deflated", (DATA / "test_files" / "image_dfl.dcm").read_bytes())
    put("note", b"no DICOM at all" * 50)
    put("empty", b"")
    for number in range(90):
        put(f"many/{number}", small(number))
    file = tmp_path / "x.zip"
    pack(file, ((f"{number}.dcm", small(number)) for number in range(100, 105)))
    put("x.zip", file.read_bytes())
    client.put_object(Bucket=s3.bucket, Key=f"{prefix}-other/1", Body=SMALL)

    uri = f"s3://{s3.bucket}/{prefix}"
    answer = run_phl("harvest", uri, "--source", "pacs", "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["findings"] == {"HARVEST-EMPTY": 1, "HARVEST-NOT-DICOM": 1}
    assert report["delivered"] == 97
    records = {
        headers["attachment-uri"].decode(): (value, headers) for value, headers in landed(kafka, phl_env)
    }
    assert len(records) == 97
    value, headers = records[f"{uri}/large 张+&.dcm"]
    assert value == header_of(large)
    assert headers["attachment-size"] == b"%d" % len(large)
    assert (
        headers["attachment-etag"].decode()
        in client.head_object(Bucket=s3.bucket, Key=f"{prefix}/large 张+&.dcm")["ETag"]
    )
    assert records[f"{uri}/x.zip!/103.dcm"][0] == header_of(small(103))

    put("many/7", small(7_000))
    second = json.loads(run_phl("harvest", f"{uri}/", "--source", "pacs", "--json").stdout)
    assert (second["known"], second["delivered"]) == (98, 1)
    one = json.loads(run_phl("harvest", f"{uri}/many/8", "-s", "pacs", "--again", "--json").stdout)
    assert (one["looked_at"], one["delivered"]) == (1, 1)


def test_answers_that_get_lost_cost_no_header_and_what_is_refused_is_told(
    s3: S3Server, tmp_path: Path
) -> None:
    location = s3.location("unused")
    client = s3_client(location)
    prefix = f"lossy-{tmp_path.name}"
    for number in range(40):
        client.put_object(Bucket=s3.bucket, Key=f"{prefix}/{number:02}", Body=small(number))
    with faulty_store(location) as faulty:
        place = S3Place(faulty.location, prefix)
        look = Look(Source("pacs"), "raw.dicom", place.first, lambda path, data: (path, data))
        found = list(place.found())
        faulty.fault = seeded(3, 0.2)
        seen = list(outcomes(found, lambda some: [False] * len(some), look, place.workers))
        headers = [
            outcome.record.value for outcome in seen if outcome is not None and outcome.record is not None
        ]
        assert headers == [header_of(small(number)) for number in range(40)]
        assert len(faulty.seen) > 3

        faulty.always("GET", "/01", "403")
        assert look(found[1]).code == "HARVEST-UNREADABLE"
        faulty.fault = nothing
        client.delete_object(Bucket=s3.bucket, Key=f"{prefix}/02")
        assert look(found[2]).code == "HARVEST-VANISHED"
        client.put_object(Bucket=s3.bucket, Key=f"{prefix}/03", Body=small(99))
        assert look(found[3]).code == "HARVEST-CHANGED"
        faulty.always("GET", "/04", "away 503")
        with pytest.raises(TransportError, match="STORE-UNREACHABLE") as refused:
            look(found[4])
        assert prefix not in str(refused.value)  # a key may name a patient


def test_a_harvest_that_is_killed_goes_on_where_it_was_and_nothing_is_there_twice(
    kafka: KafkaServer, run_phl: RunPhl, phl_env: Mapping[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    fill(archive, COUNT)
    command = phl_command("harvest", archive, "--source", "pacs", "--workers", "1")
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(phl_env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    name = f"{phl_env['PHL_KAFKA_TOPIC_PREFIX']}{DICOM_TOPIC}-pacs.sqlite"
    memory = Path(phl_env["PHL_STATE_DIR"], "harvest", name)
    while process.poll() is None and not settled(memory):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = settled(memory)
    assert before > 0

    answer = run_phl("harvest", archive, "--source", "pacs", "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["known"], report["delivered"]) == (before, COUNT - before)
    third = run_phl("harvest", archive, "--source", "pacs", "--json", "--again", "--limit", "40")
    assert json.loads(third.stdout)["delivered"] == 40
    found = uris(kafka, phl_env)
    assert len(set(found)) == COUNT
    assert len(found) >= COUNT + 40

    ensure_topic(kafka.connection, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + HL7_TOPIC, 1)  # as phl up does
    ingested = run_phl("ingest", "--once")
    assert ingested.returncode == 0, ingested.stderr
    sql = " UNION ALL ".join(
        f"SELECT count(*) AS n, count(DISTINCT sop_instance_uid) AS d, count(attachment_uri) AS u FROM {table}"
        for table in ("normalised.imaging_instance", "curated.imaging_instance")
    )
    assert json.loads(run_phl("query", "--json", sql).stdout) == 2 * [{"n": COUNT, "d": COUNT, "u": COUNT}]
    assert run_phl("verify").returncode == 0


def settled(memory: Path) -> int:
    """How many things a harvest has remembered."""
    if not memory.exists():
        return 0
    base = sqlite3.connect(memory)
    try:
        return int(base.execute("SELECT count(*) FROM settled").fetchone()[0])
    except sqlite3.OperationalError:  # it is just being made
        return 0
    finally:
        base.close()


def test_a_store_that_is_away_is_told(run_phl: RunPhl) -> None:
    away = run_phl(
        "harvest", "s3://lake/x", "-s", "x", "--json", env={"PHL_S3_ENDPOINT": "http://127.0.0.1:1"}
    )
    assert away.returncode == 75
    assert "STORE-UNREACHABLE" in away.stderr
    assert json.loads(away.stdout)["broken_off"]


def test_a_dry_run_needs_no_services_and_reads_what_pydicom_brings(run_phl: RunPhl) -> None:
    nowhere = {"PHL_KAFKA_BOOTSTRAP": "127.0.0.1:1", "PHL_S3_ENDPOINT": "http://127.0.0.1:1"}
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    answer = run_phl("harvest", folder, "-s", "pacs", "--dry-run", "--json", env=nowhere)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["dry_run"], report["delivered"]) == (True, 0)
    assert report["headers"] > 100
    wrong = run_phl("harvest", "ftp://x/y", "-s", "pacs", "--dry-run")
    assert (wrong.returncode, "HARVEST-URI" in wrong.stderr) == (78, True)
