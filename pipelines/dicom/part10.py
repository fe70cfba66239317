"""The frame of a DICOM file: preamble, file meta information, transfer syntax, where the data set begins (PS3.10 §7).

A file without preamble or without meta information is read all the same: by how its first elements look.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pipelines.dicom.elements import PIXELS, Elements, Reading, read_elements

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED_TOO = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

_PREAMBLE = 128
_MAGIC = b"DICM"
INFLATED_AT_MOST = 64 * 1024 * 1024
"""A header that becomes larger is not read."""

_INFLATED_TOGETHER = 64 * 1024

_TRANSFER_SYNTAX = 0x00020010


@dataclass(frozen=True, slots=True)
class Frame:
    """A file's frame.

    Attributes:
        reading: the bytes of the data set (of a deflated one: inflated) and how they are coded.
        start: where the data set begins in them.
        meta: elements of the file meta information; they stand in ``meta_bytes``.
        meta_bytes: the file as it is.
        transfer_syntax: as stated, else as guessed.
    """

    reading: Reading
    start: int
    meta: Elements
    meta_bytes: bytes
    transfer_syntax: str

    def elements(self, stop: int = PIXELS << 16) -> tuple[Elements, int]:
        """The elements of the data set up to a tag, and where reading ended."""
        return read_elements(self.reading, self.start, len(self.reading.data), stop=stop)

    @property
    def data_set(self) -> memoryview:
        """The bytes of the data set."""
        return memoryview(self.reading.data)[self.start :]


@dataclass(frozen=True, slots=True)
class NoFrame:
    """A file that is no DICOM file, and why."""

    code: str


def frame_of(data: bytes) -> Frame | NoFrame:
    """Find where the data set begins, and how it is coded."""
    if not data:
        return NoFrame("DICOM-NOT-DICOM")
    told = Reading(data)
    if data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
        start = _PREAMBLE + 4
    elif data[:4] == _MAGIC:
        start = 4
        told.tell("DICOM-PREAMBLE-MISSING", 0)
    else:
        start = 0
        told.tell("DICOM-PREAMBLE-MISSING", 0)
    if not _begins_an_element(data, start):
        return NoFrame("DICOM-NOT-DICOM" if start == 0 else "DICOM-NO-DATA-SET")
    meta, begin = _meta_of(told, data, start)
    stated = _text(data, meta, _TRANSFER_SYNTAX)
    if not meta or not stated:
        told.tell("DICOM-META-MISSING", _TRANSFER_SYNTAX)
    if stated in _DEFLATED_TOO:
        return _inflated(told, data, begin, meta, stated)
    if begin >= len(data):
        return NoFrame("DICOM-NO-DATA-SET")
    explicit, little = _looks(data, begin)
    if stated:
        wanted = (stated != IMPLICIT_LITTLE, stated != EXPLICIT_BIG)
        if (explicit, little) != wanted:
            told.tell("DICOM-SYNTAX-WRONG", _TRANSFER_SYNTAX)
    guessed = EXPLICIT_LITTLE if explicit else IMPLICIT_LITTLE
    syntax = stated or (guessed if little else EXPLICIT_BIG)
    reading = Reading(data, explicit, little, told.deviations)
    return Frame(reading, begin, meta, data, syntax)


def _meta_of(told: Reading, data: bytes, start: int) -> tuple[Elements, int]:
    """The elements of group 0002 and where they end: mostly explicit, whatever the data set is."""
    if data[start : start + 2] != b"\x02\x00":
        return {}, start
    explicit = data[start + 4 : start + 6].isalpha()
    reading = Reading(data, explicit, little=True, deviations=told.deviations)
    if not explicit:
        reading.tell("DICOM-META-IMPLICIT", 0x00020000)
    return read_elements(reading, start, len(data), stop=0x00030000)


def _text(data: bytes, elements: Elements, tag: int) -> str:
    found = elements.get(tag)
    if found is None or found.vr != "UI":
        return ""
    return data[found.start : found.start + found.length].decode("ascii", "replace").strip("\0 ")


def _begins_an_element(data: bytes, start: int) -> bool:
    """Whether what stands there may be the first element of a data set, or of the meta information."""
    if start + 8 > len(data):
        return False
    group = int.from_bytes(data[start : start + 2], "little")
    other = int.from_bytes(data[start : start + 2], "big")
    if start:
        return True
    # without a preamble nothing says that it is one, but that it begins as all do
    explicit, little = _looks(data, start)
    first = group if little else other
    if first not in {0x0002, 0x0008}:
        return False
    length = struct.unpack_from("<I" if little else ">I", data, start + 4)[0]
    return explicit or length <= len(data)


def _looks(data: bytes, start: int) -> tuple[bool, bool]:
    """Whether the first element of a data set looks explicit, and little-endian."""
    if start + 6 > len(data):
        return True, True
    letters = data[start + 4 : start + 6]
    explicit = b"AA" <= letters <= b"ZZ" and letters.isalpha() and letters.isupper()
    low = int.from_bytes(data[start : start + 2], "little")
    little = not (explicit and low >= 0x0100 and data[start] == 0)
    return explicit, little


def _inflated(told: Reading, data: bytes, begin: int, meta: Elements, syntax: str) -> Frame | NoFrame:
    """A deflated data set (PS3.5 §A.5), inflated as far as it goes."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    made = bytearray()
    for at in range(begin, len(data), _INFLATED_TOGETHER):
        piece, before = data[at : at + _INFLATED_TOGETHER], inflate.copy()
        try:
            made += inflate.decompress(piece, INFLATED_AT_MOST)
        except zlib.error:
            made += _up_to_the_damage(before, piece)
            told.tell("DICOM-DEFLATE", 0)
            break
        if inflate.unconsumed_tail or len(made) > INFLATED_AT_MOST:
            told.tell("DICOM-DEFLATE", 0)
            break
    if not made:
        return NoFrame("DICOM-NO-DATA-SET")
    return Frame(
        Reading(bytes(made), explicit=True, little=True, deviations=told.deviations), 0, meta, data, syntax
    )


def _up_to_the_damage(inflate: zlib._Decompress, piece: bytes) -> bytes:
    """What a damaged piece inflates to before the damage."""
    made = bytearray()
    for at in range(len(piece)):
        try:
            made += inflate.decompress(piece[at : at + 1], INFLATED_AT_MOST)
        except zlib.error:
            break
    return bytes(made)
