"""Which messages repeat others: by what names them and by what they say.

Two 64-bit hashes of the raw table decide. ``id_hash`` stands for source, MSH-3, MSH-4, MSH-10 and date (or what
names a message in another modality), ``content_hash`` for everything but what a resend changes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from lake_layout.lake import Lake
from lake_layout.sorted_runs import IndexLocation, RunSource, SortedRuns, open_runs
from schemas.tables.ops import LEDGER

ORDER = ("received_at", "topic_id", "partition", "offset")
"""Of equal messages of a batch the first in this order counts."""

Hashes = np.ndarray[tuple[int], np.dtype[np.int64]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Index(Protocol):
    """What was read before this batch, by bucket."""

    def lookup(self, bucket: str, key: Hashes, value: Hashes) -> tuple[Flags, Flags]:
        """For each pair of hashes: is the id known, is it known with this content?"""


class _Nothing:
    """An index that knows no message."""

    def lookup(self, bucket: str, key: Hashes, value: Hashes) -> tuple[Flags, Flags]:  # noqa: ARG002 - as all
        """None of them is known."""
        return np.zeros(len(key), np.bool_), np.zeros(len(value), np.bool_)


NOTHING_BEFORE: Index = _Nothing()
"""What is judged against it is judged among itself."""


def open_index(
    lake: Lake, location: IndexLocation, raw_table: str, version: int, *, ledger_id: str | None = None
) -> SortedRuns:
    """The duplicate index of a raw table as the ledger's ``version`` has it.

    Only what has rows in the tables counts: a copy of a message that was quarantined or ignored is judged anew.

    Args:
        lake: where the ledger lies.
        location: where the index lies.
        raw_table: whose messages.
        version: of the ledger.
        ledger_id: the ledger's table id, where the caller knows it (a claim has it); spares opening the table.
    """
    source = RunSource(
        table=LEDGER,
        name=raw_table.replace("/", "-"),
        where=(("raw_table", (raw_table,)), ("disposition", ("accepted", "conflict"))),
        bucket="sent_month",
        key="id_hash",
        value="content_hash",
    )
    return open_runs(lake, location, source, version, table_id=ledger_id)


def decide(ids: pa.Table, index: Index, bucket: str) -> pa.Table:
    """Judge the messages of one bucket against the index and against each other.

    Args:
        ids: ``received_at``, ``topic_id``, ``partition``, ``offset``, ``id_hash``, ``content_hash`` and whatever
            else.
        index: what was read before.
        bucket: the month as sent that all ``ids`` share.

    Returns:
        ``ids`` with ``disposition``: ``duplicate`` where the same id and content were read before or come earlier
        in ``ORDER``; ``conflict`` where the id was, with other content only; ``accepted`` else.
    """
    key = _int64(ids, "id_hash")
    value = _int64(ids, "content_hash")
    known, same = index.lookup(bucket, key, value)
    # most ids are there once: only the others have to be put in order
    rows = _with_repeated(key)
    some = ids.take(pa.array(rows))
    order = _order(some)
    by_id = order[np.argsort(key[rows][order], kind="stable")]
    by_content = by_id[np.lexsort((value[rows][by_id], key[rows][by_id]))]
    repeats_id = np.zeros(len(key), np.bool_)
    repeats_id[rows] = _repeats(by_id, key[rows])
    repeats_content = np.zeros(len(key), np.bool_)
    repeats_content[rows] = _repeats(by_content, key[rows], value[rows])
    duplicate = same | repeats_content
    conflict = ~duplicate & (known | repeats_id)
    choices = pa.array(["accepted", "conflict", "duplicate"])
    disposition = choices.take(pa.array(np.where(duplicate, 2, np.where(conflict, 1, 0))))
    return ids.append_column("disposition", disposition)


def _with_repeated(key: Hashes) -> Hashes:
    """Rows whose key another row has too, ascending."""
    order = np.argsort(key, kind="stable")
    equal = key[order][1:] == key[order][:-1]
    flags = np.zeros(len(key), np.bool_)
    flags[order[1:][equal]] = True
    flags[order[:-1][equal]] = True
    return np.flatnonzero(flags)


def _order(ids: pa.Table) -> Hashes:
    """Places of the rows in ``ORDER``."""
    topics = ids.column("topic_id").combine_chunks().dictionary_encode()
    names = np.array(topics.dictionary.to_pylist(), dtype=object)
    rank = np.argsort(np.argsort(names))
    time = _int64(ids, "received_at")
    topic = rank[topics.indices.to_numpy()]
    order: Hashes = np.lexsort((_int64(ids, "offset"), _int64(ids, "partition"), topic, time))
    return order


def _repeats(order: Hashes, *columns: Hashes) -> Flags:
    """For each row whether the row before it in ``order`` has the same values."""
    flags = np.zeros(len(order), np.bool_)
    if len(order) > 1:
        equal = np.ones(len(order) - 1, np.bool_)
        for column in columns:
            ordered = column[order]
            equal &= ordered[1:] == ordered[:-1]
        flags[order[1:]] = equal
    return flags


def _int64(table: pa.Table, name: str) -> Hashes:
    values: Hashes = table.column(name).combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
    return values
