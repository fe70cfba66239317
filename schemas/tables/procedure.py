"""``normalised/procedure``: from PR1 (HL7 v2.5.1 §6.5.4)."""

from __future__ import annotations

from schemas.tables.columns import (
    SUBJECT,
    TEXT,
    code,
    coded,
    instant,
    many,
    normalised,
    number,
    practitioner,
    text,
)
from schemas.tables.structures import CODEABLE_CONCEPT, LOCATION_PLACE, PRACTITIONER

PROCEDURE = normalised(
    "procedure",
    "What a message says of a procedure.",
    *SUBJECT,
    text("action_code", "What is done with it (HL7 table 0206).", "PR1-20.1"),
    text("identifier", "Identifier of this procedure.", "PR1-19.1"),
    text("identifier_authority", "Name space of the identifier.", "PR1-19.2, PR1-19.3"),
    text("set_id", "Sequence number as sent.", "PR1-1"),
    text("coding_method", "Coding method, of old versions.", "PR1-2.1"),
    *coded("procedure", "Procedure", "PR1-3"),
    text("description", "Description, of old versions.", "PR1-4"),
    *instant("performed_time", "When it was done.", "PR1-5"),
    text("functional_type", "Functional type (HL7 table 0230).", "PR1-6.1"),
    number("minutes", "Duration in minutes.", "PR1-7"),
    *practitioner("anesthesiologist", "Anaesthetist", "PR1-8"),
    many("anesthesiologists", PRACTITIONER, "All anaesthetists.", "PR1-8"),
    *code("anesthesia", "Anaesthesia", "PR1-9"),
    number("anesthesia_minutes", "Duration of the anaesthesia in minutes.", "PR1-10"),
    *practitioner("surgeon", "Surgeon", "PR1-11"),
    many("surgeons", PRACTITIONER, "All surgeons.", "PR1-11"),
    *practitioner("practitioner", "Who else took part", "PR1-12"),
    many("practitioners", PRACTITIONER, "All who else took part.", "PR1-12"),
    *code("consent", "Consent", "PR1-13"),
    text("priority", "Rank among the procedures (HL7 table 0418).", "PR1-14.1"),
    *code("diagnosis", "Diagnosis it was done for", "PR1-15"),
    many("modifiers", CODEABLE_CONCEPT, "Modifiers of the procedure's code.", "PR1-16"),
    text("drg_type", "Type within the group (HL7 table 0416).", "PR1-17.1"),
    many("tissue_types", CODEABLE_CONCEPT, "Tissue that was taken.", "PR1-18"),
    text("drg_determination_status", "How the grouper took the procedure.", "PR1-21.1"),
    text("drg_relevance", "Whether it matters for the group.", "PR1-22.1"),
    many("organizational_units", LOCATION_PLACE, "Units that did it.", "PR1-23"),
    text("respiratory", "Whether artificial respiration was part of the surgery (Y or N).", "PR1-24.1"),
    text("parent_identifier", "Identifier of the procedure it belongs to.", "PR1-25.1"),
    many("notes", TEXT, "Comments.", "NTE-3"),
)
