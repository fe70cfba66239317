"""A sender: one connection, one message after the other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.mllp.frame import Frame, FrameReader, framed
from schemas.errors import MessageError, TransportError
from schemas.hl7v2.header import read_header

ANSWER_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An answer: its code (MSA-1), the control id it repeats (MSA-2), the reason (ERR-8 or MSA-3)."""

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

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._writer is None:
            raise TransportError("MLLP-CLOSED", "the connection is not open")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (OSError, ssl.SSLError):
            raise TransportError("MLLP-CLOSED", "the listener closed the connection") from None

    async def receive(self) -> bytes:
        """The next message that the other side sends."""
        if self._reader is None:
            raise TransportError("MLLP-CLOSED", "the connection is not open")
        while True:
            event = self._frames.next()
            if isinstance(event, Frame):
                return event.data
            if event is not None:
                continue
            try:
                data = await asyncio.wait_for(self._reader.read(65536), self.patience)
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
        elif fields[0] == b"ERR" and len(fields) > 8:
            reason = fields[8].decode("ascii", "replace")
    if found is None:
        raise MessageError("MLLP-NO-ACK", "the answer has no MSA segment")
    return Acknowledgement(found[1].decode("ascii", "replace"), found[2] if len(found) > 2 else b"", reason)


def client_tls(ca: str | None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """TLS for a sender: whose certificates it trusts, and its own for mutual TLS."""
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context
