"""Prometheus metrics of the stages, kept by the workers and served by their supervisor.

Every worker is a process of its own, so the values lie in files of a folder that ``PROMETHEUS_MULTIPROC_DIR``
names before this module is imported, and the supervisor serves their sum. Labels are names of stages, modalities,
codes and dispositions only, never anything that a message said.

Lag in seconds is not a value that workers set, for a worker that has ended would leave its last one behind: they
set up to when everything is taken in, and how long ago that was is reckoned when the metrics are asked for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from jobs.run_stages import Outcome

EVERY_MODALITY: Final = "all"
"""Label of a stage that takes in what all modalities have written."""

_OF = ["stage", "modality"]
MESSAGES = Counter(
    "phl_stage_messages",
    "Messages that a stage took in (land: landed; curate, identity, codes: rows of normalised tables).",
    _OF,
)
BATCHES = Counter("phl_stage_batches", "Batches that a stage committed.", _OF)
FAILURES = Counter("phl_stage_failures", "Errors that ended a stage's worker, by code.", ["stage", "code"])
WORKER_ENDS = Counter(
    "phl_stage_worker_ends",
    "Workers that ended unasked, by exit code (below 0: signal).",
    ["stage", "exit_code"],
)
BATCH_SECONDS = Histogram(
    "phl_stage_batch_seconds",
    "Seconds from claim to last commit.",
    _OF,
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
DISPOSITIONS = Counter("phl_dispositions", "Messages by what became of them.", ["modality", "disposition"])
STEP_SECONDS = Counter("phl_step_seconds", "CPU seconds that a step of a stage took.", [*_OF, "step"])
LAG_MESSAGES = Gauge(
    "phl_stage_lag_messages",
    "Offsets not yet landed, landed messages not yet normalised, or rows not yet curated (or taken into who is who), "
    "when the stage last looked.",
    _OF,
    multiprocess_mode="mostrecent",
)
TAKEN_IN_UNTIL = Gauge(
    "phl_stage_taken_in_until_seconds",
    "Time (Unix) up to which the stage has taken in everything that was there.",
    _OF,
    multiprocess_mode="mostrecent",
)
_LOOKS_KEPT: Final = 1_000


@dataclass
class StageMetrics:
    """What one worker reports of its stage.

    Attributes:
        stage: name of the stage.
        modality: name of the modality.
        taken: messages taken in since the worker began.
        looks: time and end of former looks: so many messages had to be taken in for everything of then.
    """

    stage: str
    modality: str
    taken: int = 0
    looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_LOOKS_KEPT))

    def batch(self, outcome: Outcome) -> None:
        """Count a committed batch."""
        self.taken += outcome.messages
        MESSAGES.labels(self.stage, self.modality).inc(outcome.messages)
        BATCHES.labels(self.stage, self.modality).inc()
        BATCH_SECONDS.labels(self.stage, self.modality).observe(outcome.seconds)
        for name, count in outcome.counters.items():
            if name.startswith("disposition_"):
                DISPOSITIONS.labels(self.modality, name.removeprefix("disposition_")).inc(count)
        for step, seconds in outcome.steps.items():
            STEP_SECONDS.labels(self.stage, self.modality, step).inc(seconds)

    def lag(self, waiting: int, looked_at: float) -> None:
        """Say how much is left to do.

        Under steady traffic there is always something left, so what counts is when that was there which has been
        taken in since.

        Args:
            waiting: messages that are left.
            looked_at: Unix time just before they were counted.
        """
        LAG_MESSAGES.labels(self.stage, self.modality).set(waiting)
        self.looks.append((looked_at, self.taken + waiting))
        while self.looks and self.looks[0][1] <= self.taken:
            TAKEN_IN_UNTIL.labels(self.stage, self.modality).set(self.looks.popleft()[0])


def failed(stage: str, code: str) -> None:
    """Count an error that ends a worker."""
    FAILURES.labels(stage, code).inc()


def worker_ended(stage: str, exit_code: int) -> None:
    """Count a worker that ended unasked, by an error or killed."""
    WORKER_ENDS.labels(stage, str(exit_code)).inc()


def begin(stages: Sequence[str], modalities: Sequence[str]) -> None:
    """Show every stage from the start; nothing is known of earlier times, so lag in seconds counts from now."""
    for stage in stages:
        if stage == "curate":
            for name in ("curate", "identity", "codes"):
                TAKEN_IN_UNTIL.labels(name, EVERY_MODALITY).set(time.time())
            continue
        for modality in modalities:
            TAKEN_IN_UNTIL.labels(stage, modality).set(time.time())


class StageCollector(Collector):
    """What all workers counted, and how far each stage is behind.

    Args:
        folder: the one that ``PROMETHEUS_MULTIPROC_DIR`` names.
    """

    def __init__(self, folder: str) -> None:
        self._workers = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """All metrics, and ``phl_stage_lag_seconds`` reckoned now."""
        behind = GaugeMetricFamily(
            "phl_stage_lag_seconds",
            "Seconds since the time up to which the stage has taken in everything; grows while it does not run.",
            labels=_OF,
        )
        for metric in self._workers.collect():  # type: ignore[no-untyped-call]
            yield metric
            if metric.name == "phl_stage_taken_in_until_seconds":
                for sample in metric.samples:
                    labels = [sample.labels[name] for name in _OF]
                    behind.add_metric(labels, max(0.0, time.time() - sample.value))
        yield behind
