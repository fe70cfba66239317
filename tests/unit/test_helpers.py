"""Processes that help: what they give back, and what becomes of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from lake_layout.added_since import AddedFile
from pipelines.helpers import Helpers
from pipelines.parts import Part, parts_side_by_side
from schemas.errors import LakeError


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    made = Helpers()
    yield made
    made.let_go()


def test_what_is_asked_for_is_done_elsewhere(helpers: Helpers) -> None:
    here = os.getpid()
    there = {helpers.submit(1, os.getpid).result() for _ in range(3)}
    assert len(there) == 1
    assert here not in there


def test_an_error_comes_back_without_what_a_library_said(helpers: Helpers) -> None:
    with pytest.raises(LakeError) as caught:
        helpers.submit(1, int, "a name").result()
    assert caught.value.code == "STAGE-INTERNAL"
    assert "a name" not in str(caught.value)


def test_a_killed_helper_is_told_of_and_another_one_started(helpers: Helpers) -> None:
    first = helpers.submit(1, os.getpid).result()
    os.kill(first, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first)], timeout=10)
    with pytest.raises(LakeError) as caught:
        helpers.submit(1, os.getpid).result()
    assert caught.value.code == "STAGE-HELPER"
    helpers.let_go()
    assert helpers.submit(1, os.getpid).result() not in (first, os.getpid())


def test_helpers_that_are_let_go_end(helpers: Helpers) -> None:
    there = helpers.submit(2, os.getpid).result()
    helpers.let_go()
    assert not psutil.pid_exists(there)


def files(*rows: int) -> list[AddedFile]:
    return [AddedFile(f"f{number}", count, 1, None, number) for number, count in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "at_once", "expected"),
    [
        ((100,), 2, [Part(0, ("f0",), 50), Part(1, ("f0",), 50, skip=50)]),
        ((100,), 1, [Part(0, ("f0",), 100)]),
        ((9,), 2, [Part(0, ("f0",), 9)]),
        ((30, 30, 30), 2, [Part(0, ("f0", "f1"), 45), Part(1, ("f1", "f2"), 45, skip=15)]),
        ((150, 151), 2, [Part(0, ("f0",), 75), Part(1, ("f0",), 75, skip=75),
                         Part(2, ("f1",), 75), Part(3, ("f1",), 76, skip=75)]),
    ],
)  # fmt: skip
def test_parts_of_about_equal_size(rows: tuple[int, ...], at_once: int, expected: list[Part]) -> None:
    assert parts_side_by_side(files(*rows), 100, at_once, least=10) == expected
