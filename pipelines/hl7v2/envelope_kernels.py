"""Machine code that reads ordinary headers: what names a message and what a resend leaves alone, for a whole batch.

An ordinary message begins with ``MSH|^~\\&|`` and has a control id and a header in ASCII, without escape sequences
of ISO 2022. All others are only marked, for Python to read. Any bytes are safe: nothing is read outside a message,
and each output buffer holds the longest that its messages can give.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipelines.hl7v2.headers import utf8_width
from pipelines.hl7v2.transcode import HIGH_BITS, U64
from pipelines.kernel import kernel

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
Texts = tuple[U8, I64]
"""Bytes of strings one after the other, and where each begins and the last ends."""

ORDINARY: Final = 0
"""All is known."""
IF_UTF8: Final = 1
"""All is known if the message is read as UTF-8: empty fields follow a byte beyond ASCII."""
ODD: Final = 2
"""Nothing is known."""

_USUAL = np.frombuffer(b"MSH|^~\\&|", np.uint8)
_FIELDS: Final = 18
"""Fields of MSH that are looked at."""
_LENGTH: Final = 21
"""The most bytes that a length in decimal digits and a colon take."""
_CR, _LF, _TAB, _BLANK, _BAR, _COLON, _ZERO, _NINE = 0x0D, 0x0A, 0x09, 0x20, 0x7C, 0x3A, 0x30, 0x39
_ESC: Final = 0x1B
"""Begins what switches charsets in ISO 2022."""
_LOW_BITS, _RETURNS, _FEEDS = (np.uint64(0x0101010101010101 * byte) for byte in (1, _CR, _LF))


@kernel
def read_ordinary(
    data: U8, words: U64, offsets: I64, names: U8, name_offsets: I64, name_of: I64
) -> tuple[U8, Texts, Texts, Texts, Texts, Texts]:
    """Read the headers of messages and write out their content.

    Args:
        data: messages one after the other.
        words: ``words_of(data)``.
        offsets: where each begins and the last ends; ascending, within ``data``.
        names: names of sources, one after the other.
        name_offsets: where each begins and the last ends.
        name_of: for each message its source's place in ``names``.

    Returns:
        for each message ``ORDINARY``, ``IF_UTF8`` or ``ODD``; and, with empty strings for odd ones,

        - the content: MSH-7, MSH-8 and MSH-13 left out, line ends made one, empty fields at the end of a segment
          dropped (the message being ASCII or UTF-8),
        - what names it: source, MSH-3, MSH-4, MSH-10 and date, each behind its length and a colon,
        - MSH-9, MSH-11 and MSH-18 with ``|`` between,
        - MSH-10,
        - the date: up to eight leading digits of MSH-7.
    """
    count = len(offsets) - 1
    size = offsets[count] - offsets[0]
    longest = 0
    for number in range(len(name_offsets) - 1):
        longest = max(longest, name_offsets[number + 1] - name_offsets[number])
    kind = np.full(count, ODD, np.uint8)
    content, content_at = np.empty(size + count, np.uint8), np.zeros(count + 1, np.int64)
    naming, naming_at = (
        np.empty(size + count * (longest + 5 * _LENGTH), np.uint8),
        np.zeros(count + 1, np.int64),
    )
    key, key_at = np.empty(size + 2 * count, np.uint8), np.zeros(count + 1, np.int64)
    control, control_at = np.empty(size, np.uint8), np.zeros(count + 1, np.int64)
    date, date_at = np.empty(size, np.uint8), np.zeros(count + 1, np.int64)
    begin, end = np.zeros(_FIELDS + 1, np.int64), np.zeros(_FIELDS + 1, np.int64)
    to_content = to_naming = to_key = to_control = to_date = 0
    for message in range(count):
        line_end = _read_header(data, offsets[message], offsets[message + 1], begin, end)
        if line_end >= 0:
            head = _write_head(content, to_content, data, offsets[message], line_end, begin, end)
            stop = _write_body(content, head, data, words, line_end, offsets[message + 1])
            kind[message] = ORDINARY if stop >= 0 else IF_UTF8
            to_content = abs(stop)

            source = name_of[message]
            stop = begin[7]
            while stop < end[7] and stop < begin[7] + 8 and _ZERO <= data[stop] <= _NINE:
                stop += 1
            to_naming = _write_part(naming, to_naming, names, name_offsets[source], name_offsets[source + 1])
            to_naming = _write_part(naming, to_naming, data, begin[3], end[3])
            to_naming = _write_part(naming, to_naming, data, begin[4], end[4])
            to_naming = _write_part(naming, to_naming, data, begin[10], end[10])
            to_naming = _write_part(naming, to_naming, data, begin[7], stop)

            to_date = _write(date, to_date, data, begin[7], stop)
            to_control = _write(control, to_control, data, begin[10], end[10])
            to_key = _write(key, to_key, data, begin[9], end[9])
            key[to_key] = _BAR
            to_key = _write(key, to_key + 1, data, begin[11], end[11])
            key[to_key] = _BAR
            to_key = _write(key, to_key + 1, data, begin[18], end[18])
        content_at[message + 1], naming_at[message + 1], key_at[message + 1] = to_content, to_naming, to_key
        control_at[message + 1], date_at[message + 1] = to_control, to_date
    return (
        kind,
        (content[:to_content], content_at),
        (naming[:to_naming], naming_at),
        (key[:to_key], key_at),
        (control[:to_control], control_at),
        (date[:to_date], date_at),
    )


@kernel
def are_utf8(data: U8, words: U64, offsets: I64, rows: I64) -> np.ndarray:
    """For each of some messages whether it is UTF-8 throughout (RFC 3629 §4)."""
    valid = np.zeros(len(rows), np.bool_)
    for number in range(len(rows)):
        valid[number] = utf8_width(data, words, offsets[rows[number]], offsets[rows[number] + 1]) > 0
    return valid


@kernel
def _read_header(data: U8, low: int, high: int, begin: I64, end: I64) -> int:
    """Where MSH-3 to MSH-18 lie, and where the header ends; -1 for an odd one."""
    if high - low < len(_USUAL):
        return -1
    for place in range(len(_USUAL)):
        if data[low + place] != _USUAL[place]:
            return -1
    place = low + len(_USUAL)
    field = 3
    begin[3] = place
    while place < high:
        byte = data[place]
        if byte in (_CR, _LF):
            break
        if byte >= 0x80 or byte == _ESC:
            return -1
        if byte == _BAR:
            if field <= _FIELDS:
                end[field] = place
            field += 1
            if field <= _FIELDS:
                begin[field] = place + 1
        place += 1
    if field <= _FIELDS:
        end[field] = place
    for absent in range(field + 1, _FIELDS + 1):
        begin[absent] = end[absent] = place
    return place if end[10] > begin[10] else -1


@kernel
def _write_head(out: U8, to: int, data: U8, low: int, line_end: int, begin: I64, end: I64) -> int:
    """The header without what a resend changes, and a line end."""
    to = _write(out, to, data, low, begin[7])
    to = _write(out, to, data, end[7], begin[8])
    to = _write(out, to, data, end[8], begin[13])
    to = _write(out, to, data, end[13], line_end)
    while out[to - 1] == _BAR:  # it begins with what is none
        to -= 1
    out[to] = _CR
    return to + 1


@kernel
def _write_body(out: U8, to: int, data: U8, words: U64, place: int, high: int) -> int:
    """The segments behind the header; the end negative where that holds of UTF-8 only."""
    body = to
    sure = True
    while place < high:
        line = place
        while place < high:
            if place & 7 == 0 and place + 8 <= high:
                returns, feeds = words[place >> 3] ^ _RETURNS, words[place >> 3] ^ _FEEDS
                if (((returns - _LOW_BITS) & ~returns) | ((feeds - _LOW_BITS) & ~feeds)) & HIGH_BITS == 0:
                    place += 8  # none of these is zero, so none of the bytes is a line end
                    continue
            if data[place] in (_CR, _LF):
                break
            place += 1
        stop = place
        while stop > line and data[stop - 1] == _BAR:
            stop -= 1
        sure = sure and (stop in (place, line) or data[stop - 1] < 0x80)
        out[to : to + stop - line] = data[line:stop]
        to += stop - line
        if place < high and to > body:
            out[to] = _CR
            to += 1
        while place < high and data[place] in (_CR, _LF, _TAB, _BLANK):
            place += 1
    while to > body and out[to - 1] == _CR:
        to -= 1
    return to if sure else -to


@kernel
def _write(out: U8, to: int, data: U8, low: int, high: int) -> int:
    for place in range(high - low):
        out[to + place] = data[low + place]
    return to + high - low


@kernel
def _write_part(out: U8, to: int, data: U8, low: int, high: int) -> int:
    """Bytes behind their length in decimal digits and a colon."""
    length = high - low
    digits = 1
    while length >= 10**digits:
        digits += 1
    for place in range(digits - 1, -1, -1):
        out[to + place] = _ZERO + length % 10
        length //= 10
    out[to + digits] = _COLON
    return _write(out, to + digits + 1, data, low, high)
