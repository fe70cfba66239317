"""A concept map: entries as an operator writes them in a CSV file, and which one counts for what was sent."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from pipelines.codes.units import ucum_code
from schemas.codes.analytes import ANALYTES
from schemas.codes.loinc import is_loinc
from schemas.errors import ConfigError
from schemas.tables.coding import EVERY_SOURCE

REQUIRED: Final = ("code", "loinc")
OPTIONAL: Final = (
    "code_system", "specimen_type", "method", "unit", "display", "canonical_unit", "valid_from", "valid_to",
)  # fmt: skip
PASSED_OVER: Final = ("source", "name", "results", "reason")
"""Columns of ``phl codes unmapped``, so that its list can be filled in and loaded."""

LARGEST_FILE: Final = 64 * 1024 * 1024
MOST_PROBLEMS: Final = 20
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a map.

    Attributes:
        source: whose codes; ``*`` for all.
        code, code_system, specimen_type, method, unit: what was sent; of all but the code empty means whichever.
        valid_from, valid_to: days that it holds for: from the one, up to and without the other.
        loinc: what it means; empty takes the entry back.
        display, canonical_unit: what the operator says of the concept.
        line: of the file.
    """

    source: str
    code: str
    loinc: str
    code_system: str = ""
    specimen_type: str = ""
    method: str = ""
    unit: str = ""
    valid_from: date | None = None
    valid_to: date | None = None
    display: str = ""
    canonical_unit: str = ""
    line: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """What names it: a later one with the same key takes its place."""
        return (
            self.source, self.code, self.code_system, self.specimen_type, self.method, self.unit, self.valid_from,
        )  # fmt: skip

    @property
    def says(self) -> tuple[object, ...]:
        """What it says under its key."""
        return (self.loinc, self.display, self.canonical_unit, self.valid_to)

    @property
    def rank(self) -> tuple[object, ...]:
        """The most specific has the greatest: its own source before all, then how much it names, then which."""
        named = [bool(part) for part in (self.specimen_type, self.method, self.unit, self.code_system)]
        return (self.source != EVERY_SOURCE, sum(named), *named, self.valid_from or date.min)

    def holds_on(self, day: date) -> bool:
        """Whether it holds for a day."""
        return (self.valid_from or date.min) <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file; never a value of it, for it might be another file than was meant."""

    line: int
    column: str
    what: str

    def __str__(self) -> str:
        return (
            f"line {self.line}, {self.column}: {self.what}"
            if self.column
            else f"line {self.line}: {self.what}"
        )


class MapFileError(ConfigError):
    """A file cannot be loaded; nothing of it was."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """All that is wrong."""
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(
            "CODES-FILE", f"the file was not loaded: {first.what}", line=first.line, column=first.column,
            problems=len(self.problems),
        )  # fmt: skip


def read_map(data: bytes, source: str, charset: str = "utf-8-sig") -> list[Entry]:
    """Read a CSV file as a whole.

    Args:
        data: the bytes. The first line names the columns: ``REQUIRED``, and any of ``OPTIONAL`` and ``PASSED_OVER``.
        source: whose codes it maps.
        charset: a Python codec.

    Returns:
        Its entries, each key once.

    Raises:
        MapFileError: something is wrong in it; all that is (at most ``MOST_PROBLEMS``) is named by line.
    """
    if len(data) > LARGEST_FILE:
        raise MapFileError([Problem(0, "", "it is too large for a concept map (more than 64 MiB)")])
    try:
        text = data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        what = "it is not in the charset that --charset says; spreadsheets often write gb18030"
        raise MapFileError([Problem(0, "", what)]) from None
    problems: list[Problem] = []
    found: dict[tuple[object, ...], Entry] = {}
    units: dict[str, str] = {}
    for one in _entries(text, source, problems):
        if len(problems) >= MOST_PROBLEMS:
            break
        known = found.setdefault(one.key, one)
        if known.says != one.says:
            problems.append(
                Problem(one.line, "code", f"it says otherwise than line {known.line} of the same")
            )
        if one.canonical_unit and one.loinc:
            problems += _agreed(one, units)
    if problems:
        raise MapFileError(problems)
    return list(found.values())


def _entries(text: str, source: str, problems: list[Problem]) -> Iterator[Entry]:
    """Lines as entries; what is wrong with a line goes to ``problems``."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if wrong := _header_problem(names):
            problems.append(Problem(1, "", wrong))
            return
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                problems.append(
                    Problem(reader.line_num, "", f"it has {len(cells)} columns, the header has {len(names)}")
                )
                continue
            row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
            entry, wrongs = _entry(row, source, reader.line_num)
            problems += wrongs
            if entry is not None:
                yield entry
    except csv.Error:
        problems.append(
            Problem(reader.line_num, "", "it is no CSV: quotes or line ends are not as they must be")
        )


def _header_problem(names: Sequence[str]) -> str | None:
    missing = [name for name in REQUIRED if name not in names]
    unknown = set(names) - {*REQUIRED, *OPTIONAL, *PASSED_OVER}
    if missing:
        return f"the first line must name the columns; there is none called {', '.join(missing)}"
    if unknown:
        position = next(number for number, name in enumerate(names, 1) if name in unknown)
        return f"column {position} has an unknown name; known are {', '.join((*REQUIRED, *OPTIONAL))}"
    if len(set(names)) != len(names):
        return "a column stands there twice"
    return None


def _entry(row: Mapping[str, str], source: str, line: int) -> tuple[Entry | None, list[Problem]]:
    wrong: list[Problem] = []

    def refuse(column: str, what: str) -> None:
        wrong.append(Problem(line, column, what))

    def day(column: str) -> date | None:
        text = row.get(column, "")
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            refuse(column, "give a date such as 2026-03-01")
            return None

    for column, value in row.items():
        if column not in PASSED_OVER and (len(value) > _LONGEST or not value.isprintable()):
            refuse(column, f"more than {_LONGEST} characters, or unprintable ones")
    if not row["code"]:
        refuse("code", "it is empty")
    if row.get("source", source) not in (source, ""):
        refuse("source", "it is another than --source says")
    loinc = row["loinc"]
    if loinc and not is_loinc(loinc):
        refuse("loinc", "it is no LOINC code: form or check digit is wrong")
    since, until = day("valid_from"), day("valid_to")
    if since and until and since >= until:
        refuse(
            "valid_to", "it must be after valid_from: the first day on which the entry does not hold any more"
        )
    unit = row.get("canonical_unit", "")
    canonical = ucum_code(unit) if unit else ""
    if canonical is None:
        refuse("canonical_unit", "it is no unit of UCUM")
    if wrong:
        return None, wrong
    return Entry(
        source=source, code=row["code"], loinc=loinc, code_system=row.get("code_system", ""),
        specimen_type=row.get("specimen_type", ""), method=row.get("method", ""), unit=row.get("unit", ""),
        valid_from=since, valid_to=until, display=row.get("display", ""), canonical_unit=canonical or "", line=line,
    ), []  # fmt: skip


def _agreed(entry: Entry, units: dict[str, str]) -> list[Problem]:
    """A concept is compared in one unit, whoever sends it."""
    own = ANALYTES.get(entry.loinc)
    first = own.unit if own is not None else units.setdefault(entry.loinc, entry.canonical_unit)
    if first == entry.canonical_unit:
        return []
    what = (
        "the program compares this concept in another unit; leave it empty"
        if own
        else "another line says another"
    )
    return [Problem(entry.line, "canonical_unit", what)]


# Which entry counts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConceptMap:
    """The entries that count, by source and code."""

    entries: Mapping[tuple[str, str], Sequence[Entry]]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> ConceptMap:
        """Of entries with the same key, the last one; what is taken back is left out."""
        latest = {entry.key: entry for entry in entries}
        found: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in latest.values():
            if entry.loinc:
                found[entry.source, entry.code].append(entry)
        return cls({place: tuple(some) for place, some in found.items()})

    def all(self) -> list[Entry]:
        """The entries, in an order of their own."""
        return sorted((one for some in self.entries.values() for one in some), key=lambda one: repr(one.key))

    def canonical_units(self) -> dict[str, str]:
        """LOINC → unit that a map says."""
        return {one.loinc: one.canonical_unit for one in self.all() if one.canonical_unit}

    def about(
        self, source: str, code: str, code_system: str, specimen_type: str, method: str, unit: str
    ) -> list[Entry]:
        """The entries that what was sent falls under, on some day, the most specific first."""
        if not code:
            return []
        found = [
            entry
            for place in ((source, code), (EVERY_SOURCE, code))
            for entry in self.entries.get(place, ())
            if entry.code_system in ("", code_system)
            and entry.specimen_type in ("", specimen_type)
            and entry.method in ("", method)
            and (not entry.unit or _same_unit(entry.unit, unit))
        ]
        return sorted(found, key=lambda entry: entry.rank, reverse=True)


def _same_unit(one: str, other: str) -> bool:
    return one == other or (ucum_code(one) is not None and ucum_code(one) == ucum_code(other))


def changes(former: Sequence[Entry], loaded: Sequence[Entry]) -> list[Entry]:
    """Those of the loaded entries that say something new.

    Args:
        former: all entries so far, the latest last.
        loaded: entries of a file.
    """
    there = {entry.key: entry for entry in former}
    found = []
    for entry in loaded:
        known = there.get(entry.key)
        says = () if known is None or not known.loinc else known.says
        if says != (entry.says if entry.loinc else ()):
            found.append(
                entry if entry.loinc else replace(entry, display="", canonical_unit="", valid_to=None)
            )
    return found


def disagreeing(former: ConceptMap, loaded: Sequence[Entry]) -> list[Problem]:
    """Where a file says another canonical unit of a concept than entries do that it leaves as they are."""
    ours = {entry.key for entry in loaded}
    units = {
        one.loinc: one.canonical_unit for one in former.all() if one.canonical_unit and one.key not in ours
    }
    what = "entries that were loaded before say another; a concept is compared in one unit"
    return [
        Problem(entry.line, "canonical_unit", what)
        for entry in loaded
        if entry.canonical_unit and units.get(entry.loinc, entry.canonical_unit) != entry.canonical_unit
    ]
