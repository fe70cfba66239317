"""DICOM headers alone, on one core: envelopes and tables beside pydicom.

``python -m benchmarks.dicom_parse [--headers N]``; no services.
"""

from __future__ import annotations

import argparse
from io import BytesIO

import pydicom

from benchmarks.hl7_parse import rate, raw_rows
from benchmarks.measure import show
from connectors.dicom.header import Cut, find_cut
from jobs.city.studies import studies_of
from pipelines.dicom.modality import DICOM
from schemas.source import NO_SOURCES, Source


def headers(count: int) -> list[bytes]:
    """Headers: half of them of the city's images, half of a CT slice with many private elements."""
    path = next(path for path in pydicom.data.get_testdata_files("CT_small.dcm"))
    with open(path, "rb") as file:  # noqa: PTH123 - a path as pydicom gives it
        slice_ = file.read()
    found = [find_cut(data, ended=True) for data in (slice_, *(one.payload for one in studies_of(1)[1]))]
    made = [one.header for one in found if isinstance(one, Cut)]
    return [made[0] if number % 2 else made[1 + number % (len(made) - 1)] for number in range(count)]


def _json(data: bytes) -> object:
    return pydicom.dcmread(BytesIO(data), stop_before_pixels=True).to_json_dict()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headers", type=int, default=4_000)
    count = parser.parse_args().headers
    payloads = headers(count)
    raw, sources = raw_rows(payloads), [Source("bench")] * count
    few = payloads[: max(1, count // 10)]
    rows = [
        ("envelopes", f"{rate(lambda: DICOM.envelopes(payloads, sources), count):,.0f}"),
        ("tables", f"{rate(lambda: DICOM.parse(raw, NO_SOURCES), count):,.0f}"),
        ("pydicom, as DICOM JSON", f"{rate(lambda: [_json(one) for one in few], len(few)):,.0f}"),
    ]
    show("DICOM headers, one core", ("what", "headers/s"), rows)


if __name__ == "__main__":
    main()
