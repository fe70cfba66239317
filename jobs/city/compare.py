"""The lake against the truth: what is missing, what is too much, by table and by who said it; never a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.city.truth import Row, Truth
from lake_layout.lake import Lake
from schemas.table import INSTANT, Table
from schemas.tables import TABLES
from schemas.tables.ops import LEDGER

_PLACE = ("topic_id", "partition", "offset")
_EXAMPLES = 5
_Coordinates = tuple[str, int, int]
_Sender = tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """A table that is not what the truth says.

    Attributes:
        table: its name.
        missing: rows that must be there and are not.
        surplus: rows that are there and must not be.
        examples: source and control id (synthetic) of some of them.
    """

    table: str
    missing: int
    surplus: int
    examples: tuple[str, ...]


def compare(lake: Lake, truth: Truth) -> list[Difference]:
    """Compare dispositions and tables with the truth; empty where all is as it must be."""
    ledger = lake.dataset(LEDGER).to_table(columns=[*_PLACE, "source", "control_id", "disposition", "codes"])
    found = [_disposition_differences(ledger, truth)]
    said = {_coordinates(row): (row["source"], row["control_id"]) for row in ledger.to_pylist()}
    by_name = {table.name: table for table in TABLES}
    names = sorted({*truth.tables, *(name for name in by_name if name.startswith("normalised/"))})
    found += [_table_differences(lake, by_name[name], said, truth.tables.get(name, [])) for name in names]
    return [difference for difference in found if difference is not None]


def _disposition_differences(ledger: pa.Table, truth: Truth) -> Difference | None:
    wanted: Counter[tuple[object, ...]] = Counter(
        (one.source, one.control_id, one.disposition, one.code) for one in truth.messages
    )
    there: Counter[tuple[object, ...]] = Counter()
    for row in ledger.to_pylist():
        reason = row["codes"][0] if row["disposition"] in ("ignored", "quarantined") and row["codes"] else ""
        there[row["source"], row["control_id"] or "", row["disposition"], reason] += 1
    return _difference(LEDGER.name, wanted, there)


def _table_differences(
    lake: Lake, table: Table, said: Mapping[_Coordinates, _Sender], rows: list[Row]
) -> Difference | None:
    columns = sorted({column for row in rows for column in row} - {"source", "control_id"})
    wanted = Counter(_key(row, columns) for row in rows)
    names = {field.name for field in table.fields}
    read = lake.dataset(table).to_table(columns=[*_PLACE, *(name for name in columns if name in names)])
    there: Counter[tuple[object, ...]] = Counter()
    for row in _plain(read, table).to_pylist():
        source, control_id = said.get(_coordinates(row), ("nobody", ""))
        there[_key({**row, "source": source, "control_id": control_id}, columns)] += 1
    return _difference(table.name, wanted, there)


def _coordinates(row: Mapping[str, object]) -> _Coordinates:
    return str(row["topic_id"]), int(str(row["partition"])), int(str(row["offset"]))


def _plain(rows: pa.Table, table: Table) -> pa.Table:
    """Values as the truth writes them: instants and dates as text, identifiers as ``value|authority|type``."""
    types = {field.name: field.type for field in table.fields}
    for position, name in enumerate(rows.column_names):
        kind = types.get(name)
        if kind == INSTANT:
            rows = rows.set_column(
                position,
                name,
                pc.strftime(rows.column(name).cast(pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%SZ"),
            )
        elif kind == pa.date32():
            rows = rows.set_column(position, name, pc.strftime(rows.column(name), "%Y-%m-%d"))
    return rows


def _key(row: Mapping[str, object], columns: list[str]) -> tuple[object, ...]:
    return (row["source"], row["control_id"], *(_hashable(row.get(column)) for column in columns))


def _hashable(value: object) -> object:
    if not isinstance(value, list):
        return value
    return tuple(
        "|".join(str(one[part] or "") for part in ("value", "authority", "type"))
        if isinstance(one, dict)
        else one
        for one in value
    )


def _difference(
    table: str, wanted: Counter[tuple[object, ...]], there: Counter[tuple[object, ...]]
) -> Difference | None:
    missing, surplus = wanted - there, there - wanted
    if not missing and not surplus:
        return None
    named = sorted({f"{key[0]} {key[1]}" for key in (*missing, *surplus)})[:_EXAMPLES]
    return Difference(table, sum(missing.values()), sum(surplus.values()), tuple(named))
