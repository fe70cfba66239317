"""``curated.order_alias``: by which numbers an order is known, as a view of what messages have said.

The set only grows: what one message has said of two numbers holds, whatever later ones leave out. Folds follow the
same rule from the placer's number to the filler's, so what a placer's number named first is the same order later.
"""

from __future__ import annotations

from typing import Final

from schemas.table import INSTANT, Field, Table
from schemas.tables.columns import DELETED, text
from schemas.tables.normalised import (
    DIAGNOSTIC_REPORT,
    IMMUNIZATION,
    MEDICATION_ADMINISTRATION,
    MEDICATION_DISPENSE,
    MEDICATION_REQUEST,
    SERVICE_REQUEST,
    SPECIMEN,
)
from schemas.tables.raw import COORDINATES

ORDER_ALIAS: Final = Table(
    name="curated/order_alias",
    doc="Numbers that an order is known by beside its own: since when, and which message said so first.",
    fields=(
        text("kind", "Which number: placer, group or accession.", "OBR-2, ORC-2; ORC-4; SPM-30"),
        text("number", "The number."),
        text("authority", "Who assigned it: its namespace, else source/institution."),
        text("known_as", "Which number the order has as its own: filler, or placer while there is none."),
        text("order_number", "The order's own number.", "OBR-3, ORC-3; OBR-2, ORC-2"),
        text("order_authority", "Who assigned that: its namespace, else source/institution."),
        text("code", "What is ordered, where the message tells it: one placer's number may order several things."),
        Field("since", INSTANT, "Earliest version time that says so."),
        Field("last_said", INSTANT, "Latest version time that says so."),
        Field("known_since", INSTANT, "When the first message that says so was received."),
        *COORDINATES,
    ),
)  # fmt: skip
"""The coordinates are those of the message with the earliest version time, of several the one received first."""

SAID_IN: Final[tuple[Table, ...]] = (
    SERVICE_REQUEST, DIAGNOSTIC_REPORT, MEDICATION_REQUEST, MEDICATION_DISPENSE, MEDICATION_ADMINISTRATION,
    IMMUNIZATION, SPECIMEN,
)  # fmt: skip
"""Tables that say an order's numbers; results say them again."""

_CODES: Final = ("service_code", "medication_code", "vaccine_code")


def order_alias_sql() -> str:
    """The query of the view, over the views of ``SAID_IN``."""
    said = " UNION ALL ".join(_said(table) for table in SAID_IN)
    numbers = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, {number} AS number, {authority} AS authority, * FROM said WHERE {when}"  # noqa: S608
        for kind, number, authority, when in (
            ("placer", "placer_order", "placer_authority", "known_as = 'filler'"),
            ("group", "group_number", "group_authority", "true"),
            ("accession", "accession_number", "NULL", "true"),
        )
    )
    first = 'first({} ORDER BY version_time, received_at, topic_id, "partition", "offset")'
    coordinates = ", ".join(f"{first.format(name)} AS {name}" for name in _COORDINATES)
    return f"""
        WITH said AS (
            SELECT *, CASE WHEN filler_order IS NULL THEN 'placer' ELSE 'filler' END AS known_as,
                coalesce(filler_order, placer_order) AS order_number,
                CASE WHEN filler_order IS NULL THEN placer_authority ELSE filler_authority END AS of_order
            FROM ({said})
        )
        SELECT kind, number, coalesce(authority, speaker) AS authority, known_as, order_number,
            coalesce(of_order, speaker) AS order_authority, code, min(version_time) AS since,
            max(version_time) AS last_said, min(received_at) AS known_since, {coordinates}
        FROM ({numbers}) WHERE number IS NOT NULL AND order_number IS NOT NULL
        GROUP BY ALL
    """  # noqa: S608 - our names


def _said(table: Table) -> str:
    """What the rows of a table say of numbers; what is empty or deleted says nothing."""
    there = {field.name for field in table.fields}
    numbers = [_text(name, there) for name in _NUMBERS]
    code = next((_text(name, there, "code") for name in _CODES if name in there), "NULL AS code")
    columns = [
        *numbers, code, "concat_ws('/', source, institution) AS speaker", "version_time", "received_at",
        *_COORDINATES,
    ]  # fmt: skip
    return f"SELECT {', '.join(columns)} FROM {table.view_name}"  # noqa: S608 - our names


_NUMBERS: Final = (
    "placer_order", "placer_authority", "filler_order", "filler_authority", "group_number", "group_authority",
    "accession_number",
)  # fmt: skip

_COORDINATES: Final = ("topic_id", '"partition"', '"offset"')


def _text(name: str, there: set[str], known_as: str | None = None) -> str:
    if name not in there:
        return f"NULL::VARCHAR AS {known_as or name}"
    return f"nullif(nullif(trim({name}), ''), '{DELETED}') AS {known_as or name}"
