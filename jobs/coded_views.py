"""``curated_coded.*``: observations with LOINC code, UCUM unit and the value in the concept's unit.

Observations keep code and unit as sent; ``ops.coding`` says what each combination of them means, so that a map that is
loaded later changes no observation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from schemas.table import Field, Table
from schemas.tables.coding import CODING
from schemas.tables.curated import HIDDEN, OBSERVATION_FOLD, curated

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

CURATED_OBSERVATION: Final = curated(OBSERVATION_FOLD)

INSTRUMENT: Final = "instrument"
"""Status of what an analyser says and no laboratory system has released."""

_FINAL: Final = "('F', 'C', 'A', 'B', 'V', 'U')"
"""Statuses of a released result (HL7 table 0085)."""

JOIN: Final = """coding.source = said.source
 AND coding.code = coalesce(said.observation_code, CASE WHEN said.observation_alt_code IS NULL
     THEN coalesce(said.observation_text, said.observation_display) END, '')
 AND coding.code_system = coalesce(said.observation_system, '')
 AND coding.alt_code = coalesce(said.observation_alt_code, '')
 AND coding.alt_system = coalesce(said.observation_alt_system, '')
 AND coding.specimen_type = coalesce(said.specimen_type, '')
 AND coding.method = coalesce(said.method, '')
 AND coding.unit = coalesce(said.unit_code, said.unit_display, '')
 AND coalesce(said.event_date, CAST(said.received_at AS DATE)) >= coalesce(coding.valid_from, DATE '0001-01-01')
 AND coalesce(said.event_date, CAST(said.received_at AS DATE)) < coalesce(coding.valid_to, DATE '9999-12-31')"""
"""What an observation (``said``) means: the one row of ``ops.coding``; plain SQL, which other engines take too."""

_MINUTES: Final = "to_minutes(CAST(coalesce(effective_time_offset, 0) AS BIGINT))"

_DAY: Final = f"coalesce(CAST(effective_time + {_MINUTES} AS DATE), event_date)"
"""The local day of an observation: barcodes come round again on another."""


_SAID = ("loinc", "loinc_display", "loinc_from", "ucum_unit", "canonical_unit")
_WHY = ("code_reason", "unit_reason")


def _coding(names: Collection[str]) -> tuple[Field, ...]:
    fields = {field.name: field for field in CODING.fields}
    return tuple(replace(fields[name], nullable=True) for name in names)


_CODED: Final = (
    *(replace(field, nullable=True) for field in CURATED_OBSERVATION.fields if field.name not in HIDDEN),
    *_coding(_SAID),
    Field("value_canonical", pa.float64(), "The value in canonical_unit."),
    *_coding(_WHY),
)

CODED: Final = Table(
    name="curated_coded/observation",
    doc="Observations with LOINC code, UCUM unit and the value in the unit that the concept is compared in.",
    fields=_CODED,
)

RESULT: Final = Table(
    name="curated_coded/result",
    doc="The same, each result once: instruments' only where no laboratory system has released them.",
    fields=_CODED,
)

MEASURED: Final = Table(
    name="curated_coded/instrument_observation",
    doc="What instruments say, and whether a laboratory system has released it.",
    fields=(
        *_CODED,
        Field("released", pa.bool_(), "Whether a result of that specimen, day and code is released."),
    ),
)


def show_coded(connection: duckdb.DuckDBPyConnection, tables: Collection[Table]) -> list[Table]:
    """Make the views, where all that it takes is shown already.

    Args:
        connection: with views of the tables.
        tables: which there are.

    Returns:
        The views that were made.
    """
    if not {CURATED_OBSERVATION.name, CODING.name} <= {table.name for table in tables}:
        return []
    connection.execute("CREATE SCHEMA IF NOT EXISTS curated_coded")
    queries = {CODED: coded_sql(), MEASURED: instrument_sql(), RESULT: result_sql()}
    for view, sql in queries.items():
        connection.execute(f"CREATE VIEW {view.view_name} AS {sql}")
    return [*queries]


def coded_sql() -> str:
    """The query of ``curated_coded.observation``."""
    return f"""
        SELECT said.*, coding.loinc, coding.loinc_display, coding.loinc_from, coding.ucum_unit,
          coding.canonical_unit, said.value_number * coding.factor + coding.shift AS value_canonical,
          coding.code_reason, coding.unit_reason
        FROM {CURATED_OBSERVATION.view_name} AS said LEFT JOIN {CODING.view_name} AS coding ON {JOIN}
    """  # noqa: S608 - our names


def instrument_sql() -> str:
    """The query of ``curated_coded.instrument_observation``: what instruments say, and whether it is ``released``.

    It is where a laboratory system of the same institution has released a result of the same specimen, day, and code
    (local, or LOINC). A view of its own, since it looks at all released results, which other questions need not do.
    """
    return f"""
        WITH measured AS (SELECT * FROM curated_coded.observation WHERE status = '{INSTRUMENT}'),
        released AS (
          SELECT DISTINCT institution, specimen_id, {_DAY} AS day, unnest([observation_code, loinc]) AS code
          FROM curated_coded.observation
          WHERE status IN {_FINAL} AND specimen_id IN (SELECT specimen_id FROM measured)
        )
        SELECT *, {_is_released("observation_code")} OR {_is_released("loinc")} AS released FROM measured
    """  # noqa: S608 - our names


def result_sql() -> str:
    """The query of ``curated_coded.result``: a released result supersedes the instrument's."""
    return f"""
        SELECT * FROM curated_coded.observation WHERE status IS DISTINCT FROM '{INSTRUMENT}'
        UNION ALL
        SELECT * EXCLUDE (released) FROM curated_coded.instrument_observation WHERE NOT released
    """  # noqa: S608 - our names


def _is_released(code: str) -> str:
    found = "SELECT institution, specimen_id, day, code FROM released WHERE code IS NOT NULL"
    return f"coalesce((institution, specimen_id, {_DAY}, {code}) IN ({found}), false)"
