"""What operators decide about messages: recorded with who and why; what is to be done, the stages do."""

from __future__ import annotations

import functools
import getpass
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.deliver import deliver_one
from connectors.records import REPLACES
from connectors.result_files import file_record
from connectors.routing import record_for, store_large
from jobs.quarantine import Coordinates
from lake_layout.claims import batch_app_id
from lake_layout.commit import Change, commit_change
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.objects import ObjectStore
from pipelines.hl7v2.modality import HL7V2
from pipelines.lab.modality import LAB
from schemas.errors import ConfigError
from schemas.hl7v2.header import read_header
from schemas.lab import ASTM, RESULT_FILE
from schemas.source import Source
from schemas.tables.ops import DECISION, LEDGER


@dataclass(frozen=True)
class Decision:
    """Who decides what, and why.

    Attributes:
        action: discard, replace, replay or reprocess.
        by: who.
        why: in their own words; no patient data.
    """

    action: str
    by: str
    why: str


@dataclass(frozen=True)
class Range:
    """Messages by when and how they came; what is None says nothing."""

    received_from: datetime | None = None
    received_to: datetime | None = None
    source: str | None = None


def record(
    lake: Lake,
    raw_table: str,
    decision: Decision,
    about: Range | list[Coordinates],
    replacement: Coordinates | None = None,
) -> str:
    """Record a decision in one commit.

    Args:
        lake: where.
        raw_table: name of the raw table that the messages lie in.
        decision: who, what, why.
        about: a range, or single messages with their topic's id.
        replacement: the message that was sent in place of the one that it is about.

    Returns:
        The decision's id.

    Raises:
        TransportError: the store does not answer; whether it is recorded shows in ``ops.decision``.
    """
    lake.create_missing((DECISION, LEDGER))
    stage = f"normalise-{raw_table.rpartition('/')[2]}"
    ended = current_handle(lake, LEDGER).transaction_version(batch_app_id(stage))
    row: dict[str, object] = {
        "decision_id": uuid.uuid4().hex,
        "action": decision.action,
        "decided_at": datetime.now(UTC),
        "decided_by": decision.by,
        "why": decision.why,
        "raw_table": raw_table,
        "last_batch": int(ended or 0),
    }
    rows: list[dict[str, object]]
    if isinstance(about, Range):
        rows = [{**row, **vars(about)}]
    else:
        rows = [
            {**row, "topic_id": one.topic_id, "partition": one.partition, "offset": one.offset}
            for one in about
        ]
    if replacement is not None:
        rows[0] |= {"replacement_partition": replacement.partition, "replacement_offset": replacement.offset}
    file = write_file(lake, DECISION, pa.Table.from_pylist(rows, schema=DECISION.arrow_schema), None)
    commit_change(lake, DECISION, functools.partial(_append, file))
    return str(row["decision_id"])


def decided_by(name: str | None, setting: str = "--by") -> str:
    """Who decides: as they say, else the account that runs the command.

    Args:
        name: as they say.
        setting: the option by which they say it.

    Raises:
        ConfigError: ``CONFIG-WHO``: there is no such account.
    """
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise ConfigError("CONFIG-WHO", "say who decides", setting=setting) from None


def send_replacement(
    connection: KafkaConnection,
    store: ObjectStore,
    message: bytes,
    source: Source,
    replaced: Coordinates,
    raw_table: str,
    topic_prefix: str,
    threshold: int,
) -> Coordinates:
    """Send a message that was mended by hand; its record names the one that it replaces.

    Args:
        connection: to Kafka.
        store: of the lake, for one that is too large for a record.
        message: the bytes.
        source: of the one that it replaces.
        replaced: with its topic's id.
        raw_table: the raw table that it lies in.
        topic_prefix: before the name of the raw topic.
        threshold: bytes from which on a message is too large.

    Returns:
        Where it lies now.

    Raises:
        MessageError: it is no message.
        TransportError, ConfigError: Kafka or the store does not take it.
    """
    modality = next((one for one in (HL7V2, LAB) if one.raw.name == raw_table), None)
    if modality is None:
        raise ConfigError(
            "CONFIG-REPLACEMENT",
            "only what laboratories send and HL7 messages are mended by hand",
            setting="--with",
        )
    topic, now = topic_prefix + modality.topic, datetime.now(UTC)
    header = read_header(message) if modality is HL7V2 else None
    stored = store_large(message, store.put_if_absent, modality.name) if len(message) > threshold else None
    if modality is HL7V2:
        record = record_for(message, header, source, now, stored=stored, topic=topic)
    else:
        kind = ASTM if source.result_file is None else RESULT_FILE
        record = file_record(message, source, now, topic, stored=stored, content_type=kind)
    named = f"{replaced.topic_id}:{replaced.partition}:{replaced.offset}".encode()
    partition, offset = deliver_one(connection, replace(record, headers=(*record.headers, (REPLACES, named))))
    return Coordinates(partition, offset)


def _append(file: NewFile, _handle: DeltaTable) -> Change:
    return Change([file], (), {}, {"kind": "decision"})
