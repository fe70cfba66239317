"""Instants as connectors write them into headers (RFC 3339, UTC, microseconds), for a whole batch."""

from __future__ import annotations

import numpy as np

from pipelines.kernel import kernel

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]

_SHAPE = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_DIGIT, _NINE = 0x30, 0x39


@kernel
def read_instants(data: U8, offsets: I64) -> tuple[I64, Bools]:
    """Read texts of the form ``2026-03-01T08:15:00.000123Z``.

    Args:
        data: texts one after the other; any bytes.
        offsets: where each begins and the last ends; ascending, within ``data``.

    Returns:
        microseconds since 1970, and which texts have this form and name an instant of the years 1970 to 2199.
    """
    count = len(offsets) - 1
    instants, read = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    for row in range(count):
        low = offsets[row]
        if offsets[row + 1] - low != len(_SHAPE):
            continue
        fits = True
        for place in range(len(_SHAPE)):
            byte = data[low + place]
            fits &= (_DIGIT <= byte <= _NINE) if _SHAPE[place] == _DIGIT else byte == _SHAPE[place]
        if not fits:
            continue
        year, month, day = _number(data, low, 4), _number(data, low + 5, 2), _number(data, low + 8, 2)
        hour, minute, second = (
            _number(data, low + 11, 2),
            _number(data, low + 14, 2),
            _number(data, low + 17, 2),
        )
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if not (
            _FIRST_YEAR <= year <= _LAST_YEAR
            and 1 <= month <= 12
            and hour < 24
            and minute < 60
            and second < 60
        ):
            continue
        if not 1 <= day <= _DAYS[month] + (1 if leap and month == 2 else 0):
            continue
        before = year - 1
        days = 365 * (year - 1970) + (before // 4 - before // 100 + before // 400) - 477
        for earlier in range(1, month):
            days += _DAYS[earlier] + (1 if leap and earlier == 2 else 0)
        seconds = ((days + day - 1) * 24 + hour) * 3600 + minute * 60 + second
        instants[row] = 1_000_000 * seconds + _number(data, low + 20, 6)
        read[row] = True
    return instants, read


@kernel
def _number(data: U8, low: int, digits: int) -> int:
    number = 0
    for place in range(low, low + digits):
        number = 10 * number + (data[place] - _DIGIT)
    return number
