"""``curated_imaging.*``: studies and series with what is counted over their instances, and with their orders.

The fold of a study knows one instance at a time and cannot count; so counts are made when they are asked for, from
``curated.imaging_instance`` as it is then: an instance that comes late or again, or was taken away, changes them at
once, and taking one in costs the same however large its study is.

A study that came with several patients has a row for each; ``patients`` tells how many its current instances have,
counting those that are one person by now (a merge) once, and ``patient_confirmed`` whose order it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from schemas.table import Field, Table
from schemas.tables.columns import text, whole
from schemas.tables.curated import CURATED, HIDDEN
from schemas.tables.identity import PERSON_IDENTIFIER
from schemas.tables.imaging import IMAGING_INSTANCE, IMAGING_SERIES, IMAGING_STUDY
from schemas.tables.normalised import DIAGNOSTIC_REPORT, SERVICE_REQUEST

if TYPE_CHECKING:
    import duckdb

_BY_NAME: Final = {table.name: table for table in CURATED}


def _curated(table: Table) -> Table:
    return _BY_NAME[table.name.replace("normalised/", "curated/")]


def _shown(table: Table) -> tuple[Field, ...]:
    return tuple(field for field in _curated(table).fields if field.name not in HIDDEN)


_COUNTS: Final = (
    whole("instances", "How many current instances it has."),
    whole("images", "How many of them are images: no reports, key object notes or presentation states."),
    Field("bytes", pa.int64(), "Size of their objects, of those whose size is known."),
    Field("last_received", pa.timestamp("us", tz="UTC"), "When the latest of them was received."),
)

STUDY_ORDER: Final = Table(
    name="curated_imaging/study_order",
    doc="Requests and reports of a study: by accession number, placer's or filler's number, within authority, "
    "patient or institution.",
    fields=(
        text("source", "Source of the study."),
        text("study_instance_uid", "Study Instance UID."),
        text("number", "The number that joins both."),
        text("kind", "request or report."),
        Field(
            "key_hash",
            pa.int64(),
            "key_hash of the row in curated.service_request or curated.diagnostic_report.",
        ),
        text("patient_id", "Patient of the request or report."),
        text("patient_authority", "Who assigned that number."),
        text("service_code", "What was ordered or reported."),
        text("service_display", "Its text."),
        text("status", "Its status."),
        Field("since", pa.timestamp("us", tz="UTC"), "Since when it is so."),
    ),
)

STUDY: Final = Table(
    name="curated_imaging/study",
    doc="A study of a patient with its counts, its request and its report.",
    fields=(
        *_shown(IMAGING_STUDY),
        *_COUNTS,
        whole("series", "How many series they are in."),
        Field("modalities", pa.list_(pa.string()), "Modalities of its current instances, sorted."),
        whole("patients", "How many patients its current instances state; more than one is for a steward."),
        Field(
            "patient_confirmed",
            pa.bool_(),
            "Whether a request or report of the study is of this row's patient.",
        ),
        whole("sources", "How many sources have a study of this UID."),
        Field("request_key", pa.int64(), "key_hash of its latest request."),
        text("request_status", "Status of that."),
        text("request_code", "What it asks for."),
        text("request_display", "The text of that."),
        Field("report_key", pa.int64(), "key_hash of its latest report."),
        text("report_status", "Status of that."),
    ),
)

SERIES: Final = Table(
    name="curated_imaging/series",
    doc="A series with its counts.",
    fields=(*_shown(IMAGING_SERIES), *_COUNTS),
)

VIEWS: Final = (STUDY_ORDER, STUDY, SERIES)
_NEEDED: Final = frozenset(
    _curated(one).name
    for one in (IMAGING_STUDY, IMAGING_SERIES, IMAGING_INSTANCE, SERVICE_REQUEST, DIAGNOSTIC_REPORT)
) | {PERSON_IDENTIFIER.name}

_COUNTED = (
    "count(*)::INTEGER AS instances, (count(*) FILTER (is_image))::INTEGER AS images, "
    "sum(attachment_size)::BIGINT AS bytes, max(received_at) AS last_received"
)

_NUMBERS = {
    "request": ("service_request", "state", ("filler", "placer")),
    "report": ("diagnostic_report", "status", ("filler", "placer")),
}
_FIELDS = ("placer_field_1", "filler_field_1")
"""Fields that may hold the accession number (OBR-18, OBR-20)."""


def show_imaging(connection: duckdb.DuckDBPyConnection, tables: Collection[Table]) -> tuple[Table, ...]:
    """Make the views, where all that they take is shown already.

    Args:
        connection: with views of the tables.
        tables: which there are.

    Returns:
        The views that were made.
    """
    if not {table.name for table in tables} >= _NEEDED:
        return ()
    connection.execute("CREATE SCHEMA IF NOT EXISTS curated_imaging")
    for table, sql in ((STUDY_ORDER, _study_order()), (STUDY, _study()), (SERIES, _series())):
        connection.execute(f"CREATE VIEW {table.view_name} AS {sql}")
    return VIEWS


def _orders() -> str:
    """All numbers of requests and reports, each with who assigned it."""
    parts = []
    for kind, (table, status, numbers) in _NUMBERS.items():
        said = "key_hash, patient_id, patient_authority, institution, service_code, service_display, since"
        named = [(f"{one}_order", f"{one}_authority") for one in numbers]
        named += [(one, "NULL") for one in _FIELDS]
        parts += [
            f"SELECT '{kind}' AS kind, {status} AS status, {said}, trim({number}, ' ') AS number, "  # noqa: S608
            f"{authority} AS authority FROM curated.{table} WHERE {number} IS NOT NULL"
            for number, authority in named
        ]
    return " UNION ALL ".join(parts)


def _study_order() -> str:
    return f"""
        WITH stated AS (
            SELECT source, institution, study_instance_uid, patient_id,
                unnest(accessions).id AS number, unnest(accessions).namespace AS authority
            FROM curated.imaging_study
            UNION
            SELECT source, institution, study_instance_uid, patient_id, placer_order, NULL
            FROM curated.imaging_study WHERE placer_order IS NOT NULL
            UNION
            SELECT source, institution, study_instance_uid, patient_id, filler_order, NULL
            FROM curated.imaging_study WHERE filler_order IS NOT NULL
        )
        SELECT DISTINCT stated.source, stated.study_instance_uid, stated.number, orders.kind, orders.key_hash,
            orders.patient_id, orders.patient_authority, orders.service_code, orders.service_display,
            orders.status, orders.since
        FROM stated JOIN ({_orders()}) AS orders ON orders.number = trim(stated.number, ' ')
        WHERE stated.authority = orders.authority OR stated.patient_id = orders.patient_id
            OR stated.institution = orders.institution
    """  # noqa: S608 - our names


def _study() -> str:
    columns = ", ".join(f'said."{field.name}"' for field in _shown(IMAGING_STUDY))
    latest = "arg_max({}, since) FILTER (kind = '{}')"
    picked = ", ".join(
        f"{latest.format(column, kind)} AS {name}"
        for kind, column, name in (
            ("request", "key_hash", "request_key"), ("request", "status", "request_status"),
            ("request", "service_code", "request_code"), ("request", "service_display", "request_display"),
            ("report", "key_hash", "report_key"), ("report", "status", "report_status"),
        )
    )  # fmt: skip
    return f"""
        WITH counted AS (
            SELECT source, study_instance_uid, patient_authority, patient_id, {_COUNTED},
                count(DISTINCT series_instance_uid)::INTEGER AS series,
                list_sort(list(DISTINCT modality) FILTER (modality IS NOT NULL)) AS modalities
            FROM curated.imaging_instance GROUP BY ALL
        ), patients AS (
            SELECT source, study_instance_uid,
                count(DISTINCT coalesce(person_id, patient_authority || '/' || patient_id))::INTEGER AS patients
            FROM (SELECT * FROM counted) AS found
            LEFT JOIN curated.person_identifier AS of_patient ON of_patient.role = 'subject'
              AND of_patient.value = trim(found.patient_id, ' ')
              AND of_patient.authority = trim(found.patient_authority, ' ')
            GROUP BY ALL
        ), shared AS (
            SELECT study_instance_uid, count(DISTINCT source)::INTEGER AS sources
            FROM curated.imaging_study GROUP BY ALL
        ), ordered AS (
            SELECT source, study_instance_uid, list(patient_id) AS theirs, {picked}
            FROM curated_imaging.study_order GROUP BY ALL
        )
        SELECT {columns}, coalesce(instances, 0) AS instances, coalesce(images, 0) AS images, bytes, last_received,
            coalesce(series, 0) AS series, modalities, coalesce(patients, 0) AS patients,
            coalesce(list_contains(theirs, said.patient_id), false) AS patient_confirmed, sources,
            request_key, request_status, request_code, request_display, report_key, report_status
        FROM curated.imaging_study AS said
        LEFT JOIN counted ON counted.source = said.source
          AND counted.study_instance_uid = said.study_instance_uid
          AND counted.patient_id IS NOT DISTINCT FROM said.patient_id
          AND counted.patient_authority IS NOT DISTINCT FROM said.patient_authority
        LEFT JOIN patients ON patients.source = said.source AND patients.study_instance_uid = said.study_instance_uid
        LEFT JOIN shared ON shared.study_instance_uid = said.study_instance_uid
        LEFT JOIN ordered ON ordered.source = said.source AND ordered.study_instance_uid = said.study_instance_uid
    """  # noqa: S608 - our names


def _series() -> str:
    columns = ", ".join(f'said."{field.name}"' for field in _shown(IMAGING_SERIES))
    return f"""
        WITH counted AS (
            SELECT source, series_instance_uid, {_COUNTED} FROM curated.imaging_instance GROUP BY ALL
        )
        SELECT {columns}, coalesce(instances, 0) AS instances, coalesce(images, 0) AS images, bytes, last_received
        FROM curated.imaging_series AS said
        LEFT JOIN counted ON counted.source = said.source
          AND counted.series_instance_uid = said.series_instance_uid
    """  # noqa: S608 - our names
