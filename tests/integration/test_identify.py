"""Who is who on the lake is a function of what was normalised, whatever the batches, their order, and crashes."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pipelines.identify
import pipelines.identity_apply
from jobs.lake_views import lake_views
from jobs.run_stages import Limits, curate_batch, identify_batch, identify_lag, identity_idle
from jobs.verify_identity import verify_identity
from lake_layout.live_files import live_files
from lake_layout.maintain import maintain
from pipelines.identify import stated_by
from pipelines.identity import Touch, ends_of, resolve_in_shares
from pipelines.identity_apply import apply_where_due
from pipelines.identity_graph import Graph
from pipelines.identity_known import known_rows
from pipelines.steward.modality import STEWARD
from schemas.errors import LakeError
from schemas.steward import PatientIdentifier, StewardEvent
from schemas.tables.curated import OBSERVATION_FOLD, curated
from schemas.tables.identification import IDENTITY_CHANGE, IDENTITY_TABLES, STATING
from schemas.tables.identity import (
    IDENTIFIER_SEEN,
    IDENTITY,
    PERSON,
    PERSON_ID_HISTORY,
    PERSON_IDENTIFIER,
    PERSON_LINK,
    SEEN,
    STEWARD_QUEUE,
)
from tests.curated_lake import SOURCES, CuratedLake, city_messages, rows_of

CITY = 200
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def adt(event: str, number: int, patient: str, *, merged: str = "") -> tuple[bytes, str]:
    time = f"{START + timedelta(hours=number):%Y%m%d%H%M%S}+0000"
    lines = [
        f"MSH|^~\\&|HIS|CLINIC|||{time}||ADT^{event}|{number}|P|2.5",
        f"EVN|{event}|{time}",
        f"PID|||{patient}^^^CLINIC^MR||LI^NA",
        *([f"MRG|{merged}^^^CLINIC^MR"] if merged else ["PV1||O|||||||||||||||||V" + patient]),
    ]
    return "\r".join(lines).encode(), "test"


MERGE = [adt("A04", 0, "P1"), adt("A04", 1, "P2"), adt("A40", 2, "P2", merged="P1")]
UNLINK = StewardEvent(
    "e1", "unlink", START + timedelta(hours=3), "chen.li", "two sisters",
    PatientIdentifier("P1", "CLINIC"), PatientIdentifier("P2", "CLINIC"),
)  # fmt: skip
LINK = dataclasses.replace(
    UNLINK, id="e2", action="link", when=START + timedelta(hours=4), why="one after all"
)


def steward_rows(*events: StewardEvent, first: int = 1_000) -> dict[str, Any]:
    return rows_of([(event.to_bytes(), "stewards") for event in events], STEWARD, first)


def identify_all(lake: CuratedLake) -> int:
    batches = 0
    while identify_batch(lake.context) is not None:
        batches += 1
    return batches


def persons(lake: CuratedLake) -> dict[str, set[str]]:
    """Representative → the identifiers that lead to the person."""
    named = {row["person_id"]: row["value"] for row in lake.lake.dataset(PERSON).to_table().to_pylist()}
    found: dict[str, set[str]] = {value: set() for value in named.values()}
    for row in lake.lake.dataset(PERSON_IDENTIFIER).to_table().to_pylist():
        found[named[row["person_id"]]].add(row["value"])
    return found


def whole(lake: CuratedLake) -> dict[str, list[str]]:
    return {
        table.name: sorted(map(repr, lake.lake.dataset(table).to_table().to_pylist())) for table in IDENTITY
    }


def shown(lake: CuratedLake) -> dict[str, list[str]]:
    """The same by the views of ``phl query``."""
    with lake_views(lake.lake) as views:
        found = {
            table.name: views.connection.sql(f"FROM {table.view_name}").to_arrow_table() for table in IDENTITY
        }
        for table in IDENTITY:
            assert views.rows(views.views[table.name]) == found[table.name].num_rows
    return {
        table.name: sorted(map(repr, found[table.name].cast(table.arrow_schema).to_pylist()))
        for table in IDENTITY
    }


def test_a_merge_and_its_undoing(tmp_path: Path) -> None:
    lake, rows = CuratedLake(tmp_path).create(), rows_of(MERGE)
    lake.put(rows, [0, 1])
    assert identify_lag(lake.context) > 0
    assert identify_all(lake) == 1
    assert identify_lag(lake.context) == 0
    before = whole(lake)[PERSON.name]
    assert persons(lake) == {"P1": {"P1"}, "P2": {"P2"}}

    lake.put(rows, [2])
    identify_all(lake)
    assert persons(lake) == {"P2": {"P1", "P2"}}
    leads = {row["value"]: row for row in lake.lake.dataset(PERSON_ID_HISTORY).to_table().to_pylist()}
    assert leads["P1"]["current_person_id"] == leads["P2"]["person_id"] != leads["P1"]["person_id"]

    lake.put(steward_rows(UNLINK), [1_000])
    identify_all(lake)
    assert whole(lake)[PERSON.name] == before  # with their former ids
    assert not verify_identity(lake.lake, SOURCES)

    lake.put(steward_rows(LINK, first=1_001), [1_001])
    identify_all(lake)
    assert persons(lake) == {"P1": {"P1", "P2"}}


def person_of_the_result(lake: CuratedLake) -> str:
    sql = "SELECT value FROM curated_person.observation JOIN curated.person USING (person_id)"
    with lake_views(lake.lake) as views:
        listed = [
            view.table for view in views.views.values() if view.table.name.startswith("curated_person/")
        ]
        assert len(listed) > 10
        for table in listed:  # as they are
            shown = views.connection.execute(f"DESCRIBE {table.view_name}").fetchall()
            assert [column for column, *_ in shown] == [field.name for field in table.fields]
        ((found,),) = views.connection.execute(sql).fetchall()
    return str(found)


def test_views_lead_from_visit_and_patient_to_the_person(tmp_path: Path) -> None:
    """Whoever a merge or a move makes a result's person, the result is not rewritten."""
    lake = CuratedLake(tmp_path).create()
    result = adt("R01", 3, "P1")[0].replace(b"ADT^R01", b"ORU^R01") + (
        b"\rOBR|1||F1|GLU^Glucose|||20260301090000+0000\rOBX|1|NM|GLU^Glucose||5.5|mmol/L|||||F"
    )
    moved = adt("A45", 4, "P3")[0] + b"\rMRG|P1^^^CLINIC^MR||||VP1\rPV1||O|||||||||||||||||VP1"
    rows = rows_of([*MERGE, (result, "test"), (moved, "test")])
    lake.put(rows, [0, 1, 3])
    while curate_batch(lake.context) is not None:
        pass
    identify_all(lake)
    version = lake.lake.version(curated(OBSERVATION_FOLD))
    assert person_of_the_result(lake) == "P1"
    for offset, person in ((2, "P2"), (4, "P3")):
        lake.put(rows, [offset])
        identify_all(lake)
        assert person_of_the_result(lake) == person
    assert lake.lake.version(curated(OBSERVATION_FOLD)) == version


def test_what_waits_for_a_steward_leaves_the_queue_with_the_decision(tmp_path: Path) -> None:
    lake = CuratedLake(tmp_path).create()
    forbidden = dataclasses.replace(UNLINK, id="e0", action="cannot-link", when=START + timedelta(minutes=90))
    lake.put({**rows_of(MERGE), **steward_rows(forbidden)}, [0, 1, 2, 1_000])
    identify_all(lake)
    assert persons(lake) == {"P1": {"P1"}, "P2": {"P2"}}
    queue = lake.lake.dataset(STEWARD_QUEUE).to_table().to_pylist()
    assert [(row["event_code"], row["value"], row["to_value"]) for row in queue] == [("A40", "P1", "P2")]

    lake.put(steward_rows(LINK, first=1_001), [1_001])
    identify_all(lake)
    assert persons(lake) == {"P2": {"P1", "P2"}}  # nothing forbids the merge any more
    assert lake.lake.dataset(STEWARD_QUEUE).to_table().num_rows == 0


@pytest.fixture(scope="module")
def city() -> dict[str, Any]:
    return {**rows_of([*city_messages(CITY), *MERGE]), **steward_rows(UNLINK)}


OFFSETS = [*range(CITY + len(MERGE)), 1_000]


@pytest.fixture(scope="module")
def truth(city: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    lake = CuratedLake(tmp_path_factory.mktemp("truth")).create()
    lake.put(city, OFFSETS)
    assert identify_all(lake) == 1
    assert not verify_identity(lake.lake, SOURCES)
    return whole(lake)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_batches_and_their_order(
    city: dict[str, Any],
    truth: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(pipelines.identity_apply, "ROWS_OF_FILE", rng.choice([20, 400_000]))
    monkeypatch.setattr(pipelines.identity_apply, "FEW_ROWS", 0)
    monkeypatch.setattr(
        pipelines.identity_apply, "APPLIED_AT_A_SHARE", seed
    )  # the first time only, or sometimes
    monkeypatch.setattr("lake_layout.maintain.SMALL_FILES", 2)
    monkeypatch.setattr(pipelines.identify, "resolve_in_shares", partial(resolve_in_shares, rows=30))
    lake = CuratedLake(tmp_path, limits=Limits(curated_rows=rng.choice([1, 10_000]))).create()
    offsets = list(OFFSETS)
    rng.shuffle(offsets)
    while offsets:
        lake.put(city, offsets[: (size := rng.choice([20, 90]))])
        del offsets[:size]
        identify_batch(lake.context)
        maintain(lake.lake, rng.choice((*IDENTITY, IDENTITY_CHANGE, IDENTITY_CHANGE)))
        lake.index = rng.choice(["index", "another"])
    identify_all(lake)
    assert whole(lake) != truth  # for some changes wait
    assert not verify_identity(lake.lake, SOURCES)
    assert shown(lake) == truth
    assert apply_where_due(lake.lake, lake.context.index, at_once=True)
    assert whole(lake) == shown(lake) == truth
    assert lake.lake.dataset(IDENTITY_CHANGE).count_rows() == 0


@pytest.mark.parametrize(
    ("module", "step", "nth"),
    [
        (pipelines.identify, "commit_changes", 1),
        (pipelines.identify, "commit_progress", 1),
        (pipelines.identity_apply, "_apply", 3),
        (pipelines.identity_apply, "_forget", 1),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_batch_is_run_again_from_wherever_it_broke_off(
    city: dict[str, Any],
    truth: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
    nth: int,
    after: bool,
) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(city, OFFSETS[::2])
    identify_all(lake)
    lake.put(city, OFFSETS[1::2])
    original, calls = getattr(module, step), []

    def deadly(*args: object) -> object:
        calls.append(1)
        if len(calls) == nth and not after:
            raise RuntimeError
        result = original(*args)
        if len(calls) == nth:
            raise RuntimeError
        return result

    with monkeypatch.context() as patched:
        patched.setattr(module, step, deadly)
        with pytest.raises((LakeError, RuntimeError)):
            identify_batch(lake.context)
    identify_all(lake)
    assert whole(lake) == truth
    versions = [lake.lake.version(table) for table in IDENTITY_TABLES]
    assert identify_batch(lake.context) is None
    assert [lake.lake.version(table) for table in IDENTITY_TABLES] == versions


def test_what_can_have_to_do_with_what_is_looked_up(city: dict[str, Any], tmp_path: Path) -> None:
    """As union-find over all that is known tells it."""
    lake = CuratedLake(tmp_path).create()
    lake.put(city, OFFSETS[::2])
    identify_all(lake)
    lake.put(city, OFFSETS[1::2])
    news = {
        name: [file.path for file in live_files(lake.lake, table)[-1:]] for name, table in STATING.items()
    }
    stated = stated_by(lake.lake, SOURCES, news)
    edges = pa.concat_tables(
        [lake.lake.dataset(PERSON_LINK).to_table().cast(stated.edges.schema), stated.edges]
    )
    seen = pa.concat_tables([lake.lake.dataset(IDENTIFIER_SEEN).to_table().cast(SEEN), stated.seen])
    patient, listed = (seen.column(name).to_numpy() for name in ("patient_key", "key"))
    nodes = np.unique(np.concatenate([patient, listed, edges.column("key").to_numpy()]))
    for changed in (nodes[:1], nodes[::17], edges.column("to_key").to_numpy()[-3:], nodes):
        wanted = Touch.of(ends_of(edges), patient, listed, changed)
        with known_rows(lake.lake, lake.context.index, upto=1) as rows:
            graph = Graph.of(rows, stated.edges, stated.seen)
            assert graph.reached(changed).tolist() == wanted.keys.tolist()


def test_a_table_of_which_no_row_differs_is_not_written(tmp_path: Path) -> None:
    lake, rows = CuratedLake(tmp_path).create(), rows_of([*MERGE, adt("A08", 5, "P2"), adt("A08", 6, "P3")])
    lake.put(rows, [0, 1, 2])
    identify_all(lake)
    before = {table.name: lake.lake.version(table) for table in IDENTITY}
    lake.put(rows, [3])
    identify_all(lake)
    assert {table.name for table in IDENTITY if lake.lake.version(table) > before[table.name]} == {
        PERSON_IDENTIFIER.name,  # when it was last seen
        IDENTIFIER_SEEN.name,
    }
    there = {file.path for table in IDENTITY for file in live_files(lake.lake, table)}
    lake.put(rows, [4])  # somebody new: nothing that is there is touched
    identify_all(lake)
    assert there < {file.path for table in IDENTITY for file in live_files(lake.lake, table)}
    assert not verify_identity(lake.lake, SOURCES)


def test_changes_wait_for_others_and_not_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, rows = CuratedLake(tmp_path).create(), rows_of(MERGE)
    lake.put(rows, [0, 1])
    identify_all(lake)
    (kept,) = tmp_path.glob("index/*/*/rows.sqlite")
    before, file = whole(lake), kept.stat().st_ino
    monkeypatch.setattr(pipelines.identity_apply, "FEW_ROWS", 0)
    monkeypatch.setattr(pipelines.identity_apply, "APPLIED_AT_A_SHARE", 0)
    lake.put(rows, [2])
    identify_all(lake)
    identity_idle(lake.context)
    assert whole(lake) == before
    now = shown(lake)
    assert len(now[PERSON.name]) == 1
    monkeypatch.setattr(pipelines.identity_apply, "LONGEST_WAIT", timedelta(0))
    identity_idle(lake.context)
    assert whole(lake) == shown(lake) == now
    lake.put(steward_rows(UNLINK), [1_000])
    identify_all(lake)
    assert kept.stat().st_ino == file  # what is known went on from batch to batch
    assert not verify_identity(lake.lake, SOURCES)


def test_a_merge_that_a_later_reading_does_not_state_goes(tmp_path: Path) -> None:
    lake, rows = CuratedLake(tmp_path).create(), rows_of([*MERGE, adt("A40", 3, "P3", merged="P2")])
    lake.put(rows, [0, 1, 2, 3])
    identify_all(lake)
    assert persons(lake) == {"P3": {"P1", "P2", "P3"}}
    again = {}
    for name, table in rows_of([*MERGE[:2], adt("A40", 2, "P4", merged="P1")]).items():
        place = table.schema.get_field_index("reading")
        again[name] = table.set_column(
            place, table.schema.field(place), pa.array([1] * table.num_rows, pa.int32())
        )
    lake.put(again, [2])
    identify_all(lake)
    assert persons(lake) == {"P3": {"P2", "P3"}, "P4": {"P1", "P4"}}
    assert not verify_identity(lake.lake, SOURCES)


def test_a_row_that_went_is_found(tmp_path: Path) -> None:
    lake = CuratedLake(tmp_path).create()
    lake.put(rows_of(MERGE), range(3))
    identify_all(lake)
    lake.lake.open(PERSON_IDENTIFIER).delete("value = 'P1'")
    (difference,) = verify_identity(lake.lake, SOURCES)
    assert (difference.code, difference.table) == ("IDENTITY-DIFFERS", PERSON_IDENTIFIER.name)
