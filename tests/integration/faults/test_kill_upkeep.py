"""Upkeep is killed at every fail point of its own: no row goes, and the next one does what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from jobs.soak.schedule import places_of
from jobs.soak.tally import Tally
from jobs.soak.warm import KILLED
from lake_layout.fail_points import VARIABLE
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
    for point in places_of("upkeep"):
        if point in NEEDS_COMMITS:  # else the one before left enough to be done
            for _ in range(BATCHES):
                end += 1
                batch = land(lake, end).batch
        killed = _upkeep(local_location, batch, point)
        assert killed.returncode == KILLED, f"{point}: {killed.stderr[-2000:]}"
        tally.killed("upkeep", point)
        assert offsets(lake, RAW) == list(range(end)), point
    done = _upkeep(local_location, batch, None)
    assert done.returncode == 0, done.stderr[-2000:]
    assert offsets(lake, RAW) == list(range(end))
    assert lake.open(RAW).get_add_actions().num_rows < end, "small files are merged in the end"


def _upkeep(location: LakeLocation, batch: int, point: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.faults.upkeep", str(batch)],
        cwd=ROOT, env=clean_environment() | ({VARIABLE: point} if point else {}), input=json.dumps(asdict(location)),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
