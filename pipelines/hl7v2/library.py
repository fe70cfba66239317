"""The reader as a library: bytes in, Arrow tables out; no Kafka, no Beam, no lake.

::

    from pipelines.hl7v2 import parse

    tables = parse([open("message.hl7", "rb").read()])
    tables["observation"].select(["observation_code", "value_number", "unit_code"]).to_pandas()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pipelines.hl7v2.modality import HL7V2
from schemas.source import Source, Sources
from schemas.table import INSTANT


@dataclass(frozen=True)
class Reading(Mapping[str, pa.Table]):
    """What some messages say, as tables by name: ``patient``, ``observation`` …; a table without rows is not there.

    Every row has ``row``, the index of its message, and ``segment_index``, the position of its segment in it.

    Attributes:
        tables: by name.
        messages: one row per readable message (``schemas.modality.MESSAGES_SCHEMA``).
        unreadable: one row per other message: code and place (``schemas.modality.UNREADABLE_SCHEMA``).
        objects: large documents by their path; rows refer to them in ``value_object_path``.
    """

    tables: Mapping[str, pa.Table]
    messages: pa.Table
    unreadable: pa.Table
    objects: Mapping[str, bytes]

    def __getitem__(self, name: str) -> pa.Table:
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)


def parse(
    messages: Sequence[bytes], *, source: Source | None = None, received_at: datetime | None = None
) -> Reading:
    """Read HL7 v2 messages.

    Args:
        messages: each as received, in any charset and with any delimiters; any bytes at all are allowed.
        source: what is known of the sender (charset and time zone where a message does not say); else UTF-8 and
            Asia/Shanghai.
        received_at: when they were received, with a time zone; else now. A version time that lies more than a day
            after it counts as the time of receipt.

    Returns:
        the tables; each message is in ``messages`` or in ``unreadable``.
    """
    sender = source or Source("library")
    moment = (received_at or datetime.now(UTC)).astimezone(UTC)
    raw = pa.table(
        {
            "payload": pa.array(messages, pa.large_binary()),
            "source": pa.array([sender.name] * len(messages), pa.string()),
            "received_at": pa.array(np.full(len(messages), int(moment.timestamp() * 1_000_000))).cast(
                INSTANT
            ),
        }
    )
    parsed = HL7V2.parse(raw, Sources.of(sender))
    tables = {name.rpartition("/")[2]: table for name, table in parsed.tables.items()}
    return Reading(tables, parsed.messages, parsed.unreadable, parsed.objects)
