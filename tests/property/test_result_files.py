"""Result files of any bytes: the reader never raises, and every line is a row or a quarantined line."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.lab.modality import LAB
from schemas.lab.result_file import Column, ResultColumn, ResultFile
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT

_EXAMPLES = int(os.environ.get("PHL_TEST_EXAMPLES", "300"))
LONG = ResultFile(
    columns=(
        Column("order_number", position=1),
        Column("test_code", position=2, needed=True),
        Column("value", position=3),
        Column("result_time", position=4),
        Column("status", position=5),
    ),
    header=False,
)
WIDE = replace(
    LONG,
    columns=(Column("order_number", position=1), Column("result_time", position=4)),
    constants=(("status", "F"),),
    results=(ResultColumn(Column("", position=2), "A"), ResultColumn(Column("", position=3), "B")),
)
FIXED = replace(
    LONG,
    format="fixed",
    columns=(
        Column("order_number", start=1, width=3),
        Column("test_code", start=3, width=4),
        Column("value", start=7, width=2),
        Column("result_time", start=9, width=8),
    ),
)
HEADED = replace(
    LONG, header=True, columns=tuple(replace(one, name=one.target[:2], position=None) for one in LONG.columns)
)
MAPPINGS = [
    replace(one, charset=charset, skip_lines=skipped, quote=quote, measure="bytes" if skipped != 2 else one.measure)
    for one in (LONG, WIDE, FIXED, HEADED)
    for charset, skipped, quote in (
        ("utf-8", 0, '"'), ("gb18030", 1, '"'), ("utf-16", 0, ""), ("utf-8", 2, ""), ("latin-1", 2, "'"),
    )
]  # fmt: skip

CELLS = st.sampled_from(
    ["", " ", "B1", "GLU", "5.1", "<5", "3.5～5.5", "2026-03-01", "2026-3-1 8:05:01", "99999999", "王", "𠮷", '"',
     '"x"', '""', "'", "\0", "\r", "\t", "　", "F", "é"]
)  # fmt: skip
TEXTS = st.lists(st.lists(CELLS, max_size=7).map(",".join), max_size=9).map("\n".join)
FILES = st.one_of(
    st.binary(max_size=200),
    TEXTS.map(str.encode),
    TEXTS.map(lambda text: text.encode("gb18030")),
    TEXTS.map(lambda text: text.encode("utf-16")),
    st.tuples(TEXTS.map(str.encode), st.binary(max_size=4), st.integers(0, 200)).map(
        lambda parts: parts[0][: parts[2]] + parts[1] + parts[0][parts[2] :]
    ),
)


def read(payload: bytes, mapping: ResultFile) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array([payload], pa.binary()),
            "source": ["clinic"],
            "received_at": pa.array([datetime(2026, 3, 2, tzinfo=UTC)], INSTANT),
        }
    )
    return LAB.parse(raw, Sources.of(Source("clinic", result_file=mapping)))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(FILES, st.sampled_from(MAPPINGS))
@example(b"\xef\xbb\xbf", LONG)
@example(b'"""\n' * 5, LONG)
@example(b"\xff\xfe" + "B1,GLU,5,2026-03-01,F".encode("utf-16-le"), LONG)
def test_any_bytes_are_a_message_or_unreadable(payload: bytes, mapping: ResultFile) -> None:
    parsed = read(payload, mapping)
    assert parsed.messages.num_rows + parsed.unreadable.num_rows == 1
    assert parsed.bad_parts is not None
    bad = parsed.bad_parts.column("segment_index").to_pylist()
    assert len(set(bad)) == len(bad)
    if mapping.results:
        return
    lines = [
        row["segment_index"] for row in parsed.tables.get("normalised/observation", pa.table({})).to_pylist()
    ]
    assert len({*lines, *bad}) == len(lines) + len(bad)
    for name, table in parsed.tables.items():
        if name != "normalised/finding":
            assert set(table.column("segment_index").to_pylist()) <= set(lines)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["", "B1", "GLU", "5", "2026-03-01", "x"]), max_size=6), max_size=9))
def test_every_line_is_a_row_or_a_quarantined_line(cells: list[list[str]]) -> None:
    mapping = replace(LONG, quote="")
    text = "\n".join(",".join(line) for line in cells)
    wanted = [number for number, line in enumerate(text.split("\n"), 1) if line.strip(",")]
    parsed = read(text.encode(), mapping)
    if parsed.unreadable.num_rows:
        assert parsed.unreadable.column("segment_index").to_pylist() == wanted[:1]
        return
    assert parsed.bad_parts is not None
    lines = [
        row["segment_index"] for row in parsed.tables.get("normalised/observation", pa.table({})).to_pylist()
    ]
    assert sorted(lines + parsed.bad_parts.column("segment_index").to_pylist()) == wanted
