"""``ops/concept_map`` and ``ops/coding``: what local codes and units mean.

Both lie in ``ops``: a curated table is a function of messages alone, these follow from what an operator loads too.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.normalised import OBSERVATION

EVERY_SOURCE: Final = "*"
"""In the place of a source: an entry for all of them."""

STAGE: Final = "codes"


def _required(name: str, doc: str) -> Field:
    return Field(name, pa.string(), doc, nullable=False)


_VALIDITY = (
    Field("valid_from", pa.date32(), "First day that it holds for; null: from ever."),
    Field("valid_to", pa.date32(), "First day that it does not hold for any more; null: for ever."),
)

CONCEPT_MAP = Table(
    name="ops/concept_map",
    doc="Concept maps as loaded: a row for each entry of a load that said something new. Nothing is ever changed.",
    fields=(
        _required("source", "The connection whose codes it is about; * for all."),
        _required("code", "Local code."),
        _required("code_system", "Coding system as sent; empty: whichever."),
        _required("specimen_type", "Specimen type as sent; empty: whichever."),
        _required("method", "Method as sent; empty: whichever."),
        _required("unit", "Unit as sent, in any spelling; empty: whichever."),
        *_VALIDITY,
        _required("loinc", "LOINC code; empty: the entry is taken back."),
        _required("display", "What the operator calls it."),
        _required("canonical_unit", "UCUM code that values are compared in; empty: that of the program's table."),
        Field("load", pa.int64(), "Number of the load; of entries with one key the latest counts.", nullable=False),
        Field("loaded_at", INSTANT, "When.", nullable=False),
        _required("loaded_by", "Who."),
        _required("file_name", "Name of the file."),
        _required("file_sha256", "SHA-256 of the file, in hexadecimal digits."),
        Field("line", pa.int32(), "Line of the file.", nullable=False),
    ),
    sort_by=("source", "code"),
    statistics=("source", "load"),
)  # fmt: skip

MAP_KEY: Final = ("source", "code", "code_system", "specimen_type", "method", "unit", "valid_from")
"""What names an entry; ``valid_to``, ``loinc``, ``display`` and ``canonical_unit`` are what it says."""

SENT: Final = ("source", "code", "code_system", "alt_code", "alt_system", "specimen_type", "method", "unit")
"""What observations are told apart by, as sent; empty where nothing was."""

CODING = Table(
    name="ops/coding",
    doc="What each combination of code, specimen type, method and unit that was sent means, by the maps as they are.",
    fields=(
        _required("source", "Name of the connection."),
        _required("code", "Code as sent (OBX-3.1); of an observation without any code its text."),
        _required("code_system", "Its coding system."),
        _required("alt_code", "Alternate code."),
        _required("alt_system", "Its coding system."),
        _required("specimen_type", "Specimen type."),
        _required("method", "Method."),
        _required("unit", "Unit."),
        *_VALIDITY,
        Field("loinc", pa.string(), "LOINC code; null where nothing says it."),
        Field("loinc_display", pa.string(), "What that is."),
        Field("loinc_from", pa.string(), "map: a concept map says it; sent: the message does."),
        Field("ucum_unit", pa.string(), "The unit as a UCUM code; null where it cannot be read or none was sent."),
        Field("canonical_unit", pa.string(), "UCUM code that values of the concept are compared in."),
        Field("factor", pa.float64(), "value × factor + shift is the value in that; null where it cannot be had."),
        Field("shift", pa.float64(), "See factor."),
        Field("code_reason", pa.string(), "Why there is no LOINC code; see CODE_REASONS."),
        Field("unit_reason", pa.string(), "Why there is no value in the canonical unit; see UNIT_REASONS."),
        Field("map_load", pa.int64(), "The last load of a map when it was derived.", nullable=False),
        _required("rule", "Hash of the program that derived it."),
    ),
    sort_by=("source", "code", "valid_from"),
    statistics=("source", "code"),
)  # fmt: skip
"""Derived: made again as a whole when a map is loaded, or when the program derives differently."""

CODE_REASONS: Final = {
    "CODE-UNMAPPED": "no concept map has an entry for it, and the message names no LOINC code",
    "CODE-NONE": "the message names no code",
}

UNIT_REASONS: Final = {
    "UNIT-NONE": "no unit was sent",
    "UNIT-UNKNOWN": "the unit cannot be read",
    "UNIT-CONCEPT-UNKNOWN": "there is no LOINC code",
    "UNIT-NO-CANONICAL": "neither the program nor a map says in which unit the concept is compared",
    "UNIT-NO-MOLAR-MASS": "mass would have to be turned into amount, and the analyte's molar mass is not known",
    "UNIT-OTHER-KIND": "the unit measures something else than the concept's unit does",
}

PROGRESS: Final = f"{STAGE}:{OBSERVATION.name}"
"""Under this id ``ops/coding`` records up to which version of the observations it has all combinations."""

CODES_TABLES: Final[tuple[Table, ...]] = (CONCEPT_MAP, CODING)
