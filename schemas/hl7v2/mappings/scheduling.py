"""Appointments (SIU, HL7 v2.5.1 chapter 10): SCH is the appointment; services and resources are its lists."""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, code, coded, mapping, practitioner, triggers
from schemas.hl7v2.mappings.order_groups import OBSERVATION_FROM_OBX
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.appointment import APPOINTMENT

APPOINTMENT_FROM_SCH = mapping(
    APPOINTMENT,
    "SCH",
    {
        **VISIT,
        "placer_appointment": "SCH-1.1",
        "placer_authority": "SCH-1.2 SCH-1.3",
        "filler_appointment": "SCH-2.1",
        "filler_authority": "SCH-2.2 SCH-2.3",
        "occurrence_number": "SCH-3",
        "group_number": "SCH-4.1.1",
        **code("schedule", "SCH-5"),
        **code("event_reason", "SCH-6"),
        **coded("reason", "SCH-7"),
        **code("appointment_type", "SCH-8"),
        "status": "SCH-25.1",
        "status_display": "SCH-25.2",
        "duration": "SCH-9 AIS-7",
        "duration_unit": "SCH-10.1 AIS-8.1",
        "start_time": "TQ1(next)-7 SCH-11.4.1 AIS-4 AIG-8 AIL-6 AIP-6",
        "end_time": "TQ1(next)-8 SCH-11.5.1",
        "priority": "TQ1(next)-9.1 SCH-11.6",
        **practitioner("placer_contact", "SCH-12"),
        "placer_contacts": "SCH-12",
        "placer_contact_telecoms": "SCH-13",
        "placer_contact_addresses": "SCH-14",
        "placer_contact_location": "SCH-15.1.1",
        **practitioner("filler_contact", "SCH-16"),
        "filler_contacts": "SCH-16",
        "filler_contact_telecoms": "SCH-17",
        "filler_contact_addresses": "SCH-18",
        "filler_contact_location": "SCH-19.1.1",
        **practitioner("entered_by", "SCH-20"),
        "entered_by_all": "SCH-20",
        "entered_by_telecoms": "SCH-21",
        "entered_by_location": "SCH-22.1.1",
        "parent_placer_appointment": "SCH-23.1",
        "parent_filler_appointment": "SCH-24.1",
        "placer_orders": "SCH-26",
        "filler_orders": "SCH-27",
        **coded("service", "AIS-3"),
        "services": "AIS-3",
        "resources": "AIG-3",
        "locations": "AIL-3",
        "point_of_care": "AIL-3.1.1",
        **practitioner("practitioner", "AIP-3"),
        "practitioners": "AIP-3",
        "notes": "NTE-3",
    },
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "SIU",
        triggers("S12-S26"),
        (*PATIENT_AND_VISIT, APPOINTMENT_FROM_SCH, OBSERVATION_FROM_OBX),
        "Appointments booked, moved, changed, cancelled, not kept.",
        "HL7 v2.5.1 §10.4",
    ),
)
