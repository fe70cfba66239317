"""An object that comes by C-STORE: judged, kept in the lake, told to Kafka."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Protocol

from connectors.dicom.commands import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    CANNOT_UNDERSTAND,
    INVALID_INSTANCE,
    MISMATCH,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    Command,
)
from connectors.dicom.header import DEFLATED, SOP_CLASS, SOP_INSTANCE, Cut, More, NotDicom, find_cut
from connectors.dicom.metrics import RECEIVED, RECEIVED_BYTES
from connectors.dicom.part10 import file_head
from connectors.dicom.record import DICOM_TOPIC, Attachment, record_of
from connectors.dicom.spool import Spool
from connectors.dicom.upper_layer import Context
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, StoredObject
from schemas.errors import IngestError
from schemas.modality import object_path
from schemas.source import Source

TOO_LARGE: Final = "DICOM-TOO-LARGE"
_UID_CHARACTERS: Final = frozenset("0123456789.")
_BEGINNING: Final = 64 * 1024
_DEFLATED_LIMIT: Final = 64 * 1024 * 1024
"""The most bytes that are looked at for the header of a deflated data set."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a C-STORE response, and a stable code of why it is no success."""

    status: int
    reason: str = ""


class PutFile(Protocol):
    """Writes a file's first ``size`` bytes to a path below the lake's root where nothing is there yet."""

    def __call__(self, path: str, file: IO[bytes], size: int, sha256: str) -> object:
        """Write it.

        Raises:
            IngestError: it could not be written.
        """


@dataclass(frozen=True)
class Keep:
    """Where objects go.

    Attributes:
        put: to the lake's store.
        deliver: to Kafka; returns when it is confirmed.
        topic: the raw topic.
        threshold: bytes; a larger header goes to the store too.
        folder: for objects on their way in.
    """

    put: PutFile
    deliver: Callable[[Record], object]
    folder: Path
    topic: str = DICOM_TOPIC
    threshold: int = OBJECT_THRESHOLD


class Incoming:
    """An object that is coming in.

    A fault does not end its transfer, which the protocol has no means for: the rest is read and dropped, and the
    answer says why.
    """

    def __init__(self, context: Context, source: Source) -> None:
        self._context = context
        self._source = source
        self._class = self._instance = ""
        self._spool: Spool | None = None
        self._refused: Answer | None = None

    @classmethod
    def of(cls, command: Command, context: Context, source: Source, spool: Path) -> Incoming:
        """What a C-STORE request announces (PS3.7 §9.1.1)."""
        one = cls(context, source)
        one._class = command.text(AFFECTED_SOP_CLASS)
        one._instance = command.text(AFFECTED_SOP_INSTANCE)
        if one._class != context.abstract_syntax:
            one._refused = Answer(SOP_CLASS_NOT_SUPPORTED, "DICOM-SOP-CLASS-OF-CONTEXT")
        elif not is_uid(one._instance):
            one._refused = Answer(INVALID_INSTANCE, "DICOM-SOP-INSTANCE-INVALID")
        elif not command.has_data_set:
            one._refused = Answer(CANNOT_UNDERSTAND, "DICOM-NO-DATA-SET")
        else:
            one._begin(spool)
        return one

    def _begin(self, folder: Path) -> None:
        head = file_head(self._class, self._instance, self._context.transfer_syntax)
        try:
            self._spool = Spool(folder, self._source.size_limit)
        except OSError:
            self._refuse("DICOM-SPOOL")
            return
        self.write(head)

    @property
    def size(self) -> int:
        """Bytes that were taken in."""
        return 0 if self._spool is None else self._spool.size

    def write(self, data: bytes | memoryview) -> None:
        """Take in bytes of its data set."""
        if self._spool is None or self._refused is not None:
            return
        try:
            if not self._spool.write(data):
                self._refuse(TOO_LARGE)
        except OSError:
            self._refuse("DICOM-SPOOL")

    def _refuse(self, reason: str) -> None:
        self._refused = Answer(OUT_OF_RESOURCES, reason)
        self.close()

    def close(self) -> None:
        """Give back what it holds; may be called again."""
        if self._spool is not None:
            self._spool.close()

    def finished(self, keep: Keep) -> Answer:
        """All of it is there: keep it.

        Returns:
            Success where both the lake and Kafka have it.
        """
        received_at = datetime.now(UTC)
        if self._refused is not None or self._spool is None:
            return self._refused or Answer(OUT_OF_RESOURCES, "DICOM-SPOOL")
        try:
            digest = self._spool.finish()
            size, file = self._spool.size, self._spool.file
            found = self._cut(file, size, keep.threshold)
            refused = self._judged(found)
            if refused is not None:
                return refused
            RECEIVED.labels(self._source.name).inc()
            RECEIVED_BYTES.labels(self._source.name).inc(size)
            stored = StoredObject(object_path("dicom", digest), size, digest)
            keep.put(stored.path, file, size, digest)
            header = self._stored_header(found, stored, keep)
            attachment = Attachment(stored.path, size, digest)
            keep.deliver(record_of(found, self._source, received_at, attachment, header, keep.topic))
        except IngestError as error:
            return Answer(OUT_OF_RESOURCES, error.code)
        except OSError:
            return Answer(OUT_OF_RESOURCES, "DICOM-SPOOL")
        return Answer(SUCCESS)

    def _cut(self, file: IO[bytes], size: int, threshold: int) -> Cut:
        """The header; a file is looked at in place, and a header that is too large for Kafka not copied."""
        if self._context.transfer_syntax in DEFLATED:
            found = _cut_of_deflated(file.fileno(), size)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                found = find_cut(data, ended=True, kept=threshold)
        if isinstance(found, More):
            return found.so_far
        return Cut(b"", 0, whole=False) if isinstance(found, NotDicom) else found

    def _judged(self, found: Cut) -> Answer | None:
        sop_class, sop_instance = found.text(SOP_CLASS), found.text(SOP_INSTANCE)
        if not sop_class or not sop_instance:
            return Answer(CANNOT_UNDERSTAND, "DICOM-CANNOT-UNDERSTAND")
        if sop_class != self._class:
            return Answer(MISMATCH, "DICOM-SOP-CLASS-MISMATCH")
        if sop_instance != self._instance:
            return Answer(MISMATCH, "DICOM-SOP-INSTANCE-MISMATCH")
        return None

    def _stored_header(self, found: Cut, stored: StoredObject, keep: Keep) -> StoredObject | None:
        """Where a header that is too large for Kafka lies; one without pixel data after it is the object itself."""
        assert self._spool is not None
        if found.header and len(found.header) <= keep.threshold:
            return None
        if found.header:
            with tempfile.TemporaryFile(dir=keep.folder) as file:
                file.write(found.header)
                file.flush()
                return _put_header(file, len(found.header), keep)
        return stored if found.at == stored.size else _put_header(self._spool.file, found.at, keep)


def _cut_of_deflated(descriptor: int, size: int) -> Cut | More | NotDicom:
    seen = _BEGINNING
    while True:
        data = os.pread(descriptor, seen, 0)
        found = find_cut(data, ended=len(data) == size)
        if not isinstance(found, More) or len(data) == size or seen >= _DEFLATED_LIMIT:
            return found
        seen *= 4


def _put_header(file: IO[bytes], size: int, keep: Keep) -> StoredObject:
    digest = digest_of(file, size)
    path = object_path("dicom", digest)
    keep.put(path, file, size, digest)
    return StoredObject(path, size, digest)


def is_uid(text: str) -> bool:
    """Whether a text is a UID, as far as it matters here (PS3.5 §9.1)."""
    return 0 < len(text) <= 64 and _UID_CHARACTERS.issuperset(text)


def digest_of(file: IO[bytes], size: int) -> str:
    """SHA-256 of a file's first bytes, in hexadecimal."""
    state = hashlib.sha256()
    at = 0
    while at < size and (data := os.pread(file.fileno(), min(size - at, 1024 * 1024), at)):
        state.update(data)
        at += len(data)
    return state.hexdigest()
