"""Compare a lake with itself and with Kafka: collect what ``quality.reconcile`` needs, from one moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import structlog
from deltalake.exceptions import DeltaError

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.ranges import OffsetRange, app_id, read_range
from connectors.kafka.topics import TopicState, describe_topic
from jobs.claimed_again import claimed_again
from jobs.lake_views import View, lake_views
from lake_layout.claims import Claim, claims_of, newest_claims
from lake_layout.lake import Lake
from lake_layout.live_files import live_files
from lake_layout.objects import ObjectStore, open_store
from lake_layout.reading import read_file
from quality.differences import Difference, Report
from quality.reconcile import ExplainGap, Stream, reconcile
from schemas.errors import IngestError, LakeError
from schemas.modality import Modality
from schemas.table import Table
from schemas.tables.ops import DECISION, LEDGER, QUARANTINE

if TYPE_CHECKING:
    from deltalake import DeltaTable

log = structlog.get_logger(__name__)


def verify_lake(
    lake: Lake,
    modalities: Sequence[Modality],
    kafka: KafkaConnection | None,
    *,
    topic_prefix: str = "",
    since: str | None = None,
    on_stretch: Callable[[int], object] = lambda _: None,
) -> Report:
    """Compare everything that was landed with what became of it; safe while the stages run.

    Args:
        lake: where the tables lie.
        modalities: what lands there.
        kafka: asked to explain offsets that are missing; None leaves them unexplained.
        topic_prefix: stands before the topics' names.
        since: ISO 8601; only messages received then or later.
        on_stretch: told how many messages were compared.

    Raises:
        LakeError: a table cannot be opened.
        TransportError: the store does not answer.
    """
    tables = {table.name: table for table in in_order(modalities)}
    unreadable: dict[str, set[str]] = {}
    while True:
        try:
            return _verify(lake, modalities, kafka, topic_prefix, since, on_stretch, unreadable)
        except LakeError as error:
            name = str(error.coordinates.get("table"))
            known = unreadable.get(name, set())
            found = unreadable_files(lake, tables[name]) if error.code == "LAKE-FILES-UNREADABLE" else set()
            if found <= known:
                raise
            unreadable[name] = known | found  # and look at the others again


def _verify(
    lake: Lake,
    modalities: Sequence[Modality],
    kafka: KafkaConnection | None,
    topic_prefix: str,
    since: str | None,
    on_stretch: Callable[[int], object],
    unreadable: Mapping[str, Collection[str]],
) -> Report:
    """One comparison, without the files that are known not to be readable.

    Raises:
        LakeError: ``LAKE-FILES-UNREADABLE``: there are others.
    """
    store = open_store(lake.location)
    topics = [topic_prefix + modality.topic for modality in modalities]
    damaged: list[Difference] = []

    def gone(view: View) -> set[str]:
        found = damaged_files(view, store, unreadable.get(view.table.name, ()))
        damaged.extend(found)
        return {difference.file for difference in found}

    described = _described(
        kafka, dict(zip(topics, (modality.awaited for modality in modalities), strict=True))
    )
    claims = newest_claims(store)  # before the tables are opened: what these speak of was there
    with lake_views(lake, in_order(modalities), at_once=False, leave_out=gone) as opened:
        damaged[:0] = replaced_tables(claims, opened.views)
        ledger = opened.views[LEDGER.name].delta
        report = reconcile(
            opened.connection,
            [
                stream_of(
                    lake, modality, topic, opened.views[modality.raw.name].delta, ledger, described.get(topic)
                )
                for modality, topic in zip(modalities, topics, strict=True)
            ],
            explain_gap=_explain_by_kafka(kafka, list(described.values())),
            object_size=store.size,
            since=since,
            on_stretch=on_stretch,
        )
    report.differences[:0] = damaged
    return report


def in_order(modalities: Sequence[Modality]) -> list[Table]:
    """The tables, those first that are committed last.

    While the stages run, what is opened later can only hold more: rows of a batch that the ledger does not
    know yet, and messages that are not normalised yet. Both are told from faults.
    """
    tables = {table.name: table for modality in modalities for table in modality.tables}
    return [LEDGER, QUARANTINE, *tables.values(), *(modality.raw for modality in modalities)]


def replaced_tables(claims: Sequence[Claim], views: Mapping[str, View]) -> list[Difference]:
    """Tables that are gone, or are not those that the stages' newest claims speak of."""
    found: dict[str, Difference] = {}
    for claim in claims:
        for name, table_id in claim.tables.items():
            if name not in views:
                continue
            delta = views[name].delta
            if delta is None:
                found[name] = Difference("TABLE-MISSING", name)
            elif str(delta.metadata().id) != table_id:
                found[name] = Difference("TABLE-REPLACED", name)
    return [found[name] for name in sorted(found)]


def stream_of(
    lake: Lake,
    modality: Modality,
    topic: str,
    raw: DeltaTable | None,
    ledger: DeltaTable | None,
    state: TopicState | None,
) -> Stream:
    """How far landing and normalising of a modality say they are."""
    normalised = _transaction(ledger, f"normalise:{modality.raw.name}")

    def landed_to(topic_id: str, partition: int) -> int | None:
        return _transaction(raw, app_id(topic, topic_id, partition))

    as_normalised = None if normalised is None else _at_version(lake, modality.raw, raw, normalised)

    def decided_to(topic_id: str, partition: int) -> int | None:
        if normalised is not None and as_normalised is None:
            return None
        return _transaction(as_normalised, app_id(topic, topic_id, partition)) or 0

    return Stream(
        raw=modality.raw,
        tables=modality.tables,
        landed_to=landed_to,
        decided_to=decided_to,
        last_batch=_transaction(ledger, f"batch:normalise-{modality.name}"),
        again=_under_way(lake, modality, _transaction(ledger, f"batch:normalise-{modality.name}")),
        kept={}
        if state is None
        else {(state.topic_id, partition): low for partition, (low, _) in state.partitions.items()},
    )


def _under_way(lake: Lake, modality: Modality, last_batch: int | None) -> pa.Table | None:
    """Messages that batches take in once more which were claimed but had not ended when the ledger was opened."""
    found, batch = [], (last_batch or 0) + 1
    while claims := claims_of(lake.store, f"normalise-{modality.name}", batch):
        if DECISION.name in claims[-1].pins:
            found.append(claimed_again(lake, modality, claims[-1]))
        batch += 1
    return pa.concat_tables(found) if found else None


def _transaction(table: DeltaTable | None, app: str) -> int | None:
    if table is None:
        return None
    version = table.transaction_version(app)
    return None if version is None else int(version)


def _at_version(lake: Lake, table: Table, raw: DeltaTable | None, version: int) -> DeltaTable | None:
    """The raw table as normalising read it last; None where maintenance took that version out of the log."""
    if raw is None or version == raw.version():
        return raw
    older = lake.open(table)
    try:
        older.load_as_version(version)
    except (DeltaError, OSError) as error:
        log.info("raw_version_gone", table=table.name, version=version, kind=type(error).__name__)
        return None
    return older


def unreadable_files(lake: Lake, table: Table) -> set[str]:
    """Live files of a table, there as a whole or not, that cannot be read."""
    found = set()
    for file in live_files(lake, table):
        try:
            read_file(lake, table, file.path)
        except LakeError:
            found.add(file.path)
    return found


def damaged_files(view: View, store: ObjectStore, unreadable: Collection[str]) -> list[Difference]:
    """Live files of a table that are gone, have another size than its log says, or are known to be unreadable."""
    if view.delta is None:
        return []
    live = pa.table(view.delta.get_add_actions(flatten=True)).select(["path", "size_bytes"])
    root = f"{view.table.name}/"
    wanted: dict[str, int] = dict(zip(*(column.to_pylist() for column in live.columns), strict=True))
    sizes = {info.path.removeprefix(root): info.size for info in store.list(root)}
    return [
        Difference(
            "FILE-MISSING"
            if path not in sizes
            else "FILE-SIZE"
            if sizes[path] != size
            else "FILE-UNREADABLE",
            view.table.name,
            expected=size,
            found=sizes.get(path, 0),
            file=path,
        )
        for path, size in sorted(wanted.items())
        if sizes.get(path) != size or path in unreadable
    ]


def _described(kafka: KafkaConnection | None, topics: Mapping[str, bool]) -> dict[str, TopicState]:
    """The topics as Kafka has them now; those that it says nothing of are left out, and the log says so.

    Args:
        kafka: who is asked.
        topics: by name, whether each has to be there.
    """
    found: dict[str, TopicState] = {}
    if kafka is None:
        return found
    for topic, awaited in topics.items():
        try:
            found[topic] = describe_topic(kafka, topic)
        except IngestError as error:
            if awaited or error.code != "KAFKA-TOPIC-MISSING":
                log.warning("kafka_not_asked", code=error.code, topic=topic)
    return found


def _explain_by_kafka(connection: KafkaConnection | None, described: Sequence[TopicState]) -> ExplainGap:
    """Kafka explains a gap where it still has the offsets around it and no record in it."""

    def explain(topic_id: str, partition: int, start: int, stop: int) -> bool:
        if connection is None:
            return False
        try:
            for state in described:
                low, high = state.partitions.get(partition, (0, 0))
                if state.topic_id == topic_id and low <= start and stop <= high:
                    gap = OffsetRange(state.topic, topic_id, partition, start, stop)
                    return not any(len(records) for records in read_range(connection, gap))
        except IngestError as error:
            log.warning("kafka_not_asked", code=error.code, partition=partition, start=start, stop=stop)
        return False

    return explain
