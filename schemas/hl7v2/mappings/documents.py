"""Documents (MDM, HL7 v2.5.1 chapter 9): TXA is the document, OBX its content.

T05 and T06 are addenda, documents of their own below their parent (TXA-13); T09 and T10 take the parent's place; T11
cancels.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from schemas.hl7v2.mapping import Family, code, mapping, places, practitioner, triggers
from schemas.hl7v2.mappings.order_groups import OBSERVATION_FROM_OBX, SERVICE_REQUEST_FROM_OBR
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.document_reference import DOCUMENT_REFERENCE

DOCUMENT_REFERENCE_FROM_TXA = mapping(
    DOCUMENT_REFERENCE,
    "TXA",
    {
        **VISIT,
        "event_code": "EVN-1.1",
        "recorded_time": "EVN-2",
        "set_id": "TXA-1",
        **code("document_type", "TXA-2"),
        "content_presentation": "TXA-3.1",
        "activity_time": "TXA-4",
        **practitioner("primary_activity_provider", "TXA-5"),
        "primary_activity_providers": "TXA-5",
        "origination_time": "TXA-6",
        "transcription_time": "TXA-7",
        "edit_time": "TXA-8",
        "edit_times_text": "TXA-8.1",
        **practitioner("originator", "TXA-9"),
        "originators": "TXA-9",
        **practitioner("authenticator", "TXA-10"),
        "authenticators": "TXA-10",
        **practitioner("transcriptionist", "TXA-11"),
        "transcriptionists": "TXA-11",
        "document_id": "TXA-12.1",
        "document_authority": "TXA-12.2 TXA-12.3",
        "parent_document_id": "TXA-13.1",
        "parent_document_authority": "TXA-13.2 TXA-13.3",
        "placer_order": "TXA-14.1 ORC-2.1 OBR-2.1",
        "placer_authority": "TXA-14.2 ORC-2.2 OBR-2.2",
        "placer_orders": "TXA-14",
        "filler_order": "TXA-15.1 ORC-3.1 OBR-3.1",
        "filler_authority": "TXA-15.2 ORC-3.2 OBR-3.2",
        "file_name": "TXA-16",
        "completion_status": "TXA-17.1",
        "confidentiality": "TXA-18.1",
        "availability_status": "TXA-19.1",
        "storage_status": "TXA-20.1",
        "change_reason": "TXA-21",
        **practitioner("authenticated_by", "TXA-22"),
        "authenticated_time": "TXA-22.15.1",
        "authenticated_by_all": "TXA-22",
        "recipients": "TXA-23",
        "folders": "TXA-24",
        "title": "TXA-25",
        "due_time": "TXA-26",
        **code("service", "OBR-4"),
        "notes": "NTE-3",
    },
    version="EVN-2",
)

CONTENT_FROM_OBX = replace(
    OBSERVATION_FROM_OBX,
    places=MappingProxyType(
        {
            **OBSERVATION_FROM_OBX.places,
            "document_id": places("TXA-12.1"),
            "document_authority": places("TXA-12.2 TXA-12.3"),
        }
    ),
    version=places("EVN-2"),
)
"""What a document says is of that document, whatever order it answers, and of the version that the event is of."""

FAMILIES: tuple[Family, ...] = (
    Family(
        "MDM",
        triggers("T01-T11"),
        (
            *PATIENT_AND_VISIT,
            DOCUMENT_REFERENCE_FROM_TXA,
            SERVICE_REQUEST_FROM_OBR,
            CONTENT_FROM_OBX,
        ),
        "Documents and their states, with and without their content.",
        "HL7 v2.5.1 §9.5",
    ),
)
