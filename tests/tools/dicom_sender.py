"""Synthetic DICOM objects and a sender of bytes: it takes little CPU, and can stop wherever a test wants it to."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation

from connectors.dicom.commands import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    STATUS,
    read_command,
    write_command,
)
from connectors.dicom.part10 import file_head

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
ROOT: Final = "1.2.826.0.1.3680043.8.498.77"
_LONG: Final = (b"OB", b"OW", b"UN", b"SQ", b"UT")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element of Explicit VR Little Endian."""
    if len(value) % 2:
        value += b"\x00" if vr in (b"UI", b"OB") else b" "
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value


def uid(number: int) -> str:
    """The SOP instance UID of the synthetic object of that number."""
    return f"{ROOT}.1.{number}"


def instance(
    number: int,
    pixels: int = 1000,
    *,
    patient: str = "TEST^PATIENT",
    sop_class: str = CT,
    comment: bytes = b"",
) -> bytes:
    """The data set of a synthetic image; its comment makes the header as long as a test wants it."""
    parts = [
        element(0x00080016, b"UI", sop_class.encode()),
        element(0x00080018, b"UI", uid(number).encode()),
        element(0x00080060, b"CS", b"CT"),
        element(0x00100010, b"PN", patient.encode()),
        element(0x00100020, b"LO", b"P1"),
        element(0x0020000D, b"UI", f"{ROOT}.2.{number // 10}".encode()),
        element(0x0020000E, b"UI", f"{ROOT}.3.{number // 10}".encode()),
        element(0x00280010, b"US", struct.pack("<H", 1)),
    ]
    if comment:
        parts.append(element(0x00404000, b"UT", comment))
    if pixels:
        parts.append(element(0x7FE00010, b"OW", bytes([number % 256]) * pixels))
    return b"".join(parts)


def write_file(folder: Path, number: int, pixels: int = 1000, *, patient: str = "TEST^PATIENT") -> Path:
    """A DICOM file of a synthetic image."""
    path = folder / f"{number}.dcm"
    path.write_bytes(file_head(CT, uid(number), EXPLICIT) + instance(number, pixels, patient=patient))
    return path


def request(called: str, calling: str, contexts: list[tuple[str, list[str]]]) -> bytes:
    """An A-ASSOCIATE-RQ."""
    proposed = A_ASSOCIATE()
    proposed.application_context_name = "1.2.840.10008.3.1.1.1"
    proposed.called_ae_title, proposed.calling_ae_title = called, calling
    for number, (abstract, transfer) in enumerate(contexts):
        context = build_context(abstract, transfer)
        context.context_id = 2 * number + 1
        proposed.presentation_context_definition_list = [
            *proposed.presentation_context_definition_list, context,
        ]  # fmt: skip
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = ROOT
    proposed.user_information = [length, implementation]
    here = AddressInformation("127.0.0.1", 104)
    proposed.calling_presentation_address = proposed.called_presentation_address = here
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(proposed)
    return pdu.encode()


def fragment(control: int, data: bytes, context_id: int = 1) -> bytes:
    """A P-DATA-TF PDU with one presentation data value (PS3.8 §9.3.5, annex E)."""
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, context_id, control) + data


def store_command(number: int, sop_class: str = CT, sop_instance: str = "") -> bytes:
    """The command set of a C-STORE request."""
    return write_command(
        {
            AFFECTED_SOP_CLASS: sop_class,
            COMMAND_FIELD: 0x0001,
            MESSAGE_ID: number % 60_000 + 1,
            0x0700: 0,
            DATA_SET_TYPE: 0x0001,
            AFFECTED_SOP_INSTANCE: sop_instance or uid(number),
        }
    )


def store_pdus(number: int, data_set: bytes, pdu_length: int = 16382) -> Iterator[bytes]:
    """A C-STORE request."""
    yield fragment(3, store_command(number))
    step = pdu_length - 6
    for start in range(0, len(data_set), step):
        yield fragment(2 if start + step >= len(data_set) else 0, data_set[start : start + step])


class RawSender:
    """One association, byte by byte.

    Attributes:
        answer: type of the PDU that answered the request: 2 accepted, 3 rejected, 7 aborted.
        reason: of a rejection: result, source, diagnostic.
    """

    def __init__(
        self,
        port: int,
        *,
        called: str = "PHL",
        calling: str = "TEST",
        contexts: tuple[tuple[str, list[str]], ...] = ((CT, [EXPLICIT]),),
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.sendall(request(called, calling, list(contexts)))
        self.answer, self.body = self.pdu()
        self.reason = tuple(self.body[1:4]) if self.answer == 3 else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def store(self, number: int, data_set: bytes, pdu_length: int = 16382) -> int:
        """Send an object and return the status of the answer."""
        self.socket.sendall(b"".join(store_pdus(number, data_set, pdu_length)))
        return self.status()

    def status(self) -> int:
        """The status that comes next.

        Raises:
            EOFError: the other side ends the association.
        """
        kind, body = self.pdu()
        if kind != 4:
            raise EOFError
        command = read_command(body[6:])
        assert command is not None
        return command.number(STATUS)

    def release(self) -> int:
        """End the association; the type of the PDU that answers (6)."""
        self.socket.sendall(struct.pack(">BBII", 5, 0, 4, 0))
        return self.pdu()[0]

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU: type and content."""
        head = self._read(6)
        return head[0], self._read(struct.unpack(">I", head[2:])[0])

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data
