"""Small DICOM objects for tests: real files of pydicom's, under UIDs of their own, and what lies beside them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom

DATA = Path(pydicom.__file__).parent / "data"
SMALL = (DATA / "test_files" / "MR_small_implicit.dcm").read_bytes()
UID = pydicom.dcmread(DATA / "test_files" / "MR_small_implicit.dcm").SOPInstanceUID.encode()
SENTINEL = "Sentinelperson"


def small(number: int) -> bytes:
    """An MR image that only its instance UID tells from others."""
    wanted = (b"1.2.826.0.1.3680043.8.498.%d" % (10**6 + number)).ljust(len(UID), b"1")[: len(UID)]
    return SMALL.replace(UID, wanted)


def fill(folder: Path, count: int, start: int = 0) -> None:
    """Put images into a folder, a hundred to a folder below it."""
    for number in range(start, start + count):
        file = folder / f"{number // 100:03}" / f"{SENTINEL}-{number}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(small(number))


def pack(file: Path, members: Iterator[tuple[str, bytes]]) -> None:
    """Write a ZIP file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
