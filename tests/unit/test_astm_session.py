"""The link with instruments: what each fault of framing leads to, and when a message counts as taken."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from connectors.astm.frame import ACK, ENQ, EOT, ETX, NAK, STX, Fault, Noted, checksum, framed
from connectors.astm.session import Delivered, Failed, Left, Line, Received, Role, Send

H, P, R, L = b"H|\\^&\r", b"P|1\r", b"R|1|^^^GLU|5.1\r", b"L|1|N\r"
MESSAGE = H + P + R + L


@dataclass
class End:
    """One end of a line, whose messages are stored at once unless told otherwise."""

    role: Role = Role.HOST
    stores: bool = True
    size_limit: int = 10_000
    now: float = 0.0
    messages: list[bytes] = field(default_factory=list)
    faults: dict[Fault, int] = field(default_factory=dict)
    delivered: int = 0
    failed: int = 0
    tickets: list[int] = field(default_factory=list)
    left: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = Line(self.role, size_limit=self.size_limit)

    def says(self) -> bytes:
        """What it sends."""
        said = b""
        while (event := self.line.next()) is not None:
            match event:
                case Send(data):
                    said += data
                case Received(ticket, messages):
                    self.tickets.append(ticket)
                    if self.stores:
                        self.messages += messages
                        self.line.settle(ticket, stored=True, now=self.now)
                case Left(message):
                    self.left.append(message)
                case Noted(fault, count):
                    self.faults[fault] = self.faults.get(fault, 0) + count
                case Delivered():
                    self.delivered += 1
                case Failed(count):
                    self.failed += count
        return said

    def hears(self, data: bytes) -> bytes:
        """Bytes come in; what it answers."""
        self.line.feed(data, self.now)
        return self.says()

    def waits(self, seconds: float) -> bytes:
        """Time passes, second by second; what it says meanwhile."""
        said = b""
        for _ in range(int(seconds)):
            self.now += 1
            self.line.tick(self.now)
            said += self.says()
        return said

    def in_session(self) -> End:
        assert self.hears(ENQ) == ACK
        return self


def frames(message: bytes = MESSAGE, first: int = 1) -> list[bytes]:
    records = message.removesuffix(b"\r").split(b"\r")
    return [framed((first + n) % 8, record + b"\r") for n, record in enumerate(records)]


def test_a_message_in_frames_is_taken_and_the_session_ends() -> None:
    host = End().in_session()
    assert [host.hears(frame) for frame in frames()] == [ACK] * 4
    assert host.hears(EOT) == b""
    assert (host.messages, host.faults, host.line.is_idle) == ([MESSAGE], {}, True)


def test_several_messages_in_a_session_and_numbers_that_wrap() -> None:
    host = End().in_session()
    for number, frame in enumerate(frames(MESSAGE * 5)):
        assert host.hears(frame) == ACK, number
    assert host.messages == [MESSAGE] * 5


def test_the_last_frame_is_answered_when_its_message_is_stored_and_not_before() -> None:
    host = End(stores=False).in_session()
    *others, last = frames()
    assert [host.hears(frame) for frame in others] == [ACK] * 3
    assert host.hears(last) == b""
    host.line.settle(host.tickets[-1], stored=False, now=1.0)
    assert host.says() == NAK
    assert host.hears(last) == b"", "the same frame again brings the message again"
    host.line.settle(host.tickets[0], stored=True, now=1.0)
    assert host.says() == b"", "an answer to the former frame is none to this one"
    host.line.settle(host.tickets[1], stored=True, now=1.0)
    assert host.says() == ACK


def test_a_frame_that_cannot_be_stored_in_time_is_refused_while_its_sender_still_waits() -> None:
    host = End(stores=False).in_session()
    for frame in frames():
        host.hears(frame)
    assert host.waits(11) == b""
    assert host.waits(3) == NAK


def test_a_sender_that_gives_up_while_its_message_is_stored_gets_no_late_answer() -> None:
    host = End(stores=False).in_session()
    for frame in frames():
        host.hears(frame)
    assert host.hears(EOT + ENQ) == ACK, "of the new session"
    host.line.settle(host.tickets[0], stored=True, now=1.0)
    assert host.says() == b""
    assert host.faults == {Fault.UNANSWERED: 1}


def test_a_frame_repeated_while_its_message_is_stored_is_answered_once() -> None:
    host = End(stores=False).in_session()
    for frame in frames():
        host.hears(frame)
    assert host.hears(frames()[-1]) == b""
    host.line.settle(host.tickets[0], stored=True, now=1.0)
    assert host.says() == ACK
    assert host.faults == {Fault.REPEATED: 1}


SECOND = framed(2, P)
NINTH = STX + b"9" + P + ETX + checksum(b"9" + P + ETX) + b"\r\n"

FRAMING = [
    # name, what comes instead of the second frame, the answers, the faults
    ("wrong checksum", SECOND[:-4] + b"00\r\n", NAK, {Fault.CHECKSUM: 1}),
    ("checksum in lower case", SECOND[:-4] + SECOND[-4:-2].lower() + b"\r\n", ACK, {}),
    ("checksum that is no number", SECOND[:-4] + b"zz\r\n", NAK, {Fault.CHECKSUM: 1}),
    ("number skipped", framed(3, P), NAK, {Fault.NUMBER: 1}),
    ("number that is none", NINTH, NAK, {Fault.NUMBER: 1}),
    ("first frame repeated", framed(1, H), ACK, {Fault.REPEATED: 1}),
    ("first number, another text", framed(1, P), NAK, {Fault.NUMBER: 1}),
    ("too long", framed(2, b"C" * 64_002), NAK, {Fault.TOO_LONG: 1}),
    ("longest", framed(2, b"C" * 63_999 + b"\r")[:-2], NAK, {Fault.TOO_LARGE: 1}),
    ("no CR LF", SECOND[:-2], ACK, {}),
    ("no LF", SECOND[:-1], ACK, {}),
    ("no STX", SECOND[1:], NAK, {Fault.NO_START: 1, Fault.GARBAGE: 7}),
    ("garbage before", b"noise" + SECOND, ACK, {Fault.GARBAGE: 5}),
    ("blanks before", b"\r\n \x00" + SECOND, ACK, {}),
    ("begun anew", SECOND[:4] + SECOND, ACK, {Fault.CUT: 1}),
    ("ETX within", framed(2, b"P|\x03zz1\r"), NAK, {Fault.CHECKSUM: 1}),
    ("STX in place of the checksum", SECOND[:-4] + SECOND, NAK + ACK, {Fault.CHECKSUM: 1}),
    ("ENQ in the text", framed(2, b"P|\x05\r"), ACK, {}),
    ("ENQ garbled from STX", ENQ + SECOND[1:], NAK, {Fault.UNEXPECTED: 1, Fault.NO_START: 1, Fault.GARBAGE: 7}),
    ("ENQ in place of LF", SECOND[:-1] + ENQ, ACK, {}),
    ("an answer that nobody asked for", ACK + SECOND, ACK, {Fault.UNEXPECTED: 1}),
    ("EOT within a frame", SECOND[:4] + EOT, b"", {Fault.CUT: 1, Fault.LEFT: 1}),
    ("EOT within a message", EOT, b"", {Fault.LEFT: 1}),
    ("EOT after a refusal", SECOND[:-4] + b"00\r\n" + EOT, NAK, {Fault.CHECKSUM: 1, Fault.ABORTED: 1}),
    ("a new session without EOT", ENQ + ENQ, ACK, {Fault.UNEXPECTED: 1, Fault.ABORTED: 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "answer", "faults"), [case[1:] for case in FRAMING], ids=[c[0] for c in FRAMING]
)
@pytest.mark.parametrize("step", [1, 3, 100_000])
def test_each_fault_of_framing_has_its_outcome_however_it_is_cut(
    data: bytes, answer: bytes, faults: dict[Fault, int], step: int
) -> None:
    host = End().in_session()
    assert host.hears(framed(1, H)) == ACK
    said = b"".join(host.hears(data[start : start + step]) for start in range(0, len(data), step))
    assert (said, host.faults) == (answer, faults)


@pytest.mark.parametrize("size", [1, 2, 7, 240, 64_000])
def test_long_records_are_joined_from_frames_of_any_size(size: int) -> None:
    message = H + b"R|1|^^^GLU|" + "葡萄糖".encode("gb18030") * 40 + b"\r" + L
    instrument, host = End(Role.INSTRUMENT), End()
    instrument.line = Line(Role.INSTRUMENT, size_limit=10_000, frame_text=size)
    instrument.line.offer([message, message], 0.0)
    talk(instrument, host)
    assert host.messages == [message, message]
    assert (instrument.delivered, instrument.failed, instrument.line.is_idle) == (2, 0, True)


def talk(one: End, other: End) -> None:
    """Both ends, on a line without faults, until they are silent."""
    said = one.says()
    while said:
        said = one.hears(other.hears(said))


def test_records_without_their_cr_and_several_in_a_frame() -> None:
    host = End().in_session()
    assert host.hears(framed(1, H + P + R[:-1])) == ACK
    assert host.hears(framed(2, b"L|1")) == ACK
    assert host.hears(framed(3, MESSAGE + MESSAGE + H, ends=False)) == ACK
    assert host.hears(framed(4, b"L|1\r\n")) == ACK
    assert host.messages == [H + P + R + b"L|1\r", MESSAGE, MESSAGE, H + b"L|1\r"]
    assert host.hears(EOT) == b""
    assert host.faults == {}


def test_a_message_without_l_is_kept_when_the_next_begins() -> None:
    host = End().in_session()
    for frame in frames(H + P + R + MESSAGE):
        assert host.hears(frame) == ACK
    assert host.messages == [H + P + R, MESSAGE]
    assert host.faults == {Fault.NO_TERMINATOR: 1}


def test_a_message_without_l_is_handed_over_when_its_sender_ends_the_session() -> None:
    host = End().in_session()
    for frame in frames(MESSAGE + H + P):
        assert host.hears(frame) == ACK
    assert host.hears(framed(7, R[:9], ends=False)) == ACK
    assert host.hears(EOT) == b""
    assert (host.messages, host.left) == ([MESSAGE], [H + P + R[:9]])
    assert (host.line.is_idle, host.line.held) == (True, 0)
    assert host.hears(ENQ) == NAK, "no session before that is kept"
    host.line.busy = False
    assert host.in_session().hears(EOT) == b""
    assert len(host.left) == 1, "what was handed over once is not there any more"


def test_a_message_that_is_not_stored_can_begin_with_the_same_frame_that_ends_another() -> None:
    host = End(stores=False).in_session()
    assert host.hears(framed(1, H + P)) == ACK
    assert host.hears(framed(2, L + H)) == b""
    host.line.settle(host.tickets[-1], stored=False, now=0.0)
    assert host.says() == NAK
    host.stores = True
    assert host.hears(framed(2, L + H)) == ACK
    assert host.hears(framed(3, L)) == ACK
    assert host.messages == [H + P + L, H + L]


def test_after_six_resends_nothing_is_answered_until_the_session_ends() -> None:
    host = End().in_session()
    host.hears(framed(1, H))
    bad = framed(2, P)[:-4] + b"00\r\n"
    assert [host.hears(bad) for _ in range(9)] == [NAK] * 7 + [b""] * 2
    assert host.hears(framed(2, P)) == b""
    assert host.hears(EOT + ENQ + b"".join(frames())) == ACK * 5
    assert host.messages == [MESSAGE]


def test_a_message_larger_than_the_limit_is_refused_and_the_next_is_taken() -> None:
    host = End(size_limit=100).in_session()
    answers = [host.hears(frame) for frame in frames(H + b"C|1|%b\r" % (b"x" * 90) + L)]
    assert answers == [ACK, NAK, NAK]
    assert host.line.held == 0
    assert host.hears(EOT + ENQ + b"".join(frames())) == ACK * 5
    assert host.messages == [MESSAGE]


def test_a_sender_that_falls_silent_is_not_waited_for() -> None:
    host = End().in_session()
    host.hears(framed(1, H))
    assert host.waits(29) == b""
    assert not host.line.is_idle
    assert host.waits(2) == b""
    assert host.line.is_idle
    assert host.faults == {Fault.TIMEOUT: 1, Fault.ABORTED: 1}
    assert host.hears(ENQ) == ACK


def test_noise_while_nobody_sends_hides_nothing() -> None:
    host = End()
    assert host.hears(b"noise" + STX + b"1H|" + NAK + ACK + EOT + STX + ENQ) == ACK
    assert host.hears(b"".join(frames())) == ACK * 4


def test_endless_garbage_ends_the_line() -> None:
    host = End()
    host.hears(b"x" * 70_000)
    assert host.line.is_dead
    assert host.line.held == 0


def test_a_busy_host_refuses_sessions_and_asks_to_stop_after_a_message() -> None:
    host = End()
    host.line.busy = True
    assert host.hears(ENQ) == NAK
    host.line.busy = False
    host.in_session()
    host.line.wishes_to_stop = True
    assert [host.hears(frame) for frame in frames()] == [ACK, ACK, ACK, EOT]


# -- sending -------------------------------------------------------------------------------------------------------


def sending(messages: int = 1, role: Role = Role.INSTRUMENT) -> End:
    end = End(role)
    end.line.offer([MESSAGE] * messages, 0.0)
    assert end.says() == ENQ
    return end


def test_a_frame_is_sent_again_six_times_then_the_sender_gives_up_and_tries_anew() -> None:
    end = sending()
    assert end.hears(ACK) == framed(1, H)
    assert [end.hears(NAK) for _ in range(7)] == [framed(1, H)] * 6 + [EOT]
    assert end.waits(11) == ENQ
    end.hears(ACK)
    for _ in range(7):
        end.hears(NAK)
    assert end.waits(11) == ENQ
    assert end.hears(NAK) == b""
    assert (end.failed, end.delivered, end.line.is_idle) == (1, 0, True)


def test_a_sender_without_an_answer_ends_the_session_after_15_seconds() -> None:
    end = sending()
    assert end.waits(14) == b""
    assert end.waits(2) == EOT
    end = sending()
    assert end.hears(ACK + b"noise") == framed(1, H), "garbage is no answer"
    assert end.waits(16) == EOT
    assert end.hears(ACK) == b""


def test_what_was_acknowledged_is_not_sent_again_in_the_next_session() -> None:
    end = sending(2)
    assert end.hears(ACK * 6) == b"".join(frames(MESSAGE * 2)[:6])
    assert end.delivered == 1
    assert end.waits(16) == EOT
    assert end.waits(11) == ENQ
    assert end.hears(ACK * 5) == b"".join(frames()) + EOT
    assert (end.delivered, end.failed) == (2, 0)


def test_a_sender_asked_to_stop_ends_its_message_and_waits() -> None:
    end = sending(2)
    assert end.hears(ACK + EOT + ACK * 3) == b"".join(frames()) + EOT
    assert end.delivered == 1
    assert end.waits(14) == b""
    assert end.waits(2) == ENQ
    assert end.hears(ACK * 5) == b"".join(frames()) + EOT


@pytest.mark.parametrize(("role", "seconds"), [(Role.HOST, 20), (Role.INSTRUMENT, 1)])
def test_contention_lets_the_instrument_go_first(role: Role, seconds: int) -> None:
    end = sending(role=role)
    assert end.hears(ENQ) == b""
    assert end.faults == {Fault.CONTENTION: 1}
    assert end.waits(seconds - 1) == b""
    assert end.waits(1) == ENQ


def test_a_host_that_yielded_takes_the_message_and_then_sends_its_own() -> None:
    host, instrument = sending(role=Role.HOST), sending()
    assert (host.hears(ENQ), instrument.hears(ENQ)) == (b"", b"")
    enquiry = instrument.waits(1)
    assert enquiry == ENQ
    instrument.hears(host.hears(enquiry))
    host.now = 1.0
    instrument.line.feed(b"", 1.0)
    said = framed(1, H)
    while said:
        said = instrument.hears(host.hears(said))
    assert (host.messages, instrument.delivered) == ([MESSAGE], 1)
    assert host.waits(20) == ENQ


def test_a_busy_other_end_is_asked_again_after_ten_seconds() -> None:
    end = sending()
    assert end.hears(NAK) == b""
    assert end.waits(9) == b""
    assert end.waits(1) == ENQ


def test_a_connection_that_ends_drops_what_was_begun_and_says_what_was_not_sent() -> None:
    host = End().in_session()
    host.hears(framed(1, H) + STX + b"2P")
    host.line.finish()
    host.says()
    assert host.faults == {Fault.CUT: 1, Fault.ABORTED: 1}
    assert host.line.held == 0
    end = sending(3)
    end.line.finish()
    end.says()
    assert end.failed == 3
