"""The city's images: the same each time, and their truth is what the reader makes of them."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from connectors.dicom.header import Cut, find_cut
from jobs.city.studies import ARCHIVES, SENDING, Image, Studies, studies_of
from pipelines.dicom.modality import DICOM
from pipelines.fold import read, state_of
from schemas.source import Sources
from schemas.tables.curated import FOLDS
from tests.stated_rows import stated_rows

SOURCES = Sources.of(*(archive.settings() for archive in ARCHIVES))


def header_of(image: Image) -> bytes:
    found = find_cut(image.payload, ended=True)
    assert isinstance(found, Cut)
    return found.header


def stated(images: list[Image]) -> dict[str, pa.Table]:
    return stated_rows([(header_of(image), image.archive.source) for image in images], SOURCES, DICOM)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, date):
        return value.isoformat()
    return tuple(value) if isinstance(value, list) else value


def test_the_same_seed_gives_the_same_bytes() -> None:
    once, again, other = ([one.payload for one in studies_of(seed)[1]] for seed in (3, 3, 4))
    assert once == again != other


def test_every_row_is_what_the_truth_says() -> None:
    studies, images = studies_of(7)
    read_ones = [one for one in images if one.expected.disposition != "duplicate"]
    found = stated(read_ones)
    for name, rows in found.items():
        told = studies.truth.tables.get(name, [])
        columns = sorted({column for row in told for column in row} - {"control_id"})
        wanted = Counter(tuple(plain(row.get(column)) for column in columns) for row in told)
        there = Counter(tuple(plain(row[column]) for column in columns) for row in rows.to_pylist())
        assert wanted == there, name
    assert {one.archive.declares for one in images} == {"ISO_IR 192", "GB18030"}
    assert {"CT", "MR", "US", "CR", "SR", "KO"} <= {
        row["modality"] for row in studies.truth.tables["normalised/imaging_instance"]
    }


def test_what_is_so_at_the_end_is_what_the_city_knows() -> None:
    studies, images = studies_of(7)
    tables = stated(images)
    (fold,) = (one for one in FOLDS if one.table.name == "normalised/imaging_instance")
    own = tables.pop(fold.table.name)
    now = read(fold, state_of(fold, own, echoes=tables, sources=SOURCES)).to_pylist()
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in now:
        key = row["source"], row["study_instance_uid"], row["patient_id"]
        count, pictures = found.get(key, (0, 0))
        found[key] = (count + 1, pictures + row["is_image"])
    assert found == {key: one[:2] for key, one in studies.now().items()}


def test_studies_may_come_in_portions() -> None:
    studies = Studies(1)
    first, second = (
        {one.expected.control_id for one in studies.images(SENDING, range(at, at + 4))} for at in (1, 5)
    )
    assert not first & second
    assert len({uid for _, uid, _ in studies.now()}) == 8
