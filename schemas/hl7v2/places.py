"""Where each column comes from in a message: tables of places, after HL7's v2-to-FHIR implementation guide.

A place is written as HL7 writes it: ``PID-5.1.1`` is the first subcomponent of the first component of field 5.
Of repetitions the first counts, unless the column is a list. Several places are tried in turn: where they name
different fields, the first field that is there at all decides (so that a number and its namespace come from the
same segment); within one field, the first value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.tables.clinical import DIAGNOSTIC_REPORT, ENCOUNTER, OBSERVATION, PATIENT, SERVICE_REQUEST

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\.(\d+)(?:\.(\d+))?)?")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a message.

    Attributes:
        segment: segment name.
        field: HL7 field number, from 1.
        component: from 1; 0 for the whole first repetition.
        subcomponent: from 1; 0 for the whole component.
    """

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0

    @classmethod
    def of(cls, text: str) -> Place:
        """Read ``PID-5.1.1``.

        Raises:
            ValueError: where it is not written so.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a place in a message: {text}")
        return cls(match[1], int(match[2]), int(match[3] or 0), int(match[4] or 0))


@dataclass(frozen=True)
class TableMapping:
    """A table's columns and their places.

    Attributes:
        segment: each segment of this name becomes a row.
        places: column name → places in the order in which they are tried.
        version: places of the time that orders the versions of a thing; MSH-7, then the receipt, come after.
    """

    segment: str
    places: Mapping[str, tuple[Place, ...]]
    version: tuple[Place, ...]


def _mapping(segment: str, version: str, **columns: str) -> TableMapping:
    places = {name: tuple(Place.of(place) for place in text.split()) for name, text in columns.items()}
    return TableMapping(
        segment, MappingProxyType(places), tuple(Place.of(place) for place in version.split())
    )


_SERVICE = {
    "service_code": "OBR-4.1",
    "service_display": "OBR-4.2",
    "service_system": "OBR-4.3",
    "service_alt_code": "OBR-4.4",
    "service_alt_display": "OBR-4.5",
    "service_alt_system": "OBR-4.6",
}

_VISIT = {"visit_number": "PV1-19.1"}

_ORDER = {
    "placer_order": "OBR-2.1 ORC-2.1",
    "placer_authority": "OBR-2.2 ORC-2.2",
    "filler_order": "OBR-3.1 ORC-3.1",
    "filler_authority": "OBR-3.2 ORC-3.2",
}

MAPPINGS: Mapping[str, TableMapping] = MappingProxyType(
    {
        PATIENT.name: _mapping(
            "PID",
            "EVN-2",
            family_name="PID-5.1.1",
            given_name="PID-5.2",
            middle_name="PID-5.3",
            birth_date="PID-7",
            birth_date_text="PID-7",
            gender="PID-8.1",
            street="PID-11.1.1",
            city="PID-11.3",
            state="PID-11.4",
            postal_code="PID-11.5",
            country="PID-11.6",
            phone="PID-13.1 PID-13.12 PID-13.7",
            marital_status="PID-16.1",
            account_number="PID-18.1",
            deceased_text="PID-30.1",
            deceased_time="PID-29",
        ),
        ENCOUNTER.name: _mapping(
            "PV1",
            "EVN-2",
            **_VISIT,
            visit_authority="PV1-19.4.1 PV1-19.4.2",
            patient_class="PV1-2.1",
            point_of_care="PV1-3.1.1",
            room="PV1-3.2.1",
            bed="PV1-3.3.1",
            facility="PV1-3.4.1",
            prior_point_of_care="PV1-6.1.1",
            attending_id="PV1-7.1",
            attending_family_name="PV1-7.2.1",
            attending_given_name="PV1-7.3",
            hospital_service="PV1-10.1",
            admission_type="PV1-4.1",
            discharge_disposition="PV1-36.1",
            admit_time="PV1-44",
            discharge_time="PV1-45",
            recorded_time="EVN-2",
        ),
        SERVICE_REQUEST.name: _mapping(
            "OBR",
            "ORC-9",
            **_VISIT,
            **_ORDER,
            order_control="ORC-1.1",
            order_status="ORC-5.1",
            group_number="ORC-4.1",
            **_SERVICE,
            priority="OBR-5.1 OBR-27.6",
            orderer_id="OBR-16.1 ORC-12.1",
            orderer_family_name="OBR-16.2.1 ORC-12.2.1",
            orderer_given_name="OBR-16.3 ORC-12.3",
            ordered_time="ORC-9 OBR-6",
        ),
        DIAGNOSTIC_REPORT.name: _mapping(
            "OBR",
            "OBR-22",
            **_VISIT,
            **_ORDER,
            **_SERVICE,
            status="OBR-25.1",
            section="OBR-24.1",
            effective_time="OBR-7",
            issued_time="OBR-22",
            specimen_received_time="OBR-14",
            specimen_type="OBR-15.1.1",
            interpreter_id="OBR-32.1.1",
            reason="OBR-31.2 OBR-31.1",
        ),
        OBSERVATION.name: _mapping(
            "OBX",
            "OBR-22",
            **_VISIT,
            **_ORDER,
            **_SERVICE,
            observation_code="OBX-3.1",
            observation_display="OBX-3.2",
            observation_system="OBX-3.3",
            observation_alt_code="OBX-3.4",
            observation_alt_display="OBX-3.5",
            observation_alt_system="OBX-3.6",
            set_id="OBX-1",
            sub_id="OBX-4",
            value_type="OBX-2.1",
            value_text="OBX-5",
            unit_code="OBX-6.1",
            unit_display="OBX-6.2",
            unit_system="OBX-6.3",
            reference_range="OBX-7",
            interpretation="OBX-8.1",
            status="OBX-11.1",
            report_status="OBR-25.1",
            effective_time="OBX-14 OBR-7",
            producer="OBX-15.1",
            observer_id="OBX-16.1",
            method="OBX-17.1",
            instance_id="OBX-21.1",
        ),
    }
)
"""By table name. Columns that are not here are made by code: identifiers, subject, ordinals, typed values."""

VALUE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "NM": "number",
        "SN": "structured",
        "CE": "coded",
        "CWE": "coded",
        "CNE": "coded",
        "CF": "coded",
        "ID": "coded",
        "IS": "coded",
        "DT": "time",
        "DTM": "time",
        "TS": "time",
    }
)
"""OBX-2 (HL7 table 0125) → how OBX-5 is read beside its text; TM has no date, so no point in time."""
