"""``normalised/patient_link``: from MRG (HL7 v2.5.1 §3.4.9) and from the second PID of A17, A24 and A37."""

from __future__ import annotations

from schemas.tables.columns import SUBJECT, instant, many, normalised, text
from schemas.tables.structures import HUMAN_NAME, IDENTIFIER

PATIENT_LINK = normalised(
    "patient_link",
    "What a message says of two identities: that one takes the other's place, or that they are linked or not.",
    *SUBJECT,
    text("stated_in", "Segment that states it: MRG for a merge, move or change; the second PID for a link."),
    text("event_code", "Event as EVN tells it; MSH-9 stands in message_type.", "EVN-1.1"),
    *instant("recorded_time", "When the event was recorded or happened.", "EVN-2"),
    many(
        "identifiers",
        IDENTIFIER,
        "Identifiers of the patient that stays, or of the one that is linked.",
        "PID-3, PID-2, PID-4, PID-19",
    ),
    many("listed_identifiers", IDENTIFIER, "Those of them that stand in its list of identifiers.", "PID-3"),
    many(
        "external_identifiers", IDENTIFIER, "Those that stand in the older field of an external one.", "PID-2"
    ),
    many("alternate_identifiers", IDENTIFIER, "Those that stand in the field of alternate ones.", "PID-4"),
    text("family_name", "Family name of that patient.", "PID-5.1.1"),
    text("given_name", "Given name of that patient.", "PID-5.2"),
    text("account_number", "Account that stays.", "PID-18.1"),
    text("account_authority", "Its assigning authority.", "PID-18.4.1, PID-18.4.2"),
    text(
        "visit_authority",
        "Assigning authority of the visit number.",
        "PV1(next)-19.4.1, PV1(next)-19.4.2, PV1-19.4.1, PV1-19.4.2",
    ),
    text("alternate_visit_number", "Alternate visit number that stays.", "PV1(next)-50.1, PV1-50.1"),
    text(
        "other_patient_id",
        "First identifier of the other: the one that is given up, or linked to.",
        "MRG-1.1, MRG-4.1, PID(1)-3.1, PID(1)-2.1",
    ),
    text(
        "other_patient_authority",
        "Its assigning authority as sent.",
        "MRG-1.4.1, MRG-1.4.2, MRG-4.4.1, MRG-4.4.2, PID(1)-3.4.1, PID(1)-3.4.2, PID(1)-2.4.1, PID(1)-2.4.2",
    ),
    text("other_patient_id_type", "Its type (HL7 table 0203).", "MRG-1.5, MRG-4.5, PID(1)-3.5, PID(1)-2.5"),
    many(
        "other_identifiers", IDENTIFIER, "All identifiers of the other.", "MRG-1, MRG-4, PID(1)-3, PID(1)-2"
    ),
    many(
        "other_listed_identifiers",
        IDENTIFIER,
        "Those of them that stand in its list of identifiers.",
        "MRG-1, PID(1)-3",
    ),
    many(
        "other_external_identifiers",
        IDENTIFIER,
        "Those that stand in the older field of an external one.",
        "MRG-4, PID(1)-2",
    ),
    many("other_alternate_identifiers", IDENTIFIER, "Alternate identifiers of the other.", "MRG-2, PID(1)-4"),
    text("other_account_number", "Account of the other.", "MRG-3.1, PID(1)-18.1"),
    text(
        "other_account_authority",
        "Its assigning authority.",
        "MRG-3.4.1, MRG-3.4.2, PID(1)-18.4.1, PID(1)-18.4.2",
    ),
    text("other_visit_number", "Visit number of the other.", "MRG-5.1"),
    text("other_visit_authority", "Its assigning authority.", "MRG-5.4.1, MRG-5.4.2"),
    many("other_alternate_visits", IDENTIFIER, "Alternate visit numbers of the other.", "MRG-6"),
    many("other_names", HUMAN_NAME, "Names of the other.", "MRG-7, PID(1)-5"),
    text("other_family_name", "Family name of the other.", "MRG-7.1.1, PID(1)-5.1.1"),
    text("other_given_name", "Given name of the other.", "MRG-7.2, PID(1)-5.2"),
)
