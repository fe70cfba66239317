"""Times of receipt: what is read together is what Python reads, and anything else is left to Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.records import timestamp
from pipelines.rfc3339 import read_instants

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
moments = st.timedeltas(timedelta(), LAST - EPOCH).map(lambda since: EPOCH + since)


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A time stamp with some characters changed, put in or cut out."""
    text = bytearray(timestamp(draw(moments)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 1))] = draw(
            st.sampled_from([b"", b"9", b"3", b"0", b"/", b"\xff", b"z"])
        )
    return bytes(text)


def read(texts: list[bytes]) -> list[int | None]:
    offsets = np.cumsum([0, *map(len, texts)])
    instants, fit = read_instants(np.frombuffer(b"".join(texts), np.uint8), offsets)
    return [int(instant) if fits else None for instant, fits in zip(instants, fit, strict=True)]


def microseconds(text: bytes) -> int | None:
    try:
        moment = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        return None
    return (moment - EPOCH) // timedelta(microseconds=1) if moment.tzinfo else None


@settings(deadline=None)  # compiled at the first call
@given(st.lists(moments))
@example(
    [datetime(2000, 2, 29, tzinfo=UTC), datetime(2100, 3, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
)
def test_what_connectors_write_is_read(times: list[datetime]) -> None:
    texts = [timestamp(moment) for moment in times]
    assert read(texts) == [microseconds(text) for text in texts]


@settings(deadline=None)
@given(st.lists(nearly() | st.binary(max_size=40)))
@example(
    [b"2100-02-29T00:00:00.000000Z", b"2026-02-28T23:59:60.000000Z", b"1969-12-31T00:00:00.000000Z", b""]
)
def test_anything_else_is_read_as_python_does_or_not_at_all(texts: list[bytes]) -> None:
    for text, found in zip(texts, read(texts), strict=True):
        assert found in (None, microseconds(text))
