"""Envelopes of DICOM headers: which instance, of what modality, of which date; read without the rest of the header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipelines.dicom.elements import Elements, Reading
from pipelines.dicom.part10 import Frame, NoFrame, frame_of
from pipelines.dicom.times import date_of
from pipelines.dicom.values import Values
from schemas.dicom.kinds import DIRECTORY
from schemas.source import Source
from schemas.tables.raw import ENVELOPE

_ENVELOPES = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])
_STOP = 0x00090000
"""What an envelope is made of stands in group 0008."""

SOP_CLASS, SOP_INSTANCE, MODALITY = 0x00080016, 0x00080018, 0x00080060
_META_CLASS, _META_INSTANCE = 0x00020002, 0x00020003
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")

DATES = (
    (0x00080020, 0x00080030),  # study
    (0x00080021, 0x00080031),  # series
    (0x00080022, 0x00080032),  # acquisition
    (0x00080023, 0x00080033),  # content
    (0x00080012, 0x00080013),  # creation of the instance
)
"""Date and time that may be the header's own, the first one that is sent before the others: all instances of a study
have its date."""


@dataclass(frozen=True, slots=True)
class Named:
    """What names an instance.

    Attributes:
        uid: SOP Instance UID; None where it has none.
        sop_class: SOP class UID.
        modality: such as CT; empty where it is not sent.
        own: whether the data set itself has the UID; else the file meta information.
    """

    uid: str | None
    sop_class: str | None
    modality: str
    own: bool


def name_of(frame: Frame, values: Values, elements: Elements) -> Named:
    """What names the instance of a header."""
    meta = Values(Reading(frame.meta_bytes))
    uid = values.first(elements.get(SOP_INSTANCE))
    sop_class = values.first(elements.get(SOP_CLASS)) or meta.first(frame.meta.get(_META_CLASS))
    modality = (values.first(elements.get(MODALITY)) or "").upper()
    return Named(
        uid=uid or meta.first(frame.meta.get(_META_INSTANCE)),
        sop_class=sop_class,
        modality=modality if _MODALITY.fullmatch(modality) else "",
        own=uid is not None,
    )


def own_date(values: Values, elements: Elements) -> tuple[date, int, int] | None:
    """The header's own date, with the tags of date and time."""
    for day, time in DATES:
        text = values.first(elements.get(day))
        found = date_of(text) if text else None
        if found is not None:
            return found, day, time
    return None


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns of headers: an instance is named by source and SOP Instance UID."""
    rows = [_envelope(payload, source) for payload, source in zip(payloads, sources, strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=_ENVELOPES)


def _envelope(payload: bytes, source: Source) -> dict[str, object]:
    frame = frame_of(payload)
    if isinstance(frame, NoFrame):
        whole = _hash(payload)
        return {"id_hash": _hash(source.name.encode(), payload), "content_hash": whole, "problem": frame.code}
    elements, _ = frame.elements(_STOP)
    values = Values(frame.reading)
    named = name_of(frame, values, elements)
    made: dict[str, object] = {"content_hash": _hash(frame.data_set)}
    if named.sop_class == DIRECTORY:
        uid = named.uid or ""
        return {
            **made,
            "control_id": uid,
            "message_type": "DICOM^DICOMDIR",
            "processing_id": "",
            "id_hash": _hash(source.name.encode(), uid.encode()),
        }
    if named.uid is None:
        return {**made, "id_hash": _hash(source.name.encode(), payload), "problem": "DICOM-UID-MISSING"}
    found = own_date(values, elements)
    return {
        **made,
        "control_id": named.uid,
        "message_type": f"DICOM^{named.modality}",
        "processing_id": "",
        "sent_date": f"{found[0]:%Y%m%d}" if found else None,
        "id_hash": _hash(source.name.encode(), named.uid.encode()),
    }


def _hash(*parts: bytes | memoryview) -> int:
    if len(parts) == 1:
        digest = xxh3_64_intdigest(parts[0])
    else:
        digest = xxh3_64_intdigest(b"".join(b"%d:%b" % (len(part), bytes(part)) for part in parts))
    return digest - (1 << 64) if digest >= 1 << 63 else digest
