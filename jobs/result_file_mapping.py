"""Mapping files of result files: TOML, read, checked, and made into ``schemas.lab.result_file.ResultFile``.

An error names the file, the key in it and what is wrong, never what a result file says.
"""

from __future__ import annotations

import codecs
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from schemas.errors import ConfigError
from schemas.lab.result_file import (
    DATES,
    OF_RESULT,
    STATUSES,
    TARGETS,
    Code,
    Column,
    Kind,
    Pairs,
    ResultColumn,
    ResultFile,
    problem_of_form,
)

SEX = (("女", "F"), ("女性", "F"), ("未知", "U"), ("男", "M"), ("男性", "M"))
"""Sexes that every mapping knows."""
FLAGS = (("↑", "H"), ("↑↑", "HH"), ("↓", "L"), ("↓↓", "LL"), ("低", "L"), ("正常", "N"), ("高", "H"))
"""Flags that every mapping knows."""

_KNOWN_CODECS = 'a character set that Python knows, such as "utf-8" or "gb18030"'
_PLACE = ("name", "position", "start", "width")


def _codec(name: str) -> str:
    try:
        codec = codecs.lookup(name).name
        "".encode(codec)
    except (LookupError, UnicodeError):
        raise ValueError(f"must be {_KNOWN_CODECS}") from None
    if codec.startswith("iso2022") or codec in {"utf-7", "hz"}:
        raise ValueError("is a character set in which a line end may be part of another character")
    return "gb18030" if codec in {"gbk", "gb2312"} else codec


def _one_ascii(text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        raise ValueError('must be one ASCII character, such as "," or "\\t"')
    return text


def _forms(forms: tuple[str, ...]) -> tuple[str, ...]:
    for form in forms:
        problem = problem_of_form(form)
        if problem is not None:
            raise ValueError(problem)
    return forms


def _named(value: object) -> object:
    """A column that is given as its heading, or as its number."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"position": value}
    return value


Forms = Annotated[tuple[str, ...], AfterValidator(_forms)]
Texts = dict[str, str]
Short = Annotated[str, Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class _Place(_Part):
    """Where a column stands: by its heading, its number, or the characters it takes."""

    name: str | None = Field(default=None, min_length=1)
    position: int | None = Field(default=None, ge=1, le=10_000)
    start: int | None = Field(default=None, ge=1, le=100_000)
    width: int | None = Field(default=None, ge=1, le=100_000)
    dates: Forms = ()
    needed: bool = False

    def column(self, target: str) -> Column:
        return Column(target, self.name, self.position, self.start, self.width, self.dates, self.needed)


ColumnSetting = Annotated[_Place, BeforeValidator(_named)]


class _Result(_Part):
    """A column of results of a wide file."""

    column: ColumnSetting
    code: str = Field(min_length=1, max_length=200)
    name: Short = ""
    unit: Short = ""
    reference_range: Short = ""


class _Code(_Part):
    """What a local code means elsewhere."""

    code: str = Field(min_length=1, max_length=200)
    system: str = "LN"
    name: Short = ""


def _coded(value: object) -> object:
    """A code that is given as text alone."""
    return {"code": value} if isinstance(value, str) else value


CodeSetting = Annotated[_Code, BeforeValidator(_coded)]


class MappingFile(_Part):
    """A mapping file; see ``docs/laboratory.md``."""

    format: Literal["csv", "fixed"]
    charset: Annotated[str, AfterValidator(_codec)] = "utf-8"
    delimiter: Annotated[str, AfterValidator(_one_ascii)] = ","
    quote: str = '"'
    header: bool | None = None
    skip_lines: int = Field(default=0, ge=0, le=1_000)
    decimal: Literal[".", ","] = "."
    measure: Literal["characters", "bytes"] = "characters"
    dates: Forms = DATES
    absent: tuple[str, ...] = ()
    code_system: str = Field(default="L", min_length=1)
    columns: dict[str, ColumnSetting]
    results: tuple[_Result, ...] = ()
    constants: Texts = Field(default_factory=dict)
    status: Texts = Field(default_factory=dict)
    flags: Texts = Field(default_factory=dict)
    sex: Texts = Field(default_factory=dict)
    units: Texts = Field(default_factory=dict)
    codes: dict[str, CodeSetting] = Field(default_factory=dict)

    @property
    def with_header(self) -> bool:
        return self.format == "csv" if self.header is None else self.header

    @model_validator(mode="after")
    def _together(self) -> MappingFile:
        for problem in (self._format(), self._targets(), self._places(), self._identity(), self._maps()):
            if problem is not None:
                raise ValueError(problem)
        return self

    def _format(self) -> str | None:  # noqa: PLR0911 - one rule a line
        if self.quote and (len(self.quote) != 1 or not self.quote.isascii() or self.quote in "\r\n\0"):
            return 'quote: must be one ASCII character, or "" for none'
        if self.format == "csv" and self.quote == self.delimiter:
            return "quote: must differ from delimiter"
        if self.decimal == "," and self.format == "csv" and self.delimiter == "," and not self.quote:
            return "decimal: a comma within numbers needs another delimiter, or quotes"
        if self.format == "fixed" and self.header:
            return "header: a file of fixed widths has no headings to find columns by: pass over them with skip_lines"
        if not self.dates:
            return "dates: give at least one form"
        if not self.columns:
            return "columns: give at least one"
        return None

    def _targets(self) -> str | None:
        for key, names in (("columns", self.columns), ("constants", self.constants)):
            for name in names:
                if name not in TARGETS:
                    return f"{key}.{name}: there is no such thing to say; there are {', '.join(TARGETS)}"
                if self.results and name in OF_RESULT:
                    return f"{key}.{name}: in a file with [[results]] these say it"
        for name in self.constants:
            if name in self.columns:
                return f"constants.{name}: a column says it already"
            if TARGETS[name].kind is not Kind.TEXT:
                return f"constants.{name}: cannot be the same for all lines"
        for name, place in self.columns.items():
            if place.dates and TARGETS[name].kind not in (Kind.TIME, Kind.DAY):
                return f"columns.{name}.dates: is not a date or time"
        return None

    def _places(self) -> str | None:
        places = {f"columns.{name}": place for name, place in self.columns.items()}
        places |= {f"results[{number}].column": result.column for number, result in enumerate(self.results)}
        wanted = (
            ("start", "width") if self.format == "fixed" else ("name",) if self.with_header else ("position",)
        )
        allowed = (*wanted, *(("position",) if self.format == "csv" else ()))
        for key, place in places.items():
            given = tuple(name for name in _PLACE if getattr(place, name) is not None)
            if given != wanted and given not in [(name,) for name in allowed if name == "position"]:
                said = " and ".join(wanted)
                return f"{key}: say where it stands by {said}" + (
                    " (a heading as text), or by position" if wanted == ("name",) else ""
                )
        return None

    def _identity(self) -> str | None:
        said = self.columns.keys() | self.constants.keys()
        if "order_number" not in said and not {"patient_id", "specimen_time"} <= said:
            return (
                "columns: a result is known again by its order_number, else by patient_id and specimen_time: give one"
                " or both of the others"
            )
        if not self.results and not {"test_code", "test_name"} & said:
            return "columns: say which test a line is of: test_code, test_name, or [[results]] of a wide file"
        if not self.results and "value" not in said:
            return "columns: say where the value stands"
        if "status" not in said:
            return 'columns: say how final a result is: a status column, or constants.status = "F"'
        return None

    def _maps(self) -> str | None:
        for text, code in self.status.items():
            if code not in STATUSES:
                return f"status.{text}: is not a status of HL7 table 0085, such as F, P, C or X"
        constant = self.constants.get("status")
        if constant is not None and self.status.get(constant, constant) not in STATUSES:
            return "constants.status: is not a status of HL7 table 0085, such as F, P, C or X"
        codes = [result.code for result in self.results]
        again = {code for code in codes if codes.count(code) > 1}
        return f"results: {', '.join(sorted(again))} is given twice" if again else None

    def result_file(self) -> ResultFile:
        """As the parser takes it."""
        return ResultFile(
            columns=tuple(place.column(name) for name, place in self.columns.items()),
            format=self.format,
            charset=self.charset,
            delimiter=self.delimiter,
            quote=self.quote if self.format == "csv" else "",
            header=self.with_header,
            skip_lines=self.skip_lines,
            decimal=self.decimal,
            measure=self.measure,
            dates=self.dates,
            absent=self.absent,
            results=tuple(
                ResultColumn(one.column.column(""), one.code, one.name, one.unit, one.reference_range)
                for one in self.results
            ),
            constants=_pairs(self.constants),
            status=_pairs(self.status),
            flags=_pairs(dict(FLAGS) | self.flags),
            sex=_pairs(dict(SEX) | self.sex),
            units=_pairs(self.units),
            codes=tuple(
                Code(local, one.code, one.system, one.name) for local, one in sorted(self.codes.items())
            ),
            code_system=self.code_system,
        )


def _pairs(texts: Texts) -> Pairs:
    return tuple(sorted(texts.items()))


def read_mapping(path: Path) -> tuple[ResultFile | None, list[str]]:
    """A mapping, or all that is wrong with it: ``file: key: what is wrong``."""
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        return None, [f"{path}: is not TOML: {str(error).splitlines()[0]}"]
    except (OSError, UnicodeDecodeError) as error:
        return None, [f"{path}: cannot be read as a UTF-8 text ({type(error).__name__})"]
    try:
        return MappingFile(**tree).result_file(), []
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False, include_url=False)
    return None, [f"{path}: {_place(one['loc'])}{_sentence(one['type'], one['msg'])}" for one in found]


def load_mapping(path: Path, setting: str) -> ResultFile:
    """A mapping.

    Raises:
        ConfigError: ``CONFIG-MAPPING``, with the first thing that is wrong.
    """
    mapping, problems = read_mapping(path)
    if mapping is None:
        more = f" (and {len(problems) - 1} more: run phl check)" if len(problems) > 1 else ""
        raise ConfigError("CONFIG-MAPPING", problems[0] + more, setting=setting)
    return mapping


def _place(place: tuple[int | str, ...]) -> str:
    text = ""
    for part in place:
        if not str(part).startswith(
            "function-"
        ):  # pydantic's own word for a value that may be written in two ways
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"{text}: " if text else ""


def _sentence(kind: str, text: str) -> str:
    """The words of pydantic, and ours where they speak of Python."""
    ours = {
        "extra_forbidden": "there is no such key",
        "missing": "must be given",
        "string_type": "must be text",
        "string_too_short": "must not be empty",
        "dict_type": "must be a table",
        "model_type": 'must be a heading, such as "Result", a number, or a table',
        "tuple_type": 'must be a list, such as ["%Y-%m-%d"]',
    }
    return ours.get(kind, text.removeprefix("Value error, "))
