"""Lines of a result file, many at once: where the columns of each stand, and which lines are none.

A line that breaks a rule is told by its number, counted from 1 as an editor does, and the others are read. A line
without anything in it, delimiters apart, is no line.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.gather import copied
from pipelines.hl7v2.locate import Grid
from pipelines.kernel import kernel
from schemas.errors import MessageError
from schemas.findings import FINDINGS
from schemas.lab.result_file import Column, ResultFile

GOOD, QUOTES, BYTES, COLUMNS = 0, 1, 2, 3
CODES = {QUOTES: "LAB-LINE-QUOTES", BYTES: "LAB-LINE-BYTES", COLUMNS: "LAB-LINE-COLUMNS"}
MISMATCH = "LAB-CHARSET-MISMATCH"

_MOST_QUOTED = 64 * 1024
"""The longest text between quotes, in bytes: a quote that nobody closes must not swallow the file."""
_FALLBACKS = ("utf-8", "gb18030")
_MOST_CELLS = 64_000_000
"""Lines times wanted columns; each takes 17 bytes while a file is read."""
_PLANE = 0x10000
_LINE_END = re.compile(rb"(\r\n|\r|\n)")

Flags = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Text:
    """A file as text.

    Attributes:
        data: UTF-8; lines that are in no character set are empty.
        bad: numbers of those lines.
        mismatched: whether another character set than the claimed one was used.
    """

    data: bytes
    bad: tuple[int, ...] = ()
    mismatched: bool = False


@dataclass(frozen=True)
class Lines:
    """The lines of a file that can be read, and those that cannot.

    Attributes:
        line: number of each readable line, from 1.
        columns: texts of each wanted column, null where empty, in the order that was asked for.
        places: where each wanted column stands: its number from 1, of fixed widths its first character.
        bad_line: numbers of the other lines.
        bad_code: the code of each, an index into ``CODES``.
    """

    line: I64
    columns: list[pa.Array]
    places: list[int]
    bad_line: I64
    bad_code: I64


def to_text(payload: bytes, charset: str) -> Text:
    """Decode a file strictly.

    Args:
        payload: its bytes.
        charset: a Python codec name.

    The claimed character set is used where most lines beyond ASCII are in it; else another one that fits the whole
    file, for clinics say GB 18030 and send UTF-8, and the other way round.

    Raises:
        MessageError: ``LAB-FILE-CHARSET``: it is in none.
    """
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if payload.startswith(mark):
            whole = _decoded(payload.removeprefix(mark) if name == "utf-8" else payload, name)
            if whole is not None:
                return Text(whole, mismatched=charset not in {name, "utf-8-sig"})
            payload = payload.removeprefix(mark)
    whole = _decoded(payload, charset)
    if whole is not None:
        return Text(whole)
    if charset.startswith(("utf-16", "utf-32")):
        raise _problem("LAB-FILE-CHARSET")
    beyond, lines, bad = 0, [], []
    # in no character set that is taken is a line end part of another character
    parts = _LINE_END.split(payload)
    for number, line in enumerate(parts[::2], 1):
        text = _decoded(line, charset)
        beyond += not line.isascii()
        lines.append(text if text is not None else b"")
        if text is None:
            bad.append(number)
    if 2 * len(bad) > beyond:
        for other in _FALLBACKS:
            whole = _decoded(payload, other) if other != charset else None
            if whole is not None:
                return Text(whole, mismatched=True)
    parts[::2] = lines
    return Text(b"".join(parts), tuple(bad))


def _problem(code: str, **place: int) -> MessageError:
    return MessageError(code, FINDINGS[code].sentence, **place)


def _decoded(data: bytes, charset: str) -> bytes | None:
    try:
        text = data.decode(charset)
        return data if charset == "utf-8" else text.encode()
    except UnicodeError:  # of lone surrogates too, which some codecs give
        return None


def split_lines(text: Text, mapping: ResultFile) -> Lines:
    """Find the wanted columns of all lines.

    Raises:
        MessageError: ``LAB-FILE-HEADER``: a column that the mapping names is not among the headings, or is several;
            ``LAB-FILE-LINES``: there are so many that memory would not be bounded.
    """
    data = np.frombuffer(text.data, np.uint8)
    start = _after_lines(text.data, mapping.skip_lines)
    room = int(np.count_nonzero(data[start:] == 10) + np.count_nonzero(data[start:] == 13)) + 1
    if room * len(mapping.places) > _MOST_CELLS:
        raise _problem("LAB-FILE-LINES")
    found = (
        _fixed(data, start, mapping, room)
        if mapping.format == "fixed"
        else _separated(data, start, mapping, room)
    )
    undecoded = np.array([number for number in text.bad if number > mapping.skip_lines], np.int64)
    bad_line = np.concatenate([found.bad_line, undecoded])
    bad_code = np.concatenate([found.bad_code, np.full(len(undecoded), BYTES, np.int64)])
    order = np.argsort(bad_line, kind="stable")
    return Lines(found.line, found.columns, found.places, bad_line[order], bad_code[order])


def _after_lines(data: bytes, lines: int) -> int:
    """Where the line after so many begins."""
    at = 0
    for _ in range(lines):
        ends = [end for end in (data.find(b"\n", at), data.find(b"\r", at)) if end >= 0]
        if not ends:
            return len(data)
        at = min(ends) + (2 if data[min(ends) : min(ends) + 2] == b"\r\n" else 1)
    return at


def _separated(data: U8, start: int, mapping: ResultFile, room: int) -> Lines:
    """Columns between delimiters (RFC 4180, and what clinics make of it)."""
    delimiter, quote = ord(mapping.delimiter), ord(mapping.quote) if mapping.quote else -1
    first_line = mapping.skip_lines + 1
    headings: list[str] = []
    if mapping.header:
        headings, start, first_line = _headings(data, start, first_line, delimiter, quote)
    keys = [heading_key(name) for name in headings]
    positions = [_position(number, column, keys) for number, column in enumerate(mapping.places, 1)]
    distinct = sorted(set(positions))
    slots = np.full(max(distinct, default=0), -1, np.int64)
    slots[np.array(distinct, np.int64) - 1] = np.arange(len(distinct))
    low, high = np.zeros((len(distinct), room), np.int64), np.zeros((len(distinct), room), np.int64)
    doubled = np.zeros((len(distinct), room), np.bool_)
    about = np.empty((4, room), np.int64)
    rows = _split_separated(
        data, start, first_line, delimiter, quote, slots, low, high, doubled, about, _MOST_QUOTED
    )
    line, count, filled, status = about[:, :rows]
    expected = len(headings) if mapping.header else _usual(count[status == GOOD])
    # spreadsheets write delimiters behind the last column now and then
    status[(status == GOOD) & ((count < expected) | (filled > expected))] = COLUMNS
    good = status == GOOD
    texts = copied(data, *_of_rows(low, high, rows, good))
    for slot, text in enumerate(texts):
        if doubled[slot, :rows][good].any():
            texts[slot] = _single_quotes(text, doubled[slot, :rows][good], mapping.quote)
    texts = [_shown(text) for text in texts]
    of_position = {position: texts[slot] for slot, position in enumerate(distinct)}
    return Lines(
        line[good], [of_position[position] for position in positions], positions, line[~good], status[~good]
    )  # fmt: skip


def _shown(texts: pa.Array) -> pa.Array:
    """What a spreadsheet shows of ``="0012"``, which is how files keep it from reading bar codes as numbers."""
    if not pc.any(pc.starts_with(texts, '="')).as_py():
        return texts
    shown = pc.replace_substring_regex(texts, r'^="([^"]*)"$', r"\1")
    return pc.if_else(pc.equal(shown, ""), pa.scalar(None, pa.string()), shown)


def _of_rows(low: Grid, high: Grid, rows: int, good: Bools) -> tuple[Grid, Grid]:
    """The places of the good ones of the first rows."""
    if good.all():
        return np.ascontiguousarray(low[:, :rows]), np.ascontiguousarray(high[:, :rows])
    chosen = np.flatnonzero(good)
    return low.take(chosen, axis=1), high.take(chosen, axis=1)


def _usual(counts: I64) -> int:
    """How many columns most lines have; of equally many the greater number."""
    if not len(counts):
        return 0
    values, how_many = np.unique(counts, return_counts=True)
    return int(values[how_many == how_many.max()].max())


def _headings(
    data: U8, start: int, first_line: int, delimiter: int, quote: int
) -> tuple[list[str], int, int]:
    """The headings, where the line after them begins, and its number."""
    end = start
    inside = False
    while end < len(data) and (inside or data[end] not in (10, 13)) and end - start < _MOST_QUOTED:
        inside ^= data[end] == quote
        end += 1
    heading = data[start:end]
    most = int(np.count_nonzero(heading == delimiter)) + 1
    low, high = np.zeros((most, 2), np.int64), np.zeros((most, 2), np.int64)
    about = np.zeros((4, 2), np.int64)
    rows, every = 0, np.arange(most)
    if not ((heading == 10) | (heading == 13)).any():
        doubled = np.zeros((most, 2), np.bool_)
        rows = _split_separated(
            heading, 0, first_line, delimiter, quote, every, low, high, doubled, about, _MOST_QUOTED
        )
    if rows != 1 or about[3, 0] != GOOD:
        raise _problem("LAB-FILE-HEADER", segment_index=first_line)
    names = [heading[low[at, 0] : high[at, 0]].tobytes().decode() for at in range(int(about[1, 0]))]
    end += 2 if data[end : end + 2].tobytes() == b"\r\n" else 1
    return names, min(end, len(data)), first_line + 1


def _position(number: int, column: Column, headings: Sequence[str]) -> int:
    """The column's number in the file, from 1, by the keys of its headings.

    Raises:
        MessageError: ``LAB-FILE-HEADER``, with the number of the column in the mapping as its field.
    """
    if column.position is not None:
        return column.position
    wanted = heading_key(column.name or "")
    found = [at for at, key in enumerate(headings, 1) if key == wanted]
    if len(found) != 1:
        raise _problem("LAB-FILE-HEADER", field=number)
    return found[0]


def heading_key(name: str) -> str:
    """A heading without what editors change: blanks, case, full-width letters."""
    return "".join(name.translate(HALF_WIDTH).split()).casefold()


HALF_WIDTH: Mapping[int, str] = {0xFF01 + at: chr(0x21 + at) for at in range(94)} | {0x3000: " "}
"""Full-width forms of ASCII, and the ideographic space."""


def _single_quotes(texts: pa.Array, doubled: Bools, quote: str) -> pa.Array:
    single = pc.replace_substring(texts, quote * 2, quote)
    return pc.if_else(pa.array(doubled), single, texts)


def _fixed(data: U8, start: int, mapping: ResultFile, room: int) -> Lines:
    """Columns of fixed widths."""
    places = [(column.start or 1, column.width or 0) for column in mapping.places]
    distinct = sorted(set(places))
    bounds = sorted({first - 1 for first, _ in distinct} | {first - 1 + width for first, width in distinct})
    number = {bound: at for at, bound in enumerate(bounds)}
    begins = np.array([number[first - 1] for first, _ in distinct], np.int64)
    ends = np.array([number[first - 1 + width] for first, width in distinct], np.int64)
    low, high = np.zeros((len(distinct), room), np.int64), np.zeros((len(distinct), room), np.int64)
    line, status = np.empty(room, np.int64), np.empty(room, np.int64)
    widths = _widths(mapping.charset if mapping.measure == "bytes" else "")
    rows = _split_fixed(
        data,
        start,
        mapping.skip_lines + 1,
        widths,
        np.array(bounds, np.int64),
        begins,
        ends,
        low,
        high,
        line,
        status,
    )
    line, status = line[:rows], status[:rows]
    good = status == GOOD
    texts = copied(data, *_of_rows(low, high, rows, good))
    of_place = dict(zip(distinct, texts, strict=True))
    return Lines(
        line[good], [of_place[place] for place in places], [first for first, _ in places], line[~good], status[~good]
    )  # fmt: skip


@functools.lru_cache(maxsize=8)
def _widths(charset: str) -> I64:
    """How much each character of the basic plane counts; the last entry is for all others."""
    if not charset:
        return np.ones(_PLANE + 1, np.int64)
    widths = np.ones(_PLANE + 1, np.int64)
    for code in range(0x80, _PLANE):
        if not 0xD800 <= code < 0xE000:
            try:
                widths[code] = len(chr(code).encode(charset))
            except UnicodeError:
                continue
    widths[_PLANE] = 4
    return widths


@kernel
def _trimmed_low(data: U8, low: int, high: int) -> int:
    """Where a text begins behind blanks: space, tab, U+00A0, U+3000."""
    while low < high:
        if data[low] == 0x20 or data[low] == 0x09:
            low += 1
        elif high - low >= 2 and data[low] == 0xC2 and data[low + 1] == 0xA0:
            low += 2
        elif high - low >= 3 and data[low] == 0xE3 and data[low + 1] == 0x80 and data[low + 2] == 0x80:
            low += 3
        else:
            break
    return low


@kernel
def _trimmed_high(data: U8, low: int, high: int) -> int:
    """Where a text ends before blanks."""
    while low < high:
        if data[high - 1] == 0x20 or data[high - 1] == 0x09:
            high -= 1
        elif high - low >= 2 and data[high - 1] == 0xA0 and data[high - 2] == 0xC2:
            high -= 2
        elif high - low >= 3 and data[high - 1] == 0x80 and data[high - 2] == 0x80 and data[high - 3] == 0xE3:
            high -= 3
        else:
            break
    return high


@kernel
def _split_separated(  # noqa: C901, PLR0912, PLR0915 - one walk over the file
    data: U8, start: int, first_line: int, delimiter: int, quote: int, slots: I64, low: Grid, high: Grid,
    doubled: Flags, about: Grid, most_quoted: int,
) -> int:  # fmt: skip
    """Fill places of each line and what it is about; how many lines there are.

    ``about`` has the number of each line, of its columns, of those up to the last one filled, and what is wrong.
    """
    size = len(data)
    at = start
    number = first_line
    row = 0
    while at < size:
        begin = at
        begin_number = number
        columns = 0
        filled = 0
        wrong = 0
        blank = True
        while True:
            escaped = False
            if quote >= 0 and at < size and data[at] == quote:
                at += 1
                first = at
                closed = False
                limit = min(size, at + most_quoted)
                while at < limit:
                    byte = data[at]
                    if byte == quote:
                        if at + 1 < size and data[at + 1] == quote:
                            escaped = True
                            at += 2
                            continue
                        closed = True
                        break
                    if byte == 0:
                        wrong = 2
                    if byte == 10 or (byte == 13 and not (at + 1 < size and data[at + 1] == 10)):
                        number += 1
                    at += 1
                if not closed:
                    wrong = 1
                    break
                last = at
                at += 1
                if at < size and data[at] != delimiter and data[at] != 10 and data[at] != 13:
                    wrong = 1
                    break
            else:
                first = at
                while at < size and data[at] != delimiter and data[at] != 10 and data[at] != 13:
                    if data[at] == 0:
                        wrong = 2
                    at += 1
                last = at
            first = _trimmed_low(data, first, last)
            last = _trimmed_high(data, first, last)
            if last > first:
                blank = False
                filled = columns + 1
            if columns < len(slots) and slots[columns] >= 0:
                slot = slots[columns]
                low[slot, row] = first
                high[slot, row] = last
                doubled[slot, row] = escaped
            columns += 1
            if at < size and data[at] == delimiter:
                at += 1
                continue
            break
        if wrong == 1:
            # the line where it begins is bad, the next one may be a line again
            at = begin
            number = begin_number
            while at < size and data[at] != 10 and data[at] != 13:
                at += 1
        if at < size:
            if data[at] == 13 and at + 1 < size and data[at + 1] == 10:
                at += 1
            at += 1
            number += 1
        if not blank or wrong:
            about[0, row] = begin_number
            about[1, row] = columns
            about[2, row] = filled
            about[3, row] = wrong
            row += 1
        else:
            for slot in range(len(low)):
                low[slot, row] = 0
                high[slot, row] = 0
                doubled[slot, row] = False
    return row


@kernel
def _split_fixed(  # noqa: C901, PLR0912, PLR0915 - one walk over the file
    data: U8, start: int, first_line: int, widths: I64, bounds: I64, begins: I64, ends: I64, low: Grid, high: Grid,
    line: I64, status: I64,
) -> int:  # fmt: skip
    """Fill places, numbers and what is wrong of each line; how many lines there are."""
    size = len(data)
    at = start
    number = first_line
    row = 0
    place = np.empty(len(bounds), np.int64)
    while at < size:
        wrong = 0
        blank = True
        for bound in range(len(bounds)):
            place[bound] = -1
        width = 0
        bound = 0
        while True:
            while bound < len(bounds) and bounds[bound] == width:
                place[bound] = at
                bound += 1
            if at >= size or data[at] == 10 or data[at] == 13:
                break
            byte = data[at]
            if byte == 0:
                wrong = 2
            if not (byte == 0x20 or byte == 0x09):  # noqa: PLR1714 - a kernel
                blank = False
            step = 1
            code = np.int64(byte)
            if byte >= 0xF0:
                step = 4
                code = np.int64(len(widths) - 1)
            elif byte >= 0xE0:
                step = 3
                if at + 2 < size:
                    code = np.int64(byte & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6
                    code |= np.int64(data[at + 2] & 0x3F)
            elif byte >= 0xC0:
                step = 2
                if at + 1 < size:
                    code = np.int64(byte & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F)
            width += widths[code]
            at = min(size, at + step)
            if bound < len(bounds) and bounds[bound] < width:
                wrong = 3  # half a character on either side
                while bound < len(bounds) and bounds[bound] < width:
                    bound += 1
        end = at
        for column in range(len(begins)):
            first = place[begins[column]]
            last = place[ends[column]]
            first = end if first < 0 else first
            last = end if last < 0 else last
            first = _trimmed_low(data, first, last)
            low[column, row] = first
            high[column, row] = _trimmed_high(data, first, last)
        if at < size:
            if data[at] == 13 and at + 1 < size and data[at + 1] == 10:
                at += 1
            at += 1
        if not blank or wrong:
            line[row] = number
            status[row] = wrong
            row += 1
        number += 1
    return row
