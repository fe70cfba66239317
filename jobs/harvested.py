"""What former harvests have settled, so that a run goes on where the last one was, however that ended.

A file of the state folder for each topic and source. It says which things of an archive Kafka has confirmed, or are no
DICOM; written after that, so a kill loses the last moments at most, and what they took is sent again, which changes
nothing. Names are hashes: they may name patients. A topic that was made anew begins anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import xxhash

from connectors.dicom.places import Found
from schemas.errors import LakeError, TransportError

_EVERY_THINGS: Final = 500
_EVERY_SECONDS: Final = 2.0
_PATIENCE: Final = 60.0
"""Seconds to wait for another harvest that is writing."""


class Harvested:
    """Opened for one run, by one thread.

    Args:
        file: where it lies; made where it is not there. None remembers for this run alone.
        topic_id: of the topic as it is now; empty where nothing will be sent.
        again: whether to begin anew.

    Raises:
        TransportError: ``HARVEST-STATE-BUSY``: no room on the disk, or another process writes all the time.
        LakeError: ``HARVEST-STATE``: the file is damaged.
    """

    def __init__(self, file: Path | None, topic_id: str, *, again: bool = False) -> None:
        self._file = file
        self._new: list[tuple[bytes, bytes]] = []
        self._written = time.monotonic()
        with self._faults():
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(file or ":memory:", timeout=_PATIENCE)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            with self._base:
                self._base.execute("CREATE TABLE IF NOT EXISTS topic (id TEXT NOT NULL)")
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS settled (name BLOB PRIMARY KEY, version BLOB NOT NULL)"
                    " WITHOUT ROWID"
                )
                if topic_id and (
                    again or self._base.execute("SELECT id FROM topic").fetchall() != [(topic_id,)]
                ):
                    self._base.execute("DELETE FROM topic")
                    self._base.execute("DELETE FROM settled")
                    self._base.execute("INSERT INTO topic VALUES (?)", (topic_id,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.write()
        finally:
            self._base.close()

    def known(self, some: Sequence[Found]) -> list[bool]:
        """Of each thing, whether it is settled and has not changed since."""
        names = [_name(one) for one in some]
        with self._faults():
            found = self._base.execute(
                f"SELECT name, version FROM settled WHERE name IN ({','.join('?' * len(names))})",  # noqa: S608 - marks
                names,
            ).fetchall()
        versions: dict[bytes, bytes] = dict(found)
        return [versions.get(name) == _version(one) for name, one in zip(names, some, strict=True)]

    def settle(self, found: Found) -> None:
        """Remember a thing; kept soon after, and at the end of the block."""
        self._new.append((_name(found), _version(found)))
        if len(self._new) >= _EVERY_THINGS or time.monotonic() - self._written > _EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Keep what was remembered."""
        with self._faults(), self._base:
            self._base.executemany("INSERT OR REPLACE INTO settled VALUES (?, ?)", self._new)
        self._new.clear()
        self._written = time.monotonic()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise TransportError(
                "HARVEST-STATE-BUSY",
                "what was taken cannot be remembered: is the disk full, or does another harvest of this source run?",
                file=str(self._file),
                kind=getattr(error, "sqlite_errorname", type(error).__name__),
            ) from None
        except sqlite3.DatabaseError:
            raise LakeError(
                "HARVEST-STATE",
                "what was harvested before cannot be read: remove the file, and all is taken again",
                file=str(self._file),
            ) from None


def _name(found: Found) -> bytes:
    return xxhash.xxh3_128_digest(found.uri.encode("utf-8", "surrogateescape"))


def _version(found: Found) -> bytes:
    return xxhash.xxh3_64_digest(f"{found.size} {found.version}".encode())
