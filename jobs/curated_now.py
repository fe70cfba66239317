"""What is true now of rows that no batch of curate has taken in yet, for the tables that a query names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from jobs.curated_progress import uncurated
from jobs.lake_views import Now
from lake_layout.lake import Lake
from lake_layout.sorted_runs import IndexLocation
from pipelines.curate import now_of
from pipelines.curate_stated import FOLD_OF, News, inputs_of
from schemas.source import Sources
from schemas.tables.curated import curated


def named_in(sql: str, schema: str = "curated_now") -> list[str]:
    """Names of the curated tables whose views in a schema SQL asks for."""
    asked = re.findall(rf'{schema}"?\s*\.\s*"?(\w+)', sql, re.IGNORECASE)
    names = {f"curated/{name.lower()}" for name in asked}
    return [name for name in FOLD_OF if name in names]


def newer(lake: Lake, sources: Sources, index: IndexLocation, names: list[str]) -> Mapping[str, Now]:
    """What is to be shown of some curated tables beside their rows.

    Args:
        lake: where they lie.
        sources: settings of the senders.
        index: where the key indexes lie on this machine.
        names: of the tables.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer, or the index cannot be written.
    """
    if not names:
        return {}
    versions = {name: news for name, (news, _) in uncurated(lake).items()}
    found = {}
    for name in names:
        of_fold = {one: versions[one] for one in inputs_of(FOLD_OF[name]) if one in versions}
        if not of_fold:  # nothing is newer
            found[name] = Now(pa.array([], pa.int64()), curated(FOLD_OF[name]).arrow_schema.empty_table())
            continue
        keys, rows = now_of(News(lake, sources, index, of_fold), name)
        found[name] = Now(pa.array(keys), rows)
    return found
