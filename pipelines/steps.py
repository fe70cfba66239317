"""What the steps of a stage cost: the CPU time of the thread that does them, kept as counters of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from apache_beam.metrics import Metrics

from pipelines.costs import Costs

T = TypeVar("T")

PREFIX: Final = "step_"
"""Of the counters' names; they count microseconds."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Count what the block costs, in the transform's own thread; not to be nested."""
    costs = Costs()
    try:
        with costs.step(name):
            yield
    finally:
        count_steps(costs)


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


def count_steps(costs: Mapping[str, int]) -> None:
    """Count what was measured: nanoseconds by step."""
    for name, nanoseconds in costs.items():
        Metrics.counter("phl", PREFIX + name).inc(nanoseconds // 1_000)
