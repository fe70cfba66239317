"""What the city's instruments send becomes the rows that the city says, and nothing else that it speaks of."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa

from jobs.city.compare import _plain
from jobs.city.instruments import (
    INSTRUMENTS,
    Laboratory,
    Reported,
    Sent,
    Specimen,
    instrument_settings,
    reported,
)
from jobs.city.traffic import City, Transport
from pipelines.lab.modality import LAB
from schemas.lab import ASTM
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT
from schemas.tables import TABLES
from tests.unit.test_city_result_files import compared_columns, plain

SOURCES = Sources.of(
    *(
        Source(one.name, institution=one.institution, charset=one.charset, instrument_profile=one.profile)
        for one in INSTRUMENTS
    )
)
KNOWN: dict[str, list[Reported]] = {"CITY01": [(Specimen("K1", date(2026, 3, 2)), ("GLU", "ALT"))]}


def read(sent: Sent) -> Parsed:
    return LAB.parse(
        pa.table(
            {
                "payload": pa.array([sent.payload], pa.binary()),
                "source": [sent.instrument.name],
                "received_at": pa.array([datetime(2026, 6, 1, tzinfo=UTC)], INSTANT),
                "content_type": [ASTM],
            }
        ),
        SOURCES,
    )


def test_every_message_becomes_what_the_city_says() -> None:
    columns = compared_columns()
    laboratory = Laboratory(3, KNOWN)
    messages = list(laboratory.messages(12))
    for table, rows in laboratory.truth.tables.items():
        columns.setdefault(table, set()).update(*rows)
    by_name = {table.name: table for table in TABLES}
    kinds = set()
    for sent in messages:
        envelope = LAB.envelopes([sent.payload], [SOURCES.get(sent.instrument.name)]).to_pylist()[0]
        assert (envelope["control_id"], envelope["problem"]) == (sent.expected.control_id, None)
        parsed = read(sent)
        kinds.add(envelope["message_type"])
        (message,) = parsed.messages.to_pylist()
        about = {
            "source": sent.instrument.name,
            "control_id": sent.expected.control_id,
            **{name: message[name] for name in ("institution", "message_type", "event_time_precision")},
            "event_time": f"{message['event_time']:%Y-%m-%dT%H:%M:%SZ}",
            "event_date": f"{message['event_date']}",
        }
        for name in sorted({*parsed.tables, *sent.rows}):
            wanted = [plain(row, columns[name]) for row in sent.rows.get(name, [])]
            rows = _plain(parsed.tables[name], by_name[name]).to_pylist() if name in parsed.tables else []
            there = [plain({**row, **about}, columns[name]) for row in rows]
            assert sorted(there, key=str) == sorted(wanted, key=str), name
    assert kinds == {"ASTM^R", "ASTM^Q"}
    assert laboratory.truth.dispositions() == {"accepted": 66, "duplicate": 6}
    assert {one[1:] for one in laboratory.released()} == {
        ("K1", "2026-03-02", "GLU"),
        ("K1", "2026-03-02", "ALT"),
    }


def test_laboratory_systems_report_on_specimens() -> None:
    city = City(1, Transport.MLLP)
    list(city.messages(400))
    assert {*reported(city.truth)} & {one.institution for one in INSTRUMENTS}


def test_the_same_seed_sends_the_same() -> None:
    first, second = ([one.payload for one in Laboratory(7).messages(8)] for _ in range(2))
    assert first == second
    assert instrument_settings(range(4001, 4007)).count("[[sources]]") == len(INSTRUMENTS)
