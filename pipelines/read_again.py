"""Messages that are read again because an operator asked for it (``ops/decision``).

A batch of normalise takes in either what was landed, or messages of one request that were read before. Which these
are follows from the ledger and the decisions at the versions that the claim pins, so that it is the same each time
that the batch is run:

* of the messages asked for those whose newest reading is of a batch that had ended when it was asked;
* with them all that bear the same ids and were read or found to be copies. Together they are judged as if they came
  for the first time: no message outside the batch bears on it, and none is accepted twice.

Their former rows leave the tables in the commits that bring the new ones; the ledger keeps every reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.added_since import AddedFile
from lake_layout.delta_log import read_commit
from lake_layout.files import NewFile
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import LiveFile, files_of, live_files
from lake_layout.reading import read_file
from lake_layout.rewrite import split_file
from pipelines.parts import Part, parts_of, to_bytes
from schemas.errors import LakeError
from schemas.table import Table
from schemas.tables.ops import DECISION, LEDGER, RETRIED, SETTLED

PLACE = ("topic_id", "partition", "offset")

STEPS = 1_000_000
"""More batches than one request takes: progress counts requests in steps of it, and batches of the next one in ones."""

PASSED_OVER = 32
"""So many decisions that ask for nothing are passed over in one batch, so that they are not looked at for ever."""

_TAKEN = ("accepted", "conflict", "duplicate")
_COLUMNS = (
    *PLACE, "landed_month", "raw_table", "source", "received_at", "id_hash", "disposition", "batch_number", "reading"
)  # fmt: skip
_EMPTY = pa.schema([(name, LEDGER.arrow_schema.field(name).type) for name in _COLUMNS])


def progress_id(raw: Table) -> str:
    """Under this id the tables record which requests were fulfilled."""
    return f"read-again:{raw.name}"


@dataclass(frozen=True)
class Request:
    """A decision that asks for messages of one raw table.

    Attributes:
        version: of ``ops/decision``, whose commit it is.
        rows: of that table; none where there is nothing to do but to pass over decisions.
    """

    version: int
    rows: pa.Table


def next_request(lake: Lake, raw: Table, reached: int) -> Request | None:
    """The first request behind the progress; None where there is none.

    Args:
        lake: where.
        raw: whose messages.
        reached: progress of ``progress_id``.
    """
    fulfilled = reached // STEPS
    newest = int(current_handle(lake, DECISION).version())
    for version in range(fulfilled + 1, newest + 1):
        request = request_at(lake, raw, version)
        if request.rows.num_rows:
            return request
    none = DECISION.arrow_schema.empty_table()
    return Request(newest, none) if newest - fulfilled >= PASSED_OVER else None


def request_at(lake: Lake, raw: Table, version: int) -> Request:
    """What a commit of ``ops/decision`` asks for of a raw table."""
    commit = read_commit(lake.store, DECISION.name, version)
    pieces = [DECISION.arrow_schema.empty_table()]
    pieces += [_decisions(lake, added.path) for added in (commit.added if commit else ())]
    rows = pa.concat_tables(pieces)
    mine = pc.and_(
        pc.equal(rows.column("raw_table"), raw.name), pc.is_in(rows.column("action"), pa.array(RETRIED))
    )
    return Request(version, rows.filter(mine))


def messages_of(lake: Lake, raw: Table, request: Request, ledger_version: int, most: int) -> pa.Table:
    """The messages of a request that are still to be read again, and what bears the same ids.

    Months of landing are looked at one by one; memory holds the ledger's coordinates of one. The ids are looked for
    in the whole ledger, by that column alone.

    Args:
        lake: where.
        raw: the raw table.
        request: what is asked for.
        ledger_version: as of which.
        most: messages asked for; with them come those that bear the same ids.

    Returns:
        One row per message: ``PLACE``, ``landed_month`` and the number that its new ``reading`` has.
    """
    if not request.rows.num_rows:
        return _numbered(_EMPTY.empty_table())
    months: dict[date | None, list[LiveFile]] = {}
    files = live_files(lake, LEDGER, ledger_version)
    for file in files:
        months.setdefault(file.partition, []).append(file)
    last_batch = pc.max(request.rows.column("last_batch")).as_py()
    settled = _settled(lake, request.version)
    for month in sorted(months, key=str):
        asked = newest_of(_asked(lake, raw, request.rows, months[month]))
        left = asked.filter(pc.less_equal(asked.column("batch_number"), last_batch))
        if pc.any(pc.is_null(request.rows.column("offset"))).as_py():
            # of what was read only parts, such as a line of a file, can be settled: it is read again as a whole
            read = pc.is_in(left.column("disposition"), pa.array(_TAKEN))
            left = pa.concat_tables([left.filter(read), _without(left.filter(pc.invert(read)), settled)])
        if left.num_rows:
            chosen = left.slice(0, most)
            return _numbered(pa.concat_tables([chosen, _alike(lake, raw, chosen, files)]))
    return _numbered(_EMPTY.empty_table())


def parts_again(lake: Lake, raw: Table, messages: pa.Table, rows_per_part: int) -> list[Part]:
    """The shares of workers: files of the raw table and which of their messages are read.

    Raises:
        LakeError: ``READ-AGAIN-RAW-GONE``: a message is not in the raw table any more. Nothing was changed.
    """
    found: dict[str, pa.Table] = {}
    files: list[AddedFile] = []
    for file in files_of(current_handle(lake, raw), raw):
        mine = within(messages.filter(pc.equal(messages.column("landed_month"), file.partition)), file)
        if not mine.num_rows:
            continue
        rows = read_file(lake, raw, file.path, PLACE)
        here = mine.filter(_is_among(mine, rows))
        if here.num_rows:
            found[file.path] = here
            files.append(AddedFile(file.path, here.num_rows, file.size, file.partition, 0))
    if sum(here.num_rows for here in found.values()) != messages.num_rows:
        raise LakeError(
            "READ-AGAIN-RAW-GONE",
            "messages that are to be read again are not in the raw table",
            table=raw.name,
        )
    return [
        Part(
            part.number,
            part.files,
            part.rows,
            to_bytes(pa.concat_tables([found[path] for path in part.files])),
        )
        for part in parts_of(files, rows_per_part)
    ]


def only(rows: pa.Table, wanted: pa.Table) -> pa.Table:
    """Of raw rows those of some messages, with the column ``reading``, in their order."""
    place = places_in(wanted, rows)
    there = place >= 0
    reading = wanted.column("reading").take(pa.array(place[there])).cast(pa.int32())
    return rows.filter(pa.array(there)).append_column("reading", reading)


def withdrawn(lake: Lake, table: Table, messages: pa.Table) -> tuple[list[NewFile], list[NewFile]]:
    """What a table loses where messages are read again.

    Args:
        lake: where.
        table: a normalised table, or the quarantine.
        messages: as ``messages_of`` gives them.

    Returns:
        Files with the other rows of those that hold earlier readings of the messages, and those that go for them.
    """
    add, remove = [], []
    for file in files_of(current_handle(lake, table), table):
        mine = within(messages, file)
        if not mine.num_rows:
            continue
        rows = read_file(lake, table, file.path, (*PLACE, "reading"))
        place = places_in(mine, rows)
        new = mine.column("reading").to_numpy()[place]
        old = (place >= 0) & (rows.column("reading").to_numpy() < new)
        if not old.any():
            continue
        _, rest = split_file(lake, table, file.path, old, 1)
        if isinstance(rest, NewFile):
            add.append(rest)
        remove.append(file.to_remove(table))
    return add, remove


def within(messages: pa.Table, file: LiveFile) -> pa.Table:
    """Those of some messages that a file may hold, by its statistics."""
    for name in PLACE:
        low, high = file.low.get(name), file.high.get(name)
        # of long texts statistics keep a beginning; topics' ids are short
        if messages.num_rows and low is not None and high is not None:
            column = messages.column(name)
            kind = column.type
            messages = messages.filter(
                pc.and_(
                    pc.greater_equal(column, pa.scalar(low, kind)),
                    pc.less_equal(column, pa.scalar(high, kind)),
                )
            )
    return messages


def newest_of(rows: pa.Table) -> pa.Table:
    """Of each message the row of its newest reading, in the order of their places."""
    rows = rows.sort_by([(name, "ascending") for name in (*PLACE, "reading")])
    if rows.num_rows < 2:
        return rows
    last = np.ones(rows.num_rows, bool)
    same = np.ones(rows.num_rows - 1, bool)
    for name in PLACE:
        column = rows.column(name).combine_chunks()
        same &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    last[:-1] = ~same
    return rows.filter(pa.array(last))


def _asked(lake: Lake, raw: Table, request: pa.Table, files: Sequence[LiveFile]) -> pa.Table:
    """Ledger rows, of any reading, of the messages that a request names or whose range it names."""
    pieces = [_EMPTY.empty_table()]
    named = request.filter(pc.is_valid(request.column("offset")))
    ranges = request.filter(pc.is_null(request.column("offset"))).to_pylist()
    for file in files:
        mine = within(named, file)
        if not mine.num_rows and not any(_overlaps(file, one) for one in ranges):
            continue
        rows = _of(lake, raw, file)
        flags = _is_among(rows, mine)
        for one in ranges:
            flags = pc.or_(flags, _in_range(rows, one))
        pieces.append(rows.filter(flags))
    return pa.concat_tables(pieces)


def _overlaps(file: LiveFile, asked: dict[str, object]) -> bool:
    """Whether a month of landing has any day of a range."""
    start, end = asked["received_from"], asked["received_to"]
    month = file.partition
    if month is None:
        return True
    too_late = isinstance(end, datetime) and month > end.date()
    too_early = isinstance(start, datetime) and (month.year, month.month) < (start.year, start.month)
    return not too_late and not too_early


def _in_range(rows: pa.Table, asked: dict[str, object]) -> pa.ChunkedArray:
    time, flags = rows.column("received_at"), pc.is_valid(rows.column("offset"))
    if asked["received_from"] is not None:
        flags = pc.and_(flags, pc.greater_equal(time, pa.scalar(asked["received_from"], time.type)))
    if asked["received_to"] is not None:
        flags = pc.and_(flags, pc.less(time, pa.scalar(asked["received_to"], time.type)))
    if asked["source"] is not None:
        flags = pc.and_(flags, pc.equal(rows.column("source"), asked["source"]))
    return flags


def _of(lake: Lake, raw: Table, file: LiveFile) -> pa.Table:
    rows = read_file(lake, LEDGER, file.path, _COLUMNS).cast(_EMPTY)
    return rows.filter(pc.equal(rows.column("raw_table"), raw.name))


def _alike(lake: Lake, raw: Table, chosen: pa.Table, files: Iterable[LiveFile]) -> pa.Table:
    """Messages outside ``chosen`` that bear the ids of any of them and were read, or are copies."""
    ids = pc.unique(chosen.column("id_hash"))
    pieces = [_EMPTY.empty_table()]
    for file in files:
        hashes = read_file(lake, LEDGER, file.path, ["id_hash"])
        if pc.any(pc.is_in(hashes.column("id_hash"), ids)).as_py():
            rows = _of(lake, raw, file)
            pieces.append(rows.filter(pc.is_in(rows.column("id_hash"), ids)))
    found = newest_of(pa.concat_tables(pieces))
    return _without(found.filter(pc.is_in(found.column("disposition"), pa.array(_TAKEN))), chosen)


def _settled(lake: Lake, version: int) -> pa.Table:
    """Messages that somebody discarded or replaced."""
    pieces = [DECISION.arrow_schema.empty_table()]
    pieces += [_decisions(lake, file.path) for file in live_files(lake, DECISION, version)]
    rows = pa.concat_tables(pieces)
    return rows.filter(pc.is_in(rows.column("action"), pa.array(SETTLED)))


def _decisions(lake: Lake, path: str) -> pa.Table:
    return read_file(lake, DECISION, path).cast(DECISION.arrow_schema)


def _without(rows: pa.Table, others: pa.Table) -> pa.Table:
    return rows.filter(pc.invert(_is_among(rows, others)))


def _is_among(rows: pa.Table, others: pa.Table) -> pa.Array:
    return pa.array(places_in(others, rows) >= 0)


def places_in(wanted: pa.Table, rows: pa.Table) -> np.ndarray:
    """For each row the place of its message (``PLACE``) in the table ``wanted``; -1 where it is not there."""
    found = np.full(rows.num_rows, -1, np.int64)
    topics = pc.unique(wanted.column("topic_id"))
    here, there = _of_partitions(rows, topics), _of_partitions(wanted, topics)
    for key in there.keys() & here.keys():
        asked, known = here[key], there[key]
        offsets = wanted.column("offset").to_numpy()[known]
        order = np.argsort(offsets)
        looked_for = rows.column("offset").to_numpy()[asked]
        place = np.minimum(np.searchsorted(offsets[order], looked_for), len(order) - 1)
        found[asked] = np.where(offsets[order][place] == looked_for, known[order[place]], -1)
    return found


def _of_partitions(rows: pa.Table, topics: pa.Array) -> dict[tuple[int, int], np.ndarray]:
    """The numbers of the rows of each topic (by its place in ``topics``) and partition."""
    topic = pc.fill_null(pc.index_in(rows.column("topic_id"), topics), -1).to_numpy()
    partition = rows.column("partition").to_numpy()
    return {
        (int(one), int(number)): np.flatnonzero((topic == one) & (partition == number))
        for one in np.unique(topic[topic >= 0])
        for number in np.unique(partition[topic == one])
    }


def _numbered(rows: pa.Table) -> pa.Table:
    next_reading = pc.add(rows.column("reading"), 1).cast(pa.int32())
    return rows.select([*PLACE, "landed_month"]).append_column("reading", next_reading).combine_chunks()
