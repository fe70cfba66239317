"""Ask about concept maps and what codes mean: the queries of ``phl codes``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobs.coded_views import CURATED_OBSERVATION, JOIN
from schemas.tables.coding import CODES_TABLES, CODING, CONCEPT_MAP, MAP_KEY

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from schemas.table import Table

TABLES: Final[tuple[Table, ...]] = (CURATED_OBSERVATION, *CODES_TABLES)
"""What the queries look at."""

_KEY: Final = ", ".join(MAP_KEY)


@dataclass(frozen=True)
class Asked:
    """Which rows.

    Attributes:
        source: of this connection only.
        code: with this code only: local, or LOINC.
        top: so many at most; None for all.
    """

    source: str | None = None
    code: str | None = None
    top: int | None = None

    def query(self, connection: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
        """Ask for a select list from something that has ``source``, ``code`` and ``loinc``."""
        where = "($source IS NULL OR source = $source) AND ($code IS NULL OR code = $code OR loinc = $code)"
        limit = "" if self.top is None else f" LIMIT {int(self.top)}"
        asked = sql.format(where=where) + limit
        return connection.sql(asked, params={"source": self.source, "code": self.code}).to_arrow_reader()


def unmapped(connection: duckdb.DuckDBPyConnection, asked: Asked) -> pa.RecordBatchReader:
    """Codes that nothing says the meaning of, the most frequent first; loadable once ``loinc`` is filled in.

    What is counted are results as they are now.
    """
    return asked.query(
        connection,
        f"""
        SELECT source, code, code_system, any_value(observation_display) AS name, specimen_type, method, unit,
          count(*) AS results, reason, '' AS loinc
        FROM ({_observed()}) WHERE loinc IS NULL AND {{where}}
        GROUP BY source, code, code_system, specimen_type, method, unit, reason
        ORDER BY results DESC, source, code, specimen_type, method, unit""",  # noqa: S608 - our names
    )


def odd_units(connection: duckdb.DuckDBPyConnection, asked: Asked) -> pa.RecordBatchReader:
    """Units of mapped codes that values could not be turned from, the most frequent first."""
    return asked.query(
        connection,
        f"""
        SELECT source, code, loinc, unit, ucum_unit, canonical_unit, count(*) AS results, unit_reason AS reason
        FROM ({_observed()}) WHERE loinc IS NOT NULL AND unit_reason IS NOT NULL AND numeric AND {{where}}
        GROUP BY ALL ORDER BY results DESC, source, code, unit""",  # noqa: S608 - our names
    )


def _observed() -> str:
    """Observations with their combination as ``ops.coding`` has it."""
    beside = ", ".join(f"coding.{name}" for name in ("specimen_type", "method", "unit"))
    named = ", ".join(
        f"CASE WHEN coding.code = '' THEN coding.alt_{name} ELSE coding.{own} END AS {own}"
        for name, own in (("code", "code"), ("system", "code_system"))
    )
    return (
        f"SELECT said.source, said.observation_display, said.value_number IS NOT NULL AS numeric, {named}, {beside}, "  # noqa: S608
        "coding.loinc, coding.ucum_unit, coding.canonical_unit, coding.code_reason AS reason, coding.unit_reason "
        f"FROM {CURATED_OBSERVATION.view_name} AS said JOIN {CODING.view_name} AS coding ON {JOIN}"
    )


def listed(connection: duckdb.DuckDBPyConnection, asked: Asked, *, history: bool) -> pa.RecordBatchReader:
    """Entries of the maps that count, or all that were ever loaded."""
    latest = f"SELECT *, row_number() OVER (PARTITION BY {_KEY} ORDER BY load DESC, line DESC) AS age FROM {CONCEPT_MAP.view_name}"  # noqa: S608, E501
    which = "true" if history else "age = 1 AND loinc <> ''"
    return asked.query(
        connection,
        f"""
        SELECT source, code, code_system, specimen_type, method, unit, valid_from, valid_to, loinc, display,
          canonical_unit, load, loaded_at, loaded_by, file_name
        FROM ({latest}) WHERE {which} AND {{where}}
        ORDER BY source, code, code_system, specimen_type, method, unit, valid_from NULLS FIRST, load""",  # noqa: S608 - our names
    )


def meanings(connection: duckdb.DuckDBPyConnection, asked: Asked) -> pa.RecordBatchReader:
    """What combinations that were sent mean."""
    return asked.query(
        connection,
        """
        SELECT source, code, code_system, alt_code, alt_system, specimen_type, method, unit, valid_from, valid_to,
          loinc, loinc_display, loinc_from, ucum_unit, canonical_unit, factor, shift, code_reason, unit_reason
        FROM ops.coding WHERE {where} ORDER BY ALL""",
    )
