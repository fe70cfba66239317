"""Compile what reading messages takes: ``python -m jobs.compile_kernels``, at the end of ``make setup``.

Kernels are compiled when they are first called, which would otherwise cost the first batch on a machine half a minute.
"""

from __future__ import annotations

import time
import tomllib
from datetime import UTC, datetime

import pyarrow as pa

from jobs.city.result_files import FileDrops
from jobs.city.traffic import City, Transport
from jobs.result_file_mapping import MappingFile
from pipelines.hl7v2.modality import HL7V2
from pipelines.lab.modality import LAB
from schemas.source import NO_SOURCES, Source, Sources
from schemas.table import INSTANT

_MESSAGES = 1_500
"""So many of the city's messages bring every family, charset and oddity."""


def main() -> None:
    """Read messages of the synthetic city once."""
    started = time.monotonic()
    read_city(_MESSAGES)
    read_files()
    print(f"kernels compiled in {time.monotonic() - started:.0f} s")  # noqa: T201 - what make shows


def read_city(count: int) -> None:
    """Read so many of the city's messages, for the sake of the kernels."""
    messages = [planned.payload for planned in City(1, Transport.FILES).messages(count)]
    source = NO_SOURCES.get("city")
    HL7V2.envelopes(messages, [source] * len(messages))
    raw = pa.table(
        {
            "payload": pa.array(messages, pa.binary()),
            "source": pa.array([source.name] * len(messages)),
            "received_at": pa.array([datetime.now(UTC)] * len(messages), INSTANT),
        }
    )
    HL7V2.parse(raw, NO_SOURCES)


def read_files() -> None:
    """Read a file of each of the city's clinics."""
    for file in FileDrops(1).files(1):
        mapping = MappingFile(**tomllib.loads(file.clinic.mapping)).result_file()
        source = Source(file.clinic.source, result_file=mapping)
        raw = pa.table(
            {
                "payload": pa.array([file.payload], pa.binary()),
                "source": pa.array([source.name]),
                "received_at": pa.array([datetime.now(UTC)], INSTANT),
            }
        )
        LAB.parse(raw, Sources.of(source))


if __name__ == "__main__":
    main()
