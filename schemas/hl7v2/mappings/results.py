"""Results (ORU, OUL, HL7 v2.5.1 §7.3): reports, observations, specimens.

An OBR is a report, and what it says of the order is a row of ``service_request`` beside it. OBR-15 makes no specimen.
"""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, triggers
from schemas.hl7v2.mappings.finance import CHARGE_ITEM_FROM_FT1
from schemas.hl7v2.mappings.order_groups import (
    DIAGNOSTIC_REPORT_FROM_OBR,
    OBSERVATION_FROM_OBX,
    SERVICE_REQUEST_FROM_OBR,
    SPECIMEN_FROM_SPM,
)
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT

_RESULTS = (
    *PATIENT_AND_VISIT,
    SERVICE_REQUEST_FROM_OBR,
    SPECIMEN_FROM_SPM,
    DIAGNOSTIC_REPORT_FROM_OBR,
    OBSERVATION_FROM_OBX,
    CHARGE_ITEM_FROM_FT1,
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "ORU",
        triggers("R01 R30-R32 R40"),
        _RESULTS,
        "Unsolicited results, of the laboratory, of imaging, of the point of care, and alerts.",
        "HL7 v2.5.1 §7.3.1, §7.3.3-§7.3.5",
        default_trigger="R01",
    ),
    Family(
        "OUL",
        triggers("R21-R24"),
        _RESULTS,
        "Unsolicited laboratory results, by specimen, container or order.",
        "HL7 v2.5.1 §7.3.2, §7.3.6-§7.3.8",
        default_trigger="R21",
    ),
)
