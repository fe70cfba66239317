"""Two ends of a line that garbles, drops and cuts what is said: the host has exactly the messages that were sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.astm.frame import ACK, ENQ, EOT, ETB, ETX, NAK, STX
from connectors.astm.session import Delivered, Failed, Left, Line, Received, Role, Send

FOREVER = 10_000.0
FALSE_ANSWERS = ACK + EOT
"""No protocol whose answers are one byte survives that a NAK turns into one of these."""

FALSE_ENDS = ETX + ETB
"""Nor that the end of a text is feigned just where two digits follow that are its checksum."""

texts = st.text(st.sampled_from("|^&\\ 0159HLPRQ.葡萄糖"), max_size=60)
records = st.tuples(st.sampled_from("PORCMSQ"), texts).map("|".join)
messages = st.lists(records, max_size=6).map(
    lambda rows: "\r".join(["H|\\^&", *rows, "L|1|N", ""]).encode("gb18030")
)


Faults = list[tuple[int, int, int | None]]


@dataclass
class Noise:
    """What a line does to what is said on it, at most one byte of a frame or an answer: sums find no more for certain.

    Attributes:
        faults: how many frames or answers go through unharmed, and which byte of the next one becomes what, or nothing.
        sizes: of the packets that they come in.
        answers: whether this way most of what is said are answers.
    """

    faults: Faults
    sizes: list[int]
    answers: bool
    _passed: int = 0

    def carry(self, data: bytes) -> list[bytes]:
        """The packets that come out at the other end."""
        out = bytearray(data)
        self._passed += 1
        if self.faults and self._passed > self.faults[0][0]:
            _, place, other = self.faults.pop(0)
            self._passed = 0
            if other is None:
                del out[place % len(out)]
            elif other not in (FALSE_ANSWERS if self.answers else FALSE_ENDS):
                out[place % len(out)] = other
        packets, start = [], 0
        while start < len(out):
            size = self.sizes[(start + len(out)) % len(self.sizes)]
            packets.append(bytes(out[start : start + size]))
            start += size
        return packets


@dataclass
class End:
    line: Line
    out: Noise
    stores: list[bool]
    taken: list[bytes] = field(default_factory=list)
    left: list[bytes] = field(default_factory=list)
    delivered: int = 0
    failed: int = 0

    def run(self, now: float, other: End) -> bool:
        """Say what is to be said; whether that was anything."""
        said = False
        while (event := self.line.next()) is not None:
            match event:
                case Send(data):
                    said = True
                    for packet in self.out.carry(data):
                        other.line.feed(packet, now)
                case Received(ticket, found):
                    stored = self.stores.pop() if self.stores else True
                    self.taken += found if stored else ()
                    self.line.settle(ticket, stored=stored, now=now)
                case Left(message):
                    self.left.append(message)
                    self.line.busy = False
                case Delivered():
                    self.delivered += 1
                case Failed(count):
                    self.failed += count
        return said


def converse(one: End, other: End) -> None:
    """Until both are done; time passes only while both are silent."""
    now = 0.0
    while now < FOREVER:
        while one.run(now, other) or other.run(now, one):
            pass
        due = [end.line.deadline for end in (one, other) if end.line.deadline is not None]
        if not due:
            return
        now = max(now, min(due))
        one.line.tick(now)
        other.line.tick(now)


signs = st.sampled_from(list(STX + ETX + EOT + ENQ + ACK + NAK + ETB + b"\r\n0A"))
noise = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(-6, 1) | st.integers(2, 40), st.none() | signs | st.integers(0, 255)
    ),
    max_size=20,
)
packets = st.lists(st.integers(1, 80), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    sent=st.lists(messages, min_size=1, max_size=4),
    outward=noise, inward=noise, sizes=packets, stores=st.lists(st.booleans(), max_size=8),
    frame_text=st.integers(1, 240),
)  # fmt: skip
def test_whatever_the_line_garbles_the_host_has_what_was_sent(
    sent: list[bytes], outward: Faults, inward: Faults,
    sizes: list[int], stores: list[bool], frame_text: int,
) -> None:  # fmt: skip
    """A message is taken again where its last answer was lost, and none is delivered that was not taken."""
    instrument = End(
        Line(Role.INSTRUMENT, size_limit=10_000, frame_text=frame_text, tries=60),
        Noise(outward, sizes, answers=False),
        [],
    )
    host = End(Line(Role.HOST, size_limit=10_000), Noise(inward, sizes, answers=True), stores)
    instrument.line.offer(sent, 0.0)
    converse(instrument, host)
    assert (instrument.delivered, instrument.failed) == (len(sent), 0)
    once = [message for place, message in enumerate(host.taken) if host.taken[:place][-1:] != [message]]
    expected = [message for place, message in enumerate(sent) if sent[:place][-1:] != [message]]
    assert once == expected
    assert all(any(message.startswith(part) for message in sent) for part in host.left)
    assert host.line.is_idle
    assert host.line.held == 0


@given(st.lists(st.binary(max_size=200), max_size=20), st.data())
def test_any_bytes_in_any_packets_have_one_outcome(parts: list[bytes], data: st.DataObject) -> None:
    """And memory is bounded by the limits, whatever comes."""
    whole = b"\x05" + b"".join(
        part + data.draw(st.sampled_from([STX + b"1", ETX, EOT, b"\x05"])) for part in parts
    )
    outcomes = []
    for size in (len(whole), data.draw(st.integers(1, 50))):
        line = Line(Role.HOST, size_limit=500, frame_limit=100)
        events = []
        for start in range(0, len(whole), size):
            line.feed(whole[start : start + size], 0.0)
            assert line.held <= 500 + 100 + size + 10
            while (event := line.next()) is not None:
                events.append(event)
                if isinstance(event, Received):
                    line.settle(event.ticket, stored=True, now=0.0)
        outcomes.append([event for event in events if isinstance(event, Send | Received)])
    assert outcomes[0] == outcomes[1]
