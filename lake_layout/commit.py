"""One commit, by hand: on a handle that was looked at, without the library's own retries.

The library's retries rebase a stale rewrite over what others did; here a refused commit is refused, and whoever
asked for it looks again and decides anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import Schema
from deltalake.transaction import AddAction, RemoveAction

from lake_layout.files import NewFile, check_partition
from schemas.errors import LakeError
from schemas.table import Table

_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def commit_by_hand(
    handle: DeltaTable,
    table: Table,
    add: Sequence[NewFile],
    remove: Sequence[str],
    txns: Mapping[str, int],
    metadata: Mapping[str, str],
    *,
    new_rows: bool = True,
) -> bool:
    """Commit files and ``txn``s on a handle as it stands.

    Args:
        handle: at the version that was decided on.
        table: what it must be.
        add: files to add.
        remove: paths of files to remove; each must be live.
        txns: by app id, the version to record.
        metadata: kept with the commit.
        new_rows: False for a rewrite of rows that are there already.

    Returns:
        Whether it was committed; False where somebody else's commit came between or the answer was lost: look
        again.

    Raises:
        LakeError: ``LAKE-SCHEMA``, ``LAKE-COMMIT-PATHS``, ``LAKE-PARTITION-RANGE``.
    """
    require_schema(handle, table)
    now = int(time.time() * 1000)
    actions = [_add(table, file, now, new_rows) for file in add]
    if len({file.path for file in add}) < len(add) or any(file.table != table.name for file in add):
        raise LakeError("LAKE-COMMIT-PATHS", "files of another table, or one file twice", table=table.name)
    actions += _removes(handle, table, remove, now, new_rows)
    try:
        handle.create_write_transaction(
            actions,
            mode="append",
            schema=handle.schema(),
            partition_by=[table.partition_by] if table.partition_by else None,
            commit_properties=CommitProperties(
                custom_metadata=dict(metadata),
                max_commit_retries=0,
                app_transactions=[Transaction(app_id, version) for app_id, version in sorted(txns.items())],
            ),
            post_commithook_properties=_NO_HOOKS,
        )
    except CommitFailedError:
        return False
    except (DeltaError, OSError):
        return False  # no clear answer: the table itself says what became of it
    return True


def require_schema(handle: DeltaTable, table: Table) -> None:
    """Refuse a table whose columns are not the declared ones.

    Raises:
        LakeError: ``LAKE-SCHEMA``.
    """
    declared = Schema.from_arrow(pa.schema([field.with_nullable(True) for field in table.arrow_schema]))
    found = Schema.from_arrow(pa.schema([field.with_nullable(True) for field in pa.schema(handle.schema().to_arrow())]))
    partitions = [table.partition_by] if table.partition_by else []
    if declared != found or list(handle.metadata().partition_columns) != partitions:
        raise LakeError("LAKE-SCHEMA", "the table's columns are not those of this program's version", table=table.name)


def _add(table: Table, file: NewFile, now: int, new_rows: bool) -> AddAction:
    check_partition(table, file.partition)
    values = {table.partition_by: file.partition.isoformat() if file.partition else None} if table.partition_by else {}
    return AddAction(file.path, file.size, values, now, new_rows, file.stats)


def _removes(
    handle: DeltaTable, table: Table, paths: Sequence[str], now: int, new_rows: bool
) -> list[RemoveAction]:
    if not paths:
        return []
    live = pa.table(handle.get_add_actions(flatten=False)).select(["path", "size_bytes", "partition"]).to_pylist()
    by_path = {row["path"]: row for row in live}
    if missing := [path for path in paths if path not in by_path]:
        raise LakeError("LAKE-COMMIT-PATHS", "a file to remove is not live", table=table.name, files=len(missing))
    removes = []
    for path in paths:
        partition = by_path[path]["partition"] or {}
        values = {name: value.isoformat() if value is not None else None for name, value in partition.items()}
        removes.append(
            RemoveAction(path, new_rows, now, partition_values=values, size=by_path[path]["size_bytes"])
        )
    return removes
