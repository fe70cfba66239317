"""Events of stewards as a modality: what the stages need to know of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from xxhash import xxh3_64_intdigest

from schemas.errors import MessageError
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Modality, Parsed
from schemas.source import Source, Sources
from schemas.steward import StewardEvent, read_event, read_object
from schemas.tables import RAW_STEWARD, STEWARD_EVENT
from schemas.tables.columns import ADDED_BY_STAGE
from schemas.tables.raw import ENVELOPE

_ENVELOPES = pa.schema([pa.field(field.name, field.type, nullable=field.nullable) for field in ENVELOPE])
_FUTURE = "HL7-VERSION-TIME-FUTURE"
_ROWS = pa.schema(
    [
        ("row", pa.int32()),
        *((field.name, field.type) for field in STEWARD_EVENT.fields if field.name not in ADDED_BY_STAGE),
    ]
)


def read_envelopes(payloads: Sequence[bytes], sources: Sequence[Source]) -> pa.RecordBatch:
    """The envelope columns of events: ``id`` names an event on its date, spaces and order of keys do not count."""
    rows = [_envelope(payload, source) for payload, source in zip(payloads, sources, strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=_ENVELOPES)


def _envelope(payload: bytes, source: Source) -> dict[str, object]:
    made: dict[str, object] = {
        "id_hash": _hash(source.name, payload.hex()),
        "content_hash": _hash(payload.hex()),
    }
    try:
        found = read_object(payload)
        made["content_hash"] = _hash(json.dumps(found, sort_keys=True))
        event = read_event(payload)
    except MessageError as problem:
        return {**made, "problem": problem.code}
    date = f"{event.when:%Y%m%d}"
    return {
        **made,
        "control_id": event.id,
        "message_type": f"STEWARD^{event.action}",
        "processing_id": "",
        "sent_date": date,
        "id_hash": _hash(source.name, event.id, date),
    }


def _hash(*parts: str) -> int:
    digest = xxh3_64_intdigest("".join(f"{len(part)}:{part}" for part in parts).encode())
    return digest - (1 << 64) if digest >= 1 << 63 else digest


def triage(raw: pa.Table, sources: Sources) -> pa.Array:  # noqa: ARG001 - as every modality's
    """All events are read."""
    return pa.nulls(raw.num_rows, pa.string())


def parse(raw: pa.Table, sources: Sources) -> Parsed:
    """Read events into ``normalised/steward_event``.

    Args:
        raw: raw rows with ``payload``, ``source`` and ``received_at``.
        sources: settings of the senders.
    """
    messages: list[Mapping[str, object]] = []
    unreadable: list[Mapping[str, object]] = []
    rows: list[Mapping[str, object]] = []
    columns = (raw.column(name).to_pylist() for name in ("payload", "source", "received_at"))
    for row, (payload, name, received) in enumerate(zip(*columns, strict=True)):
        try:
            event = read_event(payload)
        except MessageError as problem:
            unreadable.append({"row": row, "code": problem.code})
            continue
        source = sources.get(name)
        when = event.when.astimezone(UTC)
        codes = [_FUTURE] if when > received + timedelta(days=1) else []
        messages.append(
            {
                "row": row,
                "institution": source.institution or source.name,
                "message_type": f"STEWARD^{event.action}",
                "event_time": when,
                "event_time_precision": _precision(event.when),
                "event_date": event.when.date(),
                "codes": codes,
            }
        )
        rows.append(
            {"row": row, **_columns(event), "codes": codes, "version_time": received if codes else when}
        )
    return Parsed(
        pa.Table.from_pylist(messages, schema=MESSAGES_SCHEMA),
        pa.Table.from_pylist(unreadable, schema=UNREADABLE_SCHEMA),
        {STEWARD_EVENT.name: pa.Table.from_pylist(rows, schema=_ROWS)} if rows else {},
    )


def _columns(event: StewardEvent) -> dict[str, object]:
    offset = event.when.utcoffset()
    return {
        "segment_index": 0,
        "event_id": event.id,
        "action": event.action,
        "stated_time": event.when.astimezone(UTC),
        "stated_time_precision": _precision(event.when),
        "stated_time_offset": int(offset.total_seconds() // 60) if offset is not None else None,
        "steward": event.who,
        "reason": event.why,
        **{
            f"{which}_{part}": getattr(one, part)
            for which, one in (("first", event.first), ("second", event.second))
            for part in ("value", "authority", "type")
        },
    }


def _precision(when: datetime) -> str:
    return "fraction" if when.microsecond else "second"


STEWARD = Modality(
    name="steward",
    topic="raw.steward",
    raw=RAW_STEWARD,
    tables=(STEWARD_EVENT,),
    version=1,
    envelopes=read_envelopes,
    triage=triage,
    parse=parse,
    declared="pipelines.steward.modality:STEWARD",
    awaited=False,
)
"""What stewards say of who is who."""
