"""Great messages end: were any of them read in a time that grows with the square of its size, it would take hours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.large_hl7 import GROWING

ROOT = Path(__file__).parents[2]
PATIENCE = 600
"""Seconds that all of them together have: a guard against what never ends, some fifty times what they take."""

SCRIPT = """
import pyarrow as pa
from pipelines.hl7v2 import parse
from pipelines.hl7v2.decode import decode_batch
from pipelines.hl7v2.tree import read_trees
from tests.tools.large_hl7 import GROWING
for what in {names!r}:
    count, message = GROWING[what]
    payload = message(count)
    assert parse([payload]).messages.num_rows == 1, what
    (tree,) = read_trees(decode_batch(pa.array([payload], pa.large_binary()), ["utf-8"]))
    assert tree[0].name == "MSH", what
"""


@pytest.mark.parametrize("part", range(3))
def test_what_is_great_is_read(part: int) -> None:
    names = sorted(GROWING)[part::3]
    command = [sys.executable, "-c", SCRIPT.format(names=names)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr[-500:]
