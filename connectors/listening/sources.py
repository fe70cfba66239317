"""Which configured source a connection or a message belongs to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.hl7v2.header import Header
from schemas.source import Source


@dataclass(frozen=True)
class Match:
    """A source and how it is told from others; what is None does not matter.

    Attributes:
        source: its settings.
        port: the listener's port that its messages come in by.
        peer: address or network that they come from.
        facility: MSH-4.1.
    """

    source: Source
    port: int | None = None
    peer: str | None = None
    facility: str | None = None

    def fits_connection(self, port: int, peer: str) -> bool:
        """Whether messages of a connection can be this source's."""
        if self.port is not None and self.port != port:
            return False
        return self.peer is None or _inside(peer, self.peer)

    def fits_message(self, header: Header) -> bool:
        if self.facility is None:
            return True
        sent = header.component(4).decode(header.codec or self.source.charset, "replace")
        return sent.strip() == self.facility


def _inside(peer: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(peer.partition("%")[0]) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


@dataclass(frozen=True)
class Candidates:
    """The sources that a connection's messages can belong to.

    Attributes:
        matches: in the order in which they are tried, the most particular first.
        default: for what none of them fits.
    """

    matches: tuple[Match, ...]
    default: Source

    @classmethod
    def of(cls, matches: Sequence[Match], default: Source, port: int, peer: str) -> Candidates:
        """Those of a connection."""
        fitting = [match for match in matches if match.fits_connection(port, peer)]
        named = [m for m in fitting if m.port is not None or m.peer is not None or m.facility is not None]
        named.sort(key=lambda m: (m.facility is None, m.peer is None, m.port is None))
        return cls(tuple(named), default)

    @property
    def size_limit(self) -> int:
        """The greatest size limit of any."""
        return max(source.size_limit for source in self._all())

    @property
    def idle_timeout(self) -> float:
        """The longest idle time-out of any, in seconds."""
        return max(source.idle_timeout for source in self._all())

    @property
    def without_header(self) -> Source:
        """The source of what has no MSH-4 that can be read."""
        return next((match.source for match in self.matches if match.facility is None), self.default)

    @property
    def charset(self) -> str:
        """Default charset before it is clear whose message it is."""
        return self.without_header.charset

    def _all(self) -> list[Source]:
        """The default counts unless one takes every message."""
        sources = [match.source for match in self.matches]
        return sources if any(match.facility is None for match in self.matches) else [*sources, self.default]

    def source_of(self, header: Header) -> Source:
        """The source of a message."""
        for match in self.matches:
            if match.fits_message(header):
                return match.source
        return self.default


def ports_of(matches: Sequence[Match], default: int) -> list[int]:
    """All ports that MLLP listens on: the common one, and those of sources that have their own."""
    return sorted({default, *(match.port for match in matches if match.port is not None)})
