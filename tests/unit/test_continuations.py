"""Segments that ADD continues are one; messages that are parts of others say so (HL7 v2.5.1 §2.10.2)."""

from __future__ import annotations

import pytest

from schemas.modality import Parsed
from tests.unit.hl7_messages import read_all, read_one

HEAD = "MSH|^~\\&|LIS|F|||20260301||ORU^R01|C1|P|2.5.1"
BEFORE = f"{HEAD}\rPID|1||P1\rOBR|1|P^N|F^N|C\r"


def texts(parsed: Parsed) -> list[tuple[int, str | None, str | None]]:
    rows = parsed.tables["normalised/observation"].to_pylist()
    return [(row["segment_index"], row["value_text"], row["status"]) for row in rows]


def codes(parsed: Parsed) -> list[str]:
    (found,) = parsed.messages.column("codes").to_pylist()
    return [code for code in found if code.startswith(("HL7-SEGMENT", "HL7-FRAGMENT"))]


@pytest.mark.parametrize(
    "lines",
    [
        "OBX|1|TX|a||long text\rADD| and the rest of it||||||F\r",
        "OBX|1|TX|a||long text and \r\nADD|the rest of it||||||F\r\n",
        "OBX|1|TX|a||long text\n\n \tadd| and the rest of it||||||F\n",
        "OBX|1|TX|a||long\rADD| text and the\rADD| rest of it|\rADD||||||F\r",
        "OBX|1|TX\rADD||a||long text and the rest of it||||||F",
        "OBX|1|TX|\rADD|a||long text and the rest of it||||||F\r",
    ],
)
def test_a_continued_field_is_one_field(lines: str) -> None:
    parsed = read_one(f"{BEFORE}{lines}OBX|2|TX|b||next||||||P".replace("FOBX", "F\rOBX").encode())
    # ADD segments are not counted: the next one has the number after the joined one's
    assert texts(parsed) == [(3, "long text and the rest of it", "F"), (4, "next", "P")]
    assert codes(parsed) == ["HL7-SEGMENT-CONTINUED"]


def test_in_any_charset_and_with_any_delimiters() -> None:
    lines = "OBX|1|TX|a||長い文\rADD|葉瑋、の続き||||||F\r"
    expected = [(3, "長い文葉瑋、の続き", "F")]
    text = BEFORE + lines
    own = text.translate(str.maketrans("|^\\&", "$*!@"))
    assert own.startswith("MSH$*~!@$")
    for one in (text, own):
        for codec in ("gb18030", "utf-8"):
            assert texts(read_one(one.encode(codec), charset=codec)) == expected


def test_what_begins_like_add_is_no_continuation() -> None:
    lines = "OBX|1|TX|a||see\rADDRESS|x\rADX|y\rADD^z|\rOBX|2|TX|a|| ADD|F\r"
    parsed = read_one((BEFORE + lines).encode())
    assert texts(parsed) == [(3, "see", None), (7, " ADD", None)]
    assert codes(parsed) == []


@pytest.mark.parametrize(
    ("message", "segments"),
    [
        (f"{HEAD}|1|4711\rPID|1||P1\r", []),  # MSH-14
        (f"{BEFORE}NTE|1||x\rDSC|4711|F\r", ["DSC"]),
        (f"{HEAD}\rADD|rest of the former\rPID|1||P1\r", ["ADD"]),
        (f"{BEFORE}NTE|1||half\rADD\rDSC|4711\r", ["ADD", "DSC"]),
        (f"{BEFORE}NTE|1||half\radd\n", ["add"]),
    ],
)
def test_parts_of_a_longer_message_say_so(message: str, segments: list[str]) -> None:
    own = message.translate(str.maketrans("|^\\&", "$*!@"))
    for one in (message.encode(), own.encode(), message.encode() + "NTE|1||葉".encode("gb18030")):
        parsed = read_one(one, charset="gb18030")
        assert codes(parsed) == ["HL7-FRAGMENT"]
        kept = parsed.tables.get("normalised/segment")
        names = kept.column("name").to_pylist() if kept is not None else []
        assert [name for name in names if name.upper() in {"ADD", "DSC"}] == segments


@pytest.mark.parametrize("message", [f"{BEFORE}DSC|\r", f"{BEFORE}DSC\r", f'{HEAD}|1|""\rPID|1||P1\rDSC||I'])
def test_an_empty_pointer_points_nowhere(message: str) -> None:
    assert codes(read_one(message.encode())) == []


def test_a_continued_message_changes_no_other() -> None:
    continued = (BEFORE + "OBX|1|TX|a||one\rADD| two||||||F\r").encode()
    plain = (BEFORE + "OBX|1|TX|a||one two||||||F\r").encode()
    orphan = f"{HEAD}\rADD|x\rADD|y\r".encode()
    parsed = read_all([plain, continued, orphan, b"ADD|1", plain])
    assert texts(parsed) == [(3, "one two", "F")] * 3
    assert parsed.unreadable.column("row").to_pylist() == [3]
    segments = parsed.tables["normalised/segment"].to_pylist()
    assert [row["text"] for row in segments if row["name"] == "ADD"] == ["ADD|xy"]


def test_very_many() -> None:
    message = BEFORE + "OBX|1|TX|a||" + "\rADD|x" * 100_000 + "||||||F" + "\r" * 100_000 + "\rADD\rDSC|1"
    parsed = read_one(message.encode())
    assert texts(parsed) == [(3, "x" * 100_000, "F")]
    assert codes(parsed) == ["HL7-FRAGMENT", "HL7-SEGMENT-CONTINUED"]
