"""Prove that every landed message has one disposition and that the rows it claims are in the tables.

Per topic partition of a raw table::

    offsets      ┌ each landed once, none left out, up to where landing says it is
    raw          ┤ ── each is once in the ledger, or is still to be normalised
    ledger       ┤ ── what is quarantined has one row in ops/quarantine; a message of which parts could not be read
                 │    has as many as it claims
                 ├ ── the rows that an accepted message claims are in each table, no fewer and no more
                 └ ── of messages that say the same under the same ids one was taken, the others are duplicates
    objects        each that raw points to is there, with its size

Tables are compared in stretches of offsets, so that memory is bounded whatever their size; files are pruned
by their statistics, so that a stretch reads little more than its own rows. Only coordinates come out.
"""

# ruff: noqa: S608 - only names from schemas.tables and numbers are put into SQL; values are parameters

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from quality.differences import EXAMPLES, Difference, PartitionCount, Report
from schemas.errors import LakeError
from schemas.table import Table
from schemas.tables.ops import DISPOSITIONS, LEDGER, QUARANTINE

STRETCH: Final = 500_000
"""Offsets that are compared at a time; the unit of memory."""
SLICE_ROWS: Final = 20_000_000
"""Ledger rows whose dispositions are compared with one another at a time; the unit of memory there."""
GAPS_KEPT: Final = 100
"""Gaps that are reported one by one per partition; further ones are only counted."""

Key: TypeAlias = tuple[str, int]
"""Topic id and partition."""


@dataclass(frozen=True)
class Stream:
    """A raw table, what it feeds, and how far landing and normalising say they are.

    Attributes:
        raw: the raw table.
        tables: the normalised tables it feeds.
        landed_to: next offset to be landed of a partition, None where landing knows nothing of it.
        decided_to: next offset of a partition that normalising has not reached; None where that cannot be
            told and the ledger's own end has to do.
        last_batch: number of the last normalise batch that ended, None where none did.
        kept: what Kafka has of the topic now: first offset that is still there, by partition.
    """

    raw: Table
    tables: tuple[Table, ...]
    landed_to: Callable[[str, int], int | None]
    decided_to: Callable[[str, int], int | None]
    last_batch: int | None
    kept: Mapping[Key, int] = field(default_factory=dict)
    again: pa.Table | None = None
    """Messages (``topic_id``, ``partition``, ``offset``) that are being read again: their rows are under way."""


ExplainGap = Callable[[str, int, int, int], bool]
"""(topic id, partition, first offset, offset after the last) → whether Kafka has no message there."""

ObjectSize = Callable[[str], int | None]
"""Path of an object → its size in bytes, None where there is none."""


def reconcile(
    connection: duckdb.DuckDBPyConnection,
    streams: Sequence[Stream],
    *,
    explain_gap: ExplainGap,
    object_size: ObjectSize,
    since: str | None = None,
    stretch: int = STRETCH,
    on_stretch: Callable[[int], object] = lambda _: None,
) -> Report:
    """Compare raw tables with the ledger, quarantine and the tables they feed.

    Args:
        connection: has all tables as views under their names in SQL.
        streams: what to compare.
        explain_gap: asked for each stretch of offsets that is not in raw.
        object_size: asked for each object that raw points to.
        since: ISO 8601; only partitions' offsets from the first message received then on.
        stretch: offsets that are compared at a time.
        on_stretch: told how many messages were compared.

    Raises:
        LakeError: ``LAKE-FILES-UNREADABLE``: a file of a table cannot be read.
    """
    report = Report()
    sql = _Sql(connection, since)
    known: set[Key] = set()
    for stream in streams:
        ends = _ends(sql, stream)
        known |= ends.keys()
        for key in sorted(ends):
            compare = _Partition(sql, stream, key, report, explain_gap, object_size)
            compare.run(*ends[key], stretch, on_stretch)
        if since is None:  # what came later can be a copy of what came before
            _compare_dispositions(sql, stream.raw, report)
    for table in (LEDGER, QUARANTINE):
        _rows_of_unknown_raw_tables(sql, table, [stream.raw for stream in streams], report)
    for table in {table.name: table for stream in streams for table in stream.tables}.values():
        _rows_of_unknown_partitions(sql, table, known, report)
    return report


class _Sql:
    """Queries that fail with coordinates and not with what a library says of the bytes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, since: str | None) -> None:
        self.connection, self.since = connection, since

    def rows(self, sql: str, *values: str | int | list[int], table: Table) -> list[tuple[object, ...]]:
        try:
            return self.connection.execute(sql, list(values)).fetchall()
        except (duckdb.Error, OSError) as error:
            raise LakeError(
                "LAKE-FILES-UNREADABLE", "a file of the table cannot be read", table=table.name,
                kind=type(error).__name__,
            ) from None  # fmt: skip

    def number(self, sql: str, *values: str | int, table: Table) -> int:
        ((value,),) = self.rows(sql, *values, table=table)
        return int(value) if isinstance(value, int) else 0


class _Ends(NamedTuple):
    """Offsets of a partition over all tables: [first, end)."""

    first: int
    end: int


def _ends(sql: _Sql, stream: Stream) -> dict[Key, _Ends]:
    """The partitions of a stream and their offsets, from the raw table and all that it feeds."""
    found: dict[Key, _Ends] = {}
    for table in (stream.raw, LEDGER, QUARANTINE, *stream.tables):
        conditions = [f"{_text('raw_table')} = '{stream.raw.name}'"] if table in (LEDGER, QUARANTINE) else []
        if sql.since:
            conditions.append("received_at >= CAST($1 AS TIMESTAMPTZ)")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = (
            f'SELECT topic_id, "partition", min("offset"), max("offset") + 1 '
            f"FROM {table.view_name} {where} GROUP BY ALL"
        )
        for topic_id, partition, first, end in sql.rows(
            query, *([sql.since] if sql.since else []), table=table
        ):
            key = (str(topic_id), _int(partition))
            if table in stream.tables and key not in found:
                continue  # of another stream, or of none: looked at below
            known = found.get(key, _Ends(_int(first), _int(end)))
            found[key] = _Ends(min(known.first, _int(first)), max(known.end, _int(end)))
    for key in stream.kept:
        # rows that went from all tables together leave nothing behind but landing's progress
        if sql.since is None and key not in found and stream.landed_to(*key):
            found[key] = _Ends(0, 0)
    return found


def _compare_dispositions(sql: _Sql, raw: Table, report: Report) -> None:
    """Of messages with the same ids one is accepted, and of those with the same content one was taken at all.

    The ledger is looked at in slices of the ids' hashes, since copies may be anywhere in it.
    """
    rows = sql.number(f"SELECT count(*) FROM {LEDGER.view_name}", table=LEDGER)
    slices = 1 + rows // SLICE_ROWS
    sql.rows(
        'CREATE OR REPLACE TEMP TABLE later AS SELECT topic_id, "partition", "offset", reading '
        f"FROM {LEDGER.view_name} WHERE {_text('raw_table')} = '{raw.name}' AND reading > 0",
        table=LEDGER,
    )
    # copies of what was taken once and cannot be read any more are as they were
    sql.rows(
        "CREATE OR REPLACE TEMP TABLE once_taken AS SELECT DISTINCT id_hash, content_hash "
        f'FROM {LEDGER.view_name} AS one JOIN later USING (topic_id, "partition", "offset") '
        f"WHERE later.reading > one.reading AND {_text('disposition')} IN ('accepted', 'conflict')",
        table=LEDGER,
    )
    for number in range(slices):
        sql.rows(
            'CREATE OR REPLACE TEMP TABLE judged AS SELECT topic_id, "partition", "offset", disposition, '
            f"id_hash, content_hash FROM {LEDGER.view_name} AS one WHERE {_text('raw_table')} = '{raw.name}' "
            f"AND {_text('disposition')} IN ('accepted', 'conflict', 'duplicate') "
            f"AND abs(id_hash % {slices}) = {number} "
            "AND NOT EXISTS (SELECT 1 FROM later WHERE later.reading > one.reading AND later.topic_id = one.topic_id "
            'AND later."partition" = one."partition" AND later."offset" = one."offset")',
            table=LEDGER,
        )
        found = sql.rows(
            "WITH contents AS (SELECT id_hash, content_hash, count(*) FILTER (disposition <> 'duplicate') AS taken, "
            "count(*) FILTER (disposition = 'accepted') AS accepted FROM judged GROUP BY ALL), "
            "ids AS (SELECT id_hash, sum(accepted) AS accepted FROM contents GROUP BY 1 "
            "HAVING sum(accepted) <> 1 OR min(taken) <> 1 OR max(taken) <> 1) "
            "SELECT CASE WHEN taken > 1 OR ids.accepted > 1 THEN 'DISPOSITION-DOUBLED' "
            'ELSE \'DISPOSITION-UNFOUNDED\' END AS code, topic_id, "partition", min("offset"), max("offset"), '
            f'count(*), min("offset", {EXAMPLES}) FROM judged JOIN contents USING (id_hash, content_hash) '
            "JOIN ids USING (id_hash) WHERE taken > 1 OR ids.accepted > 1 AND disposition = 'accepted' "
            "OR taken = 0 AND (id_hash, content_hash) NOT IN (SELECT (id_hash, content_hash) FROM once_taken) "
            "OR ids.accepted = 0 AND disposition = 'conflict' "
            "AND id_hash NOT IN (SELECT id_hash FROM once_taken) GROUP BY ALL",
            table=LEDGER,
        )
        for code, topic_id, partition, first, last, messages, examples in found:
            report.add(
                Difference(
                    str(code), LEDGER.name, str(topic_id), _int(partition), _int(first), _int(last), _int(messages),
                    _int(messages), 0, tuple(_ints(examples)),
                )
            )  # fmt: skip


def _rows_of_unknown_raw_tables(sql: _Sql, table: Table, known: Sequence[Table], report: Report) -> None:
    if sql.since:
        return
    names = ", ".join(f"'{raw.name}'" for raw in known)
    query = (
        f'SELECT topic_id, "partition", count(*), min("offset"), max("offset") FROM {table.view_name} '
        f"WHERE {_text('raw_table')} NOT IN ({names}) GROUP BY ALL"
    )
    for topic_id, partition, rows, first, last in sql.rows(query, table=table):
        report.add(
            Difference(
                "RAW-TABLE-UNKNOWN", table.name, str(topic_id), _int(partition), _int(first), _int(last), _int(rows),
                0, _int(rows),
            )
        )  # fmt: skip


def _rows_of_unknown_partitions(sql: _Sql, table: Table, known: set[Key], report: Report) -> None:
    if sql.since:
        return  # partitions without a recent message were not looked at
    query = f'SELECT topic_id, "partition", count(*), min("offset"), max("offset") FROM {table.view_name} GROUP BY ALL'
    for topic_id, partition, rows, first, last in sql.rows(query, table=table):
        key = (str(topic_id), _int(partition))
        if key not in known:
            messages = sql.number(
                f'SELECT count(DISTINCT "offset") FROM {table.view_name} '
                f'WHERE {_text("topic_id")} = ? AND "partition" = ?',
                *key,
                table=table,
            )
            report.add(
                Difference(
                    "ROWS-UNKNOWN-TOPIC", table.name, *key, _int(first), _int(last), messages, 0, _int(rows)
                )
            )


def _elsewhere(table: Table) -> str:
    """SQL that counts rows whose partition is not the month of the time it is made from."""
    day = "event_date" if table.partition_by == "event_month" else "received_at"
    return f"count(*) FILTER ({table.partition_by} IS DISTINCT FROM CAST(date_trunc('month', {day}) AS DATE))"


def _text(column: str) -> str:
    """A column of text in a form that keeps conditions on it from the files' reader.

    It cannot compare text in files that other engines rewrote, for that is of another type.
    """
    return f"concat({column}, '')"


_SLICE: Final = f'{_text("topic_id")} = ? AND "partition" = ? AND "offset" >= ? AND "offset" < ?'


class _Partition:
    """The comparison of one topic partition."""

    def __init__(
        self,
        sql: _Sql,
        stream: Stream,
        key: Key,
        report: Report,
        explain_gap: ExplainGap,
        object_size: ObjectSize,
    ) -> None:
        self.sql, self.stream, self.key, self.report = sql, stream, key, report
        self.explain_gap, self.object_size = explain_gap, object_size
        self.landed_to = stream.landed_to(*key)
        decided_to = stream.decided_to(*key)
        self.decided_to = self._end_of_ledger() if decided_to is None else decided_to
        self.position: int | None = None  # the offset after the greatest that was seen in raw
        self.gaps = 0
        self.known = False  # whether any table has rows of the partition

    def _end_of_ledger(self) -> int:
        return self.sql.number(
            f'SELECT max("offset") + 1 FROM {LEDGER.view_name} '
            f"WHERE {_text('raw_table')} = ? AND {_text('topic_id')} = ? "
            'AND "partition" = ?',
            self.stream.raw.name,
            *self.key,
            table=LEDGER,
        )

    def run(self, first: int, end: int, stretch: int, on_stretch: Callable[[int], object]) -> None:
        """Compare the offsets [first, end), a stretch at a time."""
        count = PartitionCount(
            self.stream.raw.name, *self.key, first=first, next=max(end, self.landed_to or 0)
        )
        self.report.partitions.append(count)
        self.known = first < end
        start = first
        while start < end:
            stop = min(start + stretch, end)
            here = (*self.key, start, stop)
            landed = self._compare(here, count)
            on_stretch(landed)
            # after a wide gap go on where there is something again
            start = stop if landed else self._next_start(stop, end)
        self._compare_end()

    def _next_start(self, start: int, end: int) -> int:
        if start >= end:
            return end
        starts = [
            self.sql.number(
                f'SELECT min("offset") FROM {table.view_name} WHERE {_SLICE}',
                *self.key,
                start,
                end,
                table=table,
            )
            for table in (self.stream.raw, LEDGER, QUARANTINE, *self.stream.tables)
        ]
        return min([start for start in starts if start], default=end)

    def _compare(self, here: tuple[str, int, int, int], count: PartitionCount) -> int:
        self._load(here)
        landed = self.sql.number("SELECT count(*) FROM landed", table=self.stream.raw)
        count.landed += landed
        for disposition, number in self.sql.rows(
            "SELECT disposition, count(*) FROM decided GROUP BY 1", table=LEDGER
        ):
            count.dispositions[str(disposition)] = count.dispositions.get(str(disposition), 0) + _int(number)
        self._compare_offsets()
        count.pending += self._compare_ledger()
        self._compare_quarantine(here)
        self._compare_claims()
        for table in self.stream.tables:
            self._compare_rows(table, here)
        self._compare_objects(here)
        return landed

    def _load(self, here: tuple[str, int, int, int]) -> None:
        """Take the stretch of raw and of the ledger into memory: ``landed`` and ``decided``."""
        raw = self.stream.raw
        self._load_again(here)
        self.sql.rows(
            f'CREATE OR REPLACE TEMP TABLE landed AS SELECT "offset", count(*) AS copies, '
            f"any_value(id_hash) AS id_hash, any_value(content_hash) AS content_hash, {_elsewhere(raw)} AS elsewhere "
            f"FROM {raw.view_name} WHERE {_SLICE} GROUP BY 1",
            *here,
            table=raw,
        )
        self.sql.rows(
            'CREATE OR REPLACE TEMP TABLE decided AS SELECT "offset", max(reading) AS reading, '
            "arg_max(disposition, reading) AS disposition, arg_max(row_counts, reading) AS row_counts, "
            "count(*) AS copies, count(DISTINCT reading) AS readings, "
            "arg_max(id_hash, reading) AS id_hash, arg_max(content_hash, reading) AS content_hash, "
            f"arg_max(coalesce(len(codes), 0), reading) AS reasons, {_elsewhere(LEDGER)} AS elsewhere "
            f"FROM {LEDGER.view_name} WHERE {_text('raw_table')} = '{raw.name}' AND {_SLICE} GROUP BY 1",
            *here,
            table=LEDGER,
        )

    def _load_again(self, here: tuple[str, int, int, int]) -> None:
        """Offsets of the stretch that are being read again: ``again``."""
        self.sql.rows('CREATE OR REPLACE TEMP TABLE again ("offset" BIGINT)', table=LEDGER)
        again = self.stream.again
        if again is None or not again.num_rows:
            return
        topic, partition, start, stop = here
        offset = again.column("offset")
        mine = pc.and_(
            pc.equal(again.column("topic_id"), topic), pc.equal(again.column("partition"), partition)
        )
        mine = pc.and_(mine, pc.and_(pc.greater_equal(offset, start), pc.less(offset, stop)))
        offsets = again.filter(mine).column("offset").to_pylist()
        if offsets:
            self.sql.rows("INSERT INTO again SELECT unnest(?)", offsets, table=LEDGER)

    def _compare_offsets(self) -> None:
        self._compare_start()
        gaps = self.sql.rows(
            'SELECT before + 1, "offset" FROM '
            '(SELECT "offset", coalesce(lag("offset") OVER (ORDER BY "offset"), ?) AS before FROM landed) '
            'WHERE "offset" - before > 1 ORDER BY 1',
            self.position - 1 if self.position is not None else -2,
            table=self.stream.raw,
        )
        for start, stop in gaps:
            if _int(start) >= 0:  # what comes before the first landed offset is Kafka's retention
                self._gap(_int(start), _int(stop))
        ((end,),) = self.sql.rows('SELECT max("offset") + 1 FROM landed', table=self.stream.raw)
        if end is not None:
            self.position = _int(end)
        self._note(
            "RAW-DOUBLED",
            self.stream.raw,
            'SELECT "offset", 1 AS expected, copies AS found FROM landed WHERE copies > 1',
        )

    def _compare_start(self) -> None:
        """What Kafka still has before the first landed offset was landed once and is gone, or was left out."""
        kept = self.stream.kept.get(self.key)
        if self.position is not None or kept is None or self.sql.since:
            return
        ((first,),) = self.sql.rows('SELECT min("offset") FROM landed', table=self.stream.raw)
        if first is not None and kept < _int(first):
            self._gap(kept, _int(first))

    def _gap(self, start: int, stop: int) -> None:
        if self.explain_gap(*self.key, start, stop):
            self.report.explained += stop - start
            return
        self.gaps += 1
        gap = Difference(
            "OFFSET-GAP", self.stream.raw.name, *self.key, first=start, last=stop - 1, messages=stop - start,
            expected=stop - start,
        )  # fmt: skip
        if self.gaps <= GAPS_KEPT:
            self.report.add(gap)
        else:
            self.report.differences[-1].absorb(gap)

    def _compare_end(self) -> None:
        """Compare where raw ends with where landing says it is: restore and overwrite keep the progress."""
        if self.position is None:
            # where the ledger or a table knows the partition, RAW-MISSING says that raw has nothing of it
            if not self.known and self.landed_to:
                self._gap(0, self.landed_to)
        elif self.landed_to is None:
            self._off("PROGRESS-MISSING", 0, self.position)
        elif self.position < self.landed_to:
            self._gap(self.position, self.landed_to)
        elif self.position > self.landed_to:
            self._off("OFFSET-AHEAD", self.landed_to, self.position)

    def _off(self, code: str, start: int, stop: int) -> None:
        self.report.add(
            Difference(
                code, self.stream.raw.name, *self.key, first=start, last=stop - 1, expected=start, found=stop
            )
        )

    def _compare_ledger(self) -> int:
        """Each landed message once in the ledger; gives how many are still to be normalised."""
        self._note(
            "LEDGER-MISSING", LEDGER,
            'SELECT "offset", 1 AS expected, 0 AS found FROM landed ANTI JOIN decided USING ("offset") '
            f'WHERE "offset" < {self.decided_to}',
        )  # fmt: skip
        self._note(
            "LEDGER-DOUBLED", LEDGER,
            'SELECT "offset", readings AS expected, copies AS found FROM decided WHERE copies > readings',
        )  # fmt: skip
        self._note(
            "LEDGER-DIFFERS", LEDGER,
            'SELECT "offset", 1 AS expected, 0 AS found FROM landed JOIN decided USING ("offset") WHERE reading = 0 '
            "AND (landed.id_hash <> decided.id_hash OR landed.content_hash <> decided.content_hash)",
        )  # fmt: skip
        self._note(
            "DISPOSITION-REASON", LEDGER,
            'SELECT "offset", 1 AS expected, 0 AS found FROM decided WHERE '
            "disposition IN ('ignored', 'quarantined') AND reasons = 0 OR disposition = 'duplicate' AND reasons > 0",
        )  # fmt: skip
        for table, rows in ((self.stream.raw, "landed"), (LEDGER, "decided")):
            self._note_misplaced(table, rows)
        self._note(
            "LEDGER-AHEAD", LEDGER,
            f'SELECT "offset", 0 AS expected, 1 AS found FROM decided WHERE "offset" >= {self.decided_to}',
        )  # fmt: skip
        self._note(
            "RAW-MISSING", self.stream.raw,
            'SELECT "offset", 1 AS expected, 0 AS found FROM decided ANTI JOIN landed USING ("offset")',
        )  # fmt: skip
        known = ", ".join(f"'{name}'" for name in DISPOSITIONS)
        self._note(
            "DISPOSITION-UNKNOWN", LEDGER,
            f'SELECT "offset", 1 AS expected, 0 AS found FROM decided WHERE disposition NOT IN ({known})',
        )  # fmt: skip
        return self.sql.number(
            'SELECT count(*) FROM landed ANTI JOIN decided USING ("offset") '
            f'WHERE "offset" >= {self.decided_to}',
            table=LEDGER,
        )

    def _compare_quarantine(self, here: tuple[str, int, int, int]) -> None:
        self._found(QUARANTINE, here, f"{_text('raw_table')} = '{self.stream.raw.name}' AND ")
        self._note_by_rows(
            QUARANTINE, "QUARANTINE",
            'SELECT "offset", reading, 1 AS claimed FROM decided WHERE disposition = \'quarantined\' UNION ALL '
            'SELECT "offset", reading, sum(claim."rows") AS claimed FROM claims '
            f"WHERE claim.\"table\" = '{QUARANTINE.name}' GROUP BY ALL",
        )  # fmt: skip

    def _compare_rows(self, table: Table, here: tuple[str, int, int, int]) -> None:
        self._found(table, here)
        self._note_by_rows(
            table, "ROWS",
            'SELECT "offset", reading, sum(claim."rows") AS claimed FROM claims '
            f"WHERE claim.\"table\" = '{table.name}' GROUP BY ALL",
        )  # fmt: skip

    def _found(self, table: Table, here: tuple[str, int, int, int], condition: str = "") -> None:
        """Count the stretch's rows of a table per message into ``found``; rows of the open batch stay out."""
        ended = -1 if self.stream.last_batch is None else self.stream.last_batch
        open_batch = max(ended + 1, 1)
        # a row missing and another doubled would cancel out where only rows are counted
        places = f"count(DISTINCT row({', '.join(table.row_key)}))" if table.row_key else "count(*)"
        self.sql.rows(
            'CREATE OR REPLACE TEMP TABLE every_row AS SELECT "offset", reading, '
            f"CASE WHEN batch_number <= {ended} THEN 'ended' WHEN batch_number <= {open_batch} THEN 'open' "
            f"ELSE 'ahead' END AS state, count(*) AS found, {places} AS places, {_elsewhere(table)} AS elsewhere "
            f"FROM {table.view_name} WHERE {condition}{_SLICE} GROUP BY ALL",
            *here,
            table=table,
        )
        self.report.unfinished_rows += self.sql.number(
            "SELECT CAST(coalesce(sum(found), 0) AS BIGINT) FROM every_row WHERE state = 'open'", table=table
        )
        self._note(
            "ROWS-REPEATED",
            table,
            "SELECT \"offset\", places AS expected, found FROM every_row WHERE state = 'ended' AND places < found",
        )
        self._note_misplaced(table, "every_row")
        self._note(
            "ROWS-AHEAD",
            table,
            "SELECT \"offset\", 0 AS expected, found FROM every_row WHERE state = 'ahead'",
        )

    def _note_by_rows(self, table: Table, prefix: str, claimed: str) -> None:
        """Compare what is claimed with what was found, latest readings only; earlier ones are withdrawn."""
        self.sql.rows(
            "CREATE OR REPLACE TEMP TABLE compared AS "
            'WITH claims AS (SELECT "offset", reading, unnest(row_counts) AS claim FROM decided '
            "WHERE disposition IN ('accepted', 'conflict')), "
            f"claimed AS ({claimed}), "
            'present AS (SELECT every_row."offset", every_row.reading, found FROM every_row '
            'LEFT JOIN decided ON every_row."offset" = decided."offset" WHERE state = \'ended\' '
            "AND (decided.reading IS NULL OR every_row.reading >= decided.reading)) "
            'SELECT coalesce(claimed."offset", present."offset") AS "offset", '
            "CAST(coalesce(claimed, 0) AS BIGINT) AS expected, CAST(coalesce(found, 0) AS BIGINT) AS found "
            'FROM claimed FULL JOIN present ON claimed."offset" = present."offset" '
            "AND claimed.reading = present.reading WHERE coalesce(claimed, 0) <> coalesce(found, 0) "
            'AND coalesce(claimed."offset", present."offset") NOT IN (SELECT "offset" FROM again)',
            table=table,
        )
        self._note(
            "ROWS-OUTDATED", table,
            'SELECT "offset", 0 AS expected, found FROM every_row JOIN decided USING ("offset") '
            "WHERE every_row.reading < decided.reading",
        )  # fmt: skip
        self._note(f"{prefix}-MISSING", table, "SELECT * FROM compared WHERE found < expected")
        doubled = (
            "coalesce(found % nullif(expected, 0) = 0, false)"  # conditions are not tried in their order
        )
        self._note(f"{prefix}-DOUBLED", table, f"SELECT * FROM compared WHERE found > expected AND {doubled}")
        self._note(
            f"{prefix}-SURPLUS", table, f"SELECT * FROM compared WHERE found > expected AND NOT ({doubled})"
        )

    def _compare_claims(self) -> None:
        """Claims on tables that nobody knows."""
        known = ", ".join(f"'{table.name}'" for table in (*self.stream.tables, QUARANTINE))
        self._note(
            "CLAIM-UNKNOWN-TABLE", LEDGER,
            f"SELECT \"offset\", 1 AS expected, 0 AS found FROM decided WHERE len(list_filter(row_counts, "
            f'lambda claim: claim."table" NOT IN ({known}))) > 0',
        )  # fmt: skip

    def _compare_objects(self, here: tuple[str, int, int, int]) -> None:
        # what was gone already when it landed is quarantined for that reason
        rows = self.sql.rows(
            f'SELECT "offset", object_path, "size" FROM {self.stream.raw.view_name} WHERE {_SLICE} '
            "AND object_path IS NOT NULL AND NOT coalesce(starts_with(problem, 'OBJECT-'), false) ORDER BY 1",
            *here,
            table=self.stream.raw,
        )
        for offset, path, size in rows:
            self.report.objects += 1
            found = self.object_size(str(path))
            if found != _int(size):
                self.report.add(
                    Difference(
                        "OBJECT-MISSING" if found is None else "OBJECT-SIZE",
                        self.stream.raw.name,
                        *self.key,
                        first=_int(offset),
                        last=_int(offset),
                        messages=1,
                        expected=_int(size),
                        found=found or 0,
                        examples=(_int(offset),),
                    )
                )

    def _note_misplaced(self, table: Table, rows: str) -> None:
        """Rows of a stretch that no reader finds who looks for their month."""
        self._note(
            "ROWS-MISPLACED",
            table,
            f'SELECT "offset", 0 AS expected, elsewhere AS found FROM {rows} WHERE elsewhere > 0',
        )

    def _note(self, code: str, table: Table, wrong: str) -> None:
        """Take up what a query finds: columns ``offset``, ``expected``, ``found``, one row per message."""
        ((messages, first, last, expected, found, examples),) = self.sql.rows(
            'SELECT count(*), min("offset"), max("offset"), CAST(sum(expected) AS BIGINT), '
            f'CAST(sum(found) AS BIGINT), min("offset", {EXAMPLES}) FROM ({wrong})',
            table=table,
        )
        if messages:
            self.report.add(
                Difference(
                    code, table.name, *self.key, _int(first), _int(last), _int(messages), _int(expected),
                    _int(found), tuple(_ints(examples)),
                )
            )  # fmt: skip


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a coordinate or count is not a whole number")
    return value


def _ints(values: object) -> Iterator[int]:
    if isinstance(values, list):
        yield from (_int(value) for value in values)
