"""``curated_coded.observation``: what is so now, with LOINC code, UCUM unit and the value in the concept's unit.

Observations keep code and unit as sent; ``ops.coding`` says what each combination of them means, so that a map that is
loaded later changes no observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.tables.coding import CODING
from schemas.tables.curated import OBSERVATION_FOLD, curated

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

    from schemas.table import Table

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


def show_coded(connection: duckdb.DuckDBPyConnection, tables: Collection[Table]) -> None:
    """Make the views, where all that it takes is shown already.

    Args:
        connection: with views of the tables.
        tables: which there are.
    """
    if {CURATED_OBSERVATION.name, CODING.name} <= {table.name for table in tables}:
        connection.execute("CREATE SCHEMA IF NOT EXISTS curated_coded")
        connection.execute(f"CREATE VIEW curated_coded.observation AS {coded_sql()}")
        connection.execute(f"CREATE VIEW curated_coded.instrument_observation AS {instrument_sql()}")


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


def _is_released(code: str) -> str:
    found = "SELECT institution, specimen_id, day, code FROM released WHERE code IS NOT NULL"
    return f"coalesce((institution, specimen_id, {_DAY}, {code}) IN ({found}), false)"
