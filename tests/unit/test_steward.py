"""Events of stewards: what is read of them, and what is put aside."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.identity_edges import edges_of_steward
from pipelines.steward.modality import STEWARD
from schemas.findings import FINDINGS, STEWARD_FINDINGS, Severity
from schemas.modality import Parsed
from schemas.source import NO_SOURCES, Source
from schemas.steward import PatientIdentifier, StewardEvent
from schemas.table import INSTANT
from schemas.tables.columns import ORIGIN

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
SOURCE = Source("stewards")
EVENT = StewardEvent(
    id="e1",
    action="unlink",
    when=datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=8))),
    who="chen.li",
    why="two sisters",
    first=PatientIdentifier("P1", "CLINIC", "MR"),
    second=PatientIdentifier("P2", "CLINIC"),
)


def parse(*payloads: bytes) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": ["stewards"] * len(payloads),
            "received_at": pa.array([RECEIVED] * len(payloads), INSTANT),
        }
    )
    return STEWARD.parse(raw, NO_SOURCES)


def envelope(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = STEWARD.envelopes([payload], [SOURCE]).to_pylist()[0]
    return found


def changed(**values: object) -> bytes:
    return json.dumps({**json.loads(EVENT.to_bytes()), **values}).encode()


def test_an_event_is_read_as_it_was_written() -> None:
    parsed = parse(EVENT.to_bytes())
    (row,) = parsed.tables["normalised/steward_event"].to_pylist()
    assert {name: row[name] for name in ("event_id", "action", "steward", "reason")} == {
        "event_id": "e1", "action": "unlink", "steward": "chen.li", "reason": "two sisters",
    }  # fmt: skip
    assert (row["first_value"], row["first_authority"], row["first_type"]) == ("P1", "CLINIC", "MR")
    assert (row["second_value"], row["second_authority"], row["second_type"]) == ("P2", "CLINIC", None)
    assert row["version_time"] == row["stated_time"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert (row["stated_time_precision"], row["stated_time_offset"]) == ("second", 480)
    (message,) = parsed.messages.to_pylist()
    assert (message["message_type"], str(message["event_date"])) == ("STEWARD^unlink", "2026-03-01")


def test_the_envelope_names_the_event() -> None:
    found = envelope(EVENT.to_bytes())
    assert (found["control_id"], found["message_type"], found["sent_date"]) == (
        "e1", "STEWARD^unlink", "20260301",
    )  # fmt: skip
    assert found["problem"] is None


def test_the_same_event_written_otherwise_is_the_same() -> None:
    again = json.dumps(json.loads(EVENT.to_bytes()), indent=2, sort_keys=True).encode()
    assert envelope(again) == envelope(EVENT.to_bytes())


def test_another_reason_is_another_content_under_the_same_id() -> None:
    one, other = envelope(EVENT.to_bytes()), envelope(changed(why="a mistake"))
    assert one["id_hash"] == other["id_hash"]
    assert one["content_hash"] != other["content_hash"]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "STEWARD-UNREADABLE"),
        (b"\xff{}", "STEWARD-UNREADABLE"),
        (b"[]", "STEWARD-UNREADABLE"),
        (b"[" * 100_000, "STEWARD-UNREADABLE"),
        (b"{}", "STEWARD-INCOMPLETE"),
        *(
            (changed(**{name: value}), "STEWARD-INCOMPLETE")
            for name, value in (
                ("id", ""), ("id", 7), ("action", "merge"), ("when", "2026-03-01T08:00:00"), ("when", "soon"),
                ("when", "0001-01-01T00:00:00+14:00"), ("who", " "), ("why", None), ("first", "P1"),
                ("first", {"value": "P1"}), ("second", {"value": "P1", "authority": "CLINIC"}),
                ("why", "\ud800"),
            )
        ),
    ],
)  # fmt: skip
def test_what_says_too_little_is_put_aside(payload: bytes, code: str) -> None:
    parsed = parse(payload, EVENT.to_bytes())
    assert [(row["row"], row["code"]) for row in parsed.unreadable.to_pylist()] == [(0, code)]
    assert parsed.messages.column("row").to_pylist() == [1]
    assert envelope(payload)["problem"] == code
    assert FINDINGS[code].severity is Severity.QUARANTINED


def test_every_finding_on_events_happens() -> None:
    assert {finding.code for finding in STEWARD_FINDINGS} == {"STEWARD-UNREADABLE", "STEWARD-INCOMPLETE"}


def test_a_clock_that_is_ahead_does_not_win() -> None:
    parsed = parse(changed(when="2099-01-01T00:00:00Z"))
    (row,) = parsed.tables["normalised/steward_event"].to_pylist()
    assert row["version_time"] == RECEIVED
    assert row["codes"] == ["HL7-VERSION-TIME-FUTURE"]


@given(st.one_of(st.binary(max_size=60), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(["id", "when", "first"]), some),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_bytes_are_read_or_put_aside_alike(payload: bytes) -> None:
    parsed = parse(payload)
    assert parsed.unreadable.column("code").to_pylist() == [envelope(payload)["problem"]]


def test_an_edge_tells_who_and_why() -> None:
    rows = parse(EVENT.to_bytes()).tables["normalised/steward_event"]
    given_by_stage = {
        "topic_id": "topic", "partition": 0, "offset": 4, "reading": 0, "source": "stewards",
        "institution": "stewards", "received_at": RECEIVED,
    }  # fmt: skip
    for field in ORIGIN:
        if field.name in given_by_stage:
            rows = rows.append_column(field.name, pa.array([given_by_stage[field.name]], field.type))
    (edge,) = edges_of_steward(rows).to_pylist()
    assert (edge["kind"], edge["value"], edge["to_value"]) == ("unlink", "P1", "P2")
    assert (edge["event_code"], edge["stated_by"], edge["reason"]) == ("STEWARD", "chen.li", "two sisters")
    assert edge["offset"] == 4


def test_workers_find_the_declaration_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(STEWARD)) is STEWARD
