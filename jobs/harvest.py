"""Take in the headers of an archive: where it lies, what becomes of each thing in it, and the count of that.

Delivery: see ``connectors.dicom.harvest``; what Kafka confirmed is remembered (``jobs.harvested``), so a run that was
    broken off is gone on with by the same command.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes, urlsplit

import xxhash

from connectors.dicom.harvest import LEFT_OUT, SETTLED, HeaderRecord, Look, Outcome, outcomes
from connectors.dicom.places import FolderPlace, Found, Place
from connectors.records import Record
from jobs.harvested import Harvested
from jobs.load_files import Deliver
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from jobs.settings import Settings

NAMED: Final = 10
"""Things of each finding that a report names."""


@dataclass
class Tally:
    """What a run did so far.

    Attributes:
        known: things that a former run settled.
        looked_at: all others.
        headers: headers found.
        header_bytes: of all of them.
        objects: headers too large for a Kafka record, which went to the store.
        delivered: records that Kafka confirmed.
        dicomdirs: directories of media.
        findings: how many of each code.
        named: hashes of the names of the first ``NAMED`` of each code.
        total: things in the archive, as far as they were counted.
        counted: whether that is all.
    """

    known: int = 0
    looked_at: int = 0
    headers: int = 0
    header_bytes: int = 0
    objects: int = 0
    delivered: int = 0
    dicomdirs: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    total: int = 0
    counted: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything that should be taken was."""
        return not any(self.findings[code] for code in LEFT_OUT)


def name_hash(uri: str) -> str:
    """What stands for a name that may name a patient."""
    return xxhash.xxh3_64_hexdigest(uri.encode("utf-8", "surrogateescape"))


def place_of(uri: str, settings: Settings) -> Place:
    """The archive that a URI names.

    Raises:
        ConfigError: ``HARVEST-URI``: there is nothing, or it is no URI of a kind that is known; ``SERVICES-NOT-UP``.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == "s3":
        from connectors.dicom.s3_place import S3Place

        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError("HARVEST-URI", "give s3://bucket/prefix", setting="URI")
        return S3Place(replace(settings.lake_location(), uri=f"s3://{bucket}/"), prefix)
    if scheme not in ("", "file"):
        raise ConfigError(
            "HARVEST-URI", "give a folder, a file, file:///… or s3://bucket/prefix", setting="URI"
        )
    return FolderPlace.of(unquote_to_bytes(uri.removeprefix("file://")) if scheme else os.fsencode(uri))


def harvest(
    place: Place,
    look: Look,
    deliver: Deliver,
    harvested: Harvested,
    tally: Tally,
    *,
    workers: int | None = None,
    limit: int | None = None,
    names: IO[str] | None = None,
    follow: Callable[[Iterator[Outcome | None]], Iterator[Outcome | None]] = lambda passing: passing,
) -> None:
    """Send the headers of an archive; ``tally`` is kept up to date on the way, after an error too.

    Args:
        place: the archive.
        look: reads a thing's header.
        deliver: sends records; raises TransportError where it could not.
        harvested: what is settled; what Kafka confirms is added.
        tally: where to count.
        workers: readers at a time, else as many as pay for such a place.
        limit: the most things to look at.
        names: is written a line for each finding: code, hash of the name, name.
        follow: what comes by is passed through it, to show how far it is.

    Raises:
        TransportError: Kafka or the store does not answer.
    """

    def known(some: Sequence[Found]) -> list[bool]:
        flags = harvested.known(some)
        tally.known += sum(flags)
        return flags

    def delivered(record: Record) -> None:
        tally.delivered += 1
        assert isinstance(record, HeaderRecord)
        harvested.settle(record.found)

    def records() -> Iterator[Record]:
        passing = outcomes(place.found(), known, look, workers or place.workers)
        looked_at = (outcome for outcome in follow(passing) if outcome is not None)
        for outcome in islice(looked_at, limit):
            _count(outcome, tally, names)
            if outcome.record is not None:
                yield outcome.record
            elif outcome.code in SETTLED and not outcome.is_dicomdir:
                harvested.settle(outcome.found)

    deliver(records(), delivered)


def _count(outcome: Outcome, tally: Tally, names: IO[str] | None) -> None:
    tally.looked_at += 1
    tally.headers += outcome.record is not None
    tally.header_bytes += outcome.header_bytes
    tally.objects += outcome.is_object
    tally.dicomdirs += outcome.is_dicomdir
    if not outcome.code:
        return
    folder = outcome.found.uri.rpartition("/")[0]
    uris = [f"{folder}/{name}" for name in outcome.missing] or [outcome.found.uri]
    tally.findings[outcome.code] += len(uris)
    shown = tally.named.setdefault(outcome.code, [])
    shown += [name_hash(uri) for uri in uris[: NAMED - len(shown)]]
    if names is not None:
        for uri in uris:
            plain = uri.encode("utf-8", "backslashreplace").decode()
            names.write(f"{outcome.code}\t{name_hash(uri)}\t{plain}\n")
