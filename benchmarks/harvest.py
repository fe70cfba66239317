"""``phl harvest``: headers a second until Kafka has confirmed them, from a folder, a ZIP file and an S3 bucket.

``python -m benchmarks.harvest [--files N] [--objects N]``; starts its own Kafka and S3 store, which share the machine
with it. The objects are CT slices of 38 KB with headers of 6 KB and 260 elements. Beside it pydicom alone, which reads
the same headers and sends them nowhere: of a folder as its documentation shows, of S3 from boto3's ranges.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pydicom

from benchmarks.cluster import Cluster, cluster
from benchmarks.measure import PeakMemory, show
from lake_layout.location import LakeLocation
from lake_layout.objects import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SLICE: Final = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
_IN_FOLDER: Final = 200
_RANGE: Final = "bytes=0-16383"


def slices(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of slices, each with an instance UID of its own."""
    data = SLICE.read_bytes()
    uid = pydicom.dcmread(SLICE, stop_before_pixels=True).SOPInstanceUID.encode()
    for number in range(count):
        own = (b"1.2.826.0.1.3680043.8.498.%d" % (10**7 + number)).ljust(len(uid), b"1")[: len(uid)]
        yield f"{number // _IN_FOLDER:04}/{number:07}.dcm", data.replace(uid, own)


def fill_folder(folder: Path, count: int) -> None:
    """Files as an archive has them."""
    for name, data in slices(count):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def fill_zip(file: Path, count: int) -> None:
    """The same in a ZIP file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in slices(count):
            archive.writestr(name, data)


def fill_bucket(client: S3Client, bucket: str, count: int) -> None:
    """The same in a bucket."""
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda one: client.put_object(Bucket=bucket, Key=f"archive/{one[0]}", Body=one[1]), slices(count)
        ):
            pass


def harvested(services: Cluster, uri: str, source: str, count: int) -> tuple[str, ...]:
    """A run of the command: what starting it takes is measured by itself, with a single header."""

    def run(*more: str) -> tuple[float, int, float]:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli.main", "harvest", uri, "--source", source, "--json", *more],
            env=services.env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with PeakMemory(process.pid) as memory:
            out, _ = process.communicate()
        assert process.returncode == 0
        return time.perf_counter() - started, json.loads(out)["delivered"], memory.peak

    start, first, _ = run("--limit", "1")
    whole, rest, peak = run()
    assert first + rest == count
    return f"{rest / max(whole - start, 0.001):,.0f}", f"{rest / whole:,.0f}", f"{start:.1f}", f"{peak:,.0f}"


def peer(read: Callable[[str], pydicom.Dataset], names: Iterable[str]) -> tuple[str, ...]:
    """Headers a second of pydicom, in this process."""
    started = time.perf_counter()
    count = 0
    for name in names:
        assert read(name).SOPInstanceUID
        count += 1
    rate = f"{count / (time.perf_counter() - started):,.0f}"
    return rate, rate, "", ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="in the folder and in the ZIP file")
    parser.add_argument("--objects", type=int, default=6_000, help="in the S3 bucket")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="phl-bench-") as name:
        folder = Path(name)
        archive, packed = folder / "archive", folder / "archive.zip"
        fill_folder(archive, options.files)
        fill_zip(packed, options.files)
        with cluster(folder) as services:
            env = services.env
            env["PHL_LOG_LEVEL"] = "error"  # the sources are not configured, which is warned of
            bucket = urlsplit(env["PHL_LAKE_URI"]).netloc
            client = s3_client(
                LakeLocation(
                    f"s3://{bucket}/",
                    env["PHL_S3_ENDPOINT"],
                    env["PHL_S3_ACCESS_KEY"],
                    env["PHL_S3_SECRET_KEY"],
                )
            )
            fill_bucket(client, bucket, options.objects)
            subprocess.run(
                [sys.executable, "-m", "jobs.cli.main", "harvest", str(archive), "-s", "warm", "--limit", "1"],
                env=env, check=True, capture_output=True,
            )  # fmt: skip
            places = (
                ("folder", str(archive), options.files),
                ("ZIP file", str(packed), options.files),
                ("S3", f"s3://{bucket}/archive", options.objects),
            )
            for number, (place, uri, count) in enumerate(places):
                rows.append((f"phl harvest, {place}", *harvested(services, uri, f"bench-{number}", count)))

            def ranged(key: str) -> pydicom.Dataset:
                answer = client.get_object(Bucket=bucket, Key=f"archive/{key}", Range=_RANGE)
                return pydicom.dcmread(io.BytesIO(answer["Body"].read()), stop_before_pixels=True)

            names = [one for one, _ in slices(max(options.files, options.objects))]
            rows.append(
                (
                    "pydicom, folder",
                    *peer(
                        lambda one: pydicom.dcmread(archive / one, stop_before_pixels=True),
                        names[: options.files],
                    ),
                )
            )
            rows.append(("pydicom, S3 by boto3", *peer(ranged, names[: options.objects])))
    show(
        "harvest, every header confirmed by Kafka",
        ("CT slices", "headers/s", "with the start", "start s", "peak MiB"),
        rows,
    )


if __name__ == "__main__":
    main()
