"""What the steps of a stage cost: the CPU time of the thread that does them, kept as counters of its graph."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from apache_beam.metrics import Metrics

T = TypeVar("T")

PREFIX: Final = "step_"
"""Of the counters' names; they count microseconds."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Count what the block costs; not to be nested, so that the steps of a stage add up."""
    started = time.thread_time_ns()
    try:
        yield
    finally:
        count_step(name, time.thread_time_ns() - started)


def steps_of(name: str, items: Iterable[T]) -> Iterator[T]:
    """Items as they come, with what it costs to get each of them counted."""
    waiting = iter(items)
    while True:
        with step(name):
            try:
                item = next(waiting)
            except StopIteration:
                return
        yield item


def count_step(name: str, nanoseconds: int) -> None:
    """Count what was measured elsewhere: counters reach the runner from the transform's own thread only."""
    Metrics.counter("phl", PREFIX + name).inc(nanoseconds // 1_000)
