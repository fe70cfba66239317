"""Character sets of DICOM (PS3.3 §C.12.1.1.2, PS3.5 §6.1.2.5) as Python's codecs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NONE: Final = "ascii"

CODECS: Mapping[str, str] = MappingProxyType(
    {
        "": NONE,
        "ISO_IR 6": NONE,
        "ISO_IR 100": "iso8859-1",
        "ISO_IR 101": "iso8859-2",
        "ISO_IR 109": "iso8859-3",
        "ISO_IR 110": "iso8859-4",
        "ISO_IR 144": "iso8859-5",
        "ISO_IR 127": "iso8859-6",
        "ISO_IR 126": "iso8859-7",
        "ISO_IR 138": "iso8859-8",
        "ISO_IR 148": "iso8859-9",
        "ISO_IR 203": "iso8859-15",
        "ISO_IR 13": "shift_jis",
        "ISO_IR 166": "iso8859-11",
        "ISO_IR 192": "utf-8",
        "GB18030": "gb18030",
        "GBK": "gb18030",
        # with code extensions the character set that a text begins in
        "ISO 2022 IR 6": NONE,
        "ISO 2022 IR 100": "iso8859-1",
        "ISO 2022 IR 101": "iso8859-2",
        "ISO 2022 IR 109": "iso8859-3",
        "ISO 2022 IR 110": "iso8859-4",
        "ISO 2022 IR 144": "iso8859-5",
        "ISO 2022 IR 127": "iso8859-6",
        "ISO 2022 IR 126": "iso8859-7",
        "ISO 2022 IR 138": "iso8859-8",
        "ISO 2022 IR 148": "iso8859-9",
        "ISO 2022 IR 203": "iso8859-15",
        "ISO 2022 IR 13": "shift_jis",
        "ISO 2022 IR 166": "iso8859-11",
        "ISO 2022 IR 58": "gb18030",
        "ISO 2022 IR 149": "euc_kr",
        "ISO 2022 IR 87": "iso2022_jp",
        "ISO 2022 IR 159": "iso2022_jp_2",
    }
)
"""Defined term → codec. GB 18030 has all characters of GBK and GB 2312, coded alike."""

ESCAPES: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x1b(B": NONE,
        b"\x1b-A": "iso8859-1",
        b"\x1b-B": "iso8859-2",
        b"\x1b-C": "iso8859-3",
        b"\x1b-D": "iso8859-4",
        b"\x1b-L": "iso8859-5",
        b"\x1b-G": "iso8859-6",
        b"\x1b-F": "iso8859-7",
        b"\x1b-H": "iso8859-8",
        b"\x1b-M": "iso8859-9",
        b"\x1b-b": "iso8859-15",
        b"\x1b-T": "iso8859-11",
        b"\x1b(J": "shift_jis",
        b"\x1b)I": "shift_jis",
        b"\x1b$B": "iso2022_jp",
        b"\x1b$(D": "iso2022_jp_2",
        b"\x1b$)C": "euc_kr",
        b"\x1b$)A": "gb18030",
    }
)
"""Escape sequence → codec of what follows."""

NEEDS_ESCAPE = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Codecs whose texts have to begin with the escape sequence."""

ONE_BYTE = frozenset(codec for codec in CODECS.values() if codec.startswith("iso8859"))
"""Codecs in which any bytes are a text: what claims them may be wrong and cannot be shown to be."""
