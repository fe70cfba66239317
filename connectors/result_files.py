"""Files of laboratory results that are dropped into a folder or below an S3 prefix, each one record.

Delivery: a file is sent whole or not at all, and marked as taken once Kafka has it. A crash between the two sends it
    again: the same bytes, which the lake takes for a duplicate.
Ordering: of a source the files that were changed first go first, all to one partition.
Memory: one file at a time is held, and what Kafka has not confirmed yet.

A file is whole when nothing about it has changed from one look to the next, or when the marker that the sender puts
beside it is there. What was taken is known by name, size and time of change; so a file that is written anew under the
same name is another one. Names may hold patient data: what is logged is a hash of them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import structlog
import xxhash

from connectors.records import (
    BATCH,
    CONTENT_TYPE,
    OBJECT_PATH,
    OBJECT_SHA256,
    OBJECT_SIZE,
    RECEIVED_AT,
    SOURCE,
    Record,
    timestamp,
)
from connectors.routing import OBJECT_THRESHOLD, PutObject, StoredObject, store_large
from lake_layout.fail_points import fail_point
from lake_layout.objects import ObjectStore
from schemas.errors import LakeError, TransportError
from schemas.lab import RESULT_FILE
from schemas.source import Source

log = structlog.get_logger(__name__)

LAB_TOPIC: Final = "raw.lab"
TOGETHER: Final = 64
"""So many files are sent before they are marked as taken."""
BYTES_TOGETHER: Final = 32 * 1024 * 1024
"""And so many bytes of them, one file at least."""

FAULTS: Final = MappingProxyType(
    {
        "COLLECT-FOLDER": "the folder or prefix cannot be listed: see that it is there and may be read",
        "COLLECT-UNREADABLE": "the file cannot be read: see its permissions",
        "COLLECT-VANISHED": "the file was gone before it was read",
        "COLLECT-CHANGED": "the file changed while it was read; it is looked at again",
        "COLLECT-TOO-LARGE": "the file is larger than the source's size_limit",
        "COLLECT-NOT-MOVED": "the file was taken and cannot be moved: see the permissions of both folders",
    }
)
"""What can be wrong with a file, or with where they are dropped; the others go on."""

PASSING: Final = frozenset({"COLLECT-VANISHED", "COLLECT-CHANGED"})
"""What says nothing of what an operator should do."""


class FileFault(Exception):  # noqa: N818 - named for what it tells
    """A file cannot be taken now.

    Args:
        code: of ``FAULTS``.
        kind: name of the system's error, where there is one.
    """

    def __init__(self, code: str, kind: str = "") -> None:
        super().__init__(code)
        self.code, self.kind = code, kind


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file as it was found.

    Attributes:
        name: within the folder or below the prefix. May hold patient data.
        size: bytes.
        changed: when it was last written, nanoseconds since 1970.
    """

    name: str
    size: int
    changed: int

    @property
    def key(self) -> str:
        """What it is known by once it was taken."""
        return xxhash.xxh3_128_hexdigest(
            f"{self.name}\0{self.size}\0{self.changed}".encode("utf-8", "surrogateescape")
        )

    @property
    def mark(self) -> str:
        """What it is called where people read it."""
        return xxhash.xxh3_64_hexdigest(self.name.encode("utf-8", "surrogateescape"))


class Drop(Protocol):
    """Where files are dropped."""

    def look(self) -> Iterable[str | Dropped]:
        """What lies there: files, and the bare names of all things, among them markers."""

    def read(self, file: Dropped) -> bytes:
        """The bytes of a file that is as it was found; FileFault else."""


@dataclass(frozen=True)
class FolderDrop:
    """A folder; what lies in folders below it, and links, are left alone."""

    folder: Path

    def look(self) -> Iterator[str | Dropped]:
        """See ``Drop``.

        Raises:
            FileFault: ``COLLECT-FOLDER``.
        """
        try:
            with os.scandir(self.folder) as entries:
                found = list(entries)
        except OSError as error:
            raise FileFault("COLLECT-FOLDER", _kind(error)) from None
        for entry in found:
            yield entry.name
            try:
                if entry.is_file(follow_symlinks=False):
                    facts = entry.stat(follow_symlinks=False)
                    yield Dropped(entry.name, facts.st_size, facts.st_mtime_ns)
            except OSError:
                continue  # gone since it was listed

    def read(self, file: Dropped) -> bytes:
        """See ``Drop``."""
        try:
            # a pipe that took the file's place would never end
            descriptor = os.open(self.folder / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as stream:  # noqa: PTH123 - of a descriptor
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode) or (facts.st_size, facts.st_mtime_ns) != (
                    file.size,
                    file.changed,
                ):
                    raise FileFault("COLLECT-CHANGED")
                data = stream.read(file.size + 1)
                facts = os.fstat(descriptor)
        except FileNotFoundError:
            raise FileFault("COLLECT-VANISHED") from None
        except OSError as error:
            raise FileFault("COLLECT-UNREADABLE", _kind(error)) from None
        if len(data) != file.size or facts.st_mtime_ns != file.changed:
            raise FileFault("COLLECT-CHANGED")
        return data


@dataclass(frozen=True)
class StoreDrop:
    """Objects directly below a prefix of a bucket."""

    store: ObjectStore

    def look(self) -> Iterator[str | Dropped]:
        """See ``Drop``.

        Raises:
            FileFault: ``COLLECT-FOLDER``.
        """
        try:
            for one in self.store.list(""):
                if "/" not in one.path.strip("/"):
                    yield one.path
                    yield Dropped(one.path, one.size, int(one.modified.timestamp() * 1_000_000) * 1000)
        except (LakeError, TransportError) as error:
            raise FileFault("COLLECT-FOLDER", error.code) from None

    def read(self, file: Dropped) -> bytes:
        """See ``Drop``."""
        try:
            data = self.store.get_or_none(file.name)
        except (LakeError, TransportError) as error:
            raise FileFault("COLLECT-UNREADABLE", error.code) from None
        if data is None:
            raise FileFault("COLLECT-VANISHED")
        if len(data) != file.size:
            raise FileFault("COLLECT-CHANGED")
        return data


@dataclass
class Taken:
    """What was taken: an empty object in the lake for each file.

    Attributes:
        store: of the lake.
        source: whose files.
    """

    store: ObjectStore
    source: str
    _known: set[str] | None = None

    @property
    def _folder(self) -> str:
        return f"collected/{self.source}/"

    def __contains__(self, file: Dropped) -> bool:
        if self._known is None:
            self._known = {one.path.rpartition("/")[2] for one in self.store.list(self._folder)}
        return file.key in self._known

    def mark(self, file: Dropped) -> None:
        """Note that a file was taken; doing so again changes nothing."""
        self.store.put(self._folder + file.key, b"")
        if self._known is not None:
            self._known.add(file.key)


@dataclass
class Tally:
    """What a round did.

    Attributes:
        taken: files that Kafka has now.
        known: files that were taken before.
        waiting: files that may not be whole yet.
        faults: how many of each code.
    """

    taken: int = 0
    known: int = 0
    waiting: int = 0
    bytes: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether nothing is left that somebody should see to."""
        return not any(code not in PASSING for code in self.faults)


Deliver = Callable[[Iterable[Record], Callable[[Record], object]], object]
"""Sends records in order and returns when Kafka confirmed them all; calls back for each that it has."""


@dataclass
class Collector:
    """Takes the files of one source.

    Attributes:
        source: whose.
        drop: where they are dropped.
        taken: what was taken before.
        deliver: sends records.
        put: writes an object, for files over ``threshold``.
        pattern: names of files, such as ``*.csv``.
        marker: what follows a file's name in that of the marker beside it; empty: a file is whole when it has not
            changed from one look to the next.
        topic: the raw topic.
        threshold: the largest file in bytes that goes into a record.
        move_to: folder that taken files are moved to (of a folder only).
    """

    source: Source
    drop: Drop
    taken: Taken
    deliver: Deliver
    put: PutObject
    pattern: str = "*"
    marker: str = ""
    topic: str = LAB_TOPIC
    threshold: int = OBJECT_THRESHOLD
    move_to: Path | None = None
    _before: Mapping[str, Dropped] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def round(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Tally:
        """Look, and take what is whole.

        Raises:
            TransportError, ConfigError: Kafka or the lake's store do not take it; what was taken is marked.
        """
        tally = Tally()
        try:
            names, files = self._found()
        except FileFault as fault:
            self._note(tally, fault, None)
            return tally
        whole: list[Dropped] = []
        for file in files:
            if file in self.taken:
                tally.known += 1
                self._put_away(tally, file)
            elif file.size > self.source.size_limit:
                self._note(tally, FileFault("COLLECT-TOO-LARGE"), file)
            elif self._is_whole(file, names):
                whole.append(file)
            else:
                tally.waiting += 1
        self._before = {file.name: file for file in files}
        for some in _together(sorted(whole, key=lambda file: (file.changed, file.name))):
            self._send(some, tally, clock)
        return tally

    def _found(self) -> tuple[set[str], list[Dropped]]:
        names: set[str] = set()
        files: list[Dropped] = []
        for one in self.drop.look():
            if isinstance(one, str):
                names.add(one)
            elif self._is_wanted(one.name) and one.size:
                files.append(one)
        return names, files

    def _is_wanted(self, name: str) -> bool:
        if name.startswith(".") or (self.marker and name.endswith(self.marker)):
            return False
        return fnmatchcase(name, self.pattern)

    def _is_whole(self, file: Dropped, names: set[str]) -> bool:
        if self.marker:
            return file.name + self.marker in names
        return self._before.get(file.name) == file

    def _send(self, files: Sequence[Dropped], tally: Tally, clock: Callable[[], datetime]) -> None:
        by_key = {file.key: file for file in files}
        sent: list[Dropped] = []

        def delivered(record: Record) -> None:
            sent.append(by_key[dict(record.headers)[BATCH].decode()])

        try:
            self.deliver(self._records(files, tally, clock), delivered)
        finally:
            if sent:
                fail_point("files-sent")
            for file in sent:
                self.taken.mark(file)
                tally.taken += 1
                tally.bytes += file.size
                log.info("result_file_taken", source=self.source.name, file=file.mark, bytes=file.size)
                fail_point("file-marked")
                self._put_away(tally, file)

    def _records(
        self, files: Sequence[Dropped], tally: Tally, clock: Callable[[], datetime]
    ) -> Iterator[Record]:
        for file in files:
            try:
                data = self.drop.read(file)
            except FileFault as fault:
                self._note(tally, fault, file)
                continue
            stored = store_large(data, self.put, "lab") if len(data) > self.threshold else None
            yield file_record(data, self.source, clock(), self.topic, batch=file.key, stored=stored)

    def _put_away(self, tally: Tally, file: Dropped) -> None:
        """Move a file that was taken, where that is wanted; what a crash left undone is done at the next look."""
        if self.move_to is None or not isinstance(self.drop, FolderDrop):
            return
        try:
            self.move_to.mkdir(parents=True, exist_ok=True)
            to = self.move_to / file.name
            if to.exists():
                to = self.move_to / f"{file.key[:8]}-{file.name}"
            (self.drop.folder / file.name).rename(to)
            if self.marker:
                (self.drop.folder / (file.name + self.marker)).unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            self._note(tally, FileFault("COLLECT-NOT-MOVED", _kind(error)), file)

    def _note(self, tally: Tally, fault: FileFault, file: Dropped | None) -> None:
        tally.faults[fault.code] += 1
        told = (file.key if file is not None else "", fault.code)
        if told in self._told:  # a file that nobody sees to is not told of at every look
            return
        self._told.add(told)
        about = {"file": file.mark, "bytes": file.size} if file is not None else {}
        log.warning(
            "result_file_not_taken", source=self.source.name, code=fault.code, kind=fault.kind, what=FAULTS[fault.code],
            **about,
        )  # fmt: skip


def file_record(
    data: bytes,
    source: Source,
    received_at: datetime,
    topic: str = LAB_TOPIC,
    *,
    batch: str = "",
    stored: StoredObject | None = None,
    content_type: str = RESULT_FILE,
) -> Record:
    """The record of a whole file.

    Args:
        data: its bytes.
        source: who dropped it; the record's key too, so that files of a source stay in order.
        received_at: when it was read.
        topic: the raw topic.
        batch: what the file is known by.
        stored: where the bytes went if they were too large for a record; the value is then empty.
        content_type: what kind of message it is.
    """
    headers = [
        (SOURCE, source.name.encode()),
        (CONTENT_TYPE, content_type.encode()),
        (RECEIVED_AT, timestamp(received_at)),
    ]
    if batch:
        headers.append((BATCH, batch.encode()))
    if stored is not None:
        headers += [
            (OBJECT_PATH, stored.path.encode()),
            (OBJECT_SIZE, str(stored.size).encode()),
            (OBJECT_SHA256, stored.sha256.encode()),
        ]
    return Record(topic, source.name.encode(), b"" if stored else data, tuple(headers))


def _together(files: Sequence[Dropped]) -> Iterator[list[Dropped]]:
    some: list[Dropped] = []
    for file in files:
        if some and (len(some) == TOGETHER or sum(one.size for one in some) + file.size > BYTES_TOGETHER):
            yield some
            some = []
        some.append(file)
    if some:
        yield some


def _kind(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
