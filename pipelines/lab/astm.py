"""Messages of instruments (LIS2-A2) → rows of observation, specimen, order, report, patient and qc_result.

Records are cut by the delimiters that H declares, after decoding: in GB 18030 the bytes of delimiters are second bytes
of ordinary ideographs. A record that no table takes, and one of which only a part is taken, is kept whole in
``segment``. Nothing that is measured of control material goes to a patient.

A result's version is the time it was completed (R-13), else started (R-12), else that of the message. The message's own
time is that of its latest result, else H-14, for a message that is sent again has another H-14.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64, buffers
from pipelines.hl7v2.locate import Spans
from pipelines.hl7v2.times import NO_OFFSET, Clock, Times, read_times
from pipelines.lab.values import read_values
from schemas.errors import MessageError
from schemas.findings import FINDINGS
from schemas.lab.astm import ABNORMAL_ENDS, COLUMNS, CONTROL, INSTRUMENT, TERMINATORS, TIMES
from schemas.lab.profiles import Places, Profile, bent
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Parsed
from schemas.source import Source
from schemas.table import INSTANT, Table
from schemas.tables.normalised import (
    DIAGNOSTIC_REPORT,
    FINDING,
    MESSAGE_HEADER,
    OBSERVATION,
    PATIENT,
    SEGMENT,
    SERVICE_REQUEST,
    SPECIMEN,
)
from schemas.tables.qc_result import QC_RESULT

TABLES: tuple[Table, ...] = (
    MESSAGE_HEADER, PATIENT, SERVICE_REQUEST, SPECIMEN, DIAGNOSTIC_REPORT, OBSERVATION, QC_RESULT, SEGMENT, FINDING,
)  # fmt: skip
"""What instruments feed."""

_FALLBACKS = ("utf-8", "gb18030")
_USUAL = ("|", "\\", "^", "&")
_DAY = 86_400_000_000
_FUTURE = "HL7-VERSION-TIME-FUTURE"
_TIME = "LAB-RECORD-TIME"
_LOCAL = "L"
_LINES = re.compile(r"[\r\n]+")
_BLANKS = b" \t\r\n\x00"
_PRINTED = re.compile(r"[^\x00-\x1f\x7f]")
_MOST_NAME = 16
_PARENTS: Mapping[str, str] = {"P": "H", "O": "P", "R": "O", "C": "H"}
"""What a record belongs to; those of a patient."""
_TABLE_OF = {
    table.name.removeprefix("normalised/"): table
    for table in (MESSAGE_HEADER, PATIENT, SERVICE_REQUEST, SPECIMEN, DIAGNOSTIC_REPORT, OBSERVATION, QC_RESULT,
                  SEGMENT, FINDING)
}  # fmt: skip

Row = dict[str, object]
Record = list[str]


@dataclass(frozen=True)
class Message:
    """A message to be read.

    Attributes:
        row: its number in what is parsed together.
        payload: its bytes.
        source: who sent it.
        received: microseconds since 1970 UTC.
    """

    row: int
    payload: bytes
    source: Source
    received: int


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What H declares (LIS2-A2 §5, §6.2); an empty one is not used."""

    field: str
    repeat: str
    component: str
    escape: str

    @classmethod
    def of(cls, header: str) -> tuple[Delimiters, bool]:
        """Those of a header record, and whether the standard's own had to be taken for some.

        Raises:
            MessageError: ``LAB-ASTM-HEADER``: the record is no H record, or has no field delimiter.
        """
        if len(header) < 2 or header[0] not in "Hh" or header[1].isalnum() or not _PRINTED.match(header[1]):
            raise _problem("LAB-ASTM-HEADER", segment="H", segment_index=0)
        declared = header[2:5].split(header[1], maxsplit=1)[0]
        found, usual = [header[1]], len(declared) < 3
        for place in range(3):
            one = declared[place] if place < len(declared) else ""
            if not one or one in found or one.isalnum() or not _PRINTED.match(one):
                usual = True
                one = "" if _USUAL[place + 1] in (*found, *declared) else _USUAL[place + 1]
            found.append(one)
        return cls(*found), usual

    def unescape(self, text: str) -> tuple[str, bool]:
        """A text with its escapes resolved (LIS2-A2 §5), and whether all were known; others stay as they are."""
        if not self.escape or self.escape not in text:
            return text, True
        known = True

        def resolve(found: re.Match[str]) -> str:
            nonlocal known
            said = found[1]
            simple = {"F": self.field, "S": self.component, "R": self.repeat, "E": self.escape}.get(said)
            if simple is not None:
                return simple
            if said[:1] == "X" and len(said) % 2 and len(said) > 1 and _HEX.fullmatch(said, 1):
                return bytes.fromhex(said[1:]).decode("latin-1")
            known = False
            return found[0]

        return _escapes(self.escape).sub(resolve, text), known


_HEX = re.compile("[0-9A-Fa-f]+")


@functools.lru_cache(maxsize=64)
def _escapes(escape: str) -> re.Pattern[str]:
    """An escape: what it says begins with a letter and has no blanks, so that a lone ``&`` is none."""
    mark = re.escape(escape)
    return re.compile(rf"{mark}([A-Z][0-9A-Za-z.]{{0,64}}){mark}")


def whole_records(payload: bytes) -> tuple[bytes, bytes]:
    """The records of a message that are whole, and the beginning of one that was cut off, which only its end can be.

    A record ends with CR (LIS2-A2 §5); an L record says enough without it, as does a message of nothing but H.
    """
    end = max(payload.rfind(b"\r"), payload.rfind(b"\n")) + 1
    tail = payload[end:].strip(_BLANKS)
    if not tail or not payload[:end].strip(_BLANKS) or tail[:1] in b"Ll":
        return payload, b""
    return payload[:end], tail


def to_records(payload: bytes, charset: str) -> tuple[list[str], str]:
    """A message's records as text, and the character set that they are in: the claimed one, else another that fits.

    Raises:
        MessageError: ``LAB-ASTM-CHARSET``: it is in none.
    """
    for name in (charset, *_FALLBACKS):
        try:
            text = payload.decode(name)
        except UnicodeError:
            continue
        records = [line.lstrip(" \t\0\ufeff") for line in _LINES.split(text)]
        return [line for line in records if line], name
    raise _problem("LAB-ASTM-CHARSET")


def header_of(records: Sequence[str]) -> tuple[Record, Delimiters, bool]:
    """The fields of H, H-2 as one field, with the delimiters, and whether some are the standard's own.

    Raises:
        MessageError: ``LAB-ASTM-HEADER``.
    """
    if not records:
        raise _problem("LAB-ASTM-HEADER", segment="H", segment_index=0)
    delimiters, usual = Delimiters.of(records[0])
    fields = records[0].split(delimiters.field)
    return fields, delimiters, usual


def read_messages(messages: Iterable[Message]) -> Parsed:
    """Read messages; rows of ``TABLES``. Never raises, whatever the bytes."""
    made = _Made()
    unreadable: list[Row] = []
    for message in messages:
        try:
            reader = _Reader.of(message, made)
        except MessageError as problem:
            unreadable.append({"row": message.row, "code": problem.code, **problem.coordinates})
            continue
        reader.read()
        made.read.append(reader)
    return Parsed(made.messages(), pa.Table.from_pylist(unreadable, schema=UNREADABLE_SCHEMA), made.tables())


def _problem(code: str, **coordinates: str | int) -> MessageError:
    return MessageError(code, FINDINGS[code].sentence, **coordinates)


@functools.lru_cache(maxsize=256)
def _place(place: str) -> tuple[str, int, int]:
    """Record, field from 0 and component from 0 (-1: the whole field) of a place such as ``R-3.4``."""
    record, _, rest = place.partition("-")
    number, _, component = rest.partition(".")
    return record, int(number) - 1, int(component) - 1 if component else -1


_COMPILED: Mapping[str, tuple[tuple[str, str, int, int], ...]] = {
    table: tuple((column, *_place(place)) for column, place in columns.items())
    for table, columns in COLUMNS.items()
}


@dataclass
class _Made:
    """What comes of messages: rows by table, with texts where times and values are still to be read.

    Attributes:
        rows: by table; a row's key ``@column`` has the text of an instant and the record and field it stands in.
        read: the messages that could be read.
    """

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _TABLE_OF})
    read: list[_Reader] = field(default_factory=list)

    @functools.cached_property
    def _clock(self) -> Clock:
        """By message (index into ``read``): the offset of H-14, else the source's zone."""
        zones = sorted({one.message.source.time_zone for one in self.read})
        zone = np.array([zones.index(one.message.source.time_zone) for one in self.read], np.int64)
        unsaid = Clock(np.full(len(self.read), NO_OFFSET, np.int64), zone, tuple(zones))
        sent = _times([one.sent_time for one in self.read], np.arange(len(self.read)), unsaid)
        return Clock(sent.sent, zone, tuple(zones))

    @functools.cached_property
    def _sent(self) -> Times:
        return _times([one.sent_time for one in self.read], np.arange(len(self.read)), self._clock)

    def _of(self, table: str) -> I64:
        """Index into ``read`` of each row of a table."""
        place = {one.message.row: at for at, one in enumerate(self.read)}
        return np.array([place[row["row"]] for row in self.rows[table]], np.int64)  # type: ignore[index]

    @functools.cached_property
    def _instants(self) -> dict[str, dict[str, Times]]:
        """The instants of each table; what cannot be read is noted."""
        found: dict[str, dict[str, Times]] = {}
        for table, columns in TIMES.items():
            rows, of = self.rows[table], self._of(table)
            for column in columns:
                said: list[Any] = [row.pop(f"@{column}", ("",)) for row in rows]
                read = _times([one[0] for one in said], of, self._clock)
                for at in np.flatnonzero(read.refused).tolist():
                    self.read[of[at]].note(_TIME, *said[at][1:], rows[at])
                found.setdefault(table, {})[column] = read
        return found

    @functools.cached_property
    def _versions(self) -> tuple[I64, I64, dict[str, I64]]:
        """Of each message its time and whether its header says it; of each row of results its version."""
        received = np.array([one.message.received for one in self.read], np.int64)
        sent = self._sent
        told = sent.valid & (sent.instant <= received + _DAY)
        event = np.where(told, sent.instant, received)
        latest = np.full(len(self.read), np.iinfo(np.int64).min)
        by_table: dict[str, tuple[I64, Times, I64]] = {}
        for table in ("observation", "qc_result"):
            of, times = self._of(table), self._instants[table]["analysis_time"]
            future = times.valid & (times.instant > received[of] + _DAY)
            for at in np.flatnonzero(future).tolist():
                row = self.rows[table][at]
                self.read[of[at]].note(_FUTURE, "R", int(row["segment_index"]), 13, row)  # type: ignore[call-overload]
            known = times.valid & ~future
            np.maximum.at(latest, of[known], times.instant[known])
            by_table[table] = (of, times, np.where(future, 1, np.where(times.valid, 0, 2)))
        for at in np.flatnonzero(sent.refused).tolist():
            self.read[at].note(_TIME, "H", 0, 14)
        for at in np.flatnonzero(sent.valid & ~told).tolist():
            self.read[at].note(_FUTURE, "H", 0, 14)
        none = latest == np.iinfo(np.int64).min
        of_message = event.copy()
        event = np.where(none, event, latest)
        versions = {
            table: np.select([how == 0, how == 1], [times.instant, received[of]], of_message[of])
            for table, (of, times, how) in by_table.items()
        }
        return event, np.where(none & told, 1, 0), versions

    def messages(self) -> pa.Table:
        """``MESSAGES_SCHEMA``."""
        event, by_header, _ = self._versions
        precision = self._sent.precisions().to_pylist()
        rows = []
        for at, one in enumerate(self.read):
            when = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(event[at]))
            source = one.message.source
            rows.append(
                {
                    "row": one.message.row,
                    "institution": source.institution or source.name,
                    "message_type": one.message_type,
                    "event_time": when,
                    "event_time_precision": precision[at] if by_header[at] else "second",
                    "event_date": when.astimezone(ZoneInfo(source.time_zone)).date(),
                    "codes": sorted(one.codes),
                }
            )
        return pa.Table.from_pylist(rows, schema=MESSAGES_SCHEMA)

    def tables(self) -> dict[str, pa.Table]:
        """The rows of each table, with versions, instants and values."""
        event, _, versions = self._versions
        instants = self._instants
        made = {}
        for name, table in _TABLE_OF.items():
            rows = self.rows[name]
            if not rows:
                continue
            version = versions[name] if name in versions else event[self._of(name)]
            columns: dict[str, pa.Array] = {
                "row": pa.array([row["row"] for row in rows], pa.int32()),
                "version_time": pa.array(version).cast(INSTANT),
            }
            if name in ("observation", "qc_result"):
                columns |= read_values(pa.array([row.pop("value") for row in rows], pa.string()))
                del columns["value_repetitions"]
            for column, times in instants.get(name, {}).items():
                columns[column] = times.instants()
                columns[f"{column}_precision"] = times.precisions()
                columns[f"{column}_offset"] = times.offsets()
            for one in table.fields:
                if one.name not in columns and any(one.name in row for row in rows):
                    columns[one.name] = pa.array([row.get(one.name) for row in rows], one.type)
            made[table.name] = pa.table(columns)
        return made


def _times(texts: Sequence[str], message: I64, clock: Clock) -> Times:
    """Times as HL7 writes them, which is how LIS2-A2 does (§5)."""
    offsets, data = buffers(pa.array(texts, pa.binary()))
    return read_times(data, Spans(offsets[:-1], offsets[1:], len(texts)), message, clock)


class _Reader:
    """One message on its way to rows."""

    def __init__(
        self, message: Message, made: _Made, records: list[str], delimiters: Delimiters, profile: Profile
    ) -> None:
        self.message = message
        self.made = made
        self.records = records
        self.delimiters = delimiters
        self.profile = profile
        self.codes: set[str] = set()
        self.charset = self.cut = ""
        self._noted: set[tuple[str, int, int | None]] = set()
        self._control = False
        self._kept: set[int] = set()
        self._lines: dict[tuple[object, ...], int] = {}
        self.fields: dict[str, Record] = {}
        self.index = 0
        self.sent_time = ""
        self.kinds: set[str] = set()
        self.controls = self.orders = self.orders_of_patient = 0
        self.order_index = -1
        self._expected: dict[str, int] = {}
        self._notes: list[str] | None = None
        self._patient: tuple[int, str] | None = None  # record of a patient of whom nothing is stated yet
        self._patient_stated = False
        self._ended = False
        self._of_order: Row = {}
        self._services: tuple[Row, ...] = ()

    @classmethod
    def of(cls, message: Message, made: _Made) -> _Reader:
        """Begin to read.

        Raises:
            MessageError: it cannot be read.
        """
        payload, cut = whole_records(message.payload)
        records, charset = to_records(payload, message.source.charset)
        fields, delimiters, usual = header_of(records)
        profile = bent(message.source.instrument_profile, message.source.profile_places)
        reader = cls(message, made, records, delimiters, profile)
        reader.fields["H"] = fields
        reader.charset = charset
        reader.cut = cut.decode(charset, "replace")
        if charset != message.source.charset:
            reader.note("LAB-ASTM-CHARSET-MISMATCH")
        if usual:
            reader.note("LAB-DELIMITERS", "H", 0, 2)
        reader.sent_time = reader.text("H", 13, -1) or ""
        return reader

    @property
    def message_type(self) -> str:
        """``ASTM^QC``, ``^R``, ``^Q``, ``^M``, ``^O``, ``^H``: what it is of, the most telling first."""
        if self.controls and self.controls == self.orders:
            return "ASTM^QC"
        return "ASTM^" + next((kind for kind in "RQMOP" if kind in self.kinds), "H")

    # places ---------------------------------------------------------------------------------------------------

    def note(
        self, code: str, segment: str | None = None, index: int = 0, place: int | None = None, row: Row | None = None
    ) -> None:  # fmt: skip
        """A finding, on the message and, where it is known, on the row."""
        self.codes.add(code)
        if row is not None:
            row["codes"] = sorted({*row.get("codes", []), code})  # type: ignore[misc]
        finding = {
            "row": self.message.row, "segment_index": index, "code": code, "codes": [],
            "severity": FINDINGS[code].severity.value, "segment": segment, "field": place,
        }  # fmt: skip
        if (code, index, place) not in self._noted:
            self._noted.add((code, index, place))
            self.made.rows["finding"].append(finding)

    def text(self, record: str, number: int, component: int) -> str | None:
        """A field's first repetition, or a component of it, without blanks around it; None where it says nothing."""
        fields = self.fields.get(record)
        if fields is None or number >= len(fields):
            return None
        text = fields[number]
        if not text:
            return None
        delimiters = self.delimiters
        if delimiters.repeat and delimiters.repeat in text and not (record == "H" and number == 1):
            text = text.split(delimiters.repeat, 1)[0]
        if component >= 0:
            if delimiters.component and delimiters.component in text:
                parts = text.split(delimiters.component)
                text = parts[component] if component < len(parts) else ""
            elif component:
                return None
        text = text.strip()
        if delimiters.escape and delimiters.escape in text:
            text, known = delimiters.unescape(text)
            if not known:
                self.note("LAB-ESCAPE", record, self.index, number + 1)
        return text or None

    def first(self, places: Places) -> str | None:
        """What the first of some places says that says anything."""
        for place in places:
            if text := self.text(*_place(place)):
                return text
        return None

    def _row(self, table: str, **more: object) -> Row:
        """A row of a table, with what the literals say of it."""
        row: Row = {
            "row": self.message.row,
            "segment_index": self.index,
            "codes": [],
            **{name: value for name, value in more.items() if value is not None},
        }
        for column, record, number, component in _COMPILED.get(table, ()):
            if text := self.text(record, number, component):
                row[column] = text
        for column, places in TIMES.get(table, {}).items():
            for place in places:
                record, number, component = _place(place)
                if text := self.text(record, number, component):
                    row[f"@{column}"] = (text, record, self.index, number + 1)
                    break
        self.made.rows[table].append(row)
        return row

    def _keep(self, index: int, name: str) -> None:
        """A record as it stands."""
        if index in self._kept:
            return
        self._kept.add(index)
        kept = {"row": self.message.row, "segment_index": index, "codes": [], "name": name[:_MOST_NAME],
                "text": self.records[index]}  # fmt: skip
        if name in _PARENTS and not self._control:
            kept |= self._subject()
        self.made.rows["segment"].append(kept)

    @property
    def _authority(self) -> str:
        source = self.message.source
        return f"{source.name}/{source.institution}"

    # records --------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read all records."""
        for index, record in enumerate(self.records):
            self.index = index
            fields = record.split(self.delimiters.field)
            name = fields[0].strip().upper()
            self.kinds.add(name)
            if "\0" in record:
                self.note("LAB-CONTROL-CHARACTER", name[:1], index)
            take = _TAKES.get(name)
            if self._ended:
                self.note("LAB-AFTER-TERMINATOR", name[:_MOST_NAME], index)
            if take is None:
                if name not in ("M", "S", "Q"):
                    self.note("LAB-RECORD-UNKNOWN", name[:_MOST_NAME], index)
                    self._notes = None
                self._keep(index, name)
                continue
            if name in "PORC":
                self._count(name, fields)
            take(self, index, fields)
        self.index = len(self.records) - 1
        self._end_patient()
        if self.cut:
            self.index += 1
            self.records.append(self.cut)
            self.note("LAB-RECORD-CUT", self.cut[:1].upper(), self.index)
            self._keep(self.index, self.cut[:1].upper())
        if not self._ended:
            self.note("LAB-NO-TERMINATOR", None, self.index)

    def _count(self, name: str, fields: Record) -> None:
        """Sequence numbers begin with 1 below each record of a higher level (LIS2-A2 §5)."""
        expected = self._expected.get(name, 1)
        said = fields[1].strip() if len(fields) > 1 else ""
        number = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0
        if number != expected:
            self.note("LAB-SEQUENCE", name, self.index, 2)
        self._expected[name] = (number or expected) + 1
        for below in "PORC"["PORC".index(name) + 1 :]:
            self._expected[below] = 1
        parent = _PARENTS.get(name)
        if parent is not None and parent not in self.fields:
            self.note("LAB-NESTING", name, self.index)

    def take_header(self, index: int, _: Record) -> None:
        if index:  # no message has a second one
            self.note("LAB-NESTING", "H", index)
            self._keep(index, "H")
            return
        self._row("message_header", charset_used=self.charset)
        self._notes = None

    def take_patient(self, index: int, fields: Record) -> None:
        self._end_patient()
        self._control = False
        self.fields.pop("O", None)
        self.fields["P"] = fields
        self._patient, self._patient_stated = (index, "P"), False
        self._notes = None
        self._keep_rest(index, "P", fields)

    def _end_patient(self) -> None:
        """A patient of whom nothing is measured is stated; one that only controls follow is none."""
        if self._patient is not None and not self._patient_stated:
            if self.orders_of_patient:
                self._keep(self._patient[0], "P")
            else:
                self._state_patient()
        self._patient = None
        self.orders_of_patient = 0

    def _state_patient(self) -> None:
        if self._patient is None or self._patient_stated:
            return
        self._patient_stated = True
        identifier = self.first(self.profile.patient_id)
        if identifier is None:
            if any(field.strip() for field in self.fields["P"][2:]):
                self._keep(self._patient[0], "P")
            return
        now, self.index = self.index, self._patient[0]
        row = self._row(
            "patient",
            patient_id=identifier,
            patient_authority=self._authority,
            identifiers=[{"value": identifier, "authority": self._authority, "type": None}],
        )
        born = str(row.get("birth_date_text", ""))[:8]
        try:
            row["birth_date"] = datetime.strptime(born, "%Y%m%d").date() if len(born) == 8 else None  # noqa: DTZ007
        except ValueError:
            self.note(_TIME, "P", self.index, 8, row)
        self.index = now

    def take_order(self, index: int, fields: Record) -> None:
        self.fields["O"] = fields
        self.orders += 1
        self.orders_of_patient += 1
        self.order_index += 1
        specimen = self.first(self.profile.specimen_id)
        if self._is_control(specimen):
            self.controls += 1
            self._of_order = {
                "specimen_id": specimen,
                "control_material": self.first(self.profile.control_material),
                "control_lot": self.first(self.profile.control_lot),
                "control_level": self.first(self.profile.control_level),
                "rack": self.first(self.profile.rack),
                "rack_position": self.first(self.profile.rack_position),
            }
            self._control = True
            self._notes = None
            self._keep(index, "O")
            return
        self._control = False
        self._state_patient()
        self._of_order = {
            **self._subject(),
            "specimen_id": specimen,
            "order_index": self.order_index,
            "status": INSTRUMENT,
        }
        stated = {name: one for name, one in self._of_order.items() if name != "status"}
        self._services = self._ordered(fields)
        self._notes = []
        for service in self._services or ({},):
            request = self._row("service_request", stated_in="O", **stated)
            request |= {**service, "notes": self._notes}
        self._row("diagnostic_report", **self._of_order).update(*self._services[:1])
        if specimen is not None or self.text("O", 15, -1):
            self._row("specimen", **stated)
        self._of_order |= {
            "rack": self.first(self.profile.rack),
            "rack_position": self.first(self.profile.rack_position),
        }
        self._keep_rest(index, "O", fields)

    def _ordered(self, fields: Record) -> tuple[Row, ...]:
        """The tests of O-5, one for each repetition; a code stands where it does in R-3."""
        found: dict[object, Row] = {}
        for test in self._repeats(fields, 4):
            parts = [part.strip() for part in self._components(test)]

            def said(places: Places, parts: list[str] = parts) -> tuple[str | None, int]:
                for _, number, component in map(_place, places):
                    place = max(component, 0)
                    if number == _UNIVERSAL and place < len(parts) and parts[place]:
                        return self.delimiters.unescape(parts[place])[0], place
                return None, 0

            code, place = said(self.profile.test_code)
            name, at = said(self.profile.test_name)
            row: Row = {
                "service_code": code,
                "service_display": name if (name, at) != (code, place) else None,
            }
            if code is not None:
                system = (
                    said((self.profile.test_system,))[0] if not place and self.profile.test_system else None
                )
                row["service_system"] = system or _LOCAL
            if code is not None or name is not None:
                found.setdefault((code, name), row)
        return tuple(found.values())

    def _components(self, text: str) -> list[str]:
        return text.split(self.delimiters.component) if self.delimiters.component else [text]

    def _service_of(self, code: str | None) -> Row:
        """The test of the order that a result is of: its only one, or the one of that code."""
        if len(self._services) == 1:
            return self._services[0]
        return next((one for one in self._services if code is not None and one["service_code"] == code), {})

    def _is_control(self, specimen: str | None) -> bool:
        action = self.fields["O"][11] if len(self.fields["O"]) > 11 else ""
        if CONTROL in action.upper() or (self.text("H", 11, -1) or "").upper() == CONTROL:
            return True
        return specimen is not None and specimen.startswith(self.profile.control_prefixes or ("\0",))

    def _subject(self) -> Row:
        patient = self.first(self.profile.patient_id)
        return {"patient_id": patient, "patient_authority": self._authority if patient else None}

    def take_result(self, index: int, fields: Record) -> None:
        self.fields["R"] = fields
        profile = self.profile
        code, name = self.first(profile.test_code), self.first(profile.test_name)
        if code is None and name is None:
            self.note("LAB-TEST-MISSING", "R", index, 3)
            self._keep(index, "R")
            self._notes = None
            return
        if "O" not in self.fields:
            self._services = ()
            self._of_order = {**self._subject(), "status": INSTRUMENT}
            self._control = (self.text("H", 11, -1) or "").upper() == CONTROL
            if not self._control:
                self._state_patient()
        flags = [self.delimiters.unescape(one.strip())[0] for one in self._repeats(fields, 6) if one.strip()]
        flags += [one for place in profile.flags if (one := self.text(*_place(place)))]
        instrument = self.text("R", 13, 0) or self.text("H", 4, 0)
        universal = self.text("R", 2, 0)
        common: Row = {
            **self._of_order,
            **self._service_of(code),
            "sub_id": self.first(profile.sub_id),
            "value": self.first(profile.value),
            "observation_code": code,
            "observation_display": name,
            "observation_system": None if code is None
            else (self.first((profile.test_system,)) or _LOCAL) if code == universal and profile.test_system
            else _LOCAL,
            "interpretation": flags or None,
            "dilution": self.first(profile.dilution),
        }  # fmt: skip
        if self._control:
            for name in ("status", "patient_id", "patient_authority", "sub_id"):
                common.pop(name, None)
            row = self._row("qc_result", instrument=instrument, **common)
        else:
            equipment = [{"id": instrument, "namespace": None}] if instrument else None
            named = (self.order_index, code, name, common["sub_id"])
            line = self._lines[named] = self._lines.get(named, -1) + 1
            row = self._row("observation", line=line, equipment=equipment, **common)
            row.setdefault("instrument_status", "")
            status = str(row["instrument_status"])
            if status and status.upper() not in _STATUSES:
                self.note("LAB-RESULT-STATUS", "R", index, 9, row)
        row["value"] = common["value"]
        row["notes"] = self._notes = []
        self._keep_rest(index, "R", fields)

    def take_comment(self, index: int, fields: Record) -> None:
        text = fields[3] if len(fields) > 3 else ""
        said, known = self.delimiters.unescape(text.strip())
        if not known:
            self.note("LAB-ESCAPE", "C", index, 4)
        if self._notes is None or not said:
            self._keep(index, "C")
        else:
            self._notes.append(said)

    def take_end(self, index: int, fields: Record) -> None:
        self._ended = True
        self._notes = None
        code = fields[2].strip().upper() if len(fields) > 2 else ""
        if code in ABNORMAL_ENDS or code not in TERMINATORS:
            self.note("LAB-TERMINATOR", "L", index, 3)
            self._keep(index, "L")

    def _repeats(self, fields: Record, number: int) -> list[str]:
        text = fields[number] if number < len(fields) else ""
        return text.split(self.delimiters.repeat) if self.delimiters.repeat else [text]

    def _keep_rest(self, index: int, name: str, fields: Record) -> None:
        """The record whole, where it has more repetitions than columns take, or fields behind the standard's last."""
        repeat = self.delimiters.repeat
        several = repeat and any(
            repeat in text for number, text in enumerate(fields) if (name, number) not in _REPEATED
        )
        if several or any(text.strip() for text in fields[_LENGTHS[name] :]):
            self._keep(index, name)


_STATUSES = frozenset("CPFXISMRNQVW")
_UNIVERSAL = 2
"""R-3, from 0: the universal test id; O-5 has the same components."""
_REPEATED = frozenset({("R", 6), ("O", 4)})
"""Fields of which all repetitions are taken."""
_LENGTHS: Final[Mapping[str, int]] = {"P": 35, "O": 31, "R": 14}
"""How many fields the standard has (LIS2-A2 §7, §8, §9)."""

_TAKES: Mapping[str, Callable[[_Reader, int, Record], None]] = {
    "H": _Reader.take_header,
    "P": _Reader.take_patient,
    "O": _Reader.take_order,
    "R": _Reader.take_result,
    "C": _Reader.take_comment,
    "L": _Reader.take_end,
}
