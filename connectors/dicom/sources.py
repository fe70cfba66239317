"""Which sender an association belongs to, and whether it may open one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.listening.sources import Match
from schemas.source import Source


@dataclass(frozen=True, slots=True)
class DicomSource:
    """A source whose objects come by C-STORE.

    Attributes:
        source: its settings; ``size_limit`` bounds an object, ``idle_timeout`` the silence on an association.
        port: where it reaches us.
        ae_title: the title that it must call us by; empty: any.
        calling_ae_titles: the titles that it may call itself; empty: any.
        peer: address or network that it connects from; None: any.
        max_associations: open at a time.
    """

    source: Source
    port: int
    ae_title: str = ""
    calling_ae_titles: tuple[str, ...] = ()
    peer: str | None = None
    max_associations: int = 16


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why there is no association (PS3.8 §9.3.4).

    Attributes:
        reason: label of the metric.
        result: 1 for good, 2 for now.
        source: 1 service user, 2 provider (ACSE), 3 provider (presentation).
        diagnostic: the code of the reason.
    """

    reason: str
    result: int
    source: int
    diagnostic: int


UNKNOWN_PEER: Final = Rejection("peer", 1, 1, 1)
UNKNOWN_CALLED: Final = Rejection("called-ae-title", 1, 1, 7)
UNKNOWN_CALLING: Final = Rejection("calling-ae-title", 1, 1, 3)
TOO_MANY: Final = Rejection("too-many", 2, 3, 2)


def find_source(
    candidates: Sequence[DicomSource], peer: str, called: str, calling: str
) -> DicomSource | Rejection:
    """The source of an association, the most particular first; else why none of them may open it.

    Args:
        candidates: the sources of the port that it came by.
        peer: address that it comes from.
        called: the AE title that it calls us by, without the blanks around it.
        calling: what it calls itself.
    """
    near = [one for one in candidates if Match(one.source, peer=one.peer).fits_connection(one.port, peer)]
    if not near:
        return UNKNOWN_PEER
    called_so = [one for one in near if one.ae_title in ("", called)]
    if not called_so:
        return UNKNOWN_CALLED
    allowed = [one for one in called_so if not one.calling_ae_titles or calling in one.calling_ae_titles]
    if not allowed:
        return UNKNOWN_CALLING
    return min(allowed, key=lambda one: (not one.calling_ae_titles, not one.ae_title, one.peer is None))
