"""Medication: ordered (OMP), encoded (RDE), dispensed (RDS), given (RAS), to be given (RGV); and vaccinations (VXU)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.people import Doctor
from jobs.city.scene import Scene
from jobs.city.truth import Row, Value
from jobs.city.visits import add_patient, add_person_and_visit
from schemas.table import Table
from schemas.tables.normalised import (
    IMMUNIZATION,
    MEDICATION_ADMINISTRATION,
    MEDICATION_DISPENSE,
    MEDICATION_REQUEST,
    OBSERVATION,
)

PRESCRIPTIONS = (
    "OMP^O09^OMP_O09", "RDE^O11^RDE_O11", "RDE^O25^RDE_O11", "RDS^O13^RDS_O13", "RAS^O17^RAS_O17",
    "RGV^O15^RGV_O15",
)  # fmt: skip
VACCINATIONS = ("VXU^V04^VXU_V04",)

_MEDICATIONS = (
    Code("XJ01CA04", "阿莫西林胶囊", "ATC"),
    Code("XA10BA02", "二甲双胍片", "ATC"),
    Code("XC07AB02", "美托洛尔片", "ATC"),
)
_VACCINES = (Code("08", "乙型肝炎疫苗", "CVX"), Code("140", "流感疫苗", "CVX"))
_MILLIGRAM, _MILLILITRE = Code("mg", "毫克", "UCUM"), Code("mL", "毫升", "UCUM")
_TABLET = Code("TAB", "片", "HL70292")
_ORAL, _MUSCLE = Code("PO", "口服", "HL70162"), Code("IM", "肌内注射", "HL70162")
_ELIGIBILITY = Code("64994-7", "疫苗接种资格", "LN")


@dataclass(frozen=True, slots=True)
class Prescription:
    """What was prescribed.

    Attributes:
        number: of the prescription, one in the city.
        medication: what.
        dose: milligrams each time.
        orderer: by whom.
        ordered: local time.
    """

    number: int
    medication: Code
    dose: int
    orderer: Doctor
    ordered: datetime

    @classmethod
    def of(cls, scene: Scene, choice: tuple[Code, ...] = _MEDICATIONS) -> Prescription:
        """Make one up."""
        rng = scene.rng
        return cls(
            scene.number,
            rng.choice(choice),
            rng.choice((25, 50, 250, 500)),
            scene.doctor(),
            scene.before(5, 300),
        )


def add_prescription(draft: Draft, scene: Scene, *names: str) -> None:
    """ORC, and what it is about.

    Args:
        draft: the message.
        scene: its plan.
        names: of the segments (RXO, RXE, RXD, RXA, RXG) in their order.
    """
    one = Prescription.of(scene)
    _add_order(draft, one, "RE" if "RXE" in names else "NW")
    for name in names:
        _ADD[name](draft, one)
    draft.plain(segment("RXR", {1: _ORAL.sent}))


def prescription_message(scene: Scene) -> Draft:
    """A message of the pharmacy."""
    draft = scene.draft()
    add_person_and_visit(draft)
    add_prescription(draft, scene, *_SEGMENTS[scene.header.code])
    return draft


def _add_order(draft: Draft, one: Prescription, control: str) -> None:
    draft.plain(
        segment(
            "ORC",
            {
                1: control, 2: f"P{one.number:07d}", 3: f"RX{one.number:07d}", 9: local(one.ordered),
                12: one.orderer.sent,
            },
        )
    )  # fmt: skip


def _row(draft: Draft, table: Table, at: int, one: Prescription, **columns: Value | list[str]) -> Row:
    """A row of a prescription, with the numbers of its order; ORC-9 is its version."""
    return draft.row(
        table, at, placer_order=f"P{one.number:07d}", filler_order=f"RX{one.number:07d}", order_index=0,
        version_time=utc(one.ordered), **columns,
    )  # fmt: skip


def _requested(one: Prescription, control: str, stated_in: str) -> Row:
    return {
        "stated_in": stated_in, "order_control": control, "ordered_time": utc(one.ordered),
        "dose_low": float(one.dose), **one.medication.coded("medication"), **_MILLIGRAM.columns("dose_unit"),
        **_TABLET.columns("dosage_form"), **_ORAL.columns("route"), **one.orderer.columns("orderer"),
    }  # fmt: skip


def _add_ordered(draft: Draft, one: Prescription) -> None:
    """RXO: as it was placed."""
    at = draft.typed(
        segment("RXO", {1: one.medication.sent, 2: one.dose, 4: _MILLIGRAM.sent, 5: _TABLET.sent})
    )
    _row(draft, MEDICATION_REQUEST, at, one, **_requested(one, "NW", "RXO"))


def _add_encoded(draft: Draft, one: Prescription) -> None:
    """RXE: as the pharmacy encoded it."""
    at = draft.typed(
        segment(
            "RXE",
            {
                2: one.medication.sent, 3: one.dose, 5: _MILLIGRAM.sent, 6: _TABLET.sent, 10: 24, 12: 2,
                15: f"RX{one.number:07d}",
            },
        )
    )  # fmt: skip
    _row(
        draft, MEDICATION_REQUEST, at, one, dispense_amount=24.0, refills=2.0,
        prescription_number=f"RX{one.number:07d}", **_requested(one, "RE", "RXE"),
    )  # fmt: skip


def _add_dispensed(draft: Draft, one: Prescription) -> None:
    """RXD: what was handed out."""
    done = draft.header.recorded
    at = draft.typed(
        segment(
            "RXD",
            {
                1: 1, 2: one.medication.sent, 3: local(done), 4: 24, 5: _TABLET.sent, 7: f"RX{one.number:07d}",
                10: one.orderer.sent, 18: f"L{one.number % 97:02d}",
            },
        )
    )  # fmt: skip
    _row(
        draft, MEDICATION_DISPENSE, at, one, order_control="RE", dispense_number="1", dispensed_time=utc(done),
        amount=24.0, prescription_number=f"RX{one.number:07d}", lot_number=f"L{one.number % 97:02d}",
        **one.medication.coded("medication"), **_TABLET.columns("amount_unit"), **_ORAL.columns("route"),
        **one.orderer.columns("dispenser"),
    )  # fmt: skip


def _add_given(draft: Draft, one: Prescription) -> None:
    """RXA: what was given."""
    done = draft.header.recorded
    at = draft.typed(
        segment(
            "RXA",
            {
                1: 0, 2: 1, 3: local(done), 4: local(done), 5: one.medication.sent, 6: one.dose,
                7: _MILLIGRAM.sent, 10: one.orderer.sent, 20: "CP",
            },
        )
    )  # fmt: skip
    _row(
        draft, MEDICATION_ADMINISTRATION, at, one, stated_in="RXA", order_control="NW", start_time=utc(done),
        end_time=utc(done), amount=float(one.dose), completion_status="CP",
        **one.medication.coded("medication"), **_MILLIGRAM.columns("amount_unit"), **_ORAL.columns("route"),
        **one.orderer.columns("performer"),
    )  # fmt: skip


def _add_to_be_given(draft: Draft, one: Prescription) -> None:
    """RXG: what is to be given, and when."""
    begin = draft.header.sent + timedelta(hours=1)
    at = draft.typed(
        segment(
            "RXG",
            {1: 1, 2: 1, 3: f"^^^{local(begin)}", 4: one.medication.sent, 5: one.dose, 7: _MILLIGRAM.sent},
        )
    )
    _row(
        draft, MEDICATION_ADMINISTRATION, at, one, stated_in="RXG", order_control="NW", start_time=utc(begin),
        amount=float(one.dose), **one.medication.coded("medication"), **_MILLIGRAM.columns("amount_unit"),
        **_ORAL.columns("route"),
    )  # fmt: skip


_ADD = {
    "RXO": _add_ordered, "RXE": _add_encoded, "RXD": _add_dispensed, "RXA": _add_given, "RXG": _add_to_be_given,
}  # fmt: skip
_SEGMENTS = {"OMP": ("RXO",), "RDE": ("RXE",), "RDS": ("RXE", "RXD"), "RAS": ("RXA",), "RGV": ("RXG",)}


def vaccination(scene: Scene) -> Draft:
    """A record of a vaccination, with what was observed at it."""
    draft = scene.draft(staying=False)
    add_patient(draft)
    one, given = Prescription.of(scene, _VACCINES), scene.before(10, 90)
    _add_order(draft, one, "RE")
    lot, expires = f"VX{one.number % 89:03d}", "20271231"
    at = draft.typed(
        segment(
            "RXA",
            {
                1: 0, 2: 1, 3: local(given), 4: local(given), 5: one.medication.sent, 6: "0.5",
                7: _MILLILITRE.sent, 10: one.orderer.sent, 15: lot, 16: expires, 20: "CP", 21: "A",
            },
        )
    )  # fmt: skip
    _row(
        draft, IMMUNIZATION, at, one, order_control="RE", occurrence_time=utc(given), dose_quantity=0.5,
        lot_number=lot, completion_status="CP", action_code="A", ordered_time=utc(one.ordered),
        expiration_time="2027-12-30T16:00:00Z", expiration_time_precision="day",
        **one.medication.coded("vaccine"), **_MILLILITRE.columns("dose_unit"), **_MUSCLE.columns("route"),
        **one.orderer.columns("performer"),
    )  # fmt: skip
    draft.plain(segment("RXR", {1: _MUSCLE.sent}))
    at = draft.typed(segment("OBX", {1: 1, 2: "CE", 3: _ELIGIBILITY.sent, 5: "V01^不适用^HL70064", 11: "F"}))
    value = Code("V01", "不适用", "HL70064")
    draft.row(
        OBSERVATION, at, placer_order=f"P{one.number:07d}", filler_order=f"RX{one.number:07d}", order_index=0,
        set_id="1", line=0, value_type="CE", value_text=value.sent, value_repetitions=1, status="F",
        **_ELIGIBILITY.coded("observation"), **value.coded("value"),
    )  # fmt: skip
    return draft
