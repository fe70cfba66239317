"""Acknowledgements: codes by mode, in the sender's own delimiters and charset."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.mllp.acknowledge import ControlIds, Outcome, answer
from connectors.mllp.client import read_acknowledgement
from schemas.hl7v2.header import read_header

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def header_of(
    accept: str = "", application: str = "", delimiters: str = "|^~\\&", control: bytes = b"42"
) -> bytes:
    f, c = delimiters[0], delimiters[1]
    line = f"MSH{f}{delimiters[1:]}{f}HIS{f}WARD{f}LAKE{f}CITY{f}20260301{f}{f}ADT{c}A01{f}".encode()
    return line + control + f"{f}P{f}2.4{f}{f}{f}{accept}{f}{application}{f}CHN{f}GB 18030-2000\r".encode()


@pytest.mark.parametrize(
    ("accept", "application", "outcome", "codes"),
    [
        ("", "", Outcome.STORED, ("AA",)),
        ("", "", Outcome.NOT_STORED, ("AE",)),
        ("", "", Outcome.REFUSED, ("AR",)),
        ("AL", "NE", Outcome.STORED, ("CA",)),
        ("AL", "NE", Outcome.NOT_STORED, ("CE",)),
        ("AL", "NE", Outcome.REFUSED, ("CR",)),
        ("NE", "NE", Outcome.STORED, ()),
        ("ER", "NE", Outcome.STORED, ()),
        ("ER", "NE", Outcome.REFUSED, ("CR",)),
        ("SU", "NE", Outcome.STORED, ("CA",)),
        ("SU", "NE", Outcome.NOT_STORED, ()),
        ("AL", "AL", Outcome.STORED, ("CA", "AA")),
        ("NE", "AL", Outcome.REFUSED, ("AR",)),
        ("NE", "", Outcome.STORED, ()),
        ("", "AL", Outcome.STORED, ("AA",)),
        ("??", "NE", Outcome.STORED, ("CA",)),
    ],
)
def test_codes_follow_the_mode(
    accept: str, application: str, outcome: Outcome, codes: tuple[str, ...]
) -> None:
    reply = answer(read_header(header_of(accept, application)), outcome, NOW, ControlIds())
    assert reply.codes == codes
    assert [read_acknowledgement(message).code for message in reply.messages] == list(codes)


@pytest.mark.parametrize("delimiters", ["|^~\\&", "#@!%*", "$^~\\&"])
def test_the_answer_speaks_as_the_sender_does(delimiters: str) -> None:
    control = "编号01".encode("gb18030")
    sent = read_header(header_of(delimiters=delimiters, control=control))
    (message,) = answer(sent, Outcome.STORED, NOW, ControlIds()).messages
    reply = read_header(message)
    assert (reply.separator, reply.encoding) == (sent.separator, sent.encoding)
    assert reply.field(18) == b"GB 18030-2000"
    assert reply.field(3) == sent.field(5)
    assert reply.field(4) == sent.field(6)
    assert reply.field(5) == sent.field(3)
    assert reply.field(6) == sent.field(4)
    assert reply.message_type == "ACK^A01"
    assert read_acknowledgement(message).control_id == control


def test_an_ideograph_that_ends_like_a_delimiter_comes_back_whole() -> None:
    control = "質1".encode("gb18030")  # the second byte of 質 is the bar
    assert b"|" in control
    sent = read_header(header_of(control=control))
    (message,) = answer(sent, Outcome.STORED, NOW, ControlIds()).messages
    assert b"\rMSA|AA|" + control + b"\r" in message


def test_what_has_no_header_is_answered_too() -> None:
    (message,) = answer(
        None, Outcome.REFUSED, NOW, ControlIds(), code="HL7-NO-MSH", sentence="No MSH."
    ).messages
    reply = read_acknowledgement(message)
    assert (reply.code, reply.control_id, reply.reason) == ("AR", b"", "HL7-NO-MSH")


def test_control_ids_are_never_the_same() -> None:
    ids, others = ControlIds(), ControlIds()
    made = [ids.next() for _ in range(100)] + [others.next() for _ in range(100)]
    assert len(set(made)) == 200
    assert all(len(one) <= 20 for one in made)
