"""``phl hl7``: messages as trees and rows, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli.main import app

MESSAGE = (
    "MSH|^~\\&|LIS|CLINIC|||20260301080000||ORU^R01|C1|P|2.5.1||||||UNICODE UTF-8\r"
    "PID|1||P1^^^CLINIC&1.2&ISO^MR~P2||a\\T\\b^\\X1B\\[31mred\r"
    "OBR|1||F1|CBC^Count^L\rOBX|1|NM|718-7^Hb^LN||132|g/L|||||F\rZZZ|bell\\X07\\\r"
)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["hl7", *arguments], input=given, env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.hl7"
    path.write_bytes(MESSAGE.encode())
    return path


def test_a_message_is_shown_as_its_tree_and_its_rows(file: Path) -> None:
    shown = run(str(file))
    assert shown.exit_code == 0
    for line in ("one.hl7#1", "PID [1]", "PID-3[1].4.2  1.2", "PID-3[2]  P2", "PID-5.1  a&b", "OBX-5  132"):
        assert line in shown.output
    assert "observation: 1 row" in shown.output
    assert "718-7" in run(str(file), "--no-tree").output
    assert "PID [1]" not in run(str(file), "--no-tree").output
    assert "observation:" not in run(str(file), "--no-rows").output


def test_control_characters_do_no_harm(file: Path) -> None:
    output = run(str(file)).output
    assert not {character for character in output if ord(character) < 32} - {"\n"}
    assert "[31mred" in output


def test_each_message_is_a_line_of_json(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "two.hl7"
    other.write_bytes(MESSAGE.replace("C1", "C2").encode() + MESSAGE.replace("C1", "C3").encode())
    shown = run(str(file), str(other), "--json")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["message"] for line in lines] == ["one.hl7#1", "two.hl7#1", "two.hl7#2"]
    assert [line["tables"]["message_header"][0]["control_id"] for line in lines] == ["C1", "C2", "C3"]
    assert lines[0]["segments"][1]["fields"][2] == [
        [["P1"], [""], [""], ["CLINIC", "1.2", "ISO"], ["MR"]],
        [["P2"]],
    ]
    assert (lines[0]["problem"], lines[0]["tables"]["observation"][0]["value_number"]) == (None, 132.0)
    assert "tables" not in json.loads(run(str(file), "--json", "--no-rows").stdout)


def test_what_cannot_be_read_is_told_and_the_others_are_shown(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.hl7"
    bad.write_bytes(b"MSH|^^~\\&|a\r")
    shown = run(str(bad), str(file))
    assert shown.exit_code == 1
    assert "HL7-DELIMITERS: MSH-1 and MSH-2 do not hold distinct printable delimiters." in shown.output
    assert "PID [1]" in shown.output
    assert json.loads(run(str(bad), "--json").stdout) == {
        "message": "bad.hl7#1", "problem": "HL7-DELIMITERS", "segments": [], "tables": {},
    }  # fmt: skip


def test_standard_input_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "PID [1]" in run("-", given=MESSAGE).output
    assert run(str(tmp_path / "none.hl7")).exit_code != 0


def test_charset_and_zone_of_a_message_that_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "old.hl7"
    path.write_bytes("MSH|^~\\&|A|B|||20260301080000||ADT^A08|C1\rPID|1||P1||葉\r".encode("big5"))
    shown = json.loads(run(str(path), "--charset", "big5", "--time-zone", "Europe/Berlin", "--json").stdout)
    assert shown["tables"]["patient"][0]["family_name"] == "葉"
    assert shown["tables"]["patient"][0]["version_time"].startswith("2026-03-01T07:00")
