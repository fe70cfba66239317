"""The fail points that are declared are those that the program has."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from jobs.soak.schedule import kills, places_of
from lake_layout.fail_points import ALL_STAGES, FAIL_POINTS, fail_point

ROOT = Path(__file__).resolve().parents[2]
CALL = re.compile(r"fail_point\(([^)]*)\)")


def test_each_is_declared_and_each_is_there() -> None:
    there: set[str] = set()
    for package in ("lake_layout", "pipelines", "jobs", "connectors"):
        for path in (ROOT / package).rglob("*.py"):
            for call in CALL.findall(path.read_text("utf-8")):
                there |= set(re.findall(r'"([a-z-]+)"', call))
    names = [point.name for point in FAIL_POINTS]
    assert sorted(names) == sorted(there)


def test_without_the_variable_nothing_happens() -> None:
    for point in FAIL_POINTS:
        fail_point(point.name)


def test_a_schedule_visits_every_place_of_every_stage_whatever_the_seed() -> None:
    for seed in range(20):
        visited = Counter((kill.stage, kill.point) for kill in kills(seed))
        assert visited == Counter((stage, name) for stage in ALL_STAGES for name in places_of(stage))
    assert kills(3) == kills(3)
    assert kills(3) != kills(4)
