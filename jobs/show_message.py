"""Messages for a person to look at: as trees, and as the rows that they become."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.hl7_files import stream_messages
from jobs.print_rows import Json, plain, print_grid, shown
from pipelines.hl7v2.decode import decode_batch
from pipelines.hl7v2.library import parse
from pipelines.hl7v2.tree import FieldValue, Segment, read_trees
from schemas.errors import ConfigError
from schemas.findings import FINDINGS
from schemas.source import Source

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.tree import Tree


@dataclass(frozen=True)
class Shown:
    """A message as it is shown.

    Attributes:
        name: file and number of the message in it.
        segments: the tree; empty where the message cannot be read.
        tables: rows of each table, without the columns that are empty.
        problem: code of why it cannot be read.
    """

    name: str
    segments: Sequence[Segment]
    tables: Mapping[str, pa.Table]
    problem: str | None

    def plain(self, *, tree: bool, rows: bool) -> Json:
        """In the types of JSON."""
        result: dict[str, Json] = {"message": self.name, "problem": self.problem}
        if tree:
            result["segments"] = [
                {"name": segment.name, "fields": [plain(field) for field in segment.fields]}
                for segment in self.segments
            ]
        if rows:
            result["tables"] = {
                name: [plain(row) for row in filled(table).to_pylist()] for name, table in self.tables.items()
            }
        return result


def show_files(files: Sequence[Path], source: Source) -> Iterator[Shown]:
    """The messages of some files, one after the other.

    Args:
        files: paths; ``-`` for standard input.
        source: charset and time zone of what does not say.

    Raises:
        ConfigError: ``CONFIG-FILE``: a file cannot be read.
    """
    for file in files:
        try:
            with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
                for number, message in enumerate(stream_messages(stream), 1):
                    yield show_message(f"{file.name}#{number}", message, source)
        except OSError as error:
            raise ConfigError(
                "CONFIG-FILE", "the file cannot be read", file=str(file), reason=error.strerror or ""
            ) from None


def show_message(name: str, message: bytes, source: Source) -> Shown:
    """One message as it is shown."""
    import pyarrow as pa

    reading = parse([message], source=source, received_at=datetime.now(UTC))
    if reading.unreadable.num_rows:
        return Shown(name, (), {}, reading.unreadable.column("code")[0].as_py())
    (tree,) = read_trees(decode_batch(pa.array([message], pa.binary()), [source.charset]))
    return Shown(name, tree, dict(reading), None)


def filled(table: pa.Table) -> pa.Table:
    """The columns in which any row has something, without what every row has from its message."""
    import pyarrow as pa

    keep = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        listed = pa.types.is_list(column.type)
        empty = column.null_count == len(column) or (listed and not sum(map(len, column.to_pylist())))
        if name != "row" and not empty:
            keep.append(name)
    return table.select(keep)


def write_pretty(message: Shown, *, tree: bool, rows: bool) -> None:
    """Print a message; control characters in it are shown as escapes."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.rule(message.name)
    if message.problem is not None:
        console.print(f"{message.problem}: {FINDINGS[message.problem].sentence}")
        return
    if tree:
        console.print(_tree(message.segments))
    if not rows:
        return
    for name, table in message.tables.items():
        columns = filled(table)
        console.print(f"\n{name}: {table.num_rows} {'row' if table.num_rows == 1 else 'rows'}")
        print_columns(columns)
    for code in sorted({code for table in message.tables.values() for code in _codes(table)}):
        console.print(f"\n{code}: {FINDINGS[code].sentence}")


def print_columns(table: pa.Table) -> None:
    """Print a table with a line for each column, since most rows have more columns than a terminal is wide."""
    names = ["column", *(f"[{number}]" for number in range(table.num_rows))]
    columns = [[shown(value) for value in column.to_pylist()] for column in table.columns]
    cells = [[name, *values] for name, values in zip(table.column_names, columns, strict=True)]
    print_grid(names, cells, [False] * len(names))


def _codes(table: pa.Table) -> set[str]:
    return {code for codes in table.column("codes").to_pylist() for code in codes}


def _tree(segments: Sequence[Segment]) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text("message"), hide_root=True)
    for index, segment in enumerate(segments):
        branch = root.add(Text(f"{shown(segment.name)} [{index}]"))
        for number, field in enumerate(segment.fields, 1):
            for place, text in _leaves(f"{segment.name}-{number}", field):
                branch.add(Text(f"{shown(place)}  {shown(text)}"))
    return root


def _leaves(place: str, field: FieldValue) -> Iterator[tuple[str, str]]:
    """Every leaf that is not empty, by its place: ``PID-3[2].4.1``."""
    for repetition, components in enumerate(field, 1):
        which = f"[{repetition}]" if len(field) > 1 else ""
        for component, leaves in enumerate(components, 1):
            part = f".{component}" if len(components) > 1 or len(leaves) > 1 else ""
            for number, text in enumerate(leaves, 1):
                if text:
                    yield f"{place}{which}{part}{f'.{number}' if len(leaves) > 1 else ''}", text
