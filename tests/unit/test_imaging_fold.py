"""What is so now of studies, series and instances, in whatever order their headers come; and the views over them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.imaging_views import show_imaging
from jobs.lake_views import show
from pipelines.dicom.modality import DICOM
from pipelines.fold import join, laid, read, state_of
from pipelines.identity_edges import seen_in_images
from schemas.fold import Fold
from schemas.source import Source, Sources
from schemas.table import INSTANT
from schemas.tables.curated import FOLDS, curated
from schemas.tables.identity import PERSON_IDENTIFIER
from tests.dicom_headers import ROOT, coded, dose_report, header, item, note
from tests.stated_rows import RECEIVED, stated_rows

BY_NAME = {fold.table.name.removeprefix("normalised/"): fold for fold in FOLDS}
SOURCES = Sources.of(Source("pacs", institution="HOSPITAL", patient_authorities=("CITY",)), Source("clinic"))
FIRST, SECOND = f"{ROOT}1.1.1", f"{ROOT}1.1.2"


def rows_of(headers: Sequence[bytes], order: Sequence[int] = (), source: str = "pacs") -> dict[str, pa.Table]:
    """Rows of headers that arrive in their order; ``order`` tells when else."""
    tables = stated_rows([(one, source) for one in headers], SOURCES, DICOM)
    if not order:
        return tables
    moved = {}
    for name, rows in tables.items():
        place = [order.index(offset) for offset in rows.column("offset").to_pylist()]
        received = pa.array([RECEIVED + timedelta(seconds=one) for one in place], INSTANT)
        stated = rows.column("version_time").to_pylist()
        was = rows.column("received_at").to_pylist()
        version = [
            new if old == at else old for new, old, at in zip(received.to_pylist(), stated, was, strict=True)
        ]
        for column, values in (
            ("offset", pa.array(place, pa.int64())), ("received_at", received),
            ("version_time", pa.array(version, INSTANT)),
        ):  # fmt: skip
            rows = rows.set_column(rows.schema.get_field_index(column), column, values)  # noqa: PLW2901
        moved[name] = rows
    return moved


def state(fold: Fold, tables: dict[str, pa.Table], parts: int = 1) -> pa.Table:
    """The state of rows, made of some parts."""
    states = []
    for part in range(parts):
        some = {
            name: rows.filter(pc.equal(pc.bit_wise_and(rows.column("offset"), parts - 1), part))
            for name, rows in tables.items()
        }
        own = some.pop(fold.table.name, fold.table.arrow_schema.empty_table())
        states.append(state_of(fold, own, echoes=some, sources=SOURCES))
    return join(fold, *states)


def now(table: str, headers: Sequence[bytes], order: Sequence[int] = ()) -> list[dict[str, Any]]:
    fold = BY_NAME[table]
    tables = rows_of(headers, order)
    whole = read(fold, state(fold, tables))
    assert whole.equals(read(fold, state(fold, tables, 4)))
    found: list[dict[str, Any]] = whole.to_pylist()
    return found


def test_the_later_arrival_of_an_instance_counts() -> None:
    sent = [header(SeriesDescription="x", Rows=4), header(SeriesDescription="y", Rows=8)]
    for order, rows in (((0, 1), 8), ((1, 0), 4)):
        (found,) = now("imaging_instance", sent, order)
        assert found["rows"] == rows


@pytest.mark.parametrize("code", ["113001", "113037", "113038"])
def test_what_was_rejected_stays_away(code: str) -> None:
    sent = [header(), header(SOPInstanceUID=SECOND), note(code, FIRST), header(Rows=9)]
    for order in itertools.permutations(range(4)):
        uids = {one["sop_instance_uid"] for one in now("imaging_instance", sent, order)}
        assert uids == {SECOND, f"{ROOT}1.9.1"}


def test_what_expired_comes_back_with_what_arrives_later() -> None:
    sent = [header(), note("113039", FIRST)]
    assert {one["sop_instance_uid"] for one in now("imaging_instance", sent, (0, 1))} == {f"{ROOT}1.9.1"}
    assert {one["sop_instance_uid"] for one in now("imaging_instance", sent, (1, 0))} == {
        FIRST, f"{ROOT}1.9.1",
    }  # fmt: skip
    (away,) = now("imaging_rejection", sent)
    assert (away["sop_instance_uid"], away["status"], away["reason"]) == (FIRST, "expired", "113039")


def test_other_notes_take_nothing_away() -> None:
    sent = [header(), note("113000", FIRST)]  # of interest
    assert len(now("imaging_instance", sent)) == 2
    assert now("imaging_rejection", sent) == []


def test_a_study_is_told_field_by_field_and_once_for_each_patient() -> None:
    sent = [
        header(StudyDescription="Chest", AccessionNumber="A1"),
        header(SOPInstanceUID=SECOND, AccessionNumber="A1", StudyID="7"),
        header(SOPInstanceUID=f"{ROOT}1.1.3", PatientID="P2", PatientName="Wang^Fang"),
    ]
    for order in itertools.permutations(range(3)):
        found = {one["patient_id"]: one for one in now("imaging_study", sent, order)}
        assert found.keys() == {"P1", "P2"}
        assert (found["P1"]["description"], found["P1"]["study_id"]) == ("Chest", "7")
        assert found["P2"]["patient_name_alphabetic"] == "Wang^Fang"


def test_dose_of_a_report_replaces_what_slices_state_whenever_it_comes() -> None:
    sent = [header(CTDIvol=7.1), header(SOPInstanceUID=SECOND, CTDIvol=7.2), dose_report()]
    slices = now("observation", sent[:2])
    assert [(one["observation_code"], one["value_number"], one["sub_id"]) for one in slices] == [
        ("113830", 7.2, f"{ROOT}1.1"),
    ]  # fmt: skip
    for order in itertools.permutations(range(3)):
        found = {
            (one["service_code"], one["observation_code"]): (
                one["value_number"],
                one["unit_code"],
                one["status"],
            )
            for one in now("observation", sent, order)
        }
        assert found == {
            ("113701", "113812"): (1.0, "{events}", "F"),
            ("113701", "113813"): (250.5, "mGy.cm", "F"),
            ("113701", "113830"): (7.5, "mGy", "F"),
            ("113701", "113838"): (250.5, "mGy.cm", "F"),
            ("73569-6", "113830"): (None, None, "X"),
        }


def test_dose_of_a_report_that_comes_again_replaces_the_former() -> None:
    totals = [
        one["value_number"]
        for one in now("observation", [dose_report(), dose_report(total="300", uid=f"{ROOT}1.8.2")])
        if one["observation_code"] == "113813"
    ]
    assert totals == [300.0]


def views(*headers: bytes, orders: Sequence[dict[str, Any]] = (), clinic: Sequence[bytes] = ()) -> Any:
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone='UTC'")
    tables = rows_of(headers)
    for name, rows in rows_of(clinic, source="clinic").items() if clinic else ():
        tables[name] = pa.concat_tables([tables[name], rows.cast(tables[name].schema)])
    for fold in FOLDS:
        table = curated(fold)
        rows = laid(fold, state(fold, tables))
        if table.name == "curated/service_request" and orders:
            filled = [
                {"since": RECEIVED, "weak": False, "echo": False, "shown": True, "kept": True, **one}
                for one in orders
            ]
            rows = pa.Table.from_pylist(
                filled, schema=pa.schema([f.with_nullable(True) for f in rows.schema])
            )
        show(connection, table, rows)
    show(connection, PERSON_IDENTIFIER, PERSON_IDENTIFIER.arrow_schema.empty_table())
    show_imaging(connection, [*map(curated, FOLDS), PERSON_IDENTIFIER])
    return connection


def test_counts_follow_what_is_there() -> None:
    late = header(SOPInstanceUID=f"{ROOT}1.2.1", SeriesInstanceUID=f"{ROOT}1.2", Modality="CT")
    connection = views(
        header(), header(Rows=8), header(SOPInstanceUID=SECOND), late, dose_report(), note("113001", SECOND)
    )
    assert connection.execute(
        "SELECT instances, images, series, modalities, patients, sources FROM curated_imaging.study"
    ).fetchall() == [(4, 2, 4, ["CT", "KO", "SR"], 1, 1)]
    assert connection.execute(
        "SELECT series_instance_uid, instances, images FROM curated_imaging.series ORDER BY 1"
    ).fetchall() == [
        (f"{ROOT}1.1", 1, 1), (f"{ROOT}1.2", 1, 1), (f"{ROOT}1.8", 1, 0), (f"{ROOT}1.9", 1, 0),
    ]  # fmt: skip


def test_a_study_of_two_patients_or_two_sources_is_marked() -> None:
    connection = views(header(), header(SOPInstanceUID=SECOND, PatientID="P2"), clinic=[header()])
    found = connection.execute(
        "SELECT source, patient_id, instances, patients, sources FROM curated_imaging.study ORDER BY ALL"
    ).fetchall()
    assert found == [("clinic", "P1", 1, 1, 2), ("pacs", "P1", 1, 2, 2), ("pacs", "P2", 1, 2, 2)]
    # sent again with the right patient, nothing is left of the wrong one
    connection = views(header(PatientID="P2"), header())
    found = connection.execute("SELECT patient_id, instances, patients FROM curated_imaging.study ORDER BY 1")
    assert found.fetchall() == [("P1", 1, 1), ("P2", 0, 1)]


def test_a_study_has_its_request() -> None:
    asked = [
        {"key_hash": 7, "source": "ris", "filler_order": "A2", "patient_id": "P1", "state": "CM",
         "service_code": "CTC", "institution": "HOSPITAL"},
        {"key_hash": 8, "source": "ris", "filler_order": "A2", "patient_id": "P9", "state": "CM",
         "service_code": "MRI", "institution": "ELSEWHERE"},
    ]  # fmt: skip
    requests = [item(AccessionNumber="A1"), item(AccessionNumber="A2", RequestedProcedureID="R1")]
    connection = views(header(RequestAttributesSequence=requests), orders=asked)
    assert connection.execute(
        "SELECT accession_number, request_key, request_status, request_code, patient_confirmed, report_key "
        "FROM curated_imaging.study"
    ).fetchall() == [("A1", 7, "CM", "CTC", True, None)]


def test_a_study_whose_report_is_of_another_template_states_no_dose() -> None:
    title = [coded("121181", "DICOM Object Catalog")]
    sent = header(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", ConceptNameCodeSequence=title)
    assert now("observation", [sent]) == []


def test_patients_of_images_are_seen_at_the_time_of_the_study() -> None:
    others = [item(PatientID="ID9", IssuerOfPatientID="CITY")]
    sent = [
        header(OtherPatientIDsSequence=others), header(SOPInstanceUID=SECOND, StudyDate="20200105"),
        header(SOPInstanceUID=f"{ROOT}1.1.3", StudyDate="20990101"),
        header(SOPInstanceUID=f"{ROOT}1.1.4", PatientID=""),
    ]  # fmt: skip
    (found,) = seen_in_images(rows_of(sent)["normalised/imaging_study"]).to_pylist()
    assert (found["value"], found["authority"], found["patient_key"]) == ("P1", "CITY", found["key"])
    assert found["first_seen"] == datetime(2020, 1, 5, 0, 15, tzinfo=UTC)
    assert found["last_seen"] == RECEIVED + timedelta(seconds=2)  # no clock is ahead of its message's receipt
