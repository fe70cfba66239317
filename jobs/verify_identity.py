"""Compare the tables of identity with what one resolve over all rows that they were made of says."""

from __future__ import annotations

from collections import Counter

import structlog

from jobs.curated_progress import identified_up_to
from lake_layout.claims import batch_app_id
from lake_layout.lake import Lake
from lake_layout.live_files import live_files
from pipelines.identify import everything, texts_of
from pipelines.identity_changes import applied_up_to, rows_now
from quality.differences import Difference
from schemas.source import Sources
from schemas.tables.identification import IDENTIFICATION, IDENTITY_CHANGE, STAGE, STATING

log = structlog.get_logger(__name__)


def verify_identity(lake: Lake, sources: Sources) -> list[Difference]:
    """What differs; nothing is looked at while a batch is being committed.

    Args:
        lake: where the tables lie.
        sources: settings of the senders, as batches had them.

    Raises:
        LakeError: a table cannot be read.
        TransportError: the store does not answer.
    """
    reached = identified_up_to(lake)
    if reached is None:
        return []
    paths = {
        name: [file.path for file in live_files(lake, STATING[name], version)]
        for name, version in reached.items()
        if version
    }
    expected = everything(lake, sources, paths)
    batch = int(lake.open(IDENTIFICATION).transaction_version(batch_app_id(STAGE)) or 0)
    changes = lake.open(IDENTITY_CHANGE)
    found: list[Difference] = []
    for table, rows in expected:
        if applied_up_to(lake.open(table)) > batch:
            log.warning("identity_under_way", table=table.name)
            continue
        there = Counter(
            hash(text) for some in rows_now(lake, changes, table, batch) for text in texts_of(some)
        )
        wanted = Counter(hash(text) for text in texts_of(rows))
        wrong = sum(((wanted - there) + (there - wanted)).values())
        if wrong:
            found.append(
                Difference(
                    "IDENTITY-DIFFERS",
                    table.name,
                    messages=wrong,
                    expected=rows.num_rows,
                    found=sum(there.values()),
                )
            )
    return found
