"""Real public messages from the file to the tables: none is lost, and none of their segments is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lake_layout.lake import Lake, LakeLocation
from schemas.tables import NORMALISED, RAW_HL7V2
from schemas.tables.ops import LEDGER
from tests.conftest import ROOT, RunPhl

FIXTURES = ROOT.parent / "shared" / "fixtures" / "hl7v2"
PLACE = ["topic_id", "partition", "offset"]

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="the shared fixtures are not beside this project"
)


def test_each_fixture_has_its_disposition_and_all_its_segments(
    run_phl: RunPhl, lake_location: LakeLocation, tmp_path: Path
) -> None:
    config = tmp_path / "phl.toml"
    config.write_text('[[sources]]\nname = "fixtures"\nprocessing_ids = ["P", "T", "D", ""]\n')
    loaded = run_phl("load", FIXTURES, "--source", "fixtures", "--config", config, "--json")
    report = json.loads(loaded.stdout)
    assert report["delivered"] == report["messages"] > 100, loaded.stderr
    done = run_phl("ingest", "--once", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    verified = run_phl("verify", "--strict", "--config", config, "--json")
    assert verified.returncode == 0, verified.stdout

    lake = Lake(lake_location)
    ledger = lake.dataset(LEDGER).to_table(columns=[*PLACE, "disposition"]).to_pylist()
    assert len(ledger) == report["messages"]
    dispositions = {tuple(row[name] for name in PLACE): row["disposition"] for row in ledger}
    assert set(dispositions.values()) <= {"accepted", "duplicate", "conflict", "quarantined"}
    found: dict[tuple[object, ...], set[int]] = {}
    for table in NORMALISED:
        for row in lake.dataset(table).to_table(columns=[*PLACE, "segment_index"]).to_pylist():
            found.setdefault(tuple(row[name] for name in PLACE), set()).add(row["segment_index"])
    for row in lake.dataset(RAW_HL7V2).to_table(columns=[*PLACE, "payload"]).to_pylist():
        place = tuple(row[name] for name in PLACE)
        if dispositions[place] in ("accepted", "conflict"):
            segments = [line for line in re.split(rb"[\r\n]+", row["payload"]) if line.strip()]
            assert found[place] == set(range(len(segments))), place

    again = run_phl("load", FIXTURES, "--source", "fixtures", "--config", config)
    assert again.returncode == loaded.returncode
    assert run_phl("ingest", "--once", "--config", config).returncode == 0
    assert run_phl("verify", "--strict", "--config", config).returncode == 0
    counts: dict[str, int] = {}
    for table in NORMALISED:
        counts[table.name] = lake.dataset(table).count_rows()
    assert sum(counts.values()) == _rows(lake, found), "loading again changed nothing"


def _rows(lake: Lake, first: dict[tuple[object, ...], set[int]]) -> int:
    """Rows of the messages that were read the first time."""
    total = 0
    for table in NORMALISED:
        for row in lake.dataset(table).to_table(columns=PLACE).to_pylist():
            total += tuple(row[name] for name in PLACE) in first
    return total
