"""Messages through the real parser."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from pipelines.hl7v2.modality import HL7V2
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT


def read_all(messages: Sequence[bytes], charset: str = "utf-8") -> Parsed:
    """The tables of a batch of messages."""
    raw = pa.table(
        {
            "payload": pa.array(messages, pa.binary()),
            "source": ["clinic"] * len(messages),
            "received_at": pa.array([datetime(2026, 6, 1, tzinfo=UTC)] * len(messages), INSTANT),
        }
    )
    return HL7V2.parse(raw, Sources.of(Source("clinic", charset=charset)))


def read_one(message: bytes, charset: str = "utf-8") -> Parsed:
    """The tables of a message."""
    return read_all([message], charset)
