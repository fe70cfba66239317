"""Framing: one outcome for each looseness, whatever the sizes of the packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mllp.frame import Fault, Frame, FrameReader, Noted, Refused, framed

MESSAGE = b"MSH|^~\\&|A|B|||20260301||ADT^A01|1|P|2.5\rPID|1\r"
OTHER = MESSAGE.replace(b"|1|P", b"|2|P")


def events(data: bytes, *, limit: int = 1000, packet: int = 10**9, end: bool = False) -> list[object]:
    reader = FrameReader(limit)
    found: list[object] = []
    for start in range(0, len(data), packet):
        reader.feed(data[start : start + packet])
        while (event := reader.next()) is not None:
            found.append(event)
    if end:
        reader.finish()
        while (event := reader.next()) is not None:
            found.append(event)
    return found


CASES = {
    "one frame": (framed(MESSAGE), [Frame(MESSAGE)]),
    "two frames in a packet": (framed(MESSAGE) + framed(OTHER), [Frame(MESSAGE), Frame(OTHER)]),
    "blanks between frames": (
        b"\r\n " + framed(MESSAGE) + b"\r\n" + framed(OTHER),
        [Frame(MESSAGE), Frame(OTHER)],
    ),
    "bytes before VT": (b"hello" + framed(MESSAGE), [Noted(Fault.GARBAGE, 5), Frame(MESSAGE)]),
    "FS and LF": (b"\x0b" + MESSAGE + b"\x1c\n", [Noted(Fault.NO_CR, 1), Frame(MESSAGE)]),
    "FS and the next VT": (
        b"\x0b" + MESSAGE + b"\x1c" + framed(OTHER),
        [Noted(Fault.NO_CR, 1), Frame(MESSAGE), Frame(OTHER)],
    ),
    "FS in the data": (
        b"\x0b" + MESSAGE + b"a\x1cb\x1c\r",
        [Noted(Fault.FS_IN_DATA, 1), Frame(MESSAGE + b"a\x1cb")],
    ),
    "VT in the data": (
        b"\x0b" + MESSAGE + b"NTE|line\x0bbreak\r\x1c\r",
        [Noted(Fault.VT_IN_DATA, 1), Frame(MESSAGE + b"NTE|line\x0bbreak\r")],
    ),
    "a message that was given up": (
        b"\x0b" + MESSAGE[:20] + framed(OTHER),
        [Refused(Fault.CUT, MESSAGE[:20]), Frame(OTHER)],
    ),
    "two starts": (b"\x0b" + framed(MESSAGE), [Frame(MESSAGE)]),
    "an empty frame": (b"\x0b\x1c\r", [Frame(b"")]),
}


@pytest.mark.parametrize("packet", [1, 2, 3, 7, 10**9])
@pytest.mark.parametrize("name", CASES)
def test_each_looseness_has_its_outcome(name: str, packet: int) -> None:
    data, expected = CASES[name]
    assert events(data, packet=packet) == expected


@pytest.mark.parametrize("packet", [1, 5, 64, 10**9])
def test_a_message_over_the_limit_is_refused_and_the_next_is_read(packet: int) -> None:
    large = MESSAGE + b"Z" * 2000
    found = events(framed(large) + framed(OTHER), packet=packet)
    assert [type(event) for event in found] == [Refused, Frame]
    assert isinstance(found[0], Refused)
    assert found[0].fault is Fault.TOO_LARGE
    assert found[0].start.startswith(MESSAGE)
    assert found[1] == Frame(OTHER)


def test_a_refused_message_is_not_kept() -> None:
    reader = FrameReader(1000)
    reader.feed(b"\x0b" + MESSAGE)
    for _ in range(1000):
        reader.feed(b"Z" * 1000)
        while reader.next() is not None:
            pass
        assert reader.buffered < 3000


def test_what_is_cut_off_is_partial() -> None:
    assert events(b"\x0b" + MESSAGE, end=True) == [Noted(Fault.PARTIAL, len(MESSAGE))]
    assert events(b"\x0b" + MESSAGE + b"\x1c", end=True) == [Noted(Fault.NO_CR, 1), Frame(MESSAGE)]


def test_silence_after_fs_ends_the_frame() -> None:
    reader = FrameReader(1000)
    reader.feed(b"\x0b" + MESSAGE + b"\x1c")
    assert reader.next() is None
    assert reader.awaits_cr
    reader.expire()
    assert [reader.next(), reader.next()] == [Noted(Fault.NO_CR, 1), Frame(MESSAGE)]


def test_endless_garbage_is_given_up() -> None:
    reader = FrameReader(1000, garbage_limit=100)
    reader.feed(b"g" * 200)
    assert reader.next() == Noted(Fault.ENDLESS_GARBAGE, 100)
    assert reader.is_dead
    reader.feed(framed(MESSAGE))
    assert reader.next() is None


PLAIN = st.binary(max_size=60).map(lambda data: b"MSH|" + data.translate(None, b"\x0b\x1c"))


@given(st.lists(PLAIN, max_size=6), st.integers(1, 20))
def test_frames_come_out_as_they_went_in(messages: list[bytes], packet: int) -> None:
    data = b"".join(framed(message) for message in messages)
    assert events(data, packet=packet) == [Frame(message) for message in messages]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_packets_play_no_part(data: bytes, packet: int) -> None:
    assert events(data, limit=50, packet=packet, end=True) == events(data, limit=50, packet=1, end=True)
