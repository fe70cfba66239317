"""How far the curated tables have come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lake_layout.added_since import files_added
from lake_layout.claims import batch_app_id
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from schemas.errors import LakeError
from schemas.tables.curation import CURATION, NORMALISED_OF, STAGE, progress_id

_LOOKED_AT_TOGETHER = 8


def uncurated(lake: Lake) -> dict[str, tuple[tuple[int, int], int]]:
    """By normalised table with news: the versions after and up to which they lie, and how many rows they are."""
    reached = curated_up_to(lake) or dict.fromkeys(NORMALISED_OF, 0)

    def look(name: str) -> tuple[tuple[int, int], int]:
        table, begin = NORMALISED_OF[name], reached[name]
        end = int(current_handle(lake, table).version())
        return (begin, end), sum(file.rows for file in files_added(lake, table, begin, end))

    with ThreadPoolExecutor(_LOOKED_AT_TOGETHER) as pool:
        found = dict(zip(NORMALISED_OF, pool.map(look, NORMALISED_OF), strict=True))
    return {name: news for name, news in found.items() if news[1]}


def curated_up_to(lake: Lake) -> dict[str, int] | None:
    """Versions of the normalised tables up to which the curated ones have their rows; None before the first batch."""
    try:
        last = current_handle(lake, CURATION)
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        return None
    if last.transaction_version(batch_app_id(STAGE)) is None:
        return None
    return {name: last.transaction_version(progress_id(name)) or 0 for name in NORMALISED_OF}
