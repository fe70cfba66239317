"""The lake: Delta tables below one root."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Schema

from lake_layout.location import LakeLocation
from lake_layout.objects import ObjectStore, open_store
from schemas.errors import ConfigError, IngestError, LakeError, TransportError
from schemas.table import Table

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

__all__ = ["Lake", "LakeLocation"]

T = TypeVar("T")

_OPENED_TOGETHER = 8
"""Tables that are opened or created at the same time: it is the store's answers that take long."""

CONFIGURATION = {
    # Cleaned by maintenance only, never past a version that a stage has not read yet; the default would also list
    # the whole log at every commit.
    "delta.enableExpiredLogCleanup": "false",
}


@dataclass(frozen=True)
class Lake:
    """Delta tables below one root; picklable, opens nothing by itself."""

    location: LakeLocation

    @property
    def store(self) -> ObjectStore:
        """The objects of the lake, those of its tables among them."""
        return open_store(self.location)

    def table_uri(self, table: Table) -> str:
        """Full URI of a table."""
        return self.location.uri_of(table.name)

    def open(self, table: Table, version: int | None = None) -> DeltaTable:
        """A fresh handle on a table, at its newest version unless told otherwise.

        Raises:
            LakeError: ``LAKE-TABLE-MISSING``, ``LAKE-TABLE-UNREADABLE``.
            TransportError: ``STORE-UNREACHABLE``.
        """
        return read_log(
            table,
            lambda: DeltaTable(
                self.table_uri(table), version=version, storage_options=self.location.storage_options()
            ),
        )

    def exists(self, table: Table) -> bool:
        """Whether the table was created."""
        try:
            self.open(table)
        except LakeError as error:
            if error.code == "LAKE-TABLE-MISSING":
                return False
            raise
        return True

    def create_missing(self, tables: Iterable[Table]) -> None:
        """Create the tables that are not there; two who do so at once share one table.

        Raises:
            LakeError: ``LAKE-SCHEMA`` where a table is there with other columns.
            ConfigError: ``LAKE-URI`` where a folder cannot be made.
        """
        with ThreadPoolExecutor(_OPENED_TOGETHER) as pool:
            list(pool.map(self._ensure, tables))

    def _ensure(self, table: Table) -> None:
        try:
            handle = self.open(table)
        except LakeError as error:
            if error.code != "LAKE-TABLE-MISSING":
                raise
            self._create(table)
            handle = self.open(table)
        check_schema(handle, table)

    def _create(self, table: Table) -> None:
        if not self.location.is_s3:
            try:
                Path(self.table_uri(table)).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    "LAKE-URI", "the lake's folder cannot be made or written", setting="lake.uri",
                    kind=type(error).__name__,
                ) from None  # fmt: skip
        try:
            with delta_faults(table):
                DeltaTable.create(
                    self.table_uri(table),
                    schema=table.arrow_schema,
                    partition_by=[table.partition_by] if table.partition_by else None,
                    mode="error",
                    name=table.name,
                    description=table.doc,
                    configuration={
                        **CONFIGURATION,
                        "delta.dataSkippingStatsColumns": ",".join(table.statistics),
                    },
                    storage_options=self.location.storage_options(),
                    # tried again it would be the second commit of somebody else's table, and give that another id
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
        except (IngestError, CommitFailedError):  # the latter where both wrote the first entry at once
            if not self.exists(table):  # else somebody else was quicker
                raise

    def version(self, table: Table) -> int:
        """The newest version of a table."""
        return int(self.open(table).version())

    def table_id(self, table: Table) -> str:
        """The id a table was created with; another table at the same place has another."""
        return str(self.open(table).metadata().id)

    def dataset(self, table: Table, version: int | None = None) -> Dataset:
        """The table's live rows as a dataset, at its newest version unless told otherwise."""
        handle = self.open(table, version)
        with delta_faults(table):
            return handle.to_pyarrow_dataset()


def check_schema(handle: DeltaTable, table: Table) -> None:
    """Refuse a table whose columns or partitioning are not the declared ones.

    Raises:
        LakeError: ``LAKE-SCHEMA``.
    """
    declared = Schema.from_arrow(pa.schema([field.with_nullable(True) for field in table.arrow_schema]))
    found = Schema.from_arrow(pa.schema([field.with_nullable(True) for field in pa.schema(handle.schema())]))
    partitions = [table.partition_by] if table.partition_by else []
    if declared != found or list(handle.metadata().partition_columns) != partitions:
        differ = {field.name for field in declared.fields} ^ {field.name for field in found.fields}
        raise LakeError(
            "LAKE-SCHEMA", "the table's columns are not those of this program's version: go on with the version "
            "that made the lake, or give lake.uri a new place, and what the topics hold is read into it",
            table=table.name, columns=",".join(sorted(differ)),
        )  # fmt: skip


_BROKEN_OFF = "response body"
_BROKEN_OFF_TRIES = 3


def read_log(table: Table, read: Callable[[], T]) -> T:
    """What the Delta library reads of a table's log.

    It asks again where there is no answer; where a listing breaks off in its middle it does not, so that is done here.

    Raises:
        LakeError, TransportError: as ``delta_faults``.
    """
    with delta_faults(table):
        for _ in range(_BROKEN_OFF_TRIES - 1):
            try:
                return read()
            except OSError as error:
                if _BROKEN_OFF not in str(error):
                    raise
        return read()


_UNREACHABLE = ("s3 error", "http error", "error sending request", "timed out", "connection", "generic error")


@contextlib.contextmanager
def delta_faults(table: Table) -> Iterator[None]:
    """Turn what the Delta library raises into coded errors without its text (which may show values)."""
    try:
        yield
    except TableNotFoundError:
        raise LakeError(
            "LAKE-TABLE-MISSING", "the table is not there; phl up or phl ingest create it", table=table.name
        ) from None
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        text = str(error).lower()
        if isinstance(error, OSError) or any(sign in text for sign in _UNREACHABLE):
            raise TransportError(
                "STORE-UNREACHABLE", "the store does not answer", table=table.name, kind=type(error).__name__
            ) from None
        raise LakeError(
            "LAKE-TABLE-UNREADABLE",
            "the table's log cannot be read",
            table=table.name,
            kind=type(error).__name__,
        ) from None
