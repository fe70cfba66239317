"""Headers of whatever bytes: each is read or put aside with a code, whatever else is in the batch."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipelines.dicom.modality import DICOM
from schemas.findings import FINDINGS
from schemas.modality import Parsed
from schemas.source import NO_SOURCES, Source
from schemas.table import INSTANT
from tests.dicom_headers import ROOT, dose_report, header, note

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
HEADERS = (
    header(PatientName="Li^Wei=\u674e^\u4f1f", SpecificCharacterSet="ISO_IR 192", CTDIvol=7.5),
    header(ImplicitVRLittleEndian, ImageType=["ORIGINAL", "PRIMARY"]),
    header(DeflatedExplicitVRLittleEndian),
    dose_report(),
    note("113001", f"{ROOT}1.1.1"),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header of which some bytes are others, more, or missing."""
    made = bytearray(draw(st.sampled_from(HEADERS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(made)))
        more = draw(st.binary(max_size=12))
        gone = draw(st.integers(0, 12))
        made[at : at + gone] = more
    return bytes(made[: draw(st.integers(0, len(made)))] if draw(st.booleans()) else made)


def parse(payloads: list[bytes]) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": ["pacs"] * len(payloads),
            "received_at": pa.array([RECEIVED] * len(payloads), INSTANT),
        }
    )
    return DICOM.parse(raw, NO_SOURCES)


@settings(max_examples=150, deadline=None)
@given(st.lists(damaged() | st.binary(max_size=400), min_size=1, max_size=4))
def test_any_bytes_are_read_or_put_aside(payloads: list[bytes]) -> None:
    parsed = parse(payloads)
    read, aside = parsed.messages.column("row").to_pylist(), parsed.unreadable.column("row").to_pylist()
    assert sorted([*read, *aside]) == list(range(len(payloads)))
    problems = DICOM.envelopes(payloads, [Source("pacs")] * len(payloads)).column("problem").to_pylist()
    assert [problem is not None for problem in problems] == [row in aside for row in range(len(payloads))]
    told = {code for codes in parsed.messages.column("codes").to_pylist() for code in codes}
    assert told | set(parsed.unreadable.column("code").to_pylist()) <= FINDINGS.keys()
    for name, rows in parsed.tables.items():
        places = rows.column("row").to_pylist()
        keys = list(zip(places, rows.column("segment_index").to_pylist(), strict=True))
        assert len(set(keys)) == len(keys), name
        for number in set(places):  # alone as among others
            alone = parse([payloads[number]]).tables[name]
            mine = rows.filter(pa.array([one == number for one in places]))
            columns = [one for one in alone.column_names if one != "row"]
            assert alone.select(columns).to_pylist() == mine.select(columns).to_pylist()
    if "normalised/imaging_instance" in parsed.tables:
        for text in parsed.tables["normalised/imaging_instance"].column("attributes").to_pylist():
            json.loads(text)
