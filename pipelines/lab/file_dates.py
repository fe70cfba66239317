"""Dates of result files: many at once, by forms such as ``%Y-%m-%d %H:%M``.

What fits a form is written out as HL7 writes times, and read by the same reader: days of months, the zones' summer
times and the years that are taken are the same for a file as for a message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, U8, buffers
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.times import NO_OFFSET, Clock, Times, read_times
from pipelines.kernel import kernel
from pipelines.lab.values import mapped
from schemas.lab.result_file import DIRECTIVES, SERIAL

Steps = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Digits = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
_WIDTH = 26
"""Bytes of a time in full: ``YYYYMMDDHHMMSS.ffffff+ZZZZ``."""
_PLACES = {"Y": 0, "m": 4, "d": 6, "H": 8, "M": 10, "S": 12, "f": 14, "z": 21}
_NUMBER, _FRACTION, _ZONE = 1, 2, 3


@functools.lru_cache(maxsize=64)
def _program(forms: tuple[str, ...]) -> tuple[Steps, I64]:
    """Forms as steps (kind, a, b) and where the steps of each begin: a literal byte, or place and width of a number."""
    steps: list[tuple[int, int, int]] = []
    begins = [0]
    for form in forms:
        at = 0
        while at < len(form):
            if form[at] == "%":
                directive = form[at + 1]
                kind = {"f": _FRACTION, "z": _ZONE}.get(directive, _NUMBER)
                steps.append((kind, _PLACES[directive], DIRECTIVES[directive]))
                at += 2
            else:
                steps += [(0, byte, 0) for byte in form[at].encode()]
                at += 1
        begins.append(len(steps))
    return np.array(steps, np.int64).reshape(len(steps), 3), np.array(begins, np.int64)


_SERIAL_WRITTEN = "%Y-%m-%d~%H:%M:%S.%f"
"""What a serial number is written as, to be read like others: a form that nobody else writes."""
_SERIAL = re.compile(r"[1-9]\d{3,5}(?:\.\d+)?", re.ASCII)
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - local time, whatever the zone
_MILLISECOND = 86_400_000


def _of_serial(text: str) -> str:
    """A spreadsheet's number of days as date and time to the millisecond, which is what its doubles tell."""
    if not _SERIAL.fullmatch(text):
        return text
    when = _EPOCH + timedelta(milliseconds=round(float(text) * _MILLISECOND))
    return f"{when:%Y-%m-%d~%H:%M:%S}.{when.microsecond // 1000:03}"


def read_dates(texts: pa.Array, forms: Sequence[str], zone: str) -> Times:
    """Read the times of a column.

    Args:
        texts: string array without blanks around the texts; null where there is nothing.
        forms: as in ``schemas.lab.result_file.problem_of_form``, tried in turn.
        zone: IANA name, for times without a zone of their own.
    """
    count = len(texts)
    if texts.null_count == count:
        return Times.never(count)
    if SERIAL in forms:
        texts = mapped(texts, _of_serial)
        forms = [form for form in forms if form != SERIAL] + [_SERIAL_WRITTEN]
    offsets, data = buffers(texts.cast(pa.binary()))
    steps, begins = _program(tuple(forms))
    out = np.zeros((count, _WIDTH), np.uint8)
    size = np.empty(count, np.int64)
    _match(data, offsets, steps, begins, out, size)
    low = np.arange(count, dtype=np.int64) * _WIDTH
    clock = Clock(np.full(1, NO_OFFSET, np.int64), np.zeros(1, np.int64), (zone,))
    return read_times(out.reshape(-1), Spans(low, low + size, count), np.zeros(count, np.int64), clock)


@kernel
def _match(data: U8, offsets: I64, steps: Steps, begins: I64, out: Digits, size: I64) -> None:  # noqa: C901, PLR0912, PLR0915 - one walk
    """Write each value as HL7 does, and its length: 0 where there is none, 1 where it fits no form."""
    for row in range(len(offsets) - 1):
        low = offsets[row]
        high = offsets[row + 1]
        size[row] = 0
        if high <= low:
            continue
        size[row] = 1
        for form in range(len(begins) - 1):
            at = low
            good = True
            used = 0
            zone = False
            fraction = 0
            for place in range(14):
                out[row, place] = 0x30
            for step in range(begins[form], begins[form + 1]):
                kind = steps[step, 0]
                if kind == 0:
                    if at >= high or data[at] != steps[step, 1]:
                        good = False
                        break
                    at += 1
                elif kind == 3:
                    if at < high and data[at] == 0x5A:
                        out[row, 21] = 0x2B
                        for place in range(22, 26):
                            out[row, place] = 0x30
                        at += 1
                    else:
                        if at >= high or (data[at] != 0x2B and data[at] != 0x2D):
                            good = False
                            break
                        out[row, 21] = data[at]
                        at += 1
                        place = 22
                        while place < 26 and at < high:
                            if data[at] == 0x3A and place == 24:
                                at += 1
                                continue
                            if data[at] < 0x30 or data[at] > 0x39:
                                break
                            out[row, place] = data[at]
                            place += 1
                            at += 1
                        if place < 26:
                            good = False
                            break
                    zone = True
                else:
                    width = steps[step, 2]
                    start = at
                    while at < high and at - start < width and 0x30 <= data[at] <= 0x39:
                        at += 1
                    digits = at - start
                    # a year has four digits; other numbers fewer only where something else follows
                    next_is_number = step + 1 < begins[form + 1] and steps[step + 1, 0] == 1
                    if digits == 0 or (kind == 1 and digits < width and (width == 4 or next_is_number)):
                        good = False
                        break
                    if kind == 2:
                        fraction = digits
                        out[row, 14] = 0x2E
                        for place in range(digits):
                            out[row, 15 + place] = data[start + place]
                    else:
                        to = steps[step, 1]
                        for place in range(digits):
                            out[row, to + width - digits + place] = data[start + place]
                        used = max(used, to + width)
            if good and at == high:
                end = used
                if fraction:
                    end = 15 + fraction
                if zone:
                    for place in range(5):
                        out[row, end + place] = out[row, 21 + place]
                    end += 5
                size[row] = end
                break
        if size[row] == 1:
            out[row, 0] = 0x58
