"""What a comparison of the tables finds: sums per topic partition, differences by code and coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.tables.ops import DISPOSITIONS

EXAMPLES: Final = 10
"""Offsets that a difference names."""


@dataclass
class Difference:
    """Something that is not as it must be; coordinates only.

    Attributes:
        code: what, see ``DIFFERENCES``.
        table: where rows are wrong.
        topic_id, partition: of the messages; empty and -1 where no message is concerned.
        first, last: least and greatest offset concerned (inclusive).
        messages: how many messages (offsets) are concerned; of curated tables how many things, of identity rows.
        expected, found: rows (or bytes) that should be there and that are.
        examples: some of the offsets.
        file: a file of the table, where the difference is one.
    """

    code: str
    table: str
    topic_id: str = ""
    partition: int = -1
    first: int = -1
    last: int = -1
    messages: int = 0
    expected: int = 0
    found: int = 0
    examples: tuple[int, ...] = ()
    file: str = ""

    def absorb(self, other: Difference) -> None:
        """Add a difference of the same kind in a later stretch."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.messages += other.messages
        self.expected += other.expected
        self.found += other.found
        self.examples = (*self.examples, *other.examples)[:EXAMPLES]


DIFFERENCES: Final = {
    "FILE-MISSING": "a file that the table's log names is gone",
    "FILE-SIZE": "a file has another size than the table's log says",
    "FILE-UNREADABLE": "a file of the right size cannot be read",
    "TABLE-MISSING": "a table that a stage wrote is gone",
    "TABLE-REPLACED": "another table has taken the place of one that a stage wrote",
    "CURATED-DIFFERS": "a curated table says otherwise of things than all that was normalised makes of them",
    "CURATED-INDEX": "the local key index has things in other months than the curated table; remove its folder",
    "IDENTITY-DIFFERS": "a table of who is who says otherwise than all that was normalised makes of it",
    "CODES-DIFFER": "ops/coding says otherwise than its rule makes of the concept maps; remove the table, ingest again",
    "CODES-MISSING": "ops/coding lacks codes that observations have; remove the table, ingest again",
    "RAW-TABLE-UNKNOWN": "rows speak of a raw table that is not known",
    "OFFSET-GAP": "offsets were never landed and Kafka does not explain why",
    "OFFSET-AHEAD": "raw holds offsets that landing says it has not reached",
    "PROGRESS-MISSING": "raw holds a partition of which landing keeps no progress",
    "RAW-DOUBLED": "messages stand more than once in raw",
    "RAW-MISSING": "the ledger knows messages that raw does not hold",
    "LEDGER-MISSING": "messages that were normalised have no disposition",
    "LEDGER-DOUBLED": "messages have more than one disposition",
    "LEDGER-DIFFERS": "the ledger's hashes of a message are not those that raw has",
    "LEDGER-AHEAD": "the ledger holds messages that normalising says it has not reached",
    "DISPOSITION-UNKNOWN": "a disposition that there is not",
    "DISPOSITION-REASON": "a message is set aside without a reason, or is a duplicate with one",
    "DISPOSITION-DOUBLED": "the same message was taken more than once",
    "DISPOSITION-UNFOUNDED": "a duplicate or conflict of which no first one was taken",
    "CLAIM-UNKNOWN-TABLE": "messages claim rows in a table that is not known",
    "QUARANTINE-MISSING": "quarantined messages are not in ops/quarantine",
    "QUARANTINE-DOUBLED": "quarantined messages stand more than once in ops/quarantine",
    "QUARANTINE-SURPLUS": "ops/quarantine holds messages that are not quarantined",
    "ROWS-MISSING": "rows that messages claim are not in the table",
    "ROWS-DOUBLED": "rows that messages claim stand more than once in the table",
    "ROWS-REPEATED": "what a segment of a message says once stands more than once in the table",
    "ROWS-SURPLUS": "the table holds rows that no message claims",
    "ROWS-MISPLACED": "rows stand in another month than their own time says",
    "ROWS-OUTDATED": "the table holds rows of an earlier reading of messages that were read again",
    "ROWS-AHEAD": "the table holds rows of a batch that was never begun",
    "ROWS-UNKNOWN-TOPIC": "the table holds rows of a topic partition of which nothing was landed",
    "OBJECT-MISSING": "an object that raw points to is gone",
    "OBJECT-SIZE": "an object that raw points to has another size",
}
"""Codes of differences and what they say."""


@dataclass
class PartitionCount:
    """The sum of one topic partition: landed = the dispositions + pending.

    Attributes:
        raw_table, topic_id, partition: which.
        first: least offset that was compared.
        next: next offset to be landed.
        landed: messages in raw, each counted once.
        dispositions: messages by disposition, latest reading.
        pending: landed and not normalised yet.
    """

    raw_table: str
    topic_id: str
    partition: int
    first: int
    next: int
    landed: int = 0
    dispositions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DISPOSITIONS, 0))
    pending: int = 0


@dataclass
class Report:
    """What was found.

    Attributes:
        partitions: the sums.
        differences: what is wrong.
        unfinished_rows: rows of a batch that is not ended (running, or to be run again), not compared.
        explained: offsets left out that Kafka explains.
        objects: objects that were looked at.
    """

    partitions: list[PartitionCount] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unfinished_rows: int = 0
    explained: int = 0
    objects: int = 0

    @property
    def pending(self) -> int:
        """Messages that are landed and not normalised yet."""
        return sum(partition.pending for partition in self.partitions)

    def clean(self, *, strict: bool = False) -> bool:
        """Whether nothing is wrong; if ``strict``, whether nothing is left to do either."""
        return not self.differences and not (strict and (self.pending or self.unfinished_rows))

    def add(self, difference: Difference) -> None:
        """Take up a difference; the same kind in the same partition becomes one."""
        for known in self.differences:
            same = (known.code, known.table, known.topic_id, known.partition) == (
                difference.code, difference.table, difference.topic_id, difference.partition
            )  # fmt: skip
            if same and not difference.file and difference.code != "OFFSET-GAP":
                known.absorb(difference)
                return
        self.differences.append(difference)
