"""Send files of HL7 v2 messages to Kafka: find the files, cut them, make records, keep count.

Delivery: every message at least once. A run that was broken off is repeated as a whole; the tables take a
    message only once, since its identity is its source and header and not where it came from.
Ordering: files in the order of their paths, messages in the order of the file, per Kafka partition.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Protocol

import structlog
import xxhash

from connectors.hl7_files import SKIPPED, FileMessage, Finding, Readable, read_messages
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, PutObject, StoredObject, record_for, store_large
from schemas.errors import MessageError
from schemas.hl7v2.header import Header, read_header
from schemas.source import Source

log = structlog.get_logger(__name__)

DETAILS_KEPT: Final = 1000
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to be loaded.

    Attributes:
        path: where it is.
        size: bytes, as the folder says.
        foreign: it was found in a folder and not named itself, so it may be anything.
        readable: False where it is known already that it cannot be read.
    """

    path: Path
    size: int
    foreign: bool
    readable: bool = True


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A finding and the file it is about."""

    file: Path
    finding: Finding


@dataclass
class Tally:
    """What a run did so far.

    Attributes:
        files: files read to their end.
        unreadable: files that could not be read, or not to their end.
        messages: messages found, with what only goes to quarantine.
        delivered: records that Kafka confirmed.
        objects: messages too large for a record, whose bytes went to the object store.
        message_bytes: bytes of the messages.
        file_bytes: bytes of the files that were read.
        findings: how many of each code.
        details: the first ``DETAILS_KEPT`` findings with file and position.
    """

    files: int = 0
    unreadable: int = 0
    messages: int = 0
    delivered: int = 0
    objects: int = 0
    message_bytes: int = 0
    file_bytes: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    details: list[FileFinding] = field(default_factory=list)

    def note(self, path: Path, finding: Finding) -> None:
        self.findings[finding.code] += 1
        if len(self.details) < DETAILS_KEPT:
            self.details.append(FileFinding(path, finding))

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is in Kafka."""
        return not any(self.findings[code] for code in SKIPPED)


class Deliver(Protocol):
    """Sends records in order with bounded memory and returns when Kafka confirmed them all."""

    def __call__(self, records: Iterable[Record], on_delivered: Callable[[Record], object]) -> object: ...


def load_files(
    files: Iterable[FoundFile],
    source: Source,
    deliver: Deliver,
    put: PutObject,
    tally: Tally,
    *,
    batch_id: str | None = None,
    topic: str,
    threshold: int = OBJECT_THRESHOLD,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Send all messages of the files; ``tally`` is kept up to date on the way, after an error too.

    Args:
        files: what ``find_files`` found.
        source: who the messages come from.
        deliver: sends records; raises TransportError where it could not.
        put: writes an object, for messages over ``threshold``.
        tally: where to count.
        batch_id: goes to the ``batch`` header in place of the file's hash.
        topic: the raw topic.
        threshold: the largest message in bytes that goes into a record.
        clock: the time of receipt.

    Raises:
        TransportError: Kafka or the object store does not answer.
    """

    def delivered(_record: Record) -> None:
        tally.delivered += 1

    records = (
        _record_of(message, source, clock(), batch, put, tally, topic, threshold)
        for message, batch in messages_of(files, source, tally, batch_id)
    )
    deliver(records, delivered)


def messages_of(
    files: Iterable[FoundFile], source: Source, tally: Tally, batch_id: str | None = None
) -> Iterator[tuple[FileMessage, str]]:
    """All messages of the files, each with what stands in its ``batch`` header; findings go to ``tally``.

    A file that cannot be read is a finding and the others go on. What was read of it before the fault is
    sent: loading it again takes in the rest.
    """
    for file in files:
        try:
            if not file.readable:
                raise FileNotFoundError
            with file.path.open("rb") as stream:
                batch = batch_id or file_id(stream)
                yield from _messages_in(_Counted(stream, tally), file, source, tally, batch)
        except OSError as error:
            tally.unreadable += 1
            tally.note(file.path, Finding("FILE-UNREADABLE", 0))
            log.debug("file_unreadable", kind=type(error).__name__, errno=error.errno or 0)
        else:
            tally.files += 1


def _messages_in(
    stream: Readable, file: FoundFile, source: Source, tally: Tally, batch: str
) -> Iterator[tuple[FileMessage, str]]:
    for item in read_messages(stream, source.size_limit, source.charset, foreign=file.foreign):
        if isinstance(item, Finding):
            tally.note(file.path, item)
            continue
        tally.messages += 1
        tally.message_bytes += len(item.data)
        yield item, f"{batch}/{item.batch}" if item.batch else batch


def file_id(stream: IO[bytes]) -> str:
    """What names a file by its content: 128 bits of xxh3 in hexadecimal. Its name may name a patient."""
    digest = xxhash.xxh3_128()
    while block := stream.read(_BLOCK):
        digest.update(block)
    stream.seek(0)
    return digest.hexdigest()


def _record_of(
    message: FileMessage,
    source: Source,
    received_at: datetime,
    batch: str,
    put: PutObject,
    tally: Tally,
    topic: str,
    threshold: int,
) -> Record:
    stored: StoredObject | None = None
    if len(message.data) > threshold:
        stored = store_large(message.data, put)
        tally.objects += 1
    header = _header(message, source)
    return record_for(message.data, header, source, received_at, batch, stored=stored, topic=topic)


def _header(message: FileMessage, source: Source) -> Header | None:
    if not message.is_message:
        return None
    try:
        return read_header(message.data, source.charset)
    except MessageError:
        return None  # it goes on all the same: what is wrong with it is said in quarantine


def find_files(paths: Sequence[Path]) -> list[FoundFile]:
    """Files that were named and, below folders that were named, all but hidden ones; each once, in order.

    Links to folders below a folder are not followed, so that no cycle can arise.
    """
    found: dict[Path, FoundFile] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else [_named(path)]:
            known = found.get(file.path)
            if known is None or known.foreign:
                found[file.path] = file
    return list(found.values())


def _named(path: Path, *, foreign: bool = False) -> FoundFile:
    try:
        facts = path.stat()
    except OSError:
        return FoundFile(path, 0, foreign, readable=False)
    # reading a pipe or a device may never end
    return FoundFile(path, facts.st_size, foreign, readable=stat.S_ISREG(facts.st_mode))


def _below(folder: Path) -> Iterator[FoundFile]:
    closed: list[Path] = []

    def refused(error: OSError) -> None:
        closed.append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield _named(Path(place, name), foreign=True)
    for path in closed:
        yield FoundFile(path, 0, foreign=True, readable=False)


class _Counted:
    """A file that counts what is read from it."""

    def __init__(self, stream: IO[bytes], tally: Tally) -> None:
        self._stream, self._tally = stream, tally

    def read(self, size: int = -1, /) -> bytes:
        block = self._stream.read(size)
        self._tally.file_bytes += len(block)
        return block
