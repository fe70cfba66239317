"""A kind of source, declared: what the stages need to know of HL7 v2, laboratory messages, images and what follows.

The stages know no modality by name; adding one is a declaration like this, a parser and its tables.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from schemas.source import Source, Sources
from schemas.table import INSTANT, Table

MESSAGES_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),  # index of the message in the raw rows that were parsed
        ("institution", pa.string()),
        ("message_type", pa.string()),
        ("event_time", INSTANT),
        ("event_time_precision", pa.string()),
        ("event_date", pa.date32()),
        ("codes", pa.list_(pa.string())),
    ]
)
"""What the parser says of each message it could read, one row per message."""

UNREADABLE_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("code", pa.string()),
        ("segment", pa.string()),
        ("segment_index", pa.int32()),
        ("field", pa.int32()),
    ]
)
"""Messages that could not be read, with coordinates within the message."""


def object_path(kind: str, sha256: str) -> str:
    """Where an object lies in the lake: ``objects/<kind>/<first two digits>/<SHA-256 in hex>``."""
    return f"objects/{kind}/{sha256[:2]}/{sha256}"


@dataclass(frozen=True)
class Parsed:
    """What a parser makes of a batch.

    Attributes:
        messages: ``MESSAGES_SCHEMA``, one row per readable message.
        unreadable: ``UNREADABLE_SCHEMA``, one row per other message. Each input row is in exactly one of both.
        tables: by table name, Arrow tables with ``row`` (int32) and the table's own columns; the columns that
            say where a row came from (coordinates, source, times of the message, batch) are added by the stage.
        bad_parts: ``UNREADABLE_SCHEMA``, parts of readable messages that could not be read, such as a line of a file
            (``segment_index`` is its number); None where the parser reads a message whole or not at all. They go to
            the quarantine while the message is accepted.
        objects: what is too large for a row, by its path in the lake (``object_path``); rows refer to it.
    """

    messages: pa.Table
    unreadable: pa.Table
    tables: Mapping[str, pa.Table]
    objects: Mapping[str, bytes] = field(default_factory=dict)
    bad_parts: pa.Table | None = None


@dataclass(frozen=True)
class Modality:
    """One kind of message, from its topic to its tables.

    Attributes:
        name: short name, such as ``hl7v2``.
        topic: Kafka topic, such as ``raw.hl7v2``.
        raw: table that its messages land in.
        tables: the normalised tables it feeds.
        version: raised whenever the parser reads differently; part of each claim's code hash.
        envelopes: (payloads, their sources) → record batch of the fields ``schemas.tables.raw.ENVELOPE``.
            Never raises on any bytes.
        triage: (raw rows without payload, sources) → string array, null for messages to be read, else the code
            for which a message is ignored (such as ``HL7-PROCESSING-ID``).
        parse: (raw rows with ``payload`` filled in, sources) → ``Parsed``. Never raises on any bytes. Whether a
            message can be read depends on nothing but its source and what ``content_hash`` covers, so that a
            copy of an unreadable message is unreadable for the same reason.
        declared: ``module:name`` of the declaration, where it is a module's: workers find it there, instead of
            its tables' and columns' hundreds of objects in every transform that they are sent.
        awaited: whether its topic has to be there; while one that is not awaited is absent, nobody has sent anything.
    """

    name: str
    topic: str
    raw: Table
    tables: tuple[Table, ...]
    version: int
    envelopes: Callable[[Sequence[bytes], Sequence[Source]], pa.RecordBatch]
    triage: Callable[[pa.Table, Sources], pa.Array]
    parse: Callable[[pa.Table, Sources], Parsed]
    declared: str | None = None
    awaited: bool = True

    def __reduce__(self) -> str | tuple[object, ...]:
        """By the place of its declaration, where it is the one that lies there."""
        if self.declared is not None and find_modality(self.declared) is self:
            return find_modality, (self.declared,)
        return super().__reduce__()


def find_modality(declared: str) -> object:
    """What a module declares (``module:name``)."""
    module, _, name = declared.partition(":")
    return getattr(importlib.import_module(module), name)
