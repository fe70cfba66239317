"""Which messages become which rows: one module a family of messages, all of them literals.

What many families read alike stands in ``header``, ``patients``, ``visits`` and ``order_groups``. Places follow HL7's
v2-to-FHIR mappings; where versions of HL7 v2 differ, the newer place is tried first and the older one after it. HL7
v2.5.1 names the clauses.

A segment that only adds columns to a row (EVN, PD1, PV2, ORC, TQ1, IN2, NTE …) has a row in ``segment`` too, for these
columns are not all of it.

The times that order the versions of a thing are OBR-22 of results, ORC-9 of orders and EVN-2 of all that comes with an
event; the message's own time where these are absent. When something was done or measured is content and orders no
versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.hl7v2.mapping import Family
from schemas.hl7v2.mappings import (
    admissions,
    documents,
    finance,
    master_files,
    orders,
    pharmacy,
    problems,
    referrals,
    results,
    scheduling,
    vaccination,
)

FAMILIES: tuple[Family, ...] = (
    *admissions.FAMILIES,
    *results.FAMILIES,
    *orders.FAMILIES,
    *pharmacy.FAMILIES,
    *vaccination.FAMILIES,
    *documents.FAMILIES,
    *scheduling.FAMILIES,
    *finance.FAMILIES,
    *problems.FAMILIES,
    *referrals.FAMILIES,
    *master_files.FAMILIES,
)
"""All families; of messages of no family every segment is kept in ``segment``."""

_REPLIES = (
    "ACK ADR ARD BRP BRT DFR DOC DSR EAR EDR ERP LSR MCF MFD MFK MFR NMR OPR ORB ORD ORF ORG ORI ORL ORN ORP ORR ORS "
    "OSR PPT PPV PRR PTR QCK RAR RCI RCL RDR RDY RER RGR ROR RPI RPL RPR RRA RRD RRE RRG RSP RTB SPR SQR SRR SSR "
    "TBR VXR VXX"
)

_QUERIES = "EQQ ERQ MFQ NMQ OSQ QBP QCN QRY QSB QSX QVR RQC RQI RQP SPQ SQM VQQ VXQ"

IGNORED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_REPLIES.split(), "HL7-REPLY"),
        **dict.fromkeys(_QUERIES.split(), "HL7-QUERY"),
    }
)
"""MSH-9.1 of messages that state nothing of their own (HL7 table 0076) → the finding they are ignored with."""


def family_of(code: str, trigger: str, event: str = "") -> Family | None:
    """The family of a message; None where only ``segment`` takes it.

    Args:
        code: MSH-9.1.
        trigger: MSH-9.2, may be empty.
        event: EVN-1, which stood for the trigger before v2.3.
    """
    code = code.strip().upper()
    named = (trigger.strip() or event.strip()).upper()
    for family in FAMILIES:
        if family.code == code and (named or family.default_trigger) in family.triggers:
            return family
    return None
