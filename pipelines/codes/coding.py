"""What was sent → what it means: LOINC code, UCUM unit, and what turns values into the concept's own unit."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import metadata, resources
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.codes.concept_map import ConceptMap, Entry
from pipelines.codes.units import conversion, needs_molar_mass, ucum_code
from schemas.codes.analytes import ANALYTES
from schemas.codes.loinc import is_loinc, names_loinc
from schemas.tables.coding import CODING, SENT
from schemas.tables.columns import DELETED

COLUMNS: Final = (
    "source", "observation_code", "observation_display", "observation_system", "observation_alt_code",
    "observation_alt_system", "observation_text", "specimen_type", "method", "unit_code", "unit_display",
)  # fmt: skip
"""Columns of observations that it follows from."""

SENT_SCHEMA: Final = pa.schema([(name, pa.string()) for name in SENT])


def sent_of(rows: pa.Table) -> pa.Table:
    """The distinct combinations of what rows of observations sent.

    Args:
        rows: with ``COLUMNS``.

    Returns:
        ``SENT_SCHEMA``.
    """

    def column(name: str) -> pa.ChunkedArray:
        return rows.column(name).cast(pa.string())

    without_code = pc.coalesce(column("observation_text"), column("observation_display"))
    alone = pc.if_else(pc.is_null(column("observation_alt_code")), without_code, pa.scalar(None, pa.string()))
    found = {
        "source": column("source"),
        "code": pc.coalesce(column("observation_code"), alone),
        "code_system": column("observation_system"),
        "alt_code": column("observation_alt_code"),
        "alt_system": column("observation_alt_system"),
        "specimen_type": column("specimen_type"),
        "method": column("method"),
        "unit": pc.coalesce(column("unit_code"), column("unit_display")),
    }
    table = pa.table({name: pc.fill_null(values, "") for name, values in found.items()}, schema=SENT_SCHEMA)
    return table.group_by(list(SENT)).aggregate([]).select(list(SENT)).cast(SENT_SCHEMA)


def without(sent: pa.Table, known: pa.Table) -> pa.Table:
    """Combinations that a table of coding has not."""
    return sent.join(known.select(list(SENT)), list(SENT), join_type="left anti", use_threads=False)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a combination means for some time."""

    loinc: str | None
    display: str | None
    source: str | None
    canonical_unit: str | None


def coding_of(sent: pa.Table, maps: ConceptMap, map_load: int) -> pa.Table:
    """Derive what combinations mean.

    Args:
        sent: ``SENT_SCHEMA``.
        maps: as they are.
        map_load: number of the last load.

    Returns:
        ``CODING``: of each combination a row, or several for days that follow one another.
    """
    canonical = {
        **maps.canonical_units(), **{one.loinc: one.unit for one in ANALYTES.values()}
    }  # fmt: skip
    rows = []
    for one in sent.to_pylist():
        code = ucum_code(_said(one["unit"]))
        for since, until, meaning in _times(_candidates(one, maps), _stated(one), canonical):
            rows.append(
                {
                    **one,
                    "valid_from": since,
                    "valid_to": until,
                    "loinc": meaning.loinc,
                    "loinc_display": meaning.display,
                    "loinc_from": meaning.source,
                    "ucum_unit": code,
                    "canonical_unit": meaning.canonical_unit,
                    "code_reason": _code_reason(one, meaning),
                    **_value(one, code, meaning),
                    "map_load": map_load,
                    "rule": rule(),
                }
            )
    return pa.Table.from_pylist(rows, schema=CODING.arrow_schema)


def _said(text: str) -> str:
    return "" if text == DELETED else text


def _candidates(sent: Mapping[str, str], maps: ConceptMap) -> list[Entry]:
    """Entries that may count, the first that holds on a day does: of the code, then of the alternate one."""
    beside = {name: sent[name] for name in ("source", "specimen_type", "method", "unit")}
    own = maps.about(code=sent["code"], code_system=sent["code_system"], **beside)
    other = maps.about(code=sent["alt_code"], code_system=sent["alt_system"], **beside)
    return [*own, *other]


def _stated(sent: Mapping[str, str]) -> str | None:
    """The LOINC code that the message names itself."""
    for code, system in (("code", "code_system"), ("alt_code", "alt_system")):
        if names_loinc(sent[system]) and is_loinc(sent[code]):
            return sent[code]
    return None


def _times(
    entries: list[Entry], stated: str | None, canonical: Mapping[str, str]
) -> Iterator[tuple[date | None, date | None, _Meaning]]:
    """Days from which and until which something holds; together they are all days."""
    ends = {day for entry in entries for day in (entry.valid_from, entry.valid_to) if day is not None}
    since: date | None = None
    meaning = _on(date.min, entries, stated, canonical)
    for day in sorted(ends):
        next_one = _on(day, entries, stated, canonical)
        if next_one != meaning:
            yield since, day, meaning
            since, meaning = day, next_one
    yield since, None, meaning


def _on(day: date, entries: Iterable[Entry], stated: str | None, canonical: Mapping[str, str]) -> _Meaning:
    entry = next((one for one in entries if one.holds_on(day)), None)
    loinc = stated if entry is None else entry.loinc
    if loinc is None:
        return _Meaning(None, None, None, None)
    known = ANALYTES.get(loinc)
    display = (entry.display if entry else "") or (known.display if known else None)
    return _Meaning(loinc, display, "map" if entry else "sent", canonical.get(loinc))


def _code_reason(sent: Mapping[str, str], meaning: _Meaning) -> str | None:
    if meaning.loinc is not None:
        return None
    return "CODE-UNMAPPED" if _said(sent["code"]) or _said(sent["alt_code"]) else "CODE-NONE"


def _value(sent: Mapping[str, str], code: str | None, meaning: _Meaning) -> dict[str, float | str | None]:
    """``factor``, ``shift`` and ``unit_reason``."""
    reason: str | None = None
    found = None
    to = meaning.canonical_unit
    if not _said(sent["unit"]):
        reason = "UNIT-NONE"
    elif code is None:
        reason = "UNIT-UNKNOWN"
    elif meaning.loinc is None:
        reason = "UNIT-CONCEPT-UNKNOWN"
    elif to is None:
        reason = "UNIT-NO-CANONICAL"
    else:
        known = ANALYTES.get(meaning.loinc)
        mass = known.molar_mass if known else None
        found = conversion(code, to, mass)
        if found is None:
            wanting = mass is None and needs_molar_mass(code, to)
            reason = "UNIT-NO-MOLAR-MASS" if wanting else "UNIT-OTHER-KIND"
    if found is None:
        return {"factor": None, "shift": None, "unit_reason": reason}
    return {"factor": found.factor, "shift": found.shift, "unit_reason": None}


@functools.lru_cache(maxsize=1)
def rule() -> str:
    """Hash of the program text, and of the libraries, that say what is derived."""
    digest = hashlib.sha256()
    for package in ("schemas.codes", "pipelines.codes"):
        for path in sorted(Path(str(resources.files(package))).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for library in ("ucumvert", "pint", "python-stdnum"):
        digest.update(metadata.version(library).encode() + b"\0")
    return digest.hexdigest()[:16]
