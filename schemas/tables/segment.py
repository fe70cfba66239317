"""``normalised/segment``: what no other table takes."""

from __future__ import annotations

from schemas.tables.columns import normalised, text

SEGMENT = normalised(
    "segment",
    "Every segment of a read message that no other table takes, Z segments too, so that nothing is lost.",
    text("patient_id", "First patient identifier in the message.", "PID-3.1"),
    text("patient_authority", "Its assigning authority; else source/MSH-4.", "PID-3.4"),
    text("name", "Segment name, as sent.", "§2.5.2"),
    text("text", "The whole segment decoded to Unicode, delimiters and escapes as sent."),
)
