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


@dataclass
class Noted:
    """Codes of the rows of something (messages, or rows of a table)."""

    rows: list[I64] = field(default_factory=list)
    codes: list[I64] = field(default_factory=list)

    def note(self, code: str, rows: I64 | Bools) -> None:
        """Note a code for rows, given by number or by a flag for each.

        Raises:
            KeyError: the code is not in the table of findings.
        """
        found = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if len(found):
            self.rows.append(np.asarray(found, np.int64))
            self.codes.append(np.full(len(found), _NUMBER[code], np.int64))

    def pairs(self) -> tuple[I64, I64]:
        """Rows and code numbers, sorted, each pair once."""
        if not self.rows:
            empty = np.zeros(0, np.int64)
            return empty, empty
        keys = np.unique(np.concatenate(self.rows) * len(CODES) + np.concatenate(self.codes))
        return keys // len(CODES), keys % len(CODES)

    def lists(self, length: int) -> pa.Array:
        """A sorted list of codes for each row; empty where there is none."""
        rows, codes = self.pairs()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=length))]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), _NAMES.take(pa.array(codes)))

    def add_to(self, other: Noted, owner: I64) -> None:
        """Note all of these for the rows that own them too."""
        rows, codes = self.pairs()
        if len(rows):
            other.rows.append(owner[rows])
            other.codes.append(codes)
