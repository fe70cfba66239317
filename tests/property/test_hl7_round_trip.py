"""Nothing is lost: each segment of a message is in a table, and ``segment`` keeps what was sent, byte for byte."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, example, given, settings

from pipelines.hl7v2.modality import HL7V2
from tests.property.test_hl7_any_bytes import EVERY_SEED, SOURCES, Batch, batches, raw_rows
from tests.tools.fuzz_hl7 import corpus

careful = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def lines_of(message: bytes, codec: str) -> list[bytes]:
    """The segments of a message as sent, cut where its charset has line ends, ADD segments and blank lines apart."""
    text = message.removeprefix(b"\xef\xbb\xbf").decode(codec)
    lines = (line.lstrip(" \t") for line in text.replace("\n", "\r").split("\r"))
    return [line.encode(codec) for line in lines if line]


def check(batch: Batch) -> int:
    """Rebuild the messages of a batch; how many segments were compared byte for byte."""
    parsed = HL7V2.parse(raw_rows(batch), SOURCES)
    headers = parsed.tables.get("normalised/message_header")
    if headers is None:
        return 0
    used = {row["row"]: row["charset_used"] for row in headers.select(["row", "charset_used"]).to_pylist()}
    continued = {
        row["row"]
        for row in parsed.messages.select(["row", "codes"]).to_pylist()
        if "HL7-SEGMENT-CONTINUED" in (row["codes"] or [])
    }
    indices: dict[int, set[int]] = defaultdict(set)
    for table in parsed.tables.values():
        for row, index in zip(
            table.column("row").to_pylist(), table.column("segment_index").to_pylist(), strict=True
        ):
            indices[row].add(index)
    segments = parsed.tables.get("normalised/segment")
    texts: dict[int, dict[int, str]] = defaultdict(dict)
    for one in segments.to_pylist() if segments is not None else []:
        texts[one["row"]][one["segment_index"]] = one["text"]
    compared = 0
    for row, codec in used.items():
        if row in continued or codec.startswith("iso2022"):
            continue  # joined segments are told by a finding; ISO 2022 has many spellings of one text
        sent = lines_of(batch[row][0], codec)
        assert indices[row] == set(range(len(sent)))
        for index, text in texts[row].items():
            assert text.encode(codec) == sent[index]
            compared += 1
    return compared


@careful
@given(batches)
@example(EVERY_SEED)
def test_generated_messages_come_back(batch: Batch) -> None:
    check(batch)


@pytest.mark.parametrize("name", sorted(SOURCES.by_name))
def test_golden_and_public_messages_come_back(name: str) -> None:
    assert check([(message, name) for message in corpus()]) > 50
