"""Appointments (SIU): booked, moved, changed, cancelled, not kept."""

from __future__ import annotations

from datetime import timedelta

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.scene import Scene
from jobs.city.visits import add_person_and_visit
from schemas.tables.normalised import APPOINTMENT

KINDS = tuple(f"SIU^S{number}^SIU_S12" for number in range(12, 27))

_REASON = Code("ROUTINE", "常规", "HL70276")
_SERVICE = Code("CONSULT", "会诊", "L")
_STATUS = {"S15": "Cancelled", "S16": "Discontinued", "S17": "Deleted", "S26": "Noshow"}
"""Trigger → status (HL7 table 0278); all others leave it booked."""


def appointment(scene: Scene) -> Draft:
    """A message about an appointment."""
    draft = scene.draft()
    doctor, number = scene.doctor(), f"{scene.number:07d}"
    start = (scene.sent + timedelta(days=scene.rng.randrange(1, 15))).replace(second=0)
    status, room = _STATUS.get(scene.event, "Booked"), f"R{scene.rng.randrange(1, 9)}"
    at = draft.typed(
        segment(
            "SCH",
            {
                1: f"PA{number}^{draft.code}", 2: f"FA{number}^{draft.code}", 6: _REASON.sent, 7: _REASON.sent,
                9: 15, 10: "min", 11: f"^^15^{local(start)}", 16: doctor.sent, 25: status,
            },
        )
    )  # fmt: skip
    draft.row(
        APPOINTMENT, at, placer_appointment=f"PA{number}", placer_authority=draft.code,
        filler_appointment=f"FA{number}", filler_authority=draft.code, duration=15.0, duration_unit="min",
        start_time=utc(start), status=status, point_of_care=room, **_REASON.columns("event_reason"),
        **_REASON.coded("reason"), **doctor.columns("filler_contact"), **doctor.columns("practitioner"),
        **_SERVICE.coded("service"),
    )  # fmt: skip
    add_person_and_visit(draft)
    draft.plain("RGS|1|A")
    draft.plain(segment("AIS", {1: 1, 2: "A", 3: _SERVICE.sent, 4: local(start)}))
    draft.plain(segment("AIL", {1: 1, 2: "A", 3: f"{room}^^^{draft.code}"}))
    draft.plain(segment("AIP", {1: 1, 2: "A", 3: doctor.sent}))
    return draft
