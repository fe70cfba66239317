"""Kafka → tables with the real services: the same rows whatever the batches, the runner and the repetitions."""

from __future__ import annotations

import dataclasses
import sys
from hashlib import sha256
from pathlib import Path

import pyarrow.compute as pc
import pytest

from connectors.routing import record_for, store_large
from jobs.ingest_once import ingest_once
from jobs.run_stages import Limits, land_lag, normalise_lag, prepare
from jobs.verify_lake import verify_lake
from lake_layout.lake import Lake, LakeLocation
from lake_layout.objects import open_store
from pipelines.hl7v2.modality import HL7V2
from schemas.hl7v2.header import read_header
from schemas.source import Source
from schemas.tables import OBSERVATION, RAW_HL7V2
from schemas.tables.ops import LEDGER, QUARANTINE
from tests.conftest import KafkaServer
from tests.integration.messages import adt, mdm, mixed, oru
from tests.integration.setting import RECEIVED, Setting, make_setting, send

STAGES = ("land", "normalise")
WORKERS = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture
def setting(kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path) -> Setting:
    return make_setting(kafka.connection, lake_location, tmp_path)


def assert_clean(setting: Setting, kafka: KafkaServer) -> None:
    report = verify_lake(setting.lake, (HL7V2,), kafka.connection, topic_prefix=setting.context.topic_prefix)
    assert report.clean(), report.differences


def test_each_message_ends_in_its_disposition(setting: Setting, kafka: KafkaServer) -> None:
    setting.send(mixed(100))
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {
        "accepted": 80, "duplicate": 10, "conflict": 4, "ignored": 3, "quarantined": 3,
    }  # fmt: skip
    assert_clean(setting, kafka)


def test_the_same_messages_again_change_nothing(setting: Setting, kafka: KafkaServer) -> None:
    setting.send(mixed(60))
    ingest_once([setting.context], STAGES)
    before = {table.name: setting.rows(table) for table in HL7V2.tables}
    setting.send(mixed(60))
    ingest_once([setting.context], STAGES)
    assert {table.name: setting.rows(table) for table in HL7V2.tables} == before
    assert_clean(setting, kafka)


def test_nothing_to_do_commits_nothing(setting: Setting) -> None:
    setting.send(mixed(10))
    ingest_once([setting.context], STAGES)
    written = (RAW_HL7V2, *HL7V2.tables, QUARANTINE, LEDGER)
    versions = {table.name: setting.lake.version(table) for table in written}
    ingest_once([setting.context], STAGES)
    assert {table.name: setting.lake.version(table) for table in written} == versions
    assert land_lag(setting.context) == normalise_lag(setting.context) == 0


def test_lag_is_what_is_left(setting: Setting) -> None:
    prepare(setting.context)
    setting.send([adt(number) for number in range(7)])
    assert (land_lag(setting.context), normalise_lag(setting.context)) == (7, 0)
    ingest_once([setting.context], ["land"])
    assert (land_lag(setting.context), normalise_lag(setting.context)) == (0, 7)


@pytest.mark.parametrize("size", [7, 40])
def test_batches_leave_no_trace(
    setting: Setting, kafka: KafkaServer, tmp_path: Path, local_location: LakeLocation, size: int
) -> None:
    """The same topic into two lakes, in one batch and in many: the same rows, and on folder and S3 alike."""
    setting.send(mixed(120))
    ingest_once([setting.context], STAGES)
    other = make_setting(
        kafka.connection,
        local_location,
        tmp_path / "other",
        prefix=setting.context.topic_prefix,
        limits=Limits(messages=size, part_messages=5),
    )
    for _ in range(120 // size + 2):
        ingest_once([other.context], STAGES)
    for table in HL7V2.tables:
        assert other.rows(table) == setting.rows(table), table.name
    # Of equal copies another one may be the first in another batch; how many there are of each does not change.
    assert other.dispositions() == setting.dispositions()
    assert_clean(other, kafka)


def test_separate_worker_processes_write_the_same(
    setting: Setting, kafka: KafkaServer, tmp_path: Path, local_location: LakeLocation
) -> None:
    setting.send(mixed(90))
    ingest_once([setting.context], STAGES)
    workers = make_setting(
        kafka.connection,
        local_location,
        tmp_path / "workers",
        prefix=setting.context.topic_prefix,
        limits=Limits(part_messages=20),
        options=WORKERS,
    )
    ingest_once([workers.context], STAGES)
    for table in (*HL7V2.tables, LEDGER):
        assert workers.rows(table) == setting.rows(table), table.name
    assert_clean(workers, kafka)


def test_processes_that_read_side_by_side_write_the_same(
    setting: Setting, kafka: KafkaServer, tmp_path: Path, local_location: LakeLocation
) -> None:
    setting.send(mixed(90))
    ingest_once([setting.context], STAGES)
    helped = make_setting(
        kafka.connection,
        local_location,
        tmp_path / "helped",
        prefix=setting.context.topic_prefix,
        limits=Limits(part_messages=40, helped_messages=10),
    )
    ingest_once([dataclasses.replace(helped.context, processes=2)], STAGES)
    for table in (*HL7V2.tables, LEDGER):
        assert helped.rows(table) == setting.rows(table), table.name
    assert_clean(helped, kafka)


def test_a_message_too_large_for_kafka_is_read_from_its_object(setting: Setting, kafka: KafkaServer) -> None:
    large = oru(1, results=3) + b"NTE|1||" + b"x" * 1_500_000 + b"\r"
    lost = oru(2) + b"NTE|1||" + b"y" * 1_500_000 + b"\r"
    store = open_store(setting.lake.location)
    records = []
    for message in (large, lost):
        stored = store_large(message, store.put_if_absent)
        records.append(
            record_for(
                message,
                read_header(message),
                Source("test"),
                RECEIVED,
                stored=stored,
                topic=setting.context.topic,
            )
        )
    store.delete(stored.path)
    send(kafka.connection, records)
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"accepted": 1, "quarantined": 1}
    assert len(setting.rows(OBSERVATION)) == 3
    codes = setting.lake.dataset(LEDGER).to_table(columns=["codes"]).column(0).to_pylist()
    assert ["OBJECT-MISSING"] in codes


def test_large_documents_lie_in_the_lake_before_their_rows(setting: Setting, kafka: KafkaServer) -> None:
    """Twice the same document, and one that is small: a row each, an object for the large one."""
    large, small = b"%PDF-1.7 " + bytes(range(256)) * 100, b"small"
    messages = [mdm(1, large), mdm(2, large), mdm(3, small)]
    setting.send(messages)
    ingest_once([setting.context], STAGES)
    columns = ["value_object_path", "value_size", "value_sha256", "value_text"]
    rows = setting.lake.dataset(OBSERVATION).to_table(columns=columns).to_pylist()
    store = open_store(setting.lake.location)
    paths = [str(row["value_object_path"]) for row in rows if row["value_object_path"]]
    assert [store.get(path) for path in paths] == [large, large]
    assert len({*paths}) == len(list(store.list("objects/documents/"))) == 1
    assert sorted(row["value_size"] for row in rows) == [5, len(large), len(large)]
    assert {row["value_sha256"] for row in rows} == {sha256(large).hexdigest(), sha256(small).hexdigest()}
    assert [row["value_text"] is None for row in rows].count(True) == 2
    setting.send([mdm(4, large)])
    ingest_once([setting.context], STAGES)
    assert len(setting.rows(OBSERVATION)) == 4
    assert_clean(setting, kafka)


def test_records_by_other_hands_are_kept(setting: Setting, kafka: KafkaServer) -> None:
    """No headers, no value: what somebody else wrote to the topic still gets its disposition."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(setting.context.topic, adt(1))
    producer.produce(setting.context.topic, None, b"key")
    producer.produce(setting.context.topic, b"")
    producer.produce(
        setting.context.topic,
        b"\x00\xff\xfe" * 50,
        headers=[("received-at", b"yesterday"), ("source", b"\xff")],
    )
    assert producer.flush(30) == 0
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"accepted": 1, "quarantined": 3}
    assert_clean(setting, kafka)


def test_raw_keeps_every_byte(setting: Setting) -> None:
    messages = [adt(1), b"\x0b\x1c\r\n\x00 not HL7 at all \xff", oru(2).replace(b"\r", b"\n")]
    setting.send(messages)
    ingest_once([setting.context], ["land"])
    kept = setting.lake.dataset(RAW_HL7V2).to_table(columns=["payload"]).column(0).to_pylist()
    assert sorted(kept) == sorted(messages)


def test_an_unreadable_body_takes_no_part_in_deduplication(setting: Setting, kafka: KafkaServer) -> None:
    utf16 = "MSH|^~\\&|A|B|||20260301||ADT^A01|X1|P|2.5\rPID|1\r".encode("utf-16")
    setting.send([utf16, utf16, adt(3)])
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"accepted": 1, "quarantined": 2}
    assert_clean(setting, kafka)


def test_nothing_a_message_says_is_printed(
    setting: Setting, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = "SENTINELPATIENT"
    setting.send([adt(1, family=marker), oru(2, value=marker), marker.encode() * 3, adt(4, sent=marker)])
    ingest_once([setting.context], STAGES)
    monkeypatch.setattr("pipelines.read_part.read_messages", _failing(marker))
    setting.send([adt(5, family=marker)])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever comes out, it must not carry the marker
        ingest_once([setting.context], STAGES)
    sys.stderr.write(f"{caught.value!r} {caught.value}")
    out, err = capfd.readouterr()
    assert "batch_done" in out + err
    assert marker not in out
    assert marker not in err


def _failing(marker: str) -> object:
    def fail(*_: object) -> object:
        # what Arrow says of text that is no number carries the text
        return pc.cast([marker], "int64")

    return fail


def test_a_lake_of_two_modalities_is_not_confused(setting: Setting) -> None:
    """Names of stages and app ids hold the modality, so that another one can share ledger and quarantine."""
    setting.send([adt(1)])
    ingest_once([setting.context], STAGES)
    ledger = Lake(setting.lake.location).open(LEDGER)
    assert ledger.transaction_version("batch:normalise-hl7v2") == 1
    assert ledger.transaction_version("normalise:raw/hl7v2") == setting.lake.version(RAW_HL7V2)
