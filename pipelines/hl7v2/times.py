"""Dates and times of HL7 (DT, DTM, TS: HL7 v2.5.1 §2.A.21, §2.A.22, §2.A.77), many at once.

``YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]``. The zone of a value is its own, else that of MSH-7, else the
source's as a zone: Asia/Shanghai had summer time in 1986–1991. A coarse value stands for its start, and its
precision is kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.split import Ranges
from schemas.table import INSTANT

PRECISIONS = ("year", "month", "day", "hour", "minute", "second", "fraction")
NO_OFFSET = -(10**9)
"""Stands for "no zone of its own" among offsets in seconds."""

_WIDTH = 26
_SECOND = 1_000_000
_DAY = 86_400
_BEGIN = datetime(1970, 1, 1)  # noqa: DTZ001 - local times, whatever the zone
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date(1000, 1, 1).toordinal() - _EPOCH_DAY
_LAST_DAY = date(9998, 12, 31).toordinal() - _EPOCH_DAY
_DAYS_IN_MONTH = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class Clock:
    """What a time without a zone of its own is told by.

    Attributes:
        offset: of each message, seconds east of UTC as MSH-7 says; ``NO_OFFSET`` where it does not.
        zone: of each message, index into ``zones``.
        zones: IANA names.
    """

    offset: I64
    zone: I64
    zones: Sequence[str]


@dataclass(frozen=True)
class Times:
    """Times of the rows of a row set.

    Attributes:
        instant: microseconds since 1970 UTC; 0 where not valid.
        valid: whether the row has a time that can be read.
        precision: index into ``PRECISIONS``.
        day: local date as days since 1970.
        offset: seconds east of UTC as the value itself says; ``NO_OFFSET`` where it does not.
        refused: whether the row has something there that is not a time.
    """

    instant: I64
    valid: Bools
    precision: I64
    day: I64
    offset: I64
    refused: Bools

    def instants(self) -> pa.Array:
        return pa.array(self.instant, mask=~self.valid).cast(INSTANT)

    def precisions(self) -> pa.Array:
        return pa.array(PRECISIONS).take(pa.array(self.precision, mask=~self.valid))

    def dates(self, wanted: Bools | None = None) -> pa.Array:
        """Local dates, where the value says the day."""
        known = self.valid & (self.precision >= PRECISIONS.index("day"))
        if wanted is not None:
            known &= wanted
        return pa.array(self.day.astype(np.int32), mask=~known).cast(pa.date32())


def read_times(data: U8, ranges: Ranges, message: I64, clock: Clock | None) -> Times:
    """Read the times of many rows.

    Args:
        data: text of the batch.
        ranges: where they stand.
        message: message of each row of the row set.
        clock: None to leave a missing zone UTC (for MSH-7 itself before its zone is known, and for dates).
    """
    length = ranges.length
    low, size = _trimmed(data, ranges)
    present = (size > 0) & ~_is_null(data, low, size)
    parsed = _parse(data, low, size)
    seconds = parsed.day * _DAY + parsed.second
    offset = parsed.offset.copy()
    if clock is not None:
        sender = message[ranges.rows]
        own = offset != NO_OFFSET
        offset = np.where(own, offset, clock.offset[sender])
        for index, zone in enumerate(clock.zones):
            rows = np.flatnonzero((offset == NO_OFFSET) & (clock.zone[sender] == index) & parsed.valid)
            if rows.size:
                offset[rows] = zone_offsets(zone, seconds[rows])
    offset = np.where(offset == NO_OFFSET, 0, offset)
    instant = (seconds - offset) * _SECOND + parsed.micro
    valid = parsed.valid & present

    def spread(values: I64, fill: int = 0) -> I64:
        whole = np.full(length, fill, np.int64)
        whole[ranges.rows] = values
        return whole

    flags = np.zeros(length, bool)
    flags[ranges.rows] = valid
    refused = np.zeros(length, bool)
    refused[ranges.rows] = present & ~parsed.valid
    return Times(
        np.where(flags, spread(instant), 0),
        flags,
        spread(parsed.precision),
        spread(parsed.day),
        spread(parsed.offset, NO_OFFSET),
        refused,
    )


def zone_offsets(zone: str, local: I64) -> I64:
    """Seconds east of UTC of local times (seconds since 1970 as if they were UTC) in a zone.

    Asked once for each day; a day in which the clocks change is asked for each of its times.
    """
    info = ZoneInfo(zone)
    days, place = np.unique(local // _DAY, return_inverse=True)
    begins = [_offset(info, day * _DAY) for day in days.tolist()]
    ends = [_offset(info, day * _DAY + _DAY - 1) for day in days.tolist()]
    result = np.array(begins, np.int64)[place]
    changing = np.flatnonzero(np.array([a != b for a, b in zip(begins, ends, strict=True)])[place])
    for row in changing.tolist():
        result[row] = _offset(info, int(local[row]))
    return result


def _offset(zone: ZoneInfo, local: int) -> int:
    offset = (_BEGIN + timedelta(seconds=local)).replace(tzinfo=zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@dataclass(frozen=True)
class _Parsed:
    valid: Bools
    precision: I64
    day: I64
    second: I64
    micro: I64
    offset: I64


def _parse(data: U8, low: I64, size: I64) -> _Parsed:
    count = len(low)
    if not count:
        empty = np.zeros(0, np.int64)
        return _Parsed(np.zeros(0, bool), empty, empty, empty, empty, empty)
    columns = np.arange(_WIDTH)
    text = data[np.minimum(low[:, None] + columns, len(data) - 1)].astype(np.int64)
    text[columns >= size[:, None]] = 0
    digit = (text >= 48) & (text <= 57)
    number = text - 48
    leading = np.cumprod(digit[:, :15], axis=1).sum(axis=1)
    rows = np.arange(count)

    def two(place: int, absent: int) -> I64:
        there = leading >= place + 2
        return np.where(there, number[:, place] * 10 + number[:, place + 1], absent)

    year = number[:, 0] * 1000 + number[:, 1] * 100 + number[:, 2] * 10 + number[:, 3]
    month, day, hour, minute, second = two(4, 1), two(6, 1), two(8, 0), two(10, 0), two(12, 0)
    fraction_digits = np.cumprod(digit[:, 15:21], axis=1).sum(axis=1)
    fraction = (leading == 14) & (text[:, 14] == ord(".")) & (fraction_digits > 0)
    micro = np.zeros(count, np.int64)
    for place in range(6):
        micro += np.where(fraction & (fraction_digits > place), number[:, 15 + place] * 10 ** (5 - place), 0)
    after = np.where(fraction, 15 + fraction_digits, leading)
    bare = size == after
    sign = text[rows, np.minimum(after, _WIDTH - 1)]
    zoned = ((sign == ord("+")) | (sign == ord("-"))) & (size == after + 5) & (after + 5 <= _WIDTH)
    zone = np.zeros((count, 4), np.int64)
    for place in range(4):
        at = np.minimum(after + 1 + place, _WIDTH - 1)
        zoned &= digit[rows, at]
        zone[:, place] = number[rows, at]
    east = (zone[:, 0] * 10 + zone[:, 1]) * 3600 + (zone[:, 2] * 10 + zone[:, 3]) * 60
    zoned &= (east <= 14 * 3600) & (zone[:, 2] < 6)
    offset = np.where(zoned, np.where(sign == ord("-"), -east, east), NO_OFFSET)

    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    in_month = _DAYS_IN_MONTH[np.clip(month, 0, 12)] - ((month == 2) & ~leap)
    valid = (
        (leading >= 4) & (leading <= 14) & (leading % 2 == 0) & (bare | zoned)
        & (month >= 1) & (month <= 12) & (day >= 1) & (day <= in_month)
        & (hour < 24) & (minute < 60) & (second < 60)
    )  # fmt: skip
    days = _days(year, month, day)
    valid &= (days >= _FIRST_DAY) & (days <= _LAST_DAY)
    precision = np.where(fraction, 6, np.clip(leading // 2 - 2, 0, 5))
    return _Parsed(valid, precision, days, hour * 3600 + minute * 60 + second, micro, offset)


def _days(year: I64, month: I64, day: I64) -> I64:
    """Days since 1970 in the Gregorian calendar."""
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    days: I64 = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return days


def _trimmed(data: U8, ranges: Ranges) -> tuple[I64, I64]:
    low, high = ranges.low, ranges.high
    while True:
        blank = (high > low) & (data[np.maximum(high - 1, 0)] == 0x20) if len(high) else np.zeros(0, bool)
        if not blank.any():
            return low, high - low
        high = high - blank


def _is_null(data: U8, low: I64, size: I64) -> Bools:
    """Whether the value is ``""``: the sender deletes what was there (HL7 v2.5.1 §2.5.3)."""
    result: Bools = size == 2
    rows = np.flatnonzero(result)
    if rows.size:
        result[rows] = (data[low[rows]] == 0x22) & (data[low[rows] + 1] == 0x22)
    return result
