"""What the curated tables were at a time: the same folds over the rows that count at that time.

Two times may be given, and both at once:

- *known at*: of messages that had been received by then. What came later changes nothing, whatever time it tells.
- *true at*: of versions that are not later than that by their own time, whenever they were received. So a correction
  that came a year later counts where it says that it is older.

Rows are those of the latest reading of each message: what a former reading made of it is gone.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lake_layout.added_since import AddedFile
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile
from lake_layout.sorted_runs import IndexLocation
from pipelines.costs import Costs
from pipelines.curate_stated import FOLD_OF, Everything, inputs_of, stated_by
from pipelines.fold import read
from schemas.errors import LakeError
from schemas.source import Sources
from schemas.table import INSTANT
from schemas.tables.curated import curated
from schemas.tables.curation import NORMALISED_OF


@dataclass(frozen=True)
class Times:
    """Up to when rows count, those of that very moment included; None for no limit.

    Attributes:
        known_at: receipt of the message (UTC).
        true_at: version time of the row (UTC).
    """

    known_at: datetime | None = None
    true_at: datetime | None = None

    @property
    def limits(self) -> Mapping[str, datetime]:
        """The latest value of each column that is limited."""
        limits = {"received_at": self.known_at, "version_time": self.true_at}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class RowsUntil(Everything):
    """All rows up to a version of each normalised table that count at some times."""

    times: Times

    def counts(self, file: LiveFile) -> bool:
        """Whether a file may have rows that count, by its statistics."""
        lows = ((file.low.get(name), limit) for name, limit in self.times.limits.items())
        return not any(isinstance(low, datetime) and low > limit for low, limit in lows)

    def rows(self, table: str, file: AddedFile) -> pa.Table:
        """The rows of a file that count."""
        rows = super().rows(table, file)
        for name, limit in self.times.limits.items():
            rows = rows.filter(pc.less_equal(rows.column(name), pa.scalar(limit, INSTANT)))
        return rows


def rows_then(
    lake: Lake, sources: Sources, names: list[str], times: Times, folder: Path
) -> Mapping[str, ds.Dataset]:
    """The rows of some curated tables as they were at some times.

    Args:
        lake: where the normalised tables lie; what is not curated yet counts too.
        sources: settings of the senders.
        names: of the tables.
        times: up to when rows count.
        folder: the rows are put there, so that memory need not hold them.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer.
    """
    versions = {name: (0, version) for name in NORMALISED_OF if (version := _version(lake, name))}
    found = {}
    for name in names:
        fold = FOLD_OF[name]
        schema = curated(fold).arrow_schema
        of_fold = {one: versions[one] for one in inputs_of(fold) if one in versions}
        path = folder / f"{name.rpartition('/')[2]}.parquet"
        with (
            tempfile.TemporaryDirectory(prefix="phl-then-") as aside,
            pq.ParquetWriter(path, schema, compression="lz4") as writer,
        ):
            counting = RowsUntil(lake, sources, IndexLocation(aside), of_fold, times)
            stated = stated_by(counting, fold, Path(aside), Costs())
            for rows in stated.joined(Costs(), functools.partial(read, fold)):
                writer.write_table(rows)
        found[name] = ds.dataset(path, schema=schema)
    return found


def _version(lake: Lake, name: str) -> int:
    """The version of a normalised table; 0 where there is none."""
    try:
        return int(lake.open(NORMALISED_OF[name]).version())
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        return 0
