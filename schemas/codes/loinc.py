"""LOINC codes: one to seven digits, a hyphen, and a check digit (LOINC Users' Guide, appendix C: mod 10)."""

from __future__ import annotations

import re
from typing import Final

from stdnum import luhn

_FORM: Final = re.compile(r"[1-9][0-9]{0,6}-[0-9]")

LOINC_SYSTEMS: Final = frozenset({"ln", "loinc", "http://loinc.org", "2.16.840.1.113883.6.1"})
"""How messages name the code system, in lower case (HL7 table 0396; FHIR; OID)."""


def is_loinc(code: str) -> bool:
    """Whether a text has the form of a LOINC code, and the check digit that goes with it."""
    return _FORM.fullmatch(code) is not None and luhn.is_valid(code.replace("-", ""))


def names_loinc(system: str) -> bool:
    """Whether a code system as sent is LOINC."""
    return system.strip().casefold() in LOINC_SYSTEMS
