"""The real Kafka and the real S3 store for the tests; a test fails, not skips, where they cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from connectors.kafka.connection import KafkaConnection
from jobs.services.kafka import start_kafka
from jobs.services.processes import kill, stop
from jobs.services.s3 import start_s3
from jobs.services.state import KafkaRecord, S3Record
from jobs.soak.tally import Tally
from lake_layout.location import LakeLocation

SURVIVED = "faults survived"
VISITED = "fail point visited"

ROOT = Path(__file__).resolve().parent.parent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests of faults did, whichever process ran them."""
    tally = Tally()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, told in getattr(report, "user_properties", ()) if _is_last(report) else ():
                if name == SURVIVED:
                    tally.add(*told)
                elif name == VISITED:
                    tally.places.add(tuple(told))
    if tally.faults:
        for line in ("", *tally.lines(), f"fail points visited: {len(tally.places)}"):
            terminalreporter.write_line(line)


def _is_last(report: object) -> bool:
    """Whether a report is that of a test's end, which has all that the test told."""
    return isinstance(report, pytest.TestReport) and report.when == "teardown"


@dataclass
class KafkaServer:
    """An embedded broker that a test may stop, kill and start again, on the same port."""

    folder: Path
    record: KafkaRecord

    @property
    def bootstrap(self) -> str:
        return self.record.bootstrap

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection({"bootstrap.servers": self.bootstrap})

    def stop(self) -> None:
        stop(self.record.process, 60.0)

    def kill(self) -> None:
        kill(self.record.process)

    def start(self) -> None:
        before = self.record.bootstrap
        self.record = start_kafka(
            self.folder, self.folder.parent / "kafka.log", preferred_port=None, heap_mebibytes=512
        )
        assert self.record.bootstrap == before, "the broker came back at another address"


@dataclass
class S3Server:
    """An embedded S3 store that a test may stop, kill and start again, on the same port."""

    folder: Path
    record: S3Record

    @property
    def endpoint(self) -> str:
        return self.record.endpoint

    @property
    def access_key(self) -> str:
        return self.record.access_key

    @property
    def secret_key(self) -> str:
        return self.record.secret_key

    @property
    def region(self) -> str:
        return self.record.region

    @property
    def bucket(self) -> str:
        return self.record.bucket

    def location(self, prefix: str) -> LakeLocation:
        """A lake under a prefix of the bucket."""
        return LakeLocation(
            f"s3://{self.bucket}/{prefix}/", self.endpoint, self.access_key, self.secret_key, self.region
        )

    def stop(self) -> None:
        stop(self.record.process, 30.0)

    def kill(self) -> None:
        kill(self.record.process)

    def start(self) -> None:
        before = self.record.endpoint
        self.record = start_s3(self.folder, self.folder.parent / "s3.log", preferred_port=None)
        assert self.record.endpoint == before, "the store came back at another address"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this test run alone."""
    folder = tmp_path_factory.mktemp("kafka") / "broker"
    record = start_kafka(folder, folder.parent / "kafka.log", preferred_port=None, heap_mebibytes=512)
    server = KafkaServer(folder, record)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 store of this test run alone."""
    folder = tmp_path_factory.mktemp("s3") / "store"
    record = start_s3(folder, folder.parent / "s3.log", preferred_port=None)
    server = S3Server(folder, record)
    yield server
    server.stop()


@pytest.fixture
def lake_location(s3: S3Server) -> LakeLocation:
    """A fresh lake in the S3 store."""
    return s3.location(f"test-{uuid.uuid4().hex}")


@pytest.fixture
def local_location(tmp_path: Path) -> LakeLocation:
    """A fresh lake in a folder."""
    return LakeLocation(str(tmp_path / "lake"))


@pytest.fixture
def topic() -> str:
    """The name of a topic that does not exist yet."""
    return f"test.{uuid.uuid4().hex}"


def clean_environment() -> dict[str, str]:
    """This process' environment without settings of the project."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PHL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def phl_env(kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path) -> dict[str, str]:
    """The environment for a ``phl`` that works on fresh topics and a fresh lake."""
    return clean_environment() | {
        "PHL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "PHL_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:12]}.",
        "PHL_LAKE_URI": lake_location.uri,
        "PHL_S3_ENDPOINT": str(lake_location.endpoint),
        "PHL_S3_ACCESS_KEY": str(lake_location.access_key),
        "PHL_S3_SECRET_KEY": str(lake_location.secret_key),
        "PHL_S3_REGION": lake_location.region,
        "PHL_STATE_DIR": str(tmp_path / "state"),
    }


RunPhl = Callable[..., "subprocess.CompletedProcess[str]"]


def phl_command(*arguments: str | Path) -> list[str]:
    """The command line of ``phl`` in this interpreter, for tests that start it themselves."""
    return [sys.executable, "-m", "jobs.cli.main", *(str(argument) for argument in arguments)]


@pytest.fixture
def run_phl(phl_env: Mapping[str, str]) -> RunPhl:
    """Runs ``phl ARGUMENTS`` to its end: ``run_phl("ingest", "--once", env={…more}, timeout=120)``."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            phl_command(*arguments),
            cwd=ROOT,
            env={**phl_env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
