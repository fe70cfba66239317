"""Results (ORU, OUL): reports of laboratories, of the point of care, and alerts, with their specimens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.city.draft import Draft, Header, local, segment, utc
from jobs.city.orders import Order, add_common_order, add_request_row, add_specimen
from jobs.city.people import Person, Stay
from jobs.city.results import Result, results
from jobs.city.scene import Scene
from jobs.city.truth import Row
from jobs.city.visits import add_person_and_visit
from schemas.tables.normalised import DIAGNOSTIC_REPORT, OBSERVATION

LABORATORY = "ORU^R01^ORU_R01"
KINDS = (
    "ORU^R30^ORU_R30", "ORU^R32^ORU_R30", "ORU^R40^ORU_R40", "OUL^R21^OUL_R21", "OUL^R22^OUL_R22",
    "OUL^R23^OUL_R23", "OUL^R24^OUL_R24",
)  # fmt: skip
"""What laboratories send beside their everyday report."""

NOTE = "报告由演示系统生成"


@dataclass(frozen=True, slots=True)
class Report:
    """What a laboratory found.

    Attributes:
        order: what was asked for.
        person: whose specimen.
        stay: the visit, where the report tells of one.
        taken: when the specimen was taken, local.
        status: of the whole report (HL7 table 0123).
        results: its lines.
    """

    order: Order
    person: Person
    stay: Stay | None
    taken: datetime
    status: str
    results: Sequence[Result]

    @classmethod
    def of(cls, scene: Scene, status: str) -> Report:
        """Make one up."""
        return cls(
            Order.of(scene), scene.person, scene.stay() if scene.rng.random() < 0.5 else None,
            scene.before(5, 24), status, results(scene.rng, status),
        )  # fmt: skip


def other_report(scene: Scene) -> Draft:
    """A report of another kind than the everyday one."""
    return report(scene.header, Report.of(scene, "F"))


def report(header: Header, said: Report) -> Draft:
    """A message with the results of one order."""
    draft = Draft(header, said.person, said.stay)
    add_person_and_visit(draft)
    order, issued, specimen = said.order, header.recorded, _SPECIMEN.get(header.event)
    if specimen == "first":
        add_specimen(draft, order, said.taken, header.sent, ordered=False)
    if specimen is None:
        add_common_order(draft, order, "RE")
    at = draft.typed(
        segment(
            "OBR",
            {
                1: 1, 2: order.placer(draft), 3: order.filler(draft), 4: order.service.coding.sent,
                7: local(said.taken), 16: order.orderer.sent, 22: local(issued), 24: order.service.section,
                25: said.status,
            },
        )
    )  # fmt: skip
    if specimen:
        # an OUL has them in this order
        add_common_order(draft, order, "RE")
    sampled = order.sampled() if specimen else {}
    row = add_request_row(draft, at, order, "RE")
    row |= sampled
    columns: Row = {
        **order.columns(draft),
        "issued_time": utc(issued),
        "version_time": utc(issued),
        **sampled,
    }
    draft.row(
        DIAGNOSTIC_REPORT, at, **columns, status=said.status, section=order.service.section,
        effective_time=utc(said.taken),
    )  # fmt: skip
    _add_results(draft, said, columns)
    if specimen == "last":
        add_specimen(draft, order, said.taken, issued, ordered=True)
    return draft


_SPECIMEN = {"R21": "last", "R22": "first", "R23": "first", "R24": "last"}
"""Trigger → where the specimen stands."""


def _add_results(draft: Draft, said: Report, columns: Row) -> None:
    """OBX, and a note on the last of them."""
    for number, one in enumerate(said.results, 1):
        at = draft.typed(
            segment(
                "OBX",
                {
                    1: number, 2: one.kind, 3: f"{one.code}^{one.display}^LN^{one.local}^^L", 5: one.sent,
                    6: one.unit, 7: one.reference, 8: one.flag, 11: one.status, 14: local(said.taken),
                },
            )
        )  # fmt: skip
        draft.row(
            OBSERVATION, at, **columns, **one.columns(), set_id=str(number), line=0,
            report_status=said.status, effective_time=utc(said.taken),
            notes=[NOTE] if number == len(said.results) else None,
        )  # fmt: skip
        for code in one.findings:
            draft.finding(code, at, 5)
    draft.plain(f"NTE|1||{NOTE}")
