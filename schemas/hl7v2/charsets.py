"""Character sets of HL7 v2 messages (HL7 table 0211, HL7 v2.5.1 §2.15.9.18) and what senders call them."""

from __future__ import annotations

from types import MappingProxyType

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
        "UNICODE UTF-8": "utf-8",
        "UNICODE": "utf-8",  # withdrawn name; framing leaves only UTF-8
        "GB 18030-2000": "gb18030",
        "BIG-5": "big5",
        "KS X 1001": "euc_kr",
        # ways in which senders write them
        "US-ASCII": "ascii",
        "UTF-8": "utf-8",
        "UTF8": "utf-8",
        "UNICODE UTF8": "utf-8",
        "GB18030": "gb18030",
        "GB 18030": "gb18030",
        "GB18030-2000": "gb18030",
        "GBK": "gb18030",
        "GB2312": "gb18030",
        "GB 2312": "gb18030",
        "CP936": "gb18030",
        "BIG5": "big5",
        "ISO-8859-1": "iso8859-1",
        "ISO8859-1": "iso8859-1",
        "8859-1": "iso8859-1",
        "ISO IR100": "iso8859-1",
        "ISO IR6": "ascii",
        "LATIN1": "iso8859-1",
    }
)
"""MSH-18, upper case, runs of blanks made one → Python codec."""

TRAIL_BYTES_LOOK_LIKE_DELIMITERS = frozenset({"gb18030", "big5"})
"""Codecs in which a second byte may be ``|``, ``^``, ``~`` or a backslash: decode before splitting."""


def codec_of(declared: bytes) -> str | None:
    """Python codec for the first repetition of MSH-18; None where it is blank or unknown.

    Args:
        declared: MSH-18 as sent, all repetitions or only the first.
    """
    name = b" ".join(declared.split(b"~", 1)[0].split()).decode("latin-1").upper()
    return CODECS.get(name)


def is_unsupported(declared: bytes) -> bool:
    """Whether MSH-18 names UTF-16 or UTF-32, whose bytes cannot stand between the framing's own (§2.15.9.18).

    Args:
        declared: MSH-18 as sent, all repetitions or only the first.
    """
    name = b" ".join(declared.split(b"~", 1)[0].split()).decode("latin-1").upper()
    return name.removeprefix("UNICODE ").replace("-", "").replace(" ", "").startswith(("UTF16", "UTF32"))
