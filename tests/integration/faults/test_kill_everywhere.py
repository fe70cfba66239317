"""Stages are killed at every fail point: what a crash left is taken up by the next, and nothing shows of it."""

from __future__ import annotations

from pathlib import Path

from jobs.soak.killing import kill_everywhere
from jobs.soak.schedule import kills
from jobs.soak.tally import Tally
from jobs.soak.warm import Warm
from lake_layout.location import LakeLocation
from tests.conftest import KafkaServer
from tests.integration.faults.city_lake import CityLake, city_lake

SEED = 1
ON_THE_STORE = ("after-commit", "claim-adopted", "after-fence")
"""Of stages that are killed on the S3 store too, places where it has been written to."""


def test_every_fail_point(
    warm: Warm, kafka: KafkaServer, local_location: LakeLocation, tmp_path: Path, tally: Tally
) -> None:
    """On a lake in a folder, where nothing but the stages takes time."""
    lake = city_lake(warm, kafka.connection, local_location, tmp_path / "faults")
    assert kill_everywhere(lake, kills(SEED), tally) == []
    assert_nothing_shows(lake, warm, kafka, tmp_path)


def test_some_fail_points_on_the_store(
    warm: Warm, kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path, tally: Tally
) -> None:
    lake = city_lake(warm, kafka.connection, lake_location, tmp_path / "faults", batches={})
    some = [one for one in kills(SEED, ("normalise", "curate")) if one.point in ON_THE_STORE]
    assert kill_everywhere(lake, some, tally) == []
    assert_nothing_shows(lake, warm, kafka, tmp_path)


def assert_nothing_shows(lake: CityLake, warm: Warm, kafka: KafkaServer, folder: Path) -> None:
    lake.take_in()
    lake.assert_whole()
    location = LakeLocation(str(folder / "calm-lake"))
    calm = city_lake(warm, kafka.connection, location, folder / "calm", like=lake)
    calm.take_in()
    lake.assert_like(calm)
