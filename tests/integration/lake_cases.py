"""What the tests of the lake share: small tables, a stage over them, rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pyarrow as pa

from lake_layout.claims import Claim
from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake
from lake_layout.stage import Plan, Progress, Stage, begin_batch, commit_table
from schemas.table import INSTANT, Field, Table

MARCH = date(2026, 3, 1)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
TOPIC_ID = "qUCfKMB-QT6m9rXCjyCLzw"


def small_table(name: str) -> Table:
    return Table(
        name=name,
        doc="A table of a test.",
        fields=(
            Field("month", pa.date32(), "Month."),
            Field("topic_id", pa.string(), "Topic.", nullable=False),
            Field("partition", pa.int32(), "Partition.", nullable=False),
            Field("offset", pa.int64(), "Offset.", nullable=False),
            Field("received_at", INSTANT, "Received."),
            Field("payload", pa.binary(), "Bytes."),
            Field("codes", pa.list_(pa.string()), "Codes."),
        ),
        partition_by="month",
        sort_by=("topic_id", "partition", "offset"),
        statistics=("topic_id", "partition", "offset", "received_at"),
    )


RAW, FIRST, SECOND, LAST = (
    small_table(name) for name in ("raw/t", "normalised/a", "normalised/b", "ops/last")
)
LAND = Stage("land-t", (RAW,), RAW)
NORMALISE = Stage("normalise-t", (FIRST, SECOND, LAST), LAST)
LAND_ID = f"land:t:{TOPIC_ID}:0"
NORMALISE_ID = "normalise:raw/t"


def rows(first: int, count: int, payload: bytes = b"MSH|") -> pa.Table:
    """Rows with the offsets from ``first`` on."""
    return pa.table(
        {
            "topic_id": pa.array([TOPIC_ID] * count),
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(first, first + count), pa.int64()),
            "received_at": pa.array([NOON] * count, INSTANT),
            "payload": pa.array([payload] * count, pa.binary()),
            "codes": pa.array([["A"]] * count, pa.list_(pa.string())),
        }
    )


def file_of(lake: Lake, table: Table, first: int, count: int) -> NewFile:
    return write_file(lake, table, rows(first, count), MARCH)


def up_to(app_id: str, end: int) -> Callable[[Progress], Plan | None]:
    """A plan that goes from where the stage is to ``end``."""

    def plan(progress: Progress) -> Plan | None:
        begin = progress.version(app_id) or 0
        return Plan({app_id: begin}, {app_id: end}, {}) if begin < end else None

    return plan


def claim_land(lake: Lake, end: int, code: str = "code") -> Claim:
    claim = begin_batch(lake, LAND, up_to(LAND_ID, end), code)
    assert claim is not None
    return claim


def claim_normalise(lake: Lake, end: int, code: str = "code") -> Claim:
    claim = begin_batch(lake, NORMALISE, up_to(NORMALISE_ID, end), code)
    assert claim is not None
    return claim


def land(lake: Lake, end: int) -> Claim:
    """A whole batch of the land stage, up to an offset."""
    claim = claim_land(lake, end)
    begin = claim.begin[LAND_ID]
    commit_table(lake, claim, RAW, [file_of(lake, RAW, begin, claim.end[LAND_ID] - begin)])
    return claim


def offsets(lake: Lake, table: Table, version: int | None = None) -> list[int]:
    """All offsets in a table, sorted; a row that is there twice shows twice."""
    return sorted(lake.dataset(table, version).to_table(columns=["offset"]).column(0).to_pylist())
