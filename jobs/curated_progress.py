"""How far the curated tables, and those of identity, have come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from lake_layout.added_since import files_added
from lake_layout.claims import batch_app_id
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from pipelines.withdrawn import withdrawn_up_to
from schemas.errors import LakeError
from schemas.table import Table
from schemas.tables import curation, identification
from schemas.tables.coding import CODING, PROGRESS
from schemas.tables.normalised import OBSERVATION

_LOOKED_AT_TOGETHER = 8

News = dict[str, tuple[tuple[int, int], int]]
"""By normalised table with news: the versions after and up to which they lie, and how many rows are new."""


@dataclass(frozen=True)
class _Follower:
    """A stage that follows normalised tables.

    Attributes:
        stage: its name.
        tables: what it follows.
        last: its last table, which has its progress.
        progress_id: normalised table → app id of the progress on it.
    """

    stage: str
    tables: Mapping[str, Table]
    last: Table
    progress_id: Callable[[str], str]

    def up_to(self, lake: Lake) -> dict[str, int] | None:
        """Versions that it has reached; None before its first batch."""
        try:
            last = current_handle(lake, self.last)
        except LakeError as error:
            if error.code != "LAKE-TABLE-MISSING":
                raise
            return None
        if last.transaction_version(batch_app_id(self.stage)) is None:
            return None
        return {name: last.transaction_version(self.progress_id(name)) or 0 for name in self.tables}

    def news(self, lake: Lake) -> News:
        """What it has not taken in."""
        reached = self.up_to(lake) or dict.fromkeys(self.tables, 0)

        def look(name: str) -> tuple[tuple[int, int], int]:
            table, begin = self.tables[name], reached[name]
            end = int(current_handle(lake, table).version())
            return (begin, end), sum(file.rows for file in files_added(lake, table, begin, end))

        with ThreadPoolExecutor(_LOOKED_AT_TOGETHER) as pool:
            found = dict(zip(self.tables, pool.map(look, self.tables), strict=True))
        return {
            name: (versions, rows)
            for name, (versions, rows) in found.items()
            if rows or withdrawn_up_to(lake, self.tables[name], *versions) is not None
        }


_CURATE: Final = _Follower(curation.STAGE, curation.NORMALISED_OF, curation.CURATION, curation.progress_id)
_IDENTITY: Final = _Follower(
    identification.STAGE, identification.STATING, identification.IDENTIFICATION, identification.progress_id
)


def uncurated(lake: Lake) -> News:
    """What is normalised and not folded into the curated tables."""
    return _CURATE.news(lake)


def unidentified(lake: Lake) -> News:
    """What is normalised and not taken into who is who."""
    return _IDENTITY.news(lake)


def curated_up_to(lake: Lake) -> dict[str, int] | None:
    """Versions of the normalised tables up to which the curated ones have their rows; None before the first batch."""
    return _CURATE.up_to(lake)


def identified_up_to(lake: Lake) -> dict[str, int] | None:
    """Versions of the normalised tables up to which who is who was found; None before the first batch."""
    return _IDENTITY.up_to(lake)


def coded_up_to(lake: Lake) -> int | None:
    """The version of the observations up to which their codes were looked at; None before they ever were."""
    try:
        reached = current_handle(lake, CODING).transaction_version(PROGRESS)
    except LakeError as error:
        if error.code != "LAKE-TABLE-MISSING":
            raise
        return None
    return None if reached is None else int(reached)


def uncoded(lake: Lake) -> News:
    """Observations whose codes and units were not looked at."""
    begin, end = coded_up_to(lake) or 0, int(current_handle(lake, OBSERVATION).version())
    rows = sum(file.rows for file in files_added(lake, OBSERVATION, begin, end))
    return {OBSERVATION.name: ((begin, end), rows)} if rows else {}


def followed_up_to(lake: Lake) -> dict[str, int]:
    """Versions of normalised tables that all who follow them have reached; without those that nobody follows yet."""
    found: dict[str, int] = {}
    for follower in (_CURATE, _IDENTITY):
        for name, version in (follower.up_to(lake) or {}).items():
            found[name] = min(version, found.get(name, version))
    coded = coded_up_to(lake)
    if coded is not None:
        found[OBSERVATION.name] = min(coded, found.get(OBSERVATION.name, coded))
    return found
