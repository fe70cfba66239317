"""How far a check of objects is: a line that changes on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LINE_EVERY: Final = 60.0
WHAT: Final = {
    "tables": "tables read",
    "listed": "objects listed",
    "hashed": "objects read whole",
    "elsewhere": "objects elsewhere",
}


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """Show what is told to what is yielded; writes to stderr only."""
    started = time.monotonic()
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("objects") as status:

            def show(what: str, count: int) -> None:
                rate = count / max(time.monotonic() - started, 0.001)
                status.update(f"{count:,} {WHAT[what]} ({rate:,.0f}/s)")

            yield show
        return
    said = started

    def line(what: str, count: int) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            log.info("objects_progress", what=what, count=count, seconds=round(said - started))

    yield line
