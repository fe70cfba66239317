"""Verify finds each kind of damage in a lake of real Delta tables, and nothing in a sound one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from jobs.verify_lake import verify_lake
from lake_layout.claims import Claim, put_claim
from lake_layout.location import LakeLocation
from quality.differences import DIFFERENCES, Difference, Report
from quality.reconcile import reconcile
from schemas.tables import LEDGER, OBSERVATION, PATIENT, QUARANTINE, RAW_HL7V2, SEGMENT
from schemas.tables.normalised import FINDING
from tests.small_lake import (
    BATCH_SIZE,
    MODALITY,
    OBJECT_PATH,
    RECEIVED,
    TOPIC_ID,
    SmallLake,
    claims,
    disposition,
    small_lake,
)


@pytest.fixture
def small(local_location: LakeLocation) -> SmallLake:
    return small_lake(local_location)


def verify(small: SmallLake, since: str | None = None) -> Report:
    return verify_lake(small.lake, [MODALITY], None, since=since)


def found(small: SmallLake) -> dict[tuple[str, str], Difference]:
    return {(d.code, d.table): d for d in verify(small).differences}


def test_a_sound_lake_is_clean_and_its_sums_are_right(small: SmallLake) -> None:
    report = verify(small)
    assert report.differences == []
    assert report.clean(strict=True)
    assert [(p.partition, p.first, p.next, p.landed) for p in report.partitions] == [
        (0, 100, 130, 30),
        (1, 100, 130, 30),
    ]
    for partition in report.partitions:
        expected = [disposition(offset) for offset in range(100, 130)]
        assert partition.dispositions == {name: expected.count(name) for name in partition.dispositions}
        assert sum(partition.dispositions.values()) == partition.landed
    assert report.objects == 4


def test_an_empty_lake_and_a_lake_without_tables_are_clean(local_location: LakeLocation) -> None:
    assert verify(SmallLake(local_location)).clean(strict=True)
    assert verify(SmallLake(local_location).create()).clean(strict=True)


def test_small_stretches_find_the_same(small: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    small.drop_file(OBSERVATION)
    small.double_file(LEDGER)
    whole = verify(small)

    def in_stretches_of_three(*args: object, **settings: object) -> Report:
        return reconcile(*args, **settings, stretch=3)  # type: ignore[arg-type]

    monkeypatch.setattr("jobs.verify_lake.reconcile", in_stretches_of_three)
    assert verify(small) == whole
    assert whole.differences


LOSSES = [
    (RAW_HL7V2, "RAW-MISSING"),
    (LEDGER, "LEDGER-MISSING"),
    (QUARANTINE, "QUARANTINE-MISSING"),
    (PATIENT, "ROWS-MISSING"),
    (OBSERVATION, "ROWS-MISSING"),
    (SEGMENT, "ROWS-MISSING"),
]


@pytest.mark.parametrize(("table", "code"), LOSSES)
def test_a_file_that_was_dropped_from_a_table_is_found(small: SmallLake, table: object, code: str) -> None:
    rows = small.drop_file(table)  # type: ignore[arg-type]
    difference = found(small)[code, table.name]  # type: ignore[attr-defined]
    assert difference.expected - difference.found == rows
    assert difference.topic_id == TOPIC_ID
    assert difference.examples


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (RAW_HL7V2, "RAW-DOUBLED"),
        (LEDGER, "LEDGER-DOUBLED"),
        (QUARANTINE, "QUARANTINE-DOUBLED"),
        (PATIENT, "ROWS-DOUBLED"),
        (OBSERVATION, "ROWS-DOUBLED"),
        (SEGMENT, "ROWS-DOUBLED"),
    ],
)
def test_a_file_that_stands_twice_in_a_table_is_found(small: SmallLake, table: object, code: str) -> None:
    rows = small.double_file(table)  # type: ignore[arg-type]
    difference = found(small)[code, table.name]  # type: ignore[attr-defined]
    assert difference.found - difference.expected == rows


@pytest.mark.parametrize(("table", "code"), LOSSES)
def test_a_file_that_is_gone_from_the_store_is_found(small: SmallLake, table: object, code: str) -> None:
    path = small.path_of(table)  # type: ignore[arg-type]
    path.unlink()
    differences = found(small)
    assert ("FILE-MISSING", table.name) in differences  # type: ignore[attr-defined]
    assert (code, table.name) in differences  # type: ignore[attr-defined]


def test_a_file_that_was_cut_off_is_found(small: SmallLake) -> None:
    path = small.path_of(OBSERVATION)
    os.truncate(path, path.stat().st_size // 2)
    differences = found(small)
    assert differences["FILE-SIZE", OBSERVATION.name].file in str(path)
    assert ("ROWS-MISSING", OBSERVATION.name) in differences


def test_a_lost_raw_file_leaves_a_gap_that_kafka_may_explain(small: SmallLake) -> None:
    small.drop_file(RAW_HL7V2, 2)  # the second of partition 0
    gap = found(small)["OFFSET-GAP", RAW_HL7V2.name]
    assert (gap.partition, gap.first, gap.last, gap.messages) == (0, 110, 119, BATCH_SIZE)


def test_a_gap_without_messages_in_kafka_is_explained(small: SmallLake) -> None:
    small.next[0] = 133  # such as the markers of a transaction
    offsets = small.land(0)
    small.normalise(0, offsets)
    asked: list[tuple[str, int, int, int]] = []

    def explain(*gap: object) -> bool:
        asked.append(gap)  # type: ignore[arg-type]
        return True

    assert ("OFFSET-GAP", RAW_HL7V2.name) in found(small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.verify_lake._explain_by_kafka", lambda *_: explain)
        report = verify(small)
    assert report.clean(strict=True)
    assert report.explained == 3
    assert asked == [(TOPIC_ID, 0, 130, 133)]


@pytest.mark.parametrize(("progress", "code"), [(135, "OFFSET-GAP"), (125, "OFFSET-AHEAD")])
def test_raw_and_its_progress_must_agree(small: SmallLake, progress: int, code: str) -> None:
    small.set_progress(RAW_HL7V2, small.land_id(1), progress)
    difference = found(small)[code, RAW_HL7V2.name]
    assert difference.partition == 1


def test_a_restored_raw_table_is_found(small: SmallLake) -> None:
    """Restore keeps the progress: raw then holds less than landing believes."""
    table = DeltaTable(small.lake.table_uri(RAW_HL7V2))
    table.restore(table.version() - 1)
    gap = found(small)["OFFSET-GAP", RAW_HL7V2.name]
    assert (gap.first, gap.last) == (120, 129)


def test_messages_without_progress_are_found(small: SmallLake) -> None:
    row = small._raw(7, 5)
    small.append(RAW_HL7V2, [row], {})
    assert found(small)["PROGRESS-MISSING", RAW_HL7V2.name].partition == 7


def test_ledger_rows_that_were_deleted_are_found(small: SmallLake) -> None:
    DeltaTable(small.lake.table_uri(LEDGER)).delete('partition = 1 AND "offset" IN (101, 118)')
    differences = found(small)
    lost = differences["LEDGER-MISSING", LEDGER.name]
    assert (lost.messages, lost.examples) == (2, (101, 118))
    # what nobody claims any more is too much
    surplus = differences["ROWS-SURPLUS", SEGMENT.name]
    assert surplus.found == sum(claims(offset).get(SEGMENT.name, 0) for offset in (101, 118))


def test_a_ledger_ahead_of_its_progress_is_found(small: SmallLake) -> None:
    small.set_progress(LEDGER, "normalise:raw/hl7v2", 4)
    difference = found(small)["LEDGER-AHEAD", LEDGER.name]
    assert difference.first == 120


def test_a_disposition_that_there_is_not_is_found(small: SmallLake) -> None:
    DeltaTable(small.lake.table_uri(LEDGER)).update(
        updates={"disposition": "'lost'"}, predicate='partition = 0 AND "offset" = 103'
    )
    assert found(small)["DISPOSITION-UNKNOWN", LEDGER.name].examples == (103,)


def test_claims_on_an_unknown_table_are_found(small: SmallLake) -> None:
    offsets = small.land(0, 1)
    row = {**small._ledger(0, offsets.start, 1), "row_counts": [{"table": "normalised/specimen", "rows": 1}]}
    small.append(LEDGER, [row], {"normalise:raw/hl7v2": small.lake.open(RAW_HL7V2).version()})
    assert found(small)["CLAIM-UNKNOWN-TABLE", LEDGER.name].examples == (offsets.start,)


@pytest.mark.parametrize(("topic_id", "partition"), [("another", 0), (TOPIC_ID, 9)])
def test_rows_of_a_partition_that_never_landed_are_found(
    small: SmallLake, topic_id: str, partition: int
) -> None:
    row = {**small._origin(partition, 101, 1), "topic_id": topic_id, "segment_index": 0, "line": 0}
    small.append(SEGMENT, [row], {})
    difference = found(small)["ROWS-UNKNOWN-TOPIC", SEGMENT.name]
    assert (difference.topic_id, difference.partition, difference.messages) == (topic_id, partition, 1)


def test_a_row_far_outside_does_not_cost_a_walk_there(small: SmallLake) -> None:
    row = {**small._origin(0, 101, 1), "offset": 10**15, "segment_index": 0, "line": 0}
    small.append(SEGMENT, [row], {})
    assert found(small)["ROWS-SURPLUS", SEGMENT.name].examples == (10**15,)


def test_what_is_landed_and_not_normalised_is_pending(small: SmallLake) -> None:
    small.land(0)
    report = verify(small)
    assert report.differences == []
    assert report.pending == BATCH_SIZE
    assert report.clean()
    assert not report.clean(strict=True)


def test_a_version_that_maintenance_took_away_is_not_needed(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.land(0)

    def gone(*_: object) -> None:
        raise DeltaError("no such version")

    monkeypatch.setattr(DeltaTable, "load_as_version", gone)
    report = verify(small)
    assert report.differences == []
    assert report.pending == BATCH_SIZE


@pytest.mark.parametrize("batches", [0, 3])
def test_a_batch_that_has_not_ended_is_no_fault_but_one_beyond_it_is(
    local_location: LakeLocation, batches: int
) -> None:
    small = SmallLake(local_location).create()
    for _ in range(batches):
        small.normalise(0, small.land(0))
    offsets = small.land(0)
    small.normalise(0, offsets, end=False)
    report = verify(small)
    assert report.differences == []
    assert report.unfinished_rows
    assert not report.clean(strict=True)
    small.batches += 1
    small.normalise(0, offsets, end=False)
    assert ("ROWS-AHEAD", SEGMENT.name) in found(small)


def test_only_the_latest_reading_counts(small: SmallLake) -> None:
    """Reprocessing decides again: a duplicate becomes accepted, with rows of the new reading."""
    offset = next(offset for offset in range(100, 130) if disposition(offset) == "duplicate")
    row = {
        **small._ledger(0, offset, 7),
        "reading": 1,
        "disposition": "accepted",
        "id_hash": -1,  # as the new reading has it
        "row_counts": [{"table": SEGMENT.name, "rows": 1}],
    }
    small.append(LEDGER, [row], {"batch:normalise-hl7v2": 7})
    assert found(small)["ROWS-MISSING", SEGMENT.name].examples == (offset,)
    new = {**small._origin(0, offset, 7), "reading": 1, "segment_index": 0, "line": 0}
    small.append(SEGMENT, [new], {})
    report = verify(small)
    assert report.differences == []
    assert report.partitions[0].dispositions["accepted"] == 13
    assert report.partitions[0].landed == 30


def test_lines_that_could_not_be_read_are_claimed_beside_the_rows_of_the_others(small: SmallLake) -> None:
    offset = next(offset for offset in range(100, 130) if disposition(offset) == "duplicate")
    row = {
        **small._ledger(0, offset, 7),
        "reading": 1,
        "disposition": "accepted",
        "id_hash": -1,
        "codes": ["LAB-LINE-COLUMNS"],
        "row_counts": [{"table": QUARANTINE.name, "rows": 2}],
    }
    small.append(LEDGER, [row], {"batch:normalise-hl7v2": 7})
    assert found(small)["QUARANTINE-MISSING", QUARANTINE.name].examples == (offset,)
    bad = [{**row, "code": "LAB-LINE-COLUMNS", "segment_index": line} for line in (4, 9)]
    small.append(QUARANTINE, bad, {})
    assert verify(small).differences == []
    small.append(QUARANTINE, bad[:1], {})
    assert found(small)["ROWS-REPEATED", QUARANTINE.name].examples == (offset,)


@pytest.mark.parametrize(
    ("damage", "code"),
    [(lambda path: path.unlink(), "OBJECT-MISSING"), (lambda path: os.truncate(path, 5), "OBJECT-SIZE")],
)
def test_objects_are_looked_at(small: SmallLake, damage: Callable[[Path], None], code: str) -> None:
    damage(small.root / OBJECT_PATH)
    difference = found(small)[code, RAW_HL7V2.name]
    assert difference.examples


def test_since_leaves_out_what_is_older(small: SmallLake) -> None:
    small.drop_file(OBSERVATION, 0)
    small.drop_file(RAW_HL7V2, 0)
    since = (RECEIVED + timedelta(minutes=120)).isoformat()
    report = verify(small, since)
    assert report.differences == []
    assert [(p.first, p.landed) for p in report.partitions] == [(120, 10), (120, 10)]
    small.drop_file(LEDGER, -1)
    assert [d.code for d in verify(small, since).differences if d.table == LEDGER.name] == ["LEDGER-MISSING"]


def test_every_code_is_explained() -> None:
    source = Path(reconcile.__code__.co_filename).read_text("utf-8")
    written = {code for code in DIFFERENCES if f'"{code}"' in source}
    made = {
        f"{prefix}-{end}" for prefix in ("QUARANTINE", "ROWS") for end in ("MISSING", "DOUBLED", "SURPLUS")
    } | {"DISPOSITION-DOUBLED", "DISPOSITION-UNFOUNDED"}
    of_files = {"FILE-MISSING", "FILE-SIZE", "FILE-UNREADABLE", "TABLE-MISSING", "TABLE-REPLACED"}
    of_curated = {"CURATED-DIFFERS", "CURATED-INDEX", "IDENTITY-DIFFERS", "CODES-DIFFER", "CODES-MISSING"}
    assert written | made | of_files | of_curated == set(DIFFERENCES)


def test_a_row_that_is_missing_and_another_that_is_doubled_do_not_cancel_out(small: SmallLake) -> None:
    offset = next(offset for offset in range(100, 120) if claims(offset).get(SEGMENT.name) == 2)
    small.lake.open(SEGMENT).update(
        updates={"segment_index": "0"}, predicate=f'partition = 0 AND "offset" = {offset}'
    )
    assert found(small)["ROWS-REPEATED", SEGMENT.name].examples == (offset,)


def test_a_finding_that_is_missing_and_another_that_is_doubled_do_not_cancel_out(small: SmallLake) -> None:
    offset = next(offset for offset in range(100, 120) if claims(offset).get(FINDING.name) == 2)
    small.lake.open(FINDING).update(
        updates={"field": "0"}, predicate=f'partition = 0 AND "offset" = {offset}'
    )
    assert found(small)["ROWS-REPEATED", FINDING.name].examples == (offset,)


def at(disposition_name: str) -> int:
    """An offset whose message has this disposition, and is not the one that others are copies of."""
    return next(o for o in range(105, 130) if disposition(o) == disposition_name)


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("accepted", "conflict", "DISPOSITION-UNFOUNDED"),
        ("conflict", "accepted", "DISPOSITION-DOUBLED"),
        ("duplicate", "conflict", "DISPOSITION-DOUBLED"),
        ("duplicate", "accepted", "DISPOSITION-DOUBLED"),
        ("duplicate", "ignored", "DISPOSITION-REASON"),
        ("duplicate", "quarantined", "QUARANTINE-MISSING"),
        ("ignored", "duplicate", "DISPOSITION-UNFOUNDED"),
        ("accepted", "duplicate", "DISPOSITION-UNFOUNDED"),
        ("quarantined", "accepted", "QUARANTINE-SURPLUS"),
    ],
)
def test_each_disposition_that_was_altered_is_found(
    small: SmallLake, before: str, after: str, code: str
) -> None:
    offset = at(before)
    small.lake.open(LEDGER).update(
        updates={"disposition": f"'{after}'"}, predicate=f'partition = 1 AND "offset" = {offset}'
    )
    differences = [d for d in verify(small).differences if d.code == code]
    assert any(offset in difference.examples and difference.partition == 1 for difference in differences)


@pytest.mark.parametrize("column", ["id_hash", "content_hash"])
@pytest.mark.parametrize("table", [RAW_HL7V2, LEDGER])
def test_hashes_that_were_altered_are_found(small: SmallLake, table: object, column: str) -> None:
    small.lake.open(table).update(  # type: ignore[arg-type]
        updates={column: "12345"}, predicate='partition = 0 AND "offset" = 111'
    )
    assert found(small)["LEDGER-DIFFERS", LEDGER.name].examples == (111,)


@pytest.mark.parametrize("table", [RAW_HL7V2, LEDGER, QUARANTINE, SEGMENT])
def test_rows_that_were_moved_to_another_month_are_found(small: SmallLake, table: object) -> None:
    column = "event_month" if table is SEGMENT else "landed_month"
    offset = at("quarantined") if table is QUARANTINE else 113
    small.lake.open(table).update(  # type: ignore[arg-type]
        updates={column: "DATE '2025-01-01'"}, predicate=f'partition = 0 AND "offset" = {offset}'
    )
    assert found(small)["ROWS-MISPLACED", table.name].examples == (offset,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("table", [RAW_HL7V2, LEDGER, QUARANTINE, SEGMENT])
@pytest.mark.parametrize(
    ("column", "value"),
    [("topic_id", "'another'"), ("partition", "1"), ("partition", "9"), ("offset", "777")],
)
def test_rows_whose_coordinates_were_changed_are_found(
    small: SmallLake, table: object, column: str, value: str
) -> None:
    offset = at("quarantined") if table is QUARANTINE else 113
    small.lake.open(table).update(  # type: ignore[arg-type]
        updates={column: value}, predicate=f'partition = 0 AND "offset" = {offset}'
    )
    differences = [d for d in verify(small).differences if d.table in (table.name, RAW_HL7V2.name)]  # type: ignore[attr-defined]
    assert differences


@pytest.mark.parametrize("table", [LEDGER, QUARANTINE])
def test_rows_of_a_raw_table_that_nobody_knows_are_found(small: SmallLake, table: object) -> None:
    row = {**small._ledger(0, 118, 1), "raw_table": "raw/nothing", "code": "HL7-NO-MSH"}
    small.append(table, [row], {})  # type: ignore[arg-type]
    difference = found(small)["RAW-TABLE-UNKNOWN", table.name]  # type: ignore[attr-defined]
    assert (difference.partition, difference.first, difference.found) == (0, 118, 1)


@pytest.mark.parametrize("table", [RAW_HL7V2, LEDGER, OBSERVATION])
@pytest.mark.parametrize("where", ["body", "footer"])
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_compared(
    small: SmallLake, table: object, where: str
) -> None:
    """Bytes of it were overwritten: its size says nothing."""
    path = small.path_of(table)  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    if where == "body":
        content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    else:
        content[-60:] = bytes(60)
    path.write_bytes(content)
    small.drop_file(SEGMENT, -1)
    differences = found(small)
    assert str(path).endswith(differences["FILE-UNREADABLE", table.name].file)  # type: ignore[attr-defined]
    assert ("ROWS-MISSING", SEGMENT.name) in differences


@pytest.mark.parametrize("table", [RAW_HL7V2, LEDGER, QUARANTINE, OBSERVATION])
@pytest.mark.parametrize("anew", [False, True])
def test_a_table_that_is_gone_or_another_is_found(small: SmallLake, table: object, anew: bool) -> None:
    """Though its rows may count as those of a batch that has not ended, or as nothing that was ever there."""
    names = (*MODALITY.tables, LEDGER, QUARANTINE, RAW_HL7V2)
    claim = Claim(
        "normalise-hl7v2", 1, 1, "a", {"a": 0}, {"a": 1}, {}, "c",
        {name.name: small.lake.table_id(name) for name in names}, RECEIVED, LEDGER.name,
    )  # fmt: skip
    put_claim(small.lake.store, claim)
    assert verify(small).clean(strict=True)
    shutil.rmtree(small.root / table.name)  # type: ignore[attr-defined]
    if anew:
        small.lake.create_missing((table,))  # type: ignore[arg-type]
    code = "TABLE-REPLACED" if anew else "TABLE-MISSING"
    assert (code, table.name) in found(small)  # type: ignore[attr-defined]
