"""The files of the city's clinics become the rows that the city says, and nothing else that it speaks of."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from jobs.city.compare import _hashable, _plain
from jobs.city.result_files import CLINICS, DroppedFile, FileDrops
from jobs.city.traffic import City, Transport
from jobs.result_file_mapping import MappingFile
from pipelines.lab.modality import LAB
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT
from schemas.tables import TABLES

SOURCES = Sources.of(
    *(
        Source(
            clinic.source,
            institution=clinic.code,
            result_file=MappingFile(**tomllib.loads(clinic.mapping)).result_file(),
        )
        for clinic in CLINICS
    )
)
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)


def read(file: DroppedFile) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array([file.payload], pa.binary()),
            "source": [file.clinic.source],
            "received_at": pa.array([RECEIVED], INSTANT),
        }
    )
    return LAB.parse(raw, SOURCES)


def compared_columns() -> dict[str, set[str]]:
    """What the comparison of the demo looks at: every column of which any truth speaks."""
    city = City(1, Transport.FILES)
    drops = FileDrops(1)
    list(city.messages(600))
    list(drops.files(3))
    columns: dict[str, set[str]] = {}
    for truth in (city.truth, drops.truth):
        for table, rows in truth.tables.items():
            columns.setdefault(table, set()).update(*rows)
    return columns


def test_every_file_becomes_what_the_city_says() -> None:
    columns = compared_columns()
    by_name = {table.name: table for table in TABLES}
    seen = set()
    for file in FileDrops(3).files(4):
        parsed = read(file)
        seen.add((file.clinic.code, file.expected.disposition, file.expected.code))
        if file.expected.disposition == "duplicate":
            continue
        assert parsed.unreadable.num_rows == 0
        assert parsed.bad_parts is not None
        bad = parsed.bad_parts.column("code").to_pylist()
        assert bad == ([file.expected.code] if file.expected.code else [])
        (message,) = parsed.messages.to_pylist()
        about = {
            "source": file.clinic.source,
            "control_id": file.expected.control_id,
            **{name: message[name] for name in ("institution", "message_type", "event_time_precision")},
            "event_time": f"{message['event_time']:%Y-%m-%dT%H:%M:%SZ}",
            "event_date": f"{message['event_date']}",
        }
        for name in sorted({*parsed.tables, *file.rows}):
            wanted = [plain(row, columns[name]) for row in file.rows.get(name, [])]
            rows = _plain(parsed.tables[name], by_name[name]).to_pylist()
            there = [plain({**about, **row}, columns[name]) for row in rows]
            assert sorted(there, key=str) == sorted(wanted, key=str), name
    assert len(seen) == 3 * len(CLINICS)


def plain(row: Mapping[str, object], columns: set[str]) -> dict[str, object]:
    return {name: _hashable(row.get(name)) for name in sorted(columns) if row.get(name) is not None}


def test_the_same_seed_gives_the_same_files() -> None:
    first, second = ([(file.name, file.payload) for file in FileDrops(7).files(3)] for _ in range(2))
    assert first == second
