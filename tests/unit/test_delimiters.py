"""Whatever a message's delimiters, line ends and spelling: it says the same, and so do its neighbours in a batch."""

from __future__ import annotations

import itertools

import pytest

from tests.unit.hl7_messages import read_all, read_one

LINES = (
    "MSH|^~\\&|LIS|F|||20260301||ORU^R01|C1|P|2.5.1||||||UNICODE UTF-8",
    "PID|1||P1^^^A^MR~P2||王^小\\X5E\\明||19800101|F",
    "OBR|1|P^N|F^N|C^Code^L|||20260301",
    "OBX|1|TX|c^Code^L||one\\X26\\two~three||||||F",
)
"""No trailing delimiters; nothing that a shorter MSH-2 could not say."""


def variants() -> list[str]:
    usual = "\r".join(LINES)
    own = [
        usual.translate(str.maketrans("|^~\\&", to))
        for to in ("$*%!@", "^|~\\&", "`'\"/?", "~}|{;", "&\\~^|")
    ]
    longer = [one[:8] + extra + one[8:] for one, extra in zip([usual, *own], "#+#+##", strict=True)]
    shorter = [usual.replace("~\\&|", "~\\|", 1)]
    ends = [
        usual.replace("\r", end) + tail
        for end, tail in itertools.product(("\n", "\r\n", "\r\r\n \r"), ("", "\n\r"))
    ]
    mixed = [f"{LINES[0]}\n{LINES[1]}\r\n{LINES[2]}\r{LINES[3]}\r"]
    spelt = [
        "msh" + usual[3:],
        usual.replace("\rOBX", "\r \tobx").replace("\rPID", "\rPid"),
        "\ufeff" + usual,
    ]
    filled = [usual.replace("\r", "||||\r").replace("UTF-8||||", "UTF-8|||||||") + "|||"]
    before = ["\r\n" + usual, " \t" + usual]
    return [usual, *own, *longer, *shorter, *ends, *mixed, *spelt, *filled, *before]


def rows(messages: list[str], codec: str) -> list[list[tuple[str, str]]]:
    """Of each message its rows but for segments' own text."""
    name = "GBK" if codec == "gb18030" else "utf-8"
    parsed = read_all([message.replace("UNICODE UTF-8", name).encode(codec) for message in messages])
    assert parsed.unreadable.num_rows == 0
    assert set(map(tuple, parsed.messages.column("codes").to_pylist())) == {()}
    found: list[list[tuple[str, str]]] = [[] for _ in messages]
    for name, table in sorted(parsed.tables.items()):
        for row in table.to_pylist():
            place = row.pop("row")
            row.pop("text", None)
            row.pop("name", None)
            found[place].append((name, repr(row)))
    return found


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_all_say_the_same(codec: str) -> None:
    messages = [one for one in variants() if codec == "utf-8" or not one.startswith("\ufeff")]
    found = rows(messages * 2, codec)
    assert len(found[0]) > 4
    for message, said_here in zip(messages * 2, found, strict=True):
        assert said_here == found[0], message


def test_short_encoding_characters() -> None:
    lines = "{0}|LIS|F|||1997||ORU^R01|C1|P|2.1\rPID|1||P1||A^B&C\\F\\\rOBR|1|P|F|C^Code^L\rOBX|1|ST|c^x||v~w||||||F\r"
    expected = {
        "MSH|^": "B&C\\F\\",  # the usual repetition separator, nothing to escape with
        "MSH|^~": "B&C\\F\\",
        "MSH|^~\\": "B&C|",
        "MSH|^~\\&": "B&C|",
        "MSH|^~\\&#": "B&C|",
    }
    for head, given in expected.items():
        parsed = read_one(lines.format(head).encode())
        assert [row["given_name"] for row in parsed.tables["normalised/patient"].to_pylist()] == [given]
        (result,) = parsed.tables["normalised/observation"].to_pylist()
        assert (result["value_text"], result["value_repetitions"]) == ("v", 2)


def test_a_repetition_separator_that_is_taken_is_none() -> None:
    parsed = read_one(b"MSH|~|LIS|F|||1997||ADT~A08|C1|P|2.1\rPID|1||P1||A~B\r")
    (patient,) = parsed.tables["normalised/patient"].to_pylist()
    assert (patient["family_name"], patient["given_name"]) == ("A", "B")


@pytest.mark.parametrize("head", ["MSH||", "MSH|^^|", "MSH|^~\\&#+|", "MSH|^~a|", "MSH|^ |", "MSHA^~\\&A"])
def test_what_cannot_be_delimiters(head: str) -> None:
    parsed = read_one(f"{head}LIS|F\rPID|1".encode())
    assert parsed.unreadable.column("code").to_pylist() == ["HL7-DELIMITERS"]
