"""``normalised/message_header``: from MSH and EVN (HL7 v2.5.1 §2.15.9, §3.4.1)."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import Field
from schemas.tables.columns import instant, many, normalised, number, practitioner, text
from schemas.tables.structures import ENTITY, PRACTITIONER

MESSAGE_HEADER = normalised(
    "message_header",
    "One row per message: what its header and its event say.",
    text("sending_application", "Sending application: name space.", "MSH-3.1"),
    text("sending_application_id", "Sending application: universal id.", "MSH-3.2"),
    text("sending_facility", "Sending facility: name space.", "MSH-4.1"),
    text("sending_facility_id", "Sending facility: universal id.", "MSH-4.2"),
    text("receiving_application", "Receiving application: name space.", "MSH-5.1"),
    text("receiving_application_id", "Receiving application: universal id.", "MSH-5.2"),
    text("receiving_facility", "Receiving facility: name space.", "MSH-6.1"),
    text("receiving_facility_id", "Receiving facility: universal id.", "MSH-6.2"),
    text("sent_time_text", "Time of the message as sent.", "MSH-7.1"),
    text("security", "Security.", "MSH-8"),
    text("code", "Message code (HL7 table 0076).", "MSH-9.1"),
    text("trigger", "Trigger event (HL7 table 0003).", "MSH-9.2"),
    text("structure", "Message structure (HL7 table 0354).", "MSH-9.3"),
    text("control_id", "The message's own id.", "MSH-10"),
    text("processing_id", "Production, training, debugging (HL7 table 0103).", "MSH-11.1"),
    text("processing_mode", "Archive, initial load, restore (HL7 table 0207).", "MSH-11.2"),
    text("version", "Version of HL7 (HL7 table 0104).", "MSH-12.1"),
    text("version_country", "Country whose version it is.", "MSH-12.2.1"),
    number("sequence_number", "Sequence number within the link.", "MSH-13"),
    text("continuation_pointer", "Continuation pointer.", "MSH-14"),
    text("accept_acknowledgment", "When an accept acknowledgment is wanted (HL7 table 0155).", "MSH-15.1"),
    text(
        "application_acknowledgment",
        "When an application acknowledgment is wanted (HL7 table 0155).",
        "MSH-16.1",
    ),
    text("country", "Country (ISO 3166).", "MSH-17.1"),
    text("charset_declared", "Character set that the message declares, as sent.", "MSH-18"),
    text("charset_used", "Character set that the message was read in.", "MSH-18"),
    Field("charset_guessed", pa.bool_(), "Whether that was a guess.", "MSH-18"),
    text("language", "Principal language.", "MSH-19.1"),
    text("charset_handling", "How character sets are switched (HL7 table 0356).", "MSH-20.1"),
    many("profiles", ENTITY, "Message profiles.", "MSH-21"),
    text("profile", "First message profile.", "MSH-21.1"),
    text("responsible_sender", "Responsible sending organisation.", "MSH-22.1"),
    text("responsible_receiver", "Responsible receiving organisation.", "MSH-23.1"),
    text("sending_address", "Network address of the sender.", "MSH-24.1"),
    text("receiving_address", "Network address of the receiver.", "MSH-25.1"),
    text("event_code", "Event as EVN tells it.", "EVN-1.1"),
    *instant("recorded_time", "When the event was recorded.", "EVN-2"),
    *instant("planned_time", "When the event is planned for.", "EVN-3"),
    text("event_reason", "Reason of the event (HL7 table 0062).", "EVN-4.1"),
    text("event_reason_display", "Reason of the event as text.", "EVN-4.2"),
    *practitioner("operator", "Who entered the event", "EVN-5"),
    many("operators", PRACTITIONER, "All who entered the event.", "EVN-5"),
    *instant("occurred_time", "When the event happened.", "EVN-6"),
    text("event_facility", "Where the event happened: name space.", "EVN-7.1"),
    text("event_facility_id", "Where the event happened: universal id.", "EVN-7.2"),
)
