"""Look whether each object that a row names is there, and whether each object is named."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes, urlsplit

import duckdb
import structlog

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.ranges import OffsetRange, app_id, read_range
from connectors.kafka.topics import describe_topic
from connectors.records import ATTACHMENT_URI, OBJECT_PATH
from jobs.lake_views import LakeViews, lake_views
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import ObjectStore, open_store
from quality.objects import ROOT, Comparison, Named, ObjectsReport, naming_rows, references_of
from schemas.errors import IngestError, LakeError, TransportError
from schemas.modality import Modality
from schemas.table import Table
from schemas.tables import TABLES
from schemas.tables.curated import CURATED

if TYPE_CHECKING:
    from deltalake import DeltaTable

log = structlog.get_logger(__name__)

MEMORY: Final = "512MB"
_READERS: Final = 8
_AT_ONCE: Final = 256
_PIECE: Final = 4 * 1024 * 1024
_ROWS: Final = 10_000

Progress = Callable[[str, int], object]
"""Told what is done and how many objects so far."""


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at.

    Attributes:
        deep: read objects of the lake whole and compare their SHA-256.
        elsewhere: look at objects that lie outside the lake too.
        grace: objects that are younger may be named by rows to come.
    """

    deep: bool = False
    elsewhere: bool = True
    grace: timedelta = timedelta(hours=24)


def check_objects(
    lake: Lake,
    modalities: Sequence[Modality],
    kafka: KafkaConnection | None,
    wanted: Wanted,
    *,
    topic_prefix: str = "",
    progress: Progress = lambda _what, _count: None,
) -> ObjectsReport:
    """Compare rows with objects; safe while everything runs. Memory does not depend on how many there are.

    Args:
        lake: where both lie.
        modalities: what lands there.
        kafka: asked for records that are not landed yet, which name objects too; None: those are not known.
        wanted: how closely.
        topic_prefix: stands before the topics' names.
        progress: told how far it is.

    Raises:
        LakeError: a table cannot be opened.
        TransportError: the store does not answer.
    """
    store = open_store(lake.location)
    begun = datetime.now(UTC)
    with _scratch() as connection:
        comparison = Comparison(connection)
        # rows first: what they name was there before them
        with lake_views(lake, _naming_tables()) as opened:
            _add_rows(comparison, opened, progress)
            landed = {one.raw.name: opened.views[one.raw.name].delta for one in modalities}
        asked = kafka is not None and _add_waiting(comparison, kafka, modalities, topic_prefix, landed)
        for count in comparison.add_listed(store.list(ROOT)):
            progress("listed", count)
        comparison.compare_listed()
        hashed = _hash_all(comparison, store, progress) if wanted.deep else 0
        if wanted.elsewhere:
            _look_elsewhere(comparison, lake.location, progress)
        report = comparison.report(begun - wanted.grace)
        report.hashed, report.kafka_asked = hashed, asked
        return report


@contextmanager
def _scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(prefix="phl-objects-") as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": MEMORY,
            "temp_directory": spill,
        }
        connection = duckdb.connect(":memory:", config=settings)
        try:
            connection.execute("SET TimeZone='UTC'")
            yield connection
        finally:
            connection.close()


def _naming_tables() -> list[Table]:
    """All tables that name objects; and raw tables, whose progress is asked for."""
    tables = {one.name: one for one in (*TABLES, *CURATED)}
    return [one for one in tables.values() if references_of(one)]


def _add_rows(comparison: Comparison, opened: LakeViews, progress: Progress) -> None:
    for number, view in enumerate(opened.views.values(), 1):
        if view.made_of_others:
            continue
        for reference in references_of(view.table):
            rows = opened.connection.sql(naming_rows(view.table, reference)).to_arrow_reader(_ROWS)
            comparison.add_rows(view.table.name, rows)
        progress("tables", number)


def _add_waiting(
    comparison: Comparison,
    kafka: KafkaConnection,
    modalities: Sequence[Modality],
    prefix: str,
    landed: dict[str, DeltaTable | None],
) -> bool:
    """Take in what records name that are not landed yet; whether Kafka could be asked of all."""
    for modality in modalities:
        try:
            comparison.add_waiting(_waiting(kafka, prefix + modality.topic, landed[modality.raw.name]))
        except IngestError as error:
            if modality.awaited or error.code != "KAFKA-TOPIC-MISSING":
                log.warning("kafka_not_asked", code=error.code, topic=prefix + modality.topic)
                return False
    return True


def _waiting(kafka: KafkaConnection, topic: str, raw: DeltaTable | None) -> Iterator[str]:
    state = describe_topic(kafka, topic)
    for partition, (low, high) in state.partitions.items():
        reached = None if raw is None else raw.transaction_version(app_id(topic, state.topic_id, partition))
        span = OffsetRange(topic, state.topic_id, partition, max(low, int(reached or 0)), high)
        if not len(span):
            continue
        for records in read_range(kafka, span):
            for headers in records.headers:
                for name in (OBJECT_PATH, ATTACHMENT_URI):
                    if name in headers:
                        yield headers[name].decode("utf-8", "replace")


def _hash_all(comparison: Comparison, store: ObjectStore, progress: Progress) -> int:
    """Read all named objects of the lake whole; their names say what their SHA-256 must be."""
    done = 0

    def wrong(one: Named) -> str | None:
        return _wrong_bytes(store, one)

    named = comparison.in_the_lake()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="hash") as pool:
        while some := list(islice(named, _AT_ONCE)):
            for one, code in zip(some, pool.map(wrong, some), strict=True):
                if code:
                    comparison.add_wrong(code, [one.uri])
            done += len(some)
            progress("hashed", done)
    return done


def _wrong_bytes(store: ObjectStore, one: Named) -> str | None:
    state = hashlib.sha256()
    try:
        for start in range(0, one.size, _PIECE):
            state.update(store.get_range(one.uri, start, min(_PIECE, one.size - start)))
    except LakeError as error:
        if error.code != "OBJECT-MISSING":
            raise
        return "OBJECT-MISSING"
    return None if state.hexdigest() == one.uri.rpartition("/")[2] else "OBJECT-HASH"


def _look_elsewhere(comparison: Comparison, location: LakeLocation, progress: Progress) -> None:
    """Look at objects that were harvested in place: size, and ETag where there is one."""
    done = 0
    elsewhere = Elsewhere(location)
    named = comparison.elsewhere()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="elsewhere") as pool:
        while some := list(islice(named, _AT_ONCE)):
            for one, code in zip(some, pool.map(elsewhere.wrong, some), strict=True):
                if code:
                    comparison.add_wrong(code, [one.uri])
            done += len(some)
            progress("elsewhere", done)


@dataclass(frozen=True)
class Elsewhere:
    """Objects outside the lake: files, members of ZIP files, objects of other buckets."""

    location: LakeLocation

    def wrong(self, one: Named) -> str | None:
        """A code of ``OBJECT_FAULTS``, None where all is as the row says."""
        archive, _, member = one.uri.partition("!/")
        parts = urlsplit(archive)
        if parts.scheme == "file":
            return _wrong_file(Path(_unquoted(parts.path)), _unquoted(member), one)
        if parts.scheme == "s3":
            return self._wrong_object(
                parts.netloc, archive.removeprefix(f"s3://{parts.netloc}/"), member, one
            )
        return "OBJECT-UNREACHABLE"

    def _wrong_object(self, bucket: str, key: str, member: str, one: Named) -> str | None:
        from lake_layout.objects import head_of

        try:
            found = head_of(self.location, bucket, key)
        except (TransportError, LakeError):
            return "OBJECT-UNREACHABLE"
        if found is None:
            return "OBJECT-MISSING"
        size, etag = found
        if one.etag and etag and not one.etag.startswith(etag):
            return "OBJECT-CHANGED"
        return "OBJECT-SIZE" if not member and size != one.size else None


def _unquoted(text: str) -> str:
    """A name of the file system, whatever its bytes."""
    return os.fsdecode(unquote_to_bytes(text))


def _wrong_file(path: Path, member: str, one: Named) -> str | None:
    try:
        if not member:
            return None if path.stat().st_size == one.size else "OBJECT-SIZE"
        with zipfile.ZipFile(path) as archive:
            return None if archive.getinfo(member).file_size == one.size else "OBJECT-SIZE"
    except (FileNotFoundError, KeyError):
        return "OBJECT-MISSING"
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return "OBJECT-UNREACHABLE"
