"""What fails in a soak depends on its seed alone."""

from __future__ import annotations

from collections import Counter

from jobs.soak.faulty_store import Asked, seeded
from jobs.soak.tally import Tally


def _faults(seed: int, asked: Asked, count: int = 2_000) -> list[str]:
    fault = seeded(seed, 0.05)
    return [fault(asked) for _ in range(count)]


def test_the_same_seed_gives_the_same_faults() -> None:
    read = Asked("GET", "/lake/x", conditional=False)
    assert _faults(1, read) == _faults(1, read)
    assert _faults(1, read) != _faults(2, read)


def test_only_a_conditional_write_is_told_that_something_is_there() -> None:
    plain, conditional = Asked("PUT", "/lake/x", conditional=False), Asked("PUT", "/lake/x", conditional=True)
    assert {"412", "409"} <= set(_faults(1, conditional))
    assert not {"412", "409"} & set(_faults(1, plain))


def test_what_writes_fails_more_often() -> None:
    read, write = Asked("GET", "/lake/x", conditional=False), Asked("PUT", "/lake/x", conditional=False)
    silent = [Counter(_faults(1, asked))[""] for asked in (read, write)]
    assert silent[1] < silent[0] < 2_000


def test_the_tally_counts_places_once_and_kills_each_time() -> None:
    tally = Tally()
    tally.killed("land", "claim-made")
    tally.killed("land", "claim-made")
    tally.add("listener killed")
    assert list(tally.lines()) == [
        "land killed           2",
        "listener killed       1",
        "faults survived       3",
    ]
    assert len(tally.places) == 1
