"""Messages, and parts of them, that did not become rows, for whoever looks after them: which, and what one says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lake_layout.lake import Lake
from pipelines.modalities import MODALITIES
from schemas.errors import ConfigError
from schemas.tables import DECISION, LEDGER, QUARANTINE

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

RAW_TABLES = tuple(modality.raw for modality in MODALITIES)
TABLES = (*RAW_TABLES, QUARANTINE, LEDGER, DECISION)

_QUARANTINED = """
SELECT raw_table, topic_id, "partition", "offset", received_at, source, code, segment, segment_index, field
FROM ops.quarantine
"""
_IGNORED = """
SELECT raw_table, topic_id, "partition", "offset", received_at, source, codes[1] AS code,
       NULL::VARCHAR AS segment, NULL::INTEGER AS segment_index, NULL::INTEGER AS field
FROM ops.ledger AS one WHERE disposition = 'ignored' AND NOT EXISTS (
    SELECT 1 FROM ops.ledger AS later WHERE later.reading > 0 AND later.reading > one.reading
    AND later.topic_id = one.topic_id AND later."partition" = one."partition" AND later."offset" = one."offset")
"""
_DECIDED = """
SELECT topic_id, "partition", "offset", arg_max(action, decided_at) AS decision,
       arg_max(decided_by, decided_at) AS decided_by
FROM ops.decision WHERE "offset" IS NOT NULL GROUP BY ALL
"""


@dataclass(frozen=True)
class Asked:
    """Which messages are asked for; what is None says nothing.

    Attributes:
        ignored: those that were set aside, instead of those that could not be read.
        code: why.
        source: by which connection they came.
        since, until: received from then on, and before then.
        settled: with those that somebody discarded or replaced.
        messages: these only.
    """

    ignored: bool = False
    code: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    settled: bool = False
    messages: tuple[Coordinates, ...] = ()


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a message lies in Kafka; the topic's id where partition and offset alone would name several."""

    partition: int
    offset: int
    topic_id: str | None = None

    @classmethod
    def read(cls, text: str) -> Coordinates:
        """``PARTITION:OFFSET`` or ``TOPIC-ID:PARTITION:OFFSET``.

        Raises:
            ConfigError: ``CONFIG-COORDINATES``.
        """
        *topic, partition, offset = ["", *text.split(":")] if ":" in text else ["", "", ""]
        if len(topic) > 2 or not (partition.isdecimal() and offset.isdecimal()):
            raise ConfigError(
                "CONFIG-COORDINATES", "give PARTITION:OFFSET or TOPIC-ID:PARTITION:OFFSET", setting="MESSAGE"
            )
        return cls(int(partition), int(offset), topic[-1] or None)

    def values(self) -> list[object]:
        """What is known of the place, in the order partition, offset, topic."""
        return [self.partition, self.offset, *([self.topic_id] if self.topic_id else [])]


@dataclass(frozen=True)
class Found:
    """A message as it was received, and what became of it.

    Attributes:
        payload: its bytes.
        source: by which connection it came.
        disposition: None where it was not looked at yet.
        codes: why, and what deviates.
        raw_table: the raw table it lies in.
        bad_parts: number and code of each line that could not be read while the message was.
    """

    coordinates: Coordinates
    payload: bytes
    source: str
    disposition: str | None
    codes: tuple[str, ...]
    raw_table: str
    bad_parts: tuple[tuple[int, str], ...] = ()


def listed(connection: duckdb.DuckDBPyConnection, asked: Asked) -> pa.RecordBatchReader:
    """The messages asked for, the latest received first."""
    wanted: dict[str, object] = {
        "code = ?": asked.code,
        "source = ?": asked.source,
        "received_at >= ?": asked.since,
        "received_at < ?": asked.until,
    }
    said = {condition: value for condition, value in wanted.items() if value is not None}
    values = list(said.values())
    conditions = list(said)
    if asked.messages:
        conditions.append("(" + " OR ".join(_here(one) for one in asked.messages) + ")")
        values += [value for one in asked.messages for value in one.values()]
    if not asked.settled:
        conditions.append("coalesce(decision, '') NOT IN ('discard', 'replace')")
    sql = (
        f"SELECT * FROM ({_IGNORED if asked.ignored else _QUARANTINED}) "  # noqa: S608 - texts of this module only
        f'LEFT JOIN ({_DECIDED}) USING (topic_id, "partition", "offset")'
        + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        + ' ORDER BY received_at DESC, topic_id, "partition", "offset"'
    )
    return connection.sql(sql, params=values).to_arrow_reader()


def chosen(connection: duckdb.DuckDBPyConnection, asked: Asked) -> dict[str, list[Coordinates]]:
    """The places of the messages asked for, with their topics' ids, by raw table.

    Raises:
        ConfigError: ``CONFIG-COORDINATES``: there is none, or one that is named is not among them, or is several.
    """
    # a message of which several parts could not be read is there once for each
    rows = list(
        {
            tuple(row[name] for name in ("raw_table", "topic_id", "partition", "offset")): row
            for row in listed(connection, asked).read_all().to_pylist()
        }.values()
    )
    wanted = len(asked.messages)
    if not rows or (wanted and len(rows) != wanted):
        raise ConfigError(
            "CONFIG-COORDINATES",
            "give messages that the list has, each once, with the topic's id where several topics have one"
            if wanted
            else "there is no such message",
            setting="MESSAGE",
            found=len(rows),
        )
    places: dict[str, list[Coordinates]] = {}
    for row in rows:
        where = Coordinates(row["partition"], row["offset"], row["topic_id"])
        places.setdefault(row["raw_table"], []).append(where)
    return places


def _here(one: Coordinates) -> str:
    return '("partition" = ? AND "offset" = ?' + (" AND topic_id = ?)" if one.topic_id else ")")


def found(lake: Lake, connection: duckdb.DuckDBPyConnection, where: Coordinates) -> Found:
    """A landed message.

    Raises:
        ConfigError: ``CONFIG-COORDINATES``: there is none, or there are several.
        LakeError: ``OBJECT-MISSING``: its bytes lie in an object that is gone.
    """
    rows = [
        (raw.name, *row)
        for raw in RAW_TABLES
        for row in connection.execute(
            f"SELECT topic_id, payload, object_path, source FROM {raw.view_name} WHERE {_here(where)}",  # noqa: S608
            where.values(),
        ).fetchall()
    ]
    if len(rows) != 1:
        reason = (
            "no such message is landed" if not rows else "several topics had one: give the topic's id too"
        )
        raise ConfigError("CONFIG-COORDINATES", reason, setting="MESSAGE", found=len(rows))
    raw_table, topic_id, payload, path, source = rows[0]
    told = connection.execute(
        "SELECT disposition, codes FROM ops.ledger "
        'WHERE topic_id = ? AND "partition" = ? AND "offset" = ? ORDER BY reading DESC LIMIT 1',
        [topic_id, where.partition, where.offset],
    ).fetchone()
    here = [topic_id, where.partition, where.offset]
    disposition = told[0] if told else None
    parts = connection.execute(
        'SELECT segment_index, code FROM ops.quarantine WHERE topic_id = ? AND "partition" = ? AND "offset" = ? '
        "AND segment_index IS NOT NULL ORDER BY 1",
        here,
    ).fetchall()
    return Found(
        Coordinates(where.partition, where.offset, topic_id),
        lake.store.get(path) if path is not None else payload,
        source,
        disposition,
        tuple(told[1] or ()) if told else (),
        raw_table,
        tuple(parts) if disposition in ("accepted", "conflict") else (),
    )
