"""Reading again: whatever was read before, by whatever parsers, in whatever order and with whatever deaths on the way,
the tables are at last those of a fresh lake that the last parser alone has read.

Messages are HL7; a few of the tables are kept. Batches, ledger, index, withdrawal and folds are the program's own, on a
lake in a folder.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lake_layout.fail_points
from connectors.kafka.connection import KafkaConnection
from connectors.kafka.ranges import OffsetRange
from connectors.records import RECEIVED_AT, SOURCE, timestamp
from jobs.decisions import Decision, Range, record
from jobs.run_stages import Context, Limits, curate_batch, normalise_batch, prepare, prepare_curated
from jobs.verify_lake import verify_lake
from lake_layout.commit import Change, commit_change
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from lake_layout.sorted_runs import IndexLocation
from pipelines.hl7v2.modality import HL7V2
from pipelines.land import RecordSlice, raw_rows, write_by_month
from schemas.errors import IngestError
from schemas.modality import Modality, Parsed
from schemas.source import NO_SOURCES, Sources
from schemas.tables import IMAGING, LEDGER, QUARANTINE
from schemas.tables.allergy_intolerance import ALLERGY_INTOLERANCE
from schemas.tables.curated import FOLDS, curated
from schemas.tables.normalised import APPOINTMENT, OBSERVATION, PATIENT
from tests.integration.messages import adt, oru, siu
from tests.integration.setting import rows_of

TABLES = (PATIENT, OBSERVATION, APPOINTMENT, ALLERGY_INTOLERANCE)
MESSAGES = (
    adt(1), adt(1), adt(2), oru(1), oru(2), oru(2, value="9"), siu(1), siu(1), siu(2), adt(3), oru(1), b"no message",
)  # fmt: skip
"""Among them copies, a control id of two messages, and one that no parser reads."""
SOURCES = ("north", "south")
RECEIVED = datetime(2026, 2, 27, 8, tzinfo=UTC)
HOW = ("batch_number", "decided_at", "reading", "home_month")
"""Columns that say how a row was made; and the month that a thing lives in, which gets no later."""
MENDED = Decision("reprocess", "a test", "another parser")

PLACES = (
    "claim-made", "again-chosen", "ids-read", "part-parsed", "after-file", "rows-left", "before-commit", "after-commit",
    "tables-committed", "before-last-commit", "after-last-commit", "after-fence", "table-decided",
)  # fmt: skip


def parse_as(version: int, raw: pa.Table, sources: Sources) -> Parsed:
    """A parser that may take numbers of orders for others, see allergies everywhere, and not read appointments."""
    payloads = [_misread(version, one) for one in raw.column("payload").to_pylist()]
    place = raw.column_names.index("payload")
    parsed = HL7V2.parse(raw.set_column(place, "payload", pa.array(payloads, pa.binary())), sources)
    names = {table.name for table in TABLES}
    return replace(parsed, tables={name: rows for name, rows in parsed.tables.items() if name in names})


def _misread(version: int, payload: bytes) -> bytes:
    if version & 1:
        payload = payload.replace(b"|O0", b"|Z0").replace(b"|F0", b"|Y0")
    if version & 2:
        payload = payload.replace(b"PV1|", b"AL1|1|DA|L1^Penicillin\rPV1|")
    return b"" if version & 4 and b"|SIU^" in payload else payload


def modality(version: int) -> Modality:
    parse = functools.partial(parse_as, version)
    return replace(HL7V2, tables=TABLES, parse=parse, version=100 + version, declared=None)


@dataclass
class ReadLake:
    """A lake in a folder, fed without Kafka.

    Attributes:
        folder: where it and its indexes lie.
        version: of the parser.
        landed: how many messages there are.
    """

    folder: Path
    version: int = 0
    landed: int = 0
    limits: Limits = field(default_factory=lambda: Limits(messages=6, part_messages=3))

    @property
    def lake(self) -> Lake:
        return Lake(LakeLocation(str(self.folder / "lake")))

    @property
    def context(self) -> Context:
        return Context(
            lake=self.lake, connection=KafkaConnection({"bootstrap.servers": "127.0.0.1:1"}),
            modality=modality(self.version), sources=NO_SOURCES, index=IndexLocation(str(self.folder / "index")),
            limits=self.limits,
        )  # fmt: skip

    def land(self, messages: Sequence[bytes]) -> None:
        """Append messages to the raw table, as a batch of land does."""
        start, self.landed = self.landed, self.landed + len(messages)
        places = range(start, self.landed)
        headers = [
            {SOURCE: SOURCES[at % 2].encode(), RECEIVED_AT: timestamp(RECEIVED + timedelta(hours=11 * at))}
            for at in places
        ]
        offsets = OffsetRange("raw.hl7v2", "of-this-test", 0, start, self.landed)
        records = RecordSlice(list(places), [0] * len(messages), list(messages), headers)
        rows = raw_rows(offsets, records, HL7V2, NO_SOURCES, open_store(self.lake.location))
        files = list(write_by_month(self.lake, HL7V2, rows))
        txns = {offsets.app_id: offsets.end}
        commit_change(self.lake, HL7V2.raw, lambda _: Change(files, (), txns, {"kind": "batch"}))

    def ask(self, about: Range) -> None:
        record(self.lake, HL7V2.raw.name, MENDED, about)

    def read(self) -> None:
        while normalise_batch(self.context) is not None:
            pass

    def curate(self) -> None:
        while curate_batch(self.context) is not None:
            pass

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows, by table."""
        tables = [*TABLES, QUARANTINE, *(curated(fold) for fold in FOLDS if fold.table in TABLES)]
        return {table.name: rows_of(self.lake, table, but=HOW) for table in tables}

    def dispositions(self) -> dict[int, str]:
        """What became of each message by its newest reading, by offset."""
        rows = self.lake.dataset(LEDGER).to_table(columns=["offset", "reading", "disposition"])
        return {row["offset"]: row["disposition"] for row in rows.sort_by("reading").to_pylist()}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose tables are made: making them takes longer than to try anything on them."""
    made = ReadLake(tmp_path_factory.mktemp("empty"))
    prepare(made.context)
    made.lake.create_missing((*HL7V2.tables, *IMAGING))
    prepare_curated(made.context)
    return made.folder


class Died(Exception):  # noqa: N818 - it stands for the end of a process
    """Here a process was killed."""


def killed_at(place: str, nth: int, run: pytest.MonkeyPatch) -> None:
    """Let what is done next come to its end at the nth time that it comes by a place."""
    passed = iter(range(1, 1_000_000))

    def reach(name: str, _: str) -> None:
        if name == place and next(passed) == nth:
            raise Died

    run.setenv(lake_layout.fail_points.VARIABLE, place)
    run.setattr(lake_layout.fail_points, "_reach", reach)


ranges = st.sampled_from(
    (Range(source="north"), Range(source="south"), Range(received_from=RECEIVED),
     Range(RECEIVED + timedelta(days=1), RECEIVED + timedelta(days=3)))
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("land"), st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=4)),
        st.tuples(st.just("read"), st.none()),
        st.tuples(st.just("ask"), ranges),
        st.tuples(st.just("parser"), st.integers(0, 7)),
        st.tuples(st.just("curate"), st.none()),
        st.tuples(st.just("killed"), st.tuples(st.sampled_from(PLACES), st.integers(1, 3), st.booleans())),
    ),
    min_size=4,
    max_size=9,
)
Step = tuple[str, object]


def take(lake: ReadLake, step: Step) -> Sequence[bytes]:
    """Do a step; messages that were landed by it."""
    match step:
        case "land", list() as messages:
            lake.land(messages)
            return messages
        case "read", _:
            normalise_batch(lake.context)
        case "ask", Range() as about:
            lake.ask(about)
        case "parser", int() as version:
            lake.version = version
        case "curate", _:
            curate_batch(lake.context)
        case "killed", (str() as place, int() as nth, bool() as curates):
            with pytest.MonkeyPatch.context() as run:
                killed_at(place, nth, run)
                with contextlib.suppress(IngestError, Died):  # the next one goes on from what it left
                    (curate_batch if curates else normalise_batch)(lake.context)
    return ()


def fresh(folder: Path, empty: Path) -> ReadLake:
    shutil.copytree(empty, folder, dirs_exist_ok=True)
    return ReadLake(folder)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.sampled_from(MESSAGES), min_size=3, max_size=8), steps, st.integers(0, 7))
def test_at_last_the_tables_are_those_of_a_fresh_lake(
    empty: Path, first: list[bytes], said: list[Step], last: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="phl-test-") as made:
        lake = fresh(Path(made) / "tried", empty)
        messages = [*first]
        lake.land(first)
        normalise_batch(lake.context)
        curate_batch(lake.context)
        for step in said:
            messages += take(lake, step)
        lake.version = last
        lake.read()
        lake.ask(Range(received_from=RECEIVED))
        lake.read()
        lake.curate()
        other = replace(fresh(Path(made) / "fresh", empty), version=last, limits=Limits())
        other.land(messages)
        other.read()
        other.curate()
        assert lake.dispositions() == other.dispositions()
        assert lake.rows() == other.rows()
        report = verify_lake(lake.lake, (modality(last),), None)
        assert report.clean(), report.differences
