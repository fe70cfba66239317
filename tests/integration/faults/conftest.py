"""The process that runs the commands, one for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.soak.tally import Tally
from jobs.soak.warm import Warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """``phl`` without its start."""
    with Warm({}) as running:
        yield running


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """What all tests here did to their lakes; told at the end."""
    counted = Tally()
    yield counted
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    reporter.write_line("")
    for line in counted.lines():
        reporter.write_line(line)
    reporter.write_line(f"fail points visited: {len(counted.places)}")
