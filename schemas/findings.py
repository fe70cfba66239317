"""Every finding on a message: its stable code, how grave it is, and one fixed sentence.

A finding tells of a deviation by code and coordinates; the sentence is the same for every message, so that
nothing of a patient can get into it.
"""

from __future__ import annotations

from types import MappingProxyType

from schemas.dicom.findings import DICOM_FINDINGS
from schemas.finding import Finding, Severity

HL7_FINDINGS: tuple[Finding, ...] = (
    Finding(
        "HL7-NO-MSH",
        Severity.QUARANTINED,
        "The message does not begin with an MSH segment.",
        "HL7 v2.5.1 §2.5",
    ),
    Finding(
        "HL7-DELIMITERS",
        Severity.QUARANTINED,
        "MSH-1 and MSH-2 do not hold distinct printable delimiters.",
        "HL7 v2.5.1 §2.5.4",
    ),
    Finding(
        "HL7-CHARSET-UNSUPPORTED",
        Severity.QUARANTINED,
        "The message is, or says it is, in UTF-16 or UTF-32, which the framing of messages cannot carry.",
        "HL7 v2.5.1 §2.15.9.18",
    ),
    Finding(
        "HL7-PROCESSING-ID",
        Severity.IGNORED,
        "The processing id is not among those that are accepted from this source.",
        "HL7 v2.5.1 §2.15.9.11",
    ),
    Finding(
        "HL7-REPLY",
        Severity.IGNORED,
        "The message answers another one and states nothing of its own.",
        "HL7 v2.5.1 table 0076",
    ),
    Finding(
        "HL7-QUERY",
        Severity.IGNORED,
        "The message asks for something and states nothing.",
        "HL7 v2.5.1 table 0076",
    ),
    Finding(
        "HL7-CHARSET-UNKNOWN",
        Severity.NOTICE,
        "MSH-18 names no known character set; the source's own was used.",
        "HL7 v2.5.1 §2.15.9.18",
    ),
    Finding(
        "HL7-CHARSET-MISMATCH",
        Severity.WARNING,
        "The message is not in the character set that MSH-18 names; another was used.",
        "HL7 v2.5.1 §2.15.9.18",
    ),
    Finding(
        "HL7-CHARSET-GUESSED",
        Severity.WARNING,
        "Neither the declared nor the source's character set fits the message; the one used is a guess.",
        "HL7 v2.5.1 §2.15.9.18",
    ),
    Finding(
        "HL7-CHARSET-DOUBTFUL",
        Severity.WARNING,
        "The message can be read in the character set that was used, but all of it is also valid UTF-8.",
        "HL7 v2.5.1 §2.15.9.18",
    ),
    Finding(
        "HL7-SEGMENT-CONTINUED",
        Severity.NOTICE,
        "ADD segments were joined to the segment that they continue, and are not counted as segments.",
        "HL7 v2.5.1 §2.10.2",
    ),
    Finding(
        "HL7-FRAGMENT",
        Severity.WARNING,
        "The message is part of one that was sent in several; what stands in the others is not joined to it.",
        "HL7 v2.5.1 §2.10.2",
    ),
    Finding(
        "HL7-CONTROL-ID-MISSING",
        Severity.WARNING,
        "MSH-10, which names the message, is empty.",
        "HL7 v2.5.1 §2.15.9.10",
    ),
    Finding("HL7-TYPE-MISSING", Severity.WARNING, "MSH-9 names no message type.", "HL7 v2.5.1 §2.15.9.9"),
    Finding(
        "HL7-EVENT-TIME-MISSING",
        Severity.WARNING,
        "MSH-7 is empty; the message has no time of its own.",
        "HL7 v2.5.1 §2.15.9.7",
    ),
    Finding(
        "HL7-EVENT-TIME-RANGE",
        Severity.WARNING,
        "MSH-7 lies outside the years 1900 to 2199 and was not used.",
        "HL7 v2.5.1 §2.15.9.7",
    ),
    Finding(
        "HL7-DTM-INVALID",
        Severity.WARNING,
        "A date or time is not one that HL7 allows, or lies outside the years 1000 to 9998; it was left empty.",
        "HL7 v2.5.1 §2.A.22, §2.A.77",
    ),
    Finding(
        "HL7-NM-INVALID",
        Severity.WARNING,
        "A numeric value is not a number that HL7 allows; its text was kept.",
        "HL7 v2.5.1 §2.A.47",
    ),
    Finding(
        "HL7-SN-INVALID",
        Severity.WARNING,
        "The comparator or separator of a structured numeric is none that HL7 has; it was kept as it was sent.",
        "HL7 v2.5.1 §2.A.70",
    ),
    Finding(
        "HL7-ED-INVALID",
        Severity.WARNING,
        "An embedded document does not decode by the encoding that it names; its text was kept.",
        "HL7 v2.5.1 §2.A.24",
    ),
    Finding(
        "HL7-VERSION-TIME-FUTURE",
        Severity.WARNING,
        "The time of this version is more than a day after its receipt; the time of receipt counts.",
    ),
    Finding(
        "HL7-PATIENT-ID-MISSING",
        Severity.WARNING,
        "A PID segment carries no patient identifier.",
        "HL7 v2.5.1 §3.4.2.3",
    ),
    Finding(
        "HL7-ORDER-MISSING",
        Severity.WARNING,
        "An OBX segment follows no OBR of its patient.",
        "HL7 v2.5.1 §7.3.1",
    ),
    Finding(
        "HL7-STATUS-MISSING",
        Severity.NOTICE,
        "Neither OBX-11 nor OBR-25 says how final the result is.",
        "HL7 v2.5.1 §7.4.2.11",
    ),
)
"""Findings of the HL7 v2 reader."""

RECORD_FINDINGS: tuple[Finding, ...] = (
    Finding("RECORD-EMPTY", Severity.QUARANTINED, "The record in Kafka holds no message."),
    Finding(
        "OBJECT-MISSING",
        Severity.QUARANTINED,
        "The object that holds the message is not in the lake's store.",
    ),
    Finding(
        "OBJECT-DAMAGED",
        Severity.QUARANTINED,
        "The object that holds the message has not the hash it was sent with.",
    ),
)
"""Findings on records, whatever kind of message they hold."""

IDENTITY_FINDINGS: tuple[Finding, ...] = (
    Finding(
        "IDENTITY-UNFIT",
        Severity.WARNING,
        "MRG and PID (or PV1) do not fit the event that they belong to; nothing was changed.",
        "HL7 v2.5.1 §3.6.2",
    ),
    Finding(
        "IDENTITY-UNPAIRED",
        Severity.WARNING,
        "A prior identifier has none of its type that it becomes; it was not changed.",
        "HL7 v2.5.1 §3.4.9.1",
    ),
    Finding(
        "IDENTITY-NOT-OWNER",
        Severity.WARNING,
        "The source states something of identifiers whose authority is another's; it was not applied.",
    ),
    Finding(
        "IDENTITY-STILL-CONNECTED",
        Severity.WARNING,
        "Two identifiers were unlinked that are still connected in another way; nothing was changed.",
        "HL7 v2.5.1 §3.3.37",
    ),
    Finding(
        "IDENTITY-CANNOT-LINK",
        Severity.WARNING,
        "A statement would join what a steward said must not be joined; it was not applied.",
    ),
)
"""Findings on statements of who is who; they stand in ``curated/patient_link`` and in the steward's queue."""

STEWARD_FINDINGS: tuple[Finding, ...] = (
    Finding("STEWARD-UNREADABLE", Severity.QUARANTINED, "The steward's event is no JSON object in UTF-8."),
    Finding(
        "STEWARD-INCOMPLETE",
        Severity.QUARANTINED,
        "The steward's event lacks id, action, time, steward, reason or one of two different identifiers.",
    ),
)
"""Findings on events of stewards."""

LAB_FILE_FINDINGS: tuple[Finding, ...] = (
    Finding(
        "LAB-FILE-MAPPING",
        Severity.QUARANTINED,
        "The source of the result file has no mapping that says what its columns are.",
    ),
    Finding(
        "LAB-FILE-CHARSET",
        Severity.QUARANTINED,
        "The result file is in no character set that could be found.",
    ),
    Finding(
        "LAB-FILE-HEADER",
        Severity.QUARANTINED,
        "A column that the mapping names is not among the headings of the result file, or is there several times.",
    ),
    Finding(
        "LAB-FILE-LINES",
        Severity.QUARANTINED,
        "The result file has more lines and columns than are read together; it has to be dropped in parts.",
    ),
    Finding(
        "LAB-LINE-BYTES", Severity.QUARANTINED, "The line is not in the file's character set, or has NULs."
    ),
    Finding(
        "LAB-LINE-QUOTES", Severity.QUARANTINED, "A quote is not closed, or not at the end of its column."
    ),
    Finding(
        "LAB-LINE-COLUMNS",
        Severity.QUARANTINED,
        "The line has not as many columns as the others, or a character lies across two fixed columns.",
    ),
    Finding(
        "LAB-LINE-TIME",
        Severity.QUARANTINED,
        "A time that orders results, or that the mapping needs, is in none of the forms that the mapping has.",
    ),
    Finding(
        "LAB-LINE-INCOMPLETE",
        Severity.QUARANTINED,
        "The line has nothing in a column that the mapping needs, names no test, or neither patient nor order.",
    ),
    Finding(
        "LAB-CHARSET-MISMATCH",
        Severity.WARNING,
        "The result file is not in the character set that the mapping says; another was used.",
    ),
    Finding(
        "LAB-TIME-INVALID", Severity.WARNING, "A date or time is in none of the forms that the mapping has."
    ),
    Finding(
        "LAB-STATUS-UNKNOWN",
        Severity.WARNING,
        "The mapping does not say what a status means; the result counts as preliminary.",
    ),
)
"""Findings on result files of laboratories; of one that is quarantined alone the place is the line's number."""

LAB_ASTM_FINDINGS: tuple[Finding, ...] = (
    Finding(
        "LAB-ASTM-CHARSET",
        Severity.QUARANTINED,
        "The instrument's message is in no character set that could be found.",
    ),
    Finding(
        "LAB-ASTM-HEADER",
        Severity.QUARANTINED,
        "The instrument's message does not begin with an H record that declares a field delimiter.",
        "LIS2-A2 §6.2",
    ),
    Finding(
        "LAB-PROCESSING-ID",
        Severity.IGNORED,
        "The message is of training or debugging, which is not accepted from this source.",
        "LIS2-A2 §6.12",
    ),
    Finding(
        "LAB-ASTM-CHARSET-MISMATCH",
        Severity.WARNING,
        "The instrument's message is not in the character set of its source; another was used.",
    ),
    Finding(
        "LAB-DELIMITERS",
        Severity.WARNING,
        "H-2 does not declare distinct delimiters; the standard's own were used for those that it lacks.",
        "LIS2-A2 §6.2",
    ),
    Finding(
        "LAB-ESCAPE",
        Severity.NOTICE,
        "An escape is none of the standard's; it is left as it was sent.",
        "LIS2-A2 §5",
    ),
    Finding("LAB-CONTROL-CHARACTER", Severity.WARNING, "A record has NUL characters.", "LIS2-A2 §5"),
    Finding(
        "LAB-RECORD-UNKNOWN",
        Severity.WARNING,
        "A record is of no type that the standard has; it is kept as it was sent.",
        "LIS2-A2 §5",
    ),
    Finding(
        "LAB-NESTING",
        Severity.WARNING,
        "A record stands where its type does not belong: O without P, R without O, or a second H.",
        "LIS2-A2 §5",
    ),
    Finding(
        "LAB-SEQUENCE",
        Severity.NOTICE,
        "The record's sequence number does not follow that of the one before.",
        "LIS2-A2 §5",
    ),
    Finding(
        "LAB-NO-TERMINATOR",
        Severity.WARNING,
        "The message has no L record: its end may be missing.",
        "LIS2-A2 §12",
    ),
    Finding(
        "LAB-RECORD-CUT",
        Severity.WARNING,
        "The message ends within a record; what came of that record is kept as it was sent, and not read.",
        "LIS2-A2 §5",
    ),
    Finding("LAB-AFTER-TERMINATOR", Severity.WARNING, "A record follows the L record.", "LIS2-A2 §12"),
    Finding(
        "LAB-TERMINATOR",
        Severity.WARNING,
        "L-3 says that the message did not end normally, or is no code of the standard.",
        "LIS2-A2 §12.3",
    ),
    Finding(
        "LAB-TEST-MISSING",
        Severity.WARNING,
        "The R record names no test where the instrument's profile says; it is kept as it was sent.",
        "LIS2-A2 §9.3",
    ),
    Finding("LAB-RESULT-STATUS", Severity.NOTICE, "R-9 is no result status of the standard.", "LIS2-A2 §9.9"),
    Finding(
        "LAB-RECORD-TIME",
        Severity.WARNING,
        "A date or time is not written as the standard says.",
        "LIS2-A2 §5",
    ),
)
"""Findings on messages of laboratory instruments; the place is the record's."""

FINDINGS = MappingProxyType(
    {
        finding.code: finding
        for finding in (
            *RECORD_FINDINGS,
            *HL7_FINDINGS,
            *IDENTITY_FINDINGS,
            *STEWARD_FINDINGS,
            *DICOM_FINDINGS,
            *LAB_FILE_FINDINGS,
            *LAB_ASTM_FINDINGS,
        )
    }
)
"""All findings by code."""

__all__ = [
    "DICOM_FINDINGS", "FINDINGS", "HL7_FINDINGS", "IDENTITY_FINDINGS", "RECORD_FINDINGS", "STEWARD_FINDINGS", "Finding",
    "Severity",
]  # fmt: skip
