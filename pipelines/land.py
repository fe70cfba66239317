"""Land: Kafka offset ranges → a raw table, every byte as received.

::

    ranges ─► WriteRaw (read a range, hash, write Parquet) ─► GroupByKey ─► CommitRaw
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Final, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.claims import Claim
from lake_layout.fail_points import fail_point
from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake
from lake_layout.objects import ObjectStore, open_store
from lake_layout.stage import commit_table
from pipelines.parts import coded, release_memory
from pipelines.rfc3339 import read_instants
from pipelines.steps import step, steps_of
from schemas.modality import Modality
from schemas.source import Sources
from schemas.table import INSTANT
from schemas.tables.raw import ENVELOPE, RECORD

UNKNOWN_SOURCE = "unknown"
FILE_BYTES = 64 * 1024 * 1024
"""The most bytes of messages whose rows share a file, those that lie in objects included: bounds memory here and
where the file is parsed. A single message may be larger."""

_TEXT_HEADERS: Final = MappingProxyType(
    {"source": "source", "content_type": "content-type", "batch": "batch", "object_path": "object-path"}
)
"""Column → header that it holds."""

_OF_RECORD = frozenset(field.name for field in (*RECORD, *ENVELOPE))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OffsetRange(Protocol):
    """Offsets [start, end) of one partition of one life of a topic."""

    @property
    def topic(self) -> str: ...
    @property
    def topic_id(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class Records(Protocol):
    """Some records of a range, as columns of equal length in the order of offsets.

    ``timestamps`` are milliseconds since 1970 (negative where Kafka has none); ``values`` are None for
    tombstones.
    """

    @property
    def offsets(self) -> Sequence[int]: ...
    @property
    def timestamps(self) -> Sequence[int]: ...
    @property
    def values(self) -> Sequence[bytes | None]: ...
    @property
    def headers(self) -> Sequence[Mapping[str, bytes]]: ...


ReadRange = Callable[[OffsetRange], Iterable[Records]]


@dataclass(eq=False)  # not frozen: Beam keeps hints and the pipeline on it
class Land(beam.PTransform):  # type: ignore[misc]
    """The graph of one batch of the land stage.

    Attributes:
        lake: where the raw table lies.
        claim: the batch, with the offsets that it ends at.
        modality: what kind of messages the topic carries.
        ranges: what to read, cut so that workers share it.
        sources: settings of the senders.
        read: reads a range (picklable).
        guard: called just before the commit; raises LakeError where the topic is no longer the same.
    """

    lake: Lake
    claim: Claim
    modality: Modality
    ranges: tuple[OffsetRange, ...]
    sources: Sources
    read: ReadRange
    guard: Callable[[], None]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return (
            begin
            | "Ranges" >> beam.Create(self.ranges)  # and share them out
            | "WriteRaw" >> beam.ParDo(WriteRaw(self.lake, self.modality, self.sources, self.read))
            | "Gather" >> beam.GroupByKey()
            | "CommitRaw" >> beam.ParDo(CommitRaw(self.lake, self.claim, self.modality, self.guard))
        )


class WriteRaw(beam.DoFn):  # type: ignore[misc]
    """Offset range → descriptors of the Parquet files that hold its records."""

    def __init__(self, lake: Lake, modality: Modality, sources: Sources, read: ReadRange) -> None:
        self.lake, self.modality, self.sources, self.read = lake, modality, sources, read

    @coded
    def process(self, offsets: OffsetRange) -> Iterator[tuple[str, NewFile]]:
        store = open_store(self.lake.location)
        for records in steps_of("consume", self.read(offsets)):
            for some in within_bytes(records, FILE_BYTES):
                with step("hash"):
                    rows = raw_rows(offsets, some, self.modality, self.sources, store)
                fail_point("records-read")
                for file in steps_of("write", write_by_month(self.lake, self.modality, rows)):
                    yield file.table, file  # for one committer
        release_memory(offsets.end - offsets.start)


class CommitRaw(beam.DoFn):  # type: ignore[misc]
    """All files of the batch → one commit that also records the offsets reached."""

    def __init__(self, lake: Lake, claim: Claim, modality: Modality, guard: Callable[[], None]) -> None:
        self.lake, self.claim, self.modality, self.guard = lake, claim, modality, guard

    @coded
    def process(self, files: tuple[str, Iterable[NewFile]]) -> Iterator[int]:
        ordered = sorted(files[1], key=lambda file: file.path)
        with step("commit"):
            self.guard()
            commit_table(self.lake, self.claim, self.modality.raw, ordered)
        yield sum(file.rows for file in ordered)


@dataclass(frozen=True, slots=True)
class RecordSlice:
    """Consecutive records of a range."""

    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes | None]
    headers: Sequence[Mapping[str, bytes]]


def within_bytes(records: Records, limit: int) -> Iterator[Records]:
    """Cut records so that no piece has more than ``limit`` bytes of messages, objects included."""
    sizes = np.fromiter(map(_size, records.values, records.headers), np.int64, len(records.offsets))
    if int(sizes.sum()) <= limit:
        yield records
        return
    start, filled = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if filled and filled + size > limit:
            yield _slice(records, start, place)
            start, filled = place, 0
        filled += size
    yield _slice(records, start, len(sizes))


def _slice(records: Records, start: int, end: int) -> RecordSlice:
    return RecordSlice(
        records.offsets[start:end],
        records.timestamps[start:end],
        records.values[start:end],
        records.headers[start:end],
    )


def _size(value: bytes | None, headers: Mapping[str, bytes]) -> int:
    claimed = headers.get("object-size")
    if claimed is None:
        return len(value or b"")
    # as the sender of the record says; what it says wrongly costs memory, not correctness
    return int(claimed) if claimed.isdigit() and len(claimed) < 12 else len(value or b"")


def raw_rows(
    offsets: OffsetRange, records: Records, modality: Modality, sources: Sources, store: ObjectStore
) -> pa.Table:
    """Rows of the raw table without its partition column.

    A record without the headers that a connector sets (somebody wrote to the topic by other means) is kept all
    the same: its source is ``unknown`` and its time of receipt is Kafka's.
    """
    n = len(records.offsets)
    texts = {
        column: _texts([header.get(name) for header in records.headers])
        for column, name in _TEXT_HEADERS.items()
    }
    source = pc.fill_null(texts["source"], UNKNOWN_SOURCE)
    contents = [value or b"" for value in records.values]
    payload = pa.array(contents, pa.binary())
    problem = pc.if_else(
        pc.equal(pc.binary_length(payload), 0), pa.scalar("RECORD-EMPTY"), pa.scalar(None, pa.string())
    )
    outside = np.flatnonzero(pc.is_valid(texts["object_path"]).to_numpy(zero_copy_only=False)).tolist()
    if outside:
        problems = problem.to_pylist()
        for row in outside:
            path = texts["object_path"][row].as_py()
            contents[row], problems[row] = fetch_object(store, path, records.headers[row])
        inside = np.ones(n, np.bool_)
        inside[outside] = False
        payload = pc.if_else(pa.array(inside), payload, pa.scalar(None, pa.binary()))
        problem = pa.array(problems, pa.string())
    known = {name: sources.get(name) for name in pc.unique(source).to_pylist()}
    envelopes = modality.envelopes(contents, [known[name] for name in source.to_pylist()])
    moments = np.array(records.timestamps, np.int64)
    table = {
        "topic_id": pa.repeat(pa.scalar(offsets.topic_id), n),
        "partition": pa.array(np.full(n, offsets.partition, np.int32)),
        "offset": pa.array(np.array(records.offsets, np.int64)),
        "kafka_time": pa.array(moments * 1000, mask=moments < 0).cast(INSTANT),
        **texts,
        "source": source,
        "received_at": _received(records),
        "payload": payload,
        "size": pa.array(np.fromiter(map(len, contents), np.int64, n)),
        **_further(modality, records),
        **{name: envelopes.column(name) for name in envelopes.schema.names},
        "problem": pc.coalesce(problem, envelopes.column("problem")),
    }
    names = [field.name for field in modality.raw.fields if field.name != modality.raw.partition_by]
    return pa.table({name: table[name] for name in names})


def _further(modality: Modality, records: Records) -> dict[str, pa.Array]:
    """What else a raw table has, each column from the header of its name; null where that is absent or no such value.

    As the sender of the record says.
    """
    columns = {}
    for field in modality.raw.fields:
        if field.name in _OF_RECORD or field.name == modality.raw.partition_by:
            continue
        texts = _texts([header.get(field.name.replace("_", "-")) for header in records.headers])
        if pa.types.is_integer(field.type):
            number = pc.fill_null(pc.match_substring_regex(texts, "^[0-9]{1,18}$"), False)
            texts = pc.if_else(number, texts, pa.scalar(None, pa.string())).cast(field.type)
        columns[field.name] = texts
    return columns


def write_by_month(lake: Lake, modality: Modality, rows: pa.Table) -> Iterator[NewFile]:
    """Write rows to one file per month of receipt (a range that crosses a month's end has two)."""
    column = months_of(rows.column("received_at"))
    months = pc.unique(column).to_pylist()
    for month in months:
        same = rows if len(months) == 1 else rows.filter(pc.equal(column, pa.scalar(month, pa.date32())))
        yield write_file(lake, modality.raw, same, month)


def months_of(instants: pa.ChunkedArray | pa.Array) -> pa.Array:
    """First day of the month (date32) of each instant in UTC."""
    floored = pc.floor_temporal(instants, unit="month").cast(pa.timestamp("us")).cast(pa.date32())
    return floored.combine_chunks() if isinstance(floored, pa.ChunkedArray) else floored


def fetch_object(store: ObjectStore, path: str, headers: Mapping[str, bytes]) -> tuple[bytes, str | None]:
    """The bytes of a message that was too large for Kafka, or a code where the object is not what was stored.

    Raises:
        TransportError: the store does not answer; the batch is tried again.
    """
    content = store.get_or_none(path)
    if content is None:
        return b"", "OBJECT-MISSING"
    digest = headers.get("object-sha256", b"").decode("ascii", "replace")
    if hashlib.sha256(content).hexdigest() != digest:
        return b"", "OBJECT-DAMAGED"
    return content, None


def _texts(values: Sequence[bytes | None]) -> pa.Array:
    """Texts of a header; null where it is absent or empty, whatever is not UTF-8 replaced."""
    try:
        texts = pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([None if value is None else value.decode("utf-8", "replace") for value in values])
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _received(records: Records) -> pa.Array:
    """Times of receipt."""
    stamps = [header.get("received-at") or b"" for header in records.headers]
    lengths = np.fromiter(map(len, stamps), np.int64, len(stamps))
    instants, read = read_instants(
        np.frombuffer(b"".join(stamps), np.uint8), np.concatenate([[0], np.cumsum(lengths)])
    )
    for row in np.flatnonzero(~read).tolist():
        moment = _instant(stamps[row], records.timestamps[row])
        instants[row] = (moment - _EPOCH) // timedelta(microseconds=1)
    return pa.array(instants).cast(INSTANT)


def _instant(header: bytes, kafka_milliseconds: int) -> datetime:
    """Time of receipt from the header, else from Kafka's own stamp."""
    if header:
        try:
            moment = datetime.fromisoformat(header.decode("ascii"))
        except (ValueError, UnicodeDecodeError):
            moment = None
        if (
            moment is not None
            and moment.tzinfo is not None
            and date(1970, 1, 1) <= moment.date() < date(2200, 1, 1)
        ):
            return moment.astimezone(UTC)
    return (
        datetime.fromtimestamp(max(kafka_milliseconds, 0) / 1000, UTC) if kafka_milliseconds > 0 else _EPOCH
    )
