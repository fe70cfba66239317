"""Which files commits added: what a stage reads next, found by reading the commits themselves.

A difference of live files would take a compaction for new rows, and the library's change feed answers *empty*
where the log was cleaned; a commit's own add actions do neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from lake_layout.delta_log import Added, newly_added, read_commit, read_commits
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, live_files
from schemas.errors import LakeError
from schemas.table import Table


@dataclass(frozen=True, slots=True)
class AddedFile:
    """A file that a commit added.

    Attributes:
        path: relative to the table.
        rows: how many.
        size: bytes.
        partition: value of the partition column.
        version: the commit's.
    """

    path: str
    rows: int
    size: int
    partition: date | None
    version: int


def files_added(lake: Lake, table: Table, from_version: int, to_version: int) -> list[AddedFile]:
    """Files with new rows in the versions after ``from_version`` up to and with ``to_version``, in their order.

    Files that a roll-back within these versions took out again are left out, and so are those that only have rows of
    files from before.

    Raises:
        LakeError: commits are gone from the log, and what they added cannot be told in another way.
        TransportError: the store does not answer.
    """
    versions = range(from_version + 1, to_version + 1)
    found: dict[str, AddedFile] = {}
    for version, commit in zip(versions, read_commits(lake.store, table.name, versions), strict=True):
        if commit is None:
            return _by_coordinates(lake, table, from_version, to_version)
        found |= {added.path: _file(table, added, version) for added in newly_added(commit, found)}
    return list(found.values())


def rows_added(lake: Lake, table: Table, version: int) -> tuple[int, int]:
    """How many rows commits after a version added, and the newest of them; cheap where there is none.

    Commits are looked for one after the other: where the next one is gone from the log, nothing is found.

    Raises:
        TransportError: the store does not answer.
    """
    rows = 0
    while (commit := read_commit(lake.store, table.name, version + 1)) is not None:
        rows += sum(max(added.rows, 0) for added in commit.added if added.data_change)
        version += 1
    return rows, version


def _file(table: Table, added: Added, version: int) -> AddedFile:
    if added.rows < 0:
        raise LakeError(
            "LAKE-NO-STATISTICS",
            "a file was added without its number of rows",
            table=table.name,
            version=version,
        )
    text = added.partition_values.get(table.partition_by) if table.partition_by else None
    return AddedFile(added.path, added.rows, added.size, date.fromisoformat(text) if text else None, version)


def _by_coordinates(lake: Lake, table: Table, from_version: int, to_version: int) -> list[AddedFile]:
    """The same without the commits: live files whose messages lie behind those of ``from_version``.

    Raises:
        LakeError: one of the versions is gone, or a file holds messages from both sides.
    """
    try:
        old = live_files(lake, table, from_version) if from_version else []
        new = live_files(lake, table, to_version)
    except LakeError:
        raise _gone(table, from_version, to_version) from None
    reached: dict[tuple[str, int], int] = {}
    for file in old:
        place, _, last = _offsets(table, file, from_version, to_version)
        reached[place] = max(last, reached.get(place, -1))
    added = []
    for file in new:
        if not old:
            added.append((file.path, file))
            continue
        place, first, last = _offsets(table, file, from_version, to_version)
        behind = reached.get(place, -1)
        if first > behind:
            added.append((file.path, file))
        elif last > behind:
            raise _gone(table, from_version, to_version)
    return [AddedFile(path, f.rows, f.size, f.partition, to_version) for path, f in sorted(added)]


def _offsets(
    table: Table, file: LiveFile, from_version: int, to_version: int
) -> tuple[tuple[str, int], int, int]:
    """Topic id and partition, first and last offset of a file whose messages are all from one partition."""
    low, high = file.low, file.high
    place = (low.get("topic_id"), low.get("partition"))
    first, last = low.get("offset"), high.get("offset")
    if (
        place != (high.get("topic_id"), high.get("partition"))
        or not isinstance(place[0], str)
        or not isinstance(place[1], int)
        or not isinstance(first, int)
        or not isinstance(last, int)
    ):
        raise _gone(table, from_version, to_version)
    return (place[0], place[1]), first, last


def _gone(table: Table, from_version: int, to_version: int) -> LakeError:
    return LakeError(
        "LAKE-LOG-GONE",
        "commits that are not processed yet are gone from the log; restore them from a copy",
        table=table.name, from_version=from_version, to_version=to_version,
    )  # fmt: skip
