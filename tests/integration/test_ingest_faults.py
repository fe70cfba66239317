"""Kill, starve and confuse the stages: afterwards nothing is missing, nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

import jobs.run_stages
import pipelines.land
import pipelines.normalise
from jobs.ingest_once import ingest_once
from jobs.run_stages import Limits
from jobs.verify_lake import verify_lake
from lake_layout.lake import Lake, LakeLocation
from pipelines.hl7v2.modality import HL7V2
from schemas.errors import IngestError, LakeError, TransportError
from schemas.tables import RAW_HL7V2
from schemas.tables.ops import LEDGER
from tests.conftest import ROOT, KafkaServer, RunPhl, S3Server, phl_command
from tests.integration.messages import adt, mixed
from tests.integration.setting import Setting, make_setting, send

STAGES = ("land", "normalise")

STOPS = {"STAGE-AHEAD", "CLAIM-TAKEN-OVER", "CLAIM-CONTENDED", "COMMIT-CONTENDED", "COMMIT-UNCLEAR"}
"""With these a process makes way for another that runs the same stage."""

POINTS = (
    # module:function:when, which call
    ("jobs.run_stages:split_ranges:before", 1),  # land has its claim
    ("pipelines.land:write_file:after", 1),
    ("pipelines.land:commit_table:before", 1),
    ("pipelines.land:commit_table:after", 1),
    ("jobs.run_stages:parts_side_by_side:before", 1),  # normalise has its claim
    ("pipelines.write_tables:write_file:before", 1),
    ("pipelines.write_tables:write_file:after", 4),
    ("pipelines.normalise:commit_table:before", 1),
    ("pipelines.normalise:commit_table:after", 1),
    ("pipelines.normalise:commit_table:after", 3),
    ("pipelines.normalise:commit_table:after", 6),
    ("pipelines.normalise:commit_table:before", 8),
    ("pipelines.normalise:commit_table:after", 8),
)
"""Between reading and the last commit: every step that touches the world."""


def stage_of(point: str) -> list[str]:
    """The command that comes by a point; land in the same process only when it is asked for alone."""
    return [
        "ingest",
        "--once",
        "--stage",
        "land" if "land:" in point or "split_ranges" in point else "normalise",
    ]


def assert_clean(setting: Setting, kafka: KafkaServer) -> None:
    report = verify_lake(setting.lake, (HL7V2,), kafka.connection, topic_prefix=setting.context.topic_prefix)
    assert report.clean(strict=True), report.differences


@pytest.fixture
def setting(kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path) -> Setting:
    return make_setting(kafka.connection, lake_location, tmp_path)


def test_kill_9_at_every_step(
    kafka: KafkaServer,
    phl_env: dict[str, str],
    run_phl: RunPhl,
    lake_location: LakeLocation,
    local_location: LakeLocation,
    tmp_path: Path,
) -> None:
    """Each point on new messages; then the tables are those of a lake that nothing happened to."""
    prefix = phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    killed = make_setting(kafka.connection, lake_location, tmp_path / "a", prefix=prefix)
    for place, (point, nth) in enumerate(POINTS):
        killed.send(mixed(20, first=place * 20))
        if stage_of(point)[-1] == "normalise":
            assert run_phl("ingest", "--once", "--stage", "land").returncode == 0
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.die_at", point, str(nth), *stage_of(point)],
            cwd=ROOT, env=phl_env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == -9, f"{point} was not reached: {done.stderr[-2000:]}"
    done = run_phl("ingest", "--once", "--json")
    assert done.returncode == 0, done.stderr
    assert_clean(killed, kafka)
    assert run_phl("verify", "--strict").returncode == 0
    untouched = make_setting(kafka.connection, local_location, tmp_path / "b", prefix=prefix)
    ingest_once([untouched.context], STAGES)
    for table in HL7V2.tables:
        assert killed.rows(table) == untouched.rows(table), table.name


def test_once_takes_all_there_is_behind_a_batch_left_open(
    kafka: KafkaServer, phl_env: dict[str, str], run_phl: RunPhl, lake_location: LakeLocation, tmp_path: Path
) -> None:
    """The open batch is as small as it was planned; what came after it is taken in as well."""
    setting = make_setting(
        kafka.connection, lake_location, tmp_path, prefix=phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    )
    setting.send(mixed(20, first=0))
    point = ("pipelines.land:commit_table:before", "1")
    died = subprocess.run(
        [sys.executable, "-m", "tests.integration.die_at", *point, *stage_of(point[0])],
        cwd=ROOT, env=phl_env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert died.returncode == -9, died.stderr[-2000:]
    setting.send(mixed(40, first=20))
    assert run_phl("ingest", "--once").returncode == 0
    assert sum(setting.dispositions().values()) == 60
    assert_clean(setting, kafka)


def test_kill_9_of_running_workers(
    kafka: KafkaServer, phl_env: dict[str, str], run_phl: RunPhl, lake_location: LakeLocation, tmp_path: Path
) -> None:
    """``phl ingest --every`` under load: its workers and itself are killed at moments that nobody chose."""
    setting = make_setting(
        kafka.connection, lake_location, tmp_path, prefix=phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    )
    sent = 0
    for _ in range(2):
        process = subprocess.Popen(
            phl_command("ingest", "--every", "0.1s"), cwd=ROOT, env=phl_env, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            setting.send(mixed(30, first=sent))
            sent += 30
            time.sleep(0.7)
            workers = psutil.Process(process.pid).children()
            if workers and sent % 90 == 0:
                workers[sent % len(workers)].kill()
        process.kill()
        process.wait(30)
        # workers notice that their supervisor is gone, and end by themselves
        for worker in workers:
            worker.wait(60)
    assert run_phl("ingest", "--once").returncode == 0
    assert_clean(setting, kafka)
    assert sum(setting.dispositions().values()) == sent


def test_kill_9_of_ingest_once_and_its_successor_at_once(
    kafka: KafkaServer, phl_env: dict[str, str], run_phl: RunPhl, lake_location: LakeLocation, tmp_path: Path
) -> None:
    """Landing is a process of its own, which outlives what started it: it must not race the next one."""
    setting = make_setting(
        kafka.connection, lake_location, tmp_path, prefix=phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    )
    setting.send(mixed(600))
    env = phl_env | {"PHL_INGEST_BATCH_MESSAGES": "10"}
    with (tmp_path / "ingest.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(phl_command("ingest", "--once"), cwd=ROOT, env=env, stderr=log)
        deadline = time.monotonic() + 120
        while '"batch_done"' not in (tmp_path / "ingest.log").read_text("utf-8"):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        (helper,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait(30)
    done = run_phl("ingest", "--once", env={"PHL_INGEST_BATCH_MESSAGES": "200"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert not helper.is_running()
    assert_clean(setting, kafka)
    assert sum(setting.dispositions().values()) == 600


def failing_once(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, before: Callable[[], None], nth: int = 1
) -> None:
    """Do something just before the nth call of a function."""
    original = getattr(module, name)
    calls = 0

    def wrapped(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            before()
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize(
    ("module", "name", "nth"),
    [
        (pipelines.land, "write_file", 1),
        (pipelines.land, "commit_table", 1),
        (pipelines.normalise, "commit_table", 1),
        (pipelines.normalise, "commit_table", 4),
        (pipelines.normalise, "commit_table", 8),
    ],
)
def test_a_store_that_goes_away_in_a_commit(
    setting: Setting,
    kafka: KafkaServer,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    nth: int,
) -> None:
    setting.send(mixed(30))
    jobs.run_stages.prepare(setting.context)
    failing_once(monkeypatch, module, name, s3.kill, nth)
    try:
        with pytest.raises(IngestError) as caught:
            ingest_once([setting.context], STAGES)
        assert isinstance(caught.value, TransportError), caught.value
    finally:
        s3.start()
    monkeypatch.undo()
    ingest_once([setting.context], STAGES)
    assert sum(setting.dispositions().values()) == 30
    assert_clean(setting, kafka)


def test_a_broker_that_goes_away_while_it_is_read(
    setting: Setting, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.send(mixed(30))
    jobs.run_stages.prepare(setting.context)
    monkeypatch.setattr("connectors.kafka.ranges.PATIENCE", 3.0)
    failing_once(monkeypatch, pipelines.land, "write_file", kafka.kill)
    try:
        with pytest.raises(TransportError):
            ingest_once([setting.context], STAGES)
    finally:
        kafka.start()
    monkeypatch.undo()
    ingest_once([setting.context], STAGES)
    assert_clean(setting, kafka)
    assert sum(setting.dispositions().values()) == 30


def delete_records(kafka: KafkaServer, topic: str, upto: dict[int, int]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    places = [TopicPartition(topic, partition, offset) for partition, offset in upto.items()]
    for future in admin.delete_records(places).values():
        future.result()


def test_retention_that_passed_is_an_error_with_the_range(
    kafka: KafkaServer,
    setting: Setting,
    run_phl: RunPhl,
    phl_env: dict[str, str],
    tmp_path: Path,
    lake_location: LakeLocation,
) -> None:
    setting = make_setting(
        kafka.connection, lake_location, tmp_path, prefix=phl_env["PHL_KAFKA_TOPIC_PREFIX"]
    )
    records = [setting.record(adt(1)) for _ in range(10)]  # one key, so one partition
    send(kafka.connection, records[:4])
    ingest_once([setting.context], STAGES)
    send(kafka.connection, records[4:])
    (partition,) = set(setting.lake.dataset(LEDGER).to_table(columns=["partition"]).column(0).to_pylist())
    delete_records(kafka, setting.context.topic, {partition: 7})
    done = run_phl("ingest", "--once")
    assert done.returncode == LakeError.exit_code
    assert "KAFKA-RETENTION-PASSED" in done.stderr
    assert "first_lost=4" in done.stderr
    assert "last_lost=6" in done.stderr
    assert len(setting.rows(LEDGER)) == 4, "nothing was skipped"
    assert run_phl("ingest", "--once", "--accept-loss").returncode == 0
    assert len(setting.rows(LEDGER)) == 7


def recreate(kafka: KafkaServer, topic: str) -> None:
    from connectors.kafka.topics import ensure_topic

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic])[topic].result()
    time.sleep(1)
    ensure_topic(kafka.connection, topic, 4, {})


def test_a_topic_created_anew_starts_at_its_beginning(setting: Setting, kafka: KafkaServer) -> None:
    setting.send([adt(number) for number in range(20)])
    ingest_once([setting.context], STAGES)
    recreate(kafka, setting.context.topic)
    setting.send([adt(number) for number in range(10, 40)])
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"accepted": 40, "duplicate": 10}
    assert_clean(setting, kafka)


def test_a_topic_created_anew_behind_an_open_claim(
    setting: Setting, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim speaks of offsets that nobody will ever read again: it is rolled back, not tried for ever."""
    setting.send([adt(number) for number in range(20)])
    jobs.run_stages.prepare(setting.context)
    with monkeypatch.context() as patch:
        failing_once(patch, pipelines.land, "commit_table", lambda: recreate(kafka, setting.context.topic))
        patch.setattr(pipelines.land, "commit_table", _broken)
        with pytest.raises(IngestError):
            ingest_once([setting.context], STAGES)
    recreate(kafka, setting.context.topic)
    setting.send([adt(number) for number in range(5)])
    ingest_once([setting.context], STAGES)
    assert setting.dispositions() == {"accepted": 5}
    assert_clean(setting, kafka)


def _broken(*_: object) -> None:
    raise TransportError("TEST-AWAY", "the store is away")


def test_two_at_once_do_no_harm(setting: Setting, kafka: KafkaServer, tmp_path: Path) -> None:
    """Somebody starts a second ingest by mistake: one of them may stop, the tables are right."""
    import threading

    setting.send(mixed(200))
    other = make_setting(
        kafka.connection, setting.lake.location, tmp_path / "other", prefix=setting.context.topic_prefix,
        limits=Limits(messages=40),
    )  # fmt: skip
    mine = make_setting(
        kafka.connection, setting.lake.location, tmp_path / "mine", prefix=setting.context.topic_prefix,
        limits=Limits(messages=40),
    )  # fmt: skip
    jobs.run_stages.prepare(setting.context)
    stopped: list[str] = []

    def work(one: Setting) -> None:
        for _ in range(6):
            try:
                ingest_once([one.context], STAGES)
            except IngestError as error:
                stopped.append(error.code)

    threads = [threading.Thread(target=work, args=(one,)) for one in (mine, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for _ in range(6):
        ingest_once([setting.context], STAGES)
    assert set(stopped) <= STOPS, stopped
    assert sum(setting.dispositions().values()) == 200
    assert_clean(setting, kafka)


def test_code_that_changed_between_two_attempts(
    setting: Setting, kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a batch was committed by an older program: it is taken back, and done anew as a whole."""
    setting.send(mixed(40))
    jobs.run_stages.prepare(setting.context)
    ingest_once([setting.context], ["land"])
    with monkeypatch.context() as patch:
        failing_once(patch, pipelines.normalise, "commit_table", _broken, nth=4)
        with pytest.raises(TransportError):
            ingest_once([setting.context], STAGES)
    monkeypatch.setattr(jobs.run_stages, "_program_hash", lambda: "another program")
    ingest_once([setting.context], STAGES)
    assert sum(setting.dispositions().values()) == 40
    assert_clean(setting, kafka)


def test_a_raw_table_that_was_set_back_is_noticed(setting: Setting) -> None:
    """``restore`` keeps the progress and takes the rows: going on would lose messages for ever."""
    setting.send(mixed(10))
    ingest_once([setting.context], STAGES)
    setting.send(mixed(10, first=50))
    ingest_once([setting.context], STAGES)
    handle = Lake(setting.lake.location).open(RAW_HL7V2)
    handle.restore(1)
    with pytest.raises(LakeError, match="LAKE-PLACE"):
        ingest_once([setting.context], STAGES)
