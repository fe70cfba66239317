"""Vaccinations (VXU, HL7 v2.5.1 §4.17)."""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, code, coded, mapping, practitioner, triggers
from schemas.hl7v2.mappings.order_groups import OBSERVATION_FROM_OBX, ORDER_FROM_ORC
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.immunization import IMMUNIZATION

IMMUNIZATION_FROM_RXA = mapping(
    IMMUNIZATION,
    "RXA",
    {
        **VISIT,
        **ORDER_FROM_ORC,
        "order_control": "ORC-1.1",
        **practitioner("orderer", "ORC-12"),
        **practitioner("entered_by", "ORC-10"),
        **code("entering_organization", "ORC-17"),
        "give_number": "RXA-1",
        "administration_number": "RXA-2",
        "occurrence_time": "RXA-3",
        "end_time": "RXA-4",
        **coded("vaccine", "RXA-5"),
        "dose_quantity": "RXA-6",
        **code("dose_unit", "RXA-7"),
        **code("dosage_form", "RXA-8"),
        "administration_notes": "RXA-9",
        "information_source": "RXA-9.1",
        **practitioner("performer", "RXA-10"),
        "performers": "RXA-10",
        "location": "RXA-11.1 RXA-27.1.1",
        "facility": "RXA-11.4.1 RXA-27.4.1",
        "addresses": "RXA-28",
        "per_time_unit": "RXA-12",
        "strength": "RXA-13",
        **code("strength_unit", "RXA-14"),
        "strength_volume": "RXA-23",
        **code("strength_volume_unit", "RXA-24"),
        "lot_number": "RXA-15",
        "lot_numbers": "RXA-15",
        "expiration_time": "RXA-16",
        **code("manufacturer", "RXA-17"),
        "manufacturers": "RXA-17",
        **code("refusal_reason", "RXA-18"),
        "refusal_reasons": "RXA-18",
        "indications": "RXA-19",
        "completion_status": "RXA-20.1",
        "action_code": "RXA-21.1",
        "entered_time": "RXA-22",
        **code("barcode", "RXA-25"),
        "pharmacy_order_type": "RXA-26.1",
        "tags": "RXA-29",
        **code("route", "RXR-1"),
        **code("site", "RXR-2"),
        "ordered_time": "ORC-9",
        "notes": "NTE-3",
    },
    version="ORC-9",
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "VXU",
        triggers("V04"),
        (*PATIENT_AND_VISIT, IMMUNIZATION_FROM_RXA, OBSERVATION_FROM_OBX),
        "Records of vaccinations, unsolicited.",
        "HL7 v2.5.1 §4.17.6",
        default_trigger="V04",
    ),
)
