"""No kernel reaches beyond its arrays, whatever bytes arrive: the tests of arbitrary bytes with every index checked.

Kernels check no bounds as they are shipped, so an index outside an array would read or write other memory unseen.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_kernels_stay_within_their_arrays(tmp_path: Path) -> None:
    checked = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
        "PHL_TEST_EXAMPLES": "25",
    }
    tests = [
        "tests/property/test_hl7_any_bytes.py", "tests/unit/test_hl7_fuzz.py", "tests/golden",
        "tests/property/test_result_files.py", "tests/unit/test_result_files.py",
    ]  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=ROOT, env=checked, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
