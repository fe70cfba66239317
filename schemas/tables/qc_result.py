"""``normalised/qc_result``: what an instrument measured of control material (LIS2-A2 §8.4.12, §9)."""

from __future__ import annotations

from schemas.tables.columns import TEXT, coded, instant, many, normalised, number, text

QC_RESULT = normalised(
    "qc_result",
    "A result of control material, as an instrument states it.",
    text("instrument", "Instrument that made it.", "LIS2-A2 R-14, H-5"),
    text("specimen_id", "Identifier of the control's container, as sent.", "LIS2-A2 O-3"),
    text("control_material", "The control material.", "LIS2-A2 O-3"),
    text("control_lot", "Its lot.", "LIS2-A2 O-3"),
    text("control_level", "Its level.", "LIS2-A2 O-3"),
    *coded("observation", "What was measured", "LIS2-A2 R-3"),
    text("set_id", "Sequence number as sent.", "LIS2-A2 R-2"),
    text("value_type", "Type of the value (HL7 table 0125): NM, SN, ST.", "LIS2-A2 R-4"),
    text("value_text", "The value as text, escapes resolved.", "LIS2-A2 R-4"),
    number("value_number", "The value as a number.", "LIS2-A2 R-4"),
    text("value_comparator", "Comparator, such as <.", "LIS2-A2 R-4"),
    number("value_low", "First number of a range or ratio.", "LIS2-A2 R-4"),
    text("value_separator", "What stands between the two numbers.", "LIS2-A2 R-4"),
    number("value_high", "Second number of a range or ratio.", "LIS2-A2 R-4"),
    text("unit_code", "Unit.", "LIS2-A2 R-5"),
    text("reference_range", "Range that is expected, as sent.", "LIS2-A2 R-6"),
    many("interpretation", TEXT, "Flags.", "LIS2-A2 R-7"),
    text("instrument_status", "Result status as sent; it says nothing of release.", "LIS2-A2 R-9"),
    text("operator_id", "Who operated the instrument.", "LIS2-A2 R-11"),
    *instant("started_time", "When the test was started.", "LIS2-A2 R-12"),
    *instant("analysis_time", "When it was completed.", "LIS2-A2 R-13"),
    text("dilution", "Dilution, where the instrument's profile says where it stands."),
    text("rack", "Rack, likewise."),
    text("rack_position", "Position in the rack, likewise."),
    many("notes", TEXT, "Comments on the result.", "LIS2-A2 C-4"),
)
