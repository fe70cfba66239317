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
    plugins = request.config.pluginmanager
    reporter, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")
    assert reporter is not None
    assert capture is not None
    with capture.global_and_fixture_disabled():
        for line in ("", *counted.lines(), f"fail points visited: {len(counted.places)}"):
            reporter.write_line(line)
