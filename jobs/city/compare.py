"""The lake against the truth: what is missing, too much or different, by table, column and sender; never a value."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.city.truth import Row, Truth
from lake_layout.lake import Lake
from lake_layout.objects import open_store
from schemas.findings import FINDINGS, Severity
from schemas.table import INSTANT, Table
from schemas.tables import NORMALISED, OBSERVATION, TABLES
from schemas.tables.ops import LEDGER, QUARANTINE

_PLACE = ("topic_id", "partition", "offset")
_KEY = ("source", "control_id", "segment_index")
_EXAMPLES = 5
_REASONS = frozenset(
    finding.code
    for finding in FINDINGS.values()
    if finding.severity in (Severity.QUARANTINED, Severity.IGNORED)
)
_Coordinates = tuple[str, int, int]
_Sender = tuple[str, str]
_Values = tuple[object, ...]
"""A row: its key, then its other columns in the order of their names."""

_NOBODY: _Sender = ("nobody", "")
"""Who says a row whose message is not in the ledger."""


@dataclass(frozen=True)
class Difference:
    """A table that is not what the truth says.

    Attributes:
        table: its name; ``objects`` for documents that lie beside the tables.
        missing: rows that must be there and are not.
        surplus: rows that are there and must not be.
        differing: rows that are there under their key with another value in some column.
        columns: the columns in which they differ.
        examples: source, control id (synthetic) and segment position of some of all these.
    """

    table: str
    missing: int
    surplus: int
    differing: int
    columns: tuple[str, ...]
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """For a person."""
        counts = {"missing": self.missing, "too many": self.surplus, "different": self.differing}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        columns = f" (in {', '.join(self.columns)})" if self.columns else ""
        return f"{self.table}: rows {told}{columns}, such as {'; '.join(self.examples)}"


def compare(lake: Lake, truth: Truth) -> list[Difference]:
    """Compare dispositions, quarantine, documents and all normalised tables with the truth.

    Nothing is returned where nothing differs.

    The lake must hold the city's messages only.

    Raises:
        LakeError: a table is not there.
    """
    rows = _newest_readings(lake)
    said = {_coordinates(row): (str(row["source"]), str(row["control_id"] or "")) for row in rows}
    found = [_dispositions(rows, truth), _quarantine(lake, said, truth)]
    by_name = {table.name: table for table in TABLES}
    found.append(_objects(lake, truth))
    names = sorted({*truth.tables, *(table.name for table in NORMALISED)})
    found += [_table(lake, by_name[name], said, truth.tables.get(name, [])) for name in names]
    return [difference for difference in found if difference is not None]


def _dispositions(ledger: Iterable[Mapping[str, object]], truth: Truth) -> Difference | None:
    """Which of two equal messages is the duplicate depends on their order: dispositions are compared as bags."""
    wanted: Counter[_Values] = Counter(
        (one.source, one.control_id, None, one.code, one.disposition) for one in truth.messages
    )
    there: Counter[_Values] = Counter()
    for (source, control_id, reason, disposition), count in _said(ledger).items():
        there[source, control_id, None, reason, disposition] += count
    return _difference(LEDGER.name, ["code", "disposition"], wanted, there)


def landed_dispositions(lake: Lake) -> Counter[tuple[str, str, str, str]]:
    """How many messages the ledger has of each source, control id, reason and disposition."""
    return _said(_newest_readings(lake))


def _newest_readings(lake: Lake) -> list[dict[str, object]]:
    """Of each message in the ledger what counts: it may have been read again."""
    columns = [*_PLACE, "source", "control_id", "disposition", "codes", "reading"]
    rows = lake.dataset(LEDGER).to_table(columns=columns).sort_by("reading").to_pylist()
    return list({_coordinates(row): row for row in rows}.values())


def _said(ledger: Iterable[Mapping[str, object]]) -> Counter[tuple[str, str, str, str]]:
    there: Counter[tuple[str, str, str, str]] = Counter()
    for row in ledger:
        codes = row["codes"] if isinstance(row["codes"], list) else []
        # a message may have been refused for one reason and bear notices beside it
        reason = next((str(code) for code in codes if code in _REASONS), "")
        there[str(row["source"]), str(row["control_id"] or ""), reason, str(row["disposition"])] += 1
    return there


def _quarantine(lake: Lake, said: Mapping[_Coordinates, _Sender], truth: Truth) -> Difference | None:
    wanted: Counter[_Values] = Counter(
        (one.source, one.control_id, None, one.code)
        for one in truth.messages
        # of a file that was read a line may be bad
        if one.code and one.disposition in ("accepted", "conflict", "quarantined")
    )
    rows = lake.dataset(QUARANTINE).to_table(columns=[*_PLACE, "code"]).to_pylist()
    there: Counter[_Values] = Counter(
        (*said.get(_coordinates(row), _NOBODY), None, row["code"]) for row in rows
    )
    return _difference(QUARANTINE.name, ["code"], wanted, there)


def _table(
    lake: Lake, table: Table, said: Mapping[_Coordinates, _Sender], rows: list[Row]
) -> Difference | None:
    """Of each source's rows the columns that the truth tells of any of them: archives say other things than clinics."""
    columns = sorted({column for row in rows for column in row} - set(_KEY))
    told: dict[str, set[str]] = {}
    for row in rows:
        told.setdefault(str(row["source"]), set(_KEY)).update(row)
    wanted: Counter[_Values] = Counter(_values(row, columns) for row in rows)
    read = lake.dataset(table).to_table(columns=[*_PLACE, "segment_index", *columns])
    there: Counter[_Values] = Counter()
    for row in _plain(read, table).to_pylist():
        source, control_id = said.get(_coordinates(row), _NOBODY)
        found = {**row, "source": source, "control_id": control_id}
        own = told.get(source, found.keys())
        there[_values({name: value for name, value in found.items() if name in own}, columns)] += 1
    return _difference(table.name, columns, wanted, there)


def _objects(lake: Lake, truth: Truth) -> Difference | None:
    """Documents that left their rows: each lies in the lake, with the bytes that its hash is of."""
    rows = truth.tables.get(OBSERVATION.name, [])
    wanted: Counter[_Values] = Counter(
        (row["source"], row["control_id"], row["segment_index"], row["value_sha256"])
        for row in rows
        if row.get("value_object_path")
    )
    there: Counter[_Values] = Counter()
    store = open_store(lake.location)
    for row in rows:
        path = row.get("value_object_path")
        if path and (data := store.get_or_none(str(path))) is not None:
            digest = hashlib.sha256(data).hexdigest()
            there[row["source"], row["control_id"], row["segment_index"], digest] += 1
    return _difference("objects", ["sha256"], wanted, there)


def _coordinates(row: Mapping[str, object]) -> _Coordinates:
    return str(row["topic_id"]), int(str(row["partition"])), int(str(row["offset"]))


def _plain(rows: pa.Table, table: Table) -> pa.Table:
    """Instants and dates as the truth writes them: as text."""
    types = {field.name: field.type for field in table.fields}
    for position, name in enumerate(rows.column_names):
        kind = types.get(name)
        if kind == INSTANT:
            seconds = rows.column(name).cast(pa.timestamp("s", "UTC"), safe=False)
            rows = rows.set_column(position, name, pc.strftime(seconds, "%Y-%m-%dT%H:%M:%SZ"))
        elif kind == pa.date32():
            rows = rows.set_column(position, name, pc.strftime(rows.column(name), "%Y-%m-%d"))
    return rows


def _values(row: Mapping[str, object], columns: list[str]) -> _Values:
    return tuple(_hashable(row.get(column)) for column in (*_KEY, *columns))


def _hashable(value: object) -> object:
    """Lists as tuples, and identifiers as the truth writes them: ``value|authority|type``."""
    if not isinstance(value, list):
        return value
    return tuple(
        "|".join(str(one[part] or "") for part in ("value", "authority", "type"))
        if isinstance(one, dict)
        else one
        for one in value
    )


def _difference(
    table: str, columns: list[str], wanted: Counter[_Values], there: Counter[_Values]
) -> Difference | None:
    """What is wanted against what is there; of two unlike rows under one key it is told where they differ."""
    missing, surplus = wanted - there, there - wanted
    if not missing and not surplus:
        return None
    found = _by_key(surplus)
    lacking = differing = 0
    names: set[str] = set()
    width = len(_KEY)
    for row in missing.elements():
        others = found.get(row[:width])
        if others:
            differing += 1
            other = others.pop()
            names |= {
                name
                for name, mine, its in zip(columns, row[width:], other[width:], strict=True)
                if mine != its
            }
        else:
            lacking += 1
    left = sum(len(rows) for rows in found.values())
    keys = sorted({_told(row[:width]) for row in (*missing, *surplus)})[:_EXAMPLES]
    return Difference(table, lacking, left, differing, tuple(sorted(names)), tuple(keys))


def _by_key(rows: Counter[_Values]) -> dict[_Values, list[_Values]]:
    found: dict[_Values, list[_Values]] = {}
    for row in rows.elements():
        found.setdefault(row[: len(_KEY)], []).append(row)
    return found


def _told(key: _Values) -> str:
    source, control_id, segment = key
    place = "" if segment is None else f", segment {segment}"
    return f"{source} {control_id or '(no control id)'}{place}"
