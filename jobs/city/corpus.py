"""A mixed corpus for benchmarks: about 1 KB a message, made fast, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

from jobs.city.traffic import City, Transport

_SAMPLES = 2_000
_PERIOD = 33
"""Every 33rd message is sent twice."""


def corpus(seed: int, count: int) -> Iterator[bytes]:
    """``count`` messages: samples of the city's traffic, each time under a control id of its own.

    Args:
        seed: of the traffic.
        count: how many.
    """
    city = City(seed, Transport.FILES)
    samples: list[tuple[bytes, bytes]] = []
    for planned in city.messages(_SAMPLES):
        control_id = planned.expected.control_id.encode("ascii")
        if planned.expected.disposition == "accepted":
            before, _, after = planned.payload.partition(b"|" + control_id + b"|")
            samples.append((before + b"|", b"|" + after))
    last = b""
    for number, (before, after) in enumerate(islice(cycle(samples), count)):
        if number % _PERIOD == _PERIOD - 1:
            yield last
            continue
        last = b"%bB%09d%b" % (before, number, after)
        yield last
