"""Where the pixel data of a DICOM object begin: a walk over tags and lengths, which reads no value.

It is given the bytes from the beginning on that somebody has so far, and says where to cut them or how many it must
see: so a folder, a ZIP, an object store and a network connection use the same. It never raises, whatever the bytes.

The header of an object is a DICOM file of its own (PS3.10 §7): what stands before the first element of group 7FE0, or
before the trailing padding (FFFC,FFFC), of the data set itself; what is nested in sequences does not end it. A data set
of a deflated transfer syntax is inflated, cut and deflated again.

Where a file says wrongly how it is encoded, the first element decides, as it does for pydicom, which reads the header
afterwards: VRs are there or not; without a transfer syntax a first group above 0400 is big endian.
"""

from __future__ import annotations

import mmap
import struct
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

Data = bytes | mmap.mmap
"""An object's bytes, or its file in memory's place."""

BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""Transfer syntaxes whose whole data set is deflated (PS3.5 §A.5, §A.6, §A.12)."""

DICOMDIR_CLASS: Final = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage (PS3.10 §8.6): the contents of a medium, not an instance."""

MEDIA_CLASS: Final = 0x00020002
TRANSFER_SYNTAX: Final = 0x00020010
SOP_CLASS: Final = 0x00080016
SOP_INSTANCE: Final = 0x00080018
PATIENT_ID: Final = 0x00100020
STUDY: Final = 0x0020000D
_NOTED: Final = frozenset({MEDIA_CLASS, TRANSFER_SYNTAX, SOP_CLASS, SOP_INSTANCE, PATIENT_ID, STUDY})
_NOTED_GROUPS: Final = frozenset(tag >> 16 for tag in _NOTED)
_NOTED_BYTES: Final = 256

PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_COMMAND_GROUP: Final = 0x0000
"""Which some programs leave in files: always Implicit VR Little Endian (PS3.7 §6.3)."""
_META_GROUP: Final = 0x0002
"""File meta information (PS3.10 §7.1): always Explicit VR Little Endian."""
_PIXEL_GROUP: Final = 0x7FE0
_PADDING: Final = 0xFFFCFFFC
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""VRs with a length of four bytes (PS3.5 table 7.1-1)."""
_SHORT: Final = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
        b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip
"""VRs with a length of two bytes (PS3.5 table 7.1-2)."""

SHOWN_OF_BROKEN: Final = 256
"""Bytes of a header after its last whole element, where elements cannot be followed to the pixel data."""

_AHEAD: Final = 4096
"""Bytes that are read beyond an element that was cut off: more elements follow it."""

_FIRST_GROUPS: Final = (_COMMAND_GROUP, _META_GROUP, 0x0008)
"""What a file without a preamble may begin with: a command, file meta information, a data set."""
_FIRST_LENGTH: Final = 4096
_FIRST_ELEMENTS: Final = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """The header is known.

    Attributes:
        header: its bytes, a DICOM file without pixel data; empty where it is longer than is to be kept.
        at: how many bytes of the object it stands for.
        whole: whether the walk came to the pixel data or to the end of the object by elements; False where the
            object ends within an element, or what follows is no element.
        noted: values of the elements that this module names, trimmed, by tag; those that are there.
    """

    header: bytes
    at: int
    whole: bool
    noted: Mapping[int, bytes] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """A noted value that is a UID; empty where it is not there."""
        return self.noted.get(tag, b"").decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class More:
    """The bytes do not tell yet.

    Attributes:
        size: how many bytes from the beginning must be seen at least.
        so_far: the header of those who cannot or will not see so much.
    """

    size: int
    so_far: Cut


class NotDicom:
    """The bytes are no DICOM object."""


class _ShortError(Exception):
    """An element goes beyond the bytes; how far at least."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _LostError(Exception):
    """What should be an element or item is none."""


@dataclass(frozen=True, slots=True)
class _Order:
    """How numbers are laid out (PS3.5 §7.3)."""

    explicit: Callable[[Data, int], tuple[int, int, bytes, int]]
    tag: Callable[[Data, int], tuple[int, int]]
    short: Callable[[Data, int], tuple[int]]
    long: Callable[[Data, int], tuple[int]]
    item: bytes
    sequence_end: bytes

    @classmethod
    def of(cls, mark: str) -> _Order:
        """Of the mark that ``struct`` has for it."""
        return cls(
            explicit=struct.Struct(mark + "HH2sH").unpack_from,
            tag=struct.Struct(mark + "HH").unpack_from,
            short=struct.Struct(mark + "H").unpack_from,
            long=struct.Struct(mark + "L").unpack_from,
            item=struct.pack(mark + "HH", _ITEM >> 16, _ITEM & 0xFFFF),
            sequence_end=struct.pack(mark + "HH", _SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF),
        )


_LITTLE: Final = _Order.of("<")
_BIG: Final = _Order.of(">")


def find_cut(
    data: Data, *, ended: bool, inflated_limit: int = 64 * 1024 * 1024, kept: int = sys.maxsize
) -> Cut | More | NotDicom:
    """Where the header of an object ends.

    Args:
        data: the object's bytes from the beginning on, so far.
        ended: whether these are all.
        inflated_limit: the most bytes of a deflated data set that are kept.
        kept: a longer header is not copied; it is the object's first ``Cut.at`` bytes, unless they are deflated.
    """
    if not ended and len(data) < PREAMBLE + 4:
        return More(PREAMBLE + 4, Cut(b"", 0, whole=False))
    noted: dict[int, bytes] = {}
    start = PREAMBLE + 4 if data[PREAMBLE : PREAMBLE + 4] == _MAGIC else 0
    if not start and not _begins_without_preamble(data):
        return NotDicom()
    walk = _Walk(data, start, noted, kept)
    try:
        walk.run(_LITTLE, _META_GROUP)
        walk.run(_LITTLE, _COMMAND_GROUP, implicit=True)
    except _ShortError as short:
        return walk.broken() if ended else More(short.size, walk.broken())
    except _LostError:
        return walk.broken()
    syntax = noted.get(TRANSFER_SYNTAX, b"").decode("ascii", "replace")
    if syntax in DEFLATED:
        return _find_in_deflated(data, walk.at, noted, inflated_limit, ended=ended)
    return _find(walk, _order(data, walk.at, syntax), ended=ended)


def _find(walk: _Walk, order: _Order, *, ended: bool) -> Cut | More:
    """The cut of a data set that begins where the walk stands."""
    try:
        walk.run(order)
    except _ShortError as short:
        return walk.broken() if ended else More(short.size, walk.broken())
    except _LostError:
        return walk.broken()
    if walk.at + 8 > len(walk.data) and not ended:
        return More(walk.at + 8, walk.broken())
    if 0 < len(walk.data) - walk.at < 8:
        return walk.broken()
    return walk.cut(walk.at, whole=True)


def _find_in_deflated(
    data: Data, start: int, noted: dict[int, bytes], limit: int, *, ended: bool
) -> Cut | More:
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = state.decompress(data[start:], limit)
    except zlib.error:
        return Cut(data[:start], start, whole=False, noted=noted)
    all_there = ended or state.eof or len(inflated) >= limit
    found = _find(_Walk(inflated, 0, noted), _LITTLE, ended=all_there)
    if isinstance(found, More):
        return More(len(data) + 1, Cut(data[:start], start, whole=False, noted=noted))
    used = len(data) - len(state.unused_data) - len(state.unconsumed_tail)
    return Cut(data[:start] + _deflate(found.header), used, whole=found.whole, noted=noted)


def _deflate(data: bytes) -> bytes:
    """A raw deflate stream (RFC 1951), the same for the same bytes."""
    state = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
    return state.compress(data) + state.flush()


def _order(data: Data, at: int, syntax: str) -> _Order:
    if syntax:
        return _BIG if syntax == BIG_ENDIAN else _LITTLE
    known = data[at + 4 : at + 6] in LONG_VRS or data[at + 4 : at + 6] in _SHORT
    return _BIG if known and int.from_bytes(data[at : at + 2], "little") >= 0x0400 else _LITTLE


def _begins_without_preamble(data: Data) -> bool:
    """Whether some elements can be read that rise as those of a DICOM object do."""
    if len(data) < 8:
        return False
    order = _order(data, 0, "")
    explicit = data[4:6] in LONG_VRS or data[4:6] in _SHORT
    at, before = 0, -1
    for number in range(_FIRST_ELEMENTS):
        if at + 12 > len(data):
            return number > 0 and at == len(data)
        tag = _tag(data, at, order)
        if tag <= before or (not number and tag >> 16 not in _FIRST_GROUPS):
            return False
        if explicit and data[at + 4 : at + 6] not in LONG_VRS and data[at + 4 : at + 6] not in _SHORT:
            return False
        value, length = _value(data, at, order, implicit=not explicit)
        if length > _FIRST_LENGTH:
            return number > 1
        at, before = value + length, tag
    return before >> 16 <= 0x0010


def _value(data: Data, at: int, order: _Order, *, implicit: bool) -> tuple[int, int]:
    """Where the value begins, and its length (PS3.5 §7.1), of an element of which 8 bytes are there.

    Raises:
        _ShortError: it has a longer head.
    """
    if not implicit:
        vr = data[at + 4 : at + 6]
        if vr in LONG_VRS:
            if at + 12 > len(data):
                raise _ShortError(at + 12)
            return at + 12, order.long(data, at + 8)[0]
        if _is_vr(vr):  # of one that is not known, two bytes of length are taken, as pydicom does
            return at + 8, order.short(data, at + 6)[0]
    return at + 8, order.long(data, at + 4)[0]


def _tag(data: Data, at: int, order: _Order) -> int:
    group, element = order.tag(data, at)
    return group << 16 | element


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and 0x41 <= two[0] <= 0x5A and 0x41 <= two[1] <= 0x5A


class _Walk:
    """Goes from element to element.

    Attributes:
        data: the bytes.
        at: where the next element of the data set begins.
        noted: values that were met on the way.
    """

    def __init__(self, data: Data, at: int, noted: dict[int, bytes], kept: int = sys.maxsize) -> None:
        self.data, self.at, self.noted, self.kept = data, at, noted, kept

    def cut(self, end: int, *, whole: bool) -> Cut:
        """The header that ends there."""
        return Cut(self.data[:end] if end <= self.kept else b"", end, whole=whole, noted=self.noted)

    def broken(self) -> Cut:
        """The header as far as elements can be followed, and a little more for its reader to see what is wrong."""
        end = min(self.at + SHOWN_OF_BROKEN, len(self.data))
        return self.cut(end, whole=False)

    def run(self, order: _Order, only: int | None = None, *, implicit: bool | None = None) -> None:
        """Pass elements up to the pixel data, or those of one group; ends at the last 7 bytes at the latest.

        Raises:
            _ShortError: an element goes on beyond the bytes.
            _LostError: a sequence has something else than items.
        """
        data, at, last = self.data, self.at, len(self.data) - 8
        explicit = order.explicit
        if implicit is None:
            implicit = not _is_vr(data[at + 4 : at + 6])
        while at <= last:
            # this loop is what harvesting takes its time for: the usual element is read without a call
            group, element, vr, length = explicit(data, at)
            if only is None:
                if group >= _PIXEL_GROUP and (group == _PIXEL_GROUP or group << 16 | element == _PADDING):
                    return
            elif group != only:
                return
            value = at + 8
            if implicit or vr not in _SHORT:
                value, length = _value(data, at, order, implicit=implicit)
            if length == _UNDEFINED:
                self.at = at = _past_sequence(data, value, order, implicit=implicit)
                continue
            end = value + length
            if end > last + 8:
                raise _ShortError(end)
            if group in _NOTED_GROUPS and length <= _NOTED_BYTES and (group << 16 | element) in _NOTED:
                self.noted[group << 16 | element] = data[value:end].strip(b"\x00 ")
            self.at = at = end


def _past_sequence(data: Data, at: int, order: _Order, *, implicit: bool) -> int:
    """Where a value of undefined length ends whose items begin at ``at`` (PS3.5 §7.5, §A.4 for fragments).

    What has no items is passed by looking for the delimiter.

    Raises:
        _ShortError, _LostError: see ``_Walk.run``.
    """
    size = len(data)
    if at + 8 <= size and data[at : at + 4] not in (order.item, order.sequence_end):
        return _past_delimiter(data, at, order)
    levels: list[bool | None] = [None]  # what is open: a sequence, or an item and whether it has no VRs
    while levels:
        if at + 8 > size:
            raise _ShortError(at + 8)
        if levels[-1] is None:
            at = _past_item(data, at, order, levels, implicit=implicit)
        else:
            at = _past_nested(data, at, order, levels, implicit=levels[-1])
    if at > size:
        raise _ShortError(at)
    return at


def _past_item(data: Data, at: int, order: _Order, levels: list[bool | None], *, implicit: bool) -> int:
    """In a sequence: go by an item or a fragment, into an item of undefined length, or out."""
    tag, value, length = _tag(data, at, order), at + 8, order.long(data, at + 4)[0]
    if tag == _SEQUENCE_END:
        levels.pop()
        return value
    if tag != _ITEM:
        raise _LostError
    if length != _UNDEFINED:
        return value + length
    if value + 6 > len(data):
        raise _ShortError(value + 8)
    outer = implicit if len(levels) < 2 else bool(levels[-2])
    # within explicit VRs an item may have none: what is sent as UN has not (PS3.5 §6.2.2)
    levels.append(outer or not _is_vr(data[value + 4 : value + 6]))
    return value


def _past_nested(data: Data, at: int, order: _Order, levels: list[bool | None], *, implicit: bool) -> int:
    """In an item of undefined length: go by an element, into one of undefined length, or out."""
    tag = _tag(data, at, order)
    value, length = _value(data, at, order, implicit=implicit)
    if tag in (_ITEM_END, _SEQUENCE_END):
        levels.pop()
        if tag == _SEQUENCE_END:  # the item's own end was forgotten
            levels.pop()
        return value
    if length != _UNDEFINED:
        return value + length
    levels.append(None)
    return value


def _past_delimiter(data: Data, begin: int, order: _Order) -> int:
    found = data.find(order.sequence_end, begin)
    if found < 0:
        raise _ShortError(len(data) + 1)
    if found + 8 > len(data):
        raise _ShortError(found + 8)
    return found + 8


def read_header(read: Callable[[int], bytes], size: int, limit: int, first: int) -> Cut | NotDicom:
    """The header of an object, with few reads and of no more bytes than it takes.

    Args:
        read: the object's next bytes: as many as asked for, fewer only where it ends.
        size: of the object, as far as known.
        limit: the most bytes that are read and kept; a header that is longer is cut before what is too long.
        first: how many bytes to begin with.
    """
    data = b""
    wanted = min(first, size, limit)
    while True:
        more = read(wanted - len(data))
        if len(more) < wanted - len(data):  # it has become shorter meanwhile
            size = len(data) + len(more)
        data += more
        found = find_cut(data, ended=len(data) >= size, inflated_limit=limit)
        if not isinstance(found, More):
            return found
        if found.size > min(size, limit):
            return found.so_far
        wanted = min(max(found.size + _AHEAD, 2 * len(data)), size, limit)
