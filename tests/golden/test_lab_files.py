"""Golden result files: the rows and bad lines that each becomes, checked by a person and kept.

A case is a folder ``lab_files/<case>`` with ``results.txt`` (the bytes as dropped), ``mapping.toml`` and
``expected.json``. ``python tests/golden/test_lab_files.py CASE`` prints what the reader makes of a case now, to be
checked by hand before it is kept.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # when started by hand

from jobs.result_file_mapping import load_mapping
from pipelines.lab.modality import LAB
from schemas.source import Source, Sources
from schemas.table import INSTANT
from tests.golden.test_golden import Json, _rows

CASES = Path(__file__).parent / "lab_files"
RECEIVED = "2026-06-01T00:00:00+00:00"


def actual(folder: Path) -> dict[str, Json]:
    """What becomes of a file; empty columns are left out."""
    mapping = load_mapping(folder / "mapping.toml", "mapping")
    sources = Sources.of(Source("clinic", institution="YL-3", result_file=mapping))
    raw = pa.table(
        {
            "payload": pa.array([(folder / "results.txt").read_bytes()], pa.binary()),
            "source": ["clinic"],
            "received_at": pa.array([datetime.fromisoformat(RECEIVED)], INSTANT),
        }
    )
    parsed = LAB.parse(raw, sources)
    assert parsed.bad_parts is not None
    return {
        "messages": _rows(parsed.messages),
        "unreadable": _rows(parsed.unreadable),
        "bad": _rows(parsed.bad_parts),
        "tables": {
            name.removeprefix("normalised/"): _rows(table) for name, table in sorted(parsed.tables.items())
        },
    }


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(case: str) -> None:
    assert actual(CASES / case) == json.loads((CASES / case / "expected.json").read_text("utf-8"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(actual(CASES / sys.argv[1]), ensure_ascii=False, indent=1) + "\n")
