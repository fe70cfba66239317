"""Golden messages: the rows that each message becomes, checked by a person and kept.

A case is a folder ``hl7v2/<case>`` with ``message.hl7`` (the bytes as received) and ``expected.json``; adding one is
adding a folder. ``given`` in ``expected.json`` names what differs from the usual setting: fields of the source, and
``received_at``. ``python tests/golden/test_golden.py CASE`` prints what the reader makes of a case now, to be
checked by hand before it is kept.
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # when started by hand

from pipelines.hl7v2.modality import HL7V2
from schemas.source import Source, Sources
from schemas.table import INSTANT

CASES = Path(__file__).parent / "hl7v2"
RECEIVED = "2026-06-01T00:00:00+00:00"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def actual(message: bytes, given: dict[str, str]) -> dict[str, Json]:
    """Envelope, triage and rows of one message; empty columns are left out."""
    settings = dict(given)
    received = datetime.fromisoformat(settings.pop("received_at", RECEIVED))
    source = Source(**{"name": "clinic", **settings})  # type: ignore[arg-type]  # cases give text only
    sources = Sources.of(source)
    envelope = HL7V2.envelopes([message], [source])
    raw = pa.table(
        {
            "payload": pa.array([message], pa.binary()),
            "source": [source.name],
            "received_at": pa.array([received], INSTANT),
            "processing_id": envelope.column("processing_id"),
            "message_type": envelope.column("message_type"),
        }
    )
    parsed = HL7V2.parse(raw, sources)
    return {
        "envelope": _rows(envelope.drop_columns(["id_hash", "content_hash"]))[0],
        "triage": HL7V2.triage(raw, sources).to_pylist()[0],
        "messages": _rows(parsed.messages),
        "unreadable": _rows(parsed.unreadable),
        "tables": {
            name.removeprefix("normalised/"): _rows(table) for name, table in sorted(parsed.tables.items())
        },
    }


def _rows(table: pa.Table | pa.RecordBatch) -> list[Json]:
    return [
        {name: _json(value) for name, value in row.items() if value not in (None, [])}
        for row in table.to_pylist()
    ]


def _json(value: object) -> Json:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items() if one is not None}
    assert value is None or isinstance(value, bool | int | float | str)
    return value


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(case: str) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text("utf-8"))
    given = expected.pop("given", {})
    assert actual((CASES / case / "message.hl7").read_bytes(), given) == expected


def main() -> None:
    """Print what the reader makes of a case."""
    folder = CASES / sys.argv[1]
    kept = folder / "expected.json"
    given = json.loads(kept.read_text("utf-8")).get("given", {}) if kept.exists() else {}
    result = {"given": given, **actual((folder / "message.hl7").read_bytes(), given)}
    sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
