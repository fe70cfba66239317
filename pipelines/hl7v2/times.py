"""Dates and times of HL7 (DT, DTM, TS: HL7 v2.5.1 §2.A.21, §2.A.22, §2.A.77), many at once.

``YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]``. The zone of a value is its own, else that of MSH-7, else the
source's as a zone: Asia/Shanghai had summer time in 1986–1991. A coarse value stands for its start, and its
precision is kept beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.split import Positions
from pipelines.kernel import kernel
from schemas.table import INSTANT
from schemas.tables.columns import DELETED

PRECISIONS = ("year", "month", "day", "hour", "minute", "second", "fraction")
I8 = np.ndarray[tuple[int], np.dtype[np.int8]]
NO_OFFSET = -(10**9)
"""Stands for "no zone of its own" among offsets in seconds."""

_SECOND = 1_000_000
_DAY = 86_400
_BEGIN = datetime(1970, 1, 1)  # noqa: DTZ001 - local times, whatever the zone
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date(1000, 1, 1).toordinal() - _EPOCH_DAY
_LAST_DAY = date(9998, 12, 31).toordinal() - _EPOCH_DAY
_TABLE_FROM = date(1900, 1, 1).toordinal() - _EPOCH_DAY
_TABLE_DAYS = date(2100, 1, 1).toordinal() - _EPOCH_DAY - _TABLE_FROM
_CHANGES = 10**8
"""Stands for "the clocks change on this day" in a table of offsets."""

_PRECISION_NAMES = pa.array((*PRECISIONS, DELETED))
_DELETED = len(PRECISIONS)
_DAY_PRECISION = PRECISIONS.index("day")
_ABSENT, _VALID, _REFUSED = 0, 1, 2


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

    @functools.cached_property
    def tables(self) -> I64:
        """For each zone its offsets by day."""
        return np.stack([_zone_table(zone) for zone in self.zones])


@dataclass(frozen=True)
class Times:
    """Times of some rows.

    Attributes:
        instant: microseconds since 1970 UTC; 0 where not valid.
        valid: whether the row has a time that can be read.
        precision: index into ``PRECISIONS``; one beyond them where the sender deletes the value.
        refused: whether the row has something there that is not a time.
        day: local date as days since 1970.
        sent: seconds east of UTC as the value itself says; ``NO_OFFSET`` where it does not.
        offset: seconds east of UTC that it was read with.
    """

    instant: I64
    valid: Bools
    precision: I8
    refused: Bools
    day: I64
    sent: I64
    offset: I64

    def __len__(self) -> int:
        return len(self.instant)

    def instants(self) -> pa.Array:
        """Instants in UTC."""
        return pa.array(self.instant, mask=~self.valid).cast(INSTANT)

    def precisions(self) -> pa.Array:
        """Precisions as sent, as a dictionary array."""
        said = self.valid | (self.precision == _DELETED)
        return pa.DictionaryArray.from_arrays(pa.array(self.precision, mask=~said), _PRECISION_NAMES)

    def offsets(self) -> pa.Array:
        """Minutes east of UTC that each was read with."""
        return pa.array((self.offset // 60).astype(np.int16), mask=~self.valid)

    def dates(self) -> pa.Array:
        """Local dates, where the value says the day."""
        known = self.valid & (self.precision >= _DAY_PRECISION)
        return pa.array(self.day.astype(np.int32), mask=~known).cast(pa.date32())

    def take(self, index: I64) -> Times:
        """The times by index, none where it is negative."""
        if not len(self):
            return Times.never(len(index))
        there = index >= 0
        place = np.maximum(index, 0)
        return Times(
            self.instant[place], self.valid[place] & there, np.where(there, self.precision[place], np.int8(0)),
            self.refused[place] & there,
            self.day[place], self.sent[place], self.offset[place],
        )  # fmt: skip

    def otherwise(self, more: Times) -> Times:
        """These, and where there is none the others."""

        def choose(mine: I64, theirs: I64) -> I64:
            return np.where(self.valid, mine, theirs)

        return Times(
            choose(self.instant, more.instant),
            self.valid | more.valid,
            np.where(
                self.valid | (~more.valid & (self.precision == _DELETED)), self.precision, more.precision
            ),
            self.refused | (~self.valid & more.refused),
            choose(self.day, more.day),
            choose(self.sent, more.sent),
            choose(self.offset, more.offset),
        )

    @classmethod
    def never(cls, length: int) -> Times:
        """No time in any row."""
        none, zero = np.zeros(length, bool), np.zeros(length, np.int64)
        unsaid = np.full(length, NO_OFFSET, np.int64)
        return cls(zero, none, np.zeros(length, np.int8), none, zero, unsaid, zero)


def read_times(data: U8, spans: Spans, message: I64, clock: Clock | None) -> Times:
    """Read the times of many rows.

    Args:
        data: text of the batch.
        spans: where they stand.
        message: message of each row.
        clock: None to leave a missing zone UTC (for MSH-7 itself before its zone is known, and for dates).
    """
    count = len(spans)
    if spans.empty or not count:
        return Times.never(count)
    seconds, day, sent, offset = (np.empty(count, np.int64) for _ in range(4))
    micro = np.empty(count, np.int64)
    precision, status = np.empty(count, np.int8), np.empty(count, np.int8)
    _parse(data, spans.low, spans.high, seconds, micro, precision, day, sent, status)
    valid = status == _VALID
    if clock is None:
        offset = np.where(sent == NO_OFFSET, 0, sent)
    else:
        odd = _zones(valid, seconds, day, sent, message, clock.offset, clock.zone, clock.tables, offset)
        if odd:
            for row in np.flatnonzero(offset == _CHANGES).tolist():
                zone = ZoneInfo(clock.zones[int(clock.zone[message[row]])])
                offset[row] = _zone_offset(zone, int(seconds[row]))
    instant = np.where(valid, (seconds - offset) * _SECOND + micro, 0)
    return Times(instant, valid, precision, status == _REFUSED, day, sent, offset)


@functools.lru_cache(maxsize=64)
def _zone_table(name: str) -> I64:
    """Seconds east of UTC on each local day of two centuries in a zone; ``_CHANGES`` where it is not one number."""
    zone = ZoneInfo(name)
    begins = np.array(
        [_zone_offset(zone, (_TABLE_FROM + day) * _DAY) for day in range(_TABLE_DAYS + 1)], np.int64
    )
    return np.where(begins[1:] == begins[:-1], begins[:-1], _CHANGES)


def _zone_offset(zone: ZoneInfo, local: int) -> int:
    """Seconds east of UTC at a local time, seconds since 1970 as if it were UTC."""
    offset = (_BEGIN + timedelta(seconds=local)).replace(tzinfo=zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@kernel
def _zones(
    valid: Bools,
    seconds: I64,
    day: I64,
    sent: I64,
    message: I64,
    offsets: I64,
    zones: I64,
    tables: I64,
    out: I64,
) -> int:
    """Fill the offset each time is read with; how many must be looked up one by one."""
    odd = 0
    for row in range(len(seconds)):
        out[row] = 0
        if not valid[row]:
            continue
        if sent[row] != NO_OFFSET:
            out[row] = sent[row]
            continue
        sender = message[row]
        if offsets[sender] != NO_OFFSET:
            out[row] = offsets[sender]
            continue
        place = day[row] - _TABLE_FROM
        offset = tables[zones[sender], place] if 0 <= place < _TABLE_DAYS else np.int64(_CHANGES)
        out[row] = offset
        odd += offset == _CHANGES
    return odd


@kernel
def _parse(  # noqa: C901, PLR0912, PLR0915 - one walk over each value
    data: U8,
    low: Positions,
    high: Positions,
    seconds: I64,
    micro: I64,
    precision: I8,
    day: I64,
    sent: I64,
    status: I8,
) -> None:
    """Read each value: local seconds and microseconds, precision, local day, offset as sent, what it is."""
    parts = np.zeros(7, np.int64)
    for row in range(len(low)):
        start = low[row]
        end = high[row]
        seconds[row] = 0
        micro[row] = 0
        precision[row] = 0
        day[row] = 0
        sent[row] = NO_OFFSET
        status[row] = _ABSENT
        while end > start and data[end - 1] == 0x20:
            end -= 1
        size = end - start
        if size <= 0:
            continue
        if size == 2 and data[start] == 0x22 and data[start + 1] == 0x22:
            precision[row] = _DELETED
            continue
        status[row] = _REFUSED
        digits = 0
        while digits < 15 and start + digits < end and 0x30 <= data[start + digits] <= 0x39:
            digits += 1
        if digits < 4 or digits > 14 or digits % 2:
            continue
        year = np.int64(0)
        for place in range(4):
            year = year * 10 + (data[start + place] - 0x30)
        parts[1] = 1
        parts[2] = 1
        parts[3] = parts[4] = parts[5] = 0
        for part in range(1, digits // 2 - 1):
            at = start + 2 + 2 * part
            parts[part] = np.int64(data[at] - 0x30) * 10 + (data[at + 1] - 0x30)
        kind = digits // 2 - 2
        at = start + digits
        fraction = np.int64(0)
        if digits == 14 and at + 1 < end and data[at] == 0x2E and 0x30 <= data[at + 1] <= 0x39:
            kind = 6
            at += 1
            scale = np.int64(100_000)
            some = 0
            while some < 6 and at < end and 0x30 <= data[at] <= 0x39:
                fraction += (data[at] - 0x30) * scale
                scale //= 10
                some += 1
                at += 1
        offset = np.int64(NO_OFFSET)
        if at < end:
            if end - at != 5 or not (data[at] == 0x2B or data[at] == 0x2D):
                continue
            good = True
            for place in range(1, 5):
                good = good and 0x30 <= data[at + place] <= 0x39
            if not good:
                continue
            hours = np.int64(data[at + 1] - 0x30) * 10 + (data[at + 2] - 0x30)
            minutes = np.int64(data[at + 3] - 0x30) * 10 + (data[at + 4] - 0x30)
            if minutes > 59 or hours * 60 + minutes > 14 * 60:
                continue
            offset = (hours * 60 + minutes) * 60
            if data[at] == 0x2D:
                offset = -offset
        month = parts[1]
        date_ = parts[2]
        if month < 1 or month > 12 or date_ < 1 or parts[3] > 23 or parts[4] > 59 or parts[5] > 59:
            continue
        longest = 30 if month in (4, 6, 9, 11) else 31
        if month == 2:
            longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
        if date_ > longest:
            continue
        # days since 1970 in the Gregorian calendar, counted from March
        shifted = year - (1 if month <= 2 else 0)
        era = shifted // 400
        of_era = shifted - era * 400
        of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + date_ - 1
        days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
        if days < _FIRST_DAY or days > _LAST_DAY:
            continue
        status[row] = _VALID
        day[row] = days
        seconds[row] = days * _DAY + parts[3] * 3600 + parts[4] * 60 + parts[5]
        micro[row] = fraction
        precision[row] = kind
        sent[row] = offset
