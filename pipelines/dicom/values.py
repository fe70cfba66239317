"""Values of elements: texts, numbers, names, codes; each read from its bytes when a column or the JSON asks for it."""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from pipelines.dicom.charsets import ASCII, Charset, charset_of
from pipelines.dicom.elements import Element, Elements, Reading

CHARACTER_SET: Final = 0x00080005

IN_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose texts are in the character set of the header (PS3.5 §6.1.2.3)."""
WHOLE_TEXTS = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash is a backslash."""
TEXTS = IN_CHARSET | frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})

NUMBERS: Final = {
    "US": ("H", 2), "SS": ("h", 2), "UL": ("I", 4), "SL": ("i", 4), "UV": ("Q", 8), "SV": ("q", 8),
    "FL": ("f", 4), "FD": ("d", 8), "AT": ("HH", 4),
}  # fmt: skip
"""VR of binary numbers → format and size of one."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_LARGEST = 2**31


class Values:
    """Reads values of the elements of one header."""

    def __init__(self, reading: Reading, charset: Charset = ASCII) -> None:
        self.reading = reading
        self.data = reading.data
        self.order = reading.order
        self.charset = charset
        self.odd: list[tuple[str, int]] = []  # what values deviate: code and tag

    def of_item(self, item: Elements) -> Values:
        """Reads values of an item, which may have a character set of its own (PS3.3 §C.12.1.1.2)."""
        if CHARACTER_SET not in item:
            return self
        return Values(self.reading, find_charset(self.reading, item, self.charset.codec))

    def bytes_of(self, element: Element) -> bytes:
        """The bytes of a value."""
        return self.data[element.start : element.start + element.length]

    def text(self, element: Element) -> str:
        """The whole value as text, without the padding at its end."""
        vr, start, length, _ = element
        raw = self.data[start : start + length]
        if raw.isascii() and b"\x1b" not in raw:
            text = raw.decode("ascii")
        elif vr in IN_CHARSET:
            text = self.charset.text(raw)
        else:
            text = raw.decode("latin-1")
        return text.rstrip(" \0").replace("\0", "\ufffd") if "\0" in text else text.rstrip(" ")

    def texts(self, element: Element) -> list[str]:
        """All values as texts, without the spaces around them; numbers as they are written."""
        vr = element.vr
        if vr not in TEXTS:
            return [_written(one) for one in self.numbers_of(element)] if vr in NUMBERS else []
        text = self.text(element)
        if vr in WHOLE_TEXTS:
            return [text] if text.strip() else []
        if "\\" not in text:
            text = text.strip()
            return [text] if text else []
        return [one.strip() for one in text.split("\\")]

    def first(self, element: Element | None) -> str | None:
        """The first value as text; None where it is empty."""
        if element is None or not element.length:
            return None
        found = self.texts(element)
        return found[0] or None if found else None

    def numbers_of(self, element: Element) -> list[int | float]:
        """The values of an element of binary numbers."""
        vr, start, length, _ = element
        form, size = NUMBERS[vr]
        if length == size and vr != "AT":
            return [struct.unpack_from(self.order + form, self.data, start)[0]]
        found = struct.unpack_from(f"{self.order}{form * (length // size)}", self.data, start)
        if vr == "AT":
            return [found[at] << 16 | found[at + 1] for at in range(0, len(found), 2)]
        return list(found)

    def numbers(self, element: Element | None) -> list[float]:
        """All values as numbers; empty where any is none."""
        if element is None or not element.length:
            return []
        if element.vr in NUMBERS:
            return [float(one) for one in self.numbers_of(element) if math.isfinite(one)]
        made = []
        for text in self.texts(element):
            if _NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
                return []
            made.append(float(text))
        return made

    def name(self, element: Element | None) -> list[str | None]:
        """The first name's groups: alphabetic, ideographic, phonetic."""
        text = self.first(element)
        if text is None:
            return [None, None, None]
        groups = [group.strip().rstrip("^").strip() or None for group in text.split("=")]
        return [*groups, None, None][:3]


def _written(one: float) -> str:
    return str(one) if isinstance(one, int) else repr(one)


def whole_of(text: str) -> int | None:
    """A text as a whole number of 32 bits; also a number without a fraction."""
    if _WHOLE.fullmatch(text):
        made = int(text) if len(text) < 12 else _LARGEST
    elif _NUMBER.fullmatch(text) and math.isfinite(float(text)) and float(text) == int(float(text)):
        made = int(float(text))
    else:
        return None
    return made if -_LARGEST <= made < _LARGEST else None


def number_of(text: str) -> float | None:
    """A text as a number."""
    if _NUMBER.fullmatch(text) is None:
        return None
    made = float(text)
    return made if math.isfinite(made) else None


def find_charset(reading: Reading, elements: Elements, default: str) -> Charset:
    """The character set of a header: by what it declares and by all its texts that are not plain ASCII."""
    declared = elements.get(CHARACTER_SET)
    data = reading.data
    raw = None if declared is None else data[declared.start : declared.start + declared.length]
    whole = data[min((one.start for one in elements.values()), default=0) :]
    texts: list[bytes] = []
    if not whole.isascii() or b"\x1b" in whole:
        _collect(data, elements, texts)
    return charset_of(raw, texts, default)


def _collect(data: bytes, elements: Elements, texts: list[bytes]) -> None:
    for element in elements.values():
        if element.items is not None:
            for item in element.items:
                if CHARACTER_SET not in item:
                    _collect(data, item, texts)
        elif element.length and element.vr in IN_CHARSET:
            raw = data[element.start : element.start + element.length]
            if not raw.isascii() or b"\x1b" in raw:
                texts.append(raw.rstrip(b"\0 "))
