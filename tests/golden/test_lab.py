"""Golden messages of instruments: the rows that each becomes, checked by a person and kept.

A case is a folder ``lab/<case>`` with ``message.astm`` (records, one a line) and ``expected.json``; ``given`` there
names settings of the source. ``python tests/golden/test_lab.py CASE`` prints what the reader makes of a case now, to be
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

from pipelines.lab.modality import LAB
from schemas.lab import ASTM
from schemas.source import Source, Sources
from schemas.table import INSTANT
from tests.golden.test_golden import Json, _rows

CASES = Path(__file__).parent / "lab"
RECEIVED = "2026-06-01T00:00:00+00:00"


def actual(folder: Path, given: dict[str, str]) -> dict[str, Json]:
    """Envelope, triage and rows of a message; empty columns are left out."""
    payload = (folder / "message.astm").read_bytes().replace(b"\n", b"\r")
    source = Source("analyser", institution="YL-1", **given)  # type: ignore[arg-type]  # cases give text only
    envelope = LAB.envelopes([payload], [source])
    raw = pa.table(
        {
            "payload": pa.array([payload], pa.binary()),
            "source": ["analyser"],
            "content_type": [ASTM],
            "processing_id": envelope.column("processing_id"),
            "received_at": pa.array([datetime.fromisoformat(RECEIVED)], INSTANT),
        }
    )
    parsed = LAB.parse(raw, Sources.of(source))
    return {
        "envelope": _rows(envelope.drop_columns(["id_hash", "content_hash"]))[0],
        "triage": LAB.triage(raw, Sources.of(source)).to_pylist()[0],
        "messages": _rows(parsed.messages),
        "unreadable": _rows(parsed.unreadable),
        "tables": {
            name.removeprefix("normalised/"): _rows(table) for name, table in sorted(parsed.tables.items())
        },
    }


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(case: str) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text("utf-8"))
    given = expected.pop("given", {})
    assert actual(CASES / case, given) == expected


if __name__ == "__main__":
    kept = CASES / sys.argv[1] / "expected.json"
    given = json.loads(kept.read_text("utf-8")).get("given", {}) if kept.exists() else {}
    made = {"given": given, **actual(CASES / sys.argv[1], given)}
    sys.stdout.write(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
