"""The elements of a data set: a stream of (tag, VR, place of the value), read without making an object of each.

Reads what can be read (PS3.5 §7): explicit and implicit VR, both byte orders, sequences of defined and undefined
length, private elements, values that end too early. What deviates is told as a finding; nothing raises on any bytes.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

PIXELS = 0x7FE0
"""Group of the pixel data, at which reading ends."""

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 32
_MOST_ITEMS = 100_000
_PADDING = 0xFFFCFFFC

_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT = frozenset(
    {
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
        "TM", "UI", "UL", "US",
    }
)  # fmt: skip
_VR_OF_BYTES = {vr.encode(): vr for vr in _LONG | _SHORT}

PIXEL_REPRESENTATION = 0x00280103


class Element(NamedTuple):
    """An element: its VR, where its value stands, and the items of a sequence.

    ``length`` is that of the value as it is there: less than stated where the data set ends before.
    """

    vr: str
    start: int
    length: int
    items: tuple[Elements, ...] | None = None


Elements = dict[int, Element]
"""Elements by tag."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What deviates, and at which tag."""

    code: str
    tag: int


@dataclass(slots=True)
class Reading:
    """A data set on its way to elements.

    Attributes:
        data: the bytes that it stands in.
        explicit: whether elements have a VR.
        little: whether the least byte of a number comes first.
        deviations: what deviates, in the order of the bytes.
        signed: whether a value that may be signed or not is.
    """

    data: bytes
    explicit: bool = True
    little: bool = True
    deviations: list[Deviation] = field(default_factory=list)
    signed: bool = False

    @property
    def order(self) -> str:
        """Byte order as ``struct`` writes it."""
        return "<" if self.little else ">"

    def tell(self, code: str, tag: int) -> None:
        """Take down a deviation; of a malformed data set some are enough."""
        if len(self.deviations) < 100:
            self.deviations.append(Deviation(code, tag))


@functools.cache
def _formats(order: str) -> tuple[struct.Struct, struct.Struct, struct.Struct]:
    return struct.Struct(order + "HH2sH"), struct.Struct(order + "I"), struct.Struct(order + "HHI")


@functools.cache
def vr_of(tag: int) -> str:
    """The VR of the dictionary (PS3.6); UN for what is not in it."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR  # noqa: PLC0415 - takes a while, once

    if tag & 0x10000:  # private
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if not tag & 0xFFFF:
        return "UL"
    return str(dictionary_VR(tag)) if dictionary_has_tag(tag) else "UN"


def _one_vr(vr: str, *, signed: bool) -> str:
    """The VR of an element that may have several: by the pixel representation, and words rather than bytes."""
    if len(vr) == 2:
        return vr
    if "OW" in vr:
        return "OW"
    return "SS" if signed else "US"


def read_elements(
    reading: Reading, start: int, end: int, *, stop: int = PIXELS << 16
) -> tuple[Elements, int]:
    """Read the elements of a data set.

    Args:
        reading: the bytes and how they are coded; deviations are added to it.
        start: where the first element begins.
        end: where the last one ends at the latest.
        stop: the first tag that is not wanted any more.

    Returns:
        The elements, and where reading ended: at ``stop``, or behind the last element.
    """
    return _read(reading, start, end, stop, 0, explicit=reading.explicit, little=reading.little)


def _read(  # noqa: C901, PLR0911, PLR0912, PLR0915 - one loop: a call for each element would cost as much as it does
    reading: Reading, at: int, end: int, stop: int, depth: int, *, explicit: bool, little: bool,
) -> tuple[Elements, int]:  # fmt: skip
    data = reading.data
    found: Elements = {}
    with_vr, long_length, without_vr = _formats("<" if little else ">")
    before = -1
    while at + 8 <= end:
        if explicit:
            group, element, raw, length = with_vr.unpack_from(data, at)
            tag = group << 16 | element
            if tag >= stop and depth == 0:
                return found, at
            vr = _VR_OF_BYTES.get(raw)
            begin = at + 8
            if vr is None:
                if group == 0xFFFE:
                    if depth:
                        return found, at
                    at = begin  # a stray end of an item
                    reading.tell("DICOM-STRUCTURE", tag)
                    continue
                (length,) = long_length.unpack_from(data, at + 4)
                vr, begin, length = _unknown_vr(reading, tag, raw, at, end, length)
            elif vr in _LONG:
                if at + 12 > end:
                    break
                (length,) = long_length.unpack_from(data, begin)
                begin += 4
        else:
            group, element, length = without_vr.unpack_from(data, at)
            tag = group << 16 | element
            if tag >= stop and depth == 0:
                return found, at
            begin = at + 8
            if group == 0xFFFE:
                if depth:
                    return found, at
                at = begin
                reading.tell("DICOM-STRUCTURE", tag)
                continue
            vr = _one_vr(vr_of(tag), signed=reading.signed)
        if vr == "UN" and explicit and not tag & 0x10000:
            vr = _known(tag, length, reading)
        if tag <= before:
            reading.tell("DICOM-ORDER", tag)
        before = tag
        inside = explicit
        if length == _UNDEFINED and vr == "UN":
            vr, inside = "SQ", False  # PS3.5 §6.2.2, note 2 of UN: as implicit VR
        if vr == "SQ" or (length == _UNDEFINED and vr not in {"OB", "OW"}):
            if vr != "SQ":
                reading.tell("DICOM-STRUCTURE", tag)
                vr = "SQ"
            if explicit and inside and raw == b"UN":
                inside = False
            if depth >= _DEEPEST:
                reading.tell("DICOM-DEPTH", tag)
                if length == _UNDEFINED:
                    return found, end
                at = begin + length
                continue
            limit = end if length == _UNDEFINED else begin + length
            if limit > end:
                reading.tell("DICOM-TRUNCATED", tag)
                limit = end
            items, after = _read_items(
                reading, begin, limit, depth, open_ended=length == _UNDEFINED, explicit=inside,
                little=little, tag=tag,
            )  # fmt: skip
            found[tag] = Element("SQ", begin, after - begin, items)
            at = after
            continue
        if length == _UNDEFINED:
            after = _after_fragments(reading, begin, end, little=little, tag=tag)
            found[tag] = Element(vr, begin, after - begin)
            at = after
            continue
        if length & 1:
            reading.tell("DICOM-LENGTH-ODD", tag)
        if begin + length > end:
            reading.tell("DICOM-TRUNCATED", tag)
            return found, end
        if element or group < 8:
            if tag in found:
                reading.tell("DICOM-TAG-REPEATED", tag)
            else:
                found[tag] = Element(vr, begin, length)
            if tag == PIXEL_REPRESENTATION and length >= 2 and depth == 0:
                reading.signed = any(data[begin : begin + 2])
        at = begin + length
    if at < end:
        if any(data[at:end]):
            reading.tell("DICOM-TRUNCATED", _tag_at(data, at, end, little=little))
        at = end
    return found, at


def _tag_at(data: bytes, at: int, end: int, *, little: bool) -> int:
    if at + 4 > end:
        return 0
    group, element = struct.unpack_from("<HH" if little else ">HH", data, at)
    return int(group) << 16 | int(element)


def _known(tag: int, length: int, reading: Reading) -> str:
    """The VR of a public element that was sent as unknown."""
    vr = _one_vr(vr_of(tag), signed=reading.signed)
    return "UN" if length == _UNDEFINED else vr


def _unknown_vr(
    reading: Reading, tag: int, raw: bytes, at: int, end: int, long_length: int
) -> tuple[str, int, int]:
    """VR, begin of the value and its length, of an element whose VR none is.

    Two capital letters are a VR of a later version, with a long length (PS3.5 §7.1.2); else the element has no VR.
    """
    reading.tell("DICOM-VR-UNKNOWN", tag)
    order = reading.order
    if b"AA" <= raw <= b"ZZ" and raw.isalpha() and raw.isupper():
        reserved, length16 = raw, struct.unpack_from(order + "H", reading.data, at + 6)[0]
        if length16 == 0 and at + 12 <= end and reserved:
            length = struct.unpack_from(order + "I", reading.data, at + 8)[0]
            if at + 12 + length <= end:
                return "UN", at + 12, int(length)
        return _one_vr(vr_of(tag), signed=reading.signed), at + 8, int(length16)
    return _one_vr(vr_of(tag), signed=reading.signed), at + 8, long_length


def _read_items(
    reading: Reading, at: int, end: int, depth: int, *, open_ended: bool, explicit: bool, little: bool,
    tag: int,
) -> tuple[tuple[Elements, ...], int]:  # fmt: skip
    """The items of a sequence, and where it ends."""
    data = reading.data
    _, _, header = _formats("<" if little else ">")
    items: list[Elements] = []
    while at + 8 <= end:
        group, element, length = header.unpack_from(data, at)
        item = group << 16 | element
        if item == _SEQUENCE_END:
            return tuple(items), at + 8
        if item != _ITEM or len(items) >= _MOST_ITEMS:
            reading.tell("DICOM-STRUCTURE", tag)
            return tuple(items), at if open_ended else end
        at += 8
        limit = end if length == _UNDEFINED else at + length
        if limit > end:
            reading.tell("DICOM-TRUNCATED", tag)
            limit = end
        elements, after = _read(reading, at, limit, 0, depth + 1, explicit=explicit, little=little)
        items.append(elements)
        if length != _UNDEFINED:
            at = limit
            continue
        at = after
        if at + 8 <= end:
            group, element, _ = header.unpack_from(data, at)
            if group << 16 | element == _ITEM_END:
                at += 8
    if open_ended or at < end:
        reading.tell("DICOM-TRUNCATED", tag)
    return tuple(items), end


def _after_fragments(reading: Reading, at: int, end: int, *, little: bool, tag: int) -> int:
    """Where encapsulated data ends (PS3.5 §A.4)."""
    _, _, header = _formats("<" if little else ">")
    while at + 8 <= end:
        group, element, length = header.unpack_from(reading.data, at)
        item = group << 16 | element
        at += 8
        if item == _SEQUENCE_END:
            return at
        if item != _ITEM or length == _UNDEFINED:
            break
        at += length
    reading.tell("DICOM-TRUNCATED", tag)
    return min(at, end)
