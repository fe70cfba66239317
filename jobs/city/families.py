"""All that institutions send beside everyday admissions and laboratory reports: kind of message → who makes it up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jobs.city import appointments, care, documents, finance, master_files, orders, pharmacy, reports
from jobs.city.draft import Draft
from jobs.city.scene import Scene

Maker = Callable[[Scene], Draft]

_MAKERS: Mapping[Maker, tuple[str, ...]] = {
    reports.other_report: reports.KINDS,
    orders.order_message: orders.KINDS,
    pharmacy.prescription_message: pharmacy.PRESCRIPTIONS,
    pharmacy.vaccination: pharmacy.VACCINATIONS,
    documents.document: documents.KINDS,
    appointments.appointment: appointments.KINDS,
    finance.charges_or_account: finance.KINDS,
    care.problem: care.PROBLEMS,
    care.referral: care.REFERRALS,
    master_files.master_file: master_files.KINDS,
}

MAKERS: Mapping[str, Maker] = MappingProxyType(
    {kind: make for make, kinds in _MAKERS.items() for kind in kinds}
)
"""MSH-9 → what makes up such a message."""
