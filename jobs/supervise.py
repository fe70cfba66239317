"""Keep the stages' workers running: start them, start them again after a failure, stop them together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from jobs.exit_codes import DEFECT
from jobs.stage_metrics import worker_ended
from schemas.errors import ConfigError, LakeError

log = structlog.get_logger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
MOST_DEFECTS = 5
GRACE = 60.0  # seconds for a batch under way to end


@dataclass
class Worker:
    """A stage's process and how often it failed in a row."""

    stage: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)
    started: float = 0.0

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(list(self.command))  # noqa: S603 - our own interpreter and module
        log.info("worker_started", stage=self.stage, pid=self.process.pid)


def worker_command(stage: str, every: float, config: Path | None) -> list[str]:
    """The command line of a stage's worker."""
    command = [
        sys.executable,
        "-m",
        "jobs.stage_worker",
        stage,
        "--every",
        str(every),
        "--parent",
        str(os.getpid()),
    ]
    return command + (["--config", str(config)] if config else [])


def supervise(workers: Sequence[Worker], stopped: Callable[[], bool]) -> None:
    """Run the workers until ``stopped`` says so.

    A worker that ends because something did not answer, or that was killed, is started again after a pause that
    doubles up to half a minute. One that ends because a table or a setting is wrong stops all: to go on could
    lose or double rows.

    Raises:
        LakeError: a worker found a table, claim or topic that is not as it must be; its log line says which.
        ConfigError: a setting is wrong.
    """
    try:
        while not stopped():
            now = time.monotonic()
            for worker in workers:
                _look_after(worker, now)
            time.sleep(0.2)
    finally:
        _stop(workers)


def _look_after(worker: Worker, now: float) -> None:
    if worker.process is None:
        if now >= worker.start_at:
            worker.start()
        return
    code = worker.process.poll()
    if code is None:
        if now - worker.started > LONGEST_PAUSE:
            worker.failures = 0
        return
    worker.process = None
    worker_ended(worker.stage, code)
    if code == LakeError.exit_code:
        raise LakeError(
            "STAGE-STOPPED", "a stage met a state it must not go on from; see its log", stage=worker.stage
        )
    if code == ConfigError.exit_code:
        raise ConfigError("STAGE-CONFIG", "a stage refused its settings; see its log", stage=worker.stage)
    if code == DEFECT and worker.failures >= MOST_DEFECTS:
        raise LakeError("STAGE-DEFECT", "a stage fails again and again; see its log", stage=worker.stage)
    pause = min(FIRST_PAUSE * 2**worker.failures, LONGEST_PAUSE)
    worker.failures += 1
    worker.start_at = now + pause
    log.warning("worker_ended", stage=worker.stage, exit_code=code, again_in_seconds=pause)


def _stop(workers: Sequence[Worker]) -> None:
    """Ask all to finish their batch; after the grace end what is left (its claim is run again later)."""
    running = [worker.process for worker in workers if worker.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
