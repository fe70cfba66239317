"""Whose message it is: by port, by address, by MSH-4."""

from __future__ import annotations

import pytest

from connectors.listening.sources import Candidates, Match, ports_of
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source

DEFAULT = Source("rest", size_limit=100, idle_timeout=10)
PORT = Match(Source("by-port", size_limit=200), port=2576)
PEER = Match(Source("by-peer", charset="gb18030"), peer="10.1.0.0/16")
FACILITY = Match(Source("by-facility", size_limit=300, idle_timeout=99), facility="COUNTY")
BOTH = Match(Source("by-both"), port=2576, facility="COUNTY")
NOTHING = Match(Source("files-only", size_limit=10**9))
ALL = (PORT, PEER, FACILITY, BOTH, NOTHING)


def header(facility: bytes, charset: bytes = b"") -> Header:
    return read_header(b"MSH|^~\\&|HIS|" + facility + b"|||20260301||ADT|1|P|2.5||||||" + charset)


@pytest.mark.parametrize(
    ("port", "peer", "facility", "name"),
    [
        (2575, "127.0.0.1", b"", "rest"),
        (2575, "127.0.0.1", b"OTHER", "rest"),
        (2575, "127.0.0.1", b"COUNTY^1.2.3^ISO", "by-facility"),
        (2576, "127.0.0.1", b"OTHER", "by-port"),
        (2576, "127.0.0.1", b"COUNTY", "by-both"),
        (2575, "10.1.200.3", b"OTHER", "by-peer"),
        (2575, "10.2.0.1", b"OTHER", "rest"),
        (2576, "10.1.0.1", b"OTHER", "by-peer"),
        (2575, "not an address", b"OTHER", "rest"),
        (2575, "fe80::1%eth0", b"OTHER", "rest"),
    ],
)
def test_the_most_particular_match_is_taken(port: int, peer: str, facility: bytes, name: str) -> None:
    assert Candidates.of(ALL, DEFAULT, port, peer).source_of(header(facility)).name == name


def test_a_facility_is_compared_in_the_senders_charset() -> None:
    match = Match(Source("ward", charset="gb18030"), facility="质观医院")
    candidates = Candidates.of((match,), DEFAULT, 2575, "127.0.0.1")
    assert candidates.source_of(header("质观医院".encode("gb18030"), b"GB 18030-2000")).name == "ward"
    assert candidates.source_of(header("质观医院".encode(), b"UNICODE UTF-8")).name == "ward"


def test_limits_are_those_of_the_sources_that_a_connection_can_be() -> None:
    plain = Candidates.of(ALL, DEFAULT, 2575, "127.0.0.1")
    assert (plain.size_limit, plain.idle_timeout) == (300, 99)
    assert plain.without_header.name == "rest"
    own_port = Candidates.of((PORT,), DEFAULT, 2576, "127.0.0.1")
    assert own_port.size_limit == 200
    assert own_port.without_header.name == "by-port"
    assert Candidates.of((PEER,), DEFAULT, 1, "10.1.0.1").charset == "gb18030"


def test_each_port_that_a_source_has_is_opened() -> None:
    assert ports_of(ALL, 2575) == [2575, 2576]
