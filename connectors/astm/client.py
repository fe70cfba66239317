"""An instrument that sends over a connection, with the sessions, resends and time-outs of the standard."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.astm.frame import FRAME_TEXT, Fault, Noted
from connectors.astm.messages import CR, Joiner
from connectors.astm.session import STANDARD, Delivered, Failed, Line, Received, Role, Send, Times
from schemas.errors import MessageError, TransportError

ANSWER_LIMIT = 1024 * 1024


@dataclass
class Outcome:
    """What came of sending.

    Attributes:
        delivered: messages whose last frame was acknowledged.
        failed: reason → how many messages.
    """

    delivered: int = 0
    failed: dict[Fault, int] = field(default_factory=dict)


class AstmClient:
    """A line to a host.

    Args:
        times: of the standard.
        frame_text: bytes of text in a frame.
        tries: how often a session is begun before its messages have failed.
    """

    def __init__(self, times: Times = STANDARD, frame_text: int = FRAME_TEXT, tries: int = 3) -> None:
        self.received: list[bytes] = []
        self.faults: dict[Fault, int] = {}
        self._line = Line(
            Role.INSTRUMENT, size_limit=ANSWER_LIMIT, times=times, frame_text=frame_text, tries=tries
        )
        self._times = times
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Open the connection.

        Raises:
            TransportError: ``ASTM-UNREACHABLE``.
        """
        try:
            self._reader, self._writer = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=tls), self._times.reply
            )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise TransportError(
                "ASTM-UNREACHABLE", "nobody answers there; is the listener up?", host=host, port=port,
                kind=type(error).__name__,
            ) from None  # fmt: skip

    async def send(self, messages: Sequence[bytes]) -> Outcome:
        """Send messages in one session, and in further ones what was not acknowledged.

        Raises:
            TransportError: ``ASTM-CLOSED``; what was not acknowledged may have arrived or not.
        """
        outcome = Outcome()
        self._line.offer(messages, time.monotonic())
        await self._act(outcome)
        while outcome.delivered + sum(outcome.failed.values()) < len(messages) or not self._line.is_neutral:
            await self._hear(outcome, None)
        return outcome

    async def listen(self, seconds: float, messages: int = 1) -> list[bytes]:
        """What the host sends, in ``received`` too: so many messages, or what came until it was silent for so long.

        Raises:
            TransportError: ``ASTM-CLOSED``.
        """
        outcome = Outcome()
        while len(self.received) < messages or not self._line.is_neutral:
            if not await self._hear(outcome, seconds):
                break
        return self.received

    async def _hear(self, outcome: Outcome, patience: float | None) -> bool:
        """Wait for bytes or for what is due; False where neither came within ``patience`` seconds."""
        if self._reader is None:
            raise TransportError("ASTM-CLOSED", "the connection is not open")
        due = self._line.deadline
        left = None if due is None else max(0.0, due - time.monotonic())
        waits = min((one for one in (left, patience) if one is not None), default=None)
        try:
            data = await asyncio.wait_for(self._reader.read(65536), waits)
        except TimeoutError:
            self._line.tick(time.monotonic())
            await self._act(outcome)
            return waits is not patience
        except (OSError, ssl.SSLError):
            data = b""
        if not data:
            raise TransportError("ASTM-CLOSED", "the host closed the connection")
        self._line.feed(data, time.monotonic())
        await self._act(outcome)
        return True

    async def _act(self, outcome: Outcome) -> None:
        while (event := self._line.next()) is not None:
            match event:
                case Send(data):
                    await self._write(data)
                case Received(ticket, messages):
                    self.received += messages
                    self._line.settle(ticket, stored=True, now=time.monotonic())
                case Delivered():
                    outcome.delivered += 1
                case Failed(count, fault):
                    outcome.failed[fault] = outcome.failed.get(fault, 0) + count
                case Noted(fault, count):
                    self.faults[fault] = self.faults.get(fault, 0) + count

    async def _write(self, data: bytes) -> None:
        if self._writer is None:
            raise TransportError("ASTM-CLOSED", "the connection is not open")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, ssl.SSLError):
            raise TransportError("ASTM-CLOSED", "the host closed the connection") from None

    async def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):  # the other side was quicker
                await self._writer.wait_closed()
            self._writer = None


def messages_of(data: bytes) -> list[bytes]:
    """The messages of a file of records, whatever its line ends; empty lines are passed over.

    Raises:
        MessageError: ``ASTM-NO-HEADER`` where one does not begin with H, ``ASTM-NO-TERMINATOR`` where the last has
            no L.
    """
    joiner = Joiner()
    messages: list[bytes] = []
    for line in data.replace(b"\r\n", CR).replace(b"\n", CR).split(CR):
        if not line.strip():
            continue
        if joiner.is_empty and line[:1] != b"H":
            raise MessageError("ASTM-NO-HEADER", "a message has to begin with an H record")
        messages += joiner.add(line + CR, ends=True)
        joiner.commit()
    if not joiner.is_empty:
        raise MessageError("ASTM-NO-TERMINATOR", "the last message has no L record")
    return messages
