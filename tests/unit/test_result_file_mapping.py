"""Mapping files: what is wrong is told by file, key and sentence, and phl check tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli.main import run
from jobs.result_file_mapping import read_mapping
from schemas.lab.result_file import problem_of_form

GOOD = """
format = "csv"
charset = "gbk"
[columns]
order_number = "No"
test_code = { name = "Test", needed = true }
value = 3
result_time = { name = "Time", dates = ["%d.%m.%Y %H:%M"] }
[constants]
status = "F"
[codes]
WBC = "6690-2"
"""


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "clinic.toml"
    path.write_text(text, "utf-8")
    _, found = read_mapping(path)
    return [one.removeprefix(f"{path}: ") for one in found]


def test_a_good_mapping_is_what_it_says(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []
    mapping, _ = read_mapping(tmp_path / "clinic.toml")
    assert mapping is not None
    assert mapping.charset == "gb18030"
    assert [(one.target, one.name, one.position, one.needed) for one in mapping.columns] == [
        ("order_number", "No", None, False), ("test_code", "Test", None, True), ("value", None, 3, False),
        ("result_time", "Time", None, False),
    ]  # fmt: skip
    assert hash(mapping) == hash(read_mapping(tmp_path / "clinic.toml")[0])


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"gbk"', '"klingon"', "charset: must be a character set"),
        ('"gbk"', '"hz"', "charset: is a character set in which a line end"),
        ('format = "csv"', 'format = "csv"\ndelimiter = ";;"', "delimiter: must be one ASCII character"),
        ('format = "csv"', 'format = "csv"\nquote = ","', "quote: must differ"),
        ('format = "csv"', 'format = "xml"', "format: "),
        ('format = "csv"', "", "format: must be given"),
        ('format = "csv"', 'format = "csv"\nheader = false', "columns.order_number: say where it stands by position"),
        ('format = "csv"', 'format = "fixed"', "columns.order_number: say where it stands by start and width"),
        ('format = "csv"', 'format = "csv"\nskip = 3', "skip: there is no such key"),
        ("order_number", "order_nmber", "columns.order_nmber: there is no such thing"),
        ('order_number = "No"\n', "", "columns: a result is known again by its order_number"),
        ("needed = true", "need = true", "columns.test_code.need: there is no such key"),
        ("value = 3", "unit = 3", "columns: say where the value stands"),
        ("value = 3", "value = 0", "columns.value.position: "),
        ("value = 3", 'value = { position = 3, dates = ["%Y"] }', "columns.value.dates: is not a date"),
        ("%d.%m.%Y %H:%M", "%H:%M", "columns.result_time.dates: a form of dates needs %Y"),
        ('status = "F"', 'status = "final"', "constants.status: is not a status"),
        ('status = "F"', 'patient_authority = "X"', "columns: say how final a result is"),
        ('status = "F"', 'status = "F"\nresult_time = "now"', "constants.result_time: a column says it already"),
        ("[codes]", '[status]\n"done" = "Z"\n[codes]', "status.done: is not a status"),
        ('WBC = "6690-2"', 'WBC = ""', "codes.WBC.code: "),
        ("[codes]", '[[results]]\ncolumn = "A"\ncode = "A"\n[codes]', "columns.test_code: in a file with [[results]]"),
        ("[columns]", "[columns", "is not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in GOOD
    (found, *_) = problems(tmp_path, GOOD.replace(before, after))
    assert found.startswith(told)


def test_phl_check_names_the_file_and_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems(tmp_path, GOOD.replace("order_number", "order_nmber"))
    config = tmp_path / "phl.toml"
    source = '[[sources]]\nname = "c"\nprotocol = "files"\npath = "drop"\n'
    config.write_text(source + 'mapping = "clinic.toml"\n')
    assert run(["check", "--config", str(config)]) == 78
    assert f"sources[0].mapping: {tmp_path / 'clinic.toml'}: columns.order_nmber" in capsys.readouterr().out
    assert run(["collect", "--once", "--config", str(config)]) == 78
    assert "CONFIG-MAPPING" in capsys.readouterr().err
    config.write_text(source)
    assert run(["check", "--config", str(config)]) == 78
    assert "needs path, where, and mapping" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["", "%H:%M", "%Y-%d", "%Y %Y", "%q", "%Y%m%d %M"])
def test_a_form_of_dates_needs_the_larger_parts(form: str) -> None:
    assert problem_of_form(form) is not None


@pytest.mark.parametrize("form", ["%Y", "%d.%m.%Y", "%Y年%m月%d日 %H时%M分", "%Y%m%d%H%M%S.%f%z"])
def test_forms_of_dates(form: str) -> None:
    assert problem_of_form(form) is None
