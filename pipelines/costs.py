"""What work costs: the CPU time of the thread that does it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Costs(dict[str, int]):
    """Nanoseconds by step, of one thread's work on one piece.

    Counters reach the runner from the transform's own thread only, so what others do is measured like this and counted
    there (``pipelines.steps.count_steps``).
    """

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add what the block costs; not to be nested, so that the steps of a stage add up."""
        started = time.thread_time_ns()
        try:
            yield
        finally:
            self[name] = self.get(name, 0) + time.thread_time_ns() - started

    def add(self, more: Mapping[str, int]) -> None:
        """Add what another thread's work cost."""
        for name, nanoseconds in more.items():
            self[name] = self.get(name, 0) + nanoseconds
