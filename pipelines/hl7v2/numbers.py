"""Numbers of HL7 (NM, HL7 v2.5.1 §2.A.47), many at once: a sign, digits, a decimal point; no exponent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.split import Positions
from pipelines.kernel import kernel

F64 = np.ndarray[tuple[int], np.dtype[np.float64]]
I8 = np.ndarray[tuple[int], np.dtype[np.int8]]
_ABSENT, _VALID, _REFUSED, _LONG = 0, 1, 2, 3
_EXACT_DIGITS = 15
_POWERS = np.array([10.0**power for power in range(23)])
"""Powers of ten that a double holds exactly: of two exact numbers the quotient is the nearest to the true one."""


@dataclass(frozen=True)
class Numbers:
    """Numbers of some rows.

    Attributes:
        value: the number; 0 where not valid.
        valid: whether the row has a number.
        refused: whether it has something else.
    """

    value: F64
    valid: Bools
    refused: Bools

    def floats(self) -> pa.Array:
        """As doubles."""
        return pa.array(self.value, mask=~self.valid)

    def integers(self) -> pa.Array:
        """As 32-bit integers, where they are whole."""
        whole = self.valid & (self.value == np.floor(self.value)) & (np.abs(self.value) < 2**31)
        return pa.array(np.where(whole, self.value, 0).astype(np.int32), mask=~whole)

    def take(self, index: I64) -> Numbers:
        """The numbers by index, none where it is negative."""
        if not len(self.value):
            return Numbers.never(len(index))
        there, place = index >= 0, np.maximum(index, 0)
        return Numbers(self.value[place], self.valid[place] & there, self.refused[place] & there)

    def otherwise(self, more: Numbers) -> Numbers:
        """These, and where there is none the others."""
        return Numbers(
            np.where(self.valid, self.value, more.value),
            self.valid | more.valid,
            self.refused | (~self.valid & more.refused),
        )

    @classmethod
    def never(cls, length: int) -> Numbers:
        """No number in any row."""
        none = np.zeros(length, bool)
        return cls(np.zeros(length), none, none)


def read_numbers(data: U8, spans: Spans) -> Numbers:
    """Read the numbers of many rows.

    Args:
        data: text of the batch.
        spans: where they stand; blanks around a number are passed over.
    """
    count = len(spans)
    if spans.empty or not count:
        return Numbers.never(count)
    value, status = np.empty(count), np.empty(count, np.int8)
    if _parse(data, spans.low, spans.high, value, status, _POWERS):
        for row in np.flatnonzero(status == _LONG).tolist():
            value[row] = float(data[spans.low[row] : spans.high[row]].tobytes().decode("ascii"))
            status[row] = _VALID if np.isfinite(value[row]) else _REFUSED
    return Numbers(np.where(status == _VALID, value, 0.0), status == _VALID, status == _REFUSED)


@kernel
def _parse(data: U8, low: Positions, high: Positions, value: F64, status: I8, powers: F64) -> int:  # noqa: C901, PLR0912 - one walk over each value
    """Read each value; how many have more digits than are exact here."""
    long = 0
    for row in range(len(low)):
        at = low[row]
        end = high[row]
        value[row] = 0.0
        status[row] = _ABSENT
        while at < end and (data[at] == 0x20 or data[at] == 0x09):
            at += 1
        while end > at and (data[end - 1] == 0x20 or data[end - 1] == 0x09):
            end -= 1
        if end <= at or (end - at == 2 and data[at] == 0x22 and data[at + 1] == 0x22):
            continue
        negative = data[at] == 0x2D
        if negative or data[at] == 0x2B:
            at += 1
        whole = np.int64(0)
        digits = 0  # that count: without leading zeros
        found = 0
        places = -1
        good = True
        for place in range(at, end):
            character = data[place]
            if 0x30 <= character <= 0x39:
                found += 1
                if digits or character != 0x30:
                    digits += 1
                if digits <= _EXACT_DIGITS:
                    whole = whole * 10 + (character - 0x30)
                if places >= 0:
                    places += 1
            elif character == 0x2E and places < 0:
                places = 0
            else:
                good = False
                break
        if not good or not found:
            status[row] = _REFUSED
        elif digits > _EXACT_DIGITS or places > 22:
            status[row] = _LONG
            long += 1
        else:
            number = float(whole)
            if places > 0:
                number /= powers[places]
            value[row] = -number if negative else number
            status[row] = _VALID
    return long
