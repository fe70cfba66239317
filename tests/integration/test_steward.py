"""Events of stewards take the way of every message: Kafka, raw, tables, ledger, and they can be verified."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.kafka.ranges import ensure_topic
from connectors.records import CONTENT_TYPE, RECEIVED_AT, SOURCE, Record, timestamp
from jobs.ingest_once import ingest_once
from jobs.verify_lake import verify_lake
from lake_layout.lake import LakeLocation
from pipelines.identity import edges_of_steward
from pipelines.steward.modality import STEWARD
from schemas.steward import PatientIdentifier, StewardEvent
from schemas.tables import RAW_STEWARD, STEWARD_EVENT
from tests.conftest import KafkaServer, RunPhl
from tests.integration.messages import adt
from tests.integration.setting import RECEIVED, Setting, make_setting, send

FIRST, SECOND = PatientIdentifier("P1", "CLINIC", "MR"), PatientIdentifier("P2", "CLINIC")


@pytest.fixture
def setting(kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path) -> Setting:
    made = make_setting(kafka.connection, lake_location, tmp_path)
    context = dataclasses.replace(made.context, modality=STEWARD)
    ensure_topic(kafka.connection, context.topic, 1, {})
    return Setting(context)


def test_events_are_landed_and_read_like_messages(setting: Setting, kafka: KafkaServer) -> None:
    when = datetime(2026, 2, 27, 8, tzinfo=UTC)
    link = StewardEvent("e1", "link", when, "chen.li", "the same woman", FIRST, SECOND)
    undone = dataclasses.replace(link, id="e2", action="unlink", why="two sisters")
    headers = (
        (SOURCE, b"stewards"), (CONTENT_TYPE, b"application/json"), (RECEIVED_AT, timestamp(RECEIVED)),
    )  # fmt: skip
    events = [link.to_bytes(), link.to_bytes(), undone.to_bytes(), b"no event"]
    send(kafka.connection, [Record(setting.context.topic, b"P1", event, headers) for event in events])

    ingest_once([setting.context], ("land", "normalise"))

    assert setting.dispositions() == {"accepted": 2, "duplicate": 1, "quarantined": 1}
    assert setting.lake.dataset(RAW_STEWARD).count_rows() == 4
    rows = setting.lake.dataset(STEWARD_EVENT).to_table()
    assert sorted(zip(rows.column("event_id").to_pylist(), rows.column("reason").to_pylist(), strict=True)) == [
        ("e1", "the same woman"), ("e2", "two sisters"),
    ]  # fmt: skip
    edges = edges_of_steward(rows)
    assert sorted(edges.column("kind").to_pylist()) == ["link", "unlink"]
    report = verify_lake(
        setting.lake, (STEWARD,), kafka.connection, topic_prefix=setting.context.topic_prefix
    )
    assert report.clean(), report.differences


def test_a_steward_says_who_is_who_by_command(run_phl: RunPhl, tmp_path: Path) -> None:
    (tmp_path / "message.hl7").write_bytes(adt(1))
    assert run_phl("load", tmp_path / "message.hl7", "--source", "test").returncode == 0
    assert run_phl("ingest", "--once").returncode == 0  # nobody has decided anything yet
    decided = run_phl(
        "steward", "cannot-link", "P1^^^CLINIC", "P2^^^CLINIC", "--why", "twins", "--who", "chen.li"
    )
    assert decided.returncode == 0, decided.stderr
    for wrong in (
        ("link", "P1", "P2^^^CLINIC", "--why", "x"),
        ("queue", "P1^^^CLINIC"),
        ("link", "P^^^C", "Q^^^C"),
    ):
        assert run_phl("steward", *wrong).returncode == 78

    done = run_phl("ingest", "--once", "--json")
    assert json.loads(done.stdout)["normalise steward"]["dispositions"] == {"accepted": 1}, done.stderr
    sql = "SELECT kind, stated_by, reason, outcome FROM curated.patient_link"
    assert json.loads(run_phl("query", "--json", sql).stdout) == [
        {"kind": "cannot-link", "stated_by": "chen.li", "reason": "twins", "outcome": "applied"}
    ]
    assert json.loads(run_phl("steward", "queue", "--json").stdout) == []
    verified = run_phl("verify", "--strict", "--deep")
    assert verified.returncode == 0, verified.stdout + verified.stderr
