"""``phl query`` as a user runs it: a process of its own over real Delta tables."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.lake_views import lake_views
from jobs.print_rows import plain, shown
from lake_layout.location import LakeLocation
from schemas.tables import LEDGER, OBSERVATION, RAW_HL7V2, SEGMENT, TABLES
from tests.small_lake import RECEIVED, SmallLake, small_lake

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    small = small_lake(LakeLocation(str(tmp_path_factory.mktemp("lake"))))
    row = {**small._origin(0, 101, 1), "name": "ZZ\x1b[1", "text": "a\rb\x1b]0;title\x07", "segment_index": 0}
    small.append(SEGMENT, [row], {})
    return small


def query(small: SmallLake, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}
    environment |= {"PHL_LAKE_URI": str(small.root), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli.main", "query", *arguments],
        env=environment, cwd=small.root, input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_table_can_be_asked(small: SmallLake) -> None:
    sql = " UNION ALL ".join(
        f"SELECT '{t.view_name}' AS name, count(*) AS n FROM {t.view_name}" for t in TABLES
    )
    answer = query(small, "--json", sql)
    assert answer.returncode == 0, answer.stderr
    counts = {row["name"]: row["n"] for row in json.loads(answer.stdout)}
    assert counts["raw.hl7v2"] == counts["ops.ledger"] == 60
    assert counts["normalised.observation"] == 54
    assert counts["normalised.encounter"] == 0  # not created yet


def test_json_keeps_every_value(small: SmallLake) -> None:
    sql = (
        'SELECT "offset", payload, received_at, landed_month, "offset" / 8 AS part, '
        'sum("size") OVER () AS total, control_id, "offset" FROM raw.hl7v2 WHERE "partition" = 0 ORDER BY 1 LIMIT 2'
    )
    answer = query(small, "--json", sql)
    assert json.loads(answer.stdout) == [
        {
            "offset": 100, "payload": None, "received_at": RECEIVED.replace(hour=9, minute=40).isoformat(),
            "landed_month": "2026-03-01", "part": 12.5, "total": 28 * 9 + 2 * 64, "control_id": None,
            "offset_2": 100,
        },
        {
            "offset": 101, "payload": b"MSH|^~\\&|".hex(),
            "received_at": RECEIVED.replace(hour=9, minute=41).isoformat(),
            "landed_month": "2026-03-01", "part": 12.625, "total": 28 * 9 + 2 * 64, "control_id": None,
            "offset_2": 101,
        },
    ]  # fmt: skip
    assert json.loads(query(small, "--json", "SELECT 1 AS a WHERE false").stdout) == []


def test_csv_keeps_every_value(small: SmallLake) -> None:
    sql = (
        'SELECT name, "text", [1, 2] AS list, NULL AS nothing, true AS yes '
        "FROM normalised.segment WHERE name IS NOT NULL"
    )
    answer = query(small, "--csv", sql)
    rows = list(csv.reader(io.StringIO(answer.stdout, newline="")))
    assert rows[0] == ["name", "text", "list", "nothing", "yes"]
    assert rows[1][2:] == ["[1, 2]", "", "true"]


def test_nothing_in_a_message_can_steer_the_terminal(small: SmallLake) -> None:
    answer = query(small, 'SELECT name, "text" FROM normalised.segment WHERE name IS NOT NULL')
    assert answer.returncode == 0
    assert "\x1b" not in answer.stdout
    assert "a\\rb\\x1b]0;title\\x07" in answer.stdout


def test_bytes_are_shown_by_their_number(small: SmallLake) -> None:
    answer = query(small, "SELECT payload FROM raw.hl7v2 WHERE payload IS NOT NULL", "--rows", "3")
    assert answer.stdout.count("<9 bytes>") == 3
    assert "there are more" in answer.stdout


def test_a_wide_table_is_not_folded_in_a_pipe(small: SmallLake) -> None:
    answer = query(small, "SELECT * FROM normalised.observation LIMIT 3")
    lines = [line for line in answer.stdout.splitlines() if "county-3" in line]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nothing FROM ops.ledger", "nothing"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM normalised.nowhere", "nowhere"),
        ("DELETE FROM ops.ledger", "base table"),
        ("INSERT INTO ops.ledger VALUES (1)", "ledger"),
        ("COPY ops.ledger TO 'stolen.csv'", "disabled by configuration"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("SET enable_external_access=true", "locked"),
        ("SELECT * FROM lake", "lake"),
        ("  ", "no SQL"),
    ],
)
def test_wrong_sql_is_said_and_ends_with_2(small: SmallLake, sql: str, says: str) -> None:
    answer = query(small, sql)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (small.root / "stolen.csv").exists()


def test_an_error_at_run_time_does_not_tell_the_value(small: SmallLake) -> None:
    answer = query(small, "SELECT CAST(source AS INTEGER) FROM raw.hl7v2")
    assert answer.returncode == 2
    assert "Conversion Error" in answer.stderr
    assert "county-3" not in answer.stderr + answer.stdout


def test_without_sql_the_tables_are_listed(small: SmallLake) -> None:
    answer = query(small)
    assert answer.returncode == 0
    for table in TABLES:
        assert table.view_name in answer.stdout
    listed = {table["table"]: table for table in json.loads(query(small, "--json").stdout)}
    assert listed["ops.ledger"]["rows"] == 60
    assert not listed["normalised.encounter"]["exists"]
    assert listed["curated.order_alias"]["exists"]
    assert listed["curated.order_alias"]["rows"] is None
    assert [column["name"] for column in listed["ops.ledger"]["columns"]] == [f.name for f in LEDGER.fields]


def test_sql_from_a_file_and_from_stdin(small: SmallLake, tmp_path: Path) -> None:
    text = "CREATE TEMP MACRO twice(x) AS 2 * x; SELECT twice(21) AS answer"
    (tmp_path / "q.sql").write_text(text)
    assert json.loads(query(small, "--json", "--file", str(tmp_path / "q.sql")).stdout) == [{"answer": 42}]
    assert json.loads(query(small, "--json", "-f", "-", stdin=text).stdout) == [{"answer": 42}]
    assert query(small, "--file", str(tmp_path / "absent.sql")).returncode == 78
    assert query(small, "--json", "--csv", "SELECT 1").returncode == 78


def test_a_reader_that_goes_away_is_no_crash(small: SmallLake) -> None:
    phl = f"{sys.executable} -m jobs.cli.main"
    command = f"{phl} query --csv 'SELECT * FROM range(1000000)' | head -1"
    environment = {**os.environ, "PHL_LAKE_URI": str(small.root), "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.stdout.splitlines()[0] == "range"
    assert "Traceback" not in answer.stderr
    assert "DEFECT" not in answer.stderr


def test_the_process_ends_well_every_time(small: SmallLake) -> None:
    """Reading Delta tables with Arrow may abort a short process at its end (exit code 134)."""
    answers = [query(small, "SELECT * FROM ops.ledger").returncode for _ in range(20)]
    assert answers == [0] * 20


def test_filters_and_columns_reach_the_files(small: SmallLake) -> None:
    with lake_views(small.lake) as lake:
        plan = lake.connection.execute(
            'EXPLAIN SELECT "offset" FROM normalised.observation WHERE "offset" = 101 AND "partition" = 1'
        ).fetchall()[0][1]
        assert "Projections" in plan
        assert "value_text" not in plan
        assert "Filters" in plan


def test_many_views_can_be_open_and_closed(small: SmallLake) -> None:
    for _ in range(3):
        with lake_views(small.lake, (RAW_HL7V2, OBSERVATION)) as lake:
            assert lake.views[RAW_HL7V2.name].rows() == 60


def test_of_several_statements_the_last_one_answers(small: SmallLake) -> None:
    sql = "SELECT * FROM range(50000); CREATE MACRO twice(x) AS 2 * x; SELECT 1; SELECT twice(21) AS answer"
    answer = query(small, "--csv", sql)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["answer", "42"]


def test_how_long_something_took_is_a_duration(small: SmallLake) -> None:
    sql = "SELECT TIMESTAMP '2026-03-02 08:00:00.25' - TIMESTAMP '2026-03-01 07:59:00' AS took"
    for option in ("--json", "--csv"):
        assert "P1DT60.25S" in query(small, option, sql).stdout


def test_plain_values() -> None:
    assert plain(pa.scalar((1, -2, -1_500_000_000), pa.month_day_nano_interval()).as_py()) == "P1M-2DT-1.5S"
    assert plain(pa.scalar((0, 0, 0), pa.month_day_nano_interval()).as_py()) == "PT0S"
    assert plain(float("nan")) is None
    assert plain({"a": [b"\x01", (1, 2)]}) == {"a": ["01", [1, 2]]}
    assert shown("x" * 1000).endswith("x…")
