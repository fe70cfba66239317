"""Escape sequences are resolved as HL7 v2.5.1 §2.7 says; what is not known stays as it was sent."""

from __future__ import annotations

import pytest

from pipelines.hl7v2.decode import USUAL_DELIMITERS, Delimiters
from pipelines.hl7v2.unescape import unescape

ALL = r"\F\ \S\ \T\ \R\ \E\ \P\ \H\x\N\ \.br\ \.sp\ \.ce\ \.in+4\\.ti-2\\.fi\\.nf\ "


def test_every_sequence_of_the_standard() -> None:
    assert unescape(ALL, USUAL_DELIMITERS, "utf-8") == "| ^ & ~ \\ # x \n \n \n  "


def test_the_delimiters_are_those_of_the_message() -> None:
    own = Delimiters("$", "*", "%", "!", "@", "+")
    assert unescape("!F!!S!!T!!R!!E!!P! \\F\\", own, "utf-8") == "$*@%!+ \\F\\"
    assert unescape("!F!", Delimiters("|", "^", "~", "", "", ""), "utf-8") == "!F!"
    assert unescape("\\T\\\\R\\", Delimiters("|", "^", "~", "\\", "", ""), "utf-8") == "\\T\\~"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (r"a\.sp3\b\.sk2\c", "a\n\n\nb  c"),
        (r"\.sp+2\x", "\n\nx"),
        (r"\.sp999\x", r"\.sp999\x"),  # no page has so many lines
        (r"\Zlocal\ \Q\ \.xx\ \\", r"\Zlocal\ \Q\ \.xx\ \\"),
        ("C:\\temp", "C:\\temp"),
        ("a\\", "a\\"),
        ("\\", "\\"),
        (r"C:\F\ile", "C:|ile"),
        (r"\E\F\E\ ", r"\F\ "),  # once: what comes out is not looked at again
        (r"\X\ \X4\ \XG0\ ", r"\X\ \X4\ \XG0\ "),
    ],
)
def test_what_is_unknown_or_alone_stays(text: str, meaning: str) -> None:
    assert unescape(text, USUAL_DELIMITERS, "utf-8") == meaning


@pytest.mark.parametrize(
    ("text", "codec", "meaning"),
    [
        (r"\X41\\X0D0A\b", "utf-8", "A\r\nb"),
        (r"\XCDF5\ml", "gb18030", "王ml"),
        (r"\XCD\\XF5\\X20\ml", "gb18030", "王 ml"),
        (r"\X8F\\X7C\ml", "gb18030", b"\x8f|".decode("gb18030") + "ml"),
        (r"\XE7\\X8E8B\ml", "utf-8", "王ml"),
        (r"\XCD\ \XF5\ml", "gb18030", r"\XCD\ \XF5\ml"),  # not one after the other
        (r"\X41\\XFF\\XF\x", "utf-8", r"A\XFF\\XF\x"),
        (r"\XF9D6\ml", "big5", "碁ml"),  # of Microsoft's Big5
        (r"\XE9\t\XE9\ ", "iso8859-1", "été "),
        (r"\XE9\ ", "no-such-codec", r"\XE9\ "),
    ],
)
def test_bytes_are_in_the_charset_of_the_message(text: str, codec: str, meaning: str) -> None:
    assert unescape(text, USUAL_DELIMITERS, codec) == meaning


@pytest.mark.parametrize(
    ("text", "codec", "meaning"),
    [
        (r"Yamada\M2442\;3ED\C2842\Taro", "ascii", "Yamada山田Taro"),
        (r"\M2442\;3\F\ED\C2842\x", "ascii", "山|田x"),
        (r"\M2442\;3E\C2842\x", "ascii", r"\M2442\;3Ex"),  # half a character
        (r"\C2D4C\Å\C2842\!", "iso8859-1", "Х!"),
        (r"\C2D41\été\C2842\!", "utf-8", r"\C2D41\été!"),  # was decoded already
        (r"\C2D41\ASCII\C2842\王", "utf-8", "ASCII王"),
        (r"\C9999\x\M123456\y", "utf-8", r"\C9999\x\M123456\y"),
        (r"\C28\x", "utf-8", r"\C28\x"),
    ],
)
def test_switches_of_the_charset(text: str, codec: str, meaning: str) -> None:
    assert unescape(text, USUAL_DELIMITERS, codec) == meaning


def test_many_sequences_are_read_in_one_go() -> None:
    assert unescape("\\" * 10_001, USUAL_DELIMITERS, "utf-8") == "\\" * 10_001
    assert unescape("\\T\\" * 100_000, USUAL_DELIMITERS, "utf-8") == "&" * 100_000
    assert unescape("\\XCD\\" * 100_001, USUAL_DELIMITERS, "gb18030") == "\\XCD\\" * 100_001
    assert unescape("\\X" + "41" * 1_000_000 + "\\", USUAL_DELIMITERS, "utf-8") == "A" * 1_000_000
