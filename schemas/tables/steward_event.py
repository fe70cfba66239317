"""``normalised/steward_event``: what stewards say of two identifiers of patients."""

from __future__ import annotations

from schemas.tables.columns import instant, normalised, text

STEWARD_EVENT = normalised(
    "steward_event",
    "What a steward says of two identifiers of patients: one person, not by what was stated before, or never.",
    text("event_id", "The event's own id."),
    text("action", "link, unlink or cannot-link."),
    *instant("stated_time", "When the steward said it."),
    text("steward", "Who says it."),
    text("reason", "Why."),
    text("first_value", "First identifier."),
    text("first_authority", "Its assigning authority as in the tables; else source/institution."),
    text("first_type", "Its type (HL7 table 0203)."),
    text("second_value", "Second identifier."),
    text("second_authority", "Its assigning authority as in the tables; else source/institution."),
    text("second_type", "Its type (HL7 table 0203)."),
)
