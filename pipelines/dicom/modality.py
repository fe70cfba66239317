"""DICOM headers as a modality: what the stages need to know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dicom.elements import Deviation, Element
from pipelines.dicom.envelopes import name_of, read_envelopes
from pipelines.dicom.part10 import NoFrame, frame_of
from pipelines.dicom.rows import Header, Row, Stated, state
from pipelines.dicom.times import zone_of
from pipelines.dicom.values import Values, find_charset
from schemas.findings import FINDINGS
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Modality, Parsed
from schemas.source import Source, Sources
from schemas.table import Table
from schemas.tables import RAW_DICOM
from schemas.tables.columns import ADDED_BY_STAGE
from schemas.tables.imaging import (
    IMAGING_INSTANCE,
    IMAGING_REJECTION,
    IMAGING_SERIES,
    IMAGING_STUDY,
)
from schemas.tables.normalised import DIAGNOSTIC_REPORT, FINDING, OBSERVATION
from schemas.tables.raw import ATTACHMENT

DIRECTORY_CODE = "DICOM-DIRECTORY"

ROWS_TOGETHER = 1_000
"""So many headers are Python's objects at a time; then they become columns."""

_TIMEZONE_OFFSET = 0x00080201

TABLES: tuple[Table, ...] = (
    IMAGING_STUDY, IMAGING_SERIES, IMAGING_INSTANCE, IMAGING_REJECTION, DIAGNOSTIC_REPORT, OBSERVATION, FINDING,
)  # fmt: skip


def triage(raw: pa.Table, sources: Sources) -> pa.Array:  # noqa: ARG001 - as every modality's
    """All headers are read but those of a DICOMDIR, which names instances and is none."""
    directory = pc.fill_null(pc.equal(raw.column("message_type"), "DICOM^DICOMDIR"), False)
    found = pc.if_else(directory, pa.scalar(DIRECTORY_CODE), pa.scalar(None, pa.string()))
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def parse(raw: pa.Table, sources: Sources) -> Parsed:
    """Read headers into the imaging tables.

    Args:
        raw: raw rows with ``payload``, ``source`` and ``received_at``, and the columns of ``ATTACHMENT`` where there
            are any.
        sources: settings of the senders.
    """
    pieces = [
        _parse(raw.slice(start, ROWS_TOGETHER), start, sources)
        for start in range(0, raw.num_rows, ROWS_TOGETHER)
    ] or [_parse(raw, 0, sources)]
    names = [table.name for table in TABLES if any(table.name in piece.tables for piece in pieces)]
    return Parsed(
        pa.concat_tables([piece.messages for piece in pieces]),
        pa.concat_tables([piece.unreadable for piece in pieces]),
        {name: _joined([piece.tables[name] for piece in pieces if name in piece.tables]) for name in names},
    )


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables as one; a column that one has and another has not is null there."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _parse(raw: pa.Table, first: int, sources: Sources) -> Parsed:
    """Read some headers, of which the first one is in row ``first``."""
    messages: list[Row] = []
    unreadable: list[Row] = []
    rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
    there = [field.name for field in ATTACHMENT if field.name in raw.column_names]
    columns = [raw.column(name).to_pylist() for name in ("payload", "source", "received_at", *there)]
    known = {name: sources.get(name) for name in set(columns[1])}
    for row, (payload, name, received, *attachment) in enumerate(zip(*columns, strict=True), first):
        source = known[name]
        institution = source.institution or source.name
        frame = frame_of(payload or b"")
        if isinstance(frame, NoFrame):
            unreadable.append({"row": row, "code": frame.code})
            continue
        elements, _ = frame.elements()
        values = Values(frame.reading, find_charset(frame.reading, elements, source.charset))
        named = name_of(frame, values, elements)
        if named.uid is None:
            unreadable.append({"row": row, "code": "DICOM-UID-MISSING", "segment": "00080018"})
            continue
        zone = _zone(values, elements.get(_TIMEZONE_OFFSET), source)
        header = Header(frame, elements, values, named, source, institution, zone, received)
        stated = state(header)
        stated.instance.update(zip(there, attachment, strict=True))
        found = _deviations(header)
        codes = sorted({one.code for one in found})
        messages.append(
            {
                "row": row,
                "institution": institution,
                "message_type": f"DICOM^{named.modality}",
                "event_time": stated.event.at if stated.event else None,
                "event_time_precision": stated.event.precision if stated.event else None,
                "event_date": stated.event_day,
                "codes": codes,
            }
        )
        stated.instance["codes"] = codes
        about = {"row": row, "version_time": received, "segment_index": 0}
        for table, ones in _by_table(stated):
            rows[table.name] += [{**about, **one} for one in ones if one is not None]
        rows[FINDING.name] += [
            {
                **about,
                "segment_index": place,
                "code": one.code,
                "severity": FINDINGS[one.code].severity.value,
                "segment": f"{one.tag:08X}" if one.tag else None,
                "codes": [one.code],
            }
            for place, one in enumerate(found)
        ]
    return Parsed(
        pa.Table.from_pylist(messages, schema=MESSAGES_SCHEMA),
        pa.Table.from_pylist(unreadable, schema=UNREADABLE_SCHEMA),
        {table.name: _table(table, rows[table.name]) for table in TABLES if rows[table.name]},
    )


def _zone(values: Values, element: Element | None, source: Source) -> tzinfo:
    """The zone of a header's times: its own, else the source's."""
    offset = values.first(element)
    return zone_of(offset, source.time_zone)


def _by_table(stated: Stated) -> Sequence[tuple[Table, Sequence[Row | None]]]:
    return (
        (IMAGING_STUDY, [stated.study]),
        (IMAGING_SERIES, [stated.series]),
        (IMAGING_INSTANCE, [stated.instance]),
        (IMAGING_REJECTION, stated.rejections),
        (DIAGNOSTIC_REPORT, stated.reports),
        (OBSERVATION, stated.observations),
    )


def _deviations(header: Header) -> list[Deviation]:
    """What deviates in a header: its frame and elements, its character set, its values; each once."""
    charset = header.values.charset
    found = [*header.frame.reading.deviations]
    if charset.code is not None:
        found.append(Deviation(charset.code, 0x00080005))
    found += [Deviation(code, tag) for code, tag in header.values.odd]
    return list(dict.fromkeys(found))


def _table(table: Table, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows as columns of the table's types; columns that no row has are left out."""
    said = {name for row in rows for name in row}
    columns: dict[str, pa.Array] = {"row": pa.array([row["row"] for row in rows], pa.int32())}
    for field in table.fields:
        if field.name in said and field.name not in ADDED_BY_STAGE:
            columns[field.name] = pa.array([row.get(field.name) for row in rows], field.type)
    return pa.table(columns)


DICOM = Modality(
    name="dicom",
    topic="raw.dicom",
    raw=RAW_DICOM,
    tables=TABLES,
    version=2,
    envelopes=read_envelopes,
    triage=triage,
    parse=parse,
    declared="pipelines.dicom.modality:DICOM",
    awaited=False,
)
"""Headers of DICOM instances."""
