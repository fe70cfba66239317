"""What laboratories send as a modality: messages of instruments, and files of results."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipelines.lab.astm import TABLES as OF_MESSAGES
from pipelines.lab.astm import Message, read_messages
from pipelines.lab.envelopes import is_astm, read_envelopes
from pipelines.lab.result_files import TABLES as OF_FILES
from pipelines.lab.result_files import File, join_pieces, read_result_files
from schemas.modality import UNREADABLE_SCHEMA, Modality, Parsed
from schemas.source import Sources
from schemas.tables import RAW_LAB

_NOT_REAL = ("T", "D")
"""H-12 of training and debugging (LIS2-A2 §6.12); whatever else instruments write there is taken."""


def triage(raw: pa.Table, sources: Sources) -> pa.Array:
    """What is of training or debugging is not wanted, unless the source's settings accept it."""
    names = raw.column("source").to_pylist()
    said = (
        raw.column("processing_id").to_pylist() if "processing_id" in raw.column_names else [""] * len(names)
    )
    return pa.array(
        [
            "LAB-PROCESSING-ID"
            if (one or "").upper() in _NOT_REAL and one not in sources.get(name).processing_ids
            else None
            for one, name in zip(said, names, strict=True)
        ],
        pa.string(),
    )


def parse(raw: pa.Table, sources: Sources) -> Parsed:
    """Read messages and files into tables.

    Args:
        raw: raw rows with ``payload``, ``source``, ``received_at`` and ``content_type``; without the last, what a
            payload is shows in how it begins.
        sources: settings of the senders.
    """
    payloads, names = raw.column("payload"), raw.column("source").to_pylist()
    received = raw.column("received_at").cast(pa.int64()).to_pylist()
    kinds = (
        raw.column("content_type").to_pylist() if "content_type" in raw.column_names else [None] * len(names)
    )
    messages, files = [], []
    for row, name in enumerate(names):
        payload, source = payloads[row].as_py() or b"", sources.get(name)
        if is_astm(payload, source, kinds[row]):
            messages.append(Message(row, payload, source, received[row]))
        else:
            files.append(File(row, payload, source, received[row]))
    if not files:
        return read_messages(messages)
    if not messages:
        return read_result_files(files)
    return _together(read_messages(messages), read_result_files(files))


def _together(first: Parsed, second: Parsed) -> Parsed:
    tables: Mapping[str, list[pa.Table]] = {
        name: [parsed.tables[name] for parsed in (first, second) if name in parsed.tables]
        for name in {**first.tables, **second.tables}
    }
    return Parsed(
        pa.concat_tables([first.messages, second.messages]),
        pa.concat_tables([first.unreadable, second.unreadable]),
        {name: join_pieces(pieces) for name, pieces in tables.items()},
        bad_parts=pa.concat_tables(
            [one.bad_parts for one in (first, second) if one.bad_parts is not None]
            or [UNREADABLE_SCHEMA.empty_table()]
        ),
    )


LAB = Modality(
    name="lab",
    topic="raw.lab",
    raw=RAW_LAB,
    tables=(*OF_MESSAGES, *(table for table in OF_FILES if table not in OF_MESSAGES)),
    version=4,
    envelopes=read_envelopes,
    triage=triage,
    parse=parse,
    declared="pipelines.lab.modality:LAB",
    awaited=False,
)
"""What laboratories send."""
