"""What a medium's directory (DICOMDIR, PS3.3 §F, PS3.10 §8.6) says that the medium holds."""

from __future__ import annotations

import io
import re
import struct
from typing import Final

_FAULTS: Final = (
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, NotImplementedError,
    RecursionError, struct.error,
)  # fmt: skip
"""What pydicom raises at damaged files, beside errors of its own."""
_VERSION: Final = re.compile(r"(;\d+)?$")


def referenced(data: bytes) -> frozenset[str] | None:
    """The files that a DICOMDIR's records name: relative to its folder, ``/`` between, in small letters.

    Args:
        data: the whole DICOMDIR.

    Returns:
        None where it cannot be read.
    """
    import pydicom  # noqa: PLC0415 - it takes a while, and few archives have a DICOMDIR
    from pydicom.errors import BytesLengthException, InvalidDicomError  # noqa: PLC0415

    names = set()
    try:
        directory = pydicom.dcmread(io.BytesIO(data), specific_tags=["DirectoryRecordSequence"])
        for record in directory.DirectoryRecordSequence:
            parts = record.get("ReferencedFileID") or ()
            if parts:
                names.add(named("/".join([parts] if isinstance(parts, str) else parts)))
    except (BytesLengthException, InvalidDicomError, *_FAULTS):
        return None
    return frozenset(names)


def named(path: str) -> str:
    """A name as it can be compared: media spell it in either case, and with ``;1`` or a point behind it."""
    return _VERSION.sub("", path).rstrip(".").lower()
