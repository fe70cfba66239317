"""Does a raw table hold what its progress says?

``restore`` and overwrite keep a table's ``txn``s: the rows are gone and the progress is not, so a stage would go on
behind a hole. The greatest offset in the table tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of
from lake_layout.reading import read_file
from schemas.errors import LakeError
from schemas.table import Table

Place = tuple[str, int]
"""Topic id and partition."""


def check_place(lake: Lake, table: Table, app_ids: Mapping[str, Place]) -> None:
    """Compare the greatest offsets in a table with its txns; to be called when a stage starts.

    Args:
        lake: where.
        table: a table with the columns ``topic_id``, ``partition`` and ``offset``.
        app_ids: by txn app id, whose next offset its version is.

    Raises:
        LakeError: ``LAKE-PLACE`` where they differ.
    """
    handle = lake.open(table)
    greatest: dict[Place, int] = {}
    for file in files_of(handle, table):
        for place, offset in _greatest(lake, table, file).items():
            greatest[place] = max(offset, greatest.get(place, -1))
    for app_id, place in sorted(app_ids.items()):
        recorded = handle.transaction_version(app_id)
        there = greatest.get(place)
        if recorded != (None if there is None else there + 1):
            raise LakeError(
                "LAKE-PLACE",
                "the table was restored or overwritten: its rows end elsewhere than its progress says; put it back to"
                " its newest version",
                table=table.name, topic_id=place[0], partition=place[1],
                recorded=-1 if recorded is None else int(recorded), there=-1 if there is None else there + 1,
            )  # fmt: skip


def single_place(file: LiveFile) -> Place | None:
    """The one topic partition that all rows of a file are from; None where there are several or nobody knows."""
    topic_id, partition = file.low.get("topic_id"), file.low.get("partition")
    if (topic_id, partition) != (file.high.get("topic_id"), file.high.get("partition")):
        return None
    return (topic_id, partition) if isinstance(topic_id, str) and isinstance(partition, int) else None


def _greatest(lake: Lake, table: Table, file: LiveFile) -> dict[Place, int]:
    place, offset = single_place(file), file.high.get("offset")
    if place is not None and isinstance(offset, int):
        return {place: offset}
    rows = read_file(lake, table, file.path, ["topic_id", "partition", "offset"])
    found = rows.group_by(["topic_id", "partition"]).aggregate([("offset", "max")])
    columns = (found.column(name).to_pylist() for name in ("topic_id", "partition", "offset_max"))
    return {(topic_id, partition): last for topic_id, partition, last in zip(*columns, strict=True)}
