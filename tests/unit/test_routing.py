"""From a message to its record: key, headers, and where large ones lie."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.routing import StoredObject, record_for, record_key, store_large
from schemas.errors import MessageError
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source

SOURCE = Source("county", institution="520103001", patient_authorities=("CITY", "COUNTY"))
RECEIVED = datetime(2026, 3, 1, 16, 15, 0, 123, tzinfo=timezone(timedelta(hours=8)))


def message(pid: str, *, facility: str = "WARD", delimiters: str = "|^~\\&", charset: str = "utf-8") -> bytes:
    f = delimiters[0]
    named = {"utf-8": "UNICODE UTF-8", "gb18030": "GB 18030-2000"}[charset]
    msh = f"MSH{f}{delimiters[1:]}{f}HIS{f}{facility}{f}LAKE{f}CITY{f}20260301{f}{f}ADT{f}1{f}P{f}2.5{f * 6}{named}"
    return f"{msh}\r{pid}\r".encode(charset)


@pytest.mark.parametrize(
    ("pid", "key"),
    [
        ("PID|1||P1^^^WARD^MR", b"WARD|P1"),
        ("PID|1||P1^^^WARD^MR~C1^^^COUNTY^MR~T1^^^CITY&1.2.3&ISO^PI", b"WARD|T1"),
        ("PID|1||P1^^^WARD^MR~C1^^^COUNTY^MR", b"WARD|C1"),
        ("PID|1||^^^CITY~P1", b"WARD|P1"),
        ("PID|1||P1", b"WARD|P1"),
        ("PID|1||", b"county"),
        ('PID|1||""', b"county"),
        ("PID|1", b"county"),
        ("ZZZ|1||P1", b"county"),
        ("PID|1||" + "9" * 400, b"WARD|" + b"9" * 256),
    ],
)
def test_the_key_is_the_institution_and_the_patient_by_the_order_of_authorities(pid: str, key: bytes) -> None:
    sent = message(pid)
    assert record_key(sent, read_header(sent), SOURCE) == key


def test_the_key_knows_the_senders_delimiters() -> None:
    sent = message("PID#1##P1@@@WARD@MR!T1@@@CITY@PI", delimiters="#@!%*")
    assert record_key(sent, read_header(sent), SOURCE) == b"WARD|T1"


def test_without_a_facility_the_source_says_whose_it_is() -> None:
    sent = message("PID|1||P1", facility="")
    assert record_key(sent, read_header(sent), SOURCE) == b"520103001|P1"
    assert record_key(sent, read_header(sent), Source("county")) == b"county|P1"


def test_half_an_ideograph_is_no_delimiter() -> None:
    sent = message("PID|1|質觀|P1^^^WARD", charset="gb18030")
    assert b"|" in "質觀".encode("gb18030")
    assert record_key(sent, read_header(sent), SOURCE) == b"WARD|P1"


def test_the_record_is_the_message_as_received_and_what_is_known_of_it() -> None:
    sent = message("PID|1||P1")
    record = record_for(sent, read_header(sent), SOURCE, RECEIVED, "batch-7", topic="t.raw.hl7v2")
    assert record.value == sent
    assert record.topic == "t.raw.hl7v2"
    assert dict(record.headers) == {
        "source": b"county",
        "content-type": b"application/hl7-v2",
        "received-at": b"2026-03-01T08:15:00.000123Z",
        "batch": b"batch-7",
    }


def test_a_large_message_goes_to_an_object_named_by_its_content() -> None:
    sent = message("PID|1||P1")
    put: dict[str, bytes] = {}
    stored = store_large(sent, put.__setitem__)
    digest = hashlib.sha256(sent).hexdigest()
    assert stored == StoredObject(f"objects/hl7v2/{digest[:2]}/{digest}", len(sent), digest)
    assert put == {stored.path: sent}
    record = record_for(sent, read_header(sent), SOURCE, RECEIVED, stored=stored)
    assert record.value == b""
    assert record.key == b"WARD|P1", "a patient's large messages lie beside the others"
    headers = dict(record.headers)
    assert headers["object-path"] == stored.path.encode()
    assert headers["object-size"] == str(len(sent)).encode()
    assert headers["object-sha256"] == digest.encode()


def test_what_cannot_be_stored_is_said() -> None:
    def refuse(_path: str, _data: bytes) -> None:
        raise MessageError("X", "no")

    with pytest.raises(MessageError):
        store_large(b"MSH", refuse)


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "gb18030", "big5"]))
def test_any_bytes_have_a_record(rest: bytes, charset: str) -> None:
    sent = b"MSH|^~\\&|A|B\rPID|" + rest
    header: Header = read_header(sent)
    source = Source("any", charset=charset, patient_authorities=("CITY",))
    record = record_for(sent, header, source, datetime(2026, 3, 1, tzinfo=UTC))
    assert record.value == sent
    assert 0 < len(record.key) <= 520
