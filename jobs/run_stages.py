"""Run the stages: claim a batch, run its graph, until nothing is left or for ever.

Everything that a graph needs it gets as arguments, so that the same graph runs in this process or on a cluster;
only the runner's options differ.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import apache_beam as beam
import structlog
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.ranges import (
    OffsetRange,
    TopicState,
    app_id,
    describe_topic,
    plan_ranges,
    range_of_app_id,
    read_range,
    require_same_topic,
    split_ranges,
)
from jobs.claimed_again import claimed_again
from jobs.curated_progress import uncurated, unidentified
from lake_layout.added_since import files_added
from lake_layout.claims import Claim, batch_app_id
from lake_layout.fail_points import fail_point
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.place import check_place
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import Plan, Progress, Stage, begin_batch, commit_table
from pipelines import read_again
from pipelines.costs import Costs
from pipelines.curate import Batch as CurateBatch
from pipelines.curate import Curate
from pipelines.helpers import helpers
from pipelines.identify import Batch as IdentityBatch
from pipelines.identify import Identify
from pipelines.identity_apply import apply_what_waits, apply_where_due
from pipelines.land import Land
from pipelines.normalise import Normalise
from pipelines.parts import parts_side_by_side, to_bytes
from pipelines.read_again import parts_again
from pipelines.read_part import Batch
from pipelines.steps import PREFIX
from pipelines.withdrawn import withdrawn_up_to
from schemas import errors
from schemas.errors import ConfigError, IngestError, LakeError
from schemas.modality import Modality
from schemas.source import Sources
from schemas.table import Table
from schemas.tables import coding, curation, identification
from schemas.tables.coding import CODES_TABLES
from schemas.tables.curation import CURATE_TABLES, CURATION, NORMALISED_OF
from schemas.tables.identification import IDENTIFICATION, IDENTITY_TABLES, STATING
from schemas.tables.normalised import OBSERVATION
from schemas.tables.ops import DECISION, LEDGER, QUARANTINE

log = structlog.get_logger(__name__)

_NO_LIMIT = 2**62
_LOOKED_AT_TOGETHER = 8
IN_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")


@dataclass(frozen=True)
class Limits:
    """How much a batch takes in at most.

    Attributes:
        messages: of a batch; each costs some opening and committing of every table, whatever its size.
        landed_messages: of a batch of land; smaller, so that normalise begins while landing goes on.
        part_messages: of one worker's share; with its bytes the bound of a worker's memory.
        helped_messages: least of a share that is worth another process.
        versions: raw commits that one normalise batch covers, or commits of a normalised table one of curate.
        curated_rows: new rows of a normalised table that a batch of curate takes in.
        identity_rows: the same of identity, where these are fewer; each may be of another patient.
    """

    messages: int = 400_000
    landed_messages: int = 100_000
    part_messages: int = 200_000
    helped_messages: int = 25_000
    versions: int = 500
    curated_rows: int = 2_000_000
    identity_rows: int = 500_000

    @property
    def of_land(self) -> int:
        """Messages of a batch of land."""
        return min(self.messages, self.landed_messages)


@dataclass(frozen=True)
class Context:
    """What the stages of one modality run on.

    Attributes:
        accept_loss: go on where Kafka lost records that were not landed.
        processes: how many read the parts of a large batch side by side.
    """

    lake: Lake
    connection: KafkaConnection
    modality: Modality
    sources: Sources
    index: IndexLocation
    limits: Limits = field(default_factory=Limits)
    options: tuple[str, ...] = IN_PROCESS
    accept_loss: bool = False
    topic_prefix: str = ""
    processes: int = 1

    @property
    def topic(self) -> str:
        """The Kafka topic of the modality in this installation."""
        return self.topic_prefix + self.modality.topic

    @property
    def normalise_app_id(self) -> str:
        """Under this id the tables record up to which raw version they were filled."""
        return f"normalise:{self.modality.raw.name}"


@dataclass(frozen=True)
class Outcome:
    """A batch that ended: how many messages, what counters the graph kept, how long it took (seconds)."""

    stage: str
    batch: int
    messages: int
    seconds: float
    counters: Mapping[str, int]

    @property
    def steps(self) -> dict[str, float]:
        """CPU seconds of each step."""
        return {
            name.removeprefix(PREFIX): microseconds / 1e6
            for name, microseconds in self.counters.items()
            if name.startswith(PREFIX)
        }


def prepare(context: Context) -> None:
    """Create what is missing: the tables of the modality."""
    modality = context.modality
    context.lake.create_missing((modality.raw, *modality.tables, QUARANTINE, LEDGER, DECISION))


def check_landed(context: Context) -> None:
    """Before landing begins: does the raw table hold what its progress says?

    Raises:
        LakeError: ``LAKE-PLACE``.
    """
    state = topic_of(context)
    if state is None:
        return
    places = {
        app_id(state.topic, state.topic_id, number): (state.topic_id, number) for number in state.partitions
    }
    check_place(context.lake, context.modality.raw, places)


def topic_of(context: Context) -> TopicState | None:
    """The topic as it is; None where it is not awaited, not there, and never was.

    Raises:
        LakeError, TransportError, ConfigError: as ``describe_topic``.
    """
    try:
        return describe_topic(context.connection, context.topic)
    except LakeError as error:
        modality = context.modality
        if (
            error.code != "KAFKA-TOPIC-MISSING"
            or modality.awaited
            or newest_version(context.lake, modality.raw)
        ):
            raise
        return None


def land_batch(context: Context) -> Outcome | None:
    """Take one batch from Kafka into the raw table; None where there is nothing new."""
    modality = context.modality
    stage = Stage(f"land-{modality.name}", (modality.raw,), modality.raw)

    # A claim on an earlier life of the topic can never be fulfilled; neither can one on records whose loss was
    # accepted since. With these in the hash such a claim is rolled back, and planned anew.
    state = topic_of(context)
    if state is None:
        return None
    code = code_hash(
        context.sources, modality.name, str(modality.version), state.topic_id, str(context.accept_loss)
    )

    def plan(progress: Progress) -> Plan | None:
        ranges = plan_ranges(state, progress.version, context.limits.of_land, accept_loss=context.accept_loss)
        if not ranges:
            return None
        stands = {r.app_id: progress.version(r.app_id) for r in ranges}
        return Plan(
            begin={r.app_id: r.start if stands[r.app_id] is None else stands[r.app_id] or 0 for r in ranges},
            end={r.app_id: r.end for r in ranges},
            # where records were lost and that was accepted, reading starts behind where the table stands
            pins={r.app_id: r.start for r in ranges if stands[r.app_id] not in (None, r.start)},
        )

    claim = begin_batch(context.lake, stage, plan, code)
    if claim is None:
        return None
    ranges = [
        range_of_app_id(key, claim.pins.get(key, claim.begin[key]), end)
        for key, end in sorted(claim.end.items())
    ]
    shares = split_ranges(ranges, context.limits.part_messages)
    guard = functools.partial(_guard, context.connection, tuple(ranges))
    read = functools.partial(read_range, context.connection)
    graph = Land(context.lake, claim, modality, tuple(shares), context.sources, read, guard)
    return _run(context, claim, graph, sum(r.end - r.start for r in ranges))


def _guard(connection: KafkaConnection, ranges: Sequence[OffsetRange]) -> None:
    """Just before the commit: is each topic still the one that was read?"""
    for topic, topic_id in {(r.topic, r.topic_id) for r in ranges}:
        require_same_topic(connection, topic, topic_id)


def normalise_batch(context: Context) -> Outcome | None:
    """Take one batch of raw commits, or of messages to be read again, into the tables; None where there is nothing."""
    modality, lake = context.modality, context.lake
    stage = Stage(f"normalise-{modality.name}", (*modality.tables, QUARANTINE, LEDGER), LEDGER)
    progress_id = context.normalise_app_id

    def arrived(progress: Progress) -> Plan | None:
        done = progress.version(progress_id) or 0
        newest = newest_version(lake, modality.raw)
        end = _next_end(context, modality.raw, done, newest, context.limits.messages)
        if end is None:
            return None
        return Plan(
            begin={progress_id: done},
            end={progress_id: end},
            pins={LEDGER.name: newest_version(lake, LEDGER)},
        )

    def plan(progress: Progress) -> Plan | None:
        # in turn, so that neither what comes nor what is asked for waits long for a great deal of the other
        if (progress.version(batch_app_id(stage.name)) or 0) % 2:
            return plan_again(context, progress) or arrived(progress)
        return arrived(progress) or plan_again(context, progress)

    code = code_hash(context.sources, modality.name, str(modality.version))
    claim = begin_batch(lake, stage, plan, code)
    if claim is None:
        return None
    batch = Batch(lake, claim, modality, context.sources, context.index)
    if batch.again:
        messages = claimed_again(lake, modality, claim)
        if not messages.num_rows:
            commit_table(lake, claim, LEDGER, [])
            return normalise_batch(context)
        fail_point("again-chosen")
        shares = parts_again(lake, modality.raw, messages, context.limits.part_messages)
        graph = Normalise(batch, tuple(shares), to_bytes(messages))
        return _run(context, claim, graph, messages.num_rows)
    files = files_added(lake, modality.raw, claim.begin[progress_id], claim.end[progress_id])
    limits = context.limits
    parts = parts_side_by_side(files, limits.part_messages, context.processes, limits.helped_messages)
    processes = context.processes if len(parts) > 1 else 1
    if processes == 1:
        helpers().let_go()
    return _run(
        context, claim, Normalise(batch, tuple(parts), None, processes), sum(file.rows for file in files)
    )


def plan_again(context: Context, progress: Progress) -> Plan | None:
    """A batch of messages that an operator asked to be read again; of none, which ends a request, after its last."""
    lake, raw = context.lake, context.modality.raw
    name = read_again.progress_id(raw)
    reached = progress.version(name) or 0
    request = read_again.next_request(lake, raw, reached)
    if request is None:
        return None
    version = newest_version(lake, LEDGER)
    left = read_again.messages_of(lake, raw, request, version, context.limits.messages)
    return Plan(
        begin={name: reached},
        end={name: reached + 1 if left.num_rows else request.version * read_again.STEPS},
        # settings may have changed when a batch is run again: what it takes in may not
        pins={LEDGER.name: version, DECISION.name: request.version, name: context.limits.messages},
    )


def prepare_curated(context: Context) -> None:
    """Create what is missing: the tables of the curate stage, of identity, and of codes.

    They read the tables of all modalities, of which some may never have been run here.
    """
    read = {**NORMALISED_OF, **STATING}
    context.lake.create_missing((*read.values(), *CURATE_TABLES, *IDENTITY_TABLES, *CODES_TABLES))


def curate_batch(context: Context) -> Outcome | None:
    """Fold one batch of new normalised rows, of all modalities, into the curated tables; None where nothing is new."""
    lake = context.lake
    stage = Stage(curation.STAGE, CURATE_TABLES, CURATION)
    most = context.limits.curated_rows
    plan = functools.partial(_next_rows, context, NORMALISED_OF, curation.progress_id, most)
    claim = begin_batch(lake, stage, plan, code_hash(context.sources, stage.name))
    if claim is None:
        return None
    batch = CurateBatch.of(lake, claim, context.sources, context.index)
    rows = sum(file.rows for name in batch.news.versions for file in batch.news.files(name))
    return _run(context, claim, Curate(batch), rows)


def curate_lag(context: Context) -> int:
    """Rows of normalised tables that are not folded into the curated ones yet."""
    return sum(waiting for _, waiting in uncurated(context.lake).values())


def identify_batch(context: Context) -> Outcome | None:
    """Take one batch of new normalised rows, of all modalities, into who is who; None where nothing is new."""
    lake = context.lake
    stage = Stage(identification.STAGE, IDENTITY_TABLES, IDENTIFICATION)
    most = min(context.limits.curated_rows, context.limits.identity_rows)
    plan = functools.partial(_next_rows, context, STATING, identification.progress_id, most)
    claim = begin_batch(lake, stage, plan, code_hash(context.sources, stage.name))
    if claim is None:
        apply_where_due(lake, context.index)
        return None
    fail_point("identity-claimed")
    batch = IdentityBatch(lake, claim, context.sources, context.index)
    rows = sum(file.rows for files in batch.files().values() for file in files)
    outcome = _run(context, claim, Identify(batch), rows)
    began, costs = time.monotonic(), Costs()
    with costs.step("apply"):
        apply_where_due(lake, context.index)
    counters = {**outcome.counters, **{PREFIX + name: cost // 1000 for name, cost in costs.items()}}
    return replace(outcome, seconds=outcome.seconds + time.monotonic() - began, counters=counters)


def identity_idle(context: Context) -> None:
    """Bring changes of who is who that wait too long into its tables."""
    apply_what_waits(context.lake, context.index)


def identify_lag(context: Context) -> int:
    """Rows of normalised tables that are not taken into who is who yet."""
    return sum(waiting for _, waiting in unidentified(context.lake).values())


def codes_batch(context: Context) -> Outcome | None:
    """Say what codes and units of new observations mean; of all, where a map was loaded. None where nothing is new.

    One commit on one table decides it, so there is no claim.
    """
    from pipelines.codes.keep import coded_up_to, is_outdated, keep_current

    started = time.monotonic()
    lake = context.lake
    done = coded_up_to(lake)
    newest = newest_version(lake, OBSERVATION)
    end = _next_end(context, OBSERVATION, done, newest, context.limits.curated_rows)
    if end is None and not is_outdated(lake):
        return None
    kept = keep_current(lake, end or done)
    seconds = time.monotonic() - started
    log.info("codes_kept", rows=kept.rows, combinations=kept.combinations, seconds=round(seconds, 3))
    return Outcome(coding.STAGE, kept.version, kept.rows, seconds, {})


def codes_lag(context: Context) -> int:
    """Observations whose codes and units are not looked at yet; 1 where only a map is newer."""
    from pipelines.codes.keep import coded_up_to, is_outdated

    lake = context.lake
    waiting = files_added(lake, OBSERVATION, coded_up_to(lake), newest_version(lake, OBSERVATION))
    return sum(file.rows for file in waiting) or int(is_outdated(lake))


def _next_rows(
    context: Context,
    tables: Mapping[str, Table],
    progress_id: Callable[[str], str],
    most: int,
    progress: Progress,
) -> Plan | None:
    """What of normalised tables is new to a stage: so many rows of each as a batch may have."""
    begin = {name: progress.version(progress_id(name)) or 0 for name in tables}

    def upto(name: str) -> int | None:
        newest = newest_version(context.lake, tables[name])
        end = _next_end(context, tables[name], begin[name], newest, most)
        if end is None and tables is NORMALISED_OF:  # who is who is not told from what left
            return withdrawn_up_to(context.lake, tables[name], begin[name], newest)
        return end

    with ThreadPoolExecutor(_LOOKED_AT_TOGETHER) as pool:
        ends = dict(zip(begin, pool.map(upto, begin), strict=True))
    end = {name: version for name, version in ends.items() if version is not None}
    if not end:
        return None
    return Plan(
        begin={progress_id(name): begin[name] for name in end},
        end={progress_id(name): version for name, version in end.items()},
        pins={},
    )


def land_lag(context: Context) -> int:
    """Offsets in Kafka that are not landed yet.

    Raises:
        LakeError: records were lost that were not landed.
    """
    raw = current_handle(context.lake, context.modality.raw)
    state = topic_of(context)
    if state is None:
        return 0
    ranges = plan_ranges(state, raw.transaction_version, _NO_LIMIT, accept_loss=context.accept_loss)
    return sum(r.end - r.start for r in ranges)


def normalise_lag(context: Context) -> int:
    """Landed messages that have no disposition yet."""
    lake, raw = context.lake, context.modality.raw
    done = normalised_up_to(context)
    return sum(file.rows for file in files_added(lake, raw, done, newest_version(lake, raw)))


def is_asked_again(context: Context) -> bool:
    """Whether messages are to be read again, or decisions that ask for none are to be passed over."""
    name = read_again.progress_id(context.modality.raw)
    reached = current_handle(context.lake, LEDGER).transaction_version(name) or 0
    return read_again.next_request(context.lake, context.modality.raw, reached) is not None


def normalised_up_to(context: Context) -> int:
    """The version of the raw table up to which messages have a disposition."""
    lake = context.lake
    return current_handle(lake, LEDGER).transaction_version(context.normalise_app_id) or 0


def newest_version(lake: Lake, table: Table) -> int:
    """The newest version of a table."""
    return int(current_handle(lake, table).version())


def _next_end(context: Context, table: Table, done: int, newest: int, most: int) -> int | None:
    """The version up to which the next batch reads a table: ``most`` rows, but at least one version with rows."""
    looked = done
    while looked < newest:
        window = min(newest, looked + context.limits.versions)
        rows, end = 0, looked
        for file in files_added(context.lake, table, looked, window):
            if rows and file.version > end and rows + file.rows > most:
                return end
            rows += file.rows
            end = file.version
        if rows:
            return end
        looked = window  # commits of maintenance add no rows
    return None


def _run(context: Context, claim: Claim, graph: beam.PTransform, messages: int) -> Outcome:
    started = time.monotonic()
    counters = run_graph(graph, context.options)
    outcome = Outcome(claim.stage, claim.batch, messages, time.monotonic() - started, counters)
    log.info(
        "batch_done",
        stage=claim.stage,
        batch=claim.batch,
        messages=messages,
        seconds=round(outcome.seconds, 3),
    )
    return outcome


class KeptViews(PipelineOptions):  # type: ignore[misc]
    """Options that make each view once.

    Beam asks for some hundred views of them for each graph, and for each it makes a parser of command lines anew: half
    of what building a graph costs. Values lie in what all views share, so it is the same which one is asked.
    """

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        """This object's options of one kind."""
        views: dict[type[PipelineOptions], PipelineOptions] = self.__dict__.setdefault("_kept_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def empty_pipeline(options: Sequence[str]) -> beam.Pipeline:
    """A pipeline on the runner that the options name.

    Raises:
        ConfigError: ``INGEST-RUNNER``: Beam knows no such runner, or refuses a value.
    """
    try:
        with contextlib.redirect_stderr(
            io.StringIO()
        ):  # Beam prints all options there are, and ends the process
            parsed = KeptViews(list(options))
            parsed.get_all_options()  # else values are looked at only when the pipeline runs
            return beam.Pipeline(options=parsed)
    except (ValueError, SystemExit):
        raise ConfigError(
            "INGEST-RUNNER", "Beam does not take these options", setting="ingest.runner_options"
        ) from None


def run_graph(graph: beam.PTransform, options: Sequence[str]) -> dict[str, int]:
    """Run a graph to its end and give its counters.

    Raises:
        IngestError: the coded error that a transform raised, found again in what the runner makes of it.
        ConfigError: ``INGEST-RUNNER``.
    """
    pipeline = empty_pipeline(options)
    _ = pipeline | graph
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # noqa: BLE001 - runners wrap what a transform raised in errors of their own
        raise coded_cause(error) from None
    found = result.metrics().query(MetricsFilter().with_namespace("phl"))["counters"]
    counters: Counter[str] = Counter()
    for counter in found:  # one for each transform that counts under the name
        counters[counter.key.metric.name] += counter.committed or counter.attempted
    return dict(counters)


_CODED = re.compile(r"schemas\.errors\.(\w+): ([A-Z0-9-]+): ([^\n(]*)(?:\(([^()\n]*)\))?")


def coded_cause(error: BaseException) -> IngestError:
    """The coded error inside what a runner raised: as an object, else read from its text."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, IngestError):
            return seen
        seen = seen.__cause__ or seen.__context__
    text = _CODED.search(str(error))
    if text is None:
        return LakeError("STAGE-FAILED", "the runner failed; see its log", kind=type(error).__name__)
    kind, code, message, where = text.groups()
    cls = getattr(errors, kind, LakeError)
    coordinates = dict(pair.split("=", 1) for pair in (where or "").split(", ") if "=" in pair)
    return cls(code, message.strip(), **coordinates)


@functools.lru_cache(maxsize=8)
def _program_hash() -> str:
    """Hash of the program text that decides what a batch writes."""
    digest = hashlib.sha256()
    for package in ("schemas", "lake_layout", "pipelines"):
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_hash(sources: Sources, *more: str) -> str:
    """Hash of program and configuration: a batch begun by another is rolled back, never half mixed."""
    settings = repr(sorted(sources.by_name.items()))
    parts = (_program_hash(), settings, *more)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]
