"""Findings while a batch is read: who deviates in what, kept as numbers until the columns are made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, Bools
from schemas.findings import HL7_FINDINGS

CODES = tuple(sorted(finding.code for finding in HL7_FINDINGS))
_NUMBER = {code: number for number, code in enumerate(CODES)}
_NAMES = pa.array(CODES)
_SEVERITIES = pa.array([{one.code: one.severity.value for one in HL7_FINDINGS}[code] for code in CODES])
_BITS = (("repetition", 10), ("component", 6), ("field", 8), ("code", 8))


def _rows_of(rows: I64 | Bools) -> I64:
    return np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)


@dataclass
class Noted:
    """Codes of the rows of a table."""

    rows: list[I64] = field(default_factory=list)
    codes: list[I64] = field(default_factory=list)

    def note(self, code: str, rows: I64 | Bools) -> I64:
        """Note a code for rows, given by number or by a flag for each; the rows as numbers.

        Raises:
            KeyError: the code is not in the table of findings.
        """
        number = _NUMBER[code]
        found = _rows_of(rows)
        if len(found):
            self.rows.append(found)
            self.codes.append(np.full(len(found), number, np.int64))
        return found

    def lists(self, length: int) -> pa.Array:
        """A sorted list of codes for each row; empty where there is none."""
        if not self.rows:
            return pa.ListArray.from_arrays(pa.array(np.zeros(length + 1, np.int32)), _NAMES[:0])
        keys = np.unique(np.concatenate(self.rows) * len(CODES) + np.concatenate(self.codes))
        return _lists(keys // len(CODES), keys % len(CODES), length)


def _lists(rows: I64, codes: I64, length: int) -> pa.Array:
    offsets = np.zeros(length + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=length), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), _NAMES.take(pa.array(codes)))


@dataclass
class Findings:
    """All findings of a batch with their places; the same one at the same place counts once.

    Attributes:
        keys: segment, code, field, component and repetition of each as one number.
    """

    keys: list[I64] = field(default_factory=list)

    def note(
        self, code: str, segments: I64, field_number: int = 0, component: int = 0, repetition: int | I64 = 0
    ) -> None:
        """Note a code for segments.

        Args:
            code: of the table of findings.
            segments: indices of the batch's segments.
            field_number: HL7 field number from 1; 0 where the whole segment is meant.
            component: from 1; 0 where the whole field is meant.
            repetition: from 1; 0 where all are meant.
        """
        if not len(segments):
            return
        key = np.asarray(segments, np.int64)
        parts = {
            "repetition": np.minimum(repetition, 1023), "component": min(component, 63),
            "field": min(field_number, 255), "code": _NUMBER[code],
        }  # fmt: skip
        for name, bits in reversed(_BITS):
            key = key << bits | parts[name]
        self.keys.append(key)

    def all(self) -> Places:
        """Each finding once, by segment."""
        key = np.unique(np.concatenate(self.keys)) if self.keys else np.zeros(0, np.int64)
        parts = {}
        for name, bits in _BITS:
            parts[name] = key & ((1 << bits) - 1)
            key = key >> bits
        return Places(key, **parts)


@dataclass(frozen=True)
class Places:
    """Findings as columns of equal length, ordered by segment.

    Attributes:
        segment: index of the batch's segment.
        repetition: from 1; 0 for all.
        component: from 1; 0 for the whole.
        field: from 1; 0 for the whole segment.
        code: index into ``CODES``.
    """

    segment: I64
    repetition: I64
    component: I64
    field: I64
    code: I64

    def codes_of(self, message: I64, count: int) -> pa.Array:
        """A sorted list of codes for each message.

        Args:
            message: message of each segment of the batch.
            count: number of messages.
        """
        keys = np.unique(message[self.segment] * len(CODES) + self.code)
        return _lists(keys // len(CODES), keys % len(CODES), count)

    def columns(self) -> dict[str, pa.Array]:
        """The own columns of the table of findings that say what and where."""

        def number(values: I64) -> pa.Array:
            return pa.array(values.astype(np.int32), mask=values == 0)

        index = pa.array(self.code)
        return {
            "code": _NAMES.take(index),
            "severity": _SEVERITIES.take(index),
            "field": number(self.field),
            "repetition": number(self.repetition),
            "component": number(self.component),
        }
