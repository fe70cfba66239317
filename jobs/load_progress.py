"""How far a load is: a bar on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from connectors.records import Record
from jobs.load_files import Tally

log = structlog.get_logger(__name__)

LINE_EVERY: Final = 60.0
_BAR_EVERY: Final = 0.1

Follow = Callable[[Iterable[Record]], Iterator[Record]]


@contextmanager
def progress(tally: Tally, total_bytes: int, files: int) -> Iterator[Follow]:
    """Show how far ``tally`` is while records pass through what is yielded; writes to stderr only.

    Args:
        tally: kept by the load.
        total_bytes: of all files.
        files: how many.
    """
    if sys.stderr.isatty():
        with _bar(tally, total_bytes) as show:
            yield lambda records: _every(records, _BAR_EVERY, show)
            show()
    else:
        yield lambda records: _every(records, LINE_EVERY, lambda: _line(tally, total_bytes, files))


def _every(records: Iterable[Record], seconds: float, show: Callable[[], None]) -> Iterator[Record]:
    due = time.monotonic() + seconds
    for record in records:
        yield record
        if time.monotonic() >= due:
            show()
            due = time.monotonic() + seconds


def _line(tally: Tally, total_bytes: int, files: int) -> None:
    log.info(
        "load_progress",
        messages=tally.messages,
        delivered=tally.delivered,
        files=tally.files,
        of_files=files,
        percent=round(100 * tally.file_bytes / total_bytes, 1) if total_bytes else 100.0,
    )


@contextmanager
def _bar(tally: Tally, total_bytes: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.fields[messages]:,} messages"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("load", total=total_bytes, messages=0, rate=0.0)

        def show() -> None:
            passed = max(time.monotonic() - started, 0.001)
            shown.update(
                task, completed=tally.file_bytes, messages=tally.delivered, rate=tally.delivered / passed
            )

        yield show
