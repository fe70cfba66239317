"""Public messages: every segment is in a table, and what the tables took is what python-hl7 finds there."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import hl7
import pyarrow as pa
import pytest
from hl7.datatypes import parse_datetime

from pipelines.hl7v2.decode import USUAL_DELIMITERS
from pipelines.hl7v2.modality import HL7V2
from pipelines.hl7v2.tables import MAPPINGS
from pipelines.hl7v2.unescape import unescape
from schemas.hl7v2.datatypes import PREFERRED
from schemas.hl7v2.mapping import Place
from schemas.modality import Parsed
from schemas.source import NO_SOURCES
from schemas.table import INSTANT

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "fixtures" / "hl7v2"
FILES = sorted(FOLDER.resolve().rglob("*.hl7"))
pytestmark = pytest.mark.skipif(not FILES, reason="the public messages are not here")
USUAL = b"MSH|^~\\&|"
SHANGHAI = ZoneInfo("Asia/Shanghai")

DIFFERENT = {
    # a year alone is no date: it stays in birth_date_text (HL7 v2.5.1 §2.A.77: precision is what was sent)
    ("datetime-precision-year", "birth_date"): "1970",
    ("ADT-A60-01", "onset_date"): "201805",
    # what is no amount and no time has a finding, and its text stays in raw
    ("LAB-ORU-1", "charge_amount"): "20141006092900+0700",
    ("LAB-ORU-2", "charge_amount"): "20141006092900+0700",
    ("MDHHS-OML-O21-1", "deceased_time"): "R783274^^2.16.840.1.113883.3.72.5.25^ISO",
    ("PC1-Problem-Add-v2.3.1", "action_time"): "2004062916460000",
    ("PC1-Problem-Delete-v2.3.1", "action_time"): "2004062917540000",
    ("PC1-Problem-Update-v2.3.1", "action_time"): "2004062916580000",
}
"""(file, column) → the text there, where the tables differ from python-hl7 and are meant to."""

Value = str | datetime | date | None


def parsed(messages: list[bytes]) -> Parsed:
    received = datetime(2030, 1, 1, tzinfo=UTC)
    return HL7V2.parse(
        pa.table(
            {
                "payload": pa.array(messages, pa.binary()),
                "source": pa.array(["public"] * len(messages)),
                "received_at": pa.array([received] * len(messages), INSTANT),
            }
        ),
        NO_SOURCES,
    )


def messages_of(path: Path) -> list[bytes]:
    """The messages of a file that may be a batch: what stands between two MSH lines, without the batch's own lines."""
    found: list[list[bytes]] = []
    for line in (
        path.read_bytes()
        .removeprefix(b"\xef\xbb\xbf")
        .replace(b"\r\n", b"\r")
        .replace(b"\n", b"\r")
        .split(b"\r")
    ):
        if line.startswith(b"MSH"):
            found.append([])
        if found and line.strip() and not line.startswith((b"BHS", b"BTS", b"FHS", b"FTS")):
            found[-1].append(line)
    return [b"\r".join(lines) + b"\r" for lines in found]


MESSAGES = [(path.stem, message) for path in FILES for message in messages_of(path)]


def test_there_are_many() -> None:
    assert len(MESSAGES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whole_files_are_read_or_refused(path: Path) -> None:
    result = parsed([path.read_bytes()])
    assert len(result.messages) + len(result.unreadable) == 1


@pytest.mark.parametrize(("name", "message"), MESSAGES, ids=[name for name, _ in MESSAGES])
def test_each_segment_is_in_a_table(name: str, message: bytes) -> None:
    result = parsed([message])
    assert len(result.messages) == 1, name
    lines = message.decode("utf-8", "replace").rstrip("\r").split("\r")
    found = {index for table in result.tables.values() for index in table.column("segment_index").to_pylist()}
    assert found == set(range(len(lines)))


def test_the_tables_took_what_python_hl7_finds() -> None:
    compared = 0
    wrong = []
    for name, message in MESSAGES:
        if not message.startswith(USUAL):
            continue
        theirs = hl7.parse(message.decode("utf-8"))
        result = parsed([message])
        for mapping in MAPPINGS:
            table_name = mapping.table.name
            lists = {field.name for field in mapping.table.fields if pa.types.is_list(field.type)}
            rows = result.tables[table_name].to_pylist() if table_name in result.tables else []
            for row in rows:
                if str(theirs[row["segment_index"]][0]) != mapping.segment:
                    continue
                for column, places in mapping.places.items():
                    place = places[0]
                    # several places, lists, other segments and chosen repetitions are in the golden messages
                    if (
                        len(places) > 1
                        or column in lists
                        or not isinstance(row[column], Value)
                        or place.segment != mapping.segment
                        or place.first
                        or (place.segment, place.field) in PREFERRED
                    ):
                        continue
                    text = _found(theirs, row["segment_index"], places[0])
                    if DIFFERENT.get((name, column)) == text and text is not None:
                        continue
                    compared += 1
                    if row[column] != _as_sent(text, row[column], theirs):
                        wrong.append((name, table_name, row["segment_index"], column, row[column], text))
    assert not wrong
    assert compared > 3_000


def _found(message: hl7.Message, index: int, place: Place) -> str | None:
    """What python-hl7 finds at a place, in the segment itself or the nearest of the place's name before it."""
    while index >= 0 and str(message[index][0]) != place.segment:
        index -= 1
    if index < 0 or place.field >= len(message[index]):
        return None
    value = message[index][place.field][0]
    for number in (place.component, place.subcomponent):
        if not number:
            break
        if isinstance(value, str):
            value = value if number == 1 else ""
        else:
            value = value[number - 1] if number <= len(value) else ""
    return unescape(str(value), USUAL_DELIMITERS, "utf-8") or None


def _as_sent(text: str | None, ours: Value, message: hl7.Message) -> Value:
    """The text as the column's own kind of value, by python-hl7's reader of times."""
    if text is None or not isinstance(ours, date):
        return text
    time = parse_datetime(text)
    if time is None:
        return None
    if not isinstance(ours, datetime):
        day: date = time.date()
        return day
    sent = parse_datetime(str(message[0][7]) or "2000")
    zone = sent.tzinfo if sent is not None and sent.tzinfo is not None else SHANGHAI
    zoned: datetime = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    return zoned
