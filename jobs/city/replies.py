"""Replies and queries, which state nothing of their own: they must be ignored."""

from __future__ import annotations

from jobs.city.draft import segment
from jobs.city.scene import Scene

REPLIES = ("ACK^A01^ACK", "ORL^O22^ORL_O22", "ORR^O02^ORR_O02", "RSP^K22^RSP_K21", "ADR^A19^ADR_A19")
QUERIES = ("QBP^Q22^QBP_Q21", "QRY^A19^QRY_A19")
KINDS = (*REPLIES, *QUERIES)


def reply_or_query(scene: Scene) -> bytes:
    """A message that answers another one, or asks for something."""
    header, record = scene.header, scene.person.record_number(scene.header.institution)
    if header.kind in REPLIES:
        rest = segment("MSA", {1: "AA", 2: f"{header.institution.code}Q{scene.number:07d}"})
    elif header.code == "QBP":
        rest = segment("QPD", {1: "Q22^查找患者^HL7", 2: f"Q{scene.number:07d}", 3: f"@PID.3.1^{record}"})
    else:
        rest = segment("QRD", {1: "20260302", 2: "R", 3: "I", 4: f"Q{scene.number:07d}", 8: record, 9: "DEM"})
    return f"{header.line()}\r{rest}\r".encode(header.institution.charset)


def reason(kind: str) -> str:
    """With which finding it is ignored."""
    return "HL7-REPLY" if kind in REPLIES else "HL7-QUERY"
