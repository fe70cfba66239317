"""An object on its way in: its bytes go to an unnamed file at once, so memory does not depend on its size.

The file has no name, so the system frees it when the process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import IO, Final, cast

GATHER: Final = 256 * 1024
"""Bytes that are collected before they are written: small fragments cost a copy each, not a call each."""


class Spool:
    """A file of a folder that is written once from front to back; its SHA-256 is reckoned meanwhile.

    Args:
        folder: on a disk with room for it.
        limit: bytes; more are refused.

    Attributes:
        file: the bytes, after ``finish``.
        size: of all that was written.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.file = cast("IO[bytes]", tempfile.TemporaryFile(dir=folder, buffering=0))  # noqa: SIM115 - see close
        self.size = 0
        self._limit = limit
        self._digest = hashlib.sha256()
        self._gathered = bytearray(GATHER)
        self._count = 0

    def write(self, data: bytes | memoryview) -> bool:
        """Add bytes.

        Returns:
            False where they are more than the limit; nothing may be written after that.

        Raises:
            OSError: the disk is full.
        """
        count = len(data)
        self.size += count
        if self.size > self._limit:
            return False
        if self._count + count > GATHER:
            self._flush()
        if count > GATHER:
            self._put(data)
        else:
            self._gathered[self._count : self._count + count] = data
            self._count += count
        return True

    def finish(self) -> str:
        """All bytes are there: their SHA-256 in hexadecimal."""
        self._flush()
        self._gathered = bytearray()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Give the disk's room back."""
        self.file.close()

    def _flush(self) -> None:
        with memoryview(self._gathered) as view:
            self._put(view[: self._count])
        self._count = 0

    def _put(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        with memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += self.file.write(rest[done:])


def open_spool_folder(folder: Path) -> Path:
    """Make the folder; what a file system without unnamed files may have left there is removed.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("tmp*"):
        left.unlink(missing_ok=True)
    return folder
