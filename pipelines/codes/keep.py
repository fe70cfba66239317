"""Keep ``ops/coding`` current: new observations bring new combinations, a loaded map makes all of them anew.

Each change is one commit on one table, decided on a look at it and refused where that look is old, so any number of
processes may do it at once, and one that dies has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake_layout.added_since import files_added
from lake_layout.commit import Change, CommitState, commit_change
from lake_layout.files import write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import files_of
from lake_layout.reading import read_file
from pipelines.codes.coding import COLUMNS, SENT_SCHEMA, coding_of, rule, sent_of, without
from pipelines.codes.concept_map import ConceptMap, Entry, MapFileError, changes, disagreeing
from schemas.table import Table
from schemas.tables.coding import CODING, CONCEPT_MAP, MAP_KEY, PROGRESS, SENT
from schemas.tables.normalised import OBSERVATION

_GATHERED: Final = 64
"""Files whose combinations are put together at a time."""


def loaded(lake: Lake, up_to: int | None = None) -> tuple[list[Entry], int]:
    """All entries ever loaded, the latest last, and the number of the last load (0 before the first).

    Args:
        lake: where.
        up_to: no later loads than that.
    """
    entries, load = _entries_at(lake, current_handle(lake, CONCEPT_MAP), up_to)
    return entries, load


def _entries_at(lake: Lake, handle: DeltaTable, up_to: int | None = None) -> tuple[list[Entry], int]:
    rows = _rows(lake, handle, CONCEPT_MAP, None)
    if up_to is not None:
        rows = rows.filter(pc.less_equal(rows.column("load"), up_to))
    rows = rows.sort_by([("load", "ascending"), ("line", "ascending")])
    names = [*MAP_KEY, "valid_to", "loinc", "display", "canonical_unit", "line"]
    entries = [Entry(**row) for row in rows.select(names).to_pylist()]
    return entries, int(pc.max(rows.column("load")).as_py() or 0)


@dataclass(frozen=True, slots=True)
class Load:
    """A file that is loaded.

    Attributes:
        entries: what stands in it.
        by: who loads it.
        file_name: its name.
        sha256: of its bytes.
    """

    entries: Sequence[Entry]
    by: str
    file_name: str
    sha256: str


def load_map(lake: Lake, load: Load) -> tuple[int, int]:
    """Add to the concept map what a file says that is new, in one commit; of a file loaded before that is nothing.

    Returns:
        How many entries were new, and the number of the last load.

    Raises:
        MapFileError: it says another canonical unit than entries that stay.
        LakeError, TransportError: as ``commit_change``.
    """
    done = [0, 0]

    def decide(handle: DeltaTable) -> Change | None:
        former, number = _entries_at(lake, handle)
        if problems := disagreeing(ConceptMap.of(former), load.entries):
            raise MapFileError(problems)
        fresh = changes(former, load.entries)
        done[:] = [len(fresh), number + bool(fresh)]
        if not fresh:
            return None
        origin = {
            "load": number + 1, "loaded_at": datetime.now(UTC), "loaded_by": load.by,
            "file_name": load.file_name, "file_sha256": load.sha256,
        }  # fmt: skip
        rows = [{**{name: getattr(one, name) for name in _SAID}, **origin} for one in fresh]
        file = write_file(
            lake, CONCEPT_MAP, pa.Table.from_pylist(rows, schema=CONCEPT_MAP.arrow_schema), None
        )
        return Change([file], (), {}, {"kind": "codes"})

    commit_change(lake, CONCEPT_MAP, decide)
    return done[0], done[1]


_SAID: Final = (*MAP_KEY, "valid_to", "loinc", "display", "canonical_unit", "line")


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping ``ops/coding`` current took.

    Attributes:
        version: of the table, afterwards.
        combinations: that were derived.
        rows: of observations that were looked at.
    """

    version: int
    combinations: int
    rows: int


def coded_up_to(lake: Lake) -> int:
    """Version of the observations up to which all combinations are known."""
    return int(current_handle(lake, CODING).transaction_version(PROGRESS) or 0)


def is_outdated(lake: Lake) -> bool:
    """Whether what is derived is of an earlier map or another program."""
    rows = _rows(lake, current_handle(lake, CODING), CODING, ["map_load", "rule"])
    return _differs(rows, loaded(lake)[1])


def keep_current(lake: Lake, end: int) -> Kept:
    """Derive what is new, or all of it where the map or the program is another; once, whoever does it.

    Args:
        lake: where.
        end: version of the observations up to which they are looked at.

    Raises:
        LakeError, TransportError: as ``commit_change`` and ``read_file``.
    """
    looked_at = [0, 0]

    def decide(handle: DeltaTable) -> Change | None:
        done = int(handle.transaction_version(PROGRESS) or 0)
        fresh, rows = sent_since(lake, done, end) if done < end else (SENT_SCHEMA.empty_table(), 0)
        known = _rows(lake, handle, CODING, [*SENT, "map_load", "rule"])
        entries, load = loaded(lake)
        outdated = _differs(known, load)
        sent = without(fresh, known)
        if outdated:
            former = known.group_by(list(SENT)).aggregate([]).select(list(SENT))
            sent = pa.concat_tables([former.cast(SENT_SCHEMA), sent])
        looked_at[:] = [sent.num_rows, rows]
        if not sent.num_rows and done >= end:
            return None
        coding = coding_of(sent, ConceptMap.of(entries), load)
        files = [write_file(lake, CODING, coding, None)] if coding.num_rows else []
        remove = [one.to_remove(CODING) for one in files_of(handle, CODING)] if outdated else []
        return Change(files, remove, {PROGRESS: max(done, end)}, {"kind": "codes"})

    outcome = commit_change(lake, CODING, decide)
    if outcome.state is CommitState.ALREADY_DONE:
        return Kept(outcome.version, 0, 0)
    return Kept(outcome.version, looked_at[0], looked_at[1])


def sent_since(lake: Lake, begin: int, end: int) -> tuple[pa.Table, int]:
    """The distinct combinations that observations of some versions sent, and how many rows these have."""
    files = files_added(lake, OBSERVATION, begin, end)
    return sent_in(lake, [file.path for file in files]), sum(file.rows for file in files)


def sent_in(lake: Lake, paths: Sequence[str]) -> pa.Table:
    """The distinct combinations that files of observations have."""
    found = SENT_SCHEMA.empty_table()
    for first in range(0, len(paths), _GATHERED):
        some = [
            sent_of(read_file(lake, OBSERVATION, path, COLUMNS)) for path in paths[first : first + _GATHERED]
        ]
        found = pa.concat_tables([found, *some]).group_by(list(SENT)).aggregate([]).select(list(SENT))
    return found.cast(SENT_SCHEMA)


def coding_rows(lake: Lake, handle: DeltaTable) -> pa.Table:
    """All of ``ops/coding`` as a handle sees it."""
    return _rows(lake, handle, CODING, None)


def _differs(rows: pa.Table, load: int) -> bool:
    wrong = pc.or_(pc.not_equal(rows.column("map_load"), load), pc.not_equal(rows.column("rule"), rule()))
    return bool(pc.any(wrong).as_py())


def _rows(lake: Lake, handle: DeltaTable, table: Table, columns: Sequence[str] | None) -> pa.Table:
    schema = table.arrow_schema
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    found = [read_file(lake, table, one.path, columns).cast(schema) for one in files_of(handle, table)]
    return pa.concat_tables([schema.empty_table(), *found])
