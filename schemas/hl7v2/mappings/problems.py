"""Problems (PPR, HL7 v2.5.1 chapter 12): PRB is a condition; goals and pathways stay in ``segment``."""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, code, coded, mapping, triggers
from schemas.hl7v2.mappings.order_groups import (
    OBSERVATION_FROM_OBX,
    SERVICE_REQUEST_FROM_OBR,
    SERVICE_REQUEST_FROM_ORC,
)
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.condition import CONDITION

CONDITION_FROM_PRB = mapping(
    CONDITION,
    "PRB",
    {
        **VISIT,
        "action_code": "PRB-1.1",
        "identifier": "PRB-4.1",
        "identifier_authority": "PRB-4.2 PRB-4.3",
        **coded("condition", "PRB-3"),
        "diagnosed_time": "PRB-7",
        "priority": "PRB-6",
        **code("classification", "PRB-10"),
        "action_time": "PRB-2",
        "episode_id": "PRB-5.1",
        "expected_resolution_time": "PRB-8",
        "resolved_time": "PRB-9",
        "disciplines": "PRB-11",
        **code("persistence", "PRB-12"),
        **code("confirmation_status", "PRB-13"),
        **code("clinical_status", "PRB-14"),
        "clinical_status_time": "PRB-15",
        "onset_time": "PRB-16",
        "onset_text": "PRB-17",
        **code("ranking", "PRB-18"),
        **code("certainty", "PRB-19"),
        "probability": "PRB-20",
        **code("patient_awareness", "PRB-21"),
        **code("prognosis", "PRB-22"),
        **code("prognosis_awareness", "PRB-23"),
        "family_awareness": "PRB-24",
        **code("security", "PRB-25"),
        **code("severity", "PRB-26"),
        **code("perspective", "PRB-27"),
        **code("mood", "PRB-28"),
        "notes": "NTE-3",
    },
    version="PRB-2",
    constants={"stated_in": "PRB"},
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "PPR",
        triggers("PC1-PC3"),
        (
            *PATIENT_AND_VISIT,
            CONDITION_FROM_PRB,
            SERVICE_REQUEST_FROM_OBR,
            SERVICE_REQUEST_FROM_ORC,
            OBSERVATION_FROM_OBX,
        ),
        "Problems added, updated and deleted.",
        "HL7 v2.5.1 §12.3.2",
    ),
)
