"""Documents (MDM): as text, as small and as large files within the message, and events that bring none."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from jobs.city.draft import Code, Draft, local, segment, utc
from jobs.city.scene import Scene
from jobs.city.truth import Row
from jobs.city.visits import add_person_and_visit
from schemas.modality import object_path
from schemas.tables.normalised import DOCUMENT_REFERENCE, OBSERVATION

KINDS = tuple(f"MDM^T{number:02d}^{'MDM_T01' if number % 2 else 'MDM_T02'}" for number in (*range(2, 12), 1))
"""Those with an even number bring the document itself."""

_SUMMARY = Code("18842-5", "出院小结", "LN")
_TYPE = Code("DS", "出院小结", "HL70270")
_ADDENDA = ("T05", "T06", "T09", "T10")
_LARGE = ("T02", "T10")
_SMALL = ("T06",)
_LARGE_BYTES, _SMALL_BYTES = 20_000, 300


def document(scene: Scene) -> Draft:
    """A message about a document."""
    draft = scene.draft(evented=True)
    add_person_and_visit(draft)
    author, written = scene.doctor(), scene.before(20, 900)
    number = f"DOC{scene.number:07d}"
    parent = f"DOC{scene.number - 1:07d}" if scene.event in _ADDENDA else None
    status = "CA" if scene.event == "T11" else "AU"
    at = draft.typed(
        segment(
            "TXA",
            {
                1: 1, 2: _TYPE.sent, 3: "TX", 4: local(written), 5: author.sent, 9: author.sent,
                12: f"{number}^{draft.code}", 13: f"{parent}^{draft.code}" if parent else "", 17: status,
                19: "AV",
            },
        )
    )  # fmt: skip
    draft.event_row(
        DOCUMENT_REFERENCE, at, set_id="1", activity_time=utc(written), content_presentation="TX",
        document_id=number, document_authority=draft.code, parent_document_id=parent,
        parent_document_authority=draft.code if parent else None, completion_status=status,
        availability_status="AV", **_TYPE.columns("document_type"),
        **author.columns("primary_activity_provider"), **author.columns("originator"), **draft.event_columns,
    )  # fmt: skip
    if scene.header.kind.endswith("T02"):
        _add_content(draft, scene, written)
    return draft


def _add_content(draft: Draft, scene: Scene, written: datetime) -> None:
    """OBX: text, or a file, which leaves its row where it is large."""
    kind, sent, columns = _text()
    if scene.event in (*_LARGE, *_SMALL):
        kind, sent, columns = _file(scene, _LARGE_BYTES if scene.event in _LARGE else _SMALL_BYTES)
    at = draft.typed(segment("OBX", {1: 1, 2: kind, 3: _SUMMARY.sent, 5: sent, 11: "F", 14: local(written)}))
    draft.event_row(
        OBSERVATION, at, set_id="1", line=0, value_type=kind, value_repetitions=1, status="F",
        effective_time=utc(written), **_SUMMARY.coded("observation"), **columns,
    )  # fmt: skip


def _text() -> tuple[str, str, Row]:
    """OBX-2, OBX-5, and what it becomes."""
    return "TX", "患者好转出院。复查\\T\\随访", {"value_text": "患者好转出院。复查&随访"}


def _file(scene: Scene, size: int) -> tuple[str, str, Row]:
    content = b"%PDF-1.7\n" + scene.rng.randbytes(size)
    digest = hashlib.sha256(content).hexdigest()
    sent = f"^application^pdf^Base64^{base64.b64encode(content).decode('ascii')}"
    leaves = size == _LARGE_BYTES
    columns: Row = {
        "value_size": len(content), "value_sha256": digest, "value_media_type": "application/pdf",
        "value_text": None if leaves else sent,
        "value_object_path": object_path("documents", digest) if leaves else None,
    }  # fmt: skip
    return "ED", sent, columns
