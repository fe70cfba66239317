"""Bring the services up, look at them, take them down: what ``phl up``, ``phl status`` and ``phl down`` do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.services.kafka import kafka_problem, start_kafka
from jobs.services.processes import is_running, stop
from jobs.services.s3 import s3_problem, start_s3
from jobs.services.state import KafkaRecord, S3Record, Services, locked, read_services, write_services
from schemas.errors import ConfigError, IngestError

if TYPE_CHECKING:
    from jobs.settings import Settings

KAFKA_GRACE = 60.0
S3_GRACE = 30.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """How one service is.

    Attributes:
        service: ``kafka`` or ``store``.
        kind: ``embedded`` or ``outside``.
        address: of brokers or of the lake; empty where nothing is known.
        up: whether it answers.
        problem: what is wrong; empty where nothing is.
        pid: of an embedded one that runs, else None.
        log: its log file.
    """

    service: str
    kind: str
    address: str
    up: bool
    problem: str = ""
    pid: int | None = None
    log: str = ""


def bring_up(settings: Settings, say: Say) -> list[Report]:
    """Start what is embedded and does not run yet, prove that the store can be trusted, make tables and topics.

    Args:
        settings: outside services named there are probed, never started.
        say: takes a line for the user.

    Raises:
        IngestError: what could not be done; services that this call started are stopped again where another one
            did not start.
    """
    with locked(settings.state_dir):
        _start_missing(settings, say)
        _probe(settings)
        tables, topics = _create(settings)
    say(f"{tables} tables and {topics} topics are there")
    return look(settings)


def _start_missing(settings: Settings, say: Say) -> None:
    """Start what is embedded and not there; under the lock."""
    state_dir = settings.state_dir.resolve()
    before = read_services(state_dir) or Services()
    now = before
    try:
        if settings.lake.uri is None and s3_problem(now.s3) is not None:
            stop(now.s3.process, S3_GRACE)  # it runs, but does not answer
            now = replace(now, s3=start_s3(state_dir / "s3", state_dir / "logs" / "s3.log"))
            write_services(state_dir, now)
            say(f"S3 store at {now.s3.endpoint}")
        if settings.kafka.bootstrap is None and kafka_problem(now.kafka) is not None:
            stop(now.kafka.process, KAFKA_GRACE)
            say("starting Kafka (the first time its jars are fetched)")
            now = replace(now, kafka=start_kafka(state_dir / "kafka", state_dir / "logs" / "kafka.log"))
            write_services(state_dir, now)
            say(f"Kafka at {now.kafka.bootstrap}")
    except BaseException:
        if now.s3 != before.s3:
            stop(now.s3.process, S3_GRACE)
            write_services(state_dir, replace(now, s3=S3Record()))
        raise


def _probe(settings: Settings) -> None:
    from lake_layout.objects import open_store
    from lake_layout.probe import probe_store

    probe_store(open_store(settings.lake_location()))


def _create(settings: Settings) -> tuple[int, int]:
    """Make what is missing.

    Returns:
        How many tables and topics there are now.
    """
    from connectors.kafka.ranges import ensure_topic
    from lake_layout.lake import Lake
    from pipelines.modalities import MODALITIES
    from schemas.tables import TABLES

    Lake(settings.lake_location()).create_missing(TABLES)
    connection = settings.kafka_connection()
    for modality in MODALITIES:
        ensure_topic(
            connection,
            settings.kafka.topic_prefix + modality.topic,
            settings.topic_partitions,
            replication_factor=settings.kafka.replication_factor,
        )
    return len(TABLES), len(MODALITIES)


def look(settings: Settings) -> list[Report]:
    """How the configured services are, embedded or not."""
    services = read_services(settings.state_dir) or Services()
    return [_look_at_kafka(settings, services.kafka), _look_at_store(settings, services.s3)]


def _look_at_kafka(settings: Settings, record: KafkaRecord) -> Report:
    if settings.kafka.bootstrap is not None:
        return Report("kafka", "outside", settings.kafka.bootstrap, *_answers(lambda: _ask_kafka(settings)))
    if not record.bootstrap:
        return Report("kafka", "embedded", "", up=False, problem="not started: run phl up")
    problem = kafka_problem(record) or ""
    pid = record.process.pid if is_running(record.process) else None
    return Report("kafka", "embedded", record.bootstrap, not problem, problem, pid, record.log)


def _look_at_store(settings: Settings, record: S3Record) -> Report:
    if settings.lake.uri is not None:
        return Report("store", "outside", settings.lake.uri, *_answers(lambda: _ask_store(settings)))
    if not record.endpoint:
        return Report("store", "embedded", "", up=False, problem="not started: run phl up")
    problem = s3_problem(record) or ""
    pid = record.process.pid if is_running(record.process) else None
    return Report("store", "embedded", record.endpoint, not problem, problem, pid, record.log)


def _answers(ask: Callable[[], None]) -> tuple[bool, str]:
    try:
        ask()
    except IngestError as error:
        return False, f"{error.code}: {error.message}"
    return True, ""


def _ask_kafka(settings: Settings) -> None:
    from confluent_kafka import KafkaException

    from connectors.kafka.connection import kafka_error, unreachable

    connection = settings.kafka_connection()
    admin = connection.admin()  # kept until the answer is there: a client that is let go answers nothing
    try:
        admin.describe_cluster(request_timeout=10.0).result()
    except KafkaException as exception:
        raise unreachable(connection, kafka_error(exception)) from None


def _ask_store(settings: Settings) -> None:
    from lake_layout.objects import open_store

    location = settings.lake_location()
    if not location.is_s3 and not Path(location.path).is_dir():
        raise ConfigError("LAKE-FOLDER", "the lake's folder is not there yet: run phl up", setting="lake.uri")
    open_store(location).size("_phl/probe/none")


def take_down(state_dir: Path) -> list[str]:
    """Stop the embedded services of a state folder; their data stays.

    Returns:
        The names of those that ran.

    Raises:
        TransportError: ``SERVICES-BUSY``.
        ConfigError: ``SERVICES-STATE``.
    """
    if not state_dir.is_dir():
        return []
    with locked(state_dir):
        services = read_services(state_dir) or Services()
        stopped = []
        if stop(services.kafka.process, KAFKA_GRACE):
            stopped.append("kafka")
        if stop(services.s3.process, S3_GRACE):
            stopped.append("store")
        write_services(state_dir, Services())
    return stopped
