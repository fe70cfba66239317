"""Dates and times of DICOM (PS3.5 §6.2: DA, TM, DT) as instants, with the precision that they were sent with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

_DATE = re.compile(r"(\d{4})(?:([.\-])(\d\d)\2(\d\d)|(\d\d)(\d\d))")
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6})\d*)?)?)?")
_DATE_TIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6})\d*)?)?)?)?)?)?([+-]\d{4})?"
)
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")
_FIRST_YEAR, _LAST_YEAR = 1000, 9998
_WIDEST = 14 * 60
"""Minutes that a zone is away from UTC at the most."""

PRECISIONS = ("hour", "minute", "second", "fraction")
_LENGTHS = ("year", "month", "day", *PRECISIONS)


class Instant(NamedTuple):
    """An instant in UTC, the precision it was sent with, and the minutes east of UTC it was told in."""

    at: datetime
    precision: str
    offset: int


def date_of(text: str) -> date | None:
    """A date (DA); also as ACR-NEMA wrote it, with dots."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day_ = found[1], found[3] or found[5], found[4] or found[6]
    try:
        made = date(int(year), int(month), int(day_))
    except ValueError:
        return None
    return made if _FIRST_YEAR <= made.year <= _LAST_YEAR else None


def zone_of(offset: str | None, name: str) -> tzinfo:
    """The zone of times that have none of their own: Timezone Offset From UTC (0008,0201), else the source's."""
    found = None if offset is None else _offset(offset)
    return ZoneInfo(name) if found is None else found


def _offset(text: str) -> timezone | None:
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes > _WIDEST or int(found[3]) > 59:
        return None
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))


def instant_of(day: str, time: str, zone: tzinfo) -> Instant | None:
    """An instant of a date (DA) and a time (TM); of a date alone its start. None where the date is none."""
    date_ = date_of(day)
    if date_ is None:
        return None
    found = _TIME.fullmatch(time)
    at, precision = datetime(date_.year, date_.month, date_.day, tzinfo=zone), "day"
    if found is not None:
        parts = [int(part) for part in found.groups()[:3] if part is not None]
        micro = int(found[4].ljust(6, "0")) if found[4] else 0
        leap = parts[2:3] == [60]
        try:
            at = at.replace(
                hour=parts[0], minute=parts[1] if len(parts) > 1 else 0,
                second=59 if leap else parts[2] if len(parts) > 2 else 0, microsecond=micro,
            )  # fmt: skip
            precision = PRECISIONS[len(parts) - 1 + bool(found[4])]
        except ValueError:
            return _in_utc(at, "day")
    return _in_utc(at, precision)


def is_time(text: str) -> bool:
    """Whether a text is a time (TM)."""
    found = _TIME.fullmatch(text)
    return found is not None and int(found[1]) < 24 and int(found[2] or 0) < 60 and int(found[3] or 0) < 61


def date_time_of(text: str, zone: tzinfo) -> Instant | None:
    """An instant of a date with time (DT), which may have an offset of its own."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    parts = [int(part) for part in found.groups()[:6] if part is not None]
    own = _offset(found[8]) if found[8] else None
    if not _FIRST_YEAR <= parts[0] <= _LAST_YEAR:
        return None
    year, month, day_, hour, minute, second = (*parts, *(0, 1, 1, 0, 0, 0)[len(parts) :])
    micro = int(found[7].ljust(6, "0")) if found[7] else 0
    try:
        at = datetime(year, month, day_, hour, minute, min(second, 59), micro, tzinfo=own or zone)
    except ValueError:
        return None
    return _in_utc(at, _LENGTHS[len(parts) - 1 + bool(found[7])])


def _in_utc(at: datetime, precision: str) -> Instant:
    offset = at.utcoffset() or timedelta(0)
    return Instant(at.astimezone(UTC), precision, int(offset.total_seconds() // 60))
