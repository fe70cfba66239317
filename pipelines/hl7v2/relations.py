"""What belongs to what in a batch (``schemas/hl7v2/structure.py``), for all segments at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.hl7v2.decode import I64, U8, Bools
from pipelines.hl7v2.locate import Rows
from pipelines.hl7v2.split import Positions, Split, name_code
from pipelines.kernel import kernel
from schemas.hl7v2.structure import DETAILS, EXTENDING, GIVEN

NONE = -1
"""Stands for "no such segment"."""


@dataclass(frozen=True)
class Relations:
    """For each segment of a batch, the segments that it belongs to; ``NONE`` where there is none.

    Attributes:
        patient: index of its PID.
        visit: index of its PV1.
        group: number of its order group, counted over the batch.
        groups: number of order groups.
        detail: index of the last segment before it, or of itself, that says what its group orders, does or gives.
        specimen: index of the SPM before it, where specimens come before their orders.
        parent: of an NTE, the segment that it speaks of.
    """

    patient: I64
    visit: I64
    group: I64
    groups: int
    detail: I64
    specimen: I64
    parent: I64


def relate(split: Split) -> Relations:
    """Find what belongs to what."""
    patient, visit, group, detail, specimen, parent = (np.full(len(split), NONE, np.int64) for _ in range(6))
    names = _codes_of("PID", "PV1", "ORC", "SPM", "NTE", "OBR", "TQ1")
    groups = _relate(
        split.names, split.message, _gives(split), names, _codes_of(*DETAILS), _codes_of(*EXTENDING),
        patient, visit, group, detail, specimen, parent,
    )  # fmt: skip
    return Relations(patient, visit, group, groups, detail, specimen, parent)


def _codes_of(*names: str) -> I64:
    return np.array([name_code(name) for name in names], np.int64)


def _gives(split: Split) -> Bools:
    """For each message whether MSH-9.1 is one of ``GIVEN``."""
    place = Rows(split, split.first_of_message, 1, {}, {}).place(9, 1)
    found = np.zeros(len(split.first_of_message), np.bool_)
    if not place.empty:
        _are_named(split.data, place.low, place.high, _codes_of(*GIVEN), found)
    return found


@kernel
def _are_named(data: U8, low: Positions, high: Positions, codes: I64, found: Bools) -> None:
    """Flag the places that hold one of some names of three characters, in any case."""
    for row in range(len(low)):
        if high[row] - low[row] == 3:
            name = 0
            for at in range(low[row], high[row]):
                letter = int(data[at])
                name = name << 8 | (letter - 32 if 0x61 <= letter <= 0x7A else letter)
            for code in codes:
                found[row] |= name == code


@kernel
def _relate(  # noqa: C901, PLR0912, PLR0915 - one walk over the segments
    codes: I64, messages: I64, gives: Bools, names: I64, details: I64, extending: I64,
    patient: I64, visit: I64, group: I64, detail: I64, specimen: I64, parent: I64,
) -> int:  # fmt: skip
    """Fill the relations; the number of order groups."""
    pid, pv1, orc, spm, nte, obr, tq1 = names[0], names[1], names[2], names[3], names[4], names[5], names[6]
    groups = 0
    message = -1
    here = -1  # the patient
    stay = -1  # the visit
    order = -1  # the order group
    request = -1  # its ORC
    said = -1  # its last detail
    seen = 0  # details of the group, as bits
    sample = -1  # the specimen, where they come first
    ordered = False  # whether the patient has had an order group
    reach = 0  # where the patient's segments begin
    for at in range(len(codes)):
        code = codes[at]
        if messages[at] != message:
            message = messages[at]
            here = stay = order = request = said = sample = -1
            ordered = False
            seen = 0
            reach = at
        if code == pid:
            if here < 0:
                for before in range(reach, at):
                    patient[before] = at
            else:
                reach = at
            here = at
            stay = order = request = said = sample = -1
            ordered = False
            seen = 0
        elif code == pv1:
            if stay < 0:
                for before in range(reach, at):
                    visit[before] = at
            stay = at
        elif code == orc:
            joins = request < 0 and order >= 0 and codes[at - 1] == obr
            if joins:
                # the group of the OBR before it, unless a detail follows that it can open a group with
                after = at + 1
                while after < len(codes) and messages[after] == message and codes[after] in (nte, tq1):
                    after += 1
                if after < len(codes) and messages[after] == message:
                    for place in range(len(details)):
                        joins = joins and codes[after] != details[place]
            if not joins:
                order = groups
                groups += 1
                seen = 0
                said = -1
                ordered = True
            request = at
        elif code == spm:
            if sample >= 0 or not ordered:
                sample = at
                order = request = said = -1
                seen = 0
        elif code == nte:
            parent[at] = _spoken_of(codes, group, parent, extending, at, nte, orc, obr)
        else:
            for place in range(len(details)):
                if code == details[place]:
                    bit = 1 << place
                    again = seen & bit and not (gives[message] and request >= 0 and code != obr)
                    if order < 0 or again:
                        order = groups
                        groups += 1
                        request = -1
                        seen = 0
                        ordered = True
                    seen |= bit
                    said = at
                    break
        patient[at] = here
        visit[at] = stay
        group[at] = order
        detail[at] = said
        specimen[at] = sample
    return groups


@kernel
def _spoken_of(
    codes: I64, group: I64, parent: I64, extending: I64, note: int, nte: int, orc: int, obr: int
) -> int:
    """The segment that a note speaks of; every message begins with a segment that is neither note nor extension."""
    at = note - 1
    if codes[at] == nte:
        return int(parent[at])
    while True:
        passed = codes[at] == orc and codes[at - 1] == obr and group[at] == group[at - 1]
        for code in extending:
            passed = passed or codes[at] == code
        if not passed:
            return at
        at -= 1
