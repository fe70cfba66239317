"""Named places at which a process can be made to die, so that what a crash leaves behind is tried at each of them.

``PHL_FAIL_POINT=after-commit:3`` lets the process kill itself (SIGKILL) when it comes by ``after-commit`` for the third
time; ``after-commit:3:stop`` lets it stop there instead (SIGSTOP), until it is continued: a process that everybody
takes for dead. Without the variable a place costs one look at the environment, a few times in a batch.
"""

from __future__ import annotations

import itertools
import os
import signal
from typing import Final, NamedTuple

VARIABLE: Final = "PHL_FAIL_POINT"

ALL_STAGES: Final = ("land", "normalise", "again", "curate", "identity")
"""``again`` is normalise at messages that are read again; it and identity run in the processes of others."""
LATER_STAGES: Final = ALL_STAGES[1:]
NORMALISES: Final = ("normalise", "again")
IDENTITY: Final = ("identity",)
UPKEEP: Final = ("upkeep",)
"""Not a stage: what keeps tables in shape between the batches of all stages."""
COLLECT: Final = ("collect",)
"""Not a stage: what takes in files that are dropped."""


class FailPoint(NamedTuple):
    """A place.

    Attributes:
        name: what ``fail_point`` is called with there.
        stages: who comes by.
        where: what has been done by then, and what not.
    """

    name: str
    stages: tuple[str, ...]
    where: str


FAIL_POINTS: Final = (
    FailPoint("claim-made", ALL_STAGES, "the batch is claimed; nothing of it is done"),
    FailPoint("claim-adopted", ALL_STAGES, "a claim that another process left open is about to be run"),
    FailPoint("before-fence", ALL_STAGES, "a claim is taken over; a table still has what the former one did"),
    FailPoint("after-fence", ALL_STAGES, "one table is rolled back, others are not"),
    FailPoint("records-read", ("land",), "records are read from Kafka, none is written"),
    FailPoint("again-chosen", ("again",), "it is known which messages are read again, none is"),
    FailPoint("ids-read", NORMALISES, "the ids of a part are read, nothing is decided"),
    FailPoint("month-decided", NORMALISES, "dispositions are decided against the duplicate index"),
    FailPoint("object-stored", NORMALISES, "an embedded document lies in the lake, no row refers to it"),
    FailPoint("part-parsed", NORMALISES, "messages are parsed, their last rows not written"),
    FailPoint("rows-left", ("again",), "files without a table's former rows are written, none is committed"),
    FailPoint(
        "identity-claimed", ("identity",), "curate is through, identity has its batch and did nothing of it"
    ),
    FailPoint("table-stated", ("curate",), "the new rows of a table are read and their aliases resolved"),
    FailPoint("table-decided", ("curate",), "the files of a curated table are written, none is committed"),
    FailPoint("run-written", ("normalise", "curate"), "a run of an index is on disk, no manifest names it"),
    FailPoint(
        "manifest-written",
        ("normalise", "curate"),
        "an index is brought up to date, old runs are not removed",
    ),
    FailPoint(
        "known-written", IDENTITY, "rows kept on the local disk are changed, the change does not count yet"
    ),
    FailPoint("known-read", IDENTITY, "what is known of those that are new is read, nothing is decided"),
    FailPoint("before-file", ALL_STAGES, "a Parquet file is made, the store does not have it"),
    FailPoint("after-file", ALL_STAGES, "the store has a Parquet file, no commit names it"),
    FailPoint("before-commit", LATER_STAGES, "a table is looked at and the commit decided, not made"),
    FailPoint("after-commit", LATER_STAGES, "one table has its commit, the batch has not ended"),
    FailPoint(
        "tables-committed", ("normalise", "again", "curate"), "all tables have their commits but the last"
    ),
    FailPoint("before-last-commit", ALL_STAGES, "the commit that ends the batch is decided, not made"),
    FailPoint("after-last-commit", ALL_STAGES, "the batch has ended, its process does not know"),
    FailPoint(
        "before-apply", IDENTITY, "changes of ended batches are written to files of a table, not committed"
    ),
    FailPoint("after-apply", IDENTITY, "one table has the changes, others have not"),
    FailPoint("before-forget", IDENTITY, "all tables have the changes, which are still there"),
    FailPoint("after-forget", IDENTITY, "the changes are there no more"),
    FailPoint("before-merge", UPKEEP, "small files are written as one, the commit is not made"),
    FailPoint("after-merge", UPKEEP, "small files are replaced by one"),
    FailPoint("before-checkpoint", UPKEEP, "a checkpoint is due"),
    FailPoint("after-checkpoint", UPKEEP, "there is a new checkpoint, nothing is cleaned"),
    FailPoint("after-vacuum", UPKEEP, "files that left the table are deleted, the log is not cleaned"),
    FailPoint("log-entry-deleted", UPKEEP, "one entry of the log is removed, others that may go are not"),
    FailPoint("claim-deleted", UPKEEP, "one claim of long ago is removed, others are not"),
    FailPoint("files-sent", COLLECT, "Kafka has files that were dropped, none is marked as taken"),
    FailPoint("file-marked", COLLECT, "one of them is marked as taken, others are not, none is moved"),
)
"""Every place, in the order in which a batch comes by."""

_passed = itertools.count(1)


def fail_point(name: str) -> None:
    """Die or stop here, where the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if wanted is not None:
        _reach(name, wanted)


def _reach(name: str, wanted: str) -> None:
    point, _, rest = wanted.partition(":")
    nth, _, action = rest.partition(":")
    if point != name or next(_passed) != int(nth or 1):
        return
    os.write(2, f"fail point {name} reached\n".encode("ascii"))
    os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)
