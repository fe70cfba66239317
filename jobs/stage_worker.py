"""One stage as a process of its own: ``python -m jobs.stage_worker STAGE``, started by the supervisor.

A failed graph may leave threads of the runner behind, so the process ends after any failure and the supervisor
starts another; what was half done is run again from its claim.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

from jobs.exit_codes import DEFECT
from jobs.logs import configure_logging
from jobs.maintenance import Maintenance
from jobs.run_stages import (
    Context,
    Outcome,
    check_landed,
    land_batch,
    land_lag,
    normalise_batch,
    normalise_lag,
    prepare,
)
from jobs.settings import load_settings
from jobs.stage_metrics import StageMetrics
from jobs.wiring import contexts
from pipelines.parts import place_of
from schemas.errors import IngestError

log = structlog.get_logger(__name__)

STAGES: dict[str, tuple[Callable[[Context], Outcome | None], Callable[[Context], int]]] = {
    "land": (land_batch, land_lag),
    "normalise": (normalise_batch, normalise_lag),
}
"""Stage → (run one batch, how many messages are left)."""


BACKLOG = 10_000
"""With so many messages left the next batch begins at once, whatever the interval."""


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
        every: seconds from the start of one look for new messages to the next; none while there is more to do.
        config: the settings' file.
        parent: process id of the supervisor; it may be gone before this process has begun to look.
    """
    run, lag = STAGES[stage]
    stop = Stop()
    settings = load_settings(config)
    lanes = [(context, StageMetrics(stage, context.modality.name)) for context in contexts(settings)]
    maintenance = Maintenance(stage)
    for context, _ in lanes:
        prepare(context)
        if stage == "land":
            check_landed(context)
    while not stop.is_asked() and os.getppid() == parent:
        began = time.monotonic()
        busy = False
        for context, metrics in lanes:
            try:
                outcome = run(context)
                if outcome is not None:
                    metrics.batch(outcome)
                    maintenance.after(context, outcome)
                left = lag(context)
            except IngestError as error:
                metrics.failed(error.code)
                raise
            metrics.lag(left)
            busy = busy or left >= BACKLOG
        while not busy and (rest := every - (time.monotonic() - began)) > 0 and not stop.is_asked():
            time.sleep(min(rest, 0.2))


def main() -> None:
    """Entry point; the exit code tells the supervisor what kind of error ended the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", type=Path)
    options = parser.parse_args()
    configure_logging()
    try:
        work(options.stage, options.every, options.config, options.parent)
    except IngestError as error:
        log.error(
            "stage_stopped", stage=options.stage, code=error.code, reason=error.message, **error.coordinates
        )
        code = DEFECT if error.code in ("STAGE-INTERNAL", "STAGE-FAILED") else error.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 - the process ends here; only kind and place may be printed
        log.error("stage_failed", stage=options.stage, kind=type(error).__name__, place=place_of(error))
        code = DEFECT
    else:
        code = 0
    sys.stderr.flush()
    # Threads that a failed graph left behind must not keep the process, nor commit after it was given up.
    os._exit(code)


if __name__ == "__main__":
    main()
