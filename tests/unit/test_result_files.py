"""Result files, line by line: what becomes a row, what goes to quarantine and with which number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from pipelines.lab.modality import LAB
from pipelines.lab.values import NOTHING, Value, read_value, read_values
from schemas.findings import LAB_FILE_FINDINGS, Severity
from schemas.lab.result_file import Code, Column, ResultColumn, ResultFile
from schemas.modality import Parsed
from schemas.source import NO_SOURCES, Source, Sources
from schemas.table import INSTANT

RECEIVED = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MAPPING = ResultFile(
    columns=(
        Column("order_number", "No"),
        Column("patient_id", "Patient"),
        Column("test_code", "Test"),
        Column("value", "Value"),
        Column("status", "Status"),
        Column("result_time", "Time"),
        Column("birth_date", "Born"),
    ),
    status=(("终", "F"),),
)
HEAD = "No,Patient,Test,Value,Status,Time,Born"
GOOD = "B1,P1,GLU,5.1,F,2026-03-01 10:00:00,1980-05-06"


def read(data: bytes | str, mapping: ResultFile | None = MAPPING, **settings: str) -> Parsed:
    source = Source("clinic", institution="YL-3", result_file=mapping, **settings)  # type: ignore[arg-type]
    raw = pa.table(
        {
            "payload": pa.array([data.encode() if isinstance(data, str) else data], pa.binary()),
            "source": ["clinic"],
            "received_at": pa.array([RECEIVED], INSTANT),
        }
    )
    return LAB.parse(raw, Sources.of(source))


def rows(parsed: Parsed, table: str, *columns: str) -> list[tuple[object, ...]]:
    found = parsed.tables.get(f"normalised/{table}")
    return [] if found is None else [tuple(row[name] for name in columns) for row in found.to_pylist()]


def bad(parsed: Parsed) -> list[tuple[int, str, int | None]]:
    assert parsed.bad_parts is not None
    return [(row["segment_index"], row["code"], row["field"]) for row in parsed.bad_parts.to_pylist()]


def csv(*lines: str) -> str:
    return "\n".join((HEAD, *lines))


BAD_LINES = {
    "LAB-LINE-COLUMNS": ("B2,P2,GLU", None),
    "LAB-LINE-QUOTES": ('B2,P2,"GLU,5,F,2026-03-01,', None),
    "LAB-LINE-TIME": ("B2,P2,GLU,5,F,yesterday,", 6),
    "LAB-LINE-INCOMPLETE": ("B2,P2,,5,F,2026-03-01,", None),
    "LAB-LINE-BYTES": ("B2,P2,GLU,5\0,F,2026-03-01,", None),
}
WARNED = {
    "LAB-TIME-INVALID": ("B2,P2,GLU,5,F,2026-03-01,1980-13-01", 7),
    "LAB-STATUS-UNKNOWN": ("B2,P2,GLU,5,odd,2026-03-01,", 5),
}
WHOLE = {
    "LAB-FILE-LINES": (csv(GOOD).encode() + b"\n" * 10_000_000, MAPPING),
    "LAB-FILE-HEADER": (csv(GOOD).replace("Value", "Result").encode(), MAPPING),
    "LAB-FILE-MAPPING": (csv(GOOD).encode(), None),
    "LAB-FILE-CHARSET": (b"\xd8\x00" * 3, replace(MAPPING, charset="utf-16-be")),
}


@pytest.mark.parametrize("code", BAD_LINES)
def test_a_bad_line_is_told_by_its_number_and_the_others_are_rows(code: str) -> None:
    line, field = BAD_LINES[code]
    parsed = read(csv(GOOD, line, GOOD.replace("B1", "B3")))
    assert bad(parsed) == [(3, code, field)]
    assert rows(parsed, "observation", "filler_order", "segment_index") == [("B1", 2), ("B3", 4)]
    assert code in parsed.messages.column("codes").to_pylist()[0]


@pytest.mark.parametrize("code", WARNED)
def test_a_finding_names_line_and_column(code: str) -> None:
    line, field = WARNED[code]
    parsed = read(csv(GOOD, line))
    assert bad(parsed) == []
    assert rows(parsed, "finding", "segment_index", "code", "field", "severity") == [
        (3, code, field, "warning")
    ]
    assert rows(parsed, "observation", "codes") == [([],), ([code],)]


@pytest.mark.parametrize("code", WHOLE)
def test_a_file_that_cannot_be_read_at_all(code: str) -> None:
    data, mapping = WHOLE[code]
    parsed = read(data, mapping)
    assert parsed.messages.num_rows == 0
    assert parsed.unreadable.column("code").to_pylist() == [code]


def test_a_file_without_a_good_line_is_unreadable_for_the_reason_of_its_first() -> None:
    parsed = read(csv("B2,P2,GLU", "B2,P2,GLU,5,F,yesterday,"))
    (found,) = parsed.unreadable.to_pylist()
    assert (found["code"], found["segment_index"]) == ("LAB-LINE-COLUMNS", 2)
    assert not parsed.tables


def test_a_file_in_another_character_set_than_claimed_is_read_and_flagged() -> None:
    for charset, claimed in (("gb18030", "utf-8"), ("utf-8", "gb18030"), ("utf-16", "utf-8")):
        text = csv(*(GOOD.replace("P1", f"王{number}芳") for number in range(5)))
        parsed = read(text.encode(charset), replace(MAPPING, charset=claimed))
        assert rows(parsed, "observation", "patient_id")[0] == ("王0芳",)
        assert rows(parsed, "finding", "segment_index", "code") == [(0, "LAB-CHARSET-MISMATCH")]


def test_every_finding_is_provoked() -> None:
    assert {one.code for one in LAB_FILE_FINDINGS} == {*BAD_LINES, *WARNED, *WHOLE, "LAB-CHARSET-MISMATCH"}
    quarantined = {one.code for one in LAB_FILE_FINDINGS if one.severity is Severity.QUARANTINED}
    assert quarantined == {*BAD_LINES, *WHOLE}


def test_one_line_with_broken_bytes_does_not_make_the_file_another_charset() -> None:
    lines = [GOOD.replace("P1", f"王{number}") for number in range(3)]
    data = csv(*lines).encode() + b"\nB2,\xe7\x8e,GLU,5,F,2026-03-01,"
    parsed = read(data)
    assert bad(parsed) == [(5, "LAB-LINE-BYTES", None)]
    assert len(rows(parsed, "observation", "patient_id")) == 3


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_blank_lines_and_quoted_line_ends_count_as_an_editor_counts(end: str) -> None:
    lines = (HEAD, "", GOOD, '"B\n2",P2,GLU,"5 ""x""",F,2026-03-01,', ",,,,,,", "B3,P3,GLU")
    parsed = read(end.join(lines).encode())
    assert rows(parsed, "observation", "segment_index", "filler_order", "value_text") == [
        (3, "B1", "5.1"), (4, "B\n2", '5 "x"'),
    ]  # fmt: skip
    assert bad(parsed) == [(7, "LAB-LINE-COLUMNS", None)]


def test_a_quote_that_nobody_closes_takes_one_line() -> None:
    parsed = read(csv('"B0,P0,GLU,1,F,2026-03-01,', GOOD, GOOD))
    assert bad(parsed) == [(2, "LAB-LINE-QUOTES", None)]
    assert len(rows(parsed, "observation", "filler_order")) == 2


def test_headings_are_found_whatever_their_order_width_and_case() -> None:
    parsed = read("ｔｅｓｔ, patient ,NO,Time,Status,Other,VALUE,Born\nGLU,P1,B1,2026-03-01,F,x,5,\n")
    assert rows(parsed, "observation", "filler_order", "patient_id", "value_number") == [("B1", "P1", 5.0)]


def test_delimiters_behind_the_last_column_are_no_columns() -> None:
    parsed = read(csv(GOOD + ",,", GOOD + ",x"))
    assert rows(parsed, "observation", "segment_index") == [(2,)]
    assert bad(parsed) == [(3, "LAB-LINE-COLUMNS", None)]


def test_what_spreadsheets_write() -> None:
    mapping = replace(
        MAPPING, dates=("%Y-%m-%d", "serial"), columns=(*MAPPING.columns, Column("device", "Device"))
    )
    parsed = read(
        f"{HEAD},Device\n"
        '="0012",P1,GLU,="5.1",F,46082.416666667,33000,A1\n="",P1,ALT,6,F,2026-03-02,,\nB3,P1,AST,7,F,46082.5.1,,\n',
        mapping,
    )
    assert bad(parsed) == [(4, "LAB-LINE-TIME", 6)]
    issued = datetime(2026, 3, 1, 10, tzinfo=ZoneInfo("Asia/Shanghai"))
    wanted = ("filler_order", "value_number", "issued_time", "equipment")
    assert rows(parsed, "observation", *wanted) == [
        ("0012", 5.1, issued, [{"id": "A1", "namespace": None}]),
        (None, 6.0, datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Shanghai")), None),
    ]
    assert ("P1", date(1990, 5, 7)) in rows(parsed, "patient", "patient_id", "birth_date")


def test_columns_by_number_and_the_usual_count_of_columns() -> None:
    mapping = replace(
        MAPPING,
        header=False,
        delimiter="\t",
        columns=(
            Column("order_number", position=1),
            Column("test_code", position=3),
            Column("value", position=4),
        ),
    )
    parsed = read("B1\tx\tGLU\t5\nB2\tx\tGLU\t6\nB3\tGLU\t7\n", mapping)
    assert rows(parsed, "observation", "filler_order", "value_number") == [("B1", 5.0), ("B2", 6.0)]
    assert bad(parsed) == [(3, "LAB-LINE-COLUMNS", None)]


@pytest.mark.parametrize("measure", ["characters", "bytes"])
def test_fixed_widths(measure: str) -> None:
    columns = (
        Column("order_number", start=1, width=4),
        Column("patient_name", start=5, width=6),
        Column("patient_id", start=1, width=4),
        Column("test_code", start=11, width=4),
        Column("value", start=15, width=6),
    )
    mapping = replace(
        MAPPING, format="fixed", header=False, charset="gb18030", columns=columns, measure=measure,  # type: ignore[arg-type]
        constants=(("status", "F"),),
    )  # fmt: skip
    name = "王小芳" if measure == "bytes" else "王小芳   "
    lines = (f"B1  {name}GLU 5.1", "", f"B2  {name}ALT <5    behind", "B3")
    data = "\r\n".join(lines).encode("gb18030")
    parsed = read(data, mapping)
    wanted = ("filler_order", "observation_code", "value_text")
    assert rows(parsed, "observation", *wanted) == [("B1", "GLU", "5.1"), ("B2", "ALT", "<5")]
    assert rows(parsed, "patient", "family_name") == [("王小芳",), ("王小芳",)]
    assert bad(parsed) == [(4, "LAB-LINE-INCOMPLETE", None)]
    if measure == "bytes":
        parsed = read(data + "\r\nB4  王 小芳GLU 1".encode("gb18030"), mapping)
        assert (5, "LAB-LINE-COLUMNS", None) in bad(parsed)


def test_a_wide_file_has_a_row_for_each_result() -> None:
    mapping = replace(
        MAPPING,
        columns=(Column("order_number", "No"), Column("result_time", "Time")),
        constants=(("status", "F"),),
        results=(
            ResultColumn(Column("", "WBC"), "WBC", "白细胞", "10*9/L", "3.5-9.5"),
            ResultColumn(Column("", "HBSAG"), "HBSAG"),
        ),
    )
    parsed = read("No,Time,WBC,HBSAG\nB1,2026-03-01,4.4,阴性(-)\nB2,2026-03-01,,阳性(+)\n", mapping)
    wanted = (
        "filler_order",
        "segment_index",
        "observation_code",
        "value_text",
        "unit_code",
        "reference_range",
    )
    assert sorted(rows(parsed, "observation", *wanted)) == [
        ("B1", 2, "WBC", "4.4", "10*9/L", "3.5-9.5"), ("B1", 3, "HBSAG", "阴性(-)", None, None),
        ("B2", 5, "HBSAG", "阳性(+)", None, None),
    ]  # fmt: skip


def test_what_a_file_states_twice_has_two_versions() -> None:
    again = GOOD.replace("5.1", "5.2")
    parsed = read(csv(GOOD, again, GOOD.replace("B1", "B2")))
    assert rows(parsed, "observation", "value_text", "line") == [("5.1", 0), ("5.2", 0), ("5.1", 0)]
    first, second, other = (when for (when,) in rows(parsed, "observation", "version_time"))
    assert isinstance(first, datetime)
    assert second == first + timedelta(microseconds=1)
    assert other == first == datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def test_a_version_in_the_future_counts_as_receipt() -> None:
    parsed = read(csv(GOOD.replace("2026-03-01", "2099-03-01")))
    assert rows(parsed, "observation", "version_time", "codes") == [(RECEIVED, ["HL7-VERSION-TIME-FUTURE"])]


def test_the_zone_of_the_source_and_its_summer_time() -> None:
    parsed = read(csv(GOOD.replace("2026-03-01", "1988-07-01")))
    assert rows(parsed, "observation", "issued_time") == [(datetime(1988, 7, 1, 1, 0, tzinfo=UTC),)]
    parsed = read(csv(GOOD), time_zone="Europe/Berlin")
    assert rows(parsed, "observation", "issued_time") == [(datetime(2026, 3, 1, 9, 0, tzinfo=UTC),)]


def test_a_report_is_final_when_all_is_and_never_taken_back_by_one_of_its_lines() -> None:
    lines = [
        GOOD,
        GOOD.replace("GLU", "ALT").replace(",F,", ",P,"),
        GOOD.replace("B1", "B2").replace(",F,", ",X,"),
    ]
    lines += [GOOD.replace("B1", "B3"), GOOD.replace("B1", "B3").replace(",F,", ",C,").replace("GLU", "ALT")]
    parsed = read(csv(*lines))
    assert rows(parsed, "diagnostic_report", "filler_order", "status") == [("B1", "P"), ("B3", "C")]
    assert len(rows(parsed, "service_request", "filler_order")) == 3


def test_maps_stand_beside_what_is_written() -> None:
    mapping = replace(
        MAPPING,
        columns=(*MAPPING.columns, Column("unit", "Unit"), Column("flag", "Flag")),
        units=(("×10⁹/L", "10*9/L"),),
        flags=(("↑", "H"),),
        codes=(Code("GLU", "2345-7", "LN", "Glucose"),),
    )
    parsed = read(f"{HEAD},Unit,Flag\n{GOOD},×10⁹/L,↑\n", mapping)
    wanted = ("observation_code", "observation_system", "observation_alt_code", "observation_alt_system", "unit_code",
              "unit_alt_code", "interpretation")  # fmt: skip
    assert rows(parsed, "observation", *wanted) == [("GLU", "L", "2345-7", "LN", "×10⁹/L", "10*9/L", ["H"])]


VALUES: tuple[tuple[str, Value], ...] = (
    ("5.1", (5.1, None, None, None, None)),
    ("-0.5", (-0.5, None, None, None, None)),
    ("５．１", (5.1, None, None, None, None)),
    ("<0.5", (0.5, "<", None, None, None)),
    ("＞100", (100.0, ">", None, None, None)),
    ("≥ 3", (3.0, ">=", None, None, None)),
    ("3.5～5.5", (None, None, 3.5, "-", 5.5)),
    ("3-5", (None, None, 3.0, "-", 5.0)),
    ("1:80", (None, None, 1.0, ":", 80.0)),
    ("1：80", (None, None, 1.0, ":", 80.0)),
    ("阴性(-)", NOTHING),
    ("2026-03-01", NOTHING),
    ("10⁹", NOTHING),
    ("1e5", NOTHING),
    ("1.25E+03", (1250.0, None, None, None, None)),
    ("<5.00e+02", (500.0, "<", None, None, None)),
    ("1E-2", (0.01, None, None, None, None)),
    ("12.34E5", (1_234_000.0, None, None, None, None)),
    ("1.2×10^5", (120_000.0, None, None, None, None)),
    ("＜1.0×10³", (1000.0, "<", None, None, None)),
    ("2*10^-3", (0.002, None, None, None, None)),
    ("2 x 106", NOTHING),
    ("5.1.2", NOTHING),
    ("++", NOTHING),
    ("٣", NOTHING),  # a digit, but not of ours
)


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: Value) -> None:
    assert read_value(text) == value
    columns = read_values(pa.array([text]))
    names = ("number", "comparator", "low", "separator", "high")
    assert tuple(columns[f"value_{name}"][0].as_py() for name in names) == value
    assert columns["value_text"].to_pylist() == [text]


def test_a_decimal_comma() -> None:
    columns = read_values(pa.array(["5,1", "<0,5", "1.5", "3,5-5,5", None]), ",")
    assert columns["value_number"].to_pylist() == [5.1, 0.5, None, None, None]
    assert columns["value_high"].to_pylist() == [None, None, None, 5.5, None]
    assert columns["value_type"].to_pylist() == ["NM", "SN", "ST", "SN", None]


def test_nothing_is_known_of_a_source_without_settings() -> None:
    raw = pa.table(
        {
            "payload": pa.array([b"x"], pa.binary()),
            "source": ["who"],
            "received_at": pa.array([RECEIVED], INSTANT),
        }
    )
    assert LAB.parse(raw, NO_SOURCES).unreadable.column("code").to_pylist() == ["LAB-FILE-MAPPING"]
