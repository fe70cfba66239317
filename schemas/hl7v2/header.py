"""The MSH segment of one message: delimiters and header fields, as bytes (HL7 v2.5.1 §2.15.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.errors import MessageError
from schemas.hl7v2.charsets import (
    JAPANESE,
    TRAIL_BYTES_LOOK_LIKE_DELIMITERS,
    codec_of,
    family,
    is_seven_bit,
)

BOM = b"\xef\xbb\xbf"
_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*[Mm][Ss][Hh]([^\r\n])")
_LINE_END = re.compile(rb"[\r\n]")
_DEFAULT_ENCODING = b"^~\\&"


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a message.

    Attributes:
        separator: field separator, MSH-1.
        encoding: encoding characters as sent, MSH-2.
        fields: ``fields[n]`` is MSH-n as sent (``fields[0]`` is the segment's name); trailing ones may be absent.
        end: where the MSH segment ends in the message (position of its terminator, or the length).
        codec: the Python codec that MSH-18 names; None where it is blank or unknown.
    """

    separator: bytes
    encoding: bytes
    fields: tuple[bytes, ...]
    end: int
    codec: str | None

    def field(self, number: int) -> bytes:
        """MSH-``number`` as sent; empty where it was not sent."""
        return self.fields[number] if number < len(self.fields) else b""

    def component(self, number: int, component: int = 1) -> bytes:
        """A component (counted from 1) of the first repetition of MSH-``number``."""
        value = self.field(number)
        if self.repetition_separator:
            value = value.split(self.repetition_separator, 1)[0]
        parts = value.split(self.component_separator)
        return parts[component - 1] if component <= len(parts) else b""

    @property
    def component_separator(self) -> bytes:
        return self.encoding[0:1] or _DEFAULT_ENCODING[0:1]

    @property
    def repetition_separator(self) -> bytes:
        """Empty where MSH-2 names none and the usual one is taken."""
        return _repetition(self.separator, self.encoding)

    @property
    def escape_character(self) -> bytes:
        """Empty where MSH-2 is too short to name one: then nothing is escaped."""
        return self.encoding[2:3]

    @property
    def subcomponent_separator(self) -> bytes:
        return self.encoding[3:4]

    @property
    def control_id(self) -> bytes:
        """MSH-10, byte for byte."""
        return self.field(10)

    @property
    def message_type(self) -> str:
        """MSH-9 as ``CODE^TRIGGER`` (only ``CODE`` where no trigger is sent), whatever the delimiters."""
        code, trigger = self.component(9, 1), self.component(9, 2)
        return (code + (b"^" + trigger if trigger else b"")).decode("latin-1").strip()


def read_header(message: bytes, default_codec: str = "utf-8") -> Header:
    """Read the MSH segment.

    Args:
        message: one message as received; a byte order mark and blank lines before MSH are passed over.
        default_codec: charset of the source, used where MSH is not ASCII and does not say.

    Raises:
        MessageError: ``HL7-NO-MSH`` where the message does not begin with MSH, ``HL7-DELIMITERS`` where the
            characters after it cannot be delimiters (HL7 v2.5.1 §2.5.4).
    """
    start = _START.match(message)
    if start is None:
        raise MessageError("HL7-NO-MSH", "the message does not begin with an MSH segment")
    separator = start.group(1)
    if separator.isalnum() or not 0x20 < separator[0] < 0x7F:
        raise MessageError("HL7-DELIMITERS", "MSH-1 is not a printable delimiter", segment="MSH", field=1)
    line_end = _LINE_END.search(message, start.end())
    end = line_end.start() if line_end else len(message)
    line = message[start.start(1) - 3 : end]
    parts = _split(line, separator, default_codec)
    # parts[0] is "MSH", parts[1] is MSH-2: MSH-1 is the separator itself
    encoding = parts[1] if len(parts) > 1 else b""
    delimiters = separator + encoding
    if (
        not encoding
        or len(encoding) > 5
        or len(set(delimiters)) != len(delimiters)
        or any(b <= 0x20 or b >= 0x7F or bytes([b]).isalnum() for b in delimiters)
    ):
        raise MessageError(
            "HL7-DELIMITERS", "MSH-2 does not hold distinct delimiters", segment="MSH", field=2
        )
    fields = (parts[0], separator, *parts[1:])
    declared = fields[18] if len(fields) > 18 else b""
    return Header(separator, encoding, fields, end, codec_of(declared, _repetition(separator, encoding)))


def _repetition(separator: bytes, encoding: bytes) -> bytes:
    usual = _DEFAULT_ENCODING[1:2]
    return encoding[1:2] or (b"" if usual in separator + encoding else usual)


def _split(line: bytes, separator: bytes, default_codec: str) -> list[bytes]:
    """Split MSH into fields; in GB 18030 and Big5 only after decoding, for ``|`` may be half an ideograph."""
    parts = line.split(separator)
    shifted = b"\x1b" in line
    if line.isascii() and not shifted:
        return parts
    repetition = parts[1][1:2] if len(parts) > 1 else b""
    named = codec_of(parts[17], repetition) if len(parts) > 17 else None
    if shifted:
        # in ISO 2022 too: MSH-18 itself may stand behind an ideograph that seems to hold a delimiter
        switched = _split_decoded(line, separator, JAPANESE)
        if switched is not None and len(switched) > 17:
            named = codec_of(switched[17], repetition)
        if is_seven_bit(named or default_codec) and switched is not None:
            return switched
    for codec in (*family(named or default_codec), "gb18030"):
        if codec not in TRAIL_BYTES_LOOK_LIKE_DELIMITERS and codec != "utf-8":
            return parts
        split = _split_decoded(line, separator, codec)
        if split is not None:
            return split
    return parts


def _split_decoded(line: bytes, separator: bytes, codec: str) -> list[bytes] | None:
    try:
        return [part.encode(codec) for part in line.decode(codec).split(separator.decode("ascii"))]
    except UnicodeError:
        return None
