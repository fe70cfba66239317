"""What must come out of the city's traffic: dispositions and rows, written down when a message is made up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Value = str | int | float | bool | None
Row = dict[str, Value | list[str]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of one message.

    Attributes:
        source: name of the connection.
        control_id: MSH-10; empty where there is none, and where the message is not to be read at all.
        disposition: one of the five; empty where the listener refuses the message, so that it never gets there.
        code: reason of quarantine or of being ignored.
    """

    source: str
    control_id: str
    disposition: str
    code: str = ""


@dataclass
class Truth:
    """All that must come out.

    Attributes:
        messages: one entry per message that reaches Kafka.
        tables: by table name, the rows that must be there, with the columns that are compared.
    """

    messages: list[Expected] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, expected: Expected, rows: Mapping[str, Sequence[Row]]) -> None:
        """Take up a message; rows count only where it is read."""
        if not expected.disposition:
            return
        self.messages.append(expected)
        if expected.disposition in ("accepted", "conflict"):
            for table, found in rows.items():
                self.tables.setdefault(table, []).extend(found)

    def dispositions(self) -> dict[str, int]:
        """Messages by disposition."""
        counts: dict[str, int] = {}
        for one in self.messages:
            counts[one.disposition] = counts.get(one.disposition, 0) + 1
        return counts

    def save(self, path: Path) -> None:
        """Write as JSON."""
        messages = [[one.source, one.control_id, one.disposition, one.code] for one in self.messages]
        path.write_text(
            json.dumps({"messages": messages, "tables": self.tables}, ensure_ascii=False), "utf-8"
        )

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read what ``save`` wrote."""
        tree = json.loads(path.read_text("utf-8"))
        return cls([Expected(*one) for one in tree["messages"]], tree["tables"])

    @classmethod
    def together(cls, parts: Iterable[Truth]) -> Truth:
        """Several truths as one."""
        whole = cls()
        for part in parts:
            whole.messages += part.messages
            for table, rows in part.tables.items():
                whole.tables.setdefault(table, []).extend(rows)
        return whole
