"""The vocabulary that findings are written in: a stable code, how grave it is, and one fixed sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How grave a finding is: what becomes of the message."""

    QUARANTINED = "quarantined"  # the message cannot be read at all; its bytes stay in raw
    IGNORED = "ignored"  # the message is readable but not wanted; it can be taken in later
    WARNING = "warning"  # read, but a value or the whole text may not be what the sender meant
    NOTICE = "notice"  # read as meant; the sender deviates from the standard


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of deviation.

    Attributes:
        code: stable upper-case code.
        severity: what becomes of the message.
        sentence: one fixed sentence for a person.
        standard: the clause it is measured against.
    """

    code: str
    severity: Severity
    sentence: str
    standard: str = ""
