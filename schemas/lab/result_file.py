"""How a result file of a laboratory is to be read: its format, and which column says what. One for each kind of file.

A line of a *long* file is one result; a line of a *wide* one holds several, each in a column of its own. What a
column can say is the table ``TARGETS``; everything else is derived from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal


class Kind(StrEnum):
    """How the text of a column is read."""

    TEXT = "text"
    TIME = "time"
    DAY = "day"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that a column, or a constant, can say.

    Attributes:
        name: its name in a mapping file.
        kind: how its text is read.
        doc: what it is, for the documentation.
        orders: a time that versions or keys depend on: a line in which it cannot be read is a bad line.
    """

    name: str
    doc: str
    kind: Kind = Kind.TEXT
    orders: bool = False


_TARGETS = (
    Target("patient_id", "Patient identifier."),
    Target("patient_authority", "Who assigned it; else the source and its institution."),
    Target("patient_name", "Name as one text."),
    Target("birth_date", "Date of birth.", Kind.DAY),
    Target("sex", "Sex, mapped by [sex] to HL7 table 0001."),
    Target("visit_number", "Visit number."),
    Target("order_number", "The laboratory's number of the order (a bar code, where it is all there is)."),
    Target("order_authority", "Who assigned it; else the source and its institution."),
    Target("placer_number", "The order's number at who asked for it."),
    Target("placer_authority", "Who assigned that."),
    Target("ordered_time", "When it was ordered.", Kind.TIME),
    Target("service_code", "What was ordered: code."),
    Target("service_name", "What was ordered: text."),
    Target("orderer_id", "Who ordered it: id."),
    Target("orderer_name", "Who ordered it: name."),
    Target("specimen_id", "Specimen."),
    Target("specimen_type", "Type of the specimen: code."),
    Target("specimen_name", "Type of the specimen: text."),
    Target("specimen_time", "When it was taken.", Kind.TIME, orders=True),
    Target("specimen_received_time", "When the laboratory received it.", Kind.TIME),
    Target("test_code", "The test: code."),
    Target("test_name", "The test: text."),
    Target("sub_id", "What tells several results of one test and order apart."),
    Target("value", "The result.", Kind.VALUE),
    Target("unit", "Its unit, as the laboratory writes it."),
    Target("reference_range", "Reference range as text."),
    Target("reference_low", "Lower limit of the reference range, where it has a column of its own."),
    Target("reference_high", "Upper limit."),
    Target("flag", "Interpretation (HL7 table 0078), mapped by [flags]."),
    Target("status", "Status of the result, mapped by [status] to HL7 table 0085."),
    Target("result_time", "When the result was issued: orders its versions.", Kind.TIME, orders=True),
    Target("analysis_time", "When it was analysed.", Kind.TIME),
    Target("performer_id", "Who answers for the result: id."),
    Target("performer_name", "Who answers for the result: name."),
    Target("organization", "The laboratory that made it."),
    Target("method", "Method."),
    Target("device", "Instrument."),
    Target("comment", "Comment on the result."),
)

TARGETS = MappingProxyType({target.name: target for target in _TARGETS})
"""What columns and constants can say, by name."""

OF_RESULT = frozenset(
    {
        "test_code", "test_name", "sub_id", "value", "unit", "reference_range", "reference_low", "reference_high",
        "flag", "comment",
    }
)  # fmt: skip
"""What a wide file says with its columns of results, and not with others."""

STATUSES = frozenset("FPCAURISXWDBNOVM")
"""What a status may be mapped to (HL7 table 0085)."""

DATES = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M",
    "%Y/%m/%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z",
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f",
)  # fmt: skip
"""Forms of dates and times that are tried, in this order, where a mapping names none."""

SERIAL = "serial"
"""In the place of a form: days since 30 December 1899, as spreadsheets keep dates (46082.5)."""

DIRECTIVES = MappingProxyType({"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "f": 6, "z": 5})
"""Directives of a form of dates, and the most digits of each. A number may have fewer where no digit follows it."""


def problem_of_form(form: str) -> str | None:
    """What is wrong with a form of dates; None where nothing is.

    A form has ``%Y``, then ``%m``, ``%d``, ``%H``, ``%M``, ``%S``, ``%f``, each at most once and none without those
    before it, in any order, and other characters as they are.
    """
    found = []
    at = 0
    while at < len(form):
        if form[at] == "%":
            directive = form[at + 1 : at + 2]
            if directive not in DIRECTIVES:
                return "a form of dates knows %Y %m %d %H %M %S %f %z only"
            if directive in found:
                return "a form of dates says each part once"
            found.append(directive)
            at += 1
        at += 1
    known = [one for one in "YmdHMSf" if one in found]
    if not known or known != list("YmdHMSf"[: len(known)]):
        return "a form of dates needs %Y, and no part without the larger ones, such as %H without %d"
    return None


@dataclass(frozen=True, slots=True)
class Column:
    """Where in a line something stands, and how it is written.

    Attributes:
        target: what it says, a name of ``TARGETS``; empty for a result of a wide file.
        name: heading of the column, where the file has a line with headings.
        position: number of the column from 1, where it has none.
        start: first character (or byte) from 1, of a fixed-width file.
        width: so many characters (or bytes).
        dates: forms of dates; none for those of the file.
        needed: whether a line in which it is empty or cannot be read is a bad line.
    """

    target: str
    name: str | None = None
    position: int | None = None
    start: int | None = None
    width: int | None = None
    dates: tuple[str, ...] = ()
    needed: bool = False


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a wide file with the results of one test.

    Attributes:
        column: where it stands.
        code: code of the test.
        display: its name.
        unit: unit of the results.
        reference_range: reference range as text.
    """

    column: Column
    code: str
    display: str = ""
    unit: str = ""
    reference_range: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """What a local code means elsewhere; stands beside the local one, which is always kept.

    Attributes:
        local: the code as the laboratory writes it.
        code: the other code.
        system: its system.
        display: its text.
    """

    local: str
    code: str
    system: str = "LN"
    display: str = ""


Pairs = tuple[tuple[str, str], ...]
"""A map from one text to another, as pairs: a mapping is part of what a batch is claimed with, so it has one form."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """How a kind of file is read.

    Attributes:
        format: whether columns are separated by a character or have fixed widths.
        charset: a Python codec name.
        delimiter: one ASCII character.
        quote: one ASCII character around texts that hold delimiters or line ends, doubled within; empty for none.
        header: whether the first line that is not skipped has headings.
        skip_lines: lines before it that say nothing.
        decimal: the decimal sign.
        measure: whether fixed widths count characters or bytes of the file's own charset.
        dates: forms of dates and times, tried in turn.
        absent: texts that say that there is nothing.
        columns: where what stands.
        results: of a wide file its columns of results; none for a long one.
        constants: target → what every line says.
        status: status as written → HL7 table 0085.
        flags: flag as written → HL7 table 0078.
        sex: sex as written → HL7 table 0001.
        units: unit as written → UCUM; stands beside the unit as written.
        codes: of tests.
        code_system: system of the codes as written.
    """

    columns: tuple[Column, ...]
    format: Literal["csv", "fixed"] = "csv"
    charset: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    skip_lines: int = 0
    decimal: Literal[".", ","] = "."
    measure: Literal["characters", "bytes"] = "characters"
    dates: tuple[str, ...] = DATES
    absent: tuple[str, ...] = ()
    results: tuple[ResultColumn, ...] = ()
    constants: Pairs = ()
    status: Pairs = ()
    flags: Pairs = ()
    sex: Pairs = ()
    units: Pairs = ()
    codes: tuple[Code, ...] = ()
    code_system: str = "L"

    @property
    def places(self) -> tuple[Column, ...]:
        """All columns that are read, those of results last."""
        return (*self.columns, *(result.column for result in self.results))
