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
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from schemas.hl7v2.header import Header

_APPLICATION = b"PHL"
_FALLBACK = Header(b"|", b"^~\\&", (b"MSH", b"|", b"^~\\&"), 0, None)
_LONGEST_VERSION = 16
_BREAKERS = bytes(range(0x20))
_ERROR_CODES: Mapping[str, bytes] = MappingProxyType(
    {
        "HL7-NO-MSH": b"100",  # segment sequence error
        "HL7-DELIMITERS": b"102",  # data type error
        "HL7-CONTROL-ID-MISSING": b"101",  # required field missing
    }
)
"""HL7 table 0357 by our codes, for ERR-3; all others are 207, application internal error."""


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
    accept_wanted, application_wanted = conditions(header)
    if not accept_wanted and not application_wanted:
        return (application,)
    codes = []
    if is_wanted(accept_wanted, outcome):
        codes.append(commit)
    # after CE or CR there is no message of which an application could speak (HL7 v2.5.1 §2.9.3)
    if is_wanted(application_wanted, outcome) and (outcome is Outcome.STORED or not codes):
        codes.append(application)
    return tuple(codes)


def conditions(header: Header) -> tuple[bytes, bytes]:
    """MSH-15 and MSH-16: when commit and application acknowledgements are wanted; both empty in original mode."""
    return header.component(15).strip().upper(), header.component(16).strip().upper()


def is_wanted(condition: bytes, outcome: Outcome) -> bool:
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
    kind = [b"ACK", header.component(9, 2), b"ACK" if header.component(9, 3) else b""]
    while not kind[-1]:
        kind.pop()
    msh = [
        b"MSH",
        header.encoding,
        header.field(5) or _APPLICATION,
        header.field(6),
        header.field(3),
        header.field(4),
        now.strftime("%Y%m%d%H%M%S%z").encode("ascii"),
        b"",
        component.join(kind),
        control_id,
        header.field(11) or b"P",
        header.field(12)[:_LONGEST_VERSION] or b"2.5.1",
    ]
    if header.field(18):
        msh += [b"", b"", b"", b"", header.field(17), header.field(18)]
    msa = [b"MSA", code.encode("ascii"), header.control_id]
    if reason:
        msa.append(_plain(f"{reason}: {sentence}", header))
    lines = [field.join(_safe(part) for part in msh), field.join(msa)]
    if reason and _knows_error_fields(header):
        error = (b"ERR", b"", b"", _ERROR_CODES.get(reason, b"207"), b"E", b"", b"")
        lines.append(field.join((*error, _plain(sentence, header), _plain(reason, header))))
    return b"\r".join(lines) + b"\r"


def _knows_error_fields(header: Header) -> bool:
    """Before v2.5 the fields of ERR meant something else; MSA-3 says it to everyone."""
    version = header.component(12)
    return not version or version >= b"2.5"


def _safe(part: bytes) -> bytes:
    """A part of our own MSH, which must not hold what would break the frame or the segment."""
    return part.translate(None, _BREAKERS) if any(byte < 0x20 for byte in part) else part


def _plain(sentence: str, header: Header) -> bytes:
    """A fixed sentence without the sender's delimiters."""
    text = sentence.encode("ascii", "replace")
    return text.translate(None, header.separator + header.encoding)
