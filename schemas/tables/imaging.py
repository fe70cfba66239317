"""``normalised/imaging_*``: what the headers of DICOM instances say of study, series and instance.

Every instance states its study and its series anew, so each message has one row in each of the three tables.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.dicom.attributes import INSTANCE, SERIES, STUDY, Attribute, fields_of
from schemas.table import Field, Table
from schemas.tables.columns import code, many, normalised, text
from schemas.tables.raw import ATTACHMENT
from schemas.tables.structures import ENTITY, IDENTIFIER

_SUBJECT: tuple[Field, ...] = (
    text("patient_id", "Patient ID; empty where the source's Patient ID is the number of an examination.",
         "(0010,0020)"),
    text("patient_authority", "Its issuer; else the first authority that is set for the source; else "
         "source/institution.", "(0010,0021), (0010,0024)"),
)  # fmt: skip

_STUDY_UID = text("study_instance_uid", "Study Instance UID.", "(0020,000D)")
_SERIES_UID = text("series_instance_uid", "Series Instance UID.", "(0020,000E)")
_INSTANCE_UID = text("sop_instance_uid", "SOP Instance UID.", "(0008,0018)")


def _fields(attributes: tuple[Attribute, ...]) -> tuple[Field, ...]:
    return tuple(field for attribute in attributes for field in fields_of(attribute))


IMAGING_STUDY = normalised(
    "imaging_study",
    "What an instance says of its study and of the patient.",
    _STUDY_UID,
    *_SUBJECT,
    text("patient_id_type", "Type of the patient ID, such as TEXT or RFID.", "(0010,0022)"),
    text("examination_number", "Patient ID of a source that puts the number of an examination there.",
         "(0010,0020)"),
    many("identifiers", IDENTIFIER, "Patient ID and other patient IDs, each with its issuer.",
         "(0010,0020), (0010,1000), (0010,1002)"),
    text("accession_number", "Accession number; else the first one of the requests.",
         "(0008,0050), (0040,0275)"),
    text("accession_authority", "Its issuer.", "(0008,0051)"),
    many("accessions", ENTITY, "All accession numbers, those of several requests too.",
         "(0008,0050), (0040,0275)>(0008,0050)"),
    *_fields(STUDY),
)  # fmt: skip

IMAGING_SERIES = normalised(
    "imaging_series",
    "What an instance says of its series and of the equipment.",
    _STUDY_UID,
    _SERIES_UID,
    *_SUBJECT,
    *_fields(SERIES),
)

IMAGING_INSTANCE = normalised(
    "imaging_instance",
    "An instance: an image, a report or another object, with where its bytes lie.",
    _STUDY_UID,
    _SERIES_UID,
    _INSTANCE_UID,
    *_SUBJECT,
    text("status", "Always current; what takes instances away stands in imaging_rejection."),
    text("sop_class_uid", "SOP class UID.", "(0008,0016)"),
    text("sop_class", "Name of the SOP class."),
    text("transfer_syntax_uid", "Transfer syntax UID; where the header has none, the one that was guessed.",
         "(0002,0010)"),
    Field("is_image", pa.bool_(), "Whether it counts as an image; reports, key object notes and presentation "
          "states do not."),
    *_fields(INSTANCE),
    many("referenced_instances", pa.string(), "SOP Instance UIDs that a key object note or a report refers to "
         "as evidence.", "(0040,A375)"),
    text("charset_declared", "Specific Character Set as sent.", "(0008,0005)"),
    text("charset_used", "Python's name of the character set that texts were read in."),
    Field("charset_guessed", pa.bool_(), "Whether neither the header nor the source named what was used."),
    *ATTACHMENT,
    text("attributes", "All attributes that no column holds, private ones and sequences too, as DICOM JSON "
         "(PS3.18 annex F); what is large is left out, with its offset and length.", ""),
)  # fmt: skip

IMAGING_REJECTION = normalised(
    "imaging_rejection",
    "An instance that a key object note takes away (IHE IOCM).",
    _STUDY_UID,
    _SERIES_UID,
    _INSTANCE_UID,
    *_SUBJECT,
    text("status", "rejected: for good; expired: until it is sent again."),
    *code("reason", "Why: title of the note", "(0040,A043)"),
    text("document_uid", "SOP Instance UID of the note.", "(0008,0018)"),
)

IMAGING: tuple[Table, ...] = (IMAGING_STUDY, IMAGING_SERIES, IMAGING_INSTANCE, IMAGING_REJECTION)
"""The tables of images."""
