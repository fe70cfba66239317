"""Files are cut into messages byte for byte, whatever their line ends, framing and envelopes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.hl7_files import (
    FINDINGS,
    FileMessage,
    Finding,
    Kind,
    read_messages,
    split,
    split_messages,
    stream_messages,
)

A = b"MSH|^~\\&|A|H|||20260301||ADT^A01|1|P|2.5.1\rPID|1||77\r"
B = b"MSH|^~\\&|A|H|||20260301||ORU^R01|2|P|2.5.1\rPID|1||78\rOBX|1|NM|GLU||5.1\r"


def read(data: bytes, **settings: object) -> tuple[list[FileMessage], list[Finding]]:
    items = list(read_messages(io.BytesIO(data), **settings))  # type: ignore[arg-type]
    return (
        [item for item in items if isinstance(item, FileMessage)],
        [item for item in items if isinstance(item, Finding)],
    )


def codes(data: bytes, **settings: object) -> list[str]:
    return [finding.code for finding in read(data, **settings)[1]]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("between", [b"", b"\r\r\n", b"\x0b", b"  \r"])
def test_messages_come_out_byte_for_byte(end: bytes, between: bytes) -> None:
    first, second = A.replace(b"\r", end), B.replace(b"\r", end)
    assert list(split_messages(first + between + second)) == [first, second]


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n", b"\x0b", b" "])
def test_what_stands_before_the_first_message_is_no_part_of_it(before: bytes) -> None:
    assert list(split_messages(before + A)) == [A]


def test_mllp_frames_in_a_file() -> None:
    assert list(split_messages(b"\x0b" + A + b"\x1c\r\x0b" + B + b"\x1c\r")) == [A, B]


def test_a_last_segment_without_terminator() -> None:
    assert list(split_messages(A + B.rstrip(b"\r"))) == [A, B.rstrip(b"\r")]


@pytest.mark.parametrize(
    "text", [b"NTE|1||MSH|is a segment\r", b"OBX|1|TX|||see MSH|^~\\&|\r", b"ZMS|MSH|\r"]
)
def test_msh_within_a_line_begins_no_message(text: bytes) -> None:
    assert list(split_messages(A + text)) == [A + text]


def test_half_ideographs_cut_nothing() -> None:
    message = A + "NTE|1||館魚錦運質觀\r".encode("gb18030")
    assert list(split_messages(message + B)) == [message, B]


def test_other_delimiters() -> None:
    other = A.replace(b"|", b"#")
    assert list(split_messages(other + B)) == [other, B]


@given(
    st.integers(1, 97), st.lists(st.sampled_from([A, B, b"\n", b"\x0b", b"\x1c\r", b"BTS|2\r", b"junk\r"]))
)
def test_the_size_of_blocks_plays_no_part(block_size: int, parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert list(split(io.BytesIO(data), 1000, block_size)) == list(split(io.BytesIO(data), 1000))


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_cut_and_none_but_blanks_are_lost(data: bytes, block_size: int) -> None:
    pieces = list(split(io.BytesIO(data), 1000, block_size))
    taken = bytearray(data)
    for piece in pieces:
        assert data[piece.position : piece.position + piece.size] == piece.data
        taken[piece.position : piece.position + piece.size] = b" " * piece.size
    assert bytes(taken).replace(b"\xef\xbb\xbf", b"").strip(b" \r\n\t\x0b\x1c") == b""


def test_an_envelope_whose_counts_are_right() -> None:
    data = b"FHS|^~\\&|A||||||||F7\rBHS|^~\\&|A||||||||B1\r" + A + B + b"BTS|2\rBHS|^~\\&|A||||||||B2\r" + A
    messages, findings = read(data + b"BTS|1\rFTS|2\r")
    assert findings == []
    assert [message.data for message in messages] == [A, B, A]
    assert [message.batch for message in messages] == ["F7/B1#1.1", "F7/B1#1.2", "F7/B2#2.1"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"BHS|^~\\&\r" + A + b"BTS|2\r", ["BATCH-COUNT"]),
        (b"BHS|^~\\&\r" + A + b"BTS|two\r", ["BATCH-COUNT-UNREADABLE"]),
        (b"BHS|^~\\&\r" + A + b"BTS\r", []),
        (b"BHS|^~\\&\r" + A, ["BATCH-NO-TRAILER"]),
        (A + b"BTS|1\r", ["BATCH-NO-HEADER"]),
        (b"FHS|^~\\&\r" + A + b"FTS|1\r", []),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + A + b"BTS|1\rFTS|2\r", ["FILE-COUNT"]),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + A + b"BTS|1\rFTS|x\r", ["FILE-COUNT-UNREADABLE"]),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + A + b"BTS|1\r", ["FILE-NO-TRAILER"]),
        (b"FHS|^~\\&\rBHS|^~\\&\r" + A, ["BATCH-NO-TRAILER", "FILE-NO-TRAILER"]),
        (A + b"FTS|1\r", ["FILE-NO-HEADER"]),
        (b"FHS|^~\\&\rFTS|0\r", ["FILE-EMPTY"]),
        (b"", ["FILE-EMPTY"]),
        (b"\r\n \n", ["FILE-EMPTY"]),
    ],
)
def test_counts_and_trailers_are_checked(data: bytes, expected: list[str]) -> None:
    assert codes(data) == expected


def test_one_bad_message_does_not_sink_the_batch() -> None:
    data = b"BHS|^~\\&\r" + A + b"BTS|3\rnot a message\r" + B
    messages, findings = read(data)
    assert [(m.data, m.is_message) for m in messages] == [(A, True), (b"not a message\r", False), (B, True)]
    assert [finding.code for finding in findings] == ["BATCH-COUNT", "NOT-A-MESSAGE"]
    assert findings[0].expected == 3
    assert findings[0].found == 1
    assert findings[1].position == data.index(b"not")


@pytest.mark.parametrize("block", [b"x" * 500, b"NTE|1||" + b"y" * 100_000])
def test_what_is_over_the_limit_is_left_out_and_told(block: bytes) -> None:
    data = A + B + block + b"\r" + A
    messages, findings = read(data, limit=300)
    assert [message.data for message in messages] == [A, A]
    assert [(f.code, f.position, f.found) for f in findings] == [
        ("TOO-LARGE", len(A), len(B) + len(block) + 1)
    ]
    assert list(stream_messages(io.BytesIO(data), 300)) == [A, A]


def test_a_message_of_just_the_limit_is_taken() -> None:
    assert codes(B, limit=len(B)) == []
    assert codes(B, limit=len(B) - 1) == ["TOO-LARGE"]


def test_a_file_that_was_only_found_and_is_no_hl7_is_left_alone() -> None:
    text = b"Apache License\n\nVersion 2.0\n"
    assert read(text, foreign=True)[0] == []
    assert codes(text, foreign=True) == ["NOT-HL7"]
    assert [message.is_message for message in read(text)[0]] == [False]


def test_utf_16_goes_to_quarantine() -> None:
    messages, _ = read(A.decode().encode("utf-16"), foreign=True)
    assert b"".join(message.data for message in messages)


def test_ids_of_envelopes_are_one_short_line() -> None:
    data = b"BHS|^~\\&|A||||||||" + b"i" * 200 + b"\x01\r" + A
    (message,), _ = read(data)
    assert message.batch == f"/{'i' * 80}#1.1"


def test_every_finding_is_explained() -> None:
    assert all(text for text in FINDINGS.values())
    assert {kind.value for kind in Kind} == {"message", "other", "envelope"}
