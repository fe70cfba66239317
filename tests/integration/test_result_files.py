"""Result files as a laboratory drops them: ``phl collect``, the stages, what is true, and what went to quarantine."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path

from connectors.kafka.ranges import ensure_topic
from connectors.routing import HL7_TOPIC
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from tests.conftest import KafkaServer, RunPhl, S3Server

SENTINEL = "钟馗零九七"
HEAD = "条码,病人,姓名,代码,结果,单位,状态,时间,采样"
FIRST = (
    HEAD,
    f"B1,P1,{SENTINEL},GLU,5.1,mmol/L,已审核,2026-03-01 10:00,2026-03-01 08:00",
    f"B1,P1,{SENTINEL},ALT,＜５,U/L,已审核,2026-03-01 10:00,2026-03-01 08:00",
    f"B2,P2,{SENTINEL},GLU,6.0,mmol/L,已审核,01.03.2026 10:00,2026-03-01 08:00",
    f"B3,P3,{SENTINEL},GLU",
    f"B4,P4,{SENTINEL},HBSAG,阴性(-),,已审核,2026-03-01 10:00,2026-03-01 08:00",
)
CORRECTED = (HEAD, f"B1,P1,{SENTINEL},GLU,5.3,mmol/L,更正,2026-03-01 11:00,2026-03-01 08:00")
MAPPING = """
format = "csv"
charset = "gb18030"
dates = ["%Y-%m-%d %H:%M"{more}]
[columns]
order_number = "条码"
specimen_id = "条码"
patient_id = "病人"
patient_name = "姓名"
test_code = "代码"
value = "结果"
unit = "单位"
status = "状态"
result_time = "时间"
specimen_time = "采样"
[status]
"已审核" = "F"
"更正" = "C"
"""


def settings(folder: Path, drop: str, more: str = "") -> Path:
    (folder / "clinic.toml").write_text(MAPPING.replace("{more}", more), "utf-8")
    config = folder / "phl.toml"
    config.write_text(
        f'[[sources]]\nname = "clinic-3"\nprotocol = "files"\npath = "{drop}"\nmapping = "clinic.toml"\n'
        'institution = "YL-3"\nglob = "*.csv"\nsettle = 0.01\n',
        "utf-8",
    )
    return config


def file_of(lines: tuple[str, ...]) -> bytes:
    return "\r\n".join((*lines, "")).encode("gb18030")


def shown(run_phl: RunPhl) -> list[tuple[object, ...]]:
    sql = (
        "SELECT filler_order, observation_code, value_text, value_number, value_comparator, status, segment_index "
        "FROM curated.observation ORDER BY 1, 2"
    )
    return [tuple(row.values()) for row in json.loads(run_phl("query", "--json", sql).stdout)]


def test_a_file_becomes_rows_and_a_bad_line_waits_to_be_read_again(
    kafka: KafkaServer, run_phl: RunPhl, phl_env: Mapping[str, str], tmp_path: Path
) -> None:
    ensure_topic(kafka.connection, phl_env["PHL_KAFKA_TOPIC_PREFIX"] + HL7_TOPIC, 1, {})
    drop = tmp_path / "drop"
    drop.mkdir()
    config = settings(tmp_path, "drop")
    said: list[str] = []

    def phl(*arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        done = run_phl(*arguments, "--config", config, env=env)
        said.extend((done.stdout, done.stderr))
        assert done.returncode == code, done.stderr
        return done.stdout

    (drop / f"{SENTINEL}.csv").write_bytes(file_of(FIRST))
    (drop / "readme.txt").write_text("no results")
    # killed when Kafka has the file and nothing says so: it is sent again, and is a duplicate
    phl("collect", "--once", code=-signal.SIGKILL, env={"PHL_FAIL_POINT": "files-sent"})
    for taken, known in ((1, 0), (0, 1)):
        report = json.loads(phl("collect", "--once", "--json"))["clinic-3"]
        assert (report["taken"], report["known"], report["faults"]) == (taken, known, {})
    phl("ingest", "--once")

    ledger = json.loads(phl("query", "--json", "SELECT disposition, codes FROM ops.ledger ORDER BY 1"))
    assert [row["disposition"] for row in ledger] == ["accepted", "duplicate"]
    assert ledger[0]["codes"] == ["LAB-LINE-COLUMNS", "LAB-LINE-TIME"]
    listed = json.loads(phl("quarantine", "list", "--json"))
    assert [(row["segment_index"], row["code"], row["field"]) for row in listed] == [
        (4, "LAB-LINE-TIME", 8), (5, "LAB-LINE-COLUMNS", None),
    ]  # fmt: skip
    place = f"{listed[0]['partition']}:{listed[0]['offset']}"
    assert shown(run_phl) == [
        ("B1", "ALT", "＜５", 5.0, "<", "F", 3), ("B1", "GLU", "5.1", 5.1, None, "F", 2),
        ("B4", "HBSAG", "阴性(-)", None, None, "F", 6),
    ]  # fmt: skip
    phl("verify", "--strict")
    assert SENTINEL not in "".join(said)
    assert f"      5 LAB-LINE-COLUMNS     B3,P3,{SENTINEL},GLU" in phl("quarantine", "show", place)
    said.clear()

    # bad lines are nobody's task any more; the mapping learns another form of dates, and the file is read again
    phl("quarantine", "discard", place, "--why", "the clinic was told")
    settings(tmp_path, "drop", ', "%d.%m.%Y %H:%M"')
    phl("reprocess", "--modality", "lab", "--source", "clinic-3", "--why", "the mapping was mended")
    (drop / "later.csv").write_bytes(file_of(CORRECTED))
    phl("collect", "--once")
    phl("ingest", "--once")
    settled = json.loads(phl("quarantine", "list", "--settled", "--json"))
    assert [(row["segment_index"], row["decision"]) for row in settled] == [(5, "discard")]
    assert shown(run_phl) == [
        ("B1", "ALT", "＜５", 5.0, "<", "F", 3), ("B1", "GLU", "5.3", 5.3, None, "C", 2),
        ("B2", "GLU", "6.0", 6.0, None, "F", 4), ("B4", "HBSAG", "阴性(-)", None, None, "F", 6),
    ]  # fmt: skip
    phl("verify", "--strict", "--deep")
    assert SENTINEL not in "".join(said)


def test_files_below_a_prefix_are_taken_where_they_lie(
    run_phl: RunPhl, s3: S3Server, lake_location: LakeLocation, tmp_path: Path
) -> None:
    drop = s3.location(f"drops-{uuid.uuid4().hex}")
    store = open_store(drop)
    config = settings(tmp_path, drop.uri)
    store.put("a.csv", file_of(FIRST))
    store.put("old/b.csv", file_of(CORRECTED))
    store.put("large.csv", b"x" * 2_000_000)
    for taken, known in ((2, 0), (0, 2)):
        done = run_phl("collect", "--once", "--json", "--config", config)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)["clinic-3"]
        assert (report["taken"], report["known"]) == (taken, known)
    assert [one.size for one in open_store(lake_location).list("objects/lab/")] == [2_000_000]
    assert {one.path for one in store.list("")} == {"a.csv", "old/b.csv", "large.csv"}
