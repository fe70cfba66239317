"""Orders (ORM, OML, OMG, OMI, HL7 v2.5.1 chapter 4): requests, and what answers say of their state.

An ORC without a detail, as in a cancellation, is a request of its own; ORM may order medication too. An FT1 says what
is charged for the order.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from schemas.hl7v2.mapping import Family, places, triggers
from schemas.hl7v2.mappings.finance import CHARGE_ITEM_FROM_FT1
from schemas.hl7v2.mappings.order_groups import (
    OBSERVATION_FROM_OBX,
    ORDER,
    SERVICE_REQUEST_FROM_OBR,
    SERVICE_REQUEST_FROM_ORC,
    SPECIMEN_FROM_SPM,
)
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.pharmacy import MEDICATION_REQUEST_FROM_RXO
from schemas.hl7v2.mappings.visits import CONDITION_FROM_DG1

CONDITION_OF_ORDER = replace(
    CONDITION_FROM_DG1,
    places=MappingProxyType(
        {**CONDITION_FROM_DG1.places, **{name: places(text) for name, text in ORDER.items()}}
    ),
    version=places("ORC-9"),
)
"""A DG1 behind an order's detail says why that is ordered: it is the order's, and no word on the visit's own."""

_ORDERS = (
    *(CONDITION_OF_ORDER if one is CONDITION_FROM_DG1 else one for one in PATIENT_AND_VISIT),
    SERVICE_REQUEST_FROM_OBR,
    SERVICE_REQUEST_FROM_ORC,
    SPECIMEN_FROM_SPM,
    OBSERVATION_FROM_OBX,
    CHARGE_ITEM_FROM_FT1,
)

FAMILIES: tuple[Family, ...] = (
    Family(
        "ORM",
        triggers("O01"),
        (*_ORDERS, MEDICATION_REQUEST_FROM_RXO),
        "Orders of any kind, of versions before 2.4 and still in wide use.",
        "HL7 v2.5.1 §4.4.1",
        default_trigger="O01",
    ),
    Family(
        "OML",
        triggers("O21 O33 O35"),
        _ORDERS,
        "Orders of the laboratory, by order, specimen or container.",
        "HL7 v2.5.1 §4.4.6, §4.4.8, §4.4.10",
        default_trigger="O21",
    ),
    Family(
        "OMG",
        triggers("O19"),
        _ORDERS,
        "General clinical orders.",
        "HL7 v2.5.1 §4.4.4",
        default_trigger="O19",
    ),
    Family(
        "OMI",
        triggers("O23"),
        _ORDERS,
        "Orders of imaging.",
        "HL7 v2.5.1 §4.4.12",
        default_trigger="O23",
    ),
)
