"""What ``phl ingest --every`` counts and prints, while all is well and while Kafka is away."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import KafkaServer, RunPhl, phl_command
from tests.integration.messages import adt

SENTINEL = "SENTINELPATIENT"
PATIENCE = 90.0


class Ingest:
    """``phl ingest --every`` as a process of its own, and its metrics."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.log = folder / "ingest.log"
        with self.log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                phl_command("ingest", "--every", "1s", "--metrics-port", "0"),
                env=env, stdout=output, stderr=output,
            )  # fmt: skip
        self.until(lambda: "metrics_served" in self.printed())
        said = [json.loads(line) for line in self.printed().splitlines()]
        self.port = next(line["port"] for line in said if line["event"] == "metrics_served")

    def printed(self) -> str:
        return self.log.read_text("utf-8")

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.2)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def ingest(phl_env: dict[str, str], tmp_path: Path, run_phl: RunPhl) -> Iterator[Ingest]:
    assert run_phl("up").returncode == 0
    running = Ingest(phl_env, tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_each_stage_counts_what_it_took_in_and_nothing_of_a_patient_is_printed(
    ingest: Ingest, run_phl: RunPhl, tmp_path: Path
) -> None:
    file = tmp_path / "messages.hl7"
    sent = [adt(number, family=SENTINEL) for number in range(5)]
    file.write_bytes(b"\n".join([*sent, sent[0], b"MSH|" + SENTINEL.encode()]))
    assert run_phl("load", file, "--source", "county").returncode == 0
    ingest.until(lambda: ingest.value("phl_dispositions_total", modality="hl7v2") == 7)

    for stage in ("land", "normalise"):
        assert ingest.value("phl_stage_messages_total", stage=stage, modality="hl7v2") == 7
        assert ingest.value("phl_stage_batches_total", stage=stage) == 1
        assert ingest.value("phl_stage_batch_seconds_count", stage=stage) == 1
        assert ingest.value("phl_stage_batch_seconds_sum", stage=stage) > 0
        ingest.until(lambda stage=stage: ingest.value("phl_stage_lag_messages", stage=stage) == 0)  # type: ignore[misc]
    for disposition, count in {"accepted": 5, "duplicate": 1, "quarantined": 1}.items():
        assert ingest.value("phl_dispositions_total", disposition=disposition) == count

    assert SENTINEL not in ingest.metrics()
    assert ingest.end() == 0
    printed = ingest.printed()
    assert SENTINEL not in printed
    for line in printed.splitlines():
        assert json.loads(line)["event"], "each line is structured"
    assert "library_log" not in printed, "what libraries say of themselves at the start concerns nobody"


def test_while_kafka_is_away_lag_grows_and_failures_are_counted(ingest: Ingest, kafka: KafkaServer) -> None:
    ingest.until(lambda: 0 <= ingest.value("phl_stage_lag_seconds", stage="land") < 5)
    kafka.stop()
    try:
        # a worker that has ended tells nothing, and the lag grows all the same
        ingest.until(lambda: ingest.value("phl_stage_worker_ends_total", stage="land") >= 1)
        ingest.until(lambda: ingest.value("phl_stage_lag_seconds", stage="land") > 10)
        assert ingest.value("phl_stage_failures_total", stage="land") >= 1
    finally:
        kafka.start()
    ingest.until(lambda: ingest.value("phl_stage_lag_seconds", stage="land") < 5)
    assert ingest.end() == 0
