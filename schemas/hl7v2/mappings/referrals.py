"""Referrals (REF) and their answers (RRI) (HL7 v2.5.1 chapter 11), keyed by RF1-6 whoever sends them.

The OBR and OBX in them are results that go along.
"""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, code, mapping, triggers
from schemas.hl7v2.mappings.order_groups import DIAGNOSTIC_REPORT_FROM_OBR, OBSERVATION_FROM_OBX
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.service_request import SERVICE_REQUEST

SERVICE_REQUEST_FROM_RF1 = mapping(
    SERVICE_REQUEST,
    "RF1",
    {
        **VISIT,
        "placer_order": "RF1-6.1",
        "placer_authority": "RF1-6.2 RF1-6.3",
        "filler_order": "RF1-11.1",
        "filler_authority": "RF1-11.2 RF1-11.3",
        "order_status": "RF1-1.1",
        "priority": "RF1-2.1",
        "effective_time": "RF1-7",
        "reasons": "RF1-10",
        "reason": "RF1-10.2 RF1-10.1",
        **code("referral_status", "RF1-1"),
        **code("referral_type", "RF1-3"),
        "referral_dispositions": "RF1-4",
        **code("referral_category", "RF1-5"),
        "expiration_time": "RF1-8",
        "process_time": "RF1-9",
        "external_referrals": "RF1-11",
        **code("documentation_status", "RF1-12"),
        "planned_stop_time": "RF1-13",
        "reason_text": "RF1-14",
        "authorized_units": "RF1-15.1",
        "used_units": "RF1-16.1",
        "scheduled_units": "RF1-17.1",
        "remaining_benefit": "RF1-18.1",
        "remaining_benefit_currency": "RF1-18.2",
        "authorized_organizations": "RF1-19",
        "authorized_practitioners": "RF1-20",
        "source_text": "RF1-21",
        "source_time": "RF1-22",
        "source_telecoms": "RF1-23",
        "comment": "RF1-24",
        "action_code": "RF1-25.1",
        "notes": "NTE-3",
    },
    constants={"stated_in": "RF1"},
)

_REFERRALS = (
    *PATIENT_AND_VISIT,
    SERVICE_REQUEST_FROM_RF1,
    DIAGNOSTIC_REPORT_FROM_OBR,
    OBSERVATION_FROM_OBX,
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "REF",
        triggers("I12-I15"),
        _REFERRALS,
        "Referrals made, modified and cancelled, and requests of their status.",
        "HL7 v2.5.1 §11.5.1",
    ),
    Family(
        "RRI",
        triggers("I12-I15"),
        _REFERRALS,
        "Answers to referrals.",
        "HL7 v2.5.1 §11.5.1",
    ),
)
