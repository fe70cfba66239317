"""Messages of records (LIS2-A2): where one ends, whose specimen it is of, and the answer to a query.

Only what the link needs is read here, with little effort and without failing, whatever the bytes; what a message says
is read from the raw table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final

from connectors.records import (
    CONTENT_TYPE,
    OBJECT_PATH,
    OBJECT_SHA256,
    OBJECT_SIZE,
    RECEIVED_AT,
    SOURCE,
    Record,
    timestamp,
)
from connectors.routing import StoredObject
from schemas.lab import ASTM
from schemas.source import Source

CR: Final = b"\r"
LAB_TOPIC: Final = "raw.lab"

_BLANKS = b" \t\n\x00"
_NOTHING = _BLANKS + CR
_CONTROLS = bytes(range(0x20))
_KEY_BYTES = 256
_USUAL_DELIMITERS = b"|\\^&"
_CANCELS = b"A"
_MOST_ECHOED = 64


class Joiner:
    """Puts the texts of frames together to messages: from one H record to its L (LIS2-A2 §5).

    ``add`` a frame's text; where it completes messages, ``commit`` once they are safe, or ``undo`` to have it as if
    the frame had not come.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._kind = b""  # first byte of the record that has begun, where some of it is there
        self._before: tuple[list[bytes], bytes, int] | None = None
        self.held = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of a message is kept."""
        return not self._parts

    @property
    def rest(self) -> bytes:
        """What came of a message that has not ended; nothing where it is blanks."""
        rest = b"".join(self._parts)
        return rest if rest.strip(_NOTHING) else b""

    @property
    def kept(self) -> int:
        """Bytes that are kept, with those that ``undo`` would bring back."""
        return self.held + (self._before[2] if self._before is not None else 0)

    def add(self, text: bytes, *, ends: bool) -> tuple[bytes, ...]:
        """The messages that a frame completes; each of their records ends with CR.

        A message that the next H follows without an L between them is complete too.

        Args:
            text: of the frame.
            ends: whether a record ends with it (ETX), also where its CR is missing.
        """
        if ends and text and not text.endswith(CR):
            text += CR
        cuts, kind = self._cuts(text)
        rest = text[cuts[-1] :] if cuts else text
        if not rest.strip(_NOTHING) and (cuts or not self._parts):
            rest = b""
        if not cuts:
            if rest:
                self._parts.append(rest)
            self._kind, self._before = kind, None
            self.held += len(rest)
            return ()
        self._before = (self._parts, self._kind, self.held)
        messages = [b"".join((*self._parts, text[: cuts[0]]))]
        messages += [text[start:end] for start, end in pairwise(cuts)]
        self._parts, self._kind, self.held = [rest] if rest else [], kind if rest else b"", len(rest)
        return tuple(messages)

    def _cuts(self, text: bytes) -> tuple[list[int], bytes]:
        """Where in a text messages end, and the kind of the record that is open at its end."""
        cuts: list[int] = []
        kind, begun, start = self._kind, bool(self._parts), 0
        while start < len(text):
            end = text.find(CR, start) + 1 or len(text)
            if not kind:
                kind = text[start:end].lstrip(_BLANKS)[:1]
                if kind == b"H" and begun:
                    cuts.append(start)
            begun = begun or kind not in (b"", CR)
            if text.endswith(CR, start, end):
                if kind == b"L":
                    cuts.append(end)
                    begun = False
                kind = b""
            start = end
        return cuts, kind

    def undo(self) -> None:
        """As if the last frame had not come, where it completed a message."""
        if self._before is not None:
            self._parts, self._kind, self.held = self._before
            self._before = None

    def commit(self) -> None:
        """What the last frame completed is safe."""
        self._before = None

    def clear(self) -> None:
        """Forget what was begun."""
        self._parts, self._kind, self._before, self.held = [], b"", None, 0


def records_of(message: bytes) -> Iterator[bytes]:
    """Its records without the CR."""
    return (record.lstrip(_BLANKS) for record in message.split(CR) if record.strip(_NOTHING))


def is_ended(message: bytes) -> bool:
    """Whether its last record is L."""
    start = message.rfind(CR, 0, len(message) - 1) + 1
    return message[start:].lstrip(_NOTHING)[:1] == b"L"


def delimiters(message: bytes) -> bytes:
    """Those that H declares (field, repeat, component, escape), else the usual ones (LIS2-A2 §5)."""
    declared = message.lstrip(_NOTHING)[1:5]
    usable = message.lstrip(_NOTHING).startswith(b"H") and len(set(declared)) == len(_USUAL_DELIMITERS)
    return declared if usable and CR not in declared else _USUAL_DELIMITERS


def record_of(
    message: bytes, source: Source, received_at: datetime, topic: str, stored: StoredObject | None
) -> Record:
    """The Kafka record of a message.

    Its key is the source and the specimen's id (O-3.1 of the first order), else the source: it keeps what is said of
    a specimen in order, and nothing that the tables say depends on that.

    Args:
        message: records, each ended by CR.
        source: the instrument's line.
        received_at: when the whole message was there.
        topic: the raw topic.
        stored: where the bytes went if they were too large for a record; the value is then empty.
    """
    headers = [
        (SOURCE, source.name.encode()),
        (CONTENT_TYPE, ASTM.encode()),
        (RECEIVED_AT, timestamp(received_at)),
    ]
    if stored is not None:
        headers += [
            (OBJECT_PATH, stored.path.encode()),
            (OBJECT_SIZE, str(stored.size).encode()),
            (OBJECT_SHA256, stored.sha256.encode()),
        ]
    return Record(topic, _key(message, source), b"" if stored else message, tuple(headers))


def _key(message: bytes, source: Source) -> bytes:
    field, _, component, _ = (bytes((one,)) for one in delimiters(message))
    order = next((record for record in records_of(message) if record[:1] == b"O"), b"")
    fields = order.split(field, 3)
    specimen = fields[2].split(component, 1)[0] if len(fields) > 2 else b""
    return b"%b|%b" % (source.name.encode(), specimen[:_KEY_BYTES]) if specimen else source.name.encode()


def asks(message: bytes) -> bool:
    """Whether a message has a query that is not called off (Q-13, LIS2-A2 §11)."""
    field = delimiters(message)[:1]
    for record in records_of(message):
        if record[:1] in b"Qq":
            fields = record.split(field, 13)
            if len(fields) < 13 or fields[12].strip().upper() != _CANCELS:
                return True
    return False


def no_information(query: bytes, now: datetime) -> bytes:
    """The answer to a query where there is nothing to offer: H and L with the code I (LIS2-A2 §6, §12).

    Args:
        query: the message that asked; its delimiters and version are used, its sender (H-5) is the receiver (H-10).
        now: for H-14, in the instrument's time zone.
    """
    signs = delimiters(query)
    field = signs[:1]
    asked = next(records_of(query), b"").split(field)
    sender, version = (
        asked[place][:_MOST_ECHOED].translate(None, _CONTROLS) if len(asked) > place else b""
        for place in (4, 12)
    )
    header = [b"H", signs[1:], b"", b"", b"PHL", b"", b"", b"", b"", sender, b"", b"P", version or b"LIS2-A2"]
    header.append(now.strftime("%Y%m%d%H%M%S").encode("ascii"))
    return field.join(header) + CR + field.join((b"L", b"1", b"I")) + CR
