"""HL7 and instruments' messages in one lake: they feed the same tables, and everything is accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from connectors.kafka.ranges import ensure_topic
from connectors.records import CONTENT_TYPE, RECEIVED_AT, SOURCE, timestamp
from connectors.routing import HL7_TOPIC
from pipelines.lab.modality import LAB
from schemas.lab import ASTM
from schemas.lab.profiles import PROFILES
from tests.conftest import KafkaServer, RunPhl

RELEASED = (
    b"MSH|^~\\&|LIS|YL-1|LAKE|CITY|20260301100000||ORU^R01|L1|P|2.5.1\rPID|1||P17^^^YL-1^MR\r"
    b"OBR|1||F17|CHEM^Panel^L|||20260301073000\rOBX|1|NM|GLU^^L||5.1|mmol/L|||||F|||20260301073000\r"
    b"SPM|1|B000017||SER\r"
)
MEASURED = ("\r".join(PROFILES["chemistry"].example) + "\r").encode()
AGAIN = MEASURED.replace(b"20260301081500", b"20260301082000")
BROKEN = b"H\rL|1|N\r"
CONFIG = """
[[sources]]
name = "lis"
institution = "YL-1"
[[sources]]
name = "analyser"
institution = "YL-1"
protocol = "astm"
port = 4001
instrument_profile = "chemistry"
"""


def test_two_modalities_feed_the_same_tables(
    kafka: KafkaServer, run_phl: RunPhl, phl_env: Mapping[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "phl.toml"
    config.write_text(CONFIG, "utf-8")
    prefix = phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    producer = Producer({**kafka.connection.properties, "enable.idempotence": True})

    def put(topic: str, source: str, *payloads: bytes) -> None:
        ensure_topic(kafka.connection, prefix + topic, 1, {})
        headers = {SOURCE: source.encode(), RECEIVED_AT: timestamp(datetime.now(UTC))}
        headers |= {CONTENT_TYPE: ASTM.encode()} if topic == LAB.topic else {}
        for payload in payloads:
            producer.produce(prefix + topic, payload, headers=list(headers.items()))
        assert producer.flush(60) == 0

    def phl(*arguments: str) -> str:
        done = run_phl(*arguments, "--config", config)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown() -> list[tuple[object, ...]]:
        sql = "SELECT observation_code, value_text, status, instrument_status FROM curated.observation ORDER BY 1, 3"
        return [tuple(row.values()) for row in json.loads(phl("query", "--json", sql))]

    put(HL7_TOPIC, "lis", RELEASED)
    put(LAB.topic, "analyser", MEASURED, AGAIN, BROKEN)
    phl("ingest", "--once")
    expected = [
        ("ALT", "412", "instrument", "F"),
        ("GLU", "5.1", "F", None),
        ("GLU", "5.1", "instrument", "F"),
    ]
    assert shown() == expected
    sql = "SELECT observation_code, released FROM curated_coded.instrument_observation ORDER BY 1"
    measured = json.loads(phl("query", "--json", sql))
    assert [tuple(row.values()) for row in measured] == [("ALT", False), ("GLU", True)]
    counted = json.loads(
        phl("query", "--json", "SELECT disposition, count(*) AS n FROM ops.ledger GROUP BY 1")
    )
    assert {row["disposition"]: row["n"] for row in counted} == {
        "accepted": 2, "duplicate": 1, "quarantined": 1,
    }  # fmt: skip
    controls = json.loads(phl("query", "--json", "SELECT control_lot, value_number FROM curated.qc_result"))
    assert controls == [{"control_lot": "L2209", "value_number": 10.2}]

    phl("reprocess", "--modality", "lab", "--source", "analyser", "--why", "read again")
    phl("ingest", "--once")
    assert shown() == expected
    phl("verify", "--strict", "--deep")
