"""DIMSE command sets (PS3.7 §6.3, §9.3): read and written as bytes; always Implicit VR Little Endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000
"""Set in the command field of a response (PS3.7 §E.1)."""

NO_DATA_SET: Final = 0x0101
"""Command data set type of a message without data set."""

AFFECTED_SOP_CLASS: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_ANSWERED: Final = 0x0120
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE: Final = 0x1000

SUCCESS: Final = 0x0000
INVALID_INSTANCE: Final = 0x0117
"""The SOP instance UID is no UID (PS3.7 §C.5.18)."""
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
UNRECOGNISED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
"""Also: too large, or what has to keep it does not answer; worth sending again (PS3.4 table B.2-1)."""
MISMATCH: Final = 0xA900
"""The data set is not of the SOP class, or not the instance, that the command names."""
CANNOT_UNDERSTAND: Final = 0xC000


@dataclass(frozen=True, slots=True)
class Command:
    """What a command set says.

    Attributes:
        elements: values by element number of group 0000.
    """

    elements: Mapping[int, bytes]

    def number(self, element: int) -> int:
        """A US value; 0 where it is absent or no such."""
        value = self.elements.get(element, b"")
        return int(struct.unpack("<H", value)[0]) if len(value) == 2 else 0

    def text(self, element: int) -> str:
        return self.elements.get(element, b"").rstrip(b"\x00 ").decode("ascii", "replace")

    @property
    def has_data_set(self) -> bool:
        return self.number(DATA_SET_TYPE) != NO_DATA_SET


def read_command(data: bytes) -> Command | None:
    """Read a command set; None where the bytes are none."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            return None
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if group != 0 or at + length > len(data):
            return None
        elements[element] = data[at : at + length]
        at += length
    return Command(elements) if COMMAND_FIELD in elements else None


def write_command(elements: Mapping[int, int | str]) -> bytes:
    """The bytes of a command set: numbers as US, texts as UI or LO, group length before them."""
    body = b"".join(_element(number, value) for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(number: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return struct.pack("<HHIH", 0, number, 2, value)
    data = value.encode("ascii", "replace")
    if len(data) % 2:
        data += b" " if number == ERROR_COMMENT else b"\x00"
    return struct.pack("<HHI", 0, number, len(data)) + data


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The answer to a request, without data set."""
    elements: dict[int, int | str] = {
        COMMAND_FIELD: request.number(COMMAND_FIELD) | RESPONSE,
        MESSAGE_ID_ANSWERED: request.number(MESSAGE_ID),
        DATA_SET_TYPE: NO_DATA_SET,
        STATUS: status,
    }
    for element in (AFFECTED_SOP_CLASS, AFFECTED_SOP_INSTANCE):
        if element in request.elements:
            elements[element] = request.text(element)
    if comment:
        elements[ERROR_COMMENT] = comment[:64]
    return write_command(elements)
