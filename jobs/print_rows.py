"""Rows of a query for people and programs: a table on the terminal, JSON, CSV.

Values come from messages. On a terminal, control characters in them are shown as escapes, so that no message
can steer the reader's terminal; bytes are shown by their number.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_NARROWEST: Final = 9
"""Cells that a column must have at least; where there are fewer, rows are printed one below another."""
_CELL_LIMIT: Final = 400


def column_names(schema: pa.Schema) -> list[str]:
    """Names of the columns; a repeated name gets a number, so that no value is lost in JSON."""
    taken: set[str] = set()
    names = []
    for name in schema.names:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        names.append(unique)
    return names


def rows_of(reader: pa.RecordBatchReader) -> Iterator[tuple[object, ...]]:
    """The rows, one batch in memory at a time."""
    for batch in reader:
        columns = [column.to_pylist() for column in batch.columns]
        yield from zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)


def write_json(reader: pa.RecordBatchReader, out: TextIO) -> None:
    """A JSON array with an object per row; bytes as hexadecimal, times as ISO 8601."""
    names = column_names(reader.schema)
    separator = "["
    for row in rows_of(reader):
        values = {name: plain(value) for name, value in zip(names, row, strict=True)}
        out.write(f"{separator}\n{json.dumps(values, ensure_ascii=False)}")
        separator = ","
    out.write("[]\n" if separator == "[" else "\n]\n")


def write_csv(reader: pa.RecordBatchReader, out: TextIO) -> None:
    """CSV (RFC 4180) with a line of names; nothing where a value is absent, lists and structures as JSON."""
    writer = csv.writer(out)
    writer.writerow(column_names(reader.schema))
    for row in rows_of(reader):
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: object) -> str | int | float:
    simple = plain(value)
    if simple is None:
        return ""
    if isinstance(simple, bool):
        return "true" if simple else "false"
    if isinstance(simple, list | dict):
        return json.dumps(simple, ensure_ascii=False)
    return simple


def plain(value: object) -> Json:  # noqa: PLR0911 - one line per type
    """A value in the types of JSON; a number that JSON has not (NaN, infinite) is null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if hasattr(value, "nanoseconds"):  # pyarrow's MonthDayNano
            return duration(*value)
        return [plain(item) for item in value]
    return str(value)


def duration(months: int, days: int, nanoseconds: int) -> str:
    """An interval as ISO 8601 writes durations: ``P1M3DT0.5S``; its parts may differ in sign."""
    text = "P" + (f"{months}M" if months else "") + (f"{days}D" if days else "")
    if nanoseconds or text == "P":
        whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
        sign = "-" if nanoseconds < 0 else ""
        text += f"T{sign}{whole}" + (f".{rest:09}".rstrip("0") if rest else "") + "S"
    return text


def shown(value: object) -> str:
    """A value as one line of harmless text for a terminal."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, datetime):
        text = value.isoformat(sep=" ")
        return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    simple = plain(value)
    text = simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)
    if len(text) > _CELL_LIMIT:
        text = f"{text[:_CELL_LIMIT]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def write_pretty(reader: pa.RecordBatchReader, limit: int) -> None:
    """A table that fits the terminal; where it has too many columns for that, one row below another.

    Args:
        reader: the rows.
        limit: the most rows to print.
    """
    import pyarrow as pa

    names = column_names(reader.schema)
    rows = rows_of(reader)
    first = list(islice(rows, limit))
    more = next(rows, None) is not None
    if not names:
        return
    numeric = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in reader.schema.types
    ]
    cells = [[shown(value) for value in row] for row in first]
    print_grid(names, cells, numeric)
    sys.stdout.write(f"{len(first):,} rows" + ("; there are more, see --rows" if more else "") + "\n")


def print_grid(names: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    """Print a table to stdout; on a terminal that is too narrow for it, one row below another.

    Args:
        names: of the columns.
        cells: rows of text.
        numeric: which columns hold numbers.
    """
    from rich.console import Console

    if not sys.stdout.isatty():
        # what goes to a file or a pipe is not folded
        Console(width=max(80, full_width(names, cells))).print(grid(names, cells, numeric))
        return
    console = Console()
    if len(names) > max(1, console.width // _NARROWEST):
        _one_below_another(names, cells, console)
    else:
        console.print(grid(names, cells, numeric))


def grid(names: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Table:
    """A table for rich; cells are text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(names, numeric, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    return table


def full_width(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Cells of a terminal that hold the whole table."""
    from rich.cells import cell_len

    widest = [
        max([cell_len(name), *(cell_len(row[column]) for row in cells)]) for column, name in enumerate(names)
    ]
    return sum(widest) + 3 * len(widest) + 2


def _one_below_another(names: Sequence[str], cells: Sequence[Sequence[str]], console: Console) -> None:
    from rich.text import Text

    wide = max(len(name) for name in names)
    for number, row in enumerate(cells, start=1):
        console.rule(f"row {number}", align="left", style="dim")
        for name, cell in zip(names, row, strict=True):
            if cell:  # of seventy columns most are empty
                console.print(Text(f"{name:<{wide}}  {cell}"))
