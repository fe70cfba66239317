"""Messages of instruments: where they end, their key, queries and the answer to them, files for trying out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.astm.client import messages_of
from connectors.astm.messages import asks, delimiters, no_information, record_of
from connectors.records import CONTENT_TYPE, OBJECT_PATH, RECEIVED_AT, SOURCE
from connectors.routing import StoredObject
from schemas.errors import MessageError
from schemas.source import Source

NOW = datetime(2026, 3, 1, 8, 15, tzinfo=UTC)
SOURCE_A = Source("analyser-a", institution="520103001")
QUERY = b"H|\\^&|||Analyser^1.0|||||||P|LIS2-A2|20260301081500\rQ|1|^S-17||ALL||||||||O\rL|1|N\r"
RESULT = b"H|\\^&\rP|1\rO|1|S-17^0044|4711|^^^GLU\rR|1|^^^GLU|5.1|mmol/L\rL|1|N\r"


def test_a_record_carries_the_message_as_it_is_and_whose_specimen_it_is() -> None:
    record = record_of(RESULT, SOURCE_A, NOW, "raw.lab", None)
    assert (record.topic, record.key, record.value) == ("raw.lab", b"analyser-a|S-17", RESULT)
    assert dict(record.headers) == {
        SOURCE: b"analyser-a",
        CONTENT_TYPE: b"application/x-astm",
        RECEIVED_AT: b"2026-03-01T08:15:00.000000Z",
    }


def test_what_lies_in_an_object_is_referred_to() -> None:
    stored = StoredObject("objects/lab/ab/abc", len(RESULT), "abc")
    record = record_of(RESULT, SOURCE_A, NOW, "raw.lab", stored)
    assert record.value == b""
    assert dict(record.headers)[OBJECT_PATH] == b"objects/lab/ab/abc"


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (QUERY, b"analyser-a"),
        (RESULT.replace(b"S-17^0044", b""), b"analyser-a"),
        (RESULT.replace(b"|", b"!").replace(b"^", b"/").replace(b"H!\\/&", b"H!\\/&"), b"analyser-a|S-17"),
        (b"O|1|S-17\rL|1\r", b"analyser-a|S-17"),
        (b"\xff\xfe\x00", b"analyser-a"),
        (b"", b"analyser-a"),
    ],
)
def test_a_key_is_found_or_is_the_source(message: bytes, key: bytes) -> None:
    assert record_of(message, SOURCE_A, NOW, "raw.lab", None).key == key


@pytest.mark.parametrize(
    ("message", "declared"),
    [
        (RESULT, b"|\\^&"),
        (b"H!~/#!\r", b"!~/#"),
        (b"H||||\r", b"|\\^&"),
        (b"P|1\r", b"|\\^&"),
        (b"H|\r", b"|\\^&"),
    ],
)
def test_delimiters_are_those_that_h_declares(message: bytes, declared: bytes) -> None:
    assert delimiters(message) == declared


def test_queries_are_told_from_results_and_from_what_calls_them_off() -> None:
    assert asks(QUERY)
    assert not asks(QUERY.replace(b"||O\r", b"||A\r"))
    assert not asks(RESULT)


def test_the_answer_has_the_delimiters_of_the_query_and_nothing_to_offer() -> None:
    assert no_information(QUERY, NOW) == (b"H|\\^&|||PHL|||||Analyser^1.0||P|LIS2-A2|20260301081500\rL|1|I\r")
    assert (
        no_information(b"H!~/#\rQ!1!/S-17\rL!1!N\r", NOW)
        == b"H!~/#!!!PHL!!!!!!!P!LIS2-A2!20260301081500\rL!1!I\r"
    )
    assert no_information(b"H|\\^&|||\x05\x06EVIL\x15\rQ|1\rL|1\r", NOW).count(b"|EVIL|") == 1


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\n\r\n"])
def test_files_of_records_are_read_whatever_their_line_ends(end: bytes) -> None:
    assert messages_of((RESULT + QUERY).replace(b"\r", end)) == [RESULT, QUERY]
    assert messages_of(RESULT.removesuffix(b"\r").replace(b"\r", end)) == [RESULT]


def test_files_that_hold_no_whole_messages_are_refused() -> None:
    with pytest.raises(MessageError, match="ASTM-NO-HEADER"):
        messages_of(b"MSH|^~\\&|\r")
    with pytest.raises(MessageError, match="ASTM-NO-TERMINATOR"):
        messages_of(RESULT + b"H|\\^&\rP|1\r")
