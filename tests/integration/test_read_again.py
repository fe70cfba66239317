"""Messages are read again with a better parser: what they said before is gone, and the ledger has both readings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

import pipelines.curate
import pipelines.normalise
from jobs.decisions import Decision, Range, record
from jobs.ingest_once import ingest_once
from jobs.lake_views import lake_views
from jobs.quarantine import TABLES, Asked, Coordinates, chosen
from jobs.run_stages import Limits, curate_batch, normalise_batch, prepare_curated
from jobs.stage_loop import Lane
from jobs.stage_metrics import StageMetrics
from jobs.verify_curated import verify_curated
from jobs.verify_lake import verify_lake
from lake_layout.location import LakeLocation
from pipelines.hl7v2.modality import HL7V2
from schemas.errors import IngestError
from schemas.fold import Fold
from schemas.modality import Parsed
from schemas.source import Sources
from schemas.tables import IMAGING, QUARANTINE, RAW_HL7V2
from schemas.tables.allergy_intolerance import ALLERGY_INTOLERANCE
from schemas.tables.curated import FOLDS, curated
from schemas.tables.ops import DECISION, LEDGER
from tests.conftest import KafkaServer, RunPhl
from tests.integration.messages import adt, oru, siu
from tests.integration.setting import Setting, make_setting

STAGES = ("land", "normalise")
NOT_MADE = ("batch_number", "decided_at", "reading")
MENDED = Decision("reprocess", "chen.li", "the parser took order numbers for others")


def misread(raw: pa.Table, sources: Sources) -> Parsed:
    """A parser that cannot read appointments, takes the numbers of orders for others, and sees allergies everywhere."""
    seen = b"AL1|1|DA|L1^Penicillin\rPV1|"
    payloads = [
        b"" if b"|SIU^" in one else one.replace(b"|O0", b"|Z0").replace(b"|F0", b"|Y0").replace(b"PV1|", seen)
        for one in raw.column("payload").to_pylist()
    ]
    place = raw.column_names.index("payload")
    return HL7V2.parse(raw.set_column(place, "payload", pa.array(payloads, pa.binary())), sources)


FORMER = dataclasses.replace(HL7V2, parse=misread, version=HL7V2.version - 1, declared=None)
"""The modality as it was before its parser was mended."""


@pytest.fixture
def setting(kafka: KafkaServer, local_location: LakeLocation, tmp_path: Path) -> Setting:
    return make_setting(kafka.connection, local_location, tmp_path)


def formerly(setting: Setting) -> Setting:
    return Setting(dataclasses.replace(setting.context, modality=FORMER))


def in_peace(setting: Setting, kafka: KafkaServer, folder: Path) -> Setting:
    """The same messages read by the mended parser alone."""
    prefix = setting.context.topic_prefix
    other = make_setting(kafka.connection, LakeLocation(str(folder / "lake")), folder, prefix=prefix)
    ingest_once([other.context], STAGES)
    return other


def assert_like(setting: Setting, other: Setting) -> None:
    for table in (*HL7V2.tables, QUARANTINE):
        assert setting.rows(table, but=NOT_MADE) == other.rows(table, but=NOT_MADE), table.name


def assert_clean(setting: Setting, kafka: KafkaServer) -> None:
    report = verify_lake(setting.lake, (HL7V2,), kafka.connection, topic_prefix=setting.context.topic_prefix)
    assert report.clean(), report.differences


def readings(setting: Setting) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for row in setting.lake.dataset(LEDGER).to_table(columns=["reading", "disposition"]).to_pylist():
        counts = found.setdefault(row["reading"], {})
        counts[row["disposition"]] = counts.get(row["disposition"], 0) + 1
    return found


def curate(setting: Setting) -> None:
    setting.lake.create_missing(IMAGING)  # curate folds the tables of all modalities
    prepare_curated(setting.context)
    while curate_batch(setting.context) is not None:
        pass


def curated_rows(setting: Setting, fold: Fold) -> list[tuple[object, ...]]:
    return setting.rows(curated(fold), but=("home_month", *NOT_MADE))


MESSAGES = [adt(1), adt(1), oru(1), oru(2), oru(2, value="9"), siu(1), siu(1), siu(2), b"no message"]


@pytest.mark.parametrize("most", [3, 400_000])
def test_a_range_is_read_again(setting: Setting, kafka: KafkaServer, tmp_path: Path, most: int) -> None:
    setting.send(MESSAGES)
    ingest_once([formerly(setting).context], STAGES)
    curate(setting)
    assert readings(setting) == {0: {"accepted": 3, "duplicate": 1, "conflict": 1, "quarantined": 4}}
    assert setting.lake.dataset(ALLERGY_INTOLERANCE).count_rows() > 0
    assert_clean(setting, kafka)
    record(setting.lake, RAW_HL7V2.name, MENDED, Range(source="test"))
    setting.send([oru(3)])
    limits = Limits(messages=most, part_messages=2)
    ingest_once([dataclasses.replace(setting.context, limits=limits)], STAGES)
    curate(setting)
    first, second = readings(setting)[0], readings(setting)[1]
    assert first == {"accepted": 4, "duplicate": 1, "conflict": 1, "quarantined": 4}
    assert second == {"accepted": 5, "duplicate": 2, "conflict": 1, "quarantined": 1}
    other = in_peace(setting, kafka, tmp_path / "peace")
    assert_like(setting, other)
    assert_clean(setting, kafka)
    curate(other)
    for fold in FOLDS:
        assert curated_rows(setting, fold) == curated_rows(other, fold), fold.table.name
    assert verify_curated(setting.lake, setting.context.sources, setting.context.index) == []
    ingest_once([setting.context], STAGES)
    assert sum(readings(setting)[1].values()) == len(MESSAGES)


def test_a_worker_to_whom_nothing_comes_reads_again_what_is_asked_for(setting: Setting) -> None:
    setting.send([siu(1), adt(1)])
    ingest_once([formerly(setting).context], STAGES)
    lane = Lane("normalise", setting.context, StageMetrics("normalise", HL7V2.name))
    for _ in range(2):
        assert lane.run() == (0, 0.0)
    assert not lane.has_news()
    record(setting.lake, RAW_HL7V2.name, MENDED, Range(source="test"))
    assert lane.has_news()
    while lane.has_news():
        lane.run()
    assert readings(setting)[1] == {"accepted": 2}


def test_what_could_not_be_read_is_replayed_and_its_copies_are_copies(
    setting: Setting, kafka: KafkaServer
) -> None:
    setting.send([siu(1), adt(1)])
    ingest_once([formerly(setting).context], STAGES)
    with lake_views(setting.lake, TABLES) as views:
        ((raw, places),) = chosen(views.connection, Asked(source="test")).items()
    record(setting.lake, raw, Decision("replay", "chen.li", "appointments can be read by now"), places)
    ingest_once([setting.context], STAGES)
    setting.send([siu(1)])
    ingest_once([setting.context], STAGES)
    assert readings(setting) == {0: {"accepted": 1, "quarantined": 1, "duplicate": 1}, 1: {"accepted": 1}}
    assert setting.lake.dataset(QUARANTINE).count_rows() == 0
    assert_clean(setting, kafka)


def test_what_is_settled_is_left_alone(setting: Setting, kafka: KafkaServer) -> None:
    setting.send([siu(1), siu(2)])
    ingest_once([formerly(setting).context], STAGES)
    row = setting.lake.dataset(QUARANTINE).to_table().to_pylist()[0]
    place = Coordinates(row["partition"], row["offset"], row["topic_id"])
    record(setting.lake, RAW_HL7V2.name, Decision("discard", "chen.li", "a test of the sender's"), [place])
    with lake_views(setting.lake, TABLES) as views:
        ((_, left),) = chosen(views.connection, Asked()).items()
    assert len(left) == 1
    assert place not in left
    record(setting.lake, RAW_HL7V2.name, MENDED, Range(source="test"))
    ingest_once([setting.context], STAGES)
    assert readings(setting) == {0: {"quarantined": 2}, 1: {"accepted": 1}}
    assert_clean(setting, kafka)


def die(monkeypatch: pytest.MonkeyPatch, nth: int, stage: ModuleType = pipelines.normalise) -> None:
    """Let the nth commit of the stage be its process's last."""
    original: Callable[..., object] = stage.commit_table
    calls: list[int] = []

    def deadly(*args: Any, **kwargs: Any) -> object:
        calls.append(1)
        result = original(*args, **kwargs) if len(calls) <= nth else None
        if len(calls) >= nth:
            raise OSError
        return result

    monkeypatch.setattr(stage, "commit_table", deadly)


@pytest.mark.parametrize("nth", [1, 4, len(HL7V2.tables) + 1])
@pytest.mark.parametrize("mended_again", [False, True])
def test_death_on_the_way_shows_nowhere(
    setting: Setting,
    kafka: KafkaServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    mended_again: bool,
) -> None:
    """Whether the same program goes on or another one, which takes back first what was done."""
    setting.send(MESSAGES)
    ingest_once([formerly(setting).context], STAGES)
    record(setting.lake, RAW_HL7V2.name, MENDED, Range(source="test"))
    modality = dataclasses.replace(HL7V2, version=HL7V2.version + 1, declared=None) if mended_again else HL7V2
    with monkeypatch.context() as dying:
        die(dying, nth)
        with pytest.raises(IngestError):
            normalise_batch(setting.context)
    assert_clean(setting, kafka)
    ingest_once([dataclasses.replace(setting.context, modality=modality)], STAGES)
    assert_like(setting, in_peace(setting, kafka, tmp_path / "peace"))
    assert_clean(setting, kafka)


def test_a_mended_message_names_what_it_replaces(
    kafka: KafkaServer, lake_location: LakeLocation, phl_env: dict[str, str], run_phl: RunPhl, tmp_path: Path
) -> None:
    """As a user does it: the command line, on the lake that the settings name."""
    prefix = phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    setting = make_setting(kafka.connection, lake_location, tmp_path / "mended", prefix=prefix)
    setting.send([b"no message"])
    ingest_once([setting.context], STAGES)
    row = setting.lake.dataset(QUARANTINE).to_table().to_pylist()[0]
    (tmp_path / "mended.hl7").write_bytes(adt(1))
    place = f"{row['partition']}:{row['offset']}"
    done = run_phl(
        "quarantine", "replay", place, "--with", str(tmp_path / "mended.hl7"), "--why", "MSH was cut off"
    )
    assert done.returncode == 0, done.stderr
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"quarantined": 1, "accepted": 1}
    (decision,) = setting.lake.dataset(DECISION).to_table().to_pylist()
    (taken,) = [
        one for one in setting.lake.dataset(LEDGER).to_table().to_pylist() if one["disposition"] == "accepted"
    ]
    assert decision["action"] == "replace"
    assert (decision["partition"], decision["offset"]) == (row["partition"], row["offset"])
    assert (decision["replacement_partition"], decision["replacement_offset"]) == (
        taken["partition"],
        taken["offset"],
    )
    assert taken["source"] == row["source"]
    assert_clean(setting, kafka)


def test_death_while_things_are_folded_again_shows_nowhere(
    setting: Setting, kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.send(MESSAGES)
    ingest_once([formerly(setting).context], STAGES)
    curate(setting)
    record(setting.lake, RAW_HL7V2.name, MENDED, Range(source="test"))
    ingest_once([setting.context], STAGES)
    with monkeypatch.context() as dying:
        die(dying, 5, pipelines.curate)
        with pytest.raises(IngestError):
            curate(setting)
    curate(setting)
    other = in_peace(setting, kafka, tmp_path / "peace")
    curate(other)
    for fold in FOLDS:
        assert curated_rows(setting, fold) == curated_rows(other, fold), fold.table.name
