"""A sender: one connection, one message after the other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.mllp.acknowledge import Outcome, conditions, is_wanted
from connectors.mllp.frame import Frame, FrameReader, framed
from schemas.errors import MessageError, TransportError
from schemas.hl7v2.header import read_header

ANSWER_LIMIT = 1024 * 1024
QUIET_SECONDS = 2.0
"""How long to listen for an acknowledgement that comes only in some cases (ER, SU)."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An answer: its code (MSA-1), the control id it repeats (MSA-2), the reason (ERR-8, else the start of MSA-3)."""

    code: str
    control_id: bytes
    reason: str = ""

    @property
    def accepted(self) -> bool:
        return self.code in ("AA", "CA")


class MllpClient:
    """A connection to a listener.

    Args:
        patience: seconds to wait for an answer.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience = patience
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._frames = FrameReader(ANSWER_LIMIT)

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Open the connection.

        Raises:
            TransportError: ``MLLP-UNREACHABLE``.
        """
        try:
            self._reader, self._writer = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=tls), self.patience
            )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise TransportError(
                "MLLP-UNREACHABLE", "nobody answers there; is the listener up?", host=host, port=port,
                kind=type(error).__name__,
            ) from None  # fmt: skip

    async def send(self, message: bytes) -> bytes:
        """Send a message and return the acknowledgement that comes next.

        Raises:
            TransportError: ``MLLP-NO-ANSWER``, ``MLLP-CLOSED``.
        """
        await self.write(framed(message))
        return await self.receive()

    async def ask(self, message: bytes) -> Acknowledgement | None:
        """Send a message and await the acknowledgements that it asks for (HL7 v2.5.1 §2.9.3).

        Returns:
            The one that settles it: the first that does not accept, else the last. None where none came and none
            had to: the message asks for none, or only in some cases, and it was quiet for two seconds.

        Raises:
            TransportError: ``MLLP-NO-ANSWER``, ``MLLP-CLOSED``.
            MessageError: ``MLLP-NO-ACK``.
        """
        control_id = _control_id(message)
        certain, possible = expected_answers(message)
        await self.write(framed(message))
        answer: Acknowledgement | None = None
        number = 0
        while number < possible:
            try:
                data = await self.receive(
                    self.patience if number < certain else min(QUIET_SECONDS, self.patience)
                )
            except TransportError as error:
                if error.code != "MLLP-NO-ANSWER" or number < certain:
                    raise
                break
            found = read_acknowledgement(data)
            if not control_id.startswith(found.control_id):
                continue  # a late one to a message before this
            answer = found
            number += 1
            if not answer.accepted:
                break
        return answer

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._writer is None:
            raise TransportError("MLLP-CLOSED", "the connection is not open")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, ssl.SSLError):
            raise TransportError("MLLP-CLOSED", "the listener closed the connection") from None

    async def receive(self, patience: float | None = None) -> bytes:
        """The next message that the other side sends.

        Args:
            patience: seconds; None for the client's own.

        Raises:
            TransportError: ``MLLP-NO-ANSWER``, ``MLLP-CLOSED``.
        """
        if self._reader is None:
            raise TransportError("MLLP-CLOSED", "the connection is not open")
        while True:
            event = self._frames.next()
            if isinstance(event, Frame):
                return event.data
            if event is not None:
                continue
            try:
                data = await asyncio.wait_for(self._reader.read(65536), patience or self.patience)
            except TimeoutError:
                raise TransportError("MLLP-NO-ANSWER", "the listener does not answer") from None
            except (OSError, ssl.SSLError):
                data = b""
            if not data:
                raise TransportError("MLLP-CLOSED", "the listener closed the connection")
            self._frames.feed(data)

    async def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.close()
            try:
                await self._writer.wait_closed()
            except (OSError, ssl.SSLError):
                self._writer = None  # the other side was quicker
            self._writer = None


def _control_id(message: bytes) -> bytes:
    try:
        return read_header(message).control_id
    except MessageError:
        return b""


def expected_answers(message: bytes) -> tuple[int, int]:
    """How many acknowledgements a message asks for by MSH-15 and MSH-16: at least, at most."""
    try:
        asked = conditions(read_header(message))
    except MessageError:
        return 1, 1
    if asked == (b"", b""):
        return 1, 1
    stored = sum(is_wanted(condition, Outcome.STORED) for condition in asked)
    refused = int(any(is_wanted(condition, Outcome.REFUSED) for condition in asked))
    return min(stored, refused), max(stored, refused)


def read_acknowledgement(data: bytes) -> Acknowledgement:
    """What an acknowledgement says.

    Raises:
        MessageError: ``MLLP-NO-ACK`` where it is none.
    """
    try:
        header = read_header(data)
    except MessageError:
        raise MessageError("MLLP-NO-ACK", "the answer is not an HL7 message") from None
    reason = ""
    found: Sequence[bytes] | None = None
    for line in data[header.end :].splitlines():
        fields = line.split(header.separator)
        if fields[0] == b"MSA" and len(fields) > 1:
            found = fields
            reason = reason or (
                fields[3].split(b":", 1)[0].decode("ascii", "replace") if len(fields) > 3 else ""
            )
        elif fields[0] == b"ERR" and len(fields) > 8:
            reason = fields[8].decode("ascii", "replace")
    if found is None:
        raise MessageError("MLLP-NO-ACK", "the answer has no MSA segment")
    return Acknowledgement(found[1].decode("ascii", "replace"), found[2] if len(found) > 2 else b"", reason)
