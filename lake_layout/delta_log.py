"""What single commits say: ``_delta_log/<version>.json`` read as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from lake_layout.objects import ObjectStore
from schemas.errors import LakeError

T = TypeVar("T")

OURS = "phl"
"""Key of our own part of a commit's metadata."""

COPIED = "copied"
"""Within it: names of files whose rows are all of files that the commit removes, parted by slashes."""

_READERS = 8


@dataclass(frozen=True, slots=True)
class Added:
    """An add action.

    Attributes:
        path: relative to the table.
        size: bytes.
        rows: how many, as the statistics say.
        partition_values: as text, None for null.
        data_change: False where the rows were in the table before (compaction).
    """

    path: str
    size: int
    rows: int
    partition_values: Mapping[str, str | None]
    data_change: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A remove action."""

    path: str
    data_change: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table.

    Attributes:
        version: its number.
        added: files it added.
        removed: files it removed.
        ours: what our own commits say of themselves (stage, batch, generation, attempt …); empty for others.
        operation: what the commit calls itself.
        txns: txn versions it recorded, by app id.
    """

    version: int
    added: tuple[Added, ...]
    removed: tuple[Removed, ...]
    ours: Mapping[str, str | int]
    operation: str
    txns: Mapping[str, int]

    @property
    def gone(self) -> list[str]:
        """Paths of the files that it removed, where that changed rows."""
        return [removed.path for removed in self.removed if removed.data_change]

    @property
    def copied(self) -> frozenset[str]:
        """Paths of the files that it added and that have nothing but rows of files that it removed."""
        names = str(self.ours.get(COPIED, "")).split("/")
        return frozenset(added.path for added in self.added if added.path.rpartition("/")[2] in names)


def log_path(table: str, version: int) -> str:
    """Where a commit lies, relative to the lake."""
    return f"{table}/_delta_log/{version:020d}.json"


def read_commit(store: ObjectStore, table: str, version: int) -> Commit | None:
    """A commit, None where its file is gone (or not yet there).

    Raises:
        LakeError: it is there and cannot be understood.
    """
    data = store.get_or_none(log_path(table, version))
    if data is None:
        return None
    try:
        return _parse(data, version)
    except (ValueError, KeyError, TypeError):
        raise LakeError(
            "LAKE-LOG-UNREADABLE", "a commit in the table's log cannot be read", table=table, version=version
        ) from None


def read_commits(store: ObjectStore, table: str, versions: Sequence[int]) -> Iterator[Commit | None]:
    """Commits in the order asked for."""
    if len(versions) < 4:
        yield from (read_commit(store, table, version) for version in versions)
        return
    with ThreadPoolExecutor(min(_READERS, len(versions))) as pool:
        yield from pool.map(lambda version: read_commit(store, table, version), versions)


def newly_added(commit: Commit, found: MutableMapping[str, T]) -> list[Added]:
    """Files of a commit that have rows which commits before those that are read now had not.

    Args:
        commit: one of several that are read in their order.
        found: by path, what was made of the files that those before it added; what this one removes leaves it.
    """
    unread = [found.pop(path) for path in commit.gone if path in found]
    there = frozenset[str]() if unread else commit.copied
    return [added for added in commit.added if added.data_change and added.path not in there]


def _parse(data: bytes, version: int) -> Commit:
    added: list[Added] = []
    removed: list[Removed] = []
    ours: Mapping[str, str | int] = {}
    operation = ""
    txns: dict[str, int] = {}
    for action in _actions(data.splitlines()):
        if "add" in action:
            add = action["add"]
            stats = json.loads(str(add.get("stats") or "{}"))
            values = add.get("partitionValues") or {}
            if not isinstance(values, dict):
                raise TypeError
            added.append(
                Added(
                    unquote(str(add["path"])), int(str(add["size"])), int(stats.get("numRecords", -1)), values,
                    bool(add["dataChange"]),
                )
            )  # fmt: skip
        elif "remove" in action:
            removed.append(
                Removed(unquote(str(action["remove"]["path"])), bool(action["remove"]["dataChange"]))
            )
        elif "txn" in action:
            txns[str(action["txn"]["appId"])] = int(str(action["txn"]["version"]))
        elif "commitInfo" in action:
            info = action["commitInfo"]
            found = info.get(OURS)
            ours = found if isinstance(found, dict) else {}
            operation = str(info.get("operation", ""))
    return Commit(version, tuple(added), tuple(removed), ours, operation, txns)


def _actions(lines: Iterable[bytes]) -> Iterator[dict[str, dict[str, object]]]:
    for line in lines:
        if line.strip():
            yield json.loads(line)
