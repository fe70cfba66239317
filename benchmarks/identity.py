"""What a batch of the identity stage costs beside how many persons there are.

``python -m benchmarks.identity [persons …]``: each person has a record number and a card that a PID lists beside it. A
batch has 1,000 messages: of persons who are there, chosen at random among all, and of 100 new ones; besides a steward
links ten pairs. What batches change is applied to the tables now and then, as the stage does; where there are too many
persons to wait for that, it is done once at the end. Each size in a process of its own, so that memory is its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import pyarrow as pa

from benchmarks.curate import a_lake, own_memory, put
from benchmarks.measure import show
from jobs.run_stages import Context, identify_batch
from lake_layout.files import NewFile, write_file
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.live_files import files_of
from pipelines.identity import person_id, resolve
from pipelines.identity_apply import APPLIED_AT_A_SHARE, apply_where_due
from pipelines.identity_edges import key_of
from schemas.table import INSTANT, Table
from schemas.tables.identification import IDENTITY_CHANGE, STATING
from schemas.tables.identity import (
    IDENTIFIER_SEEN,
    IDENTITY,
    PERSON,
    PERSON_ID_HISTORY,
    PERSON_IDENTIFIER,
    PERSON_LINK,
    SEEN,
)
from schemas.tables.normalised import PATIENT
from schemas.tables.steward_event import STEWARD_EVENT

_FILE = 200_000
_MESSAGES, _NEW, _LINKS = 1_000, 100, 10
_ROUNDS = 3
_CHECKED = 200
_BEGAN = 1_750_000_000_000_000
"""Microseconds since 1970 of the first message."""
_JANUARY = date(2026, 1, 1)


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--beside"]:
        batches_beside(int(sys.argv[2]))
        return
    sizes = [int(one) for one in sys.argv[1:]] or [10_000, 300_000]
    found = []
    for size in sizes:
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.identity", "--beside", str(size)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found.append((f"{size:,}", *answer.stdout.splitlines()[-1].split()))
    show(
        f"who is who after {_MESSAGES:,} messages more: CPU s, median of {_ROUNDS}",
        (
            "persons there",
            "a batch",
            "looked up",
            "resolved",
            "written, committed",
            "applied to tables",
            "every … batches",
            "a batch with that",
            "own MiB",
            "first batch",
        ),
        found,
    )


def batches_beside(size: int) -> None:
    """Print a row: CPU seconds of batches and of applying, MiB, and seconds of the first batch, which keeps rows."""
    with a_lake() as context:
        context.lake.create_missing(list(STATING.values()))
        random = np.random.default_rng(size)
        fill(context.lake, size)
        first, _ = a_batch(context, 0, random.integers(0, size, _MESSAGES - _NEW), size)
        batches, steps, applied = [], [], []
        for turn in range(1, _ROUNDS + 1):
            chosen = random.integers(0, size, _MESSAGES - _NEW)
            seconds, of_steps = a_batch(context, turn, chosen, size + turn * _NEW)
            applied.append(of_steps.get("apply", 0.0))
            batches.append(seconds - applied[-1])
            steps.append(
                [of_steps["components"], of_steps["resolve"], of_steps["write"] + of_steps["commit"]]
            )
        memory = own_memory()
        each, *means = (float(one) for one in (np.median(batches), *np.median(np.array(steps), axis=0)))
        apply, every = float(np.median(applied)), 1.0
        if waiting := _waiting(context.lake):
            began = time.process_time()
            apply_where_due(context.lake, context.index, at_once=True)
            apply = time.process_time() - began
            there = sum(int(current_handle(context.lake, table).count()) for table in IDENTITY)
            every = max(1.0, there / APPLIED_AT_A_SHARE / (waiting / (_ROUNDS + 1)))
        told = [f"{one:.2f}" for one in (each, *means, apply)]
        print(*told, f"{every:.0f}", f"{each + apply / every:.2f}", memory, f"{first:.1f}")


def _waiting(lake: Lake) -> int:
    """Changes that are not applied."""
    return sum(file.rows for file in files_of(current_handle(lake, IDENTITY_CHANGE), IDENTITY_CHANGE))


def a_batch(context: Context, turn: int, persons: Iterable[int], new: int) -> tuple[float, dict[str, float]]:
    """Commit what messages say, and take it in; CPU seconds, and those by step."""
    numbers = [*(int(one) for one in persons), *range(new, new + _NEW)]
    time_of = _BEGAN + (turn + 1) * 1_000_000_000
    patients = [
        {
            **_origin(number, turn, time_of),
            "identifiers": [
                {"value": f"P{one}", "authority": "CLINIC", "type": "MR"},
                {"value": f"C{one}", "authority": "CITY", "type": "NI"},
            ],
        }
        for number, one in enumerate(numbers)
    ]
    events = [
        {
            **_origin(_MESSAGES + number, turn, time_of), "action": "link", "steward": "somebody", "reason": "",
            "first_value": f"P{numbers[2 * number]}", "first_authority": "CLINIC",
            "second_value": f"P{numbers[2 * number + 1]}", "second_authority": "CLINIC",
        }
        for number in range(_LINKS)
    ]  # fmt: skip
    for table, rows in ((PATIENT, patients), (STEWARD_EVENT, events)):
        put(context.lake, table, [write_file(context.lake, table, _table(table, rows), _JANUARY)])
    began = time.process_time()
    outcome = identify_batch(context)
    seconds = time.process_time() - began
    if outcome is None or outcome.messages != _MESSAGES + _LINKS:
        raise AssertionError("not all was taken in")
    return seconds, dict(outcome.steps)


def _origin(number: int, turn: int, time_of: int) -> dict[str, object]:
    return {
        "topic_id": "topic", "partition": 0, "offset": turn * 2 * _MESSAGES + number, "source": "clinic",
        "message_type": "ADT^A08", "received_at": time_of + number, "version_time": time_of + number,
        "segment_index": 2, "batch_number": turn + 1, "reading": 0,
    }  # fmt: skip


def _table(table: Table, rows: Sequence[dict[str, object]]) -> pa.Table:
    fields = [one for one in table.arrow_schema if one.name != table.partition_by]
    return pa.Table.from_pylist(
        [{one.name: row.get(one.name) for one in fields} for row in rows], pa.schema(fields)
    )


def fill(lake: Lake, size: int) -> None:
    """Commit the tables as they are when each person was seen once.

    Raises:
        AssertionError: the stage would have made others of it.
    """
    tables = (PERSON, PERSON_IDENTIFIER, PERSON_ID_HISTORY, IDENTIFIER_SEEN)
    files: dict[str, list[NewFile]] = {table.name: [] for table in tables}
    for first in range(0, size, _FILE):
        made = tables_of(range(first, min(first + _FILE, size)))
        for table, rows in made.items():
            files[table.name].append(write_file(lake, table, rows, None))
    some = tables_of(range(_CHECKED))
    found = resolve(PERSON_LINK.arrow_schema.empty_table(), some[IDENTIFIER_SEEN].cast(SEEN))
    for table, rows in (
        (PERSON, found.persons), (PERSON_IDENTIFIER, found.identifiers), (PERSON_ID_HISTORY, found.history),
    ):  # fmt: skip
        if sorted(map(repr, rows.to_pylist())) != sorted(map(repr, some[table].to_pylist())):
            raise AssertionError(f"{table.name} is made otherwise")
        put(lake, table, files[table.name])
    put(lake, IDENTIFIER_SEEN, files[IDENTIFIER_SEEN.name])


def tables_of(numbers: range) -> dict[Table, pa.Table]:
    """The rows of some persons."""
    many = len(numbers)
    own, cards = ([f"{letter}{number}" for number in numbers] for letter in "PC")
    ids = [person_id("CLINIC", value) for value in own]
    keys = [key_of("patient", "CLINIC", value) for value in own]
    card_keys = [key_of("patient", "CITY", value) for value in cards]
    seen = pa.array(np.full(many, _BEGAN)).cast(INSTANT)

    def both(one: Sequence[object], other: Sequence[object]) -> list[object]:
        return [*one, *other]

    times = pa.chunked_array([seen, seen])
    named = {
        "value": both(own, cards), "authority": both(["CLINIC"] * many, ["CITY"] * many),
        "type": both(["MR"] * many, ["NI"] * many), "first_seen": times, "last_seen": times,
    }  # fmt: skip
    columns: dict[Table, dict[str, object]] = {
        PERSON: {
            "person_id": ids, "value": own, "authority": ["CLINIC"] * many, "first_seen": seen,
            "identifiers": [1] * many,
        },
        PERSON_IDENTIFIER: {
            **named, "person_id": ids * 2, "use": both(["usual"] * many, ["secondary"] * many),
            "role": both(["subject"] * many, ["listed"] * many),
        },
        PERSON_ID_HISTORY: {
            "person_id": ids, "value": own, "authority": ["CLINIC"] * many, "current_person_id": ids,
            "given_from": seen, "given_until": pa.nulls(many, INSTANT),
        },
        IDENTIFIER_SEEN: {
            **named, "patient_value": own * 2, "patient_authority": ["CLINIC"] * (2 * many), "patient_key": keys * 2,
            "key": both(keys, card_keys),
        },
    }  # fmt: skip
    return {
        table: pa.table({name: some[name] for name in table.arrow_schema.names}).cast(table.arrow_schema)
        for table, some in columns.items()
    }


if __name__ == "__main__":
    main()
