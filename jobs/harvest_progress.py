"""How far a harvest is: a bar on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from connectors.dicom.harvest import Outcome
from connectors.dicom.places import Place
from jobs.harvest import Tally
from schemas.errors import IngestError

log = structlog.get_logger(__name__)

LINE_EVERY: Final = 60.0
_BAR_EVERY: Final = 0.2
_COUNT_AFTER: Final = 2.0
"""Seconds after which it pays to count what there is: a short run needs no time left."""

Follow = Callable[[Iterator[Outcome | None]], Iterator[Outcome | None]]


@contextmanager
def harvest_progress(tally: Tally, place: Place) -> Iterator[Follow]:
    """Show how far ``tally`` is while outcomes pass through what is yielded; writes to stderr only.

    Args:
        tally: kept by the harvest.
        place: is counted beside, for the time left.
    """
    ended = threading.Event()
    counting = threading.Thread(target=_count, args=(tally, place, ended), name="harvest-count", daemon=True)
    counting.start()
    started = time.monotonic()
    try:
        if sys.stderr.isatty():
            with _bar(tally, started) as show:
                yield lambda passing: _every(passing, _BAR_EVERY, show)
                tally.total, tally.counted = _done(tally), True
                show()
        else:
            yield lambda passing: _every(passing, LINE_EVERY, lambda: _line(tally, started))
    finally:
        ended.set()


def _count(tally: Tally, place: Place, ended: threading.Event) -> None:
    """In a thread of its own."""
    if ended.wait(_COUNT_AFTER):
        return
    try:
        for some in place.count():
            tally.total += some
            if ended.is_set():
                return
    except IngestError as error:
        log.info("harvest_not_counted", code=error.code)
        return
    tally.counted = True


def _every(
    passing: Iterator[Outcome | None], seconds: float, show: Callable[[], None]
) -> Iterator[Outcome | None]:
    due = time.monotonic() + seconds
    for outcome in passing:
        yield outcome
        if time.monotonic() >= due:
            show()
            due = time.monotonic() + seconds


def _done(tally: Tally) -> int:
    return tally.known + tally.looked_at


def _line(tally: Tally, started: float) -> None:
    passed = max(time.monotonic() - started, 0.001)
    rate = _done(tally) / passed
    facts: dict[str, int | float] = {
        "looked_at": tally.looked_at,
        "known": tally.known,
        "delivered": tally.delivered,
        "rate": round(rate),
    }
    if tally.counted and rate:
        facts["of"] = tally.total
        facts["seconds_left"] = round(max(tally.total - _done(tally), 0) / rate)
    log.info("harvest_progress", **facts)


@contextmanager
def _bar(tally: Tally, started: float) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.fields[headers]:,} headers"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("harvest", total=None, headers=0, rate=0.0)

        def show() -> None:
            passed = max(time.monotonic() - started, 0.001)
            done = _done(tally)
            total = max(tally.total, done) if tally.counted else None
            shown.update(task, completed=done, total=total, headers=tally.delivered, rate=done / passed)

        yield show
