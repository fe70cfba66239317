"""Reading result files of laboratories: rows a second, beside Python's csv module and pyarrow's reader in the same run.

The csv module and pyarrow only split the lines into texts; neither reads a date, a value or a code.
"""

from __future__ import annotations

import csv
import io
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv

from benchmarks.measure import show
from jobs.city.result_files import CLINICS, Clinic
from jobs.result_file_mapping import MappingFile
from pipelines.lab.modality import LAB
from schemas.source import Source, Sources
from schemas.table import INSTANT

ROWS = 200_000
_HEAD = "条码,病人号,姓名,出生日期,性别,项目代码,项目名称,结果,单位,参考范围,状态,报告时间,采样时间"
_VALUES = (
    "5.1",
    "12.75",
    "140",
    "0.8",
    "7.35",
    "96",
    "3.2",
    "<0.5",
    "4.4",
    "阴性(-)",
    "6.0",
    "18",
    "3.5～5.5",
    "41",
)


def lines_of(rows: int) -> str:
    """A clinic's export of so many results, ten to an order."""
    lines = [_HEAD]
    for number in range(rows):
        order = number // 10
        lines.append(
            f"B{order:08d},T{order % 50_000:06d},王小{order % 97},19{order % 70 + 20}-0{order % 9 + 1}-11,男,"
            f"T{number % 10:03d},项目{number % 10},{_VALUES[number % len(_VALUES)]},mmol/L,3.5-5.5,已审核,"
            f"2026-03-{order % 27 + 1:02d} 1{number % 10}:{order % 60:02d}:00,"
            f"2026-03-{order % 27 + 1:02d} 08:{order % 60:02d}:00"
        )
    return "\n".join((*lines, ""))


def best_of(times: int, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of CPU, of the quickest of some runs."""
    found = []
    for _ in range(times):
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - clock, time.process_time() - cpu))
    return min(found)


def read(payload: bytes, clinic: Clinic) -> int:
    """Rows of observations that a file becomes."""
    source = Source(
        clinic.source,
        institution=clinic.code,
        result_file=MappingFile(**tomllib.loads(clinic.mapping)).result_file(),
    )
    raw = pa.table(
        {
            "payload": pa.array([payload], pa.binary()),
            "source": [source.name],
            "received_at": pa.array([datetime(2026, 6, 1, tzinfo=UTC)], INSTANT),
        }
    )
    return int(LAB.parse(raw, Sources.of(source)).tables["normalised/observation"].num_rows)


def main(rows: int = ROWS) -> None:
    """Print the table."""
    text = lines_of(rows)
    payload = text.encode()
    utf8 = CLINICS[0]
    fixed = CLINICS[3]
    narrow = "".join(
        f"B{number // 10:08d}   T{number // 10 % 50_000:06d}     T{number % 10:03d}    ITEM{number % 10:<12}"
        f"{number % 90 / 10:<14}mmol/L    F20260301100000202603010800\n"
        for number in range(rows)
    ).encode()
    read(payload[: len(payload) // 100].rpartition(b"\n")[0], utf8)  # compiles
    read(narrow[: len(narrow) // 100].rpartition(b"\n")[0], fixed)
    gb18030 = text.encode("gb18030")
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "phl, CSV in UTF-8, into tables": (len(payload), lambda: read(payload, utf8)),
        "phl, fixed widths in bytes, into tables": (len(narrow), lambda: read(narrow, fixed)),
        "csv module, texts only": (len(payload), lambda: list(csv.reader(io.StringIO(payload.decode())))),
        "pyarrow.csv, texts only": (len(payload), lambda: pyarrow.csv.read_csv(io.BytesIO(payload))),
        "csv module, texts only, GB 18030": (
            len(gb18030),
            lambda: list(csv.reader(io.StringIO(gb18030.decode("gb18030")))),
        ),
    }
    found = []
    for name, (size, work) in works.items():
        seconds, cpu = best_of(3, work)
        found.append((name, f"{rows / seconds:,.0f}", f"{size / seconds / 1e6:.0f}", f"{cpu:.2f}"))
    show(f"result files of {rows:,} rows", ("", "rows/s", "MB/s", "s of CPU"), found)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
