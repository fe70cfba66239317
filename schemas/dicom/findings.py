"""Findings of the DICOM reader."""

from __future__ import annotations

from schemas.finding import Finding, Severity

_Q, _I, _W, _N = Severity.QUARANTINED, Severity.IGNORED, Severity.WARNING, Severity.NOTICE

DICOM_FINDINGS: tuple[Finding, ...] = (
    Finding("DICOM-NOT-DICOM", _Q, "The bytes begin neither with a preamble nor with an element of a DICOM file.",
            "PS3.10 §7.1"),
    Finding("DICOM-NO-DATA-SET", _Q, "The file has no data set behind its file meta information.", "PS3.10 §7.1"),
    Finding("DICOM-UID-MISSING", _Q, "Neither data set nor file meta information has a SOP Instance UID.",
            "PS3.3 §C.12.1"),
    Finding("DICOM-DIRECTORY", _I, "The file is a DICOMDIR, which names instances and is none.", "PS3.10 §8.6"),
    Finding("DICOM-PREAMBLE-MISSING", _W, "The file has no preamble; it was read as a bare data set.",
            "PS3.10 §7.1"),
    Finding("DICOM-META-MISSING", _W, "No transfer syntax is stated; the one used was guessed from the first element.",
            "PS3.10 §7.1"),
    Finding("DICOM-META-IMPLICIT", _W, "The file meta information is in implicit VR.", "PS3.10 §7.1"),
    Finding("DICOM-SYNTAX-WRONG", _W, "The data set is not in the transfer syntax that is stated; it was read as it "
            "looks.", "PS3.5 §10"),
    Finding("DICOM-DEFLATE", _W, "The deflated data set is damaged or too large; it was read up to there.",
            "PS3.5 §A.5"),
    Finding("DICOM-VR-UNKNOWN", _W, "An element has no VR, or one that the standard does not know; the dictionary's "
            "was used.", "PS3.5 §6.2"),
    Finding("DICOM-TRUNCATED", _W, "An element or a sequence ends before its length; what stands behind is missing.",
            "PS3.5 §7.1"),
    Finding("DICOM-STRUCTURE", _W, "A sequence holds what is no item; it was read up to there.", "PS3.5 §7.5"),
    Finding("DICOM-DEPTH", _W, "Sequences are nested too deep; the innermost were left out."),
    Finding("DICOM-LENGTH-ODD", _N, "A value has an odd length.", "PS3.5 §7.1.1"),
    Finding("DICOM-ORDER", _N, "Elements are not in the order of their tags.", "PS3.5 §7.1"),
    Finding("DICOM-TAG-REPEATED", _W, "An element is there several times; the first one was used.", "PS3.5 §7.1"),
    Finding("DICOM-UID-INVALID", _W, "A UID has other characters than digits and dots, or more than 64 of them; or "
            "several stand where one does, of which the first was used.", "PS3.5 §9.1"),
    Finding("DICOM-UID-FROM-META", _W, "The data set has no SOP Instance UID; that of the file meta information was "
            "used.", "PS3.3 §C.12.1"),
    Finding("DICOM-STUDY-MISSING", _W, "The instance names no study, or no series.", "PS3.3 §C.7.2.1"),
    Finding("DICOM-PATIENT-ID-MISSING", _W, "The instance has no Patient ID.", "PS3.3 §C.7.1.1"),
    Finding("DICOM-TIME-INVALID", _W, "A date or time is none; it was left empty, or only its date was read.",
            "PS3.5 §6.2"),
    Finding("DICOM-NUMBER-INVALID", _W, "A numeric value is no number; its text was kept among the attributes.",
            "PS3.5 §6.2"),
    Finding("DICOM-CHARSET-UNKNOWN", _W, "Specific Character Set names none that is known; another was used.",
            "PS3.3 §C.12.1.1.2"),
    Finding("DICOM-CHARSET-MISSING", _W, "No character set is stated for texts that are not ASCII; the source's own "
            "was used.", "PS3.3 §C.12.1.1.2"),
    Finding("DICOM-CHARSET-MISMATCH", _W, "Texts are not in the character set that is stated; the source's own was "
            "used.", "PS3.3 §C.12.1.1.2"),
    Finding("DICOM-CHARSET-GUESSED", _W, "Neither the stated nor the source's character set fits the texts; the one "
            "used is a guess.", "PS3.3 §C.12.1.1.2"),
    Finding("DICOM-CHARSET-DOUBTFUL", _W, "Texts can be read in the character set that is stated, and look as if they "
            "were in another.", "PS3.3 §C.12.1.1.2"),
    Finding("DICOM-REJECTION-EMPTY", _W, "A note that takes instances away names none.", "PS3.3 §C.17.2"),
    Finding("DICOM-DOSE-EMPTY", _W, "A radiation dose report holds no dose that could be read.",
            "PS3.16 TID 10001, TID 10011"),
)  # fmt: skip
"""Findings of the DICOM reader."""
