"""Kinds of DICOM objects, and the codes that decide what becomes of them (PS3.16, IHE IOCM)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, which names instances and is none."""

NO_IMAGES = frozenset({"SR", "KO", "PR"})
"""Modalities whose instances are no images."""


class Code(NamedTuple):
    """A code: value, meaning, coding scheme."""

    value: str
    meaning: str
    scheme: str = "DCM"


REJECTED, EXPIRED = "rejected", "expired"

REJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "113001": REJECTED,  # rejected for quality reasons
        "113037": REJECTED,  # rejected for patient safety reasons
        "113038": REJECTED,  # incorrect modality worklist entry
        "113039": EXPIRED,  # data retention policy expired; may be sent again
    }
)
"""Titles of key object notes (DCM) that take instances away (IHE RAD TF-1 §33) → how."""

DOSE_REPORT = Code("113701", "X-Ray Radiation Dose Report")
"""Title of a radiation dose report (TID 10001, TID 10011)."""

DOSE_OF_IMAGES = Code("73569-6", "Radiation exposure and protection information", "LN")
"""What the dose that single images state is reported under; a dose report takes it back."""

CTDI_VOL = Code("113830", "Mean CTDIvol")
MGY = Code("mGy", "mGy", "UCUM")

ACCUMULATED = frozenset({"113702", "113811"})
"""Containers of totals: Accumulated X-Ray Dose Data, CT Accumulated Dose Data."""
ACQUISITION = "113819"
"""Container of one CT acquisition."""
CT_DOSE = "113829"
"""Container of its dose."""
EVENT_UID = "113769"
"""Irradiation event UID."""
SCOPE = "113705"
"""Scope of accumulation; its UID says of which study, series or step the totals are."""
SCOPE_STUDY = "113014"
"""Scope: the study."""
PLANE = "113764"
"""Acquisition plane, of a container of totals."""
