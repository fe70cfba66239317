"""``normalised/specimen``: from SPM (HL7 v2.5.1 §7.4.3)."""

from __future__ import annotations

from schemas.tables.columns import ORDER, SUBJECT, TEXT, code, coded, instant, many, normalised, number, text
from schemas.tables.structures import CODEABLE_CONCEPT, ENTITY, IDENTIFIER

SPECIMEN = normalised(
    "specimen",
    "What a message says of a specimen.",
    *SUBJECT,
    *ORDER,
    text("set_id", "Sequence number as sent.", "SPM-1"),
    text("specimen_id", "Placer's id, else the filler's.", "SPM-2.1.1, SPM-2.2.1"),
    text("specimen_authority", "Name space of that id.", "SPM-2.1.2, SPM-2.2.2"),
    text("placer_specimen_id", "The placer's id.", "SPM-2.1.1"),
    text("filler_specimen_id", "The filler's id.", "SPM-2.2.1"),
    many(
        "parent_placer_specimen_ids", TEXT, "Ids of the specimens it was made of, the placer's.", "SPM-3.1.1"
    ),
    many(
        "parent_filler_specimen_ids", TEXT, "Ids of the specimens it was made of, the filler's.", "SPM-3.2.1"
    ),
    *coded("type", "Specimen type", "SPM-4"),
    many("type_modifiers", CODEABLE_CONCEPT, "Modifiers of the type.", "SPM-5"),
    many("additives", CODEABLE_CONCEPT, "Additives.", "SPM-6"),
    *code("collection_method", "How it was collected", "SPM-7"),
    *code("source_site", "Where on the body it was taken from", "SPM-8"),
    many("source_site_modifiers", CODEABLE_CONCEPT, "Modifiers of that site.", "SPM-9"),
    *code("collection_site", "Where it was collected", "SPM-10"),
    many("roles", CODEABLE_CONCEPT, "What it is for; Q is a control (HL7 table 0369).", "SPM-11"),
    text("role", "First role.", "SPM-11.1"),
    number("collection_amount", "Amount that was collected.", "SPM-12.1"),
    text("collection_amount_unit", "Its unit.", "SPM-12.2.1"),
    number("grouped_count", "How many specimens it groups.", "SPM-13"),
    many("descriptions", TEXT, "Description.", "SPM-14"),
    many("handling", CODEABLE_CONCEPT, "How it is to be handled.", "SPM-15"),
    many("risks", CODEABLE_CONCEPT, "Risks.", "SPM-16"),
    *instant("collected_time", "When collection began.", "SPM-17.1.1"),
    *instant("collected_end_time", "When collection ended.", "SPM-17.2.1"),
    *instant("received_time", "When it was received.", "SPM-18"),
    *instant("expiration_time", "Until when it can be used.", "SPM-19"),
    text("available", "Whether it is available (Y or N).", "SPM-20.1"),
    many("reject_reasons", CODEABLE_CONCEPT, "Why it was rejected.", "SPM-21"),
    *code("quality", "Quality", "SPM-22"),
    *code("appropriateness", "Appropriateness", "SPM-23"),
    many("conditions", CODEABLE_CONCEPT, "Condition.", "SPM-24"),
    number("current_quantity", "Amount that is left.", "SPM-25.1"),
    text("current_quantity_unit", "Its unit.", "SPM-25.2.1"),
    number("container_count", "Number of containers.", "SPM-26"),
    *code("container_type", "Type of container", "SPM-27"),
    *code("container_condition", "Condition of the container", "SPM-28"),
    *code("child_role", "Relation to the specimen it was made of", "SPM-29"),
    many("accessions", IDENTIFIER, "Accession numbers.", "SPM-30"),
    text("accession_number", "First accession number.", "SPM-30.1"),
    many("other_specimen_ids", IDENTIFIER, "Other ids of the specimen.", "SPM-31"),
    many("shipments", ENTITY, "Shipments.", "SPM-32"),
    many("notes", TEXT, "Comments.", "NTE-3"),
)
