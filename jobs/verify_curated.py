"""Compare the curated tables with one fold over all rows that they were made of, and the key indexes with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from jobs.curated_progress import curated_up_to
from lake_layout.claims import GENERATIONS, batch_app_id, claim_app_id
from lake_layout.lake import Lake
from lake_layout.live_files import files_of
from lake_layout.reading import read_file
from lake_layout.sorted_runs import UNDATED, WHOLE, IndexLocation, open_runs
from pipelines.costs import Costs
from pipelines.curate_standing import key_source
from pipelines.curate_stated import Everything, Shelf, inputs_of, int64s, part_of, stated_by
from pipelines.fold import has_aliases, join, laid
from quality.differences import Difference
from schemas.fold import Fold
from schemas.source import Sources
from schemas.table import Table
from schemas.tables.curated import FOLDS, curated
from schemas.tables.curation import CURATION, STAGE
from schemas.tables.ops import DECISION, RETRIED

log = structlog.get_logger(__name__)

_ORDER = (
    "key_hash", "group_hash", "subject_hash", "alias_hash", "register", "echo", "shown", "kept", "topic_id",
    "partition", "offset", "reading", "segment_index", "line",
)  # fmt: skip


def verify_curated(lake: Lake, sources: Sources, index: IndexLocation) -> list[Difference]:
    """What differs; a table that a batch is being committed to is left out.

    Args:
        lake: where the tables lie.
        sources: settings of the senders, as batches had them.
        index: where the key indexes lie on this machine.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer, or the index cannot be written.
    """
    reached = curated_up_to(lake)
    if reached is None:
        return []
    batch = int(lake.open(CURATION).transaction_version(batch_app_id(STAGE)) or 0)
    found: list[Difference] = []
    for fold in FOLDS:
        table = curated(fold)
        handle = lake.open(table)
        mark = int(handle.transaction_version(claim_app_id(STAGE)) or 0)
        if mark // GENERATIONS > batch:
            log.warning("curated_under_way", table=table.name)
            continue
        versions = {name: (0, reached[name]) for name in inputs_of(fold) if reached[name]}
        files = [file.path for file in files_of(handle, table)]
        everything = Everything(lake, sources, index, versions)
        found += _differences(fold, everything, files)
        if files:
            runs = open_runs(lake, index, key_source(table), int(handle.version()))
            for path in files:
                rows = read_file(lake, table, path, ["key_hash", "home_month"])
                there, month = runs.least(WHOLE, int64s(rows, "key_hash"))
                home = (
                    rows.column("home_month").cast(pa.int32()).cast(pa.int64()).fill_null(UNDATED).to_numpy()
                )
                wrong = int(np.count_nonzero(~there | (month != home)))
                if wrong:
                    found.append(Difference("CURATED-INDEX", table.name, messages=wrong, file=path))
    return found


def _differences(fold: Fold, everything: Everything, files: list[str]) -> Iterator[Difference]:
    """The things of a table that are not as one fold over all rows makes them, as at most one difference."""
    table, lake = curated(fold), everything.lake
    months = _months_count(lake, fold)
    with tempfile.TemporaryDirectory(prefix="phl-verify-") as folder:
        stated = stated_by(everything, fold, Path(folder), Costs())
        parts = len(stated.parts)
        homes = [Path(folder) / f"there-{number}" if parts > 1 else None for number in range(parts)]
        there = [Shelf(home, table.arrow_schema) for home in homes]
        for path in files:
            rows = read_file(lake, table, path).cast(table.arrow_schema)
            place = part_of(int64s(rows, "key_hash"), parts)
            for number in np.unique(place).tolist():
                there[number].put(rows.filter(pa.array(place == number)))
        things = expected_rows = found_rows = 0
        for stated_part, there_part in zip(stated.parts, there, strict=True):
            pieces = [piece for piece in stated_part.take() if piece.num_rows]
            made = laid(fold, join(fold, *pieces)) if pieces else table.arrow_schema.empty_table()
            expected = _sorted(table, made, months=months)
            whole = pa.concat_tables([table.arrow_schema.empty_table(), *there_part.take()])
            found = _sorted(table, whole, months=months)
            if not expected.equals(found):
                things += _differing(expected, found)
                expected_rows += expected.num_rows
                found_rows += found.num_rows
    if things:
        yield Difference(
            "CURATED-DIFFERS", table.name, messages=things, expected=expected_rows, found=found_rows
        )


def _months_count(lake: Lake, fold: Fold) -> bool:
    """Whether things live in the month that one fold gives them.

    Where a number may stand for another, or messages were read again, versions may have left a thing: then it still
    lives in the month that it lived in with them, which one fold does not know, so that is left out.
    """
    if has_aliases(fold):
        return False
    asked = lake.dataset(DECISION).to_table(columns=["action"]) if lake.exists(DECISION) else None
    return asked is None or not pc.any(pc.is_in(asked.column("action"), pa.array(RETRIED))).as_py()


def _sorted(table: Table, rows: pa.Table, *, months: bool) -> pa.Table:
    """Rows in an order of their own, without the months that they lie in where those do not count."""
    order = [(name, "ascending") for name in _ORDER if name in rows.column_names]
    names = [field.name for field in table.fields if months or field.name != "home_month"]
    return rows.sort_by(order).select(names).combine_chunks()


def _differing(expected: pa.Table, found: pa.Table) -> int:
    """How many things differ."""
    sides = []
    for rows in (expected, found):
        of_key: dict[int, list[str]] = {}
        for key, row in zip(rows.column("key_hash").to_pylist(), rows.to_pylist(), strict=True):
            of_key.setdefault(key, []).append(repr(row))
        sides.append({key: sorted(texts) for key, texts in of_key.items()})
    return sum(sides[0].get(key) != sides[1].get(key) for key in {*sides[0], *sides[1]})
