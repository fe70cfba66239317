"""``phl objects check`` on a lake in a folder: what is missing, damaged, or named by nothing."""

from __future__ import annotations

import hashlib
import os
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.check_objects import Elsewhere, Wanted, check_objects
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from quality.objects import Named, ObjectsReport
from schemas.modality import object_path
from schemas.tables import OBSERVATION, RAW_HL7V2
from tests.small_lake import MODALITY, SmallLake

NO_GRACE = timedelta(hours=-1)


class Setting:
    """A lake with a large message (offset 100) and a document (of the message at 101)."""

    def __init__(self, location: LakeLocation) -> None:
        self.small = SmallLake(location)
        self.small.lake.create_missing((RAW_HL7V2, OBSERVATION))
        self.message = self.put("hl7v2", b"a large message")
        self.document = self.put("documents", b"a document" * 1_000_000)
        raw = {**self.small._raw(0, 100), "object_path": self.message, "size": 15}
        gone = {**self.small._raw(0, 125), "object_path": "objects/hl7v2/gone", "problem": "OBJECT-MISSING"}
        row = {
            **self.small._origin(0, 101, 1),
            "segment_index": 1,
            "line": 0,
            "value_object_path": self.document,
            "value_size": 10_000_000,
        }
        self.small.append(RAW_HL7V2, [raw, gone], {})
        self.small.append(OBSERVATION, [row, {**row, "segment_index": 2}], {})

    def put(self, kind: str, data: bytes) -> str:
        path = object_path(kind, hashlib.sha256(data).hexdigest())
        open_store(self.small.location).put(path, data)
        return path

    def check(self, *, deep: bool = True, grace: timedelta = NO_GRACE) -> ObjectsReport:
        return check_objects(self.small.lake, [MODALITY], None, Wanted(deep=deep, grace=grace))


@pytest.fixture
def setting(local_location: LakeLocation) -> Setting:
    return Setting(local_location)


def test_all_is_there(setting: Setting) -> None:
    report = setting.check()
    assert report.clean(strict=True)
    assert (report.rows, report.named, report.listed, report.hashed) == (3, 2, 2, 2)
    assert not report.kafka_asked


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.unlink(), "OBJECT-MISSING"),
        (lambda path: os.truncate(path, 5), "OBJECT-SIZE"),
        (lambda path: path.write_bytes(b"A document" * 1_000_000), "OBJECT-HASH"),
    ],
)
def test_what_is_wrong_with_an_object_is_said_of_its_rows(
    setting: Setting, damage: object, code: str
) -> None:
    assert callable(damage)
    damage(setting.small.root / setting.document)
    report = setting.check()
    (fault,) = report.faults
    assert (fault.code, fault.table, fault.objects, fault.rows) == (code, "normalised/observation", 1, 2)
    assert (fault.partition, fault.offset, fault.paths) == (0, 101, (setting.document,))
    assert not report.clean(strict=False)
    assert setting.check(deep=False).clean(strict=False) == (code == "OBJECT-HASH")


def test_what_nothing_names_is_listed_once_it_is_old(setting: Setting) -> None:
    orphan = setting.put("dicom", b"nobody knows me")
    report = setting.check()
    assert (report.orphans, report.orphan_bytes, report.orphan_paths) == (1, 15, (orphan,))
    assert (report.clean(strict=False), report.clean(strict=True)) == (True, False)
    young = setting.check(grace=timedelta(hours=1))
    assert (young.orphans, young.young) == (0, 1)
    assert young.clean(strict=True)


def test_what_lies_elsewhere_is_looked_at_where_it_lies(tmp_path: Path, local_location: LakeLocation) -> None:
    name = "王 a%b.dcm"
    (tmp_path / name).write_bytes(b"12345")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/b.dcm", b"123")
    (tmp_path / "bad.zip").write_bytes(b"no ZIP")
    looked = Elsewhere(local_location)
    for uri, size, code in (
        ((tmp_path / name).as_uri(), 5, None),
        ((tmp_path / name).as_uri(), 6, "OBJECT-SIZE"),
        (f"{tmp_path.as_uri()}/gone.dcm", 5, "OBJECT-MISSING"),
        (f"{tmp_path.as_uri()}/x.zip!/a/b.dcm", 3, None),
        (f"{tmp_path.as_uri()}/x.zip!/a/b.dcm", 4, "OBJECT-SIZE"),
        (f"{tmp_path.as_uri()}/x.zip!/a/c.dcm", 4, "OBJECT-MISSING"),
        (f"{tmp_path.as_uri()}/bad.zip!/a/c.dcm", 4, "OBJECT-UNREACHABLE"),
        ("ftp://archive/1.dcm", 4, "OBJECT-UNREACHABLE"),
    ):
        assert looked.wrong(Named(uri, size, "")) == code
