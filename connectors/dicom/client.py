"""A sender of DICOM files: C-STORE by pynetdicom's SCU (PS3.4 annex B), for trying a listener out.

Delivery: a file counts as stored when the other side has answered Success or a warning. Where the association breaks
    or the answer is "out of resources", the file is sent again by a new association.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext, build_context

from connectors.dicom.commands import OUT_OF_RESOURCES
from connectors.dicom.upper_layer import VERIFICATION
from schemas.errors import ConfigError, TransportError

CONTEXTS: Final = 128
"""Presentation contexts of an association (PS3.8 §9.3.2.2: odd ids up to 255)."""

RETRY_SECONDS: Final = 1.0
PDU_LENGTH: Final = 16382


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file that can be sent: one with a head (PS3.10 §7.1)."""

    path: Path
    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send.

    Attributes:
        host: of the listener.
        port: of the listener.
        called: its AE title.
        calling: our own.
        tls: None for a plain connection.
        patience: seconds to wait for an answer.
    """

    host: str
    port: int
    called: str = "PHL"
    calling: str = "PHL-SEND"
    tls: ssl.SSLContext | None = None
    patience: float = 60.0


def read_dicom_file(path: Path) -> DicomFile | None:
    """What a file's head says; None where it has none, or one that does not say enough to be sent as it is."""
    try:
        head = read_file_meta_info(path)
        found = DicomFile(path, str(head.MediaStorageSOPClassUID), str(head.TransferSyntaxUID))
    except (InvalidDicomError, AttributeError, OSError, EOFError, ValueError, KeyError):
        return None
    return found if found.sop_class and found.transfer_syntax else None


def contexts_of(files: Iterable[DicomFile]) -> list[PresentationContext]:
    """A context for each SOP class and transfer syntax; those beyond what an association holds are left out."""
    pairs = dict.fromkeys((file.sop_class, file.transfer_syntax) for file in files)
    return [build_context(sop_class, syntax) for sop_class, syntax in list(pairs)[:CONTEXTS]]


def associate(target: Target, contexts: Sequence[PresentationContext]) -> Association:
    """Open an association.

    Raises:
        TransportError: ``DICOM-UNREACHABLE``, or ``DICOM-REJECTED`` for now.
        ConfigError: ``DICOM-REJECTED`` for good: the titles are not those that the other side knows.
    """
    logging.getLogger("pynetdicom").setLevel(
        logging.CRITICAL
    )  # what it logs of failures stands in our errors
    entity = AE(target.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = target.patience
    entity.connection_timeout = target.patience
    # Seen where it comes in: a rejection that is there before the library's other thread looks whether the connection
    # was made counts as one that was not made, since the library has closed it by then.
    rejections: list[A_ASSOCIATE_RJ] = []

    def note(event: Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    association = entity.associate(
        target.host, target.port, list(contexts), target.called, PDU_LENGTH,
        tls_args=(target.tls, target.host) if target.tls else None, evt_handlers=[(evt.EVT_PDU_RECV, note)],
    )  # fmt: skip
    if association.is_established:
        return association
    where: dict[str, str | int] = {"host": target.host, "port": target.port}
    for rejection in rejections:
        if rejection.result == 1:
            raise ConfigError(
                "DICOM-REJECTED", "the other side knows no such AE title, or not from here", **where,
                diagnostic=rejection.reason_diagnostic or 0,
            )  # fmt: skip
        raise TransportError("DICOM-REJECTED", "the other side has too many associations", **where)
    raise TransportError("DICOM-UNREACHABLE", "nobody answers there; is the listener up?", **where)


def echo(target: Target) -> bool:
    """C-ECHO (PS3.7 §9.1.5): whether the other side answers Success.

    Raises:
        TransportError, ConfigError: as ``associate``.
    """
    association = associate(target, [build_context(VERIFICATION)])
    status = association.send_c_echo()
    association.release()
    return bool(status) and status.Status == 0


def send_files(
    target: Target,
    files: Sequence[DicomFile],
    retries: int,
    answered: Callable[[DicomFile, int | None, str], None],
) -> None:
    """Send files one after the other, by one association as long as it holds.

    Args:
        target: where to.
        files: which.
        retries: how often a file is sent again that was answered "out of resources", or not at all.
        answered: called once for each file, with the status and the error comment; None where there was no answer.

    Raises:
        TransportError, ConfigError: as ``associate``, where no file could be sent.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they are, not decoded and encoded again
    contexts = contexts_of(files)
    association = associate(target, contexts)
    for file in files:
        status: int | None = None
        comment = ""
        for attempt in range(retries + 1):
            if attempt:
                time.sleep(RETRY_SECONDS)
            if not association.is_established:
                try:
                    association = associate(target, contexts)
                except TransportError:
                    continue
            status, comment = _send(association, file)
            if status is not None and status & 0xFF00 != OUT_OF_RESOURCES:
                break
        answered(file, status, comment)
    if association.is_established:
        association.release()


def _send(association: Association, file: DicomFile) -> tuple[int | None, str]:
    try:
        answer = association.send_c_store(file.path)
    except ValueError:
        return None, "DICOM-NO-CONTEXT"
    except (AttributeError, OSError, RuntimeError) as error:
        return None, "DICOM-FILE-UNREADABLE" if isinstance(error, OSError | AttributeError) else ""
    if "Status" not in answer:
        return None, ""
    return int(answer.Status), str(answer.get("ErrorComment", "") or "")


def is_stored(status: int | None) -> bool:
    """Whether a status says that the object was stored: Success, or a warning (PS3.7 annex C)."""
    return status is not None and (status == 0 or status & 0xF000 == 0xB000)
