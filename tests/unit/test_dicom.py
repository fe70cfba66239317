"""Headers of DICOM files: what is read of them, and what is told of those that deviate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.dicom.modality import DICOM
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT
from tests.dicom_headers import ROOT, header

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)


def parse(*payloads: bytes, **settings: Any) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": ["pacs"] * len(payloads),
            "received_at": pa.array([RECEIVED] * len(payloads), INSTANT),
        }
    )
    return DICOM.parse(raw, Sources.of(Source("pacs", **settings)))


def row_of(table: str, payload: bytes, **settings: Any) -> dict[str, Any]:
    parsed = parse(payload, **settings)
    assert not parsed.unreadable.num_rows, parsed.unreadable.to_pylist()
    found: list[dict[str, Any]] = parsed.tables[f"normalised/{table}"].to_pylist()
    assert len(found) == 1
    return found[0]


def envelope(payload: bytes, source: str = "pacs") -> dict[str, Any]:
    found: dict[str, Any] = DICOM.envelopes([payload], [Source(source)]).to_pylist()[0]
    return found


def test_the_envelope_names_the_instance() -> None:
    found = envelope(header())
    assert (found["control_id"], found["message_type"], found["sent_date"]) == (
        f"{ROOT}1.1.1", "DICOM^CT", "20260301",
    )  # fmt: skip
    assert found["problem"] is None


def test_an_instance_states_study_series_and_itself() -> None:
    payload = header(SliceThickness="1.25", SeriesNumber=3)
    study = row_of("imaging_study", payload)
    assert (study["study_instance_uid"], study["patient_id"]) == (f"{ROOT}1", "P1")
    assert study["started"] == datetime(2026, 3, 1, 0, 15, tzinfo=UTC)
    assert (study["started_precision"], study["started_offset"]) == ("second", 480)
    series = row_of("imaging_series", payload)
    assert (series["series_instance_uid"], series["number"]) == (f"{ROOT}1.1", 3)
    instance = row_of("imaging_instance", payload)
    assert (instance["sop_instance_uid"], instance["slice_thickness"]) == (f"{ROOT}1.1.1", 1.25)
    assert instance["is_image"]
    assert instance["codes"] == []


@pytest.mark.parametrize("payload", [b"", b"MSH|^~\\&|", b"\0" * 200])
def test_other_bytes_are_put_aside(payload: bytes) -> None:
    assert parse(payload).unreadable.column("code").to_pylist() == ["DICOM-NOT-DICOM"]
    assert envelope(payload)["problem"] == "DICOM-NOT-DICOM"
