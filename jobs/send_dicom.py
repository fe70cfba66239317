"""Send DICOM files by C-STORE and gather the answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.dicom.client import DicomFile, Target, is_stored, read_dicom_file, send_files
from schemas.errors import IngestError


@dataclass
class SentFiles:
    """What came of sending.

    Attributes:
        answers: (status in hexadecimal, reason) → how many files; the reason is empty where all is well.
        unanswered: files for which no answer came.
        not_dicom: files that have no DICOM head, which were not sent.
        stored: files that the other side says it has.
    """

    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    unanswered: int = 0
    not_dicom: int = 0
    stored: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + self.unanswered

    @property
    def failed(self) -> int:
        return self.total - self.stored

    def count(self, status: int | None, reason: str) -> None:
        """A file was sent."""
        with self._lock:
            self.stored += is_stored(status)
            if status is None and not reason:
                self.unanswered += 1
                return
            key = ("none" if status is None else f"{status:04X}", reason)
            self.answers[key] = self.answers.get(key, 0) + 1

    def summed(self, part: int) -> dict[str, int]:
        """How many files, by status (0) or by reason (1)."""
        found: dict[str, int] = {}
        for key, count in sorted(self.answers.items()):
            if key[part]:
                found[key[part]] = found.get(key[part], 0) + count
        return found


def send_dicom(paths: Sequence[Path], target: Target, *, connections: int = 1, retries: int = 0) -> SentFiles:
    """Send files by some associations at once.

    Args:
        paths: files; those without a DICOM head are counted and left out.
        target: where to.
        connections: associations at once.
        retries: how often a file is sent again that was answered "out of resources", or not at all.

    Raises:
        TransportError: ``DICOM-UNREACHABLE``, ``DICOM-REJECTED``.
        ConfigError: ``DICOM-REJECTED``: an AE title that the other side does not know.
    """
    sent = SentFiles()
    found = [read_dicom_file(path) for path in paths]
    files = [one for one in found if one is not None]
    sent.not_dicom = len(found) - len(files)
    shares = [share for share in (files[start::connections] for start in range(connections)) if share]
    faults: list[IngestError] = []

    def send(share: list[DicomFile]) -> None:
        try:
            send_files(target, share, retries, lambda _file, status, reason: sent.count(status, reason))
        except IngestError as error:
            faults.append(error)

    threads = [threading.Thread(target=send, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return sent
