"""How fast versions of results become a state, how fast states join, and how fast what is true now is read.

Ten results an order, about thirty columns filled, as they come from the laboratory; 2 % of the new rows supersede.
``python -m benchmarks.fold [rows]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.measure import machine, show
from pipelines.fold import join, laid, read, state_of
from pipelines.fold_keys import I64
from schemas.table import INSTANT
from schemas.tables.curated import OBSERVATION_FOLD

_BEGIN = 1_767_225_600_000_000  # 2026-01-01
_TESTS = 10
_FIXED = {
    "source": "lis", "institution": "HOSPITAL", "message_type": "ORU^R01", "patient_authority": "HOSPITAL",
    "filler_authority": "LIS", "service_code": "CHEM", "service_display": "Chemistry panel",
    "service_system": "L", "observation_system": "LN", "value_type": "NM", "unit_code": "mmol/L",
    "reference_range": "3.5-5.5", "report_status": "F", "producer": "LAB", "specimen_type": "SER",
    "event_time_precision": "second", "specimen_time_precision": "minute",
    "effective_time_precision": "minute",
}  # fmt: skip


def observations(rows: int, first_order: int, offset: int, status: str, hours: int) -> pa.Table:
    """Rows of ``normalised/observation``: ten a message, one message an order, an order every other second."""
    orders = first_order + np.arange(-(-rows // _TESTS))
    return results(orders, offset, status, np.full(len(orders), hours)).slice(0, rows)


def results(orders: I64, offset: int, status: str, hours: I64) -> pa.Table:
    """The same of some orders.

    Args:
        orders: their numbers.
        offset: of the first message.
        status: of all results.
        hours: so long after its order each message came.
    """
    rows = len(orders) * _TESTS
    number = np.arange(rows)
    order, test = orders[number // _TESTS], number % _TESTS
    when = pa.array(_BEGIN + order * 2_000_000 + hours[number // _TESTS] * 3_600_000_000).cast(INSTANT)
    months = when.to_numpy().astype("datetime64[M]").astype("datetime64[D]")
    texts = pa.array(order).cast(pa.string())
    codes = pa.array([f"{2000 + one}-1" for one in range(_TESTS)])
    columns: dict[str, pa.Array] = {
        name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))
        for name, text in _FIXED.items()
    }
    columns |= {
        "event_month": pa.array(months),
        "topic_id": pa.array(["topic"]).take(pa.array(np.zeros(rows, np.int32))),
        "partition": pa.array(np.zeros(rows, np.int32)),
        "offset": pa.array(offset + number // _TESTS),
        "received_at": when,
        "event_time": when,
        "event_date": when.cast(pa.date32()),
        "version_time": when,
        "segment_index": pa.array((3 + test).astype(np.int32)),
        "batch_number": pa.array(np.ones(rows, np.int64)),
        "reading": pa.array(np.zeros(rows, np.int32)),
        "patient_id": texts,
        "filler_order": texts,
        "observation_code": codes.take(pa.array(test)),
        "observation_display": codes.take(pa.array(test)),
        "value_text": pa.array(number % 997).cast(pa.string()),
        "value_number": pa.array((number % 997).astype(np.float64)),
        "status": pa.array([status]).take(pa.array(np.zeros(rows, np.int32))),
        "effective_time": when,
        "specimen_time": when,
        "line": pa.array(np.zeros(rows, np.int32)),
    }
    fields = OBSERVATION_FOLD.table.fields
    return pa.table(
        [columns[one.name] if one.name in columns else pa.nulls(rows, one.type) for one in fields],
        names=[one.name for one in fields],
    )


def timed(rows: int, call: Callable[[], pa.Table]) -> tuple[pa.Table, tuple[str, str]]:
    """The best of three runs."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        made = call()
        best = min(best, time.perf_counter() - started)
    return made, (f"{best:.2f}", f"{rows / best:,.0f}")


def main() -> None:
    """Print the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    pa.set_cpu_count(1)
    fold = OBSERVATION_FOLD
    before = state_of(fold, observations(rows, 0, 0, "F", 0))
    superseding = rows // 50
    new = pa.concat_tables(
        [
            observations(superseding, 0, rows, "C", 5),
            observations(rows - superseding, rows, 2 * rows, "F", 0),
        ]
    )
    state, cost = timed(rows, lambda: state_of(fold, new))
    joined, join_cost = timed(2 * rows, lambda: join(fold, before, state))
    _, read_cost = timed(joined.num_rows, lambda: read(fold, joined))
    _, laid_cost = timed(joined.num_rows, lambda: laid(fold, joined))
    show(
        f"folds of results on one core of {machine()}",
        ("step", "rows", "s", "rows/s"),
        [
            ("state_of new rows", f"{rows:,}", *cost),
            ("join with as many known", f"{2 * rows:,}", *join_cost),
            ("read what is true now", f"{joined.num_rows:,}", *read_cost),
            ("lay it out for the table", f"{joined.num_rows:,}", *laid_cost),
        ],
    )


if __name__ == "__main__":
    main()
