"""What laboratories send as a modality: files of results."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from pipelines.lab.result_files import MESSAGE_TYPE, TABLES, File, read_result_files
from schemas.modality import Modality, Parsed
from schemas.source import Source, Sources
from schemas.tables import RAW_LAB
from schemas.tables.raw import ENVELOPE

_ENVELOPES = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns of files: one is named by its source and its bytes, so a copy is a duplicate, ever."""
    rows = [_envelope(payload, source) for payload, source in zip(payloads, sources, strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=_ENVELOPES)


def _envelope(payload: bytes, source: Source) -> dict[str, object]:
    return {
        "control_id": hashlib.sha256(payload).hexdigest()[:16],
        "message_type": MESSAGE_TYPE,
        "processing_id": "",
        "id_hash": _hash(source.name.encode() + b"\0" + payload),
        "content_hash": _hash(payload),
        "problem": None if payload else "RECORD-EMPTY",
    }


def _hash(data: bytes) -> int:
    digest = xxh3_64_intdigest(data)
    return digest - (1 << 64) if digest >= 1 << 63 else digest


def triage(raw: pa.Table, sources: Sources) -> pa.Array:  # noqa: ARG001 - as every modality's
    """All files are read."""
    return pa.nulls(raw.num_rows, pa.string())


def parse(raw: pa.Table, sources: Sources) -> Parsed:
    """Read files into tables.

    Args:
        raw: raw rows with ``payload``, ``source`` and ``received_at``.
        sources: settings of the senders.
    """
    payloads, names = raw.column("payload"), raw.column("source").to_pylist()
    received = raw.column("received_at").cast(pa.int64()).to_pylist()
    return read_result_files(
        File(row, payloads[row].as_py() or b"", sources.get(name), received[row])
        for row, name in enumerate(names)
    )


LAB = Modality(
    name="lab",
    topic="raw.lab",
    raw=RAW_LAB,
    tables=TABLES,
    version=1,
    envelopes=read_envelopes,
    triage=triage,
    parse=parse,
    declared="pipelines.lab.modality:LAB",
    awaited=False,
)
"""What laboratories send."""
