"""What the benchmarks share: memory of a process with its children, the machine's name, a table to print."""

from __future__ import annotations

import os
import platform
import resource
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psutil
from rich.console import Console
from rich.table import Table

MEBIBYTE = 1024 * 1024


class PeakMemory:
    """Greatest resident memory (MiB) of a process and its children while the block runs."""

    def __init__(self, pid: int | None = None, every: float = 0.05) -> None:
        self.pid = pid or os.getpid()
        self.every = every
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.every):
            self.peak = max(self.peak, resident(self.pid) / MEBIBYTE)


def resident(pid: int) -> int:
    """Resident bytes of a process and all its descendants."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def cpu_of_service(pid: int) -> float:
    """CPU seconds that a running process has taken, its threads included."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def cpu_of_children() -> float:
    """CPU seconds of the child processes that were waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine() -> str:
    """The machine in one line."""
    memory = psutil.virtual_memory().total / 1024**3
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    )


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one table of results."""
    table = Table(title=f"{title} ({machine()})", title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
