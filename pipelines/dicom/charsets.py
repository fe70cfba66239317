"""Texts of a header: which character set they are in, and their characters.

What the header claims (0008,0005) is taken strictly; where the bytes are not in it the source's own character set is
tried, then those that they may be in. A claim of one byte a character fits any bytes; it is doubted where all that is
not ASCII is also UTF-8, or pairs of GB 2312.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.dicom.charsets import CODECS, ESCAPES, NEEDS_ESCAPE, NONE, ONE_BYTE

_ESCAPE = re.compile(rb"\x1b(?:\$\([D]|\$\)[AC]|\$B|\([BJ]|\)I|-[A-Zb])")
_HIGH = re.compile(rb"[\x80-\xff]+")
_PAIRS = re.compile(rb"(?:[\xa1-\xf7][\xa1-\xfe])+")
_CONTROLS = re.compile("[\x80-\x9f]")
_GUESSES = ("utf-8", "gb18030", "iso8859-1")
_RESET = re.compile(rb"[\\\r\n\f\t^=]")

UNKNOWN = "DICOM-CHARSET-UNKNOWN"
MISSING = "DICOM-CHARSET-MISSING"
MISMATCH = "DICOM-CHARSET-MISMATCH"
GUESSED = "DICOM-CHARSET-GUESSED"
DOUBTFUL = "DICOM-CHARSET-DOUBTFUL"


@dataclass(frozen=True, slots=True)
class Charset:
    """The character set of a header's texts.

    Attributes:
        declared: as sent; None where it is not.
        codec: Python's name of what is used; a text with escape sequences begins in it.
        escapes: whether texts may change it by escape sequences.
        guessed: whether neither header nor source named it.
        code: the finding, where there is one.
    """

    declared: str | None
    codec: str
    escapes: bool = False
    guessed: bool = False
    code: str | None = None

    def text(self, value: bytes) -> str:
        """The characters of a value; what is in no character set is replaced."""
        if self.escapes and b"\x1b" in value:
            return _with_escapes(value, self.codec, "replace")
        return value.decode(self.codec, "replace")


ASCII = Charset(None, NONE)


def charset_of(  # noqa: PLR0911 - what is tried, in turn
    declared: bytes | None, texts: Sequence[bytes], default: str
) -> Charset:
    """The character set of a header.

    Args:
        declared: value of (0008,0005); None where there is none.
        texts: values of its texts that are not plain ASCII.
        default: the source's codec.
    """
    named = None if declared is None else declared.decode("ascii", "replace").strip("\0 ")
    terms = [term.strip() for term in (named or "").split("\\")]
    codecs = [CODECS.get(_term(term)) for term in terms]
    unknown = None in codecs
    first = codecs[0] or NONE
    escapes = len(terms) > 1 or any(term.startswith("ISO 2022") for term in terms)
    if not texts:
        return Charset(named, first, escapes, code=UNKNOWN if unknown else None)
    if not unknown and named and _fits(texts, first, escapes=escapes):
        if first in ONE_BYTE and not escapes:
            return _doubted(named, first, texts, default)
        return Charset(named, first, escapes)
    why = UNKNOWN if unknown else MISMATCH if named else MISSING
    if default != NONE and _fits(texts, default):
        return Charset(named, default, code=why)
    if _fits(texts, NONE, escapes=True):
        return Charset(named, NONE, escapes=True, guessed=True, code=GUESSED)
    for codec in _GUESSES:
        if _fits(texts, codec):
            return Charset(named, codec, guessed=True, code=GUESSED)
    return Charset(named, first if named and not unknown else default, guessed=True, code=GUESSED)


def _term(term: str) -> str:
    """A defined term, whatever is written for its space: ``ISO-IR 100``, ``ISO_IR100``."""
    plain = re.sub(r"^ISO[ _-]?IR[ _-]?(\d+)$", r"ISO_IR \1", term.upper())
    return re.sub(r"^ISO[ _-]?2022[ _-]?IR[ _-]?(\d+)$", r"ISO 2022 IR \1", plain)


def _fits(texts: Sequence[bytes], codec: str, *, escapes: bool = False) -> bool:
    """Whether texts are strictly in a character set, without control characters that no text has."""
    try:
        for text in texts:
            has = b"\x1b" in text
            if has and not escapes:
                return False
            found = _with_escapes(text, codec, "strict") if has else text.decode(codec)
            if _CONTROLS.search(found):
                return False
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _doubted(named: str, codec: str, texts: Sequence[bytes], default: str) -> Charset:
    """A claim that fits any bytes: where they look like several bytes a character the source decides."""
    if all(_is_utf8(text) for text in texts):
        likely = "utf-8"
    elif all(_PAIRS.fullmatch(run) for text in texts for run in _HIGH.findall(text)):
        likely = "gb18030"
    else:
        return Charset(named, codec)
    if default in {likely, "gbk", "gb2312"} and _fits(texts, default):
        return Charset(named, default, code=MISMATCH)
    return Charset(named, codec, code=DOUBTFUL)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _with_escapes(value: bytes, codec: str, errors: str) -> str:
    """A text with escape sequences (PS3.5 §6.1.2.5).

    Each holds up to the next. What ends a value, a line or a part of a name brings back the character set that texts
    begin in, where that has more than ASCII.
    """
    first = codec if codec not in NEEDS_ESCAPE else NONE
    made: list[str] = []
    current, escape, at = first, b"", 0
    for found in [*_ESCAPE.finditer(value), None]:
        piece = value[at : found.start() if found else len(value)]
        if (
            escape[1:2] in {b"-", b")"} or escape[1:3] == b"$)"
        ):  # half of the codes only: delimiters are themselves
            head, delimiter, rest = _parted(piece) if first != NONE else (piece, b"", b"")
            made += [_decoded(head, current, escape, errors), _decoded(delimiter + rest, first, b"", errors)]
        else:
            made.append(_decoded(piece, current, escape, errors))
        if found:
            escape, at = found.group(), found.end()
            current = ESCAPES.get(escape, first)
    return "".join(made)


def _parted(piece: bytes) -> tuple[bytes, bytes, bytes]:
    found = _RESET.search(piece)
    return (
        (piece, b"", b"") if found is None else (piece[: found.start()], found.group(), piece[found.end() :])
    )


def _decoded(value: bytes, codec: str, escape: bytes, errors: str) -> str:
    return (escape + value if codec in NEEDS_ESCAPE else value).decode(codec, errors)
