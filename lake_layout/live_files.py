"""The files that a version of a table consists of, with what the log says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
from deltalake import DeltaTable

from lake_layout.files import NewFile
from lake_layout.lake import Lake
from schemas.table import Table

Bound = str | int | float | date | datetime


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of a version.

    Attributes:
        path: relative to the table.
        size: bytes.
        rows: how many, -1 where the log does not say.
        partition: value of the partition column.
        low: smallest values of the columns with statistics.
        high: largest values likewise.
        modified: when it was added, milliseconds since 1970.
    """

    path: str
    size: int
    rows: int
    partition: date | None
    low: Mapping[str, Bound]
    high: Mapping[str, Bound]
    modified: int

    def to_remove(self, table: Table) -> NewFile:
        """What a commit is told to remove it by."""
        return NewFile(table.name, self.path, self.size, self.partition, self.rows, "")


def live_files(lake: Lake, table: Table, version: int | None = None) -> list[LiveFile]:
    """The files of a table, as it is now or was at a version, in order of path.

    Raises:
        LakeError: there is no such table or version.
    """
    return files_of(lake.open(table, version), table)


def files_of(handle: DeltaTable, table: Table) -> list[LiveFile]:
    """The files of the version that a handle stands at."""
    files = []
    for action in pa.table(handle.get_add_actions(flatten=False)).to_pylist():
        partition = (action.get("partition") or {}).get(table.partition_by) if table.partition_by else None
        rows = action.get("num_records")
        files.append(
            LiveFile(
                path=action["path"],
                size=action["size_bytes"],
                rows=-1 if rows is None else rows,
                partition=partition,
                low=_known(action.get("min")),
                high=_known(action.get("max")),
                modified=action["modification_time"],
            )
        )
    return sorted(files, key=lambda file: file.path)


def _known(values: Mapping[str, Bound | None] | None) -> dict[str, Bound]:
    return {name: value for name, value in (values or {}).items() if value is not None}
