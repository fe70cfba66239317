"""``normalised/finding``: every deviation of a message that was read, by code and place."""

from __future__ import annotations

from schemas.tables.columns import normalised, text, whole

FINDING = normalised(
    "finding",
    "One row per deviation of a message that was read: what, and where in the message.",
    text("code", "Stable code, such as HL7-DTM-INVALID; the documentation lists them all."),
    text("severity", "How grave it is: warning or notice."),
    text(
        "segment", "Segment name; segment_index says which of the message. Null where the message is meant."
    ),
    whole("field", "HL7 field number, from 1. Null where no field is meant."),
    whole("repetition", "Repetition of the field, from 1."),
    whole("component", "Component, from 1. Null where the whole field is meant."),
    row_key=("segment_index", "code", "field", "repetition", "component"),
)
