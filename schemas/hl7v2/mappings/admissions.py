"""Admission, discharge, transfer (ADT, HL7 v2.5.1 chapter 3): patients, visits, merges and links.

What one event says of two identities becomes a row of ``patient_link``; what follows from it is decided by event, when
the current state is made: A18, A30, A34, A36, A39 and A40 give up the patient identifiers in MRG for those in PID
(A36 the accounts too), A35, A41 and A42 accounts and visits, A43 to A45 move an identifier, an account or a visit to
another patient, A46 to A51 change a value; A06 and A07 may give the visit another account. A24 links the patients of
two PID, A37 unlinks them, A17 swaps their beds.
"""

from __future__ import annotations

from schemas.hl7v2.mapping import Family, mapping, triggers
from schemas.hl7v2.mappings.order_groups import OBSERVATION_FROM_OBX, SERVICE_REQUEST_FROM_OBR
from schemas.hl7v2.mappings.patients import PATIENT_AND_VISIT
from schemas.hl7v2.mappings.visits import VISIT
from schemas.tables.patient_link import PATIENT_LINK

PATIENT_LINK_FROM_MRG = mapping(
    PATIENT_LINK,
    "MRG",
    {
        "visit_number": "PV1(next)-19.1",
        "event_code": "EVN-1.1",
        "recorded_time": "EVN-2",
        "identifiers": "PID-3 PID-2 PID-4 PID-19",
        "listed_identifiers": "PID-3",
        "external_identifiers": "PID-2",
        "alternate_identifiers": "PID-4",
        "family_name": "PID-5.1.1",
        "given_name": "PID-5.2",
        "account_number": "PID-18.1",
        "account_authority": "PID-18.4.1 PID-18.4.2",
        "visit_authority": "PV1(next)-19.4.1 PV1(next)-19.4.2",
        "alternate_visit_number": "PV1(next)-50.1",
        "other_patient_id": "MRG-1.1 MRG-4.1",
        "other_patient_authority": "MRG-1.4.1 MRG-1.4.2 MRG-4.4.1 MRG-4.4.2",
        "other_patient_id_type": "MRG-1.5 MRG-4.5",
        "other_identifiers": "MRG-1 MRG-4",
        "other_listed_identifiers": "MRG-1",
        "other_external_identifiers": "MRG-4",
        "other_alternate_identifiers": "MRG-2",
        "other_account_number": "MRG-3.1",
        "other_account_authority": "MRG-3.4.1 MRG-3.4.2",
        "other_visit_number": "MRG-5.1",
        "other_visit_authority": "MRG-5.4.1 MRG-5.4.2",
        "other_alternate_visits": "MRG-6",
        "other_names": "MRG-7",
        "other_family_name": "MRG-7.1.1",
        "other_given_name": "MRG-7.2",
    },
    version="EVN-2",
    constants={"stated_in": "MRG"},
)

PATIENT_LINK_FROM_SECOND_PID = mapping(
    PATIENT_LINK,
    "PID",
    {
        **VISIT,
        "event_code": "EVN-1.1",
        "recorded_time": "EVN-2",
        "identifiers": "PID-3 PID-2 PID-4 PID-19",
        "listed_identifiers": "PID-3",
        "external_identifiers": "PID-2",
        "alternate_identifiers": "PID-4",
        "family_name": "PID-5.1.1",
        "given_name": "PID-5.2",
        "account_number": "PID-18.1",
        "account_authority": "PID-18.4.1 PID-18.4.2",
        "visit_authority": "PV1-19.4.1 PV1-19.4.2",
        "alternate_visit_number": "PV1-50.1",
        "other_patient_id": "PID(1)-3.1 PID(1)-2.1",
        "other_patient_authority": "PID(1)-3.4.1 PID(1)-3.4.2 PID(1)-2.4.1 PID(1)-2.4.2",
        "other_patient_id_type": "PID(1)-3.5 PID(1)-2.5",
        "other_identifiers": "PID(1)-3 PID(1)-2",
        "other_listed_identifiers": "PID(1)-3",
        "other_external_identifiers": "PID(1)-2",
        "other_alternate_identifiers": "PID(1)-4",
        "other_account_number": "PID(1)-18.1",
        "other_account_authority": "PID(1)-18.4.1 PID(1)-18.4.2",
        "other_names": "PID(1)-5",
        "other_family_name": "PID(1)-5.1.1",
        "other_given_name": "PID(1)-5.2",
    },
    version="EVN-2",
    later=True,
    constants={"stated_in": "PID"},
)

_WITH_OBSERVATIONS = (*PATIENT_AND_VISIT, SERVICE_REQUEST_FROM_OBR, OBSERVATION_FROM_OBX)

FAMILIES: tuple[Family, ...] = (
    Family(
        "ADT",
        triggers("A01-A05 A08-A16 A19-A23 A25-A29 A31-A33 A38 A52-A62"),
        _WITH_OBSERVATIONS,
        "Admission, discharge, transfer and registration of patients, and their cancellations.",
        "HL7 v2.5.1 §3.3",
    ),
    Family(
        "ADT",
        triggers("A06 A07"),
        (*_WITH_OBSERVATIONS, PATIENT_LINK_FROM_MRG),
        "Outpatients that become inpatients and the other way round; their account may change.",
        "HL7 v2.5.1 §3.3.6, §3.3.7",
    ),
    Family(
        "ADT",
        triggers("A18 A30 A34-A36 A39-A51"),
        (*_WITH_OBSERVATIONS, PATIENT_LINK_FROM_MRG),
        "Merges, moves and changes of patient identifiers, accounts and visits.",
        "HL7 v2.5.1 §3.3.18, §3.3.30, §3.3.34-§3.3.51, §3.6.2",
    ),
    Family(
        "ADT",
        triggers("A17 A24 A37"),
        (*_WITH_OBSERVATIONS, PATIENT_LINK_FROM_SECOND_PID),
        "Two patients in one message: swapped, linked or unlinked.",
        "HL7 v2.5.1 §3.3.17, §3.3.24, §3.3.37",
    ),
)
