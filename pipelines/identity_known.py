"""What is known of who is who, on the local disk: edges and identifiers seen, as of a batch, to be looked up.

It follows ``ops/identity_change`` from batch to batch, and is made from the tables where it is absent, damaged, or so
far behind that changes are not there any more. Only batches that have ended come in, so none has to be taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa

from lake_layout.handles import current_handle
from lake_layout.kept_rows import Kept, KeptRows, kept_rows
from lake_layout.lake import Lake
from lake_layout.live_files import files_of
from lake_layout.sorted_runs import IndexLocation
from pipelines.identity_changes import Standing, changes_of, rows_now
from schemas.table import Table
from schemas.tables.identification import FORGOTTEN, IDENTITY_CHANGE, STAGE
from schemas.tables.identity import IDENTIFIER_SEEN, PERSON_LINK

_KEPT: Final = (
    Kept(PERSON_LINK, (("key", "to_key"), ("to_key", "key"), ("topic_id", "partition", "offset"))),
    Kept(IDENTIFIER_SEEN, (("patient_key", "key"), ("key", "patient_key"))),
)


@contextmanager
def known_rows(lake: Lake, index: IndexLocation, upto: int) -> Iterator[KeptRows]:
    """The rows of ``PERSON_LINK`` and ``IDENTIFIER_SEEN`` as of a batch; brought there first.

    Cost follows what changed since the last time, or the whole tables where nothing is kept.

    Args:
        lake: where the tables lie.
        index: where indexes lie.
        upto: the batch; it has ended.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer; as ``kept_rows``.
    """
    changes = current_handle(lake, IDENTITY_CHANGE)
    with kept_rows(Path(index.directory) / str(changes.metadata().id) / STAGE, _KEPT) as kept:
        forgotten = int(changes.transaction_version(FORGOTTEN) or 0)
        if kept.reached is None or not forgotten <= kept.reached <= upto:
            kept.refill(
                upto,
                ((one.table, rows) for one in _KEPT for rows in rows_now(lake, changes, one.table, upto)),
            )
        elif kept.reached < upto:
            files = files_of(changes, IDENTITY_CHANGE)

            def changed(table: Table, after: int) -> tuple[Table, pa.Table, pa.Table]:
                standing = Standing.of(table, changes_of(lake, files, table, after, upto))
                return table, standing.units, standing.rows

            kept.change(upto, [changed(one.table, kept.reached) for one in _KEPT])
        yield kept
