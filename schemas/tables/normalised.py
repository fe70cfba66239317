"""All tables ``normalised/*``, in the order of the documentation; what no other takes and what deviates come last."""

from __future__ import annotations

from schemas.table import Table
from schemas.tables.allergy_intolerance import ALLERGY_INTOLERANCE
from schemas.tables.appointment import APPOINTMENT
from schemas.tables.charge_item import CHARGE_ITEM
from schemas.tables.condition import CONDITION
from schemas.tables.coverage import COVERAGE
from schemas.tables.diagnostic_report import DIAGNOSTIC_REPORT
from schemas.tables.document_reference import DOCUMENT_REFERENCE
from schemas.tables.encounter import ENCOUNTER
from schemas.tables.finding import FINDING
from schemas.tables.immunization import IMMUNIZATION
from schemas.tables.item_definition import ITEM_DEFINITION
from schemas.tables.location import LOCATION
from schemas.tables.medication_administration import MEDICATION_ADMINISTRATION
from schemas.tables.medication_dispense import MEDICATION_DISPENSE
from schemas.tables.medication_request import MEDICATION_REQUEST
from schemas.tables.message_header import MESSAGE_HEADER
from schemas.tables.observation import OBSERVATION
from schemas.tables.patient import PATIENT
from schemas.tables.patient_link import PATIENT_LINK
from schemas.tables.practitioner import PRACTITIONER
from schemas.tables.procedure import PROCEDURE
from schemas.tables.related_person import RELATED_PERSON
from schemas.tables.segment import SEGMENT
from schemas.tables.service_request import SERVICE_REQUEST
from schemas.tables.specimen import SPECIMEN

NORMALISED: tuple[Table, ...] = (
    MESSAGE_HEADER,
    PATIENT,
    PATIENT_LINK,
    RELATED_PERSON,
    ENCOUNTER,
    CONDITION,
    PROCEDURE,
    ALLERGY_INTOLERANCE,
    COVERAGE,
    SERVICE_REQUEST,
    SPECIMEN,
    DIAGNOSTIC_REPORT,
    OBSERVATION,
    DOCUMENT_REFERENCE,
    MEDICATION_REQUEST,
    MEDICATION_DISPENSE,
    MEDICATION_ADMINISTRATION,
    IMMUNIZATION,
    APPOINTMENT,
    CHARGE_ITEM,
    PRACTITIONER,
    LOCATION,
    ITEM_DEFINITION,
    SEGMENT,
    FINDING,
)

__all__ = [
    "ALLERGY_INTOLERANCE",
    "APPOINTMENT",
    "CHARGE_ITEM",
    "CONDITION",
    "COVERAGE",
    "DIAGNOSTIC_REPORT",
    "DOCUMENT_REFERENCE",
    "ENCOUNTER",
    "FINDING",
    "IMMUNIZATION",
    "ITEM_DEFINITION",
    "LOCATION",
    "MEDICATION_ADMINISTRATION",
    "MEDICATION_DISPENSE",
    "MEDICATION_REQUEST",
    "MESSAGE_HEADER",
    "NORMALISED",
    "OBSERVATION",
    "PATIENT",
    "PATIENT_LINK",
    "PRACTITIONER",
    "PROCEDURE",
    "RELATED_PERSON",
    "SEGMENT",
    "SERVICE_REQUEST",
    "SPECIMEN",
]
