"""What rows say of objects, beside the objects that there are.

A row names an object by its path in the lake, or by a URI of elsewhere. Both sides are streamed into tables of DuckDB,
which go to the disk where they are large, and compared there. Nothing of what an object or its name says is reported
but its place in the lake, which is a hash; of what lies elsewhere only where the row came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

import duckdb
import pyarrow as pa

from lake_layout.objects import ObjectInfo
from schemas.table import Table

OBJECT_FAULTS: Final[Mapping[str, str]] = {
    "OBJECT-MISSING": "rows name objects that are not there",
    "OBJECT-SIZE": "objects have another size than rows say",
    "OBJECT-HASH": "objects have other bytes than their names, which are SHA-256, say",
    "OBJECT-CHANGED": "objects that lie elsewhere are another version (ETag) than was read",
    "OBJECT-UNREACHABLE": "objects that lie elsewhere cannot be looked at from here",
}
"""Code → what it means."""

ROOT: Final = "objects/"
EXAMPLES: Final = 10
_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reference:
    """Columns by which a table names objects.

    Attributes:
        uri: path in the lake, or a URI.
        size: its bytes.
        etag: its version, of what lies elsewhere; empty where the table has none.
    """

    uri: str
    size: str
    etag: str = ""


REFERENCES: Final = (
    Reference("object_path", "size"),
    Reference("value_object_path", "value_size"),
    Reference("attachment_uri", "attachment_size", "attachment_etag"),
)
"""All ways in which tables name objects; a table with such a column is looked at."""

_TABLES: Final = {
    "named": '"table" VARCHAR, uri VARCHAR, "size" BIGINT, etag VARCHAR, "rows" BIGINT, topic_id VARCHAR, '
    '"partition" INTEGER, "offset" BIGINT',
    "listed": 'path VARCHAR, "size" BIGINT, modified TIMESTAMPTZ',
    "waiting": "uri VARCHAR",
    "wrong": "code VARCHAR, uri VARCHAR",
}
_COORDINATES: Final = ("topic_id", "partition", "offset")


def references_of(table: Table) -> list[Reference]:
    """The ways in which a table names objects."""
    names = {one.name for one in table.fields}
    return [one for one in REFERENCES if one.uri in names]


def naming_rows(table: Table, reference: Reference) -> str:
    """SQL for the rows of a table that name objects: uri, size, etag, and where each row came from."""
    names = {one.name for one in table.fields}
    etag = f'"{reference.etag}"' if reference.etag in names else "NULL"
    # what was gone already when it landed is quarantined for that reason
    known = " AND NOT coalesce(starts_with(problem, 'OBJECT-'), false)" if "problem" in names else ""
    place = ", ".join(f'"{one}"' if one in names else f'NULL AS "{one}"' for one in _COORDINATES)
    return (
        f'SELECT "{reference.uri}" AS uri, "{reference.size}" AS "size", {etag} AS etag, {place} '  # noqa: S608
        f'FROM {table.view_name} WHERE "{reference.uri}" IS NOT NULL{known}'
    )


@dataclass(frozen=True, slots=True)
class Named:
    """An object that rows of a table name.

    Attributes:
        uri: path in the lake, or a URI of elsewhere.
        size: bytes, as rows say.
        etag: as rows say; empty where they say none.
    """

    uri: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Objects that are not as rows say.

    Attributes:
        code: see ``OBJECT_FAULTS``.
        table: whose rows.
        objects, rows: how many.
        topic_id, partition, offset: where one of the rows came from; empty and -1 where the table does not say.
        paths: some of the objects, those in the lake.
    """

    code: str
    table: str
    objects: int
    rows: int
    topic_id: str = ""
    partition: int = -1
    offset: int = -1
    paths: tuple[str, ...] = ()


@dataclass
class ObjectsReport:
    """What a check found.

    Attributes:
        rows: rows that name objects.
        named: objects that they name, in the lake and elsewhere.
        elsewhere: of these, how many lie elsewhere.
        listed: objects below ``objects/``.
        hashed: objects that were read whole.
        waiting: objects named by records that are not landed yet.
        faults: what is not as it must be.
        orphans: objects that nothing names, older than the grace age.
        orphan_bytes: their sizes.
        orphan_paths: some of them.
        young: objects that nothing names and are younger.
        kafka_asked: whether records that are not landed yet were looked at.
    """

    rows: int = 0
    named: int = 0
    elsewhere: int = 0
    listed: int = 0
    hashed: int = 0
    waiting: int = 0
    faults: list[Fault] = field(default_factory=list)
    orphans: int = 0
    orphan_bytes: int = 0
    orphan_paths: tuple[str, ...] = ()
    young: int = 0
    kafka_asked: bool = True

    def clean(self, *, strict: bool) -> bool:
        """Whether all is as it must be; with ``strict`` nothing may lie there unnamed either."""
        return not self.faults and not (strict and self.orphans)


class Comparison:
    """Gathers both sides and compares them.

    Args:
        connection: of a DuckDB that may write temporary files; its memory limit is the bound.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._sql = connection
        for name, columns in _TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")

    def add_rows(self, table: str, rows: pa.RecordBatchReader) -> None:
        """Take in what ``naming_rows`` finds."""
        self._sql.register("naming", rows)
        self._sql.execute(
            "INSERT INTO named SELECT ?, uri, \"size\", coalesce(etag, ''), count(*), "
            'arg_min(topic_id, "offset"), arg_min("partition", "offset"), min("offset") FROM naming '
            "GROUP BY uri, \"size\", coalesce(etag, '')",
            [table],
        )
        self._sql.unregister("naming")

    def add_listed(self, found: Iterable[ObjectInfo]) -> Iterator[int]:
        """Take in objects that there are; yields how many, from time to time."""
        count = 0
        found = iter(found)
        while page := list(islice(found, _BATCH)):
            columns = {
                "path": pa.array([one.path for one in page], pa.string()),
                "size": pa.array([one.size for one in page], pa.int64()),
                "modified": pa.array([one.modified for one in page], pa.timestamp("us", "UTC")),
            }
            self._insert("listed", pa.table(columns))
            count += len(page)
            yield count

    def add_waiting(self, uris: Iterable[str]) -> None:
        """Take in what records that are not landed yet name."""
        uris = iter(uris)
        while page := list(islice(uris, _BATCH)):
            self._insert("waiting", pa.table({"uri": pa.array(page, pa.string())}))

    def add_wrong(self, code: str, uris: Iterable[str]) -> None:
        """Take in objects that were found to be wrong in another way than by the listing."""
        uris = iter(uris)
        while page := list(islice(uris, _BATCH)):
            codes = pa.array([code] * len(page), pa.string())
            self._insert("wrong", pa.table({"code": codes, "uri": pa.array(page, pa.string())}))

    def compare_listed(self) -> None:
        """Find what rows name in the lake and is not there, or not with its size."""
        self._sql.execute(
            "INSERT INTO wrong SELECT DISTINCT CASE WHEN listed.path IS NULL THEN 'OBJECT-MISSING' "
            "ELSE 'OBJECT-SIZE' END, uri FROM named LEFT JOIN listed ON path = uri "
            'WHERE NOT contains(uri, \'://\') AND (listed.path IS NULL OR listed."size" <> named."size")'
        )

    def in_the_lake(self) -> Iterator[Named]:
        """The objects of the lake that are there with the size that rows say."""
        return self._each(
            "SELECT DISTINCT uri, listed.\"size\", '' FROM named JOIN listed ON path = uri "
            "WHERE uri NOT IN (SELECT uri FROM wrong) ORDER BY 1"
        )

    def elsewhere(self) -> Iterator[Named]:
        """The objects that lie elsewhere."""
        return self._each(
            "SELECT DISTINCT uri, \"size\", etag FROM named WHERE contains(uri, '://') ORDER BY 1"
        )

    def report(self, before: datetime) -> ObjectsReport:
        """All that was found.

        Args:
            before: younger objects may be named by rows to come.
        """
        (rows,) = self._one('SELECT coalesce(sum("rows"), 0)::BIGINT FROM named')
        # not count(DISTINCT …), which does not go to the disk
        named, elsewhere = self._one(
            "SELECT count(*), count(*) FILTER (contains(uri, '://')) FROM (SELECT DISTINCT uri FROM named)"
        )
        (listed,) = self._one("SELECT count(*) FROM listed")
        (waiting,) = self._one("SELECT count(*) FROM (SELECT DISTINCT uri FROM waiting)")
        report = ObjectsReport(rows, named, elsewhere, listed, waiting=waiting)
        report.faults = list(self._faults())
        self._sql.execute(
            'CREATE TABLE unnamed AS SELECT path, "size", modified < $before AS old FROM listed '
            "WHERE path NOT IN (SELECT uri FROM named) AND path NOT IN (SELECT uri FROM waiting)",
            {"before": before},
        )
        report.orphans, report.orphan_bytes, report.young = self._one(
            'SELECT count(*) FILTER (old), coalesce(sum("size") FILTER (old), 0)::BIGINT, '
            "count(*) FILTER (NOT old) FROM unnamed"
        )
        found = self._sql.execute(
            "SELECT path FROM unnamed WHERE old ORDER BY path LIMIT ?", [EXAMPLES]
        ).fetchall()
        report.orphan_paths = tuple(str(path) for (path,) in found)
        return report

    def _faults(self) -> Iterator[Fault]:
        found = self._sql.execute(
            'SELECT code, "table", count(DISTINCT uri), sum("rows")::BIGINT, arg_min(topic_id, "offset"), '
            'arg_min("partition", "offset"), min("offset"), '
            "min(CASE WHEN NOT contains(uri, '://') THEN uri END, $examples) "
            "FROM wrong JOIN named USING (uri) GROUP BY 1, 2 ORDER BY 1, 2",
            {"examples": EXAMPLES},
        ).fetchall()
        for code, table, objects, rows, topic_id, partition, offset, paths in found:
            yield Fault(
                str(code), str(table), int(objects), int(rows), topic_id or "",
                -1 if partition is None else int(partition), -1 if offset is None else int(offset),
                tuple(str(path) for path in paths or () if path),
            )  # fmt: skip

    def _each(self, query: str) -> Iterator[Named]:
        cursor = self._sql.cursor()
        cursor.execute(query)
        while page := cursor.fetchmany(_BATCH):
            for uri, size, etag in page:
                yield Named(str(uri), -1 if size is None else int(size), str(etag))

    def _one(self, query: str) -> tuple[int, ...]:
        row = self._sql.execute(query).fetchone()
        assert row is not None
        return tuple(int(value) for value in row)

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._sql.register("page", rows)
        self._sql.execute(f"INSERT INTO {table} SELECT * FROM page")  # noqa: S608 - our names
        self._sql.unregister("page")
