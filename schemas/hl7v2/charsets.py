"""Character sets of HL7 v2 messages (HL7 table 0211, HL7 v2.5.1 §2.15.9.18) and what senders call them."""

from __future__ import annotations

from types import MappingProxyType

JAPANESE = "iso2022_jp_ext"
"""ASCII with JIS X 0201, 0208 and 0212, switched to by escape sequences of ISO 2022."""

CODECS = MappingProxyType(
    {
        # HL7 table 0211
        "ASCII": "ascii",
        "8859/1": "iso8859-1",
        "8859/2": "iso8859-2",
        "8859/3": "iso8859-3",
        "8859/4": "iso8859-4",
        "8859/5": "iso8859-5",
        "8859/6": "iso8859-6",
        "8859/7": "iso8859-7",
        "8859/8": "iso8859-8",
        "8859/9": "iso8859-9",
        "8859/15": "iso8859-15",
        "ISO IR6": "ascii",
        "ISO IR14": "shift_jis",  # JIS X 0201; Shift JIS has its 8-bit form and the ideographs that come with it
        "ISO IR87": JAPANESE,
        "ISO IR159": JAPANESE,
        "UNICODE UTF-8": "utf-8",
        "UNICODE": "utf-8",  # withdrawn name; framing leaves only UTF-8
        "GB 18030-2000": "gb18030",
        "BIG-5": "big5",
        "KS X 1001": "cp949",
        # the names that DICOM has for some of them (PS3.3 §C.12.1.1.2)
        "ISO IR 13": "shift_jis",
        "ISO IR 58": "gb18030",
        "ISO IR 100": "iso8859-1",
        "ISO IR 101": "iso8859-2",
        "ISO IR 109": "iso8859-3",
        "ISO IR 110": "iso8859-4",
        "ISO IR 126": "iso8859-7",
        "ISO IR 127": "iso8859-6",
        "ISO IR 138": "iso8859-8",
        "ISO IR 144": "iso8859-5",
        "ISO IR 148": "iso8859-9",
        "ISO IR 149": "cp949",
        "ISO IR 192": "utf-8",
        # ways in which senders write them
        "US-ASCII": "ascii",
        "UTF-8": "utf-8",
        "UTF-8 BOM": "utf-8",
        "UTF-8 SIG": "utf-8",
        "UNICODE (UTF-8)": "utf-8",
        "CP65001": "utf-8",
        "GB18030": "gb18030",
        "GB 18030-2005": "gb18030",
        "GB 18030-2022": "gb18030",
        "GBK": "gb18030",
        "GB2312": "gb18030",
        "GB 2312-80": "gb18030",
        "GB 2312-1980": "gb18030",
        "EUC-CN": "gb18030",
        "CP936": "gb18030",
        "MS936": "gb18030",
        "WINDOWS-936": "gb18030",
        "BIG5": "big5",
        "BIG5-ETEN": "big5",
        "CP950": "big5",
        "MS950": "big5",
        "WINDOWS-950": "big5",
        "BIG5-HKSCS": "big5hkscs",
        "EUC-KR": "cp949",
        "KS C 5601": "cp949",
        "KS C 5601-1987": "cp949",
        "UHC": "cp949",
        "CP949": "cp949",
        "SHIFT-JIS": "shift_jis",
        "SJIS": "shift_jis",
        "CP932": "shift_jis",
        "MS932": "shift_jis",
        "WINDOWS-31J": "shift_jis",
        "EUC-JP": "euc_jp",
        "ISO-2022-JP": JAPANESE,
        "ISO-8859-1": "iso8859-1",
        "ISO-8859-2": "iso8859-2",
        "ISO-8859-3": "iso8859-3",
        "ISO-8859-4": "iso8859-4",
        "ISO-8859-5": "iso8859-5",
        "ISO-8859-6": "iso8859-6",
        "ISO-8859-7": "iso8859-7",
        "ISO-8859-8": "iso8859-8",
        "ISO-8859-9": "iso8859-9",
        "ISO-8859-15": "iso8859-15",
        "LATIN1": "iso8859-1",
        "LATIN-9": "iso8859-15",
        "WINDOWS-1250": "cp1250",
        "WINDOWS-1251": "cp1251",
        "WINDOWS-1252": "cp1252",
        "WINDOWS-1253": "cp1253",
        "WINDOWS-1254": "cp1254",
        "CP1250": "cp1250",
        "CP1251": "cp1251",
        "CP1252": "cp1252",
        "CP1253": "cp1253",
        "CP1254": "cp1254",
    }
)
"""Names in MSH-18 → Python codec. Only letters and digits of a name count, whatever their case."""

FAMILIES = MappingProxyType(
    {
        "ascii": (),  # nothing else is ASCII
        "big5": ("big5", "cp950", "big5hkscs"),
        "shift_jis": ("shift_jis", "cp932"),
        "gbk": ("gb18030",),
        "gb2312": ("gb18030",),
    }
)
"""Codec → what is tried for it in turn, where that is not the codec alone: what senders of that name send."""

TRAIL_BYTES_LOOK_LIKE_DELIMITERS = frozenset(
    {"gb18030", "gbk", "big5", "cp950", "big5hkscs", "shift_jis", "cp932"}
)
"""Codecs in which a second byte may be ``|``, ``^``, ``~`` or a backslash: decode before splitting."""


_NOT_COUNTED = bytes(byte for byte in range(256) if not bytes([byte]).isalnum())


def plain_name(name: bytes) -> str:
    """What of a charset's name counts: its letters and digits, in upper case."""
    return name.upper().translate(None, _NOT_COUNTED).decode("ascii")


_BY_PLAIN_NAME = MappingProxyType({plain_name(name.encode()): codec for name, codec in CODECS.items()})


def codec_of(declared: bytes, repetition: bytes = b"~") -> str | None:
    """Python codec for MSH-18; None where its first repetition is unknown, or where nothing is known of a blank one.

    The first repetition is the charset of the message. Where it is blank or a set of single bytes that the others
    contain, those that follow name what ISO 2022 escape sequences switch to (§2.15.9.18).

    Args:
        declared: MSH-18 as sent, all repetitions or only the first.
        repetition: the message's repetition separator; empty where it has none.
    """
    names = [plain_name(name) for name in (declared.split(repetition) if repetition else [declared])]
    first = _BY_PLAIN_NAME.get(names[0])
    if (names[0] and first is None) or first not in (None, "ascii", "shift_jis"):
        return first
    others = [codec for name in names[1:] if (codec := _BY_PLAIN_NAME.get(name)) not in (None, "ascii")]
    if JAPANESE in others:
        return JAPANESE
    return first if first == "shift_jis" or not others else others[0]


def is_unsupported(declared: bytes, repetition: bytes = b"~") -> bool:
    """Whether MSH-18 names UTF-16 or UTF-32, whose bytes cannot stand between the framing's own (§2.15.9.18).

    Args:
        declared: MSH-18 as sent, all repetitions or only the first.
        repetition: the message's repetition separator; empty where it has none.
    """
    name = plain_name(declared.split(repetition, 1)[0] if repetition else declared)
    return name.removeprefix("UNICODE").startswith(("UTF16", "UTF32", "UCS2", "UCS4"))


def family(codec: str) -> tuple[str, ...]:
    """The Python codecs that are tried in turn for a charset."""
    return FAMILIES.get(codec, (codec,))


def is_seven_bit(codec: str) -> bool:
    """Whether a codec writes other characters as ASCII bytes between escape sequences (ISO 2022)."""
    return codec.startswith("iso2022")
