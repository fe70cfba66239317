"""Prometheus metrics of the stages, kept by the workers and served by their supervisor.

Every worker is a process of its own, so the values lie in files of a folder that ``PROMETHEUS_MULTIPROC_DIR``
names before this module is imported, and the supervisor serves their sum. Labels are names of stages and
dispositions only, never anything that a message said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from jobs.run_stages import Outcome

MESSAGES = Counter("phl_stage_messages", "Messages that a stage took in.", ["stage"])
BATCHES = Counter("phl_stage_batches", "Batches that a stage committed.", ["stage"])
FAILURES = Counter("phl_stage_failures", "Batches that failed, by code.", ["stage", "code"])
BATCH_SECONDS = Histogram(
    "phl_stage_batch_seconds",
    "Seconds from claim to last commit.",
    ["stage"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
DISPOSITIONS = Counter("phl_dispositions", "Messages by what became of them.", ["modality", "disposition"])
LAG_MESSAGES = Gauge(
    "phl_stage_lag_messages",
    "Offsets not yet landed, or landed messages not yet normalised.",
    ["stage"],
    multiprocess_mode="mostrecent",
)
LAG_SECONDS = Gauge(
    "phl_stage_lag_seconds",
    "Seconds since the stage last had nothing left to do.",
    ["stage"],
    multiprocess_mode="mostrecent",
)


@dataclass
class StageMetrics:
    """What one worker reports of its stage."""

    stage: str
    modality: str
    caught_up_at: float = field(default_factory=time.monotonic)

    def batch(self, outcome: Outcome) -> None:
        """Count a committed batch."""
        MESSAGES.labels(self.stage).inc(outcome.messages)
        BATCHES.labels(self.stage).inc()
        BATCH_SECONDS.labels(self.stage).observe(outcome.seconds)
        for name, count in outcome.counters.items():
            if name.startswith("disposition_"):
                DISPOSITIONS.labels(self.modality, name.removeprefix("disposition_")).inc(count)

    def lag(self, messages: int) -> None:
        """Say how much is left to do."""
        if messages == 0:
            self.caught_up_at = time.monotonic()
        LAG_MESSAGES.labels(self.stage).set(messages)
        LAG_SECONDS.labels(self.stage).set(0 if messages == 0 else time.monotonic() - self.caught_up_at)

    def failed(self, code: str) -> None:
        """Count a failed batch."""
        FAILURES.labels(self.stage, code).inc()
