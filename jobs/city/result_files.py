"""Result files that four township clinics drop, with the rows and bad lines that they must become.

Two write UTF-8, one GB 18030, one columns of fixed widths in bytes; one of the UTF-8 files has a column for each test.
Of three files of a clinic one has a bad line, one is dropped twice, and one corrects the file before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from jobs.city.draft import CITY_OFFSET
from jobs.city.people import Person, person
from jobs.city.traffic import BASE
from jobs.city.truth import Expected, Row, Truth, Value
from schemas.tables.normalised import DIAGNOSTIC_REPORT, OBSERVATION, PATIENT, SERVICE_REQUEST, SPECIMEN

_TESTS: Final = (
    ("GLU", "葡萄糖", "mmol/L", "3.9-6.1", 3.0, 12.0),
    ("ALT", "谷丙转氨酶", "U/L", "7-40", 5.0, 120.0),
    ("WBC", "白细胞", "×10⁹/L", "3.5-9.5", 2.0, 14.0),
    ("CRP", "C反应蛋白", "mg/L", "0-10", 0.5, 60.0),
)
"""Code, name, unit, reference range, and between which values are made up."""
_ORDERS: Final = 3
"""In each file."""
_SENT_STATUS: Final = {"F": "已审核", "P": "初步", "C": "更正"}


@dataclass(frozen=True, slots=True)
class Tested:
    """A result: what is written, and what it says.

    Attributes:
        test: index into the tests.
        text: as written.
        kind: number, structured or text (HL7's NM, SN, ST).
        number, comparator, low, high: what it says.
    """

    test: int
    text: str
    kind: str
    number: float | None = None
    comparator: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order with its results.

    Attributes:
        number: bar code of the specimen, and the order's number.
        who: the patient.
        taken, issued: local times.
        status: HL7 table 0085.
        results: of some tests.
    """

    number: str
    who: Person
    taken: datetime
    issued: datetime
    status: str
    results: tuple[Tested, ...]


Write = Callable[[Sequence[Ordered], bool], str]
"""Text of a file with some orders, and with a bad line at its end or not."""


@dataclass(frozen=True)
class Clinic:
    """A clinic whose laboratory drops files.

    Attributes:
        code: of the institution.
        charset: of its files.
        extension: of their names.
        mapping: how they are read (TOML).
        write: makes their text.
        heading: lines before the first result.
        wide: whether a line has the results of all tests.
        bad: code of its bad lines.
    """

    code: str
    charset: str
    extension: str
    mapping: str
    write: Write
    heading: int = 1
    wide: bool = False
    bad: str = "LAB-LINE-COLUMNS"

    @property
    def source(self) -> str:
        """Name of its source."""
        return f"{self.code.lower()}-lab"


@dataclass(frozen=True)
class DroppedFile:
    """A file.

    Attributes:
        clinic: who drops it.
        name: what it is called.
        payload: its bytes.
        expected: what must become of it.
        rows: the rows it must become where it is read.
    """

    clinic: Clinic
    name: str
    payload: bytes
    expected: Expected
    rows: Mapping[str, list[Row]]


# How they write -----------------------------------------------------------------------------------------------------

_LONG: Final = "条码,病人号,姓名,出生日期,性别,项目代码,项目名称,结果,单位,参考范围,状态,报告时间,采样时间"


def _long(form: str, born: str, quote: str) -> Write:
    """A line for each result."""

    def write(orders: Sequence[Ordered], bad: bool) -> str:
        lines = [_LONG]
        for one in orders:
            for result in one.results:
                code, name, unit, reference, _, _ = _TESTS[result.test]
                said = (
                    one.number, _patient(one.who), f"{quote}{one.who.family}{one.who.given}{quote}",
                    f"{one.who.born:{born}}",
                    "男" if one.who.gender == "M" else "女", code, name, result.text, unit, reference,
                    _SENT_STATUS[one.status], f"{one.issued:{form}}", f"{one.taken:{form}}",
                )  # fmt: skip
                lines.append(",".join(said))
        if bad:
            lines.append(lines[-1].rpartition(",")[0])  # cut off
        return "\r\n".join((*lines, ""))

    return write


def _wide(orders: Sequence[Ordered], bad: bool) -> str:
    """A line for each order."""
    lines = [";".join(("No", "Patient", "Issued", "Taken", "State", *(test[0] for test in _TESTS)))]
    for one in orders:
        of_test = {result.test: result.text for result in one.results}
        said = (
            one.number,
            _patient(one.who),
            f"{one.issued:%Y/%m/%d %H:%M}",
            f"{one.taken:%Y/%m/%d %H:%M}",
            one.status,
        )
        lines.append(";".join((*said, *(of_test.get(number, "") for number in range(len(_TESTS))))))
    if bad:
        lines.append(lines[-1] + ";?;?")
    return "\n".join(lines)


def _fixed(orders: Sequence[Ordered], bad: bool) -> str:
    """Columns of so many bytes of GB 18030; a bad line has a time that is none."""
    lines = []
    for one in orders:
        for result in one.results:
            code, name, unit, _, _, _ = _TESTS[result.test]
            lines.append(
                _padded(one.number, 12) + _padded(_patient(one.who), 12) + _padded(code, 8) + _padded(name, 16)
                + _padded(result.text, 14) + _padded(unit, 10) + one.status + f"{one.issued:%Y%m%d%H%M%S}"
                + f"{one.taken:%Y%m%d%H%M}"
            )  # fmt: skip
    if bad:
        lines.append(lines[-1][:-26] + "00000000000000" + lines[-1][-12:])
    return "\r\n".join((*lines, ""))


def _padded(text: str, size: int) -> str:
    return text + " " * (size - len(text.encode("gb18030")))


def _patient(who: Person) -> str:
    return f"T{who.number:06d}"


_LONG_MAPPING: Final = """\
# {name}
format = "csv"
charset = "{charset}"
dates = ["{form}"]

[columns]
order_number = "条码"
specimen_id = "条码"
patient_id = {{ name = "病人号", needed = true }}
patient_name = "姓名"
birth_date = {{ name = "出生日期", dates = ["{born}"] }}
sex = "性别"
test_code = "项目代码"
test_name = "项目名称"
value = "结果"
unit = "单位"
reference_range = "参考范围"
status = "状态"
result_time = "报告时间"
specimen_time = "采样时间"

[constants]
specimen_name = "血清"

[status]
"已审核" = "F"
"初步" = "P"
"更正" = "C"

[units]
"×10⁹/L" = "10*9/L"
"""

_WIDE_MAPPING: Final = """\
# A line has all results of an order.
format = "csv"
delimiter = ";"
dates = ["%Y/%m/%d %H:%M"]

[columns]
order_number = "No"
specimen_id = "No"
patient_id = "Patient"
result_time = "Issued"
specimen_time = "Taken"
status = "State"
""" + "".join(
    f'\n[[results]]\ncolumn = "{code}"\ncode = "{code}"\nname = "{name}"\nunit = "{unit}"\n'
    f'reference_range = "{reference}"\n'
    for code, name, unit, reference, _, _ in _TESTS
)

_FIXED_MAPPING: Final = """\
# Columns of so many bytes of GB 18030, no headings.
format = "fixed"
charset = "gb18030"
measure = "bytes"
dates = ["%Y%m%d%H%M%S", "%Y%m%d%H%M"]

[columns]
order_number = { start = 1, width = 12 }
specimen_id = { start = 1, width = 12 }
patient_id = { start = 13, width = 12 }
test_code = { start = 25, width = 8 }
test_name = { start = 33, width = 16 }
value = { start = 49, width = 14 }
unit = { start = 63, width = 10 }
status = { start = 73, width = 1 }
result_time = { start = 74, width = 14 }
specimen_time = { start = 88, width = 12 }
"""


def _long_mapping(name: str, charset: str, form: str, born: str) -> str:
    return _LONG_MAPPING.format(name=name, charset=charset, form=form, born=born)


CLINICS: tuple[Clinic, ...] = (
    Clinic(
        "TOWN01", "utf-8", "csv", _long_mapping("A line is a result.", "utf-8", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"),
        _long("%Y-%m-%d %H:%M:%S", "%Y-%m-%d", ""),
    ),
    Clinic("TOWN02", "utf-8", "csv", _WIDE_MAPPING, _wide, wide=True),
    Clinic(
        "TOWN03", "gb18030", "csv",
        _long_mapping("A line is a result, in GB 18030.", "gb18030", "%Y年%m月%d日 %H:%M", "%Y.%m.%d"),
        _long("%Y年%m月%d日 %H:%M", "%Y.%m.%d", '"'),
    ),
    Clinic("TOWN04", "gb18030", "txt", _FIXED_MAPPING, _fixed, heading=0, bad="LAB-LINE-TIME"),
)  # fmt: skip
"""The clinics."""


# What they drop -----------------------------------------------------------------------------------------------------


@dataclass
class FileDrops:
    """Makes up files.

    Attributes:
        seed: the same seed gives the same files.
        people: how many residents there are, the same ones as the city's.
        base: the day of the first files.
        truth: what must come out of all that were made.
    """

    seed: int
    people: int = 500
    base: datetime = BASE
    truth: Truth = field(default_factory=Truth)

    def files(self, rounds: int) -> Iterator[DroppedFile]:
        """So many files of each clinic, and those that are dropped twice; ``truth`` grows with them."""
        rng = Random(f"{self.seed} files")  # noqa: S311 - repeatable on purpose
        residents = Random(self.seed)  # noqa: S311
        people = [person(residents, number) for number in range(self.people)]
        before: dict[str, list[Ordered]] = {}
        for number in range(rounds):
            for at, clinic in enumerate(CLINICS):
                day = self.base + timedelta(days=number, minutes=at)
                turn = number % 3
                if turn == 2:
                    orders = [_corrected(rng, before[clinic.code][0], day)]
                else:
                    orders = [
                        _order(rng, rng.choice(people), day, f"{clinic.code[-2:]}{number:04d}{order}")
                        for order in range(_ORDERS)
                    ]
                before[clinic.code] = orders
                yield from self._dropped(clinic, f"lab{number:04d}", orders, bad=turn == 0, twice=turn == 1)

    def _dropped(
        self, clinic: Clinic, name: str, orders: Sequence[Ordered], *, bad: bool, twice: bool
    ) -> Iterator[DroppedFile]:
        payload = clinic.write(orders, bad).encode(clinic.charset)
        control_id = hashlib.sha256(payload).hexdigest()[:16]
        expected = Expected(clinic.source, control_id, "accepted", clinic.bad if bad else "")
        rows = rows_of(clinic, control_id, orders)
        self.truth.add(expected, rows)
        yield DroppedFile(clinic, f"{name}.{clinic.extension}", payload, expected, rows)
        if twice:
            again = replace(expected, disposition="duplicate")
            self.truth.add(again, {})
            yield DroppedFile(clinic, f"{name}-again.{clinic.extension}", payload, again, {})


def write_settings(folder: Path, drops: Path) -> str:
    """Write the clinics' mappings into a folder; the ``[[sources]]`` of settings in that folder that read them.

    Args:
        folder: where the settings are.
        drops: folder in which each clinic has one of its own, by the name of its source.
    """
    sources = []
    for clinic in CLINICS:
        (folder / f"{clinic.source}.toml").write_text(clinic.mapping, "utf-8")
        (drops / clinic.source).mkdir(parents=True, exist_ok=True)
        sources.append(
            f'[[sources]]\nname = "{clinic.source}"\nprotocol = "files"\ninstitution = "{clinic.code}"\n'
            f'path = "{drops / clinic.source}"\nmapping = "{clinic.source}.toml"\n'
        )
    return "\n".join(sources)


def write_drops(files: Iterable[DroppedFile], drops: Path) -> int:
    """Write files into the clinics' folders below ``drops``; how many."""
    written = 0
    for file in files:
        folder = drops / file.clinic.source
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.payload)
        written += 1
    return written


def _order(rng: Random, who: Person, day: datetime, number: str) -> Ordered:
    taken = day + timedelta(minutes=rng.randrange(60))
    return Ordered(
        number,
        who,
        taken,
        taken + timedelta(minutes=rng.randrange(20, 90)),
        rng.choices(("F", "P"), (8, 2))[0],
        tuple(_tested(rng, test) for test in sorted(rng.sample(range(len(_TESTS)), 3))),
    )


def _corrected(rng: Random, before: Ordered, day: datetime) -> Ordered:
    """The same tests of the same order, with other values, a day later."""
    results = tuple(_tested(rng, one.test) for one in before.results)
    return replace(before, issued=day + timedelta(minutes=30), status="C", results=results)


def _tested(rng: Random, test: int) -> Tested:
    *_, least, most = _TESTS[test]
    value = round(rng.uniform(least, most), 1)
    match rng.choices(("plain", "wide", "limit", "range", "text"), (70, 8, 8, 7, 7))[0]:
        case "wide":
            return Tested(test, f"{value}".translate(_FULL_WIDTH), "NM", value)
        case "limit":
            sign, written = rng.choice((("<", "<"), (">", "＞"), ("<=", "≤")))
            return Tested(test, f"{written}{value}", "SN", value, sign)
        case "range":
            dash = rng.choice("～-~")
            return Tested(test, f"{value}{dash}{value + 1:.1f}", "SN", None, None, value, round(value + 1, 1))
        case "text":
            return Tested(test, rng.choice(("阴性(-)", "未检出", "±")), "ST")
        case _:
            return Tested(test, f"{value}", "NM", value)


_FULL_WIDTH: Final = {ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)} | {ord("."): "．"}


# What must come out -------------------------------------------------------------------------------------------------


def rows_of(clinic: Clinic, control_id: str, orders: Sequence[Ordered]) -> dict[str, list[Row]]:
    """The rows that a file must become, by table."""
    latest = max(one.issued for one in orders)
    of_file: Row = {
        "source": clinic.source,
        "control_id": control_id,
        "institution": clinic.code,
        "message_type": "LAB^FILE",
        "event_time": _utc(latest),
        "event_time_precision": "second",
        "event_date": f"{latest:%Y-%m-%d}",
        "codes": [],
    }
    rows: dict[str, list[Row]] = {}

    def add(table: str, place: int, **columns: Value | list[str]) -> None:
        rows.setdefault(table, []).append({**of_file, "segment_index": place, **columns})

    line = clinic.heading
    seen: set[str] = set()
    for index, one in enumerate(orders):
        first = line + 1
        authority = f"{clinic.source}/{clinic.code}"
        about: dict[str, Value | list[str]] = {
            "patient_id": _patient(one.who),
            "patient_authority": authority,
            "filler_order": one.number,
            "order_index": index,
            "specimen_id": one.number,
            "version_time": _utc(one.issued),
        }
        for number, result in enumerate(one.results):
            place = (first - 1) * len(_TESTS) + result.test if clinic.wide else first + number
            add(
                OBSERVATION.name, place, **about, **_observed(clinic, result), line=0, status=one.status,
                effective_time=_utc(one.taken), issued_time=_utc(one.issued),
            )  # fmt: skip
        line += 1 if clinic.wide else len(one.results)
        add(
            DIAGNOSTIC_REPORT.name, first, **about, status=one.status, section="LAB", effective_time=_utc(one.taken),
            issued_time=_utc(one.issued),
        )  # fmt: skip
        add(SERVICE_REQUEST.name, first, **about)
        add(
            SPECIMEN.name, first, **about, filler_specimen_id=one.number, collected_time=_utc(one.taken),
            type_display="血清" if _names(clinic) else None,
        )  # fmt: skip
        if _patient(one.who) not in seen:
            seen.add(_patient(one.who))
            add(
                PATIENT.name,
                first,
                **_person(clinic, one.who, authority),
                version_time=_last(orders, one.who),
            )
    return rows


def _last(orders: Sequence[Ordered], who: Person) -> str:
    return _utc(max(one.issued for one in orders if one.who.number == who.number))


def _names(clinic: Clinic) -> bool:
    """Whether its files name patients and specimens."""
    return clinic.extension == "csv" and not clinic.wide


def _person(clinic: Clinic, who: Person, authority: str) -> dict[str, Value | list[str]]:
    columns: dict[str, Value | list[str]] = {
        "patient_id": _patient(who),
        "patient_authority": authority,
        "identifiers": [f"{_patient(who)}|{authority}|"],
    }
    if _names(clinic):
        columns |= {
            "family_name": f"{who.family}{who.given}",
            "birth_date": f"{who.born:%Y-%m-%d}",
            "birth_date_text": f"{who.born:%Y.%m.%d}"
            if clinic.charset == "gb18030"
            else f"{who.born:%Y-%m-%d}",
            "gender": who.gender,
        }
    return columns


def _observed(clinic: Clinic, result: Tested) -> dict[str, Value | list[str]]:
    code, name, unit, reference, _, _ = _TESTS[result.test]
    return {
        "observation_code": code,
        "observation_display": name,
        "observation_system": "L",
        "value_type": result.kind,
        "value_text": result.text,
        "value_number": result.number,
        "value_comparator": result.comparator,
        "value_low": result.low,
        "value_high": result.high,
        "value_repetitions": 1,
        "unit_code": unit,
        "reference_range": None if clinic.heading == 0 else reference,
    }


def _utc(local: datetime) -> str:
    return f"{local - CITY_OFFSET:%Y-%m-%dT%H:%M:%SZ}"
