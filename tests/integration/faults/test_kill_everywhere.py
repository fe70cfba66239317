"""Stages are killed at every fail point: what a crash left is taken up by the next, and nothing shows of it."""

from __future__ import annotations

from pathlib import Path

from jobs.soak.schedule import Kill, kills, places_of
from jobs.soak.tally import Tally
from jobs.soak.warm import KILLED, Warm
from lake_layout.location import LakeLocation
from tests.conftest import KafkaServer
from tests.integration.faults.city_lake import STAGES, CityLake, city_lake

SEED = 1
MOST_TRIES = 4
"""A place may lie behind the end of what is there: so often more messages are sent."""


def killed_at(lake: CityLake, kill: Kill) -> bool:
    """Kill a stage at a place; False where it never came by."""
    lake.changed = lake.changed != kill.changed
    for _ in range(MOST_TRIES):
        done = lake.stage(kill.stage, fail_point=kill.fail_point)
        if done.code == KILLED:
            assert f"fail point {kill.point} reached" in done.output
            return True
        assert done.code == 0, done.output
        lake.send(20)
        for stage in STAGES[: STAGES.index(kill.stage)]:
            assert lake.stage(stage).code == 0
    return False


def test_every_fail_point(
    warm: Warm,
    kafka: KafkaServer,
    lake_location: LakeLocation,
    local_location: LakeLocation,
    tmp_path: Path,
    tally: Tally,
) -> None:
    lake = city_lake(warm, kafka.connection, lake_location, tmp_path / "faults")
    visited: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for kill in kills(SEED):
        if kill.stage == "land":
            lake.send(12)
        if killed_at(lake, kill):
            visited[kill.stage].add(kill.point)
            tally.killed(kill.stage, kill.point)
    lake.take_in()
    assert {stage: sorted(places_of(stage)) for stage in STAGES} == {
        stage: sorted(points) for stage, points in visited.items()
    }
    lake.assert_whole()
    calm = city_lake(warm, kafka.connection, local_location, tmp_path / "calm", like=lake)
    calm.take_in()
    lake.assert_like(calm)
