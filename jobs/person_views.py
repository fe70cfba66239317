"""``curated_person.*``: the curated tables with the person that each row is about.

Rows keep the identifiers that they came with; who that is now follows from visit, account and patient at the time of
the query, so that a merge, a move or its undoing rewrites no row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.table import Table
from schemas.tables.columns import text
from schemas.tables.curated import CURATED, HIDDEN
from schemas.tables.identity import IDENTIFIER_REDIRECT, PERSON_IDENTIFIER
from schemas.tables.normalised import PATIENT

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

_PATIENT = """
LEFT JOIN curated.person_identifier AS of_patient ON of_patient.role = 'subject'
  AND of_patient.value = trim(said.patient_id, ' ') AND of_patient.authority = trim(said.patient_authority, ' ')"""

_OWN = "(said.source || '/' || coalesce(said.institution, ''))"
"""Who assigns what names no authority."""

_NUMBER = """
LEFT JOIN curated.identifier_redirect AS of_{level} ON of_{level}.level = '{level}'
  AND of_{level}.value = trim(said.{level}_number, ' ') AND of_{level}.authority = {authority}"""

_ACCOUNT = _NUMBER.format(level="account", authority=f"coalesce(trim(said.account_authority, ' '), {_OWN})")
_VISIT = _NUMBER.format(level="visit", authority=_OWN)


def show_persons(connection: duckdb.DuckDBPyConnection, tables: Collection[Table]) -> list[Table]:
    """Make the views, where all that they take is shown already.

    Args:
        connection: with views of the tables.
        tables: which there are.

    Returns:
        The views that were made.
    """
    names = {table.name for table in tables}
    if not {PERSON_IDENTIFIER.name, IDENTIFIER_REDIRECT.name} <= names:
        return []
    connection.execute("CREATE SCHEMA IF NOT EXISTS curated_person")
    made = []
    for table in CURATED:
        if table.name in names and has_person(table):
            name = table.view_name.split(".", 1)[1]
            connection.execute(f'CREATE VIEW curated_person."{name}" AS {with_person(table)}')
            made.append(person_view(table))
    return made


def person_view(table: Table) -> Table:
    """What the view of a curated table shows, declared as a table is."""
    shown = (replace(field, nullable=True) for field in table.fields if field.name not in HIDDEN)
    return Table(
        name=table.name.replace("curated/", "curated_person/", 1),
        doc=f"Rows of {table.view_name}, each with the person it is about by visit, account and patient as known now.",
        fields=(text("person_id", "The person, as in curated.person; null where nobody is known."), *shown),
    )


def has_person(table: Table) -> bool:
    """Whether rows of a table are about somebody."""
    return "patient_id" in _columns(table)


def with_person(table: Table) -> str:
    """SQL for the rows of a curated table with ``person_id`` before them.

    The person is that of the patient whom the row's visit moved to, else its account, else of the patient stated.
    """
    levels = {"visit": _VISIT, "account": _ACCOUNT} if table.name != _OF_PATIENTS else {}
    joins = {level: sql for level, sql in levels.items() if f"{level}_number" in _columns(table)}
    person = ", ".join(f"of_{level}.person_id" for level in (*joins, "patient"))
    return (
        f"SELECT coalesce({person}) AS person_id, said.* "  # noqa: S608 - our names
        f"FROM {table.view_name} AS said{''.join(joins.values())}{_PATIENT}"
    )


_OF_PATIENTS = PATIENT.name.replace("normalised/", "curated/")
"""A patient is who it is, whatever becomes of an account of theirs."""


def _columns(table: Table) -> set[str]:
    return {field.name for field in table.fields}
