"""The process that runs the commands, one for all tests here, and what each test did to its lake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.soak.tally import Tally
from jobs.soak.warm import Warm
from tests.conftest import SURVIVED, VISITED


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """``phl`` without its start."""
    with Warm({}) as running:
        yield running


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """What a test did to its lake; all of it is told at the end."""
    counted = Tally()
    yield counted
    told: list[tuple[str, object]] = request.node.user_properties
    told += [(SURVIVED, [kind, count]) for kind, count in counted.faults.items()]
    told += [(VISITED, list(place)) for place in sorted(counted.places)]
