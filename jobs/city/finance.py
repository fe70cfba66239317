"""Charges (DFT) and accounts (BAR)."""

from __future__ import annotations

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.scene import Scene
from jobs.city.visits import (
    add_coverage,
    add_diagnosis,
    add_guarantor,
    add_person_and_visit,
    add_procedure,
)
from schemas.tables.normalised import CHARGE_ITEM

KINDS = (
    "DFT^P03^DFT_P03", "DFT^P11^DFT_P11", "BAR^P01^BAR_P01", "BAR^P02^BAR_P02", "BAR^P05^BAR_P05",
    "BAR^P06^BAR_P06", "BAR^P10^BAR_P10", "BAR^P12^BAR_P12",
)  # fmt: skip

_CHARGES = (Code("110200001", "住院诊查费", "YB"), Code("250101015", "血细胞分析", "YB"))
_ADD = {
    "P01": (add_diagnosis, add_procedure, add_coverage), "P05": (add_diagnosis, add_coverage),
    "P10": (add_diagnosis, add_procedure), "P12": (add_diagnosis, add_procedure),
}  # fmt: skip
"""What an account tells beside person and visit."""


def charges_or_account(scene: Scene) -> Draft:
    """A message about charges, or about an account."""
    draft = scene.draft(evented=True)
    add_person_and_visit(draft)
    if scene.header.code == "DFT":
        for number in range(1, scene.rng.randint(2, 4)):
            _add_charge(draft, scene, number)
        return draft
    for add in _ADD.get(scene.event, ()):
        add(draft)
    if scene.event in ("P01", "P05"):
        add_guarantor(draft, scene.other)
    return draft


def _add_charge(draft: Draft, scene: Scene, number: int) -> None:
    """FT1: one charge, or a credit that takes one back."""
    rng = scene.rng
    what, type_ = rng.choice(_CHARGES), rng.choice(("CG", "CG", "CD"))
    quantity, price = rng.randint(1, 5), rng.randrange(500, 20_000) / 100
    done = scene.before(10, 600)
    transaction = f"T{scene.number:07d}{number}"
    at = draft.typed(
        segment(
            "FT1",
            {
                1: number, 2: transaction, 4: local(done), 5: local(draft.header.recorded), 6: type_,
                7: what.sent, 10: quantity, 11: f"{quantity * price:.2f}&CNY", 12: f"{price:.2f}&CNY",
            },
        )
    )  # fmt: skip
    assert draft.person is not None
    draft.event_row(
        CHARGE_ITEM, at, set_id=str(number), transaction_id=transaction, transaction_time=utc(done),
        posted_time=utc(draft.header.recorded), transaction_type=type_, quantity=float(quantity),
        amount=float(f"{quantity * price:.2f}"), amount_currency="CNY", unit_amount=price,
        unit_amount_currency="CNY", account_number=draft.person.account, account_authority=draft.code,
        **what.coded("charge"),
    )  # fmt: skip
