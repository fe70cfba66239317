"""Which faults come in which order: a function of a seed and nothing else, so that what failed can be run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from lake_layout.fail_points import ALL_STAGES, FAIL_POINTS

TAKES_OVER: Final = ("claim-made", "before-fence", "after-fence")
"""Places where the settings are changed first, so that an open claim is another program's and is taken over."""

COMMANDS: Final = ("land", "normalise", "curate")
"""Stages as ``phl ingest --stage`` names them."""

COMMAND: Final[Mapping[str, str]] = MappingProxyType({"again": "normalise", "identity": "curate"})
"""In whose process a stage runs that is none of these."""

ENTRY: Final[Mapping[str, str]] = MappingProxyType({"again": "again-chosen", "identity": "identity-claimed"})
"""By such a stage, a place that its process reaches when all before it is done: from then on places are its own."""

_BEHIND: Final[Mapping[str, str]] = MappingProxyType({"land": "before-last-commit"})
"""By stage, a place behind which a claim is open, with commits that are to be taken back where there can be some."""

_FOLLOWERS: Final = ("claim-adopted", "before-fence", "after-fence")
_FIRST: Final = frozenset(ENTRY.values())
_LAST: Final = "after-last-commit"
"""Behind it nothing may be left to do."""

_SEVERAL: Final = {"before-file": 6, "after-file": 6, "before-commit": 4, "after-commit": 8, "after-fence": 8,
                   "before-fence": 8, "table-stated": 3, "table-decided": 3, "run-written": 2,
                   "rows-left": 6}  # fmt: skip
"""Places that a batch comes by again and again, and up to which time it may be let through."""


@dataclass(frozen=True)
class Kill:
    """A stage is killed at a place.

    Attributes:
        stage: which.
        point: where.
        nth: the how manieth time that it comes by.
        changed: whether the settings change before it, as by a new version of the program.
    """

    stage: str
    point: str
    nth: int
    changed: bool

    @property
    def command(self) -> str:
        """The stage as ``phl ingest --stage`` names it."""
        return COMMAND.get(self.stage, self.stage)

    @property
    def fail_point(self) -> str:
        """As ``PHL_FAIL_POINT`` says it."""
        return f"{self.point}:{self.nth}"


def places_of(stage: str) -> list[str]:
    """The places that a stage comes by."""
    return [point.name for point in FAIL_POINTS if stage in point.stages]


def kills(seed: int, stages: Sequence[str] = ALL_STAGES) -> list[Kill]:
    """Every place of each stage once, in an order that the seed mixes; what needs an open claim comes behind one."""
    rng = Random(f"kills {seed}")  # noqa: S311 - repeatable on purpose
    return [kill for stage in stages for kill in _of_stage(rng, stage)]


def _of_stage(rng: Random, stage: str) -> Iterator[Kill]:
    places = [name for name in places_of(stage) if name not in _FOLLOWERS]
    rng.shuffle(places)
    places.sort(key=lambda name: (name not in _FIRST, name == _LAST))
    followers = rng.sample(_FOLLOWERS, len(_FOLLOWERS))
    if followers[-1] == "claim-adopted":  # behind a fence a claim is open too, but with less to take back
        followers.reverse()
    at = places.index(_BEHIND.get(stage, "after-commit")) + 1
    for name in (*places[:at], *followers, *places[at:]):
        nth = rng.randint(1, _SEVERAL.get(name, 1)) if stage not in ("land", "identity") else 1
        yield Kill(stage, name, nth, name in TAKES_OVER)
