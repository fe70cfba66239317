"""The demonstration ends well; and where a table is damaged the comparison with the truth says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobs.city.compare import compare
from jobs.city.institutions import INSTITUTIONS
from jobs.city.traffic import City, Transport
from jobs.ingest_once import ingest_once
from lake_layout.location import LakeLocation
from schemas.source import Sources
from schemas.tables import OBSERVATION
from tests.conftest import ROOT, KafkaServer, clean_environment, phl_command
from tests.integration.setting import make_setting, send


def test_the_demo_compares_with_the_truth_and_ends_with_a_query(tmp_path: Path) -> None:
    done = subprocess.run(
        phl_command("demo", "--messages", "150", "--folder", tmp_path / "demo"),
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no difference" in done.stdout
    assert "phl query" in done.stdout
    assert "after phl steward unlink" in done.stdout


def test_the_truth_is_not_what_a_damaged_table_says(
    kafka: KafkaServer, local_location: LakeLocation, tmp_path: Path
) -> None:
    sources = Sources.of(*(one.settings() for one in INSTITUTIONS))
    setting = make_setting(kafka.connection, local_location, tmp_path, sources=sources)
    city = City(11, Transport.FILES)
    messages = list(city.messages(200))
    send(kafka.connection, [setting.record(one.payload, one.institution.source) for one in messages])
    ingest_once([setting.context], ("land", "normalise"))
    assert compare(setting.lake, city.truth) == []
    setting.lake.open(OBSERVATION).update(updates={"value_text": "'another'"}, predicate="value_type = 'NM'")
    assert [difference.table for difference in compare(setting.lake, city.truth)] == [OBSERVATION.name]
