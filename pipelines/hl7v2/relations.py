"""What belongs to what in a batch (``schemas/hl7v2/structure.py``), for all segments at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.hl7v2.decode import I64
from pipelines.hl7v2.split import Split, name_code
from pipelines.kernel import kernel
from schemas.hl7v2.structure import DETAILS

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
        specimen: index of the SPM before it, where specimens come before their orders.
        parent: the segment that an NTE speaks of: the nearest before it that is no NTE.
    """

    patient: I64
    visit: I64
    group: I64
    groups: int
    specimen: I64
    parent: I64


def relate(split: Split) -> Relations:
    """Find what belongs to what."""
    patient, visit, group, specimen, parent = (np.full(len(split), NONE, np.int64) for _ in range(5))
    names = np.array([name_code(name) for name in ("PID", "PV1", "ORC", "SPM", "NTE", "OBR")], np.int64)
    details = np.array([name_code(name) for name in DETAILS], np.int64)
    groups = _relate(split.names, split.message, names, details, patient, visit, group, specimen, parent)
    return Relations(patient, visit, group, groups, specimen, parent)


@kernel
def _ends_there(codes: I64, messages: I64, at: int, details: I64) -> bool:
    """Whether no detail follows a segment at once: an ORC that one follows speaks of that one."""
    if at + 1 == len(codes) or messages[at + 1] != messages[at]:
        return True
    return not (details == codes[at + 1]).any()


@kernel
def _relate(  # noqa: C901, PLR0912, PLR0915 - one walk over the segments
    codes: I64, messages: I64, names: I64, details: I64,
    patient: I64, visit: I64, group: I64, specimen: I64, parent: I64,
) -> int:  # fmt: skip
    """Fill the relations; the number of order groups."""
    pid, pv1, orc, spm, nte, obr = names[0], names[1], names[2], names[3], names[4], names[5]
    groups = 0
    message = -1
    here = -1  # the patient
    stay = -1  # the visit
    order = -1  # the order group
    seen = 0  # details of the group, as bits
    opened = -1  # the last OBR that opened its group, having no ORC before it
    sample = -1  # the specimen, where they come first
    ordered = False  # whether the patient has had an order group
    last = -1  # the last segment that is no note
    reach = 0  # where the patient's segments begin
    for at in range(len(codes)):
        code = codes[at]
        if messages[at] != message:
            message = messages[at]
            here = stay = order = opened = sample = last = -1
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
            stay = order = sample = -1
            ordered = False
            seen = 0
        elif code == pv1:
            if stay < 0:
                for before in range(reach, at):
                    visit[before] = at
            stay = at
        elif code == orc:
            if not (at > 0 and opened == at - 1 and _ends_there(codes, messages, at, details)):
                order = groups
                groups += 1
                seen = 0
                ordered = True
        elif code == spm:
            if sample >= 0 or not ordered:
                sample = at
                order = -1
                seen = 0
        else:
            for place in range(len(details)):
                if code == details[place]:
                    bit = 1 << place
                    if order < 0 or seen & bit:
                        order = groups
                        groups += 1
                        seen = 0
                        ordered = True
                        if code == obr:
                            opened = at
                    seen |= bit
                    break
        patient[at] = here
        visit[at] = stay
        group[at] = order
        specimen[at] = sample
        parent[at] = last
        if code != nte:
            last = at
    return groups
