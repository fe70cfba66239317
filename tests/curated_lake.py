"""A folder lake whose normalised tables are filled with what messages say, in batches; no Kafka is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from connectors.kafka.connection import KafkaConnection
from jobs.city.institutions import INSTITUTIONS
from jobs.city.traffic import City, Transport
from jobs.run_stages import Context, Limits, prepare_curated
from lake_layout.commit import Change, commit_change
from lake_layout.files import write_file
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.sorted_runs import IndexLocation
from pipelines.fold import aliases_of, join_aliases, laid, state_of
from pipelines.hl7v2.modality import HL7V2
from pipelines.steward.modality import STEWARD
from schemas.fold import Fold
from schemas.modality import Modality
from schemas.source import Source, Sources
from schemas.tables import IMAGING, QC_RESULT
from schemas.tables.curated import FOLDS, curated
from tests.stated_rows import stated_rows

SOURCES = Sources.of(*(Source(name) for name in sorted({one.source for one in INSTITUTIONS} | {"test"})))
Rows = Mapping[str, pa.Table]
_TABLES = (*HL7V2.tables, *STEWARD.tables, QC_RESULT, *IMAGING)


def city_messages(count: int, seed: int = 7) -> list[tuple[bytes, str]]:
    """Messages of the city, each with its source."""
    planned = islice(City(seed, Transport.MLLP, people=40).messages(count), count)
    return [(one.payload, one.institution.source) for one in planned]


def rows_of(
    messages: Sequence[tuple[bytes, str]], modality: Modality = HL7V2, first: int = 0
) -> dict[str, pa.Table]:
    """Rows of the normalised tables that messages say anything in, by name; ``offset`` is the message's place from
    ``first`` on, at which it is received."""
    stated = stated_rows(messages, SOURCES, modality, first=first, some_unreadable=True)
    return {
        table.name: stated[table.name].cast(table.arrow_schema)
        for table in modality.tables
        if stated[table.name].num_rows
    }


def _always(change: Change, _handle: DeltaTable) -> Change:
    return change


@dataclass
class CuratedLake:
    """A folder lake.

    Attributes:
        folder: where it and its indexes lie.
        index: name of the folder of the indexes.
        limits: of the batches.
    """

    folder: Path
    index: str = "index"
    limits: Limits = field(default_factory=Limits)

    @property
    def lake(self) -> Lake:
        return Lake(LakeLocation(str(self.folder / "lake")))

    @property
    def context(self) -> Context:
        return Context(
            lake=self.lake,
            connection=KafkaConnection({"bootstrap.servers": "127.0.0.1:1"}),
            modality=HL7V2,
            sources=SOURCES,
            index=IndexLocation(str(self.folder / self.index)),
            limits=self.limits,
        )

    def create(self) -> CuratedLake:
        self.lake.create_missing(_TABLES)
        prepare_curated(self.context)
        return self

    def put(self, rows: Rows, offsets: Iterable[int]) -> None:
        """Commit what some messages say, as a batch of normalise does."""
        wanted = pa.array(sorted(offsets), pa.int64())
        for table in _TABLES:
            if table.name not in rows:
                continue
            mine = rows[table.name].filter(pc.is_in(rows[table.name].column("offset"), wanted))
            if not mine.num_rows:
                continue
            files = []
            for month in pc.unique(mine.column("event_month")).to_pylist():
                same = [one == month for one in mine.column("event_month").to_pylist()]
                part = mine.filter(pa.array(same)).drop_columns(["event_month"])
                files.append(write_file(self.lake, table, part, month))
            change = Change(files, (), {}, {"kind": "batch"})
            commit_change(self.lake, table, partial(_always, change))

    def curated(self, fold: Fold) -> list[dict[str, Any]]:
        """The rows of a curated table, sorted."""
        return plain(fold, self.lake.dataset(curated(fold)).to_table())


def expected(rows: Rows, offsets: Iterable[int] | None = None) -> dict[str, list[dict[str, Any]]]:
    """The curated tables as one fold over all rows makes them, by name of the curated table."""
    if offsets is not None:
        wanted = pa.array(sorted(offsets), pa.int64())
        rows = {name: one.filter(pc.is_in(one.column("offset"), wanted)) for name, one in rows.items()}
    found = {}
    for fold in FOLDS:
        own = rows.get(fold.table.name, fold.table.arrow_schema.empty_table())
        aliases = join_aliases(aliases_of(fold, own, sources=SOURCES))
        state = state_of(fold, own, echoes=rows, sources=SOURCES, aliases=aliases)
        found[curated(fold).name] = plain(fold, laid(fold, state))
    return found


def plain(fold: Fold, rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as sorted Python values. A thing that another number stands for may live in an earlier month than its
    versions, after versions have left it: of such tables the month is left out."""
    names = [one.name for one in curated(fold).fields]
    if any(key.alias_of for key in fold.keys):
        names.remove("home_month")
    return sorted(rows.select(names).to_pylist(), key=repr)
