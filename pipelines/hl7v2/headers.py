"""What must be known of each message before it is decoded, read off the bytes of a whole batch in one pass.

Bytes below 0x40 stand for themselves in every charset that is read here but ISO 2022, and never within a
character: line ends and blanks are found without decoding, and so are the names at the beginning of lines.
"""

from __future__ import annotations

import numpy as np

from pipelines.hl7v2.transcode import HIGH_BITS, I64, U8, U64
from pipelines.kernel import kernel

I32 = np.ndarray[tuple[int], np.dtype[np.int32]]
Names = np.ndarray[tuple[int, int], np.dtype[np.int64]]

USUAL = 1
"""Begins with ``MSH|^~\\&|`` or ``MSH|^~\\&#|``."""
HIGH = 2
"""Is not all ASCII."""
UTF8 = 4
"""Is valid UTF-8."""
HEADER_HIGH = 8
"""MSH is not all ASCII."""
HEADER_SURE = 16
"""MSH has the same fields whether characters have one byte or two."""
POINTER = 32
"""MSH-14 or DSC-1 names a message before or after this one."""
CONTINUED = 64
"""ADD segments continue segments of this message."""
UNFINISHED = 128
"""ADD segments stand for what is in another message."""

WIDE = 256
"""Is valid UTF-8 and has characters of three bytes or more, which other text hardly ever looks like."""

NO_NAME = -1
LOOK_ALONE = -2
MOST_NAMES = 64
"""Different values of MSH-18 that are told apart in a batch; messages with others are looked at alone."""
LONGEST_NAME = 64
"""Bytes of an MSH-18 that may be looked at beside others; a longer one is looked at alone."""


_LOW_BITS = np.uint64(0x0101010101010101)
_RETURNS = np.uint64(0x0D0D0D0D0D0D0D0D)
_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)


@kernel
def read_headers(data: U8, words: U64, offsets: I64, flags: I32, name: I32, names: Names) -> int:
    """Look at each message of a batch.

    Args:
        data: bytes of the batch.
        words: ``words_of(data)``.
        offsets: where messages begin and end in it; ascending, one more than there are messages.
        flags: takes the constants above, for each message.
        name: takes the number of each message's MSH-18 among ``names``; ``NO_NAME`` where it is empty,
            ``LOOK_ALONE`` where there are too many or it is too long. Only of messages that are ``USUAL``.
        names: (``MOST_NAMES``, 2): takes begin and end of different values of MSH-18.

    Returns:
        number of ``names``.
    """
    count = 0
    latest = 0
    for message in range(len(flags)):
        low, high = offsets[message], offsets[message + 1]
        name[message] = NO_NAME
        high_bits, hit = _scan(data, words, low, high)
        found = HIGH if high_bits else UTF8
        if high_bits:
            longest = utf8_width(data, words, low, high)
            found |= (UTF8 if longest else 0) | (WIDE if longest > 2 else 0)
        start = after_usual_start(data, low, high)
        if start == 0:
            flags[message] = found
            continue
        line = _read_line(data, start, high)
        end, pointer, header_high, name_low, name_high = line
        found |= USUAL | (POINTER if pointer else 0)
        if header_high:
            found |= HEADER_HIGH
            if line == _read_line_by_characters(data, start, end):
                found |= HEADER_SURE
        if hit:
            found |= continuations(data, low, high, offsets[:0])[0]
        flags[message] = found
        if name_high - name_low > LONGEST_NAME:
            name[message] = LOOK_ALONE
        elif name_high > name_low:
            if count == 0 or not _equal(data, names[latest, 0], names[latest, 1], name_low, name_high):
                latest = _known(data, names, count, name_low, name_high)
            if latest == len(names):
                name[message] = LOOK_ALONE
                latest = 0
                continue
            if latest == count:
                names[count, 0], names[count, 1] = name_low, name_high
                count += 1
            name[message] = latest
    return count


@kernel
def _known(data: U8, names: Names, count: int, low: int, high: int) -> int:
    """The number of an MSH-18 among those that were met; ``count`` for a new one."""
    number = 0
    while number < count and not _equal(data, names[number, 0], names[number, 1], low, high):
        number += 1
    return number


@kernel
def _ends_line(byte: int) -> bool:
    return byte == 0x0D or byte == 0x0A  # noqa: PLR1714 (a set is an object)


@kernel
def _says_something(byte: int) -> bool:
    """Whether a byte is more than a blank or part of ``""``."""
    return byte > 0x20 and byte != 0x22


@kernel
def _read_line(data: U8, start: int, high: int) -> tuple[int, bool, bool, int, int]:
    """Read MSH by single bytes.

    Args:
        data: bytes of the batch.
        start: where MSH-3 begins.
        high: where the message ends.

    Returns:
        where MSH ends, whether MSH-14 says something, whether all is not ASCII, begin and end of MSH-18.
    """
    number = 3
    pointer = False
    beyond = False
    low, upto = -1, -1
    at = start
    while at < high and not _ends_line(data[at]):
        byte = data[at]
        if byte == 0x7C:
            number += 1
            if number == 18:
                low = at + 1
            elif number == 19:
                upto = at
        else:
            beyond |= byte >= 0x80
            pointer |= number == 14 and _says_something(byte)
        at += 1
    return at, pointer, beyond, (low if low >= 0 else at), (upto if upto >= 0 else at)


@kernel
def _read_line_by_characters(data: U8, start: int, high: int) -> tuple[int, bool, bool, int, int]:
    """As ``_read_line``, for a line of characters of two or, in GB 18030, four bytes beside ASCII."""
    number = 3
    pointer = False
    low, upto = high, high
    at = start
    while at < high:
        byte = data[at]
        if byte == 0x7C:
            number += 1
            if number == 18:
                low = at + 1
            elif number == 19:
                upto = at
        elif number == 14:
            pointer |= _says_something(byte)
        if byte > 0x80 and at + 1 < high:
            at += 4 if 0x30 <= data[at + 1] <= 0x39 else 2
        else:
            at += 1
    return high, pointer, True, low, upto


@kernel
def after_usual_start(data: U8, low: int, high: int) -> int:
    """Where MSH-3 begins in a message with the usual delimiters; 0 in others."""
    if high - low < 9:
        return 0
    if (
        data[low] != 0x4D
        or data[low + 1] != 0x53
        or data[low + 2] != 0x48
        or data[low + 3] != 0x7C
        or data[low + 4] != 0x5E
        or data[low + 5] != 0x7E
        or data[low + 6] != 0x5C
        or data[low + 7] != 0x26
    ):
        return 0
    if data[low + 8] == 0x7C:
        return low + 9
    if data[low + 8] == 0x23 and high - low > 9 and data[low + 9] == 0x7C:
        return low + 10
    return 0


@kernel
def _equal(data: U8, low: int, high: int, other_low: int, other_high: int) -> bool:
    if high - low != other_high - other_low:
        return False
    same = True
    for at in range(high - low):
        same &= data[low + at] == data[other_low + at]
    return same


@kernel
def _scan(data: U8, words: U64, low: int, high: int) -> tuple[bool, bool]:
    """Whether there is a byte beyond ASCII in a message, and a line that may be an ADD or DSC segment."""
    beyond = np.uint64(0)
    hit = False
    at = low
    while at < high:
        if at & 7 == 0 and at + 8 <= high:
            word = words[at >> 3]
            beyond |= word
            returns, feeds = word ^ _RETURNS, word ^ _FEEDS
            ends = ((returns - _LOW_BITS) & ~returns) | ((feeds - _LOW_BITS) & ~feeds)
            if ends & HIGH_BITS == 0:
                at += 8
                continue
            stop = at + 8
        else:
            stop = min(high, (at | 7) + 1)
        while at < stop:
            byte = data[at]
            if byte >= 0x80:
                beyond |= HIGH_BITS
            elif _ends_line(byte):
                hit |= _may_continue(data, at + 1, high)
            at += 1
    return bool(beyond & HIGH_BITS != 0), hit


@kernel
def _may_continue(data: U8, at: int, high: int) -> bool:
    """Whether the line that begins at a position may be an ADD or DSC segment."""
    while at < high and (data[at] == 0x20 or data[at] == 0x09):
        at += 1
    if at + 3 > high:
        return False
    first, second, third = data[at] | 0x20, data[at + 1] | 0x20, data[at + 2] | 0x20
    add = first == 0x61 and second == 0x64 and third == 0x64
    return bool(add or (first == 0x64 and second == 0x73 and third == 0x63))


@kernel
def _may_follow(first: int, second: int) -> bool:
    """Whether the second byte of a character in UTF-8 goes with its first."""
    least, most = 0x80, 0xBF
    if first == 0xE0:
        least = 0xA0
    elif first == 0xED:
        most = 0x9F
    elif first == 0xF0:
        least = 0x90
    elif first == 0xF4:
        most = 0x8F
    return least <= second <= most


@kernel
def utf8_width(data: U8, words: U64, low: int, high: int) -> int:
    """Bytes of the longest character of a stretch of UTF-8; 0 where it is not valid UTF-8 (RFC 3629 §4)."""
    longest = 1
    at = low
    while at < high:
        if at & 7 == 0 and at + 8 <= high and words[at >> 3] & HIGH_BITS == 0:
            at += 8
            continue
        byte = data[at]
        if byte < 0x80:
            at += 1
            continue
        if 0xE1 <= byte <= 0xEC and at + 2 < high:
            # most ideographs: any two bytes that begin with the bits 10 may follow
            if data[at + 1] & 0xC0 != 0x80 or data[at + 2] & 0xC0 != 0x80:
                return 0
            longest = max(longest, 3)
            at += 3
            continue
        if byte < 0xC2 or byte > 0xF4:
            return 0
        more = 1 if byte < 0xE0 else (2 if byte < 0xF0 else 3)
        if at + more >= high:
            return 0
        if not _may_follow(byte, data[at + 1]):
            return 0
        for place in range(2, more + 1):
            if data[at + place] & 0xC0 != 0x80:
                return 0
        longest = max(longest, more + 1)
        at += more + 1
    return longest


@kernel
def continuations(text: U8, low: int, high: int, cuts: I64) -> tuple[int, int]:
    """Find ADD and DSC segments (HL7 v2.5.1 §2.10.2).

    An ADD segment with fields continues the segment before it, unless that is MSH (then it continues one of
    another message) or an ADD without fields (which says that the rest follows in another message).

    Args:
        text: a batch with ``|`` as field separator.
        low: where a message begins.
        high: where it ends.
        cuts: takes, as far as it reaches, where to cut to join the segments: begin and end of each cut.

    Returns:
        ``POINTER``, ``CONTINUED`` and ``UNFINISHED`` as they apply, and the number of cuts.
    """
    found = 0
    count = 0
    segments = 0
    bare = False
    end = low
    at = low
    while at < high:
        if text[at] == 0x0D or text[at] == 0x0A or text[at] == 0x20 or text[at] == 0x09:
            at += 1
            continue
        first = second = third = fourth = 0
        if at + 2 < high:
            first, second, third = text[at] | 0x20, text[at + 1] | 0x20, text[at + 2] | 0x20
            fourth = text[at + 3] if at + 3 < high else 0x0D
        add = first == 0x61 and second == 0x64 and third == 0x64
        ends = _ends_line(fourth)
        if add and fourth == 0x7C and segments > 1 and not bare:
            if 2 * count + 1 < len(cuts):
                cuts[2 * count], cuts[2 * count + 1] = end, at + 4
            count += 1
            found |= CONTINUED
        elif add and (fourth == 0x7C or ends):
            found |= UNFINISHED
            bare = ends
        else:
            bare = False
            if first == 0x64 and second == 0x73 and third == 0x63 and fourth == 0x7C:
                at += 4
                while at < high and text[at] != 0x7C and not _ends_line(text[at]):
                    if _says_something(text[at]):
                        found |= POINTER
                    at += 1
        while at < high and not _ends_line(text[at]):
            at += 1
        end = at
        segments += 1
    return found, count
