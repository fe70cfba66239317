"""Records of LIS2-A2 → columns: which place becomes which column. Fields are counted as the standard does.

What an instrument's profile says (``schemas/lab/profiles.py``) is read beside: test, value, specimen, rack, patient.
Times are read in the source's zone; whatever no column takes is kept whole in ``segment``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

INSTRUMENT: Final = "instrument"
"""Status of every result of an instrument: whatever R-9 says, no laboratory has released it."""

CONTROL: Final = "Q"
"""O-12: treat as a quality-control specimen (LIS2-A2 §8.4.12); H-12: the message is of quality control (§6.12)."""

RESULT_STATUSES: Mapping[str, str] = MappingProxyType(
    {
        "C": "correction of a result sent before",
        "P": "preliminary",
        "F": "final",
        "X": "cannot be done",
        "I": "in the instrument, pending",
        "S": "partial",
        "M": "minimum inhibitory concentration",
        "R": "sent before",
        "N": "new order or information within a result record",
        "Q": "answer to a query",
        "V": "verified by the operator",
        "W": "of questionable validity",
    }
)
"""R-9 (LIS2-A2 §9.9). W, R, N and V have other meanings in HL7 table 0085, so no status is taken over into that."""

TERMINATORS: Mapping[str, str] = MappingProxyType(
    {
        "": "normal",
        "N": "normal",
        "F": "last request answered",
        "I": "no information for the last query",
        "T": "sender broke off",
        "R": "receiver asked to break off",
        "E": "unknown system error",
        "Q": "error in the last request",
    }
)
"""L-3 (LIS2-A2 §12.3)."""

ABNORMAL_ENDS: Final = frozenset("TREQ")

COLUMNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "message_header": {
            "sending_application": "H-5.1",
            "sending_application_id": "H-5.2",
            "receiving_application": "H-10.1",
            "control_id": "H-3",
            "processing_id": "H-12",
            "version": "H-13",
            "sent_time_text": "H-14",
        },
        "patient": {
            "family_name": "P-6.1",
            "given_name": "P-6.2",
            "middle_name": "P-6.3",
            "birth_date_text": "P-8",
            "gender": "P-9",
            "phone": "P-13",
        },
        "service_request": {
            "set_id": "O-2",
            "priority": "O-6",
            "specimen_action": "O-12",
            "danger": "O-13",
            "clinical_information": "O-14",
            "specimen_type": "O-16.1",
            "orderer_id": "O-17.1",
            "orderer_family_name": "O-17.2",
            "orderer_given_name": "O-17.3",
            "placer_field_1": "O-19",
            "placer_field_2": "O-20",
            "filler_field_1": "O-21",
            "filler_field_2": "O-22",
        },
        "specimen": {
            "set_id": "O-2",
            "filler_specimen_id": "O-4.1",
            "type_code": "O-16.1",
            "source_site": "O-16.2",
        },
        "diagnostic_report": {
            "set_id": "O-2",
            "section": "O-25",
            "specimen_type": "O-16.1",
            "orderer_id": "O-17.1",
            "orderer_family_name": "O-17.2",
            "orderer_given_name": "O-17.3",
        },
        "observation": {
            "set_id": "R-2",
            "unit_code": "R-5.1",
            "reference_range": "R-6",
            "instrument_status": "R-9",
            "observer_id": "R-11.1",
            "specimen_type": "O-16.1",
        },
        "qc_result": {
            "set_id": "R-2",
            "unit_code": "R-5.1",
            "reference_range": "R-6",
            "instrument_status": "R-9",
            "operator_id": "R-11.1",
        },
    }
)
"""By table: column → place."""

TIMES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "service_request": {"ordered_time": ("O-7",), "requested_time": ("O-7", "O-8")},
        "specimen": {"collected_time": ("O-8",), "collected_end_time": ("O-9",), "received_time": ("O-15",)},
        "diagnostic_report": {
            "effective_time": ("O-8", "O-7"),
            "effective_end_time": ("O-9",),
            "specimen_received_time": ("O-15",),
        },
        "observation": {
            "effective_time": ("O-8", "R-12", "R-13", "O-7"),
            "specimen_time": ("O-8", "O-7"),
            "analysis_time": ("R-13", "R-12"),
        },
        "qc_result": {"started_time": ("R-12",), "analysis_time": ("R-13", "R-12")},
    }
)
"""By table: an instant → the places that say it; of several the first that says something."""
