"""One stage as a process of its own: ``python -m jobs.stage_worker STAGE``, started by the supervisor.

A failed graph may leave threads of the runner behind, so the process ends after any failure and the supervisor
starts another; what was half done is run again from its claim.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import structlog

from jobs.exit_codes import DEFECT
from jobs.logs import configure_logging, place_of
from jobs.stage_metrics import failed
from schemas.errors import IngestError

log = structlog.get_logger(__name__)


def main() -> None:
    """Entry point; the exit code tells the supervisor what kind of error ended the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("land", "normalise", "curate"))
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", type=Path)
    options = parser.parse_args()
    configure_logging()
    try:
        from jobs.stage_loop import work  # libraries print while they are imported

        work(options.stage, options.every, options.config, options.parent)
    except IngestError as error:
        log.error(
            "stage_stopped", stage=options.stage, code=error.code, reason=error.message, **error.coordinates
        )
        failed(options.stage, error.code)
        code = DEFECT if error.code in ("STAGE-INTERNAL", "STAGE-FAILED") else error.exit_code
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 - the process ends here; only kind and place may be printed
        log.error(
            "stage_failed",
            stage=options.stage,
            kind=type(error).__name__,
            place=place_of(error.__traceback__),
        )
        failed(options.stage, type(error).__name__)
        code = DEFECT
    else:
        code = 0
    sys.stderr.flush()
    # Threads that a failed graph left behind must not keep the process, nor commit after it was given up.
    os._exit(code)


if __name__ == "__main__":
    main()
