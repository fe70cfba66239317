"""Where archives of DICOM objects lie: folders, ZIP files and S3 prefixes; what they hold, and its first bytes.

Listing holds no more than a folder's names, or a ZIP's directory, in memory. Reading asks for what is needed next and
for nothing twice; members of a ZIP are inflated no further than that.
"""

from __future__ import annotations

import contextlib
import errno
import lzma
import os
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final, Protocol
from urllib.parse import quote

from schemas.errors import ConfigError

Read = Callable[[int], bytes]
"""The next bytes of an object: as many as asked for, fewer only where it ends."""

DICOMDIR: Final = "dicomdir"
"""Name of a medium's directory (PS3.10 §8.6); some systems write it in small letters."""

ZIP: Final = ".zip"
_ZIP_FAULTS: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, EOFError, ValueError, LookupError,
    OverflowError, OSError,
)  # fmt: skip
"""What zipfile raises at damaged, encrypted and strangely packed files (``RuntimeError`` and those below it)."""
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class PlaceError(Exception):
    """Something of an archive cannot be read.

    Args:
        code: one of ``connectors.dicom.harvest.FINDINGS``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Found:
    """Something that may be a DICOM object.

    Attributes:
        uri: where it lies.
        size: bytes.
        version: changes when its bytes do: time of change, ETag, checksum.
        open: gives its bytes from the beginning on, within a block; raises PlaceError.
        etag: what its store calls its version, where it has one.
        fault: code of why it cannot be read, where listing shows that already.
        medium: of a DICOMDIR, the names of all that lies below its folder, in small letters, with ``/`` between.
    """

    uri: str
    size: int
    version: str
    open: Callable[[], AbstractContextManager[Read]]
    etag: str = ""
    fault: str = ""
    medium: Callable[[], Iterator[str]] | None = None


class Place(Protocol):
    """An archive."""

    @property
    def workers(self) -> int:
        """How many readers at a time pay."""

    @property
    def first(self) -> int:
        """How many bytes to read at first: most headers are shorter, and asking again costs more than these."""

    def found(self) -> Iterator[Found]:
        """All that it holds."""

    def count(self) -> Iterator[int]:
        """How many things it holds, a part at a time, quicker than ``found``."""


def is_zip(name: str) -> bool:
    """Whether something is a ZIP file by its name."""
    return name.lower().endswith(ZIP)


def is_dicomdir(name: str) -> bool:
    """Whether something is a medium's directory by the last part of its name."""
    return PurePosixPath(name).name.lower() == DICOMDIR


def fault_of(error: OSError) -> str:
    """The code of what the system says of a file."""
    return "HARVEST-VANISHED" if error.errno in _GONE else "HARVEST-UNREADABLE"


def nothing() -> AbstractContextManager[Read]:
    """Of what cannot be opened."""
    raise PlaceError("HARVEST-UNREADABLE")


@dataclass(frozen=True)
class FolderPlace:
    """A folder with all below it, or a single file; ZIP files are looked into.

    Links to folders below it are not followed, so that no cycle can arise.

    Attributes:
        root: absolute.
    """

    root: bytes
    workers: int = 4  # of a disk nearby fewer would do; a folder of another machine answers late
    first: int = 8 * 1024

    @classmethod
    def of(cls, path: bytes) -> FolderPlace:
        """The folder or file at a path.

        Raises:
            ConfigError: ``HARVEST-URI`` where there is nothing.
        """
        root = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - names may be no text
        if not os.path.exists(root):  # noqa: PTH110
            raise ConfigError("HARVEST-URI", "there is no such file or folder", setting="URI")
        return cls(root)

    def found(self) -> Iterator[Found]:
        if os.path.isdir(self.root):  # noqa: PTH112
            return _below(self.root)
        return _found_file(self.root, named=True)

    def count(self) -> Iterator[int]:
        if not os.path.isdir(self.root):  # noqa: PTH112
            yield 1
            return
        for _, _, names in os.walk(self.root):
            yield len(names)


def file_uri(path: bytes) -> str:
    """``file:///…`` of an absolute path; every byte of it can be had back."""
    return "file://" + quote(path)


def _below(root: bytes) -> Iterator[Found]:
    """Everything below a folder: files of a folder by name, then its folders by name."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(file_uri(folder), 0, "", nothing, fault=fault_of(error))
            continue
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield from _found_file(entry.path)
        folders += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


def _found_file(path: bytes, *, named: bool = False) -> Iterator[Found]:
    uri = file_uri(path)
    try:
        facts = os.stat(path)  # noqa: PTH116 - names may be no text
    except OSError as error:
        yield Found(uri, 0, "", nothing, fault=fault_of(error))
        return
    if not stat.S_ISREG(
        facts.st_mode
    ):  # a link to a folder, a pipe or a device, of which reading may never end
        yield Found(uri, 0, "", nothing, fault="HARVEST-NO-FILE")
        return
    name = os.fsdecode(path)
    if is_zip(name) or (named and zipfile.is_zipfile(name)):
        yield from found_in_zip(uri, lambda: _file(path))
        return
    medium = (lambda: _names_below(os.path.dirname(path))) if is_dicomdir(name) else None  # noqa: PTH120
    version = _version(facts)
    yield Found(uri, facts.st_size, version, lambda: _opened_file(path, version), medium=medium)


def _version(facts: os.stat_result) -> str:
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _file(path: bytes) -> IO[bytes]:
    try:
        return open(path, "rb")  # noqa: PTH123 - names may be no text
    except OSError as error:
        raise PlaceError(fault_of(error)) from None


def _names_below(folder: bytes) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.fsdecode(os.path.relpath(os.path.join(place, name), folder)).lower()  # noqa: PTH118


@contextlib.contextmanager
def _opened_file(path: bytes, version: str) -> Iterator[Read]:
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if _version(os.fstat(descriptor)) != version:
            raise PlaceError("HARVEST-CHANGED")
        yield lambda size: _read(descriptor, size)
    except OSError as error:
        raise PlaceError(fault_of(error)) from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while 0 < len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def found_in_zip(uri: str, opened: Callable[[], IO[bytes]]) -> Iterator[Found]:
    """The members of a ZIP file; of one that is none, a single thing with a fault.

    The file stays open as long as anybody has one of its members.

    Args:
        uri: of the ZIP file.
        opened: the file, seekable.
    """
    try:
        file = opened()
    except PlaceError as error:
        yield Found(uri, 0, "", nothing, fault=error.code)
        return
    try:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
    except _ZIP_FAULTS:
        file.close()
        yield Found(uri, 0, "", nothing, fault="HARVEST-ZIP")
        return
    weakref.finalize(archive, file.close)
    for member in members:
        if not member.filename:
            yield Found(f"{uri}!/", 0, "", nothing, fault="HARVEST-ZIP")
        elif not member.is_dir():
            yield _found_member(f"{uri}!/", archive, member, quoted=uri.startswith("file:"))


def _found_member(prefix: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, quoted: bool) -> Found:
    name = member.filename
    uri = prefix + (quote(name, errors="surrogatepass") if quoted else name)
    version = f"{member.file_size} {member.CRC:08x} {member.date_time}"
    medium = None
    if is_dicomdir(name):
        folder = name[: len(name) - len(DICOMDIR)]

        def medium() -> Iterator[str]:
            return (other[len(folder) :].lower() for other in archive.namelist() if other.startswith(folder))

    return Found(uri, member.file_size, version, lambda: _opened_member(archive, member), medium=medium)


@contextlib.contextmanager
def _opened_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[Read]:
    try:
        with archive.open(member) as stream:
            yield stream.read
    except _ZIP_FAULTS:
        raise PlaceError("HARVEST-ZIP") from None
