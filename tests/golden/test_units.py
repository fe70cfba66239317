"""Golden units: what a unit as sent means (``units/as_sent.tsv``), and what values become (``units/conversions.tsv``).

The first has a unit as sent and its UCUM code, empty where nobody can tell; the second a LOINC code, a UCUM code, and
factor and shift to the concept's own unit, or ``-`` and the reason why there are none.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.codes.coding import SENT_SCHEMA, coding_of
from pipelines.codes.concept_map import ConceptMap
from pipelines.codes.units import conversion, plain, ucum_code
from schemas.codes.analytes import ANALYTES
from schemas.codes.loinc import is_loinc
from schemas.codes.units import ALIASES
from schemas.tables.coding import SENT

FOLDER = Path(__file__).parent / "units"


def lines_of(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (FOLDER / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("sent", "code"), lines_of("as_sent.tsv"))
def test_a_unit_as_sent_has_its_ucum_code(sent: str, code: str) -> None:
    assert ucum_code(sent) == (code or None)
    if code:
        assert ucum_code(code) == code


@pytest.mark.parametrize(("loinc", "unit", "factor", "shift"), lines_of("conversions.tsv"))
def test_a_value_is_turned_into_the_unit_of_its_concept(
    loinc: str, unit: str, factor: str, shift: str
) -> None:
    sent = {**dict.fromkeys(SENT, ""), "source": "s", "code": loinc, "code_system": "LN", "unit": unit}
    (row,) = coding_of(SENT_SCHEMA.empty_table().from_pylist([sent]), ConceptMap({}), 0).to_pylist()
    assert row["canonical_unit"] == ANALYTES[loinc].unit
    if factor == "-":
        assert (row["factor"], row["shift"], row["unit_reason"]) == (None, None, shift)
    else:
        assert row["factor"] == pytest.approx(float(factor), rel=1e-10)
        assert row["shift"] == pytest.approx(float(shift), rel=1e-10)
        assert row["unit_reason"] is None


def test_the_tables_hold_codes_of_ucum_and_loinc() -> None:
    for written, code in ALIASES.items():
        assert ucum_code(code) == code, code
        assert plain(written).casefold() == written, written
    for analyte in ANALYTES.values():
        assert is_loinc(analyte.loinc), analyte
        assert ucum_code(analyte.unit) == analyte.unit, analyte


@given(st.text(max_size=80))
def test_whatever_is_sent_is_a_unit_or_none(text: str) -> None:
    code = ucum_code(text)
    assert code is None or (ucum_code(code) == code and code.isascii())


UNITS = st.sampled_from(sorted({*ALIASES.values(), *(one.unit for one in ANALYTES.values())}))
MASSES = st.sampled_from([None, 18.0, 180.156])


@given(UNITS, UNITS, MASSES)
def test_conversions_lead_there_and_back(one: str, other: str, mass: float | None) -> None:
    there, back = conversion(one, other, mass), conversion(other, one, mass)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.factor * back.factor == pytest.approx(1, rel=1e-9)
        assert there.shift * back.factor + back.shift == pytest.approx(0, abs=1e-6)


@given(UNITS, UNITS, UNITS, MASSES)
def test_conversions_add_up(one: str, between: str, other: str, mass: float | None) -> None:
    first, then, direct = (
        conversion(one, between, mass),
        conversion(between, other, mass),
        conversion(one, other, mass),
    )
    if first and then:
        assert direct is not None
        assert direct.factor == pytest.approx(first.factor * then.factor, rel=1e-9)
        assert direct.shift == pytest.approx(first.shift * then.factor + then.shift, abs=1e-6)
