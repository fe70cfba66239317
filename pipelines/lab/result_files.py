"""Result files → rows of observation, report, order, specimen and patient.

One file is one message. Each line is rows, or a bad part with its number; a line without anything in it is none.

The version of a result is the time it was issued, else the receipt of its file; so a corrected or cumulative file
states versions of the same things, and the latest wins (``schemas/tables/curated.py``). What a line states again
within its file counts as a microsecond later, or two lines would be lines of one result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.decode import I64, Bools
from pipelines.hl7v2.times import Times
from pipelines.lab.file_dates import read_dates
from pipelines.lab.file_lines import CODES, HALF_WIDTH, MISMATCH, Lines, split_lines, to_text
from pipelines.lab.values import mapped, read_values
from schemas.errors import MessageError
from schemas.findings import FINDINGS
from schemas.lab.result_file import STATUSES, TARGETS, Kind, Pairs, ResultFile
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Parsed
from schemas.source import Source
from schemas.table import INSTANT
from schemas.tables.normalised import (
    DIAGNOSTIC_REPORT,
    FINDING,
    OBSERVATION,
    PATIENT,
    SERVICE_REQUEST,
    SPECIMEN,
)
from schemas.tables.structures import ENTITY, IDENTIFIER

MESSAGE_TYPE: Final = "LAB^FILE"
TABLES = (PATIENT, SPECIMEN, SERVICE_REQUEST, DIAGNOSTIC_REPORT, OBSERVATION, FINDING)
"""What result files feed."""

_FUTURE = "HL7-VERSION-TIME-FUTURE"
_DAY = 86_400_000_000
_BETWEEN = "\x1f"
_NOTHING_AT = np.zeros(0, np.int64)
_TAKEN_BACK = ("X", "D", "W")
_FINAL = ("F", "C", "A", "B", "V", "U")
_BAD_TIME, _INCOMPLETE = "LAB-LINE-TIME", "LAB-LINE-INCOMPLETE"


@dataclass(frozen=True)
class File:
    """A result file to be read.

    Attributes:
        row: number of its message in what is parsed together.
        payload: its bytes.
        source: who dropped it.
        received: microseconds since 1970 UTC.
    """

    row: int
    payload: bytes
    source: Source
    received: int


def read_result_files(files: Iterable[File]) -> Parsed:
    """Read files.

    Returns:
        Rows of ``TABLES``; in ``bad_parts`` the lines that could not be read. A file of which no line could be read
        is unreadable, for the reason of its first line.
    """
    messages: list[Mapping[str, object]] = []
    unreadable: list[Mapping[str, object]] = []
    bad: list[pa.Table] = []
    tables: dict[str, list[pa.Table]] = {}
    for file in files:
        try:
            read = _Read.of(file)
        except MessageError as problem:
            unreadable.append({"row": file.row, "code": problem.code, **problem.coordinates})
            continue
        for name, rows in read.tables().items():
            if rows.num_rows:
                tables.setdefault(name, []).append(rows)
        messages.append(read.message())
        bad.append(read.bad_parts())
    return Parsed(
        pa.Table.from_pylist(messages, schema=MESSAGES_SCHEMA),
        pa.Table.from_pylist(unreadable, schema=UNREADABLE_SCHEMA),
        {name: join_pieces(pieces) for name, pieces in tables.items()},
        bad_parts=pa.concat_tables([UNREADABLE_SCHEMA.empty_table(), *bad]),
    )


def join_pieces(pieces: Sequence[pa.Table]) -> pa.Table:
    """Rows of one table that may have other columns, and dictionaries of their own."""
    if len(pieces) == 1:
        return pieces[0]
    return pa.concat_tables([_plain(piece) for piece in pieces], promote_options="default").combine_chunks()


def _plain(rows: pa.Table) -> pa.Table:
    """Without dictionaries, which differ from file to file."""
    for place, one in enumerate(rows.schema):
        if pa.types.is_dictionary(one.type):
            rows = rows.set_column(place, one.name, rows.column(place).cast(one.type.value_type))
    return rows


@dataclass
class _Bad:
    """Lines that are none of a file's results, by row of what was split."""

    code: np.ndarray
    place: I64

    def note(self, rows: Bools, code: str, place: int | None = None) -> None:
        """Say why rows are bad, where nothing was said yet."""
        new = rows & (self.code == "")
        self.code[new] = code
        self.place[new] = place or 0


@dataclass
class _Noted:
    """Findings on lines that were read: row, code and column."""

    rows: list[I64] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def note(self, rows: Bools, code: str, place: int = 0) -> None:
        found = np.flatnonzero(rows)
        if len(found):
            self.rows.append(found)
            self.codes.append(code)
            self.places.append(place)

    def lists(self, count: int) -> pa.Array:
        """The codes of each row, sorted."""
        order = sorted(set(self.codes))
        pairs = zip(self.rows, self.codes, strict=True)
        keys = np.unique(
            np.concatenate([_NOTHING_AT, *(rows * len(order) + order.index(code) for rows, code in pairs)])
        )
        width = max(1, len(order))
        offsets = np.zeros(count + 1, np.int32)
        np.cumsum(np.bincount(keys // width, minlength=count), out=offsets[1:])
        return pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(order, pa.string()).take(pa.array(keys % width))
        )


@dataclass
class _Read:
    """A file that was read.

    Attributes:
        file: the file.
        mapping: how.
        lines: its lines.
        bad: which of them are bad after all.
        texts: of the good lines, by target.
        times: likewise.
        line: number of each good line.
        version: microseconds since 1970 UTC.
        noted: findings on good lines.
        codes: findings on the whole file.
    """

    file: File
    mapping: ResultFile
    lines: Lines
    bad: _Bad
    texts: dict[str, pa.Array]
    times: dict[str, Times]
    line: I64
    version: I64
    event: int
    noted: _Noted
    codes: tuple[str, ...]
    results: list[pa.Array]

    @classmethod
    def of(cls, file: File) -> _Read:
        """Read a file's columns.

        Raises:
            MessageError: no line can be read.
        """
        mapping = file.source.result_file
        if mapping is None:
            raise MessageError("LAB-FILE-MAPPING", FINDINGS["LAB-FILE-MAPPING"].sentence)
        text = to_text(file.payload, mapping.charset)
        lines = split_lines(text, mapping)
        count = len(lines.line)
        bad = _Bad(np.full(count, "", object), np.zeros(count, np.int64))
        noted = _Noted()
        texts = {name: pa.repeat(pa.scalar(value), count) for name, value in mapping.constants}
        times: dict[str, Times] = {}
        for column, found, place in zip(mapping.columns, lines.columns, lines.places, strict=False):
            found = _said(found, mapping.absent)  # noqa: PLW2901
            texts[column.target] = found
            if column.needed:
                bad.note(_empty(found), _INCOMPLETE, place)
            target = TARGETS[column.target]
            if target.kind in (Kind.TIME, Kind.DAY):
                read = read_dates(_half_width(found), column.dates or mapping.dates, file.source.time_zone)
                times[column.target] = read
                if column.needed or target.orders:
                    bad.note(read.refused, _BAD_TIME, place)
                else:
                    noted.note(read.refused, "LAB-TIME-INVALID", place)
        results = [_said(found, mapping.absent) for found in lines.columns[len(mapping.columns) :]]
        _note_incomplete(bad, texts, count, wide=bool(results))
        good = bad.code == ""
        if not good.any() and (count or len(lines.bad_line)):
            raise _first(lines, bad)
        return cls._filtered(file, mapping, lines, bad, texts, times, noted, results, text.mismatched)

    @classmethod
    def _filtered(
        cls, file: File, mapping: ResultFile, lines: Lines, bad: _Bad, texts: dict[str, pa.Array],
        times: dict[str, Times], noted: _Noted, results: list[pa.Array], mismatched: bool,
    ) -> _Read:  # fmt: skip
        """The good lines of a file, with the version of each."""
        good = bad.code == ""
        if not good.all():
            keep = np.flatnonzero(good)
            index = pa.array(keep)
            texts = {name: one.take(index) for name, one in texts.items()}
            times = {name: one.take(keep) for name, one in times.items()}
            results = [one.take(index) for one in results]
            place = np.full(len(good), -1, np.int64)
            place[keep] = np.arange(len(keep))
            noted.rows = [place[rows][place[rows] >= 0] for rows in noted.rows]
        line = lines.line[good]
        issued = times.get("result_time", Times.never(len(line)))
        future = issued.valid & (issued.instant > file.received + _DAY)
        noted.note(future, _FUTURE)
        told = issued.valid & ~future
        version = np.where(told, issued.instant, file.received)
        event = _event(file, told, issued, times.get("specimen_time"))
        codes = ((MISMATCH,) if mismatched else ()) + tuple(
            CODES[int(code)] for code in np.unique(lines.bad_code)
        ) + tuple(sorted(set(bad.code[~good].tolist())))  # fmt: skip
        return cls(file, mapping, lines, bad, texts, times, line, version, event, noted, codes, results)

    def message(self) -> Mapping[str, object]:
        """The file as a row of ``MESSAGES_SCHEMA``."""
        when = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.event)
        source = self.file.source
        return {
            "row": self.file.row,
            "institution": source.institution or source.name,
            "message_type": MESSAGE_TYPE,
            "event_time": when,
            "event_time_precision": "second",
            "event_date": when.astimezone(ZoneInfo(source.time_zone)).date(),
            "codes": sorted({*self.codes, *self.noted.codes}),
        }

    def bad_parts(self) -> pa.Table:
        """The lines that could not be read (``UNREADABLE_SCHEMA``), by number."""
        rows = np.flatnonzero(self.bad.code != "")
        line = np.concatenate([self.lines.bad_line, self.lines.line[rows]])
        code = [*(CODES[int(one)] for one in self.lines.bad_code), *self.bad.code[rows].tolist()]
        place = np.concatenate([np.zeros(len(self.lines.bad_line), np.int64), self.bad.place[rows]])
        order = np.argsort(line, kind="stable")
        return pa.table(
            {
                "row": pa.array(np.full(len(line), self.file.row, np.int32)),
                "code": pa.array(code, pa.string()).take(pa.array(order)),
                "segment": pa.nulls(len(line), pa.string()),
                "segment_index": pa.array(line[order].astype(np.int32)),
                "field": pa.array(place[order].astype(np.int32), mask=place[order] == 0),
            },
            schema=UNREADABLE_SCHEMA,
        )

    # rows -----------------------------------------------------------------------------------------------------

    def tables(self) -> dict[str, pa.Table]:
        """The rows of each table."""
        count = len(self.line)
        if not count:
            return {}
        status = self._status()
        codes = self.noted.lists(count)
        orders = self._groups(
            "patient_id", "patient_authority", "visit_number", "order_number", "order_authority", "placer_number",
            "placer_authority", "service_code", "service_name", "specimen_id", "specimen_type", "specimen_time",
            "ordered_time",
        )  # fmt: skip
        return {
            OBSERVATION.name: self._observations(status, codes, orders),
            DIAGNOSTIC_REPORT.name: self._reports(status, orders),
            SERVICE_REQUEST.name: self._requests(orders),
            SPECIMEN.name: self._specimens(orders),
            PATIENT.name: self._patients(),
            FINDING.name: self._findings(),
        }

    def _text(self, name: str) -> pa.Array:
        found = self.texts.get(name)
        return found if found is not None else pa.nulls(len(self.line), pa.string())

    def _instant(self, column: str, name: str, rows: I64 | None = None) -> dict[str, pa.Array]:
        """The three columns of an instant; none where no column of the file says it."""
        times = self.times.get(name)
        if times is None:
            return {}
        times = times if rows is None else times.take(rows)
        return {
            column: times.instants(),
            f"{column}_precision": times.precisions(),
            f"{column}_offset": times.offsets(),
        }

    def _status(self) -> pa.Array:
        """Status of each line after HL7 table 0085, null where the mapping does not say what it means."""
        table = dict(self.mapping.status)

        def translate(text: str) -> str | None:
            found = table.get(text, text)
            return found if found in STATUSES else None

        said = self._text("status")
        found = mapped(said, translate)
        unknown = pc.and_(pc.is_valid(said), pc.is_null(found)).to_numpy(zero_copy_only=False)
        places = {
            column.target: place
            for column, place in zip(self.mapping.columns, self.lines.places, strict=False)
        }
        self.noted.note(unknown, "LAB-STATUS-UNKNOWN", places.get("status", 0))
        return found

    def _groups(self, *names: str) -> _Groups:
        """Lines that say the same in some columns."""
        said = [self.texts[name] for name in names if name in self.texts]
        return _Groups.of([pc.fill_null(one, "") for one in said], len(self.line))

    def _origin(self, lines: I64, version: I64, codes: pa.Array | None = None) -> dict[str, pa.Array]:
        """Columns that every row has."""
        count = len(lines)
        empty = pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()))
        return {
            "row": pa.array(np.full(count, self.file.row, np.int32)),
            "segment_index": pa.array(lines.astype(np.int32)),
            "version_time": pa.array(version).cast(INSTANT),
            "codes": empty if codes is None else codes,
        }

    def _subject(self) -> dict[str, pa.Array]:
        patient = self._text("patient_id")
        source = self.file.source
        own = pa.scalar(f"{source.name}/{source.institution}")
        authority = pc.fill_null(self._text("patient_authority"), own)
        return {
            "patient_id": patient,
            "patient_authority": pc.if_else(pc.is_valid(patient), authority, pa.scalar(None, pa.string())),
            "visit_number": self._text("visit_number"),
        }

    def _order(self) -> dict[str, pa.Array]:
        return {
            "filler_order": self._text("order_number"),
            "filler_authority": self._text("order_authority"),
            "placer_order": self._text("placer_number"),
            "placer_authority": self._text("placer_authority"),
        }

    def _service(self) -> dict[str, pa.Array]:
        code = self._text("service_code")
        return {
            "service_code": code,
            "service_display": self._text("service_name"),
            "service_system": _where_said(code, self.mapping.code_system),
        }

    def _observations(self, status: pa.Array, codes: pa.Array, orders: _Groups) -> pa.Table:
        """One row for each result."""
        taken = self._instant("specimen_time", "specimen_time") or self._instant(
            "specimen_time", "analysis_time"
        )
        of_line = {
            **self._subject(),
            **self._order(),
            "order_index": pa.array(orders.number.astype(np.int32)),
            **self._service(),
            "status": status,
            **taken,
            **{name.replace("specimen_time", "effective_time"): one for name, one in taken.items()},
            **self._instant("issued_time", "result_time"),
            **self._instant("analysis_time", "analysis_time"),
            "specimen_id": self._text("specimen_id"),
            "specimen_type": self._text("specimen_type"),
            "observer_id": self._text("performer_id"),
            "observer_family_name": self._text("performer_name"),
            "performing_organization": self._text("organization"),
            "method": self._text("method"),
            **self._equipment(),
        }
        made = self._long(of_line, codes) if not self.mapping.results else self._wide(of_line, codes)
        return self._apart(made)

    def _equipment(self) -> dict[str, pa.Array]:
        """The instrument, where a column or a constant says it."""
        device = self.texts.get("device")
        if device is None or device.null_count == len(device):
            return {}
        entities = pa.StructArray.from_arrays(
            [device.drop_null(), pa.nulls(len(device) - device.null_count, pa.string())], fields=list(ENTITY)
        )
        return {
            "equipment": pa.ListArray.from_arrays(_lists(device).offsets, entities, mask=device.is_null())
        }

    def _long(self, of_line: dict[str, pa.Array], codes: pa.Array) -> pa.Table:
        """A line is a result."""
        columns = {**self._origin(self.line, self.version, codes), **of_line}
        columns |= self._test(self._text("test_code"), self._text("test_name"))
        columns |= read_values(self._text("value"), self.mapping.decimal)
        columns |= self._unit(self._text("unit"))
        columns["sub_id"] = self._text("sub_id")
        columns["reference_range"] = self._range()
        columns["interpretation"] = _lists(_translated(self._text("flag"), self.mapping.flags))
        columns["notes"] = _lists(self._text("comment"))
        return pa.table(columns)

    def _wide(self, of_line: dict[str, pa.Array], codes: pa.Array) -> pa.Table:
        """Each column of results has one in each line in which it says something."""
        tests = len(self.mapping.results)
        pieces = []
        for number, (result, found) in enumerate(zip(self.mapping.results, self.results, strict=True)):
            rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
            index = pa.array(rows)

            def constant(text: str, length: int = len(rows)) -> pa.Array:
                return pa.repeat(pa.scalar(text or None, pa.string()), length)

            # a line of several results: each has a place of its own
            place = (self.line[rows] - 1) * tests + number
            columns = {
                **self._origin(place, self.version[rows], codes.take(index)),
                **{name: one.take(index) for name, one in of_line.items()},
                **self._test(constant(result.code), constant(result.display)),
                **read_values(found.take(index), self.mapping.decimal),
                **self._unit(constant(result.unit)),
                "reference_range": constant(result.reference_range),
            }
            pieces.append(_plain(pa.table(columns)))
        return pa.concat_tables(pieces).combine_chunks()

    def _apart(self, rows: pa.Table) -> pa.Table:
        """Results that a file states again under the same time are a microsecond apart, in the order of its lines."""
        count = rows.num_rows
        test = pc.fill_null(
            pc.coalesce(rows.column("observation_code"), rows.column("observation_display")), ""
        )
        said = [test, pc.fill_null(rows.column("sub_id"), "")] if "sub_id" in rows.column_names else [test]
        tests = _Groups.of([_whole(one) for one in said], count)
        result = rows.column("order_index").to_numpy().astype(np.int64) * max(tests.count, 1) + tests.number
        version = _whole(rows.column("version_time")).cast(pa.int64()).to_numpy()
        order = np.lexsort((version, result))
        begins = np.ones(count, bool)
        begins[1:] = (np.diff(result[order]) != 0) | (np.diff(version[order]) != 0)
        if not begins.all():
            first = np.maximum.accumulate(np.where(begins, np.arange(count), 0))
            again = np.empty(count, np.int64)
            again[order] = np.arange(count) - first
            place = rows.column_names.index("version_time")
            rows = rows.set_column(place, "version_time", pa.array(version + again).cast(INSTANT))
        return rows.append_column("line", pa.array(np.zeros(count, np.int32)))

    def _test(self, code: pa.Array, display: pa.Array) -> dict[str, pa.Array]:
        columns = {
            "observation_code": code,
            "observation_display": display,
            "observation_system": _where_said(code, self.mapping.code_system),
        }
        if self.mapping.codes:
            by_local = {one.local: one for one in self.mapping.codes}
            key = pc.coalesce(code, display)
            for name in ("code", "display", "system"):
                table = {local: getattr(one, name) or None for local, one in by_local.items()}
                columns[f"observation_alt_{name}"] = mapped(key, table.get)
        return columns

    def _unit(self, unit: pa.Array) -> dict[str, pa.Array]:
        columns = {"unit_code": unit}
        if self.mapping.units:
            table = dict(self.mapping.units)
            columns["unit_alt_code"] = mapped(unit, table.get)
            columns["unit_alt_system"] = _where_said(columns["unit_alt_code"], "UCUM")
        return columns

    def _range(self) -> pa.Array:
        """The reference range as text: as it stands, else of its limits."""
        whole, low, high = (
            self._text(name) for name in ("reference_range", "reference_low", "reference_high")
        )
        if low.null_count == len(low) and high.null_count == len(high):
            return whole
        both = pc.binary_join_element_wise(low, high, "-")
        above = pc.binary_join_element_wise(pa.scalar(">="), low, "")
        below = pc.binary_join_element_wise(pa.scalar("<="), high, "")
        return pc.coalesce(whole, both, above, below)

    def _reports(self, status: pa.Array, orders: _Groups) -> pa.Table:
        """A report for each order of which anything is said that is not taken back, which alone would take back all."""
        stands = ~pc.fill_null(pc.is_in(status, pa.array(_TAKEN_BACK)), False).to_numpy(zero_copy_only=False)
        final = pc.fill_null(pc.is_in(status, pa.array(_FINAL)), False).to_numpy(zero_copy_only=False)
        corrected = pc.fill_null(pc.equal(status, "C"), False).to_numpy(zero_copy_only=False)
        some = orders.any(stands)
        preliminary = orders.any(stands & ~final)
        whole = np.where(preliminary, 0, np.where(orders.any(corrected), 2, 1))[some]
        first = orders.first[some]
        index = pa.array(first)
        latest = orders.latest(self.version, stands)[some]
        columns = {
            **self._origin(self.line[first], self.version[latest]),
            **_take({**self._subject(), **self._order(), **self._service()}, index),
            "order_index": pa.array(orders.number[first].astype(np.int32)),
            "status": pa.array(["P", "F", "C"]).take(pa.array(whole)),
            "section": pa.repeat(pa.scalar("LAB"), len(first)),
            **(
                self._instant("effective_time", "specimen_time", first)
                or self._instant("effective_time", "analysis_time", first)
            ),
            **self._instant("issued_time", "result_time", latest),
            **self._instant("specimen_received_time", "specimen_received_time", first),
            **_take(
                {
                    "specimen_type": self._text("specimen_type"),
                    "specimen_display": self._text("specimen_name"),
                    "specimen_id": self._text("specimen_id"),
                    "orderer_id": self._text("orderer_id"),
                    "orderer_family_name": self._text("orderer_name"),
                },
                index,
            ),
        }
        return pa.table(columns)

    def _requests(self, orders: _Groups) -> pa.Table:
        """What the file says of each order."""
        first, index = orders.first, pa.array(orders.first)
        requested = (
            self._instant("requested_time", "ordered_time", first)
            or self._instant("requested_time", "specimen_time", first)
            or self._instant("requested_time", "analysis_time", first)
        )
        columns = {
            **self._origin(self.line[first], self.version[orders.latest(self.version)]),
            **_take({**self._subject(), **self._order(), **self._service()}, index),
            "order_index": pa.array(orders.number[first].astype(np.int32)),
            **self._instant("ordered_time", "ordered_time", first),
            **requested,
            **_take(
                {
                    "specimen_type": self._text("specimen_type"),
                    "specimen_id": self._text("specimen_id"),
                    "orderer_id": self._text("orderer_id"),
                    "orderer_family_name": self._text("orderer_name"),
                },
                index,
            ),
        }
        return pa.table(columns)

    def _specimens(self, orders: _Groups) -> pa.Table:
        """A specimen for each order that says anything of one."""
        said = [self._text(name) for name in ("specimen_id", "specimen_type", "specimen_name")]
        there = pc.is_valid(pc.coalesce(*said)).to_numpy(zero_copy_only=False)
        wanted = there[orders.first]
        first = orders.first[wanted]
        kind = self._text("specimen_type")
        columns = {
            **self._origin(self.line[first], self.version[orders.latest(self.version)][wanted]),
            **_take(
                {
                    **self._subject(),
                    **self._order(),
                    "specimen_id": said[0],
                    "filler_specimen_id": said[0],
                    "type_code": kind,
                    "type_display": said[2],
                    "type_system": _where_said(kind, self.mapping.code_system),
                },
                pa.array(first),
            ),
            "order_index": pa.array(orders.number[first].astype(np.int32)),
            **self._instant("collected_time", "specimen_time", first),
            **self._instant("received_time", "specimen_received_time", first),
        }
        return pa.table(columns)

    def _patients(self) -> pa.Table:
        """A row for each thing that the file says of a patient."""
        there = self._text("patient_id").is_valid().to_numpy(zero_copy_only=False)
        groups = self._groups("patient_id", "patient_authority", "patient_name", "birth_date", "sex")
        wanted = there[groups.first]
        first = groups.first[wanted]
        index = pa.array(first)
        who = _take(self._subject(), index)
        del who["visit_number"]
        name = self._text("patient_name").take(index)
        born = self.times.get("birth_date")
        identifiers = pa.StructArray.from_arrays(
            [who["patient_id"], who["patient_authority"], pa.nulls(len(first), pa.string())],
            fields=list(IDENTIFIER),
        )
        columns = {
            **self._origin(self.line[first], self.version[groups.latest(self.version)][wanted]),
            **who,
            "identifiers": pa.ListArray.from_arrays(
                pa.array(np.arange(len(first) + 1, dtype=np.int32)), identifiers
            ),
            "family_name": name,
            "birth_date_text": self._text("birth_date").take(index),
            "gender": _translated(self._text("sex"), self.mapping.sex).take(index),
        }
        if born is not None:
            columns["birth_date"] = born.take(first).dates()
        return pa.table(columns)

    def _findings(self) -> pa.Table:
        """One row for each finding on a line, and for those on the file, which have the line 0."""
        lines = [np.zeros(len([code for code in self.codes if code == MISMATCH]), np.int64)]
        rows = [self.line[one] for one in self.noted.rows]
        codes = [MISMATCH] * len(lines[0])
        places = [np.zeros(len(lines[0]), np.int64)]
        for some, code, place in zip(rows, self.noted.codes, self.noted.places, strict=True):
            codes += [code] * len(some)
            places.append(np.full(len(some), place, np.int64))
        line, place_of = np.concatenate([*lines, *rows]), np.concatenate(places)
        return pa.table(
            {
                **self._origin(line, np.full(len(line), self.event, np.int64)),
                "code": pa.array(codes, pa.string()),
                "severity": pa.array([FINDINGS[code].severity.value for code in codes], pa.string()),
                "field": pa.array(place_of.astype(np.int32), mask=place_of == 0),
            }
        )


@dataclass(frozen=True)
class _Groups:
    """Rows that say the same.

    Attributes:
        number: group of each row, in the order in which groups appear.
        first: first row of each group.
    """

    number: I64
    first: I64

    @property
    def count(self) -> int:
        return len(self.first)

    @classmethod
    def of(cls, said: Sequence[pa.Array], count: int) -> _Groups:
        """Group rows by columns of text without nulls."""
        if not said:
            return cls(np.zeros(count, np.int64), np.zeros(min(count, 1), np.int64))
        joined = pc.binary_join_element_wise(*said, _BETWEEN) if len(said) > 1 else said[0]
        kinds = _whole(joined).dictionary_encode()
        number = kinds.indices.to_numpy().astype(np.int64)
        first = np.empty(len(kinds.dictionary), np.int64)
        first[number[::-1]] = np.arange(count)[::-1]
        return cls(number, first)

    def any(self, rows: Bools) -> Bools:
        """Of each group whether any row is so."""
        found = np.zeros(self.count, bool)
        found[self.number[rows]] = True
        return found

    def latest(self, version: I64, rows: Bools | None = None) -> I64:
        """Of each group the row of the greatest version, the last of equal ones; among some rows where any are."""
        least = np.where(rows, version, np.iinfo(np.int64).min) if rows is not None else version
        order = np.lexsort((np.arange(len(version)), least, self.number))
        last = np.searchsorted(self.number[order], np.arange(self.count), side="right") - 1
        return order[last]


def _note_incomplete(bad: _Bad, texts: Mapping[str, pa.Array], count: int, *, wide: bool) -> None:
    """Lines that name no test, or nothing that the result is of."""

    def none_of(*names: str) -> Bools:
        said = [texts[name] for name in names if name in texts]
        return np.logical_and.reduce([_empty(one) for one in said]) if said else np.ones(count, bool)

    bad.note(none_of("patient_id", "order_number", "placer_number", "specimen_id"), _INCOMPLETE)
    if not wide:
        bad.note(none_of("test_code", "test_name"), _INCOMPLETE)


def _first(lines: Lines, bad: _Bad) -> MessageError:
    """What is wrong with the first of lines that are all bad."""
    structure = min(zip(lines.bad_line.tolist(), lines.bad_code.tolist(), strict=True), default=(math.inf, 0))
    if len(lines.line) and lines.line[0] < structure[0]:
        place = {"field": int(bad.place[0])} if bad.place[0] else {}
        return MessageError(
            bad.code[0], FINDINGS[bad.code[0]].sentence, segment_index=int(lines.line[0]), **place
        )
    code = CODES[int(structure[1])]
    return MessageError(code, FINDINGS[code].sentence, segment_index=int(structure[0]))


def _event(file: File, told: Bools, issued: Times, taken: Times | None) -> int:
    """The file's own time: that of its latest result, else of its latest specimen, else its receipt."""
    if told.any():
        return int(issued.instant[told].max())
    known = taken.valid & (taken.instant <= file.received + _DAY) if taken is not None else np.zeros(0, bool)
    return int(taken.instant[known].max()) if taken is not None and known.any() else file.received


def _empty(texts: pa.Array) -> Bools:
    return texts.is_null().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _said(texts: pa.Array, absent: Sequence[str]) -> pa.Array:
    """Without the texts that say that there is nothing."""
    if not absent:
        return texts
    return pc.if_else(pc.is_in(texts, pa.array(absent, pa.string())), pa.scalar(None, pa.string()), texts)


def _half_width(texts: pa.Array) -> pa.Array:
    """Dates with full-width digits as others write them."""
    if not len(texts) or pc.all(pc.fill_null(pc.string_is_ascii(texts), True)).as_py():
        return texts
    return mapped(texts, lambda text: text.translate(HALF_WIDTH))


def _where_said(texts: pa.Array, value: str) -> pa.Array:
    """A text for each row in which another column says something."""
    return pc.if_else(pc.is_valid(texts), pa.scalar(value), pa.scalar(None, pa.string()))


def _translated(texts: pa.Array, pairs: Pairs) -> pa.Array:
    """Texts by a map; what it does not have stays as it is."""
    table = dict(pairs)
    return mapped(texts, lambda text: table.get(text, text)) if table else texts


def _lists(texts: pa.Array) -> pa.Array:
    """Each text as a list of one; null where there is none."""
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    mask = None if there.all() else np.append(~there, False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), texts.drop_null())


def _take(columns: Mapping[str, pa.Array], index: pa.Array) -> dict[str, pa.Array]:
    return {name: one.take(index) for name, one in columns.items()}


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
