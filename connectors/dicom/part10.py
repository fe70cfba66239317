"""The head that is written before a data set that came by the network, which makes it a DICOM file (PS3.10 §7)."""

from __future__ import annotations

import struct
from typing import Final

from connectors.dicom.header import LONG_VRS

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"

IMPLEMENTATION_CLASS_UID: Final = "2.25.161803398874989484820458683436563811772"
IMPLEMENTATION_VERSION_NAME: Final = "PHL"
"""Without a number: the same data set makes the same file, whichever version of the program took it."""


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10 §7.1) of a data set that came by the network.

    The same arguments give the same bytes. Who sent it is not in there: it stands on the Kafka record.
    """
    elements = b"".join(
        (
            _explicit(0x0001, b"OB", b"\x00\x01"),
            _explicit(0x0002, b"UI", sop_class.encode("ascii")),
            _explicit(0x0003, b"UI", sop_instance.encode("ascii")),
            _explicit(0x0010, b"UI", transfer_syntax.encode("ascii")),
            _explicit(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            _explicit(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
        )
    )
    return b"\x00" * 128 + b"DICM" + _explicit(0x0000, b"UL", struct.pack("<I", len(elements))) + elements


def _explicit(element: int, vr: bytes, value: bytes) -> bytes:
    """An element of group 0002, which is always Explicit VR Little Endian."""
    if len(value) % 2:
        value += b"\x00" if vr == b"UI" else b" "
    length = struct.pack("<HI", 0, len(value)) if vr in LONG_VRS else struct.pack("<H", len(value))
    return struct.pack("<HH", 0x0002, element) + vr + length + value
