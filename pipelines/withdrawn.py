"""Rows that left normalised tables because their messages were read again, and what is folded anew for that.

A fold only ever joins: it cannot forget what a row said. So where rows left, all that the tables still say of the same
things is folded from the beginning, and their curated rows do not count. That reads the whole of the normalised
tables, file by file, which is the price of reading again and not of what arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lake_layout.delta_log import Commit, read_commits
from lake_layout.lake import Lake
from lake_layout.reading import read_file
from pipelines.read_again import PLACE, places_in
from schemas.table import Table

_READING = (*PLACE, "reading")


def withdrawn_rows(lake: Lake, table: Table, from_version: int, to_version: int) -> Iterator[pa.Table]:
    """Rows of a normalised table that it had and that commits took out, file by file.

    Some may be of commits after ``from_version`` themselves, where files hold rows of both; what a roll-back took out
    before anybody had read it is left out.

    Args:
        lake: where.
        table: the normalised table.
        from_version: after which version commits count.
        to_version: up to and with which.

    Raises:
        LakeError: a file that was removed lies there no more.
        TransportError: the store does not answer.
    """
    for commit, gone in _withdrawing(lake, table, from_version, to_version):
        still = [read_file(lake, table, path, _READING) for path in sorted(commit.copied)]
        for path in gone:
            rows = read_file(lake, table, path)
            for others in still:
                rows = rows.filter(pa.array(places_in(others, rows) < 0))
            if rows.num_rows:
                yield rows


def withdrawn_up_to(lake: Lake, table: Table, from_version: int, to_version: int) -> int | None:
    """The last of these versions that took out rows which the table had; None where none did."""
    versions = [commit.version for commit, _ in _withdrawing(lake, table, from_version, to_version)]
    return versions[-1] if versions else None


def _withdrawing(
    lake: Lake, table: Table, from_version: int, to_version: int
) -> Iterator[tuple[Commit, list[str]]]:
    """Commits that took out rows, with the paths of the files that had them."""
    new: set[str] = set()
    versions = range(from_version + 1, to_version + 1)
    for commit in read_commits(lake.store, table.name, versions):
        if commit is None:  # cleaned away, so its rows were read long ago
            continue
        gone = [path for path in commit.gone if path not in new]
        new |= {one.path for one in commit.added if one.data_change} - commit.copied
        if gone:
            yield commit, gone
