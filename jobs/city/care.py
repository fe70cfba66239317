"""Problems (PPR) and referrals (REF) with their answers (RRI)."""

from __future__ import annotations

from datetime import timedelta

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.scene import Scene
from jobs.city.visits import add_diagnosis, add_patient, add_person_and_visit
from schemas.tables.normalised import CONDITION, SERVICE_REQUEST

PROBLEMS = ("PPR^PC1^PPR_PC1", "PPR^PC2^PPR_PC1", "PPR^PC3^PPR_PC1")
REFERRALS = tuple(f"{code}^I{number}^{code}_I12" for code in ("REF", "RRI") for number in range(12, 16))

_HYPERTENSION = Code("I10", "原发性高血压", "ICD10")
_ACTIVE = Code("55561003", "活动", "SCT")
_ACTIONS = {"PC1": "AD", "PC2": "UP", "PC3": "DE"}
_TYPE = Code("MED", "内科", "HL70281")
_STATUS = {"I12": Code("P", "待定", "HL70283"), "I14": Code("E", "过期", "HL70283")}
_ACCEPTED = Code("A", "已接受", "HL70283")


def problem(scene: Scene) -> Draft:
    """A problem that is added, updated or deleted."""
    draft = scene.draft()
    add_person_and_visit(draft)
    done, begun, number = scene.before(5, 60), scene.before(90_000, 900_000), f"PRB{scene.number:07d}"
    at = draft.typed(
        segment(
            "PRB",
            {
                1: _ACTIONS[scene.event], 2: local(done), 3: _HYPERTENSION.sent, 4: f"{number}^{draft.code}",
                7: local(begun), 14: _ACTIVE.sent, 16: local(begun),
            },
        )
    )  # fmt: skip
    draft.row(
        CONDITION, at, stated_in="PRB", action_code=_ACTIONS[scene.event], identifier=number,
        identifier_authority=draft.code, diagnosed_time=utc(begun), onset_time=utc(begun),
        version_time=utc(done), notes=["规律服药"], **_HYPERTENSION.coded("condition"),
        **_ACTIVE.columns("clinical_status"),
    )  # fmt: skip
    draft.plain("NTE|1||规律服药")
    return draft


def referral(scene: Scene) -> Draft:
    """A referral, or an answer to one."""
    draft = Draft(scene.header, scene.person)
    if scene.header.code == "RRI":
        draft.plain(f"MSA|AA|{draft.code}R{scene.number:07d}")
    status, number = _STATUS.get(scene.event, _ACCEPTED), f"RF{scene.number:07d}"
    begin, end = scene.before(100, 3000), scene.sent.replace(second=0) + timedelta(days=30)
    at = draft.typed(
        segment(
            "RF1",
            {
                1: status.sent,
                2: "R",
                3: _TYPE.sent,
                6: f"{number}^{draft.code}",
                7: local(begin),
                8: local(end),
            },
        )
    )
    draft.row(
        SERVICE_REQUEST, at, stated_in="RF1", placer_order=number, placer_authority=draft.code,
        order_status=status.code, priority="R", effective_time=utc(begin), expiration_time=utc(end),
        **status.columns("referral_status"), **_TYPE.columns("referral_type"),
    )  # fmt: skip
    doctor = scene.doctor()
    draft.plain(f"PRD|RP|{doctor.family}^{doctor.given}|||||{doctor.code}")
    add_patient(draft)
    add_diagnosis(draft)
    return draft
