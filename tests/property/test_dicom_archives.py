"""Damaged ZIP files and DICOMDIRs end in codes, whatever is wrong with them."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dicom.dicomdir import referenced
from connectors.dicom.harvest import FINDINGS, Look
from connectors.dicom.places import found_in_zip
from schemas.source import Source
from tests.dicom_files import DATA, small

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def packed(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number in range(3):
            archive.writestr(f"{number}.dcm", small(number)[:2500])
    return file.getvalue()


ZIPS = tuple(packed(method) for method in METHODS)
DICOMDIR = (DATA / "test_files" / "dicomdirtests" / "DICOMDIR").read_bytes()
blows = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from([b"", b"\0", b"\xff", b"\x7f\x80", bytes(9)])),
    min_size=1,
    max_size=8,
)
"""Where, as a share of the length or near the end (where a ZIP file has its directory), and what stands there then."""


def damaged(data: bytes, hits: list[tuple[float, bool, bytes]]) -> bytes:
    for share, near_end, instead in hits:
        at = int(len(data) - 1 - share * 300) if near_end else int(share * (len(data) - 1))
        data = data[:at] + instead + data[at + max(1, len(instead)) :]
    return data


@given(st.sampled_from(ZIPS), blows)
def test_members_of_damaged_zip_files_are_read_or_told(
    data: bytes, hits: list[tuple[float, bool, bytes]]
) -> None:
    look = Look(Source("pacs"), "raw.dicom", 1024, lambda path, data: (path, data))
    broken = damaged(data, hits)
    codes = [look(found).code for found in found_in_zip("file:///x.zip", lambda: io.BytesIO(broken))]
    assert set(codes) <= {"", *FINDINGS}


@pytest.mark.filterwarnings("ignore")
@given(blows)
def test_a_damaged_dicomdir_names_files_or_nothing(hits: list[tuple[float, bool, bytes]]) -> None:
    found = referenced(damaged(DICOMDIR, hits))
    assert found is None or all(isinstance(name, str) for name in found)
