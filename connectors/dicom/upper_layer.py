"""The acceptor's side of the upper layer protocol (PS3.8 §9): associations, and PDUs as a stream.

pynetdicom reads and writes what is negotiated. Its own association was measured and not taken for the data: it copies
each fragment some six times, looks for work a thousand times a second in two threads of each association, waits for
ever for the rest of a PDU, holds a PDU of whatever length it claims, and reads on while an object is being stored.
Here one thread reads an association, in pieces of a fixed size, and reads on when it has answered.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import NonPatientObjectStorageServiceClass, ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from connectors.dicom.header import BIG_ENDIAN
from connectors.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, IMPLICIT_LITTLE
from connectors.dicom.sources import Rejection

ASSOCIATE_RQ: Final = 0x01
DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
ABORT: Final = 0x07

VERIFICATION: Final = "1.2.840.10008.1.1"
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

UNRECOGNISED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
INVALID_PARAMETER: Final = 6

PDU_LENGTH: Final = 256 * 1024
"""The longest P-DATA-TF PDU that senders are told to send; longer ones are read all the same."""

READ: Final = 256 * 1024
REQUEST_LIMIT: Final = 1024 * 1024
"""Bytes of an A-ASSOCIATE-RQ; 128 contexts with all transfer syntaxes take a tenth."""

_STORAGE: Final = (StorageServiceClass, NonPatientObjectStorageServiceClass)
_NOT_PREFERRED: Final = (IMPLICIT_LITTLE, BIG_ENDIAN)
_ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3


class GoneError(Exception):
    """The other side closed the connection, or was silent for too long."""


class ProtocolError(Exception):
    """The other side does not keep to the protocol.

    Attributes:
        reason: of the A-ABORT (PS3.8 table 9-26).
    """

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class Wire:
    """A socket's bytes, read in large pieces into one buffer; views are good until the next call."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray(READ)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def need(self, count: int) -> memoryview:
        """The next ``count`` bytes, no more than a buffer has.

        Raises:
            GoneError: they do not come.
        """
        while self._end - self._start < count:
            self._fill()
        return self._taken(count)

    def some(self, most: int) -> memoryview:
        """At least one of the next bytes, as many as are there, ``most`` at most.

        Raises:
            GoneError: none comes.
        """
        if self._start == self._end:
            self._fill()
        return self._taken(min(most, self._end - self._start))

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, as many as they are."""
        parts = bytearray()
        while len(parts) < count:
            parts += self.some(count - len(parts))
        return bytes(parts)

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            GoneError: the other side does not take it.
        """
        try:
            self.connection.sendall(data)
        except (OSError, ValueError):
            raise GoneError from None

    def _taken(self, count: int) -> memoryview:
        self._start += count
        return self._view[self._start - count : self._start]

    def _fill(self) -> None:
        if self._start:
            self._view[: self._end - self._start] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, self._end - self._start
        try:
            count = self.connection.recv_into(self._view[self._end :])
        except (OSError, ValueError):
            raise GoneError from None
        if not count:
            raise GoneError
        self._end += count


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ.

    Attributes:
        called: the AE title that we are called by, without blanks around it.
        calling: what the other side calls itself.
        proposed: as pynetdicom reads it.
    """

    called: str
    calling: str
    proposed: A_ASSOCIATE


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context: abstract and transfer syntax."""

    abstract_syntax: str
    transfer_syntax: str


def read_pdu_head(wire: Wire) -> tuple[int, int]:
    """Type and length of the next PDU."""
    kind, _, length = struct.unpack(">BBI", wire.need(6))
    return kind, length


def read_request(wire: Wire) -> Request:
    """The A-ASSOCIATE-RQ that a connection begins with.

    Raises:
        GoneError: nothing comes.
        ProtocolError: something else comes, or it cannot be read.
    """
    kind, length = read_pdu_head(wire)
    if kind != ASSOCIATE_RQ or length > REQUEST_LIMIT:
        raise ProtocolError(UNEXPECTED_PDU if DATA <= kind <= ABORT else UNRECOGNISED_PDU)
    data = struct.pack(">BBI", kind, 0, length) + wire.take(length)
    pdu = A_ASSOCIATE_RQ()
    try:
        pdu.decode(data)
        proposed = pdu.to_primitive()
        return Request(
            (proposed.called_ae_title or "").strip(), (proposed.calling_ae_title or "").strip(), proposed
        )
    except Exception:  # noqa: BLE001 - the library raises whatever comes up on bytes that it cannot read
        raise ProtocolError(INVALID_PARAMETER) from None


def negotiate(request: Request) -> tuple[bytes, Mapping[int, Context]]:
    """Accept what can be stored, and verification.

    All storage SOP classes are accepted, private and unknown ones too, since they may be; of the transfer syntaxes
    proposed the first, for that is how the sender has the object, but one that keeps the VRs before one that does not.

    Returns:
        the A-ASSOCIATE-AC, and the accepted contexts by their id.
    """
    accepted: dict[int, Context] = {}
    answers: list[PresentationContext] = []
    for one in request.proposed.presentation_context_definition_list:
        answer = PresentationContext()
        answer.context_id = one.context_id
        answer.abstract_syntax = one.abstract_syntax
        syntaxes = [str(syntax) for syntax in one.transfer_syntax]
        chosen = next((syntax for syntax in syntaxes if syntax not in _NOT_PREFERRED), syntaxes[0])
        answer.transfer_syntax = [chosen]
        answer.result = 0 if _is_taken(str(one.abstract_syntax)) else _ABSTRACT_SYNTAX_NOT_SUPPORTED
        if answer.result == 0 and one.context_id is not None:
            accepted[one.context_id] = Context(str(one.abstract_syntax), chosen)
        answers.append(answer)
    return _accept(request, answers), accepted


def _is_taken(abstract_syntax: str) -> bool:
    service = uid_to_service_class(abstract_syntax)
    return abstract_syntax == VERIFICATION or service is ServiceClass or service in _STORAGE


def _accept(request: Request, answers: list[PresentationContext]) -> bytes:
    accept = A_ASSOCIATE()
    accept.application_context_name = APPLICATION_CONTEXT
    accept.calling_ae_title = request.proposed.calling_ae_title
    accept.called_ae_title = request.proposed.called_ae_title
    accept.result = 0
    accept.result_source = 1
    accept.presentation_context_definition_results_list = answers
    length = MaximumLengthNotification()
    length.maximum_length_received = PDU_LENGTH
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    accept.user_information = [length, implementation, version]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(accept)
    return pdu.encode()


def rejected(why: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""
    return struct.pack(">BBIBBBB", 0x03, 0, 4, 0, why.result, why.source, why.diagnostic)


def aborted(reason: int | None = None) -> bytes:
    """An A-ABORT: by the provider for a reason (PS3.8 table 9-26), else by us, who stop."""
    return struct.pack(">BBIBBBB", ABORT, 0, 4, 0, 0, 0 if reason is None else 2, reason or 0)


RELEASED: Final = struct.pack(">BBII", 0x06, 0, 4, 0)
"""An A-RELEASE-RP."""


def command_pdu(context_id: int, command: bytes) -> bytes:
    """A command set as one PDU; answers are shorter than any PDU length that is allowed."""
    return struct.pack(">BBIIBB", DATA, 0, len(command) + 6, len(command) + 2, context_id, 0x03) + command
