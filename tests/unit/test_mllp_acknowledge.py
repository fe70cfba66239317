"""Acknowledgements: codes by mode, in the sender's own delimiters and charset."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mllp.acknowledge import ControlIds, Outcome, answer
from connectors.mllp.client import expected_answers, read_acknowledgement
from schemas.errors import MessageError
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
        ("AL", "AL", Outcome.REFUSED, ("CR",)),
        ("AL", "AL", Outcome.NOT_STORED, ("CE",)),
        ("SU", "AL", Outcome.REFUSED, ("AR",)),
        ("ER", "AL", Outcome.STORED, ("AA",)),
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


@pytest.mark.parametrize(
    ("version", "segments"), [("2.3", [b"MSH", b"MSA"]), ("2.5.1", [b"MSH", b"MSA", b"ERR"])]
)
def test_the_reason_stands_where_the_senders_version_has_a_place_for_it(
    version: str, segments: list[bytes]
) -> None:
    sent = read_header(f"MSH|^~\\&|A|B|||20260301||ADT^A01^ADT_A01||P|{version}".encode())
    reason = "HL7-CONTROL-ID-MISSING"
    (message,) = answer(
        sent, Outcome.REFUSED, NOW, ControlIds(), code=reason, sentence="MSH-10 is empty."
    ).messages
    lines = message.split(b"\r")[:-1]
    assert [line[:3] for line in lines] == segments
    assert lines[1] == b"MSA|AR||HL7-CONTROL-ID-MISSING: MSH-10 is empty."
    assert lines[2:] in ([], [b"ERR|||101|E|||MSH-10 is empty.|HL7-CONTROL-ID-MISSING"])
    assert read_acknowledgement(message).reason == reason
    assert read_header(message).field(9) == b"ACK^A01^ACK"


@given(st.binary(max_size=200), st.sampled_from(list(Outcome)))
def test_any_header_has_an_answer_that_stays_in_its_frame(rest: bytes, outcome: Outcome) -> None:
    """Whatever MSH holds, our MSH has no byte that breaks segment or frame, and MSA-2 is MSH-10."""
    rest = rest.translate(None, b"\x0b\x1c")
    try:
        sent = read_header(b"MSH|^~\\&|" + rest, "gb18030")
    except MessageError:
        return
    for message in answer(sent, outcome, NOW, ControlIds(), code="X", sentence="Y.").messages:
        assert b"\x0b" not in message
        assert b"\x1c" not in message
        lines = message.split(b"\r")
        assert lines[1].startswith(
            b"MSA|" + read_acknowledgement(message).code.encode() + b"|" + sent.control_id + b"|"
        )
        assert len(lines) in (3, 4)


@pytest.mark.parametrize(
    ("accept", "application", "counts"),
    [
        ("", "", (1, 1)),
        ("AL", "NE", (1, 1)),
        ("AL", "AL", (1, 2)),
        ("NE", "NE", (0, 0)),
        ("ER", "NE", (0, 1)),
        ("SU", "NE", (0, 1)),
        ("ER", "AL", (1, 1)),
    ],
)
def test_a_sender_knows_how_many_answers_it_asked_for(
    accept: str, application: str, counts: tuple[int, int]
) -> None:
    assert expected_answers(header_of(accept, application)) == counts


def test_control_ids_are_never_the_same() -> None:
    ids, others = ControlIds(), ControlIds()
    made = [ids.next() for _ in range(100)] + [others.next() for _ in range(100)]
    assert len(set(made)) == 200
    assert all(len(one) <= 20 for one in made)
