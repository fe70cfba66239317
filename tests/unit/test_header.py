"""The MSH segment is read whatever its delimiters and charset."""

from __future__ import annotations

import pytest

from schemas.errors import MessageError
from schemas.hl7v2.header import read_header


def test_fields_are_numbered_as_in_the_standard() -> None:
    header = read_header(b"MSH|^~\\&|APP|FAC|||20260301||ADT^A01|C1|P|2.4\rPID|1")
    assert header.field(1) == b"|"
    assert header.field(4) == b"FAC"
    assert header.control_id == b"C1"
    assert header.message_type == "ADT^A01"
    assert header.end == len(b"MSH|^~\\&|APP|FAC|||20260301||ADT^A01|C1|P|2.4")


def test_an_ideograph_whose_second_byte_is_a_delimiter_splits_nothing() -> None:
    text = "MSH|^~\\&|APP|瑋質醫院|||20260301||ADT^A01|C1|P|2.4||||||GB18030\r"
    header = read_header(text.encode("gb18030"))
    assert header.field(4).decode("gb18030") == "瑋質醫院"
    assert header.control_id == b"C1"
    assert header.codec == "gb18030"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "HL7-NO-MSH"),
        (b"PID|1", "HL7-NO-MSH"),
        (b"MSHx^~\\&", "HL7-DELIMITERS"),
        (b"MSH|^^\\&|", "HL7-DELIMITERS"),
    ],
)
def test_what_cannot_be_a_message_has_a_code(message: bytes, code: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_header(message)
    assert caught.value.code == code
