"""What the city's local codes and units mean: the concept map that it loads, and what must come of it."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jobs.city.compare import Difference
from jobs.city.instruments import Laboratory
from jobs.city.results import ANALYTES
from jobs.city.truth import Truth
from jobs.lake_views import lake_views
from lake_layout.lake import Lake
from schemas.tables import OBSERVATION
from schemas.tables.coding import CODING

_MEANS: Final[Mapping[str, tuple[str, str, float]]] = MappingProxyType(
    {
        "WBC": ("10*9/L", "10*9/L", 1), "RBC": ("10*12/L", "10*12/L", 1), "HGB": ("g/L", "g/L", 1),
        "PLT": ("10*9/L", "10*9/L", 1), "HCT": ("%", "%", 1), "MCV": ("fL", "fL", 1),
        "NEUT": ("10*9/L", "10*9/L", 1), "LYMPH": ("10*9/L", "10*9/L", 1),
        "GLU": ("mmol/L", "mg/dL", 18.0156), "CREA": ("umol/L", "mg/dL", 0.011312),
        "UREA": ("mmol/L", "mg/dL", 2.8014), "UA": ("umol/L", "mg/dL", 0.0168112),
        "ALT": ("U/L", "U/L", 1), "AST": ("U/L", "U/L", 1), "TBIL": ("umol/L", "mg/dL", 0.0584673),
        "TP": ("g/L", "g/L", 1), "ALB": ("g/L", "g/L", 1), "NA": ("mmol/L", "mmol/L", 1),
        "K": ("mmol/L", "mmol/L", 1), "CL": ("mmol/L", "mmol/L", 1), "TC": ("mmol/L", "mg/dL", 38.6664),
        "TG": ("mmol/L", "mg/dL", 88.545),
    }
)  # fmt: skip
"""Local code → what its unit is in UCUM, the unit of its concept, and the factor between them; reckoned by hand."""


def concept_map() -> str:
    """The map as a CSV file: the laboratories' own codes, which all of them share."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["code", "loinc", "display"])
    rows.writerows([one.local, one.code, one.display] for one in ANALYTES)
    return out.getvalue()


def compare_codes(lake: Lake, truth: Truth) -> Difference | None:
    """``ops/coding`` against what the city's codes mean, once its map is loaded.

    Args:
        lake: where the tables lie.
        truth: of all that was sent.
    """
    loinc_of = {one.local: one.code for one in ANALYTES}
    sent = {
        (str(row["source"]), local, str(row["unit_code"]))
        for row in truth.tables.get(OBSERVATION.name, [])
        if (local := _local(row)) in _MEANS and row.get("unit_code")
    }
    wanted: Counter[tuple[object, ...]] = Counter((*one, loinc_of[one[1]], *_MEANS[one[1]]) for one in sent)
    columns = [
        "source",
        "code",
        "alt_code",
        "unit",
        "loinc",
        "ucum_unit",
        "canonical_unit",
        "factor",
        "shift",
    ]
    there: Counter[tuple[object, ...]] = Counter()
    for row in lake.dataset(CODING).to_table(columns=columns).to_pylist():
        local = row["alt_code"] or row["code"]
        if local not in _MEANS or not row["unit"]:
            continue
        factor, expected = row["factor"], _MEANS[local][2]
        exact = factor is not None and not row["shift"] and math.isclose(factor, expected, rel_tol=1e-9)
        said = (row["loinc"], row["ucum_unit"], row["canonical_unit"], expected if exact else factor)
        there[row["source"], local, row["unit"], *said] = 1  # of one meaning, whatever else tells them apart
    missing, surplus = wanted - there, there - wanted
    if not missing and not surplus:
        return None
    examples = sorted(f"{one[0]} {one[1]}" for one in (*missing, *surplus))
    return Difference(CODING.name, missing.total(), surplus.total(), 0, (), tuple(examples[:5]))


def compare_released(lake: Lake, laboratory: Laboratory) -> Difference | None:
    """What of instruments' results is released, against what the city's laboratory systems reported on.

    Args:
        lake: where the tables lie.
        laboratory: the instruments, with what they sent.
    """
    sql = """SELECT DISTINCT institution, specimen_id, CAST(CAST(effective_time + INTERVAL 8 HOUR AS DATE) AS VARCHAR),
        observation_code, released FROM curated_coded.instrument_observation"""
    with lake_views(lake) as views:
        there = Counter(tuple(row) for row in views.connection.execute(sql).fetchall())
    released = laboratory.released()
    wanted: Counter[tuple[object, ...]] = Counter((*one, one in released) for one in laboratory.measured())
    missing, surplus = wanted - there, there - wanted
    if not missing and not surplus:
        return None
    examples = sorted(f"{one[0]} {one[3]}" for one in (*missing, *surplus))
    name = "curated_coded/instrument_observation"
    return Difference(name, missing.total(), surplus.total(), 0, (), tuple(examples[:5]))


def _local(row: Mapping[str, object]) -> str:
    return str(row.get("observation_alt_code") or row.get("observation_code") or "")
