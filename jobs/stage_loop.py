"""What a stage's worker does: look for new messages, run a batch, report, rest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from jobs.maintenance import Maintenance
from jobs.run_stages import (
    Context,
    Outcome,
    check_landed,
    codes_batch,
    codes_lag,
    curate_batch,
    curate_lag,
    identify_batch,
    identify_lag,
    identity_idle,
    is_asked_again,
    land_batch,
    land_lag,
    newest_version,
    normalise_batch,
    normalise_lag,
    prepare,
    prepare_curated,
)
from jobs.settings import load_settings
from jobs.stage_metrics import EVERY_MODALITY, StageMetrics
from jobs.wiring import contexts
from lake_layout.delta_log import log_path
from pipelines.batch_memory import keep_memory
from schemas.tables.ops import DECISION

STAGES: dict[str, tuple[Callable[[Context], Outcome | None], Callable[[Context], int]]] = {
    "land": (land_batch, land_lag),
    "normalise": (normalise_batch, normalise_lag),
    "curate": (curate_batch, curate_lag),
    "identity": (identify_batch, identify_lag),
    "codes": (codes_batch, codes_lag),
}
"""Stage → (run one batch, how many messages, or rows of tables, are left)."""

IDLE: dict[str, Callable[[Context], None]] = {"identity": identity_idle}
"""Stage → what it does while nothing is left for it."""

BESIDE = {"curate": ("curate", "identity", "codes")}
"""Stages whose batches one worker runs in turn."""


BACKLOG = {"land": 10_000, "normalise": 10_000, "curate": 1_000_000}
"""With so many left the next batch begins at once, whatever the interval."""

ASKED: dict[str, Callable[[Context], bool]] = {"normalise": is_asked_again}
"""Stage → whether an operator asks something of it, beside what is left."""

RESTS = {"land": 0.0, "normalise": 0.0, "curate": 4.0}
"""So many times as long as a batch took its stage rests at least: what rewrites files takes a share of the machine and
no more, and the larger the batch the less it rewrites for each row."""

FOLLOWS = frozenset({"normalise"})
"""Stages that begin as soon as there is a commit of what they read, and do not wait for a turn of their own: what was
landed has waited for one already."""

LOOKS = 5
"""So often in the interval is looked for such a commit."""

WHOLE_LOOK_AFTER = 30.0
"""Seconds after which a stage looks at all there is, whether or not it saw a commit."""

NICENESS = {"land": 0, "normalise": 0, "curate": 10}
"""Where processors are scarce, messages are taken in before files are rewritten."""


@dataclass
class Lane:
    """Batches of a stage on one modality, or on all.

    Attributes:
        stage: a key of ``STAGES``.
        context: of the modality.
        metrics: what is told of them.
        upkeep: of the tables.
        begun: whether a batch that a process before this one may have left open was looked for.
        seen: table → version up to which nothing is left to be done; empty where something may be.
        looked: when that was found (monotonic seconds).
    """

    stage: str
    context: Context
    metrics: StageMetrics
    upkeep: Maintenance = field(init=False)
    begun: bool = False
    seen: dict[str, int] = field(default_factory=dict)
    looked: float = 0.0

    def __post_init__(self) -> None:
        self.upkeep = Maintenance(self.stage)

    def run(self) -> tuple[int, float]:
        """Run a batch, where anything is left; no look at claims and plans where nothing is.

        Returns:
            What is left then, and how many seconds the batch took.
        """
        run, lag = STAGES[self.stage]
        looked_at = time.time()
        if self.stage in FOLLOWS:
            if not self.has_news():
                self.metrics.lag(0, looked_at)
                return 0, 0.0
            followed = (self.context.modality.raw, DECISION)
            self.seen = {table.name: newest_version(self.context.lake, table) for table in followed}
            self.looked = time.monotonic()
        left, took = lag(self.context), 0.0
        if left or not self.begun or self.is_asked():
            outcome = run(self.context)
            self.begun = True
            if outcome is not None:
                took = outcome.seconds
                self.metrics.batch(outcome)
                self.upkeep.after(self.context, outcome)
                looked_at = time.time()
                left = lag(self.context)
                self.seen = {}
        elif self.stage in IDLE:
            IDLE[self.stage](self.context)
        self.metrics.lag(left, looked_at)
        return left, took

    def is_asked(self) -> bool:
        """Whether an operator asks something of the stage."""
        return self.stage in ASKED and ASKED[self.stage](self.context)

    def has_news(self) -> bool:
        """Whether a stage that follows commits may have something to do: one small request for each table."""
        if not self.seen or time.monotonic() - self.looked > WHOLE_LOOK_AFTER:
            return True
        store = self.context.lake.store
        following = (log_path(table, version + 1) for table, version in self.seen.items())
        return any(store.get_or_none(path) is not None for path in following)


class Stop:
    """Set by SIGTERM and SIGINT; the batch under way is finished first."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def is_asked(self) -> bool:
        """Whether the worker is to end."""
        return self.asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def work(stage: str, every: float, config: Path | None, parent: int) -> None:
    """Run batches of a stage until told to stop or until the supervisor is gone.

    Args:
        stage: a key of ``STAGES``.
        every: seconds from the start of one look for new messages to the next; none while there is more to do, and
            less where a stage follows another.
        config: the settings' file.
        parent: process id of the supervisor; it may be gone before this process has begun to look.
    """
    os.nice(NICENESS[stage])
    keep_memory()
    stop = Stop()
    settings = load_settings(config)
    wired = contexts(settings)
    lanes = [Lane(stage, context, StageMetrics(stage, context.modality.name)) for context in wired]
    if stage in BESIDE:  # whatever modality the rows are of
        lanes = [Lane(name, wired[0], StageMetrics(name, EVERY_MODALITY)) for name in BESIDE[stage]]
    for context in wired:
        prepare(context)
        if stage == "land":
            check_landed(context)
    if stage == "curate":
        prepare_curated(wired[0])
    while not stop.is_asked() and os.getppid() == parent:
        began = looked = time.monotonic()
        busy, took = False, 0.0
        for lane in lanes:
            left, seconds = lane.run()
            took += seconds
            busy = busy or left >= BACKLOG[stage]
        pause = max(every, (1 + RESTS[stage]) * took)
        while not busy and (rest := pause - (time.monotonic() - began)) > 0:
            if stop.is_asked() or os.getppid() != parent:
                break
            time.sleep(min(rest, 0.2))
            if stage in FOLLOWS and time.monotonic() - looked > every / LOOKS:
                looked = time.monotonic()
                if any(lane.has_news() for lane in lanes):
                    break
