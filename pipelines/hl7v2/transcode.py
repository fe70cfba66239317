"""Character sets as tables, and kernels that turn many messages in one of them into UTF-8 at once.

The tables are read off Python's own codecs, so that a message is read here as ``bytes.decode`` reads it; what a
codec refuses is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from pipelines.kernel import copy_16, kernel

U8 = np.ndarray[tuple[int], np.dtype[np.uint8]]
I32 = np.ndarray[tuple[int], np.dtype[np.int32]]
I64 = np.ndarray[tuple[int], np.dtype[np.int64]]
U64 = np.ndarray[tuple[int], np.dtype[np.uint64]]

HIGH_BITS = np.uint64(0x8080808080808080)
"""Of a word of eight bytes the bits that ASCII does not have."""


def words_of(data: U8) -> U64:
    """Bytes as words of eight; those after the last whole word are left out."""
    return data[: len(data) // 8 * 8].view(np.uint64)


SINGLE_BYTE = (
    *(f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *(f"cp{page}" for page in (1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)),
    "latin-1",
)
DOUBLE_BYTE = ("gb18030", "big5", "cp950", "cp949", "shift_jis", "cp932")
TABLED = frozenset((*SINGLE_BYTE, *DOUBLE_BYTE))
"""Codecs that a table is made for; of all others messages are decoded one by one."""

_NEVER = -1
_LEADS = -2
_FOUR_BYTE_BMP = 39420
"""Number of four-byte codes of GB 18030 for the Basic Multilingual Plane."""


@dataclass(frozen=True, slots=True)
class Charset:
    """A charset of one and two bytes a character that begins with ASCII, and the four-byte codes of GB 18030.

    Attributes:
        singles: byte → code point; ``-1`` where it is none, ``-2`` where it begins a longer code.
        doubles: first byte × 256 + second → code point; ``-1`` where it is none.
        fours: linear index of a four-byte code (§ GB 18030-2000) → code point; empty in other charsets.
    """

    singles: I32
    doubles: I32
    fours: I32


@cache
def charset(codec: str) -> Charset:
    """The tables of one of ``TABLED`` (some 10 ms, once in a process)."""
    singles = np.full(256, _NEVER, np.int32)
    doubles = np.full(256 * 256, _NEVER, np.int32)
    fours = np.zeros(0, np.int32)
    for first in range(256):
        singles[first] = _code_point(bytes([first]), codec)
        if singles[first] == _NEVER and codec in DOUBLE_BYTE:
            row = [_code_point(bytes([first, second]), codec) for second in range(256)]
            doubles[first * 256 : first * 256 + 256] = row
            if max(row) >= 0:
                singles[first] = _LEADS
    if codec == "gb18030":
        fours = np.array([_code_point(_four(index), codec) for index in range(_FOUR_BYTE_BMP)], np.int32)
    return Charset(singles, doubles, fours)


def _four(index: int) -> bytes:
    """The four-byte code of GB 18030 with a linear index."""
    rest, fourth = divmod(index, 10)
    rest, third = divmod(rest, 126)
    first, second = divmod(rest, 10)
    return bytes([0x81 + first, 0x30 + second, 0x81 + third, 0x30 + fourth])


def _code_point(code: bytes, codec: str) -> int:
    try:
        text = code.decode(codec)
    except UnicodeDecodeError:
        return _NEVER
    return ord(text) if len(text) == 1 else _NEVER


@kernel
def next_character(  # noqa: PLR0911
    data: U8, at: int, high: int, singles: I32, doubles: I32, fours: I32
) -> int:
    """The code point at a position and the length of its code, as ``code point * 8 + length``; -1 for none.

    Args:
        data: bytes.
        at: where the character begins, before ``high``.
        high: end of its message, at most the length of ``data``.
        singles: see ``Charset``.
        doubles: see ``Charset``.
        fours: see ``Charset``.
    """
    first = np.int64(data[at])
    point = np.int64(singles[first])
    if point >= 0:
        return int(point * 8 + 1)
    if point == -1 or at + 1 >= high:
        return -1
    second = np.int64(data[at + 1])
    point = np.int64(doubles[first * 256 + second])
    if point >= 0:
        return int(point * 8 + 2)
    if len(fours) == 0 or second < 0x30 or second > 0x39 or at + 3 >= high:
        return -1
    third, fourth = np.int64(data[at + 2]), np.int64(data[at + 3])
    if third < 0x81 or third > 0xFE or fourth < 0x30 or fourth > 0x39:
        return -1
    index = (((first - 0x81) * 10 + second - 0x30) * 126 + third - 0x81) * 10 + fourth - 0x30
    if index < len(fours):
        point = np.int64(fours[index])
        return int(point * 8 + 4) if point >= 0 else -1
    point = index - 189000 + 0x10000
    if point < 0x10000 or point > 0x10FFFF:
        return -1
    return int(point * 8 + 4)


@kernel
def utf8_lengths(data: U8, words: U64, starts: I64, ends: I64, singles: I32, doubles: I32, fours: I32) -> I64:
    """How long each message is in UTF-8; -1 where it is not in the charset.

    Args:
        data: bytes of a batch.
        words: ``words_of(data)``.
        starts: where each message begins in it.
        ends: where it ends.
        singles: see ``Charset``.
        doubles: see ``Charset``.
        fours: see ``Charset``.
    """
    lengths = np.empty(len(starts), np.int64)
    for message in range(len(starts)):
        at, high = starts[message], ends[message]
        length = high - at
        while at < high:
            if at & 7 == 0 and at + 8 <= high and words[at >> 3] & HIGH_BITS == 0:
                at += 8
                continue
            if data[at] < 0x80:
                at += 1
                continue
            point = doubles[np.int64(data[at]) * 256 + data[at + 1]] if at + 1 < high else -1
            if point >= 0x800:  # most ideographs: three bytes for two
                at += 2
                length += 1
                continue
            found = next_character(data, at, high, singles, doubles, fours)
            if found < 0:
                length = -1
                break
            size = found & 7
            point = found >> 3
            at += size
            length += (1 if point < 0x80 else (2 if point < 0x800 else (3 if point < 0x10000 else 4))) - size
        lengths[message] = length
    return lengths


@kernel
def write_utf8(
    data: U8,
    words: U64,
    starts: I64,
    ends: I64,
    singles: I32,
    doubles: I32,
    fours: I32,
    target: U8,
    places: I64,
) -> None:
    """Write messages as UTF-8.

    Args:
        data: bytes of a batch.
        words: ``words_of(data)``.
        starts: where each message begins in it.
        ends: where it ends; it is in the charset, as ``utf8_lengths`` has found.
        singles: see ``Charset``.
        doubles: see ``Charset``.
        fours: see ``Charset``.
        target: takes the text.
        places: where each message's text goes; it has room for the length that ``utf8_lengths`` gives.
    """
    for message in range(len(starts)):
        at, high, to = starts[message], ends[message], places[message]
        while at < high:
            if at & 7 == 0 and at + 8 <= high and words[at >> 3] & HIGH_BITS == 0:
                for place in range(8):
                    target[to + place] = data[at + place]
                at += 8
                to += 8
                continue
            byte = data[at]
            if byte < 0x80:
                target[to] = byte
                at += 1
                to += 1
                continue
            point = doubles[np.int64(byte) * 256 + data[at + 1]] if at + 1 < high else -1
            if point >= 0x800:
                target[to] = 0xE0 | point >> 12
                target[to + 1] = 0x80 | point >> 6 & 0x3F
                target[to + 2] = 0x80 | point & 0x3F
                at += 2
                to += 3
                continue
            found = next_character(data, at, high, singles, doubles, fours)
            if found < 0:
                break
            at += found & 7
            point = found >> 3
            if point < 0x80:
                target[to] = point
                to += 1
            elif point < 0x800:
                target[to] = 0xC0 | point >> 6
                target[to + 1] = 0x80 | point & 0x3F
                to += 2
            elif point < 0x10000:
                target[to] = 0xE0 | point >> 12
                target[to + 1] = 0x80 | point >> 6 & 0x3F
                target[to + 2] = 0x80 | point & 0x3F
                to += 3
            else:
                target[to] = 0xF0 | point >> 18
                target[to + 1] = 0x80 | point >> 12 & 0x3F
                target[to + 2] = 0x80 | point >> 6 & 0x3F
                target[to + 3] = 0x80 | point & 0x3F
                to += 4


@kernel
def copy_messages(data: U8, starts: I64, ends: I64, target: U8, places: I64) -> None:
    """Copy messages as they are; arguments as of ``write_utf8``."""
    for message in range(len(starts)):
        at, high, to = starts[message], ends[message], places[message]
        while at + 16 <= high:
            copy_16(target, to, data, at)  # type: ignore[call-arg]
            at += 16
            to += 16
        while at < high:
            target[to] = data[at]
            at += 1
            to += 1
