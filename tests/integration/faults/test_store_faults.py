"""The object store loses, delays, repeats and garbles its answers, or has no room: stages fail, and go on later."""

from __future__ import annotations

from pathlib import Path

from jobs.soak.faulty_store import faulty_store, nothing, seeded
from jobs.soak.tally import Tally
from jobs.soak.warm import Warm
from lake_layout.location import LakeLocation
from schemas.errors import TransportError
from tests.conftest import KafkaServer
from tests.integration.faults.city_lake import STAGES, CityLake, city_lake

SEED = 1
SHARE = 0.03
"""Of the requests to the store; a batch of these tests has a thousand. Its clients try again several times."""

MOST_TRIES = 12
AWAY = TransportError.exit_code
"""With this a stage says that something does not answer, and that it is worth being started again."""


def started_until_done(lake: CityLake, stage: str) -> int:
    """Start a stage again and again, as its supervisor does; how often it gave up."""
    for failures in range(MOST_TRIES):
        done = lake.stage(stage)
        if done.code == 0:
            return failures
        assert done.code == AWAY, done.output
    raise AssertionError(f"{stage} does not get through")


def test_a_store_that_fails_all_the_time(
    warm: Warm,
    kafka: KafkaServer,
    lake_location: LakeLocation,
    local_location: LakeLocation,
    tmp_path: Path,
    tally: Tally,
) -> None:
    with faulty_store(lake_location) as faulty:
        lake = city_lake(warm, kafka.connection, faulty.location, tmp_path / "faults", batches={})
        lake.send(10)
        lake.take_in()
        faulty.fault = seeded(SEED, SHARE)
        lake.send(20)
        for stage in STAGES:
            tally.add("given up for the store's answers", started_until_done(lake, stage))
        faulty.fault = nothing
        lake.take_in()
        lake.assert_whole()
        calm = city_lake(warm, kafka.connection, local_location, tmp_path / "calm", like=lake)
        calm.take_in()
        lake.assert_like(calm)
    assert len(faulty.counts) > 5, faulty.counts
    for what, count in faulty.counts.items():
        tally.add(f"store: {what}", count)


def test_no_room(
    warm: Warm, kafka: KafkaServer, lake_location: LakeLocation, tmp_path: Path, tally: Tally
) -> None:
    """In the store, or on the local disk: the stages say that it is worth trying again, and then get through."""
    with faulty_store(lake_location) as faulty:
        lake = city_lake(warm, kafka.connection, faulty.location, tmp_path, batches={})
        lake.send(20)
        lake.take_in()
        lake.send(20)
        for stage, full in (
            ("land", "store"),
            ("normalise", "disk"),
            ("normalise", "store"),
            ("curate", "disk"),
        ):
            if full == "store":
                faulty.always("PUT", ".parquet", "away 507")
            done = lake.stage(stage, file_limit=100 if full == "disk" else None)
            assert done.code == AWAY, done.output
            faulty.fault = nothing
            tally.add(f"{full} full")
            if (stage, full) != ("normalise", "disk"):
                assert lake.stage(stage).code == 0
        lake.assert_whole()


def test_no_room_under_a_lake_in_a_folder(
    warm: Warm, kafka: KafkaServer, local_location: LakeLocation, tmp_path: Path, tally: Tally
) -> None:
    lake = city_lake(warm, kafka.connection, local_location, tmp_path / "state", batches={})
    lake.send(20)
    for stage, limit in (("land", 1_000), ("normalise", 5_000), ("curate", 5_000)):
        done = lake.stage(stage, file_limit=limit)
        assert done.code == AWAY, done.output
        tally.add("disk full under a lake")
        assert lake.stage(stage).code == 0
    lake.assert_whole()
