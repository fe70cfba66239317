"""A small lake written by hand, and ways to damage it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.transaction import AddAction, RemoveAction

from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from schemas.modality import Modality, Parsed
from schemas.source import Source, Sources
from schemas.table import Table
from schemas.tables import LEDGER, OBSERVATION, PATIENT, QUARANTINE, RAW_HL7V2, SEGMENT
from schemas.tables.normalised import FINDING

TOPIC, TOPIC_ID = "raw.hl7v2", "qUCfKMB-QT6m9rXCjyCLzw"
MONTH = date(2026, 3, 1)
RECEIVED = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BATCH_SIZE = 10
OBJECT_PATH, OBJECT_BYTES = "objects/hl7v2/ab/abcdef", b"M" * 64
DISPOSITION_OF = ("accepted", "accepted", "duplicate", "conflict", "quarantined", "ignored", "accepted")


def _no_envelopes(_payloads: Sequence[bytes], _sources: Sequence[Source]) -> pa.RecordBatch:
    raise NotImplementedError


def _no_triage(_raw: pa.Table, _sources: Sources) -> pa.Array:
    raise NotImplementedError


def _no_parser(_raw: pa.Table, _sources: Sources) -> Parsed:
    raise NotImplementedError


MODALITY = Modality(
    "hl7v2",
    TOPIC,
    RAW_HL7V2,
    (PATIENT, OBSERVATION, SEGMENT, FINDING),
    1,
    _no_envelopes,
    _no_triage,
    _no_parser,
)
"""Only its names and tables are looked at by what is tested with this lake."""

Row = Mapping[str, object]


@dataclass
class SmallLake:
    """Two partitions whose messages were landed and normalised in batches of ``BATCH_SIZE``.

    Attributes:
        location: where.
        topic, topic_id: what was landed.
        next: next offset by partition.
        batches: normalise batches that ended.
    """

    location: LakeLocation
    topic: str = TOPIC
    topic_id: str = TOPIC_ID
    next: dict[int, int] = field(default_factory=dict)
    batches: int = 0

    @property
    def lake(self) -> Lake:
        return Lake(self.location)

    @property
    def root(self) -> Path:
        """The folder, where it is one."""
        return Path(self.location.path)

    def create(self) -> SmallLake:
        self.lake.create_missing((LEDGER, QUARANTINE, *MODALITY.tables, RAW_HL7V2))
        open_store(self.location).put(OBJECT_PATH, OBJECT_BYTES)
        return self

    def land(self, partition: int, count: int = BATCH_SIZE) -> range:
        """Append messages to raw."""
        start = self.next.get(partition, 100)
        offsets = range(start, start + count)
        self.next[partition] = offsets.stop
        rows = [self._raw(partition, offset) for offset in offsets]
        self.append(RAW_HL7V2, rows, {self.land_id(partition): offsets.stop})
        return offsets

    def normalise(self, partition: int, offsets: range, *, end: bool = True) -> None:
        """Write what became of landed messages; without ``end`` the batch stops before the ledger."""
        batch = self.batches + 1
        version = self.lake.open(RAW_HL7V2).version()
        txns = {"normalise:raw/hl7v2": version}
        ledger = [self._ledger(partition, offset, batch) for offset in offsets]
        for table in MODALITY.tables:
            rows = [
                {**self._origin(partition, offset, batch), **_place(table, index)}
                for offset in offsets
                for index in range(claims(offset).get(table.name, 0))
            ]
            self.append(table, rows, txns)
        bad = [{**row, "code": "HL7-NO-MSH"} for row in ledger if row["disposition"] == "quarantined"]
        self.append(QUARANTINE, bad, txns)
        if end:
            self.batches = batch
            self.append(LEDGER, ledger, {**txns, "batch:normalise-hl7v2": batch})

    def append(self, table: Table, rows: Sequence[Row], txns: Mapping[str, int]) -> None:
        """Commit rows (absent columns are null) and progress."""
        names = [f.name for f in table.fields]
        columns = {name: [row.get(name) for row in rows] for name in names}
        write_deltalake(
            self.lake.table_uri(table),
            pa.table(columns, schema=table.arrow_schema),
            mode="append",
            storage_options=self.location.storage_options() or None,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, version) for app, version in txns.items()]
            ),
        )

    def land_id(self, partition: int) -> str:
        return f"land:{self.topic}:{self.topic_id}:{partition}"

    def _coordinates(self, partition: int, offset: int) -> dict[str, object]:
        return {
            "topic_id": self.topic_id,
            "partition": partition,
            "offset": offset,
            "source": "county-3",
            "received_at": RECEIVED + timedelta(minutes=offset),
        }

    def _raw(self, partition: int, offset: int) -> dict[str, object]:
        large = offset % 25 == 0
        return {
            **self._coordinates(partition, offset),
            "landed_month": MONTH,
            "payload": None if large else b"MSH|^~\\&|",
            "object_path": OBJECT_PATH if large else None,
            "size": len(OBJECT_BYTES) if large else 9,
            **hashes(partition, offset),
        }

    def _ledger(self, partition: int, offset: int, batch: int) -> dict[str, object]:
        return {
            **self._coordinates(partition, offset),
            "landed_month": MONTH,
            "raw_table": RAW_HL7V2.name,
            **hashes(partition, offset),
            "disposition": disposition(offset),
            "codes": ["HL7-NO-MSH"] if disposition(offset) in ("quarantined", "ignored") else None,
            "row_counts": [{"table": name, "rows": rows} for name, rows in claims(offset).items()],
            "batch_number": batch,
            "reading": 0,
            "decided_at": RECEIVED,
        }

    def _origin(self, partition: int, offset: int, batch: int) -> dict[str, object]:
        received = RECEIVED + timedelta(minutes=offset)
        return {
            **self._coordinates(partition, offset),
            "event_month": MONTH if offset % 3 else None,
            "event_date": MONTH if offset % 3 else None,
            "version_time": received,
            "batch_number": batch,
            "reading": 0,
        }

    def files(self, table: Table) -> list[dict[str, object]]:
        """Live files, the oldest first."""
        actions = pa.table(self.lake.open(table).get_add_actions(flatten=False)).to_pylist()
        return sorted(actions, key=lambda action: str(action["modification_time"]))

    def drop_file(self, table: Table, number: int = 0) -> int:
        """Take a file out of the table by a commit, as a stray compaction would; gives its rows."""
        file = self.files(table)[number]
        partition = self._partition_of(table, str(file["path"]))
        remove = RemoveAction(
            path=str(file["path"]),
            deletion_timestamp=0,
            data_change=True,
            partition_values=partition,
            size=int(str(file["size_bytes"])),
        )
        self._commit(table, [remove])
        return int(str(file["num_records"]))

    def double_file(self, table: Table, number: int = 0) -> int:
        """Add a copy of a file to the table; gives its rows."""
        file = self.files(table)[number]
        path = str(file["path"])
        copy = path.replace("part-", "copy-")
        folder = self.root / table.name
        shutil.copyfile(folder / path, folder / copy)
        add = AddAction(
            path=copy,
            size=int(str(file["size_bytes"])),
            partition_values=self._partition_of(table, path),
            modification_time=0,
            data_change=True,
            stats=f'{{"numRecords": {file["num_records"]}}}',
        )
        self._commit(table, [add])
        return int(str(file["num_records"]))

    def path_of(self, table: Table, number: int = 0) -> Path:
        """Where a live file is on disk."""
        return self.root / table.name / str(self.files(table)[number]["path"])

    def set_progress(self, table: Table, app: str, version: int) -> None:
        """Record another progress."""
        self._commit(table, [], {app: version})

    def _commit(
        self, table: Table, actions: list[AddAction | RemoveAction], txns: Mapping[str, int] | None = None
    ) -> None:
        delta: DeltaTable = self.lake.open(table)
        delta.create_write_transaction(
            actions,
            mode="append",
            schema=delta.schema(),
            partition_by=[str(table.partition_by)],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, version) for app, version in (txns or {}).items()]
            ),
        )

    @staticmethod
    def _partition_of(table: Table, path: str) -> dict[str, str | None]:
        value = path.split("/", 1)[0].split("=", 1)[1]
        return {str(table.partition_by): None if value.startswith("__HIVE") else value}


def disposition(offset: int) -> str:
    """What became of the message at an offset."""
    return DISPOSITION_OF[offset % len(DISPOSITION_OF)]


def hashes(partition: int, offset: int) -> dict[str, int]:
    """Hashes of ids and content: duplicates and conflicts are of the accepted message at 104 (6, before 100)."""
    own, first = partition * 10_000 + offset, partition * 10_000 + (104 if offset >= 100 else 6)
    kind = disposition(offset)
    return {
        "id_hash": first if kind in ("duplicate", "conflict") else own,
        "content_hash": first if kind == "duplicate" else own,
    }


def claims(offset: int) -> dict[str, int]:
    """Rows of the message at an offset, by table."""
    if disposition(offset) not in ("accepted", "conflict"):
        return {}
    if offset % 2 == 0:
        return {SEGMENT.name: 2}
    return {PATIENT.name: 1, SEGMENT.name: 2, OBSERVATION.name: 3, FINDING.name: 2}


def _place(table: Table, index: int) -> Row:
    """What tells a row of a message from others: its segment; of findings, which may be on one segment, the field."""
    if table is FINDING:
        return {"segment_index": 1, "code": "HL7-DTM-INVALID", "field": index}
    return {"segment_index": index, "line": index}


def small_lake(location: LakeLocation) -> SmallLake:
    """Two partitions of thirty messages, all normalised."""
    small = SmallLake(location).create()
    for _ in range(3):
        for partition in (0, 1):
            small.normalise(partition, small.land(partition))
    return small
