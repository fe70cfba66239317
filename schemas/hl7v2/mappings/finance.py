"""Charges and accounts (DFT, BAR, HL7 v2.5.1 chapter 6). Amounts were plain numbers before v2.3, CP since."""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, code, coded, mapping, practitioner, triggers
from schemas.hl7v2.mappings.order_groups import OBSERVATION_FROM_OBX, SERVICE_REQUEST_FROM_OBR
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.charge_item import CHARGE_ITEM

CHARGE_ITEM_FROM_FT1 = mapping(
    CHARGE_ITEM,
    "FT1",
    {
        **VISIT,
        "account_number": "PID-18.1",
        "account_authority": "PID-18.4.1 PID-18.4.2",
        "set_id": "FT1-1",
        "transaction_id": "FT1-2",
        "transaction_batch": "FT1-3",
        "transaction_time": "FT1-4.1.1",
        "transaction_end_time": "FT1-4.2.1",
        "posted_time": "FT1-5",
        "transaction_type": "FT1-6.1",
        **coded("charge", "FT1-7"),
        "description": "FT1-8",
        "alternate_description": "FT1-9",
        "quantity": "FT1-10",
        "amount": "FT1-11.1.1",
        "amount_currency": "FT1-11.1.2",
        "unit_amount": "FT1-12.1.1",
        "unit_amount_currency": "FT1-12.1.2",
        **code("department", "FT1-13"),
        **code("health_plan", "FT1-14"),
        "insurance_amount": "FT1-15.1.1",
        "point_of_care": "FT1-16.1.1",
        "facility": "FT1-16.4.1",
        "fee_schedule": "FT1-17.1",
        "patient_type": "FT1-18.1",
        "diagnoses": "FT1-19",
        **practitioner("performer", "FT1-20"),
        "performers": "FT1-20",
        **practitioner("orderer", "FT1-21"),
        "orderers": "FT1-21",
        "unit_cost": "FT1-22.1.1",
        "filler_order": "FT1-23.1",
        "filler_authority": "FT1-23.2 FT1-23.3",
        **practitioner("enterer", "FT1-24"),
        "enterers": "FT1-24",
        **coded("procedure", "FT1-25"),
        "procedure_modifiers": "FT1-26",
        **code("beneficiary_notice", "FT1-27"),
        **code("duplicate_reason", "FT1-28"),
        **code("drug", "FT1-29"),
        "payment_reference": "FT1-30.1",
        "transaction_references": "FT1-31",
        "performing_facilities": "FT1-32",
        "ordering_facility": "FT1-33.1",
        **code("item", "FT1-34"),
        "model_number": "FT1-35",
        "special_processing": "FT1-36",
        **code("clinic", "FT1-37"),
        "referral_number": "FT1-38.1",
        "authorization_number": "FT1-39.1",
        **code("provider_taxonomy", "FT1-40"),
        **code("revenue", "FT1-41"),
        "prescription_number": "FT1-42",
        "drug_quantity": "FT1-43.1",
        "drug_quantity_unit": "FT1-43.2.1",
        "notes": "NTE-3",
    },
    version="EVN-2",
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "DFT",
        triggers("P03 P11"),
        (*PATIENT_AND_VISIT, CHARGE_ITEM_FROM_FT1, SERVICE_REQUEST_FROM_OBR, OBSERVATION_FROM_OBX),
        "Charges, credits, payments and adjustments.",
        "HL7 v2.5.1 §6.4.3, §6.4.8",
        default_trigger="P03",
    ),
    Family(
        "BAR",
        triggers("P01 P02 P05 P06 P10 P12"),
        (*PATIENT_AND_VISIT, OBSERVATION_FROM_OBX),
        "Accounts added, purged, updated and ended; diagnoses and procedures for billing.",
        "HL7 v2.5.1 §6.4.1, §6.4.2, §6.4.5-§6.4.7, §6.4.9",
    ),
)
