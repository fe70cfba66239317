"""Envelopes of a batch are those of its messages one by one, whatever bytes arrive."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.hl7v2.envelopes import read_one_by_one
from pipelines.hl7v2.modality import HL7V2
from tests.property.test_hl7_any_bytes import EVERY_SEED, SOURCES, Batch, batches, careful

USUAL = b"MSH|^~\\&|HIS|F|||20260301||ADT^A08|C5|P|2.4||7||||"
ENDS = [
    b"",
    b"||",
    b"|\r\n",
    b"\r\r \t|||\r|",
    "王||".encode(),
    "王|||\rPV1|葉|\n|\r||".encode("gb18030"),
    b"\xe7\x8e|",
]
CHARSETS = [
    b"",
    b"|UNICODE UTF-8",
    b"|GB 18030-2000",
    b"|8859/1|",
    b"|UNICODE UTF-16",
    b"|ISO IR87",
    b"|~ISO IR87|\x1b$B|",
]
usual = st.builds(
    lambda charset, lines: USUAL + charset + b"".join(b"\r" + line for line in lines),
    st.sampled_from(CHARSETS),
    st.lists(st.sampled_from([b"PID|1||P1" + end for end in ENDS] + ENDS), max_size=4),
)
ALL_USUAL: Batch = [
    (USUAL + charset + b"\rPID|1" + end, name)
    for charset in CHARSETS
    for end in ENDS
    for name in sorted(SOURCES.by_name)
]


@careful
@given(batches | st.lists(st.tuples(usual, st.sampled_from(sorted(SOURCES.by_name))), max_size=6))
@example([])
@example(EVERY_SEED)
@example(ALL_USUAL)
def test_together_and_one_by_one_are_the_same(batch: Batch) -> None:
    payloads, sources = [message for message, _ in batch], [SOURCES.get(name) for _, name in batch]
    assert HL7V2.envelopes(payloads, sources).to_pylist() == read_one_by_one(payloads, sources).to_pylist()
