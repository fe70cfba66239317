"""Archives full of DICOM → the headers of their objects, as records for Kafka; the objects stay where they are.

Delivery: every header at least once; a second run takes what the first did not, as its caller remembers what was
    delivered. The lake takes a header only once, so one that is sent again changes nothing.
Ordering: as the archive is listed; of one object none, it has one record.
Memory: some hundred headers at a time, of which those that are too large for Kafka went to the store already.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from connectors.dicom.dicomdir import named, referenced
from connectors.dicom.header import DICOMDIR_CLASS, MEDIA_CLASS, Cut, NotDicom, read_header
from connectors.dicom.places import Found, PlaceError, Read
from connectors.dicom.record import Attachment, record_of
from connectors.records import Record
from connectors.routing import OBJECT_THRESHOLD, PutObject, store_large
from schemas.source import Source

FINDINGS: Final[dict[str, str]] = {
    "HARVEST-NOT-DICOM": "no DICOM object; left out",
    "HARVEST-EMPTY": "has no bytes; left out",
    "HARVEST-NO-FILE": "a link to a folder, a pipe or a device; left out",
    "HARVEST-CUT-SHORT": "broken, or its header is larger than 32 MiB; sent as far as it goes",
    "HARVEST-UNREADABLE": "may not or cannot be read; left out",
    "HARVEST-VANISHED": "gone since it was listed; left out",
    "HARVEST-CHANGED": "changed while it was read; left out, run again",
    "HARVEST-ZIP": "a ZIP file, or a part of one, that is damaged, encrypted or packed in an unknown way; left out",
    "HARVEST-NOT-ON-MEDIUM": "named by a DICOMDIR and not there",
    "HARVEST-DICOMDIR": "a DICOMDIR that cannot be read; what lies beside it was taken all the same",
}
"""Code → what it means."""

LEFT_OUT: Final = frozenset(
    {
        "HARVEST-UNREADABLE", "HARVEST-VANISHED", "HARVEST-CHANGED", "HARVEST-ZIP", "HARVEST-NOT-ON-MEDIUM",
        "HARVEST-DICOMDIR",
    }
)  # fmt: skip
"""Findings of something that should have been taken and was not."""

SETTLED: Final = frozenset({"", "HARVEST-NOT-DICOM", "HARVEST-EMPTY", "HARVEST-CUT-SHORT"})
"""Of what a later run need not look at again until it changes."""

HEADER_LIMIT: Final = 32 * 1024 * 1024
CHUNK: Final = 64
"""Things that a reader takes at a time."""
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CHUNKS_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class HeaderRecord(Record):
    """The record of a header.

    Attributes:
        found: what it is the header of.
    """

    found: Found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of something found.

    Attributes:
        found: it.
        code: one of ``FINDINGS``; empty where there is nothing to say.
        record: its header, None where it has none.
        header_bytes: of the header.
        is_object: whether the header went to the store.
        is_dicomdir: whether it is a medium's directory.
        missing: names of what a DICOMDIR names and the medium does not hold.
    """

    found: Found
    code: str = ""
    record: HeaderRecord | None = None
    header_bytes: int = 0
    is_object: bool = False
    is_dicomdir: bool = False
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """Looks at what is found.

    Attributes:
        source: the sender that the headers count as.
        topic: where records go.
        first: bytes to begin reading with.
        put: takes headers that are too large for Kafka.
        threshold: bytes; larger headers go there.
        clock: the time of receipt.
    """

    source: Source
    topic: str
    first: int
    put: PutObject
    threshold: int = OBJECT_THRESHOLD
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __call__(self, found: Found) -> Outcome:
        """Read a thing's header.

        Raises:
            TransportError, LakeError: the store does not answer, or refuses altogether.
        """
        if found.fault:
            return Outcome(found, found.fault)
        if not found.size:
            return Outcome(found, "HARVEST-EMPTY")
        try:
            with found.open() as read:
                cut = read_header(read, found.size, HEADER_LIMIT, self.first)
            if isinstance(cut, NotDicom):
                return Outcome(found, "HARVEST-NOT-DICOM")
            if cut.text(MEDIA_CLASS) == DICOMDIR_CLASS:
                return _directory(found)
        except PlaceError as error:
            return Outcome(found, error.code)
        record, is_object = self._record(found, cut)
        code = "" if cut.whole else "HARVEST-CUT-SHORT"
        return Outcome(found, code, record, len(cut.header), is_object=is_object)

    def _record(self, found: Found, cut: Cut) -> tuple[HeaderRecord, bool]:
        stored = None
        if len(cut.header) > self.threshold:
            stored = store_large(cut.header, self.put, modality="dicom")
        read_whole = len(cut.header) == cut.at == found.size  # an object without pixel data is its own header
        digest = hashlib.sha256(cut.header).hexdigest() if read_whole else ""
        attachment = Attachment(found.uri, found.size, digest, found.etag)
        record = record_of(cut, self.source, self.clock(), attachment, stored, self.topic)
        whole = HeaderRecord(record.topic, record.key, record.value, record.headers, found)
        return whole, stored is not None


def _directory(found: Found) -> Outcome:
    """What a DICOMDIR names and is not there; it is no instance itself."""
    with found.open() as read:
        names = referenced(_all_of(read, found.size)) if found.size <= HEADER_LIMIT else None
    if names is None:
        return Outcome(found, "HARVEST-DICOMDIR", is_dicomdir=True)
    if found.medium is None or not names:
        return Outcome(found, is_dicomdir=True)
    missing = set(names)
    for name in found.medium():
        missing.discard(named(name))
    code = "HARVEST-NOT-ON-MEDIUM" if missing else ""
    return Outcome(found, code, is_dicomdir=True, missing=tuple(sorted(missing)))


def _all_of(read: Read, size: int) -> bytes:
    parts = [read(size)]
    while parts[-1] and sum(map(len, parts)) < size:
        parts.append(read(size))
    return b"".join(parts)


def outcomes(
    found: Iterable[Found],
    known: Callable[[Sequence[Found]], Sequence[bool]],
    look: Callable[[Found], Outcome],
    workers: int,
) -> Iterator[Outcome | None]:
    """What becomes of all that is found, in its order; None for each thing that is known already.

    Args:
        found: what a place holds.
        known: tells of some things whether a former run has settled them.
        look: reads one.
        workers: how many at a time; with 1 they are read by the caller's thread.
    """
    listed = iter(found)
    if workers <= 1:
        while chunk := list(islice(listed, CHUNK)):
            for one, is_known in zip(chunk, known(chunk), strict=True):
                yield None if is_known else look(one)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="harvest")
    under_way: deque[Future[_Share]] = deque()
    try:
        ended = False
        while under_way or not ended:
            while not ended and len(under_way) < _CHUNKS_AHEAD * workers:
                chunk = list(islice(listed, CHUNK))
                ended = not chunk
                if chunk:
                    flags = known(chunk)
                    yield from (None for is_known in flags if is_known)
                    new = [one for one, is_known in zip(chunk, flags, strict=True) if not is_known]
                    under_way.append(pool.submit(_share, new, look))
            if under_way:
                share = under_way.popleft().result()
                if share.left:
                    under_way.appendleft(pool.submit(_share, share.left, look))
                yield from share.outcomes
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Share:
    """What a reader did of what it was given.

    Attributes:
        outcomes: of what it looked at.
        left: what it did not look at, as its headers were larger than usual.
    """

    outcomes: list[Outcome]
    left: list[Found]


def _share(some: list[Found], look: Callable[[Found], Outcome]) -> _Share:
    done: list[Outcome] = []
    held = 0
    for number, one in enumerate(some):
        if held > _CHUNK_BYTES:
            return _Share(done, some[number:])
        done.append(look(one))
        held += done[-1].header_bytes
    return _Share(done, [])
