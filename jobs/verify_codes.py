"""Compare ``ops/coding`` with what its rule makes of the maps and of what observations sent."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from jobs.curated_progress import coded_up_to
from lake_layout.lake import Lake
from lake_layout.live_files import live_files
from pipelines.codes.coding import SENT_SCHEMA, coding_of, rule, without
from pipelines.codes.concept_map import ConceptMap
from pipelines.codes.keep import coding_rows, loaded, sent_in
from quality.differences import Difference
from schemas.tables.coding import CODING, SENT
from schemas.tables.normalised import OBSERVATION

log = structlog.get_logger(__name__)


def verify_codes(lake: Lake) -> list[Difference]:
    """What differs; where a map was loaded and what is derived is not made anew yet, the former one is the rule.

    Args:
        lake: where the tables lie.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer.
    """
    reached = coded_up_to(lake)
    if reached is None:
        return []
    rows = coding_rows(lake, lake.open(CODING))
    found = []
    there = rows.group_by(list(SENT)).aggregate([]).select(list(SENT)).cast(SENT_SCHEMA)
    sent = sent_in(lake, [file.path for file in live_files(lake, OBSERVATION, reached)] if reached else [])
    missing = without(sent, there).num_rows
    if missing:
        found.append(Difference("CODES-MISSING", CODING.name, messages=missing))
    if not rows.num_rows:
        return found
    if set(rows.column("rule").to_pylist()) != {rule()}:
        log.warning("codes_of_another_program", table=CODING.name)
        return found
    loads = pc.min_max(rows.column("map_load")).as_py()
    entries, _ = loaded(lake, loads["max"])
    expected = coding_of(there, ConceptMap.of(entries), loads["max"])
    wrong = _counted(rows) - _counted(expected), _counted(expected) - _counted(rows)
    if any(wrong):
        found.append(
            Difference(
                "CODES-DIFFER", CODING.name, messages=max(side.total() for side in wrong),
                expected=expected.num_rows, found=rows.num_rows,
            )
        )  # fmt: skip
    return found


def _counted(rows: pa.Table) -> Counter[str]:
    return Counter(repr(row) for row in rows.to_pylist())
