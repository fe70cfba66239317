"""The bound on memory: who waits, who goes on, who is ended."""

from __future__ import annotations

import time

from connectors.listening.budget import FAVOUR_SECONDS, STALL_SECONDS, Budget


class Connection:
    """Stands for a connection: only what the budget tells it is of interest."""

    def __init__(self) -> None:
        self.heard = time.monotonic()
        self.resumed = 0
        self.ended = False

    def resume(self) -> None:
        self.resumed += 1

    def give_up(self) -> None:
        self.ended = True


def test_below_the_limit_nobody_waits() -> None:
    budget = Budget(100)
    budget.hold(100)
    assert not budget.must_wait(Connection())


def test_those_who_wait_go_on_in_their_order_when_bytes_are_freed() -> None:
    budget = Budget(100)
    budget.hold(150)
    budget.begin()
    first, second = Connection(), Connection()
    assert budget.must_wait(first)
    assert budget.must_wait(second)
    budget.release(20)
    assert (first.resumed, second.resumed) == (0, 0)
    budget.release(40)
    assert (first.resumed, second.resumed) == (1, 1)


def test_one_is_favoured_where_only_beginnings_are_held() -> None:
    budget = Budget(100)
    budget.hold(150)
    first, second, third = Connection(), Connection(), Connection()
    assert not budget.must_wait(first), "nothing is under way that could free bytes"
    assert budget.must_wait(second)
    assert budget.must_wait(third)
    assert not budget.must_wait(first), "it may go on to the end of its message"
    budget.settled(first)
    budget.begin()
    assert budget.must_wait(first)
    budget.end()
    assert (second.resumed, third.resumed) == (1, 0), "the next one, and only one"
    assert budget.must_wait(third)


def test_a_favoured_one_that_stalls_is_ended_and_the_next_is_favoured() -> None:
    budget = Budget(100)
    budget.hold(150)
    first, second = Connection(), Connection()
    assert not budget.must_wait(first)
    assert budget.must_wait(second)
    budget.tick(time.monotonic())
    assert not first.ended
    budget.tick(time.monotonic() + STALL_SECONDS + 1)
    assert first.ended
    assert second.resumed == 1


def test_a_favoured_one_cannot_dribble_for_ever() -> None:
    budget = Budget(100)
    budget.hold(150)
    first, second = Connection(), Connection()
    assert not budget.must_wait(first)
    assert budget.must_wait(second)
    later = time.monotonic() + FAVOUR_SECONDS + 1
    first.heard = later
    budget.tick(later)
    assert first.ended


def test_nobody_is_ended_where_nobody_waits() -> None:
    budget = Budget(100)
    budget.hold(150)
    only = Connection()
    assert not budget.must_wait(only)
    budget.tick(time.monotonic() + 1000)
    assert not only.ended


def test_a_connection_that_is_gone_is_forgotten() -> None:
    budget = Budget(100)
    budget.hold(150)
    first, second = Connection(), Connection()
    assert not budget.must_wait(first)
    assert budget.must_wait(second)
    budget.forget(first)
    assert second.resumed == 1
