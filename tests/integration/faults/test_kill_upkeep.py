"""Upkeep is killed at every fail point of its own: no row goes, and the next one does what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from jobs.soak.schedule import places_of
from jobs.soak.tally import Tally
from jobs.soak.warm import KILLED
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from tests.conftest import ROOT, clean_environment
from tests.integration.lake_cases import RAW, land, offsets

BATCHES = 52
"""More than there are commits from one cleaning to the next."""

NEEDS_COMMITS = ("before-merge", "after-vacuum", "log-entry-deleted")


def test_upkeep_killed_everywhere(local_location: LakeLocation, tally: Tally) -> None:
    lake = Lake(local_location)
    lake.create_missing((RAW,))
    end = 0
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.faults.upkeep"],
        cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as upkeep:  # fmt: skip
        assert upkeep.stdin is not None
        assert upkeep.stdout is not None

        def tell(what: object) -> None:
            assert upkeep.stdin is not None
            upkeep.stdin.write(json.dumps(what) + "\n")
            upkeep.stdin.flush()

        tell(asdict(local_location))
        for point in places_of("upkeep"):
            if point in NEEDS_COMMITS:  # else the one before left enough to be done
                for _ in range(BATCHES):
                    end += 1
                    batch = land(lake, end).batch
            tell([batch, point])
            assert int(upkeep.stdout.readline()) == KILLED, point
            tally.killed("upkeep", point)
            assert offsets(lake, RAW) == list(range(end)), point
        tell([batch, None])
        assert int(upkeep.stdout.readline()) == 0
        upkeep.stdin.close()
    assert offsets(lake, RAW) == list(range(end))
    assert lake.open(RAW).get_add_actions().num_rows < end, "small files are merged in the end"
