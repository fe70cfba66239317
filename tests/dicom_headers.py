"""DICOM headers for tests, written by pydicom."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
KO = "1.2.840.10008.5.1.4.1.1.88.59"
DOSE_SR = "1.2.840.10008.5.1.4.1.1.88.67"
ROOT = "1.2.826.0.1.3680043.10.1."
"""Of all UIDs of tests."""


def coded(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """An item of a sequence of codes."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(**attributes: Any) -> Dataset:
    """A data set of attributes by keyword; a list of data sets is a sequence."""
    made = Dataset()
    for name, value in attributes.items():
        nested = isinstance(value, list) and any(isinstance(one, Dataset) for one in value)
        setattr(made, name, Sequence(value) if nested else value)
    return made


def header(syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """A file without pixels: a CT slice, unless the attributes say otherwise (None: not there)."""
    given = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{ROOT}1.1.1",
        "StudyInstanceUID": f"{ROOT}1",
        "SeriesInstanceUID": f"{ROOT}1.1",
        "Modality": "CT",
        "StudyDate": "20260301",
        "StudyTime": "081500",
        "PatientID": "P1",
        "PatientName": "Li^Wei",
        "Rows": 4,
        "Columns": 4,
        **attributes,
    }
    content = item(**{name: value for name, value in given.items() if value is not None})
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(given["SOPClassUID"] or CT)
    meta.MediaStorageSOPInstanceUID = UID(given["SOPInstanceUID"] or f"{ROOT}9")
    meta.TransferSyntaxUID = UID(syntax)
    made = FileDataset(
        "", content, preamble=b"\0" * 128, file_meta=meta,
        is_implicit_VR=meta.TransferSyntaxUID.is_implicit_VR, is_little_endian=meta.TransferSyntaxUID.is_little_endian,
    )  # fmt: skip
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def evidence(*instances: str, study: str = f"{ROOT}1", series: str = f"{ROOT}1.1") -> list[Dataset]:
    """The evidence of a document: instances of a series."""
    refers = [item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=one) for one in instances]
    return [
        item(
            StudyInstanceUID=study,
            ReferencedSeriesSequence=[item(SeriesInstanceUID=series, ReferencedSOPSequence=refers)],
        )
    ]


def note(code: str, *instances: str, uid: str = f"{ROOT}1.9.1") -> bytes:
    """A key object note that takes instances away."""
    return header(
        SOPClassUID=KO,
        SOPInstanceUID=uid,
        SeriesInstanceUID=f"{ROOT}1.9",
        Modality="KO",
        Rows=None,
        Columns=None,
        ConceptNameCodeSequence=[coded(code, "why")],
        CurrentRequestedProcedureEvidenceSequence=evidence(*instances),
    )


def number(code: str, meaning: str, value: str, unit: str) -> Dataset:
    """A measured number of a report."""
    return item(
        RelationshipType="CONTAINS",
        ValueType="NUM",
        ConceptNameCodeSequence=[coded(code, meaning)],
        MeasuredValueSequence=[
            item(NumericValue=value, MeasurementUnitsCodeSequence=[coded(unit, unit, "UCUM")])
        ],
    )


def container(code: str, meaning: str, *content: Dataset) -> Dataset:
    """A container of a report."""
    return item(
        RelationshipType="CONTAINS",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[coded(code, meaning)],
        ContentSequence=list(content),
    )


def dose_report(uid: str = f"{ROOT}1.8.1", total: str = "250.5", ctdi: str = "7.5") -> bytes:
    """A radiation dose report of a CT (TID 10011) with one acquisition."""
    event = item(
        RelationshipType="CONTAINS", ValueType="UIDREF", UID=f"{ROOT}1.7.1",
        ConceptNameCodeSequence=[coded("113769", "Irradiation Event UID")],
    )  # fmt: skip
    return header(
        SOPClassUID=DOSE_SR,
        SOPInstanceUID=uid,
        SeriesInstanceUID=f"{ROOT}1.8",
        Modality="SR",
        Rows=None,
        Columns=None,
        CompletionFlag="COMPLETE",
        VerificationFlag="UNVERIFIED",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[coded("113701", "X-Ray Radiation Dose Report")],
        ContentSequence=[
            container(
                "113811", "CT Accumulated Dose Data",
                number("113812", "Total Number of Irradiation Events", "1", "{events}"),
                number("113813", "CT Dose Length Product Total", total, "mGy.cm"),
            ),
            container(
                "113819", "CT Acquisition", event,
                container(
                    "113829", "CT Dose",
                    number("113830", "Mean CTDIvol", ctdi, "mGy"),
                    number("113838", "DLP", total, "mGy.cm"),
                ),
            ),
        ],
    )  # fmt: skip
