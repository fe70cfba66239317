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
I8 = np.ndarray[tuple[int], np.dtype[np.int8]]
NO_OFFSET = -(10**9)
"""Stands for "no zone of its own" among offsets in seconds."""

_WIDTH = 26
_SECOND = 1_000_000
_DAY = 86_400
_BEGIN = datetime(1970, 1, 1)  # noqa: DTZ001 - local times, whatever the zone
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date(1000, 1, 1).toordinal() - _EPOCH_DAY
_LAST_DAY = date(9998, 12, 31).toordinal() - _EPOCH_DAY
_MANY_DAYS = 40_000
_PRECISION_NAMES = pa.array(PRECISIONS)
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
        refused: whether the row has something there that is not a time.
    """

    instant: I64
    valid: Bools
    precision: I8
    refused: Bools

    def instants(self) -> pa.Array:
        return pa.array(self.instant, mask=~self.valid).cast(INSTANT)

    def precisions(self) -> pa.Array:
        return _PRECISION_NAMES.take(pa.array(self.precision, mask=~self.valid))

    def take(self, index: I64, there: Bools | None = None) -> Times:
        """The times of some rows.

        Args:
            index: which.
            there: False where there is none after all.
        """
        valid, refused = self.valid[index], self.refused[index]
        if there is not None:
            valid &= there
            refused &= there
        return Times(self.instant[index], valid, self.precision[index], refused)

    def otherwise(self, more: Times) -> Times:
        """These, and where there is none the others."""
        return Times(
            np.where(self.valid, self.instant, more.instant),
            self.valid | more.valid,
            np.where(self.valid, self.precision, more.precision),
            self.refused | (~self.valid & more.refused),
        )

    @classmethod
    def never(cls, length: int) -> Times:
        """No time in any row."""
        none = np.zeros(length, bool)
        return cls(np.zeros(length, np.int64), none, np.zeros(length, np.int8), none)


@dataclass(frozen=True)
class LocalTimes(Times):
    """Times with what their texts say of the place they were told at.

    Attributes:
        day: local date as days since 1970.
        offset: seconds east of UTC as the value itself says; ``NO_OFFSET`` where it does not.
    """

    day: I64
    offset: I64

    def dates(self) -> pa.Array:
        """Local dates, where the value says the day."""
        known = self.valid & (self.precision >= PRECISIONS.index("day"))
        return pa.array(self.day.astype(np.int32), mask=~known).cast(pa.date32())


def read_times(data: U8, ranges: Ranges, message: I64, clock: Clock | None) -> LocalTimes:
    """Read the times of many rows.

    Args:
        data: text of the batch.
        ranges: where they stand.
        message: message of each row of the row set.
        clock: None to leave a missing zone UTC (for MSH-7 itself before its zone is known, and for dates).
    """
    low, size = _trimmed(data, ranges)
    present = (size > 0) & ~_is_null(data, low, size)
    parsed = _parse(data, low, size)
    seconds = parsed.day * _DAY + parsed.second
    offset = parsed.offset
    if clock is not None:
        sender = message[ranges.rows]
        offset = np.where(offset != NO_OFFSET, offset, clock.offset[sender])
        for index, zone in enumerate(clock.zones):
            wanted = (offset == NO_OFFSET) & parsed.valid
            if len(clock.zones) > 1:
                wanted &= clock.zone[sender] == index
            rows = np.flatnonzero(wanted)
            if rows.size:
                offset[rows] = zone_offsets(zone, seconds[rows])
    valid = parsed.valid & present
    instant = (seconds - np.where(offset == NO_OFFSET, 0, offset)) * _SECOND + parsed.micro
    instant[~valid] = 0
    refused = present & ~parsed.valid
    if ranges.complete:
        return LocalTimes(instant, valid, parsed.precision, refused, parsed.day, parsed.offset)
    found = LocalTimes(
        np.zeros(ranges.length, np.int64),
        np.zeros(ranges.length, bool),
        np.zeros(ranges.length, np.int8),
        np.zeros(ranges.length, bool),
        np.zeros(ranges.length, np.int64),
        np.full(ranges.length, NO_OFFSET, np.int64),
    )
    rows = ranges.rows
    found.instant[rows], found.valid[rows], found.precision[rows] = instant, valid, parsed.precision
    found.refused[rows], found.day[rows], found.offset[rows] = refused, parsed.day, parsed.offset
    return found


def zone_offsets(zone: str, local: I64) -> I64:
    """Seconds east of UTC of local times (seconds since 1970 as if they were UTC) in a zone.

    Asked once for each day; a day in which the clocks change is asked for each of its times.
    """
    info = ZoneInfo(zone)
    day = local // _DAY
    first = int(day.min())
    if int(day.max()) - first < _MANY_DAYS:
        place = day - first
        days = np.flatnonzero(np.bincount(place)) + first
        place = np.searchsorted(days, day)
    else:
        days, place = np.unique(day, return_inverse=True)
    begins = [_offset(info, one * _DAY) for one in days.tolist()]
    ends = [_offset(info, one * _DAY + _DAY - 1) for one in days.tolist()]
    result = np.array(begins, np.int64)[place]
    different = np.array([a != b for a, b in zip(begins, ends, strict=True)])
    if different.any():
        for row in np.flatnonzero(different[place]).tolist():
            result[row] = _offset(info, int(local[row]))
    return result


def _offset(zone: ZoneInfo, local: int) -> int:
    offset = (_BEGIN + timedelta(seconds=local)).replace(tzinfo=zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@dataclass(frozen=True)
class _Parsed:
    valid: Bools
    precision: I8
    day: I64
    second: I64
    micro: I64
    offset: I64


def _parse(data: U8, low: I64, size: I64) -> _Parsed:
    count = len(low)
    width = min(int(size.max()), _WIDTH) if count else 0
    # one array a character, its place in the value counted from 0; what lies beyond the value's end is no digit
    text = np.zeros((_WIDTH, count), np.uint8)
    for place in range(width):
        text[place] = data[np.minimum(low + place, len(data) - 1)]
        text[place][size <= place] = 0
    number = text - np.uint8(48)
    digit = number <= 9
    leading = _run(digit[:15])

    def two(place: int, absent: int) -> I64:
        pair = number[place].astype(np.int64) * 10 + number[place + 1]
        return np.where(leading >= place + 2, pair, absent)

    year = two(0, 0) * 100 + two(2, 0)
    month, day, hour, minute, second = two(4, 1), two(6, 1), two(8, 0), two(10, 0), two(12, 0)
    after = leading.astype(np.int64)
    precision = np.clip(leading // 2 - 2, 0, 5).astype(np.int8)
    micro = np.zeros(count, np.int64)
    rows = np.flatnonzero((leading == 14) & (text[14] == ord(".")) & digit[15])
    if rows.size:
        digits = _run(digit[15:21, rows])
        after[rows] = 15 + digits
        precision[rows] = PRECISIONS.index("fraction")
        for place in range(6):
            micro[rows] += np.where(digits > place, number[15 + place, rows].astype(np.int64), 0) * 10 ** (
                5 - place
            )
    complete = size == after
    offset = np.full(count, NO_OFFSET, np.int64)
    rows = np.flatnonzero((size == after + 5) & (size <= _WIDTH))
    if rows.size:
        at = after[rows]
        sign = text[at, rows]
        zone = [number[at + place, rows].astype(np.int64) for place in range(1, 5)]
        zoned = ((sign == ord("+")) | (sign == ord("-"))) & (np.max(zone, axis=0) <= 9)
        east = (zone[0] * 10 + zone[1]) * 3600 + (zone[2] * 10 + zone[3]) * 60
        zoned &= (east <= 14 * 3600) & (zone[2] < 6)
        rows, east, sign = rows[zoned], east[zoned], sign[zoned]
        offset[rows] = np.where(sign == ord("-"), -east, east)
        complete[rows] = True

    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    in_month = _DAYS_IN_MONTH[np.clip(month, 0, 12)] - ((month == 2) & ~leap)
    valid = (
        (leading >= 4) & (leading <= 14) & (leading % 2 == 0) & complete
        & (month >= 1) & (month <= 12) & (day >= 1) & (day <= in_month)
        & (hour < 24) & (minute < 60) & (second < 60)
    )  # fmt: skip
    days = _days(year, month, day)
    valid &= (days >= _FIRST_DAY) & (days <= _LAST_DAY)
    return _Parsed(valid, precision, days, hour * 3600 + minute * 60 + second, micro, offset)


def _run(digit: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> I8:
    """How many digits each value begins with."""
    run = np.zeros(digit.shape[1], np.int8)
    going = np.ones(digit.shape[1], np.bool_)
    for place in digit:
        going &= place
        if not going.any():
            break
        run += going
    return run


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
