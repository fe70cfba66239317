"""Messages of instruments of whatever bytes and delimiters: each is read or put aside with a code."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lab.modality import LAB
from schemas.findings import FINDINGS
from schemas.lab import ASTM
from schemas.lab.profiles import PROFILES
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT
from schemas.tables import TABLES

MESSAGES = tuple(
    ("\r".join(one.example) + "\r").encode("gb18030") for one in PROFILES.values() if one.example
)
SCHEMAS = {table.name: table.arrow_schema for table in TABLES}


def parse(payloads: list[bytes], source: Source) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": [source.name] * len(payloads),
            "content_type": [ASTM] * len(payloads),
            "received_at": pa.array([datetime(2026, 6, 1, tzinfo=UTC)] * len(payloads), INSTANT),
        }
    )
    return LAB.parse(raw, Sources.of(source))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message of which some bytes are others, more, or missing."""
    made = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(made)))
        more = draw(
            st.binary(max_size=8) | st.sampled_from([b"|", b"\\", b"^", b"&", b"\r", b"&X4", b"R|1|"])
        )
        made[at : at + draw(st.integers(0, 12))] = more
    return bytes(made)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(damaged() | st.binary(max_size=200), min_size=1, max_size=4),
    st.sampled_from(sorted(PROFILES)),
    st.sampled_from(["utf-8", "gb18030"]),
)
def test_any_bytes_are_read_or_put_aside(payloads: list[bytes], profile: str, charset: str) -> None:
    source = Source("analyser", charset=charset, instrument_profile=profile)
    parsed = parse(payloads, source)
    read, aside = parsed.messages.column("row").to_pylist(), parsed.unreadable.column("row").to_pylist()
    assert sorted([*read, *aside]) == list(range(len(payloads)))
    codes = parsed.messages.column("codes").to_pylist()
    assert {code for some in codes for code in some} <= set(FINDINGS)
    for name, rows in parsed.tables.items():
        wanted = SCHEMAS[name]
        for column in rows.column_names:
            if column != "row":
                rows.column(column).cast(wanted.field(column).type)
    for payload, problem in zip(
        payloads, LAB.envelopes(payloads, [source] * len(payloads)).column("problem").to_pylist(), strict=True
    ):
        if payload[:1] in (b"H", b"h"):
            assert (problem is not None) == (payloads.index(payload) in aside)


_MARKS = st.lists(st.sampled_from("|\\^&!~*%@#$;:<>"), min_size=4, max_size=4, unique=True)
_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(_MARKS, _TEXTS, _TEXTS)
def test_what_is_sent_with_any_delimiters_is_read(marks: list[str], value: str, comment: str) -> None:
    field, repeat, component, escape = marks
    names = {field: "F", repeat: "R", component: "S", escape: "E"}

    def escaped(text: str) -> str:
        return "".join(f"{escape}{names[one]}{escape}" if one in names else one for one in text)

    def record(*fields: str) -> str:
        return field.join(fields)

    test = component * 3 + "GLU"
    message = "\r".join(
        [
            f"H{field}{repeat}{component}{escape}{field}",
            record("P", "1"),
            record("O", "1", escaped(value), "", test),
            record("R", "1", test, escaped(value), escaped(comment)),
            record("C", "1", "I", escaped(comment)),
            record("L", "1", "N"),
        ]
    )
    parsed = parse([message.encode()], Source("analyser"))
    row = parsed.tables["normalised/observation"].to_pylist()[0]
    assert (row["value_text"], row["unit_code"], row["specimen_id"]) == (value, comment, value)
    assert row["notes"] == [comment]
    assert parsed.messages.column("codes").to_pylist() == [[]]
