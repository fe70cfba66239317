"""What most messages say of a person: who they are, their visit, and what goes with it."""

from __future__ import annotations

from collections.abc import Callable

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.people import Person
from schemas.tables.normalised import (
    ALLERGY_INTOLERANCE,
    CONDITION,
    COVERAGE,
    ENCOUNTER,
    PATIENT,
    PROCEDURE,
    RELATED_PERSON,
)

PNEUMONIA = Code("J18.9", "肺炎", "ICD10")
PENICILLIN = Code("7980", "青霉素", "RXNORM")
APPENDECTOMY = Code("47.09", "闌尾切除術", "ICD9CM3")
SPOUSE = Code("SPO", "配偶", "HL70063")
INSURANCE = Code("310", "城镇职工基本医疗保险", "LOCAL")


def identifiers(draft: Draft) -> list[str]:
    """PID-3 as the truth writes it."""
    assert draft.person is not None
    return [f"{draft.record}|{draft.code}|MR", f"{draft.person.identity}|CNID|NI"]


def add_patient(draft: Draft) -> int:
    """PID, and the row of the patient; its position."""
    person = draft.person
    assert person is not None
    known = person.birth_date_known
    born = f"{person.born:%Y%m%d}" if known else "00000000"
    street, place = f"演示路{person.number % 99 + 1}号", f"贵阳{person.district}"
    at = draft.typed(
        segment(
            "PID",
            {
                1: 1, 3: f"{draft.record}^^^{draft.code}^MR~{person.identity}^^^CNID^NI",
                5: f"{person.family}^{person.given}", 7: born, 8: person.gender,
                11: f"{street}^^{place}^贵州^550000^CHN", 13: person.phone,
                18: f"{person.account}^^^{draft.code}^AN",
            },
        )
    )  # fmt: skip
    draft.event_row(
        PATIENT, at, identifiers=identifiers(draft), family_name=person.family, given_name=person.given,
        birth_date=person.born.isoformat() if known else None, birth_date_text=born,
        codes=[] if known else ["HL7-DTM-INVALID"], gender=person.gender, street=street, city=place,
        state="贵州", postal_code="550000", country="CHN", phone=person.phone,
        account_number=person.account, account_authority=draft.code,
    )  # fmt: skip
    if not known:
        draft.finding("HL7-DTM-INVALID", at, 7, 1)
    return at


def add_visit(draft: Draft) -> None:
    """PV1, and the row of the visit; nothing where the message tells of none."""
    stay, recorded = draft.stay, draft.event_columns if draft.evented else {}
    if stay is None:
        return
    at = draft.typed(
        segment(
            "PV1",
            {
                1: 1, 2: stay.kind, 3: f"{stay.ward}^{stay.room}^{stay.bed}^{draft.code}",
                6: stay.prior_ward or "", 7: stay.doctor.sent, 10: "MED", 19: stay.visit,
                44: local(stay.admitted), 45: local(stay.discharged), 50: stay.alternate or "",
            },
        )
    )  # fmt: skip
    draft.event_row(
        ENCOUNTER, at, patient_class=stay.kind, point_of_care=stay.ward, room=str(stay.room),
        bed=str(stay.bed), facility=draft.code, prior_point_of_care=stay.prior_ward,
        hospital_service="MED", admit_time=utc(stay.admitted), discharge_time=utc(stay.discharged),
        alternate_visit_number=stay.alternate, **stay.doctor.columns("attending"), **recorded,
    )  # fmt: skip


def add_person_and_visit(draft: Draft) -> None:
    """PID and PV1."""
    add_patient(draft)
    add_visit(draft)


def add_relative(draft: Draft, relative: Person) -> None:
    """NK1: who is next of kin."""
    at = draft.typed(
        segment("NK1", {1: 1, 2: f"{relative.family}^{relative.given}", 3: SPOUSE.sent, 5: relative.phone})
    )
    draft.event_row(
        RELATED_PERSON, at, stated_in="NK1", set_id="1", family_name=relative.family,
        given_name=relative.given, phone=relative.phone, **SPOUSE.coded("relationship"),
    )  # fmt: skip


def add_guarantor(draft: Draft, guarantor: Person) -> None:
    """GT1: who pays."""
    at = draft.typed(
        segment(
            "GT1",
            {
                1: 1, 3: f"{guarantor.family}^{guarantor.given}", 6: guarantor.phone,
                8: f"{guarantor.born:%Y%m%d}", 9: guarantor.gender, 11: SPOUSE.sent,
            },
        )
    )  # fmt: skip
    draft.event_row(
        RELATED_PERSON, at, stated_in="GT1", set_id="1", family_name=guarantor.family,
        given_name=guarantor.given, phone=guarantor.phone, birth_date=guarantor.born.isoformat(),
        gender=guarantor.gender, **SPOUSE.coded("relationship"),
    )  # fmt: skip


def add_diagnosis(draft: Draft) -> None:
    """DG1: why they are here."""
    at = draft.typed(
        segment("DG1", {1: 1, 3: PNEUMONIA.sent, 5: local(draft.header.recorded), 6: "W", 15: 1})
    )
    draft.event_row(
        CONDITION, at, stated_in="DG1", diagnosed_time=utc(draft.header.recorded), diagnosis_type="W",
        priority="1", **PNEUMONIA.coded("condition"),
    )  # fmt: skip


def add_procedure(draft: Draft) -> None:
    """PR1: what was done."""
    assert draft.stay is not None
    at = draft.typed(
        segment(
            "PR1",
            {1: 1, 3: APPENDECTOMY.sent, 5: local(draft.stay.admitted), 7: 45, 11: draft.stay.doctor.sent},
        )
    )
    draft.event_row(
        PROCEDURE, at, set_id="1", performed_time=utc(draft.stay.admitted), minutes=45.0,
        **APPENDECTOMY.coded("procedure"), **draft.stay.doctor.columns("surgeon"),
    )  # fmt: skip


def add_allergy(draft: Draft) -> None:
    """AL1: what they do not bear."""
    at = draft.typed(
        segment("AL1", {1: 1, 2: "DA", 3: PENICILLIN.sent, 4: "SV^重度^HL70128", 5: "皮疹~呼吸困难"})
    )
    draft.event_row(
        ALLERGY_INTOLERANCE, at, stated_in="AL1", allergen_type="DA", severity="SV", severity_display="重度",
        reactions=["皮疹", "呼吸困难"], **PENICILLIN.coded("allergen"),
    )  # fmt: skip


def add_coverage(draft: Draft) -> None:
    """IN1: who insures them."""
    person = draft.person
    assert person is not None
    at = draft.typed(
        segment(
            "IN1",
            {
                1: 1, 2: INSURANCE.sent, 3: "YB520100", 4: "贵阳市医疗保障局", 12: "20260101", 13: "20261231",
                16: f"{person.family}^{person.given}", 17: "SEL", 36: person.identity,
            },
        )
    )  # fmt: skip
    draft.event_row(
        COVERAGE, at, set_id="1", company_id="YB520100", company_name="贵阳市医疗保障局",
        start_date="2026-01-01", end_date="2026-12-31", insured_family_name=person.family,
        insured_given_name=person.given, relationship="SEL", policy_number=person.identity,
        **INSURANCE.columns("plan"),
    )  # fmt: skip


WITH_A_VISIT: tuple[Callable[[Draft], None], ...] = (add_diagnosis, add_allergy, add_coverage)
"""What an admission may tell beside person and visit."""
