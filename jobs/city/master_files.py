"""Master files (MFN) of staff, charges, places and tests, and events of the staff (PMU)."""

from __future__ import annotations

from collections.abc import Callable

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.people import Doctor
from jobs.city.results import ANALYTES
from jobs.city.scene import Scene
from jobs.city.truth import Row
from schemas.tables.normalised import ITEM_DEFINITION, LOCATION, PRACTITIONER

KINDS = (
    "MFN^M02^MFN_M02", "MFN^M04^MFN_M04", "MFN^M05^MFN_M05", "MFN^M08^MFN_M08", "PMU^B01^PMU_B01",
)  # fmt: skip

_FILES = {"M02": "PRA", "M04": "CDM", "M05": "LOC", "M08": "OMA"}
"""Trigger → master file (HL7 table 0175)."""

_DEPARTMENT = Code("NEIKE", "演示内科", "L")
_CHARGE = Code("250101015", "演示血细胞分析", "YB")


def master_file(scene: Scene) -> Draft:
    """A record of a master file, or an event of a member of the staff: about no patient."""
    draft = Draft(scene.header, evented=scene.header.code == "PMU")
    if scene.header.code == "PMU":
        _add_staff(draft, scene, {"event_code": scene.event, "recorded_time": utc(scene.header.recorded)})
        return draft
    number, entered = f"R{scene.number:07d}", scene.before(10, 300)
    draft.plain(segment("MFI", {1: _FILES[scene.event], 3: "UPD", 6: "AL"}))
    draft.plain(segment("MFE", {1: "MUP", 2: number, 3: local(entered), 4: f"K{number}", 5: "CE"}))
    record: Row = {
        "master_file": _FILES[scene.event], "file_event": "UPD", "record_event": "MUP",
        "record_control_id": number, "record_effective_time": utc(entered), "record_key": f"K{number}",
        "record_key_type": "CE",
    }  # fmt: skip
    _ADD[scene.event](draft, scene, record)
    return draft


def _add_staff(draft: Draft, scene: Scene, record: Row) -> None:
    """STF and PRA: a member of the staff."""
    one: Doctor = scene.doctor()
    at = draft.typed(
        segment(
            "STF",
            {
                1: f"{one.code}^^{draft.code}", 2: f"{one.code}^^^{draft.code}^EI",
                3: f"{one.family}^{one.given}", 4: "MD", 7: "A", 8: _DEPARTMENT.sent, 18: "主治医师",
            },
        )
    )  # fmt: skip
    draft.event_row(
        PRACTITIONER, at, identifiers=[f"{one.code}|{draft.code}|EI"], key=one.code, family_name=one.family,
        given_name=one.given, staff_types=["MD"], active="A", job_title="主治医师", practitioner_key=one.code,
        categories=["MD"], **_DEPARTMENT.columns("department"), **record,
    )  # fmt: skip
    draft.plain(segment("PRA", {1: f"{one.code}^^{draft.code}", 3: "MD"}))


def _add_charge(draft: Draft, scene: Scene, record: Row) -> None:
    """CDM and PRC: what can be charged, and its price."""
    price = scene.rng.randrange(500, 20_000) / 100
    at = draft.typed(segment("CDM", {1: _CHARGE.sent, 3: "血细胞分析", 8: "A"}))
    draft.row(
        ITEM_DEFINITION, at, stated_in="CDM", short_name="血细胞分析", active="A", price=price,
        price_currency="CNY", **_CHARGE.coded("item"), **record,
    )  # fmt: skip
    draft.plain(segment("PRC", {1: _CHARGE.sent, 5: f"{price:.2f}&CNY"}))


def _add_place(draft: Draft, scene: Scene, record: Row) -> None:
    """LOC and LDP: a place and its department."""
    ward = f"W{scene.rng.randrange(1, 20):02d}"
    at = draft.typed(segment("LOC", {1: f"{ward}^1^2^{draft.code}", 2: "演示病房", 3: "N"}))
    draft.row(
        LOCATION, at, key_text=f"{ward}^1^2^{draft.code}", point_of_care=ward, room="1", bed="2",
        facility=draft.code, description="演示病房", types=["N"], active="A", **record,
    )  # fmt: skip
    draft.plain(segment("LDP", {1: f"{ward}^1^2^{draft.code}", 2: _DEPARTMENT.sent, 6: "A"}))


def _add_test(draft: Draft, scene: Scene, record: Row) -> None:
    """OM1 and OM2: a test, and the unit of what it measures."""
    one = scene.rng.choice(ANALYTES)
    item = Code(one.code, one.display, "LN")
    at = draft.typed(
        segment("OM1", {1: 1, 2: item.sent, 3: "NM", 4: "Y", 6: "演示检验项目", 12: "Y", 18: "A"})
    )
    draft.row(
        ITEM_DEFINITION, at, stated_in="OM1", value_types=["NM"], specimen_required="Y", orderable="Y",
        nature="A", description="演示检验项目", unit=one.unit.split("^")[0], **item.coded("item"), **record,
    )  # fmt: skip
    draft.plain(segment("OM2", {1: 1, 2: one.unit}))


_ADD: dict[str, Callable[[Draft, Scene, Row], None]] = {
    "M02": _add_staff, "M04": _add_charge, "M05": _add_place, "M08": _add_test,
}  # fmt: skip
