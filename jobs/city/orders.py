"""Orders (ORM, OML, OMG, OMI): what is asked for, and that it is not wanted any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.people import Doctor
from jobs.city.pharmacy import add_prescription
from jobs.city.results import SERVICES, Service
from jobs.city.scene import Scene
from jobs.city.truth import Row
from jobs.city.visits import add_person_and_visit
from schemas.tables.normalised import SERVICE_REQUEST, SPECIMEN

KINDS = (
    "ORM^O01^ORM_O01", "OML^O21^OML_O21", "OML^O33^OML_O33", "OML^O35^OML_O35", "OMG^O19^OMG_O19",
    "OMI^O23^OMI_O23",
)  # fmt: skip

BLOOD = Code("BLDV", "静脉血", "HL70487")
_IMAGING = Service("24627-2", "胸部CT", "CT")


@dataclass(frozen=True, slots=True)
class Order:
    """What was ordered, by whom and when.

    Attributes:
        number: of the order, one in the city.
        service: what.
        orderer: by whom.
        ordered: local time.
    """

    number: int
    service: Service
    orderer: Doctor
    ordered: datetime

    @classmethod
    def of(cls, scene: Scene, service: Service | None = None) -> Order:
        """Make one up."""
        return cls(scene.number, service or scene.rng.choice(SERVICES), scene.doctor(), scene.before(25, 400))

    def numbers(self, draft: Draft) -> Row:
        """The columns that say which order of a message this is; it is the only one."""
        return {"placer_order": self.placer(draft), "filler_order": self.filler(draft), "order_index": 0}

    def columns(self, draft: Draft) -> Row:
        """Likewise, with what was ordered."""
        return {**self.numbers(draft), **self.service.coding.coded("service")}

    @property
    def specimen(self) -> str:
        """Number of the specimen that is taken for it."""
        return f"S{self.number:07d}"

    def sampled(self) -> Row:
        """The columns that tell of that specimen."""
        return {"specimen_id": self.specimen, "specimen_type": BLOOD.code}

    def placer(self, draft: Draft) -> str:
        return f"P{draft.code}{self.number:06d}"

    def filler(self, draft: Draft) -> str:
        return f"F{draft.code}{self.number:06d}"


def add_common_order(draft: Draft, order: Order, control: str) -> None:
    """ORC, which says of the order what the segments after it do not."""
    draft.plain(common_order(draft, order, control))


def common_order(draft: Draft, order: Order, control: str) -> str:
    """ORC as text."""
    return segment(
        "ORC",
        {
            1: control, 2: order.placer(draft), 3: order.filler(draft), 9: local(order.ordered),
            12: order.orderer.sent,
        },
    )  # fmt: skip


def add_request_row(draft: Draft, at: int, order: Order, control: str, stated_in: str = "OBR") -> Row:
    """The row of the request, which OBR states, or ORC alone."""
    return draft.row(
        SERVICE_REQUEST, at, stated_in=stated_in, order_control=control, ordered_time=utc(order.ordered),
        version_time=utc(order.ordered), **order.orderer.columns("orderer"),
        **(order.columns(draft) if stated_in == "OBR" else order.numbers(draft)),
    )  # fmt: skip


def add_specimen(draft: Draft, order: Order, taken: datetime, version: datetime, *, ordered: bool) -> None:
    """SPM, and the row of the specimen.

    Args:
        draft: the message.
        order: what it was taken for.
        taken: when.
        version: what orders its versions.
        ordered: whether it stands with its order, and not before all orders of the patient.
    """
    number = order.specimen
    at = draft.typed(
        segment("SPM", {1: 1, 2: f"{number}&{draft.code}^{number}L&LIS", 4: BLOOD.sent, 17: local(taken)})
    )
    draft.row(
        SPECIMEN, at, set_id="1", specimen_id=number, specimen_authority=draft.code,
        placer_specimen_id=number, filler_specimen_id=f"{number}L", collected_time=utc(taken),
        version_time=utc(version), **BLOOD.coded("type"), **(order.numbers(draft) if ordered else {}),
    )  # fmt: skip


def order_message(scene: Scene) -> Draft:
    """A message that orders something, or cancels it."""
    draft = scene.draft()
    add_person_and_visit(draft)
    if scene.header.code == "ORM" and scene.number % 3 == 1:
        order = Order.of(scene)
        at = draft.typed(common_order(draft, order, "CA"))
        add_request_row(draft, at, order, "CA", stated_in="ORC")
        return draft
    if scene.header.code == "ORM" and scene.number % 3 == 2:
        add_prescription(draft, scene, "RXO")
        return draft
    order = Order.of(scene, _IMAGING if scene.header.code == "OMI" else None)
    first = scene.event in ("O33", "O35")
    if first:
        add_specimen(draft, order, order.ordered, scene.sent, ordered=False)
    if scene.event == "O35":
        draft.plain(f"SAC|||C{order.number:07d}")
    add_common_order(draft, order, "NW")
    if scene.event != "O33":
        draft.plain(segment("TQ1", {1: 1, 9: "R^常规^HL70485"}))
    at = draft.typed(
        segment(
            "OBR",
            {
                1: 1, 2: order.placer(draft), 3: order.filler(draft), 4: order.service.coding.sent,
                16: order.orderer.sent,
            },
        )
    )  # fmt: skip
    row = add_request_row(draft, at, order, "NW")
    row["priority"] = None if scene.event == "O33" else "R"
    row |= order.sampled() if scene.header.code == "OML" else {}
    if scene.event == "O21":
        add_specimen(draft, order, order.ordered, order.ordered, ordered=True)
    if scene.header.code == "OMI":
        draft.plain(segment("IPC", {1: f"ACC{order.number:07d}", 2: f"RP{order.number:07d}", 5: "CT"}))
    return draft
