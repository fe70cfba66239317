"""Dispositions do not depend on how messages fall into batches, nor on the order of rows within one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_layout.files import write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.sorted_runs import IndexLocation
from lake_layout.stage import Plan, Progress, Stage, begin_batch, commit_table
from pipelines.deduplicate import decide, open_index
from schemas.table import INSTANT
from schemas.tables.ops import LEDGER

RAW = "raw/hl7v2"
STAGE = Stage("normalise-hl7v2", (LEDGER,), LEDGER)


@dataclass(frozen=True, order=True)
class Sent:
    """A message as the index sees it, ordered as messages are judged."""

    received: int
    topic_id: str
    partition: int
    offset: int
    key: int
    value: int
    month: str
    read: bool  # False where the envelope put it aside: it has no part in deciding


@st.composite
def traffic(draw: st.DrawFn) -> list[Sent]:
    """Messages in the order of judgement, with many equal ids and contents."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, 9), st.sampled_from(["A", "B"]), st.integers(0, 2), st.integers(-2, 2),
                st.integers(-1, 1), st.sampled_from(["202603", "202604", "none"]),
                st.sampled_from([True, True, True, False]),
            ),
            min_size=1,
            max_size=25,
        )
    )  # fmt: skip
    return sorted(
        Sent(received, topic, partition, offset, key, value, month, read)
        for offset, (received, topic, partition, key, value, month, read) in enumerate(drawn)
    )


def reference(messages: Sequence[Sent]) -> dict[int, str]:
    """One message after the other: offset → disposition."""
    seen: dict[tuple[str, int], set[int]] = {}
    decided: dict[int, str] = {}
    for message in messages:
        if not message.read:
            decided[message.offset] = "ignored"
            continue
        contents = seen.setdefault((message.month, message.key), set())
        decided[message.offset] = (
            "duplicate" if message.value in contents else "conflict" if contents else "accepted"
        )
        contents.add(message.value)
    return decided


def table_of(messages: Sequence[Sent]) -> pa.Table:
    return pa.table(
        {
            "received_at": pa.array([m.received for m in messages], pa.int64()).cast(INSTANT),
            "topic_id": pa.array([m.topic_id for m in messages], pa.string()),
            "partition": pa.array([m.partition for m in messages], pa.int32()),
            "offset": pa.array([m.offset for m in messages], pa.int64()),
            "id_hash": pa.array([m.key for m in messages], pa.int64()),
            "content_hash": pa.array([m.value for m in messages], pa.int64()),
        }
    )


def ledger_of(messages: Sequence[Sent], decided: dict[int, str], raw_table: str) -> pa.Table:
    n = len(messages)
    known = {
        "raw_table": pa.array([raw_table] * n, pa.string()),
        "source": pa.array(["s"] * n, pa.string()),
        "sent_month": pa.array([m.month for m in messages], pa.string()),
        "disposition": pa.array([decided[m.offset] for m in messages], pa.string()),
        "batch_number": pa.array([0] * n, pa.int64()),
        "reading": pa.array([0] * n, pa.int32()),
        "decided_at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * n, INSTANT),
    }
    columns = {**{name: table_of(messages).column(name) for name in table_of([]).column_names}, **known}
    return pa.table(
        {
            field.name: columns.get(field.name, pa.nulls(n, field.type))
            for field in LEDGER.fields
            if field.name != LEDGER.partition_by
        }
    )


def judge(lake: Lake, folder: Path, batch: Sequence[Sent]) -> dict[int, str]:
    """Decide a batch against the ledger as it is, and commit it there."""

    def plan(progress: Progress) -> Plan:
        done = progress.version(RAW) or 0
        return Plan({RAW: done}, {RAW: done + 1}, {LEDGER.name: lake.version(LEDGER)})

    claim = begin_batch(lake, STAGE, plan, "code")
    assert claim is not None
    index = open_index(
        lake, IndexLocation(str(folder)), RAW, claim.pins[LEDGER.name], ledger_id=claim.tables[LEDGER.name]
    )
    decided = {message.offset: "ignored" for message in batch if not message.read}
    for month in {message.month for message in batch}:
        rows = decide(table_of([m for m in batch if m.read and m.month == month]), index, month)
        decided |= zip(rows.column("offset").to_pylist(), rows.column("disposition").to_pylist(), strict=True)
    # the other modality's messages have the same hashes and mean nothing here
    mixed = pa.concat_tables(
        [
            ledger_of(batch, decided, RAW),
            ledger_of(batch, {m.offset: "accepted" for m in batch}, "raw/lab"),
        ]
    )
    commit_table(lake, claim, LEDGER, [write_file(lake, LEDGER, mixed, date(2026, 3, 1))])
    return decided


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lakes")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traffic(), st.data())
def test_any_cut_into_batches_gives_the_same_dispositions(
    lakes: Path, messages: list[Sent], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(messages)), max_size=4)) | {0, len(messages)})
    with tempfile.TemporaryDirectory(dir=lakes) as name:
        lake = Lake(LakeLocation(str(Path(name) / "lake")))
        lake.create_missing([LEDGER])
        decided: dict[int, str] = {}
        for start, end in pairwise(cuts):
            batch = data.draw(st.permutations(messages[start:end]))
            decided |= judge(lake, Path(name) / "index", batch)
    assert decided == reference(messages)


class Nothing:
    """An index of a lake where nothing was read yet."""

    def lookup(self, _bucket: str, key: object, _value: object) -> tuple[object, object]:
        import numpy as np

        none = np.zeros(len(key), np.bool_)  # type: ignore[arg-type]
        return none, none.copy()


@settings(max_examples=300)
@given(traffic(), st.data())
def test_the_order_of_rows_says_nothing(messages: list[Sent], data: st.DataObject) -> None:
    one_month = [replace(message, month="none", read=True) for message in messages]
    rows = decide(table_of(data.draw(st.permutations(one_month))), Nothing(), "none")  # type: ignore[arg-type]
    found = zip(rows.column("offset").to_pylist(), rows.column("disposition").to_pylist(), strict=True)
    assert dict(found) == reference(one_month)
