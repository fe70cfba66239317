"""Envelopes of what laboratories send: names, hashes and the date, without reading what is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipelines.lab.astm import header_of, to_records, whole_records
from pipelines.lab.result_files import MESSAGE_TYPE
from schemas.errors import MessageError
from schemas.lab import ASTM, RESULT_FILE
from schemas.lab.astm import CONTROL
from schemas.source import Source
from schemas.tables.raw import ENVELOPE

_ENVELOPES = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])
_ID, _SENDER, _PROCESSING, _TIME = 2, 4, 11, 13
"""Fields of H from 0 (LIS2-A2 §6)."""

_BETWEEN = b"\0"


def is_astm(payload: bytes, source: Source, content_type: str | None = None) -> bool:
    """Whether it is a message of an instrument, and no file: as its connector says, else as it looks."""
    if content_type in (ASTM, RESULT_FILE):
        return content_type == ASTM
    return source.result_file is None and payload[:1] in (b"H", b"h")


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns. Never raises, whatever the bytes.

    A file is named by its source and its bytes, so a copy is a duplicate, ever. An instrument's message is named by
    H-3, or where that is not sent by what it says, and the date of H-14. What it says is all but H-3 and H-14, which
    another sending changes.
    """
    rows = [
        _of_message(payload, source) if is_astm(payload, source) else _of_file(payload, source)
        for payload, source in zip(payloads, sources, strict=True)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=_ENVELOPES)


def _of_file(payload: bytes, source: Source) -> dict[str, object]:
    return {
        "control_id": hashlib.sha256(payload).hexdigest()[:16],
        "message_type": MESSAGE_TYPE,
        "processing_id": "",
        "id_hash": _hash(source.name.encode() + _BETWEEN + payload),
        "content_hash": _hash(payload),
        "problem": None if payload else "RECORD-EMPTY",
    }


def _of_message(payload: bytes, source: Source) -> dict[str, object]:
    try:
        whole, cut = whole_records(payload)
        records, charset = to_records(whole, source.charset)
        header, _, _ = header_of(records)
        records += [cut.decode(charset, "replace")] if cut else []
    except MessageError as problem:
        unread = _of_file(payload, source)
        return {**unread, "message_type": "ASTM", "problem": problem.code}
    said = [field.strip() for field in header] + [""] * (_TIME + 1 - len(header))
    control_id, sender, processing, time = (said[at] for at in (_ID, _SENDER, _PROCESSING, _TIME))
    sent_date = time[:8] if time[:8].isascii() and time[:8].isdigit() else ""
    said[_ID] = said[_TIME] = ""
    while said and not said[-1]:
        said.pop()
    content = "\r".join(["\0".join(said), *(record.rstrip() for record in records[1:])]).encode(
        "utf-8", "surrogatepass"
    )
    named = control_id.encode() if control_id else content
    kinds = {record[:1].upper() for record in records}
    kind = "QC" if processing.upper() == CONTROL else next((one for one in "RQMOP" if one in kinds), "H")
    return {
        "control_id": control_id or hashlib.sha256(content).hexdigest()[:16],
        "message_type": f"ASTM^{kind}",
        "processing_id": processing,
        "sent_date": sent_date or None,
        "id_hash": _hash(_BETWEEN.join([source.name.encode(), sender.encode(), sent_date.encode(), named])),
        "content_hash": _hash(content),
        "problem": None,
    }


def _hash(data: bytes) -> int:
    digest = xxh3_64_intdigest(data)
    return digest - (1 << 64) if digest >= 1 << 63 else digest
