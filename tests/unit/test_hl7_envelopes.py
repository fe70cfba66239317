"""Envelopes: what makes two messages the same, and what does not."""

from __future__ import annotations

import pytest

from pipelines.hl7v2.modality import HL7V2
from schemas.source import Source

MESSAGE = (
    b"MSH|^~\\&|HIS|CLINIC|LAKE|CITY|20260301080000||ADT^A01^ADT_A01|C1|P|2.5.1|7|||||UNICODE UTF-8\r"
    b"PID|1||P1^^^CLINIC^MR||TEST^ONE\rPV1|1|I\r"
)


def envelope(message: bytes, source: Source | None = None) -> dict[str, object]:
    row: dict[str, object] = HL7V2.envelopes([message], [source or Source("clinic")]).to_pylist()[0]
    return row


def hashes(message: bytes, source: Source | None = None) -> tuple[object, object]:
    row = envelope(message, source)
    return row["id_hash"], row["content_hash"]


def replaced(*pairs: tuple[bytes, bytes], message: bytes = MESSAGE) -> bytes:
    for old, new in pairs:
        assert old in message
        message = message.replace(old, new, 1)
    return message


@pytest.mark.parametrize(
    "resent",
    [
        replaced((b"20260301080000||", b"20260301093015+0800||")),
        replaced((b"20260301080000||", b"20260301080000|token|")),
        replaced((b"2.5.1|7|", b"2.5.1|8|")),
        MESSAGE.replace(b"\r", b"\n"),
        MESSAGE.replace(b"\r", b"\r\n"),
        MESSAGE.rstrip(b"\r"),
        replaced((b"\rPV1", b"\r\r \t\rPV1")),
        replaced((b"\rPV1", b"\r\t PV1")),
        b"\xef\xbb\xbf\r\n" + MESSAGE,
        replaced((b"ONE\r", b"ONE||||\r")),
        replaced((b"UTF-8\r", b"UTF-8|||\r")),
        MESSAGE.rstrip(b"\r") + b"|||",
    ],
)
def test_a_resend_is_the_same_message(resent: bytes) -> None:
    assert resent != MESSAGE
    assert hashes(resent) == hashes(MESSAGE)


@pytest.mark.parametrize(
    "other",
    [
        replaced((b"TEST^ONE", b"TEST^TWO")),
        replaced((b"PV1|1|I", b"PV1|1||I")),
        replaced((b"ADT^A01^", b"ADT^A08^")),
        replaced((b"|LAKE|", b"|POND|")),
        MESSAGE + b"ZZ1|1\r",
        replaced((b"TEST^ONE\rPV1", b"TEST^ONEPV1")),
    ],
)
def test_other_content_under_the_same_name_is_a_conflict(other: bytes) -> None:
    assert hashes(other)[0] == hashes(MESSAGE)[0]
    assert hashes(other)[1] != hashes(MESSAGE)[1]


@pytest.mark.parametrize(
    "other",
    [
        replaced((b"|C1|", b"|C2|")),
        replaced((b"|HIS|", b"|LIS|")),
        replaced((b"|CLINIC|LAKE", b"|WARD|LAKE")),
        replaced((b"20260301080000", b"20260302080000")),
        replaced((b"|HIS|CLINIC|", b"||HISCLINIC|")),
    ],
)
def test_another_name_is_another_message(other: bytes) -> None:
    assert hashes(other)[0] != hashes(MESSAGE)[0]


def test_sources_do_not_share_names() -> None:
    assert hashes(MESSAGE)[0] != hashes(MESSAGE, Source("other"))[0]
    assert hashes(MESSAGE)[1] == hashes(MESSAGE, Source("other"))[1]


def test_without_a_control_id_the_content_names_the_message() -> None:
    nameless = replaced((b"|C1|", b"||"))
    assert envelope(nameless)["control_id"] is None
    assert hashes(nameless) == hashes(replaced((b"080000", b"080001"), message=nameless))
    assert hashes(nameless)[0] != hashes(replaced((b"ONE", b"TWO"), message=nameless))[0]


@pytest.mark.parametrize("declared", [b"GB 18030-2000", b"", b"UNICODE UTF-8"])
def test_half_an_ideograph_at_the_end_of_a_segment_is_no_empty_field(declared: bytes) -> None:
    half = "瑋".encode("gb18030")  # lead byte and 0x7C, which alone is the field separator
    assert half[1:] == b"|"
    header = replaced((b"UNICODE UTF-8", declared)).split(b"\r", maxsplit=1)[0]
    whole = header + b"\rZZ1|" + half + b"\rPV1|1|I\r"
    lead_only = header + b"\rZZ1|" + half[:1] + b"\rPV1|1|I\r"
    source = Source("clinic", charset="gb18030")
    assert hashes(whole, source)[1] != hashes(lead_only, source)[1]
    assert hashes(whole, source) == hashes(whole.replace(half, half + b"||"), source)


def test_half_an_ideograph_in_the_header_splits_nothing() -> None:
    text = "MSH|^~\\&|HIS|瑋質|||20260301||ADT^A01|C1|T|2.4||||||GB18030|瑋\rPID|1\r"
    row = envelope(text.encode("gb18030"))
    assert (row["control_id"], row["processing_id"], row["sent_date"]) == ("C1", "T", "20260301")
    assert row == envelope(text.replace("瑋\r", "瑋||\r").encode("gb18030"))
    assert row["content_hash"] != envelope(text.replace("瑋\r", "璋\r").encode("gb18030"))["content_hash"]


def test_a_header_is_read_whatever_the_delimiters() -> None:
    row = envelope(b"MSH$*%!@$HIS$CLINIC$LAKE$CITY$2026-03$$ADT*A01*ADT_A01%x$C1$D*T$2.5.1\rPID$1$$P1")
    assert (row["message_type"], row["processing_id"], row["sent_date"]) == ("ADT^A01", "D", "2026")
    assert row["problem"] is None


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "HL7-NO-MSH"),
        (b"MSH", "HL7-NO-MSH"),
        (b"MSH|", "HL7-DELIMITERS"),
        (b"MSH|^~\\^|x", "HL7-DELIMITERS"),
        (replaced((b"UNICODE UTF-8", b"unicode utf16")), "HL7-CHARSET-UNSUPPORTED"),
        (b"\n" + replaced((b"UNICODE UTF-8", b"UTF-32~ASCII")), "HL7-CHARSET-UNSUPPORTED"),
        (MESSAGE.decode().encode("utf-16"), "HL7-CHARSET-UNSUPPORTED"),
        (MESSAGE.decode().encode("utf-16-be"), "HL7-CHARSET-UNSUPPORTED"),
        (MESSAGE.decode().encode("utf-32"), "HL7-CHARSET-UNSUPPORTED"),
    ],
)
def test_what_cannot_be_read_says_why(message: bytes, problem: str) -> None:
    row = envelope(message)
    assert row["problem"] == problem
    assert row["control_id"] is None
    assert row["content_hash"] != hashes(message + b"x")[1]


def test_an_empty_batch_has_the_columns() -> None:
    batch = HL7V2.envelopes([], [])
    assert batch.num_rows == 0
    assert batch.schema.names == [
        "control_id",
        "message_type",
        "processing_id",
        "sent_date",
        "id_hash",
        "content_hash",
        "problem",
    ]
