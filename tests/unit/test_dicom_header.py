"""Where the pixel data begin, in the files that pydicom brings with it and in broken ones; pydicom is the oracle."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import read_partial

from connectors.dicom.header import (
    SHOWN_OF_BROKEN,
    SOP_INSTANCE,
    STUDY,
    Cut,
    NotDicom,
    find_cut,
    read_header,
)

DATA = Path(pydicom.__file__).parent / "data"
FILES = sorted(
    file
    for folder in ("test_files", "charset_files")
    for file in (DATA / folder).rglob("*")
    if file.is_file()
)
NO_DICOM = {
    "FileInfo.txt", "README", "README.txt", "crayons.icc", "no_meta.dcm", "rtplan.dump", "rtstruct.dump",
    "test1.json", "test_PN.json", "zipMR.gz",
}  # fmt: skip
"""``no_meta.dcm`` has a byte too many before its first element; the others are something else."""
TRUNCATED = {"rtplan_truncated.dcm"}
LIMIT = 32 * 1024 * 1024
PREAMBLE = b"\0" * 128 + b"DICM"
EXPLICIT_META = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        yield
        logging.disable(logging.NOTSET)


def at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 == 0x7FE0 or tag == 0xFFFCFFFC


def cut_of(data: bytes, first: int = 1024, limit: int = LIMIT) -> Cut:
    found = read_header(io.BytesIO(data).read, len(data), limit, first)
    assert isinstance(found, Cut)
    return found


def element(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_of_pydicom_is_cut_where_pydicom_stops(path: Path) -> None:
    data = path.read_bytes()
    if path.name in NO_DICOM:
        assert isinstance(read_header(io.BytesIO(data).read, len(data), LIMIT, 1024), NotDicom)
        return
    cut = cut_of(data)
    assert cut.header == cut_of(data, first=len(data)).header
    assert cut.whole == (path.name not in TRUNCATED)
    if not cut.whole:
        return
    stream = io.BytesIO(data)
    expected = read_partial(stream, stop_when=at_pixels, force=True)
    assert pydicom.dcmread(io.BytesIO(cut.header), force=True) == expected
    if path.name != "image_dfl.dcm":  # pydicom reads what is deflated to its end
        assert cut.at == stream.tell()
        assert cut.header == data[: cut.at]
    assert cut.text(STUDY) == str(expected.get("StudyInstanceUID", ""))
    assert cut.text(SOP_INSTANCE) == str(expected.get("SOPInstanceUID", ""))


def test_a_deflated_object_is_cut_without_reading_all_of_it() -> None:
    data = (DATA / "test_files" / "image_dfl.dcm").read_bytes()
    asked = io.BytesIO(data)
    found = read_header(asked.read, len(data), LIMIT, 1024)
    assert isinstance(found, Cut)
    assert asked.tell() == 1024 < len(data)
    header = pydicom.dcmread(io.BytesIO(found.header))
    assert "PixelData" not in header
    assert header.StudyInstanceUID == pydicom.dcmread(io.BytesIO(data)).StudyInstanceUID


def test_no_more_is_read_than_the_header_takes() -> None:
    data = (DATA / "test_files" / "rtdose_expb.dcm").read_bytes()
    stream = io.BytesIO(data)
    found = read_header(stream.read, len(data), LIMIT, 1024)
    assert isinstance(found, Cut)
    assert found.at <= stream.tell() <= 2 * found.at + 4096 < len(data)


@pytest.mark.parametrize(
    "data", [b"", b"D", b"hello " * 100, bytes(2000), b"\xff" * 2000, b"%PDF-1.7\n" + bytes(300)]
)
def test_other_bytes_are_no_dicom(data: bytes) -> None:
    assert isinstance(find_cut(data, ended=True), NotDicom)


def test_an_element_that_is_longer_than_the_file_ends_the_header_with_a_little_of_it() -> None:
    sound = PREAMBLE + EXPLICIT_META + element(0x00080060, "CS", b"CT")
    broken = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0x7FFFFFF0)
    data = sound + broken + b"x" * 500_000
    stream = io.BytesIO(data)
    found = read_header(stream.read, len(data), LIMIT, 512)
    assert isinstance(found, Cut)
    assert (found.whole, found.header) == (False, data[: len(sound) + SHOWN_OF_BROKEN])
    assert stream.tell() < 10_000


def test_a_header_above_the_limit_is_cut_before_what_is_too_long() -> None:
    sound = PREAMBLE + EXPLICIT_META + element(0x00080060, "CS", b"CT")
    large = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 900_000) + b"x" * 900_000
    found = cut_of(sound + large + element(0x00100020, "LO", b"77"), limit=100_000)
    assert not found.whole
    assert found.header[: len(sound)] == sound
    assert len(found.header) == len(sound) + SHOWN_OF_BROKEN


def test_what_is_nested_without_end_costs_no_stack() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    data = PREAMBLE + EXPLICIT_META + (sequence + item) * 20_000
    assert not cut_of(data).whole


def test_fragments_within_a_sequence_do_not_end_the_header() -> None:
    icon = (
        struct.pack("<HH2sHL", 0x0088, 0x0200, b"SQ", 0, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 8)
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)  # bytes of the fragment that look like the delimiter
        + struct.pack("<HHLHHLHHL", 0xFFFE, 0xE0DD, 0, 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    )
    header = PREAMBLE + EXPLICIT_META + icon + element(0x00880906, "ST", b"after")
    data = header + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 4) + b"abcd"
    found = cut_of(data)
    assert (found.whole, found.header) == (True, header)


def test_deflated_bytes_that_are_none_leave_what_stands_before_them() -> None:
    meta = b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    found = cut_of(PREAMBLE + meta + b"\xff" * 5000)
    assert (found.whole, found.header) == (False, PREAMBLE + meta)


def test_what_inflates_without_end_is_cut_at_the_limit() -> None:
    meta = b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    inner = element(0x00080060, "CS", b"CT") + struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 50_000_000)
    state = zlib.compressobj(wbits=-15)
    bomb = state.compress(inner + bytes(50_000_000)) + state.flush()
    found = cut_of(PREAMBLE + meta + bomb, limit=1_000_000)
    assert not found.whole
    assert len(found.header) < 1000


def test_an_object_that_became_shorter_ends_where_it_ends() -> None:
    data = PREAMBLE + EXPLICIT_META + element(0x00080060, "CS", b"CT")
    found = read_header(io.BytesIO(data).read, 10_000_000, LIMIT, 1024)
    assert isinstance(found, Cut)
    assert (found.whole, found.header) == (True, data)
