"""Acknowledgements (HL7 v2.5.1 §2.9): original mode, and enhanced mode by MSH-15 and MSH-16.

==========  ====================================================  ===============
mode        when                                                  codes
==========  ====================================================  ===============
original    MSH-15 and MSH-16 are both empty                      AA, AE, AR
enhanced    MSH-15 says when a commit acknowledgement is wanted   CA, CE, CR
            (HL7 table 0155: AL always, NE never, ER on error,
            SU on success; empty in enhanced mode is NE)
enhanced    MSH-16 says when an application acknowledgement is    AA, AE, AR
            wanted; the lake's whole task is to store the
            message, so it follows at once
==========  ====================================================  ===============

The answer is written in the sender's delimiters and charset, and repeats MSH-10 byte for byte in MSA-2.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from schemas.hl7v2.header import Header

_APPLICATION = b"PHL"
_FALLBACK = Header(b"|", b"^~\\&", (b"MSH", b"|", b"^~\\&"), 0, None)
_LONGEST_VERSION = 16
_BREAKERS = bytes(range(0x20))


class Outcome(Enum):
    """What became of a message: HL7 table 0008, the codes of original and of enhanced mode."""

    STORED = ("AA", "CA")
    NOT_STORED = ("AE", "CE")
    REFUSED = ("AR", "CR")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back: the acknowledgement messages, and the codes they bear (for counting)."""

    messages: tuple[bytes, ...]
    codes: tuple[str, ...]


class ControlIds:
    """Control ids of our own acknowledgements: unique for this process and across restarts."""

    def __init__(self) -> None:
        self._prefix = os.urandom(5).hex()
        self._numbers = itertools.count(1)

    def next(self) -> bytes:
        return f"{self._prefix}{next(self._numbers):08X}".encode("ascii")


def answer(
    header: Header | None,
    outcome: Outcome,
    now: datetime,
    ids: ControlIds,
    *,
    code: str = "",
    sentence: str = "",
) -> Answer:
    """The acknowledgements of a message.

    Args:
        header: its MSH; None where it has none that can be read, which is answered with the usual delimiters and
            an empty MSA-2.
        outcome: what became of it.
        now: for MSH-7.
        ids: gives MSH-10.
        code: code of the reason, for ERR; empty where all is well.
        sentence: fixed sentence of the reason; never text from the message.
    """
    codes = _codes(header, outcome)
    messages = tuple(
        _acknowledgement(header or _FALLBACK, ack, now, ids.next(), code, sentence) for ack in codes
    )
    return Answer(messages, codes)


def _codes(header: Header | None, outcome: Outcome) -> tuple[str, ...]:
    application, commit = outcome.value
    if header is None:
        return (application,)
    accept_wanted = header.component(15).strip().upper()
    application_wanted = header.component(16).strip().upper()
    if not accept_wanted and not application_wanted:
        return (application,)
    codes = []
    if _wanted(accept_wanted, outcome):
        codes.append(commit)
    if _wanted(application_wanted, outcome):
        codes.append(application)
    return tuple(codes)


def _wanted(condition: bytes, outcome: Outcome) -> bool:
    """HL7 table 0155; what is no value of it counts as AL, since silence could be taken for loss."""
    match condition:
        case b"" | b"NE":
            return False
        case b"ER":
            return outcome is not Outcome.STORED
        case b"SU":
            return outcome is Outcome.STORED
        case _:
            return True


def _acknowledgement(
    header: Header, code: str, now: datetime, control_id: bytes, reason: str, sentence: str
) -> bytes:
    field, component = header.separator, header.component_separator
    trigger = header.component(9, 2)
    kind = component.join((b"ACK", trigger)) if trigger else b"ACK"
    msh = [
        b"MSH",
        header.encoding,
        header.field(5) or _APPLICATION,
        header.field(6),
        header.field(3),
        header.field(4),
        now.strftime("%Y%m%d%H%M%S%z").encode("ascii"),
        b"",
        kind,
        control_id,
        header.field(11) or b"P",
        header.field(12)[:_LONGEST_VERSION] or b"2.5.1",
    ]
    if header.field(18):
        msh += [b"", b"", b"", b"", header.field(17), header.field(18)]
    msa = [b"MSA", code.encode("ascii"), header.control_id]
    lines = [field.join(_safe(part) for part in msh), field.join(msa)]
    if reason:
        lines.append(
            field.join(
                (b"ERR", b"", b"", b"207", b"E", b"", b"", _plain(sentence, header), reason.encode("ascii"))
            )
        )
    return b"\r".join(lines) + b"\r"


def _safe(part: bytes) -> bytes:
    """A part of our own MSH, which must not hold what would break the frame or the segment."""
    return part.translate(None, _BREAKERS) if any(byte < 0x20 for byte in part) else part


def _plain(sentence: str, header: Header) -> bytes:
    """A fixed sentence without the sender's delimiters."""
    text = sentence.encode("ascii", "replace")
    return text.translate(None, header.separator + header.encoding)
