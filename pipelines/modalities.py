"""The modalities that the lake takes in. A new kind of source is one more entry."""

from __future__ import annotations

from pipelines.dicom.modality import DICOM
from pipelines.hl7v2.modality import HL7V2
from pipelines.lab.modality import LAB
from pipelines.steward.modality import STEWARD
from schemas.modality import Modality

MODALITIES: tuple[Modality, ...] = (HL7V2, STEWARD, LAB, DICOM)
