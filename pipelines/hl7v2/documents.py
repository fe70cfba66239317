"""Documents within messages: ED and RP in OBX-5 (HL7 v2.5.1 §2.A.24, §2.A.65).

A large document leaves the row: its bytes go to the lake's objects under their hash, and the row keeps path, size and
hash. A small one stays as text; it has size and hash as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.decode import I64
from pipelines.hl7v2.gather import texts
from pipelines.hl7v2.table_rows import TableRows
from schemas.hl7v2.mapping import Place
from schemas.modality import object_path

LARGE = 16 * 1024
"""Documents of more bytes than this leave their rows."""


@dataclass
class Documents:
    """What leaves the rows of a batch.

    Attributes:
        objects: path → bytes.
    """

    objects: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Document:
    media_type: str | None
    content: bytes | None  # None where it does not decode
    whole: str


def add_documents(made: TableRows, rows: I64, documents: Documents) -> None:
    """Fill ``value_object_path``, ``value_size``, ``value_sha256`` and ``value_media_type`` of rows with ED or RP.

    Args:
        made: rows made of OBX, with ``value_text``.
        rows: those whose OBX-5 is ED or RP.
        documents: where large ones go.
    """
    count = len(made)
    names = {"value_object_path": pa.string(), "value_size": pa.int64(), "value_sha256": pa.string(),
             "value_media_type": pa.string()}  # fmt: skip
    if not len(rows):
        made.columns |= {name: pa.nulls(count, kind) for name, kind in names.items()}
        return
    kinds = made.columns["value_type"].take(pa.array(rows)).to_pylist()
    parts = [_component(made, rows, number) for number in (1, 2, 3, 4, 5)]
    values: dict[str, list[object]] = {name: [None] * count for name in names}
    cleared, invalid = [], []
    for row, kind, (_, type_, subtype, encoding, data) in zip(
        rows.tolist(), kinds, zip(*parts, strict=True), strict=True
    ):
        values["value_media_type"][row] = _media_type(type_, subtype)
        if kind.strip().upper() != "ED" or data is None:
            if kind.strip().upper() == "RP":
                values["value_media_type"][row] = _media_type(subtype, encoding)  # RP.3 and RP.4
            continue
        content = _decoded(data, encoding)
        if content is None:
            invalid.append(row)
            continue
        digest = hashlib.sha256(content).hexdigest()
        values["value_size"][row], values["value_sha256"][row] = len(content), digest
        if len(content) > LARGE:
            path = object_path("documents", digest)
            documents.objects[path] = content
            values["value_object_path"][row] = path
            cleared.append(row)
    made.columns |= {name: pa.array(values[name], kind) for name, kind in names.items()}
    if cleared:
        there = np.ones(count, bool)
        there[cleared] = False
        made.columns["value_text"] = made.columns["value_text"].take(pa.array(np.arange(count), mask=~there))
    flags = np.zeros(count, bool)
    flags[invalid] = True
    made.note("HL7-ED-INVALID", flags, Place("OBX", 5, 5))


def _component(made: TableRows, rows: I64, number: int) -> list[str | None]:
    spans = made.spans(5, number).take(rows)
    found: list[str | None] = texts(made.messages.columns.split, spans, made.segments[rows]).to_pylist()
    return found


def _media_type(type_: str | None, subtype: str | None) -> str | None:
    """``application/pdf`` of ED.2 and ED.3 (HL7 tables 0191, 0291), as far as they are said."""
    return "/".join(part.strip().lower() for part in (type_, subtype) if part and part.strip()) or None


def _decoded(data: str, encoding: str | None) -> bytes | None:
    """The document's bytes after ED.4 (HL7 table 0299); None where they do not decode."""
    match (encoding or "A").strip().upper():
        case "BASE64":
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                return None
        case "HEX":
            try:
                return bytes.fromhex(data)
            except ValueError:
                return None
        case _:
            return data.encode()
