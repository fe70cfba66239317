"""``phl soak``: a listener and ``phl collect`` die and a zombie wakes, in one short round."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from jobs.cli.soak import NAMES
from jobs.soak.soak import TROUBLES
from jobs.soak.tally import Tally
from tests.conftest import ROOT, clean_environment, phl_command

SHORT = ("listener", "zombie", "drops")
"""What no other test of this folder lets happen."""


def test_a_short_soak(tmp_path: Path, tally: Tally) -> None:
    asked = [part for name in SHORT for part in ("--trouble", name)]
    done = subprocess.run(
        phl_command("soak", "--minutes", "0", "--messages", "30", "--folder", tmp_path, "--json", *asked),
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["rounds"] == 1
    assert report["problems"] == []
    assert report["messages"] == 30 + 30 + 6
    told = {kind: report["faults"][kind] for kind in ("listener killed", "zombie refused", "collect killed")}
    assert told == {"listener killed": 1, "zombie refused": 1, "collect killed": 2}
    for kind, count in report["faults"].items():
        tally.add(kind, count)


def test_the_command_knows_all_troubles() -> None:
    assert set(NAMES) == set(TROUBLES)
