"""Which message families feed which tables, one place per family (HL7 v2.5.1 chapters 3 and 7)."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.table import Table
from schemas.tables.clinical import DIAGNOSTIC_REPORT, ENCOUNTER, OBSERVATION, PATIENT, SERVICE_REQUEST


@dataclass(frozen=True, slots=True)
class Family:
    """Messages that are read alike.

    Attributes:
        code: MSH-9.1.
        triggers: MSH-9.2; where a sender leaves it out, EVN-1, else ``default_trigger``.
        tables: the tables they feed; the segments that these take do not go to ``segment``.
        default_trigger: what the code alone stands for.
    """

    code: str
    triggers: frozenset[str]
    tables: tuple[Table, ...]
    default_trigger: str = ""


FAMILIES: tuple[Family, ...] = (
    Family(
        "ADT",
        frozenset(
            {"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A11", "A12", "A13", "A28", "A31"}
        ),
        (PATIENT, ENCOUNTER, SERVICE_REQUEST, OBSERVATION),
    ),
    Family(
        "ORU",
        frozenset({"R01"}),
        (PATIENT, ENCOUNTER, SERVICE_REQUEST, DIAGNOSTIC_REPORT, OBSERVATION),
        default_trigger="R01",
    ),
)


def family_of(code: str, trigger: str, event: str = "") -> Family | None:
    """The family of a message; None where only ``segment`` takes it.

    Args:
        code: MSH-9.1.
        trigger: MSH-9.2, may be empty.
        event: EVN-1, which stood for the trigger before v2.3.
    """
    code = code.strip().upper()
    for family in FAMILIES:
        if family.code == code:
            named = (trigger.strip() or event.strip() or family.default_trigger).upper()
            return family if named in family.triggers else None
    return None
