"""``curated/*``: what is true now, one row (or group of lines) per thing: each a fold of a normalised table.

Where the standard is silent the rule is ours, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from schemas.fold import Codes, Echo, Events, FieldFold, Fold, Key, Owns, RowFold, Status, key, values_of
from schemas.table import INSTANT, Field, Table
from schemas.tables.columns import ORIGIN, text
from schemas.tables.imaging import IMAGING_INSTANCE, IMAGING_REJECTION, IMAGING_SERIES, IMAGING_STUDY
from schemas.tables.normalised import (
    ALLERGY_INTOLERANCE,
    APPOINTMENT,
    CHARGE_ITEM,
    CONDITION,
    COVERAGE,
    DIAGNOSTIC_REPORT,
    DOCUMENT_REFERENCE,
    ENCOUNTER,
    IMMUNIZATION,
    ITEM_DEFINITION,
    LOCATION,
    MEDICATION_ADMINISTRATION,
    MEDICATION_DISPENSE,
    MEDICATION_REQUEST,
    OBSERVATION,
    PATIENT,
    PRACTITIONER,
    PROCEDURE,
    RELATED_PERSON,
    SERVICE_REQUEST,
    SPECIMEN,
)
from schemas.tables.qc_result import QC_RESULT

_ORIGIN = frozenset(field.name for field in ORIGIN)


def _codes(column: str, codes: str) -> Codes:
    return Codes(column, frozenset(codes.split()))


def _told(codes: str, shown: str = "") -> Mapping[str, str]:
    """Events and what each shows: ``A01 A04`` or ``A05=planned A01=admitted``."""
    pairs = (item.partition("=") for item in codes.split())
    return MappingProxyType({code: given or shown for code, _, given in pairs})


# Orders, reports, observations -------------------------------------------------------------------------------------


_BY_SPECIMEN = key(
    "instrument",
    "institution specimen_id event_date",
    needs="specimen_id",
    when=Codes("message_code", frozenset({"ASTM"})),
)
"""What an instrument says is of a specimen on a day, for bar codes come round again; it often knows no patient."""


def _order(taken: str, *, beside: str = "code:service", more: str = "") -> tuple[Key, ...]:
    """The identity of an order: the filler's number, else the placer's, else its circumstances, which is weak.

    Args:
        taken: the column with OBR-7, or what comes nearest to it; it also tells which year of a number that comes
            round again is meant.
        beside: what orders under one number are told apart by.
        more: further circumstances.
    """
    patient = "source institution patient_authority patient_id"
    no_document = _codes("message_code", "MDM")  # what a document says is of that document only
    return (
        key("filler", f"authority:filler_authority filler_order period:{taken}", needs="filler_order"),
        key(
            "placer",
            f"authority:placer_authority placer_order period:{taken}",
            needs="placer_order",
            alias_of="filler",
            alias_beside=beside,
        ),
        key(
            "order",
            f"{patient} {taken} {more}",
            needs=f"patient_id {taken}",
            weak=True,
            unless=no_document,
        ),
        key(
            "order-of-day", f"{patient} event_date {more}", needs="patient_id", weak=True, unless=no_document
        ),
    )


_REPORT = "code:service parent_filler_order parent_placer_order parent_code parent_code_system parent_sub_id"
"""A report within its order: OBR-4, and of a child order OBR-26 and OBR-29."""

_TAKEN_BACK = frozenset("DWX")

_REPORT_STATUS = Status("status", reset=_TAKEN_BACK, final=frozenset("FC"), raised_codes=frozenset("C"),
                        raised_column="issued_time")  # fmt: skip
"""HL7 table 0123. A C, or what tells when it was issued (OBR-22), ranks above: an old F sent again never covers it."""

_RESULT_STATUS = Status(
    "status",
    reset=_TAKEN_BACK,
    final=frozenset("FCABVU"),
    raised_codes=frozenset("C"),
    raised_column="issued_time",
    takes_value=frozenset("U"),
    otherwise=Status("report_status", reset=_TAKEN_BACK, final=frozenset("FC"), raised_codes=frozenset("C"),
                     raised_column="issued_time"),
)  # fmt: skip
"""HL7 table 0085; where OBX-11 is blank OBR-25 says it; where both are, it is preliminary."""

_RESULT_VALUE = tuple(
    field.name
    for field in OBSERVATION.fields
    if field.name.startswith(("value_", "values", "unit_", "reference_range", "interpretation", "abnormality",
                              "probability"))
)  # fmt: skip

_SUBJECT = ("patient_authority", "patient_id")

_KEY_OF_REPORT = (
    "filler_order", "filler_authority", "placer_order", "placer_authority", "patient_id", "patient_authority",
    "visit_number", "specimen_id", "specimen_type", "parent_filler_order", "parent_placer_order", "parent_code",
    "parent_code_system", "parent_sub_id", "service_code", "service_display", "service_system",
    "service_alt_code", "service_alt_display", "service_alt_system", "service_system_version", "service_text",
)  # fmt: skip

REPORT_FOLD = RowFold(
    DIAGNOSTIC_REPORT,
    (_BY_SPECIMEN, *_order("effective_time", more="specimen_id specimen_type")),
    groups=(key("report", _REPORT),),
    subject=_SUBJECT,
    status=_REPORT_STATUS,
    shows_reset=True,
)

_CONTENT = key("content", "document_id", needs="document_id")


def _withdrawn_document(triggers: str, number: str, authority: str) -> Echo:
    """Events of documents that take back what a document said: its own, or its successor's."""
    return Echo(
        DOCUMENT_REFERENCE.name,
        _codes("trigger", triggers),
        MappingProxyType(
            {"document_id": number, "document_authority": authority, "patient_id": "patient_id",
             "patient_authority": "patient_authority"}
        ),
        status="D",
        but=None if number == "document_id" else ("document_id", number),
    )  # fmt: skip


OBSERVATION_FOLD = RowFold(
    OBSERVATION,
    (
        key("document", "authority:document_authority document_id", needs="document_id"),
        key(
            "given",
            "authority:filler_authority filler_order placer_order patient_id event_time",
            needs="patient_id event_time",
            weak=True,
            when=_codes("message_code", "RAS RDE RDS RGV"),
        ),
        _BY_SPECIMEN,
        *_order("specimen_time", more="specimen_id specimen_type"),
    ),
    groups=(
        _CONTENT,
        key(
            "measured",
            "observation_code sub_id",
            needs="observation_code",
            when=_codes("message_code", "ASTM"),
        ),
        key("instance", f"{_REPORT} instance_authority instance_id", needs="instance_id"),
        key("lines", f"{_REPORT} code:observation sub_id"),
    ),
    scopes=(_CONTENT, key("report", _REPORT)),
    subject=_SUBJECT,
    status=_RESULT_STATUS,
    value=_RESULT_VALUE,
    echoes=(
        Echo(
            DIAGNOSTIC_REPORT.name,
            Codes("status", _TAKEN_BACK),
            MappingProxyType(
                {name: name for name in _KEY_OF_REPORT}
                | {"specimen_time": "effective_time", "status": "status", "report_status": "status"}
            ),
        ),
        _withdrawn_document("T11", "document_id", "document_authority"),
        _withdrawn_document("T09 T10", "parent_document_id", "parent_document_authority"),
    ),
    shows_reset=True,
)
"""Several OBX of equal code and sub-id are the lines of one result. What takes a report back takes back its
observations up to its version, whatever their own status says. What is observed when medication is given is of that
giving, not one result of the order. What a document says is one thing, which each event that brings it states anew; it
is gone (D) once the document is cancelled or another one has taken its place."""

_CONTROL = Events(
    "state",
    "order_control",
    sets=_told("OC=CA CR=CA OD=DC DR=DC OH=HD HR=HD OE=IP OR=IP RU=RP RQ=RP DE=ER"),
    unsets=_told(""),
    shows="state",
    told_in="order_status",
    not_told_by=frozenset({"CA", "DC", "HD", "RL", "RP", "XO"}),
    shows_time="state_time",
    at_word=_told("CA=CA DC=DC HD=HD RL=IP RP=RP"),
)  # fmt: skip
"""What is so: ORC-5, or what an answer tells (HL7 tables 0119, 0038); what a request asks for is no fact."""

_ASKED = Events(
    "request",
    "order_control",
    sets=_told("NW=NW CA=CA DC=DC HD=HD RL=RL RP=RP XO=XO RF=RF PA=PA CH=CH"),
    unsets=_told(""),
    shows="request",
    shows_time="request_time",
)
"""What was asked for last."""

SERVICE_REQUEST_FOLD = FieldFold(
    SERVICE_REQUEST,
    (
        key(
            "referral",
            "authority:placer_authority placer_order",
            needs="placer_order",
            when=_codes("stated_in", "RF1"),
        ),
        _BY_SPECIMEN,
        *_order("requested_time"),
    ),
    values=values_of(SERVICE_REQUEST, _ORIGIN, ("reason_text",)),
    events=(_ASKED, _CONTROL),
    groups=(key("service", "code:service", needs="service"),),
)
"""An ORC without a detail, as in a cancellation, speaks of all that its number orders."""

_SAID_BY_ORC = (
    "placer_order", "placer_authority", "filler_order", "filler_authority", "order_control", "order_status",
    "effective_time", "effective_time_precision", "effective_time_offset", "control_reason", "control_reason_display",
    "control_reason_system",
)  # fmt: skip

MEDICATION_REQUEST_FOLD = FieldFold(
    MEDICATION_REQUEST,
    _order("event_date", beside="code:medication", more="code:medication"),
    values=values_of(MEDICATION_REQUEST, _ORIGIN),
    events=(_ASKED, _CONTROL),
    echoes=(
        Echo(
            SERVICE_REQUEST.name,
            _codes("stated_in", "ORC"),
            MappingProxyType({name: name for name in _SAID_BY_ORC}),
            also=_codes("message_code", "ORM"),
        ),
    ),
)
"""An ORC without a detail in an ORM does not tell whether medication is meant: it counts for the medication that its
number orders, and makes none. In OMP and RDE it states a medication request by itself."""

_GIVEN = "code:medication start_time give_number administration_number stated_in"

MEDICATION_DISPENSE_FOLD = RowFold(
    MEDICATION_DISPENSE,
    _order("dispensed_time", beside="code:medication", more="code:medication"),
    groups=(key("dispense", "code:medication dispense_number"),),
)

MEDICATION_ADMINISTRATION_FOLD = RowFold(
    MEDICATION_ADMINISTRATION,
    _order("start_time", beside="code:medication", more="code:medication"),
    groups=(key("administration", _GIVEN),),
    deleting=(_codes("action_code", "D"),),
)

SPECIMEN_FOLD = RowFold(
    SPECIMEN,
    (
        _BY_SPECIMEN,
        key(
            "specimen",
            "authority:specimen_authority specimen_id period:event_date",
            needs="specimen_id",
        ),
        *_order("collected_time", beside="code:type", more="code:type"),
    ),
    groups=(key("id", "specimen_id", needs="specimen_id"), key("specimen", "code:type set_id")),
)

# Instruments -------------------------------------------------------------------------------------------------------

QC_RESULT_FOLD = RowFold(
    QC_RESULT,
    (
        key("measured", "source instrument specimen_id analysis_time", needs="analysis_time"),
        key("sent", "source instrument specimen_id event_time", needs="event_time", weak=True),
    ),
    groups=(key("test", "code:observation"),),
)
"""Each measurement of a control is a thing of its own; one that is sent again is the same."""

# Patients and visits -----------------------------------------------------------------------------------------------

_PERSON_EXISTS = Events(
    "existence",
    "trigger",
    sets=_told("A01 A04 A05 A28"),
    unsets=_told("A29"),
    hides=True,
)

PATIENT_FOLD = FieldFold(
    PATIENT,
    (key("patient", "patient_authority patient_id", needs="patient_id"),),
    values=values_of(PATIENT, _ORIGIN | {"identifiers"}),
    sets=("identifiers",),
    events=(_PERSON_EXISTS,),
)
"""Field by field; identifiers only grow (what merges and moves do to them is the identity's own fold)."""

_PLACE = (
    "point_of_care", "room", "bed", "facility", "location_status", "building", "floor", "location_text",
)  # fmt: skip

_PENDING = ("pending_point_of_care", "pending_room", "pending_bed", "pending_facility")

ENCOUNTER_FOLD = FieldFold(
    ENCOUNTER,
    (
        key(
            "visit",
            "source institution visit_number visit:event_date",
            needs="visit_number",
        ),
        key("alternate-visit", "source institution alternate_visit_number", needs="alternate_visit_number"),
        key(
            "stay",
            "source institution patient_authority patient_id admit_time",
            needs="patient_id admit_time",
            weak=True,
        ),
        key(
            "visit-of-day",
            "source institution patient_authority patient_id event_date",
            needs="patient_id",
            weak=True,
        ),
    ),
    values=values_of(ENCOUNTER, _ORIGIN, ("patient_type",), (_PLACE, _PENDING)),
    events=(
        Events(
            "existence",
            "trigger",
            sets=_told("A01=admitted A04=registered A05=planned"),
            unsets=_told("A11 A38 A23", "cancelled"),
            shows="visit_state",
            shows_time="visit_state_time",
            hides=True,
        ),
        Events(
            "discharge",
            "trigger",
            sets=_told("A03", "discharged"),
            unsets=_told("A13", "present"),
            owns=Owns.ENDS,
            values=("discharge_time", "discharge_disposition", "discharge_location"),
            shows="discharge_state",
            shows_time="discharge_state_time",
        ),
        Events(
            "location",
            "trigger",
            sets=_told("A01 A02 A17"),
            unsets=_told("A12"),
            owns=Owns.STATES,
            values=("point_of_care",),
        ),
        Events(
            "class",
            "trigger",
            sets=_told("A06"),
            unsets=_told("A07"),
            owns=Owns.STATES,
            values=("patient_class",),
        ),
        Events(
            "leave",
            "trigger",
            sets=_told("A21 A53", "on leave"),
            unsets=_told("A22 A52", "present"),
            shows="leave_state",
            shows_time="leave_state_time",
        ),
        Events(
            "doctor",
            "trigger",
            sets=_told("A54"),
            unsets=_told("A55"),
            owns=Owns.STATES,
            values=("attending_id", "attending_doctors"),
        ),
        Events(
            "pending admission",
            "trigger",
            sets=_told("A14"),
            unsets=_told("A27"),
            owns=Owns.ENDS,
            values=("expected_admit_time",),
        ),
        Events(
            "pending transfer",
            "trigger",
            sets=_told("A15"),
            unsets=_told("A26"),
            owns=Owns.ENDS,
            values=("pending_point_of_care",),
        ),
        Events(
            "pending discharge",
            "trigger",
            sets=_told("A16"),
            unsets=_told("A25"),
            owns=Owns.ENDS,
            values=("expected_discharge_time",),
        ),
    ),
    ignored=_codes("trigger", "A28 A29 A31"),
)
"""A visit is a product of registers, each by the time of the event; A08 updates and never reopens."""

# Sets: a message's set replaces the former one of the same scope ---------------------------------------------------


def _of_visit(when: Codes | None = None) -> tuple[Key, ...]:
    return (
        key("of-visit", "source institution visit_number visit:event_date", needs="visit_number", when=when),
        key("of-patient", "patient_authority patient_id", needs="patient_id", when=when),
    )


_OF_PATIENT = (key("of-patient", "patient_authority patient_id", needs="patient_id"),)

_MEMBER = key("identifier", "identifier_authority identifier", needs="identifier")

CONDITION_FOLD = RowFold(
    CONDITION,
    (
        key(
            "problems",
            "patient_authority patient_id",
            needs="patient_id",
            when=_codes("stated_in", "PRB"),
        ),
        key(
            "of-placer-order",
            "authority:placer_authority placer_order period:event_date",
            needs="placer_order",
        ),
        key(
            "of-filler-order",
            "authority:filler_authority filler_order period:event_date",
            needs="filler_order",
        ),
        *_of_visit(),
    ),
    deleting=(_codes("action_code", "D DE"),),
    action="action_code",
    members=(_MEMBER, key("code", "code:condition diagnosis_type")),
)
"""Problems are the patient's, diagnoses the visit's, and those behind an order's detail the order's."""

PROCEDURE_FOLD = RowFold(
    PROCEDURE,
    _of_visit(),
    deleting=(_codes("action_code", "D"),),
    action="action_code",
    members=(_MEMBER, key("code", "code:procedure performed_time")),
)

ALLERGY_FOLD = RowFold(
    ALLERGY_INTOLERANCE,
    _OF_PATIENT,
    deleting=(_codes("action_code", "D"),),
    action="action_code",
    members=(_MEMBER, key("code", "code:allergen")),
)

COVERAGE_FOLD = RowFold(
    COVERAGE,
    _OF_PATIENT,
    deleting=(_codes("action_code", "D"),),
    action="action_code",
    members=(key("plan", "plan company_id policy_number"),),
)

RELATED_PERSON_FOLD = RowFold(
    RELATED_PERSON,
    (key("related", "patient_authority patient_id stated_in", needs="patient_id"),),
)

# The latest version wins -------------------------------------------------------------------------------------------

DOCUMENT_FOLD = RowFold(
    DOCUMENT_REFERENCE,
    (
        key("document", "authority:document_authority document_id", needs="document_id"),
        key("order-document", "authority:filler_authority filler_order code:document_type",
            needs="filler_order", weak=True),
    ),
    deleting=(_codes("trigger", "T11"),),
    echoes=(
        Echo(
            DOCUMENT_REFERENCE.name,
            _codes("trigger", "T09 T10"),
            MappingProxyType({"document_id": "parent_document_id",
                              "document_authority": "parent_document_authority"}),
            but=("document_id", "parent_document_id"),
        ),
    ),
)  # fmt: skip
"""T05 and T06 are documents of their own below their parent; T09 and T10 take the parent's place; T11 cancels."""

APPOINTMENT_FOLD = RowFold(
    APPOINTMENT,
    (
        key("filler", "authority:filler_authority filler_appointment occurrence_number",
            needs="filler_appointment"),
        key("placer", "authority:placer_authority placer_appointment occurrence_number",
            needs="placer_appointment", alias_of="filler", alias_beside="occurrence_number"),
    ),
    deleting=(_codes("trigger", "S17"),),
)  # fmt: skip

_CHARGE = (
    "source institution patient_authority patient_id visit_number account_number transaction_id transaction_type "
    "transaction_time code:charge quantity amount set_id"
)

CHARGE_FOLD = RowFold(
    CHARGE_ITEM,
    (
        key("charge", "source institution transaction_id transaction_type", needs="transaction_id",
            unless=_codes("transaction_type", "CD AJ")),
        key("adjustment", _CHARGE, needs="transaction_id"),
        key("charge-content", _CHARGE, needs="patient_id", weak=True),
    ),
)  # fmt: skip
"""Credits (CD) and adjustments (AJ) add up and overwrite nothing; one that is sent again is the same."""

IMMUNIZATION_FOLD = RowFold(
    IMMUNIZATION,
    (
        key("filler", "authority:filler_authority filler_order", needs="filler_order"),
        key("placer", "authority:placer_authority placer_order", needs="placer_order", alias_of="filler",
            alias_beside="code:vaccine"),
        key("vaccination", "patient_authority patient_id occurrence_time", needs="patient_id occurrence_time",
            weak=True),
    ),
    groups=(key("vaccine", "code:vaccine"),),
    deleting=(_codes("action_code", "D"),),
)  # fmt: skip

_RECORD = (key("record", "source institution master_file record_key_text", needs="record_key_text"),)
_GONE = (_codes("record_event", "MDL"), _codes("trigger", "B03"))

PRACTITIONER_FOLD = RowFold(
    PRACTITIONER,
    (key("staff", "source institution key", needs="key"), *_RECORD),
    deleting=_GONE,
)
LOCATION_FOLD = RowFold(LOCATION, (key("place", "source institution key_text", needs="key_text"), *_RECORD),
                        deleting=_GONE)  # fmt: skip
ITEM_DEFINITION_FOLD = RowFold(ITEM_DEFINITION, _RECORD, deleting=_GONE)

# Images: what arrives later counts, for a header has no version of its own ------------------------------------------

_NAMES = tuple(
    tuple(f"{name}_{group}" for group in ("alphabetic", "ideographic", "phonetic"))
    for name in (
        "patient_name", "other_patient_name", "referring_physician", "consulting_physician", "physician_of_record",
        "reading_physician", "requesting_physician", "performing_physician", "operator",
    )
)  # fmt: skip


def _names_in(table: Table) -> tuple[tuple[str, ...], ...]:
    there = {field.name for field in table.fields}
    return tuple(name for name in _NAMES if name[0] in there)


IMAGING_STUDY_FOLD = FieldFold(
    IMAGING_STUDY,
    (key("study", "source study_instance_uid", needs="study_instance_uid"),),
    values=values_of(IMAGING_STUDY, _ORIGIN | {"identifiers"}, (), _names_in(IMAGING_STUDY)),
    sets=("identifiers",),
    groups=(key("patient", "patient_authority patient_id", needs="patient_id"),),
)
"""A study that comes with another patient is a row for each of them: which is right an order or a merge decides."""

IMAGING_SERIES_FOLD = FieldFold(
    IMAGING_SERIES,
    (key("series", "source series_instance_uid", needs="series_instance_uid"),),
    values=values_of(IMAGING_SERIES, _ORIGIN, (), _names_in(IMAGING_SERIES)),
)

_INSTANCE = (key("instance", "source sop_instance_uid", needs="sop_instance_uid"),)
_AWAY = frozenset({"REJECTED", "EXPIRED"})

IMAGING_INSTANCE_FOLD = RowFold(
    IMAGING_INSTANCE,
    _INSTANCE,
    status=Status("status", reset=frozenset(), final=frozenset({"CURRENT", *_AWAY}),
                  raised_codes=frozenset({"REJECTED"})),
    deleting=(Codes("status", _AWAY),),
    echoes=(
        Echo(
            IMAGING_REJECTION.name,
            Codes("status", _AWAY),
            MappingProxyType({name: name for name in ("study_instance_uid", "series_instance_uid",
                                                      "sop_instance_uid", "status")}),
            resets=False,
        ),
    ),
)  # fmt: skip
"""What was rejected stays away, even where it is sent again; what expired comes back with what arrives later."""

IMAGING_REJECTION_FOLD = RowFold(
    IMAGING_REJECTION,
    (key("rejection", "source sop_instance_uid document_uid", needs="sop_instance_uid document_uid"),),
)

FOLDS: tuple[Fold, ...] = (
    PATIENT_FOLD, RELATED_PERSON_FOLD, ENCOUNTER_FOLD, CONDITION_FOLD, PROCEDURE_FOLD, ALLERGY_FOLD,
    COVERAGE_FOLD, SERVICE_REQUEST_FOLD, SPECIMEN_FOLD, REPORT_FOLD, OBSERVATION_FOLD, DOCUMENT_FOLD,
    MEDICATION_REQUEST_FOLD, MEDICATION_DISPENSE_FOLD, MEDICATION_ADMINISTRATION_FOLD, IMMUNIZATION_FOLD,
    APPOINTMENT_FOLD, CHARGE_FOLD, PRACTITIONER_FOLD, LOCATION_FOLD, ITEM_DEFINITION_FOLD,
    QC_RESULT_FOLD, IMAGING_STUDY_FOLD, IMAGING_SERIES_FOLD, IMAGING_INSTANCE_FOLD, IMAGING_REJECTION_FOLD,
)  # fmt: skip
"""Every fold. Headers, links, findings and what no table takes have no business key and are events, not things."""

# The tables --------------------------------------------------------------------------------------------------------

KEPT: tuple[Field, ...] = (
    Field("home_month", pa.date32(), "First day of the earliest month that any version of the thing is of."),
    Field("key_hash", pa.int64(), "Names the thing: equal in all tables that name it alike.", nullable=False),
    Field("group_hash", pa.int64(), "Names the group of lines within the thing.", nullable=False),
    Field("scope_hash", pa.int64(), "Names what the group belongs to.", nullable=False),
    Field("subject_hash", pa.int64(), "Names of whom it is said, where that matters.", nullable=False),
    Field("alias_hash", pa.int64(), "Names the thing by a number that another one may stand for; else 0.",
          nullable=False),
    Field("register", pa.int8(), "Which register the version is in.", nullable=False),
    Field("weak", pa.bool_(), "Whether no number names the thing, only its circumstances.", nullable=False),
    Field("echo", pa.bool_(), "Whether the version only takes back what others said.", nullable=False),
    Field("at_word", pa.bool_(), "Whether its source's requests are taken for facts.", nullable=False),
)  # fmt: skip
"""What the rows of a state have beside the columns of the normalised table."""

SHOWN: tuple[Field, ...] = (
    Field("since", INSTANT, "Since when it is so: the version time of what made it so."),
    Field("shown", pa.bool_(), "Whether the row is what is so now; queries see these.", nullable=False),
    Field(
        "kept", pa.bool_(), "Whether the row is a version that later ones are joined with.", nullable=False
    ),
)
"""What the rows of a curated table have beside that."""

HIDDEN = frozenset(
    {"shown", "kept", "group_hash", "scope_hash", "subject_hash", "alias_hash", "register", "echo", "at_word"}
)
"""Columns that folds are made with, and that say nothing to who asks what is so."""

_DROPPED = frozenset({"event_month", "batch_number"})


def _ordinal(fold: Fold) -> tuple[Field, ...]:
    if isinstance(fold, FieldFold) or any(field.name == "line" for field in fold.table.fields):
        return ()
    return (Field("line", pa.int32(), "Ordinal among the rows of one thing, from 0."),)


def _of_events(fold: Fold) -> tuple[Field, ...]:
    fields: list[Field] = []
    for events in fold.events if isinstance(fold, FieldFold) else ():
        if events.shows is not None:
            fields.append(text(events.shows, f"What the last event of {events.name} says."))
        if events.shows_time is not None:
            fields.append(
                Field(events.shows_time, INSTANT, f"Version time of the last event of {events.name}.")
            )
    return tuple(fields)


def state_fields(fold: Fold) -> tuple[Field, ...]:
    """Columns of a state: the normalised table's, and what names thing, group and register."""
    own = (
        Field(one.name, one.type, one.doc, one.standard)
        for one in fold.table.fields
        if one.name not in _DROPPED
    )
    return (*KEPT, *own)


def curated(fold: Fold) -> Table:
    """The curated table of a fold."""
    return Table(
        name=fold.table.name.replace("normalised/", "curated/"),
        doc=f"Now: {fold.table.doc[0].lower()}{fold.table.doc[1:]}",
        fields=(*SHOWN, *state_fields(fold), *_ordinal(fold), *_of_events(fold)),
        partition_by="home_month",
        sort_by=("key_hash",),
        statistics=("key_hash", "version_time"),
    )


CURATED: tuple[Table, ...] = tuple(curated(fold) for fold in FOLDS)
"""Every curated table, in the order of ``FOLDS``."""
