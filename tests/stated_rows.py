"""What messages say, as rows of the normalised tables with their origin: as normalise makes them, without a lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.modality import HL7V2
from schemas.modality import Modality
from schemas.source import Sources
from schemas.table import INSTANT

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
"""When the first message is received; one more comes each second."""


def stated_rows(
    messages: Sequence[tuple[bytes, str]],
    sources: Sources,
    modality: Modality = HL7V2,
    *,
    first: int = 0,
    some_unreadable: bool = False,
    content_type: str | None = None,
) -> dict[str, pa.Table]:
    """Rows of all normalised tables of a modality, by name.

    Args:
        messages: each with the name of its source.
        sources: settings of the senders.
        modality: theirs.
        first: place of the first message; a message's place is its ``offset``, and tells when it is received.
        some_unreadable: whether some may say nothing; else all must be readable.
        content_type: that their connectors gave them.

    Returns:
        Tables with all columns, also where there are no rows; strings may be dictionaries.
    """
    payloads, names = [one for one, _ in messages], [name for _, name in messages]
    envelope = modality.envelopes(payloads, [sources.get(name) for name in names])
    received = pa.array(
        [RECEIVED + timedelta(seconds=first + place) for place in range(len(messages))], INSTANT
    )
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": names,
            "received_at": received,
            "content_type": pa.array([content_type] * len(messages), pa.string()),
            "processing_id": envelope.column("processing_id"),
            "message_type": envelope.column("message_type"),
        }
    )
    parsed = modality.parse(raw, sources)
    assert some_unreadable or not parsed.unreadable.num_rows
    place_of = parsed.messages.column("row").to_pylist() if "row" in parsed.messages.column_names else None
    tables = {}
    for table in modality.tables:
        rows = parsed.tables.get(table.name, pa.table({"row": pa.array([], pa.int32())}))
        message = rows.column("row").combine_chunks()
        count = len(message)
        of_message = message if place_of is None else pc.index_in(message, pa.array(place_of, message.type))
        columns = {name: rows.column(name) for name in rows.column_names}
        for name in ("institution", "message_type", "event_time", "event_time_precision", "event_date"):
            columns[name] = parsed.messages.column(name).take(of_message)
        months = [day and date(day.year, day.month, 1) for day in columns["event_date"].to_pylist()]
        columns |= {
            "event_month": pa.array(months, pa.date32()),
            "topic_id": pa.array([modality.topic] * count, pa.string()),
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pc.add(message.cast(pa.int64()), first),
            "source": pa.array(names).take(message),
            "received_at": received.take(message),
            "batch_number": pa.array([1] * count, pa.int64()),
            "reading": pa.array([0] * count, pa.int32()),
        }
        tables[table.name] = pa.table(
            {
                field.name: columns[field.name] if field.name in columns else pa.nulls(count, field.type)
                for field in table.fields
            }
        )
    return tables
