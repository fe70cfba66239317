"""Whatever bytes arrive: nothing raises, no message is lost or said twice, no message changes its neighbours."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.hl7v2.modality import HL7V2
from schemas.modality import MESSAGES_SCHEMA, UNREADABLE_SCHEMA, Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT

SOURCES = Sources.of(
    Source("plain"),
    Source("mainland", charset="gb18030"),
    Source("island", charset="big5", time_zone="Asia/Taipei", institution="H1"),
    Source("latin", charset="iso8859-1", time_zone="Europe/Berlin"),
)
NAMES = sorted(SOURCES.by_name)

SEEDS = [
    (
        "MSH|^~\\&|HIS|F^1.2^ISO|L|C|20260301080000+0800||ADT^A08^ADT_A01|C1|P|2.5.1|7||||CHN|UNICODE UTF-8\r"
        "EVN|A08|20260301\rPID|1||P1^^^F&1.2&ISO^MR~X2^^^^NI||王^小~明||19800101|F|||路&1^^市^^100000||1~2\r"
        "PV1|1|I|W^1^2^H||||D^医^生||||||||||||V1\rZZZ|a\\T\\b|\\X41\\\r"
    ),
    (
        "MSH|^~\\&|LIS|瑋質|L|C|198807011200||ORU^R01|C2||2.3||||||GB 18030-2000\rPID|1|A|B|D\rORC|RE|P|F\r"
        'OBR|1|P^N|F^N|C^CBC^LN|||20260301\rOBX|1|NM|718-7^Hb^LN||+1.5~2||1-2|""||A~H|F|||2026030108\r'
        "OBX|2|SN|x^y||>^1^-^2\rOBX|3|CE|x||a^觀\\F\\^c~d\rOBX|4|TS|||20260301080000.1234-0500\r"
        "PID|2||Q\rOBR|2\rOBX|1|ST|||" + "\\.sp3\\葉|\r\n"
    ),
    "MSH|^~\\&|SCH|F||C|2026||SIU^S12|C3|T|2.5.1\nSCH|1\n\nPID|1||P1\nMSH|^~\\&|X\n",
    "\ufeff\r\nmsh$*%!@$A$B$C$D$2026-03$$ADT*A01$C4$P$2.4\rPID$1$$P*1$$N@x*a!T!b\rPV1$1$O",
    "MSH|^",
    "MSH|^~\\&#|||||||ADT\rEVN|A01\rPID|||\rOBX|1|NM|a||"
    + "9" * 400
    + "\rOBX|1|NM|a||1\rOBX|1|DT|a||99999999",
    "MSH|^~\\&||||||||||||||||UNICODE UTF-16\rPID",
    (
        "MSH|^~\\&|LIS|山田葉|L|C|2026||ORU^R01|C5||2.5|9|7|||||ASCII~ISO IR87\rPID|1||P\r"
        "OBX|1|FT|a||葉\\X8F\\\\X7C\\\r"
        "ADD|瑋\\M2442\\;3ED\\C2842\\\nadd| 3|~\r ADD\rADD|x\rDSC|8|F\rADD|y|"
    ),
]
CODECS = ("utf-8", "gb18030", "big5", "iso8859-1", "iso2022_jp", "utf-16")
PIECES = [
    b"|",
    b"^",
    b"~",
    b"\\",
    b"&",
    b"\r",
    b"\n",
    b" ",
    b"\0",
    b"\xff",
    b"\x81|",
    b"\xef\xbb\xbf",
    b'""',
    b"MSH",
    b"\rADD|",
    b"\nadd",
    b"\rDSC|1",
    b"\x1b$B",
]


def _encoded(text: str, codec: str) -> bytes:
    return text.encode(codec, "replace")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message that looks real, with some bytes cut out, doubled, or put in."""
    message = _encoded(draw(st.sampled_from(SEEDS)), draw(st.sampled_from(CODECS)))
    for _ in range(draw(st.integers(0, 4))):
        low = draw(st.integers(0, len(message)))
        high = draw(st.integers(low, min(len(message), low + 12)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3) | st.just(message[low:high] * 2))
        message = message[:low] + piece + message[high:]
    return message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message


anything = st.tuples(mutated() | st.binary(max_size=60), st.sampled_from(NAMES))
batches = st.lists(anything, max_size=6)
careful = settings(
    max_examples=int(os.environ.get("PHL_TEST_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
Batch = list[tuple[bytes, str]]
EVERY_SEED: Batch = [(_encoded(text, codec), name) for text in SEEDS for codec in CODECS for name in NAMES]


def raw_rows(batch: Batch) -> pa.Table:
    """Raw rows as the stages hand them to the parser."""
    received = datetime(2026, 3, 1, 2, tzinfo=UTC)
    return pa.table(
        {
            "payload": pa.array([message for message, _ in batch], pa.binary()),
            "source": pa.array([name for _, name in batch], pa.string()),
            "received_at": pa.array([received] * len(batch), INSTANT),
        }
    )


def by_message(parsed: Parsed) -> dict[int, object]:
    """All that was said of each message, without its row number."""
    said: dict[int, list[object]] = defaultdict(list)
    for name, table in (
        ("messages", parsed.messages),
        ("unreadable", parsed.unreadable),
        *sorted(parsed.tables.items()),
    ):
        for row in table.to_pylist():
            said[row.pop("row")].append((name, repr(row)))
    return dict(said)


@careful
@given(batches)
@example([])
@example(EVERY_SEED)
def test_each_message_is_either_read_or_unreadable(batch: Batch) -> None:
    parsed = HL7V2.parse(raw_rows(batch), SOURCES)
    parsed.messages.validate(full=True)
    parsed.unreadable.validate(full=True)
    assert parsed.messages.schema.equals(MESSAGES_SCHEMA)
    assert parsed.unreadable.schema.equals(UNREADABLE_SCHEMA)
    read = parsed.messages.column("row").to_pylist()
    assert read == sorted(read)
    assert sorted(read + parsed.unreadable.column("row").to_pylist()) == list(range(len(batch)))


@careful
@given(batches)
@example([])
@example(EVERY_SEED)
def test_envelopes_and_parser_agree_on_what_is_unreadable(batch: Batch) -> None:
    envelopes = HL7V2.envelopes([message for message, _ in batch], [SOURCES.get(name) for _, name in batch])
    envelopes.validate(full=True)
    parsed = HL7V2.parse(raw_rows(batch), SOURCES)
    found = dict.fromkeys(parsed.messages.column("row").to_pylist())
    found.update({row["row"]: row["code"] for row in parsed.unreadable.to_pylist()})
    assert [found[row] for row in range(len(batch))] == envelopes.column("problem").to_pylist()


@careful
@given(batches)
@example(EVERY_SEED)
def test_each_segment_is_in_a_table(batch: Batch) -> None:
    parsed = HL7V2.parse(raw_rows(batch), SOURCES)
    tables = {table.name: table for table in HL7V2.tables}
    segments: dict[int, set[int]] = defaultdict(set)
    for name, table in parsed.tables.items():
        table.validate(full=True)
        types = {field.name: field.type for field in tables[name].fields} | {"row": pa.int32()}
        for column in table.schema:
            of_dictionary = pa.types.is_dictionary(column.type)
            assert (column.type.value_type if of_dictionary else column.type) == types[column.name], (
                column.name
            )
        for row, index in zip(
            table.column("row").to_pylist(), table.column("segment_index").to_pylist(), strict=True
        ):
            segments[row].add(index)
    for row in parsed.messages.column("row").to_pylist():
        assert segments[row] == set(range(len(segments[row])))
        assert len(segments[row]) == _segment_count(batch[row][0])


def _segment_count(message: bytes) -> int:
    """Lines that are not blank, without those that continue the one before (ADD with fields, HL7 v2.5.1 §2.10.2)."""
    text = message.removeprefix(b"\xef\xbb\xbf").replace(b"\n", b"\r")
    lines = [line.lstrip(b" \t") for line in text.split(b"\r") if line.strip(b" \t")]
    adds = b"ADD" + lines[0][3:4]
    count, before = 0, b"MSH"
    for line in lines:
        if line[:4].upper() != adds or before in {b"MSH", b"ADD"}:
            count += 1
        before = b"MSH" if line is lines[0] else line.upper()
    return count


@careful
@given(batches)
@example(EVERY_SEED)
def test_a_message_reads_the_same_alone_and_among_others(batch: Batch) -> None:
    together = by_message(HL7V2.parse(raw_rows(batch), SOURCES))
    for row, one in enumerate(batch):
        assert by_message(HL7V2.parse(raw_rows([one]), SOURCES))[0] == together[row]


@careful
@given(batches)
def test_the_same_whatever_the_slice_and_the_chunks(batch: Batch) -> None:
    rows = raw_rows(batch)
    whole = by_message(HL7V2.parse(rows, SOURCES))
    padded = pa.concat_tables([raw_rows([(b"MSH|^~\\&|x", "plain")]), rows])
    assert by_message(HL7V2.parse(padded.slice(1), SOURCES)) == whole
    assert by_message(HL7V2.parse(padded.combine_chunks().slice(1), SOURCES)) == whole
