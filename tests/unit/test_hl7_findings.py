"""Each finding of the table can happen: a message that provokes it, and the place that is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pytest

from connectors.kafka.ranges import OffsetRange
from lake_layout.objects import FolderStore
from pipelines.hl7v2.modality import HL7V2
from pipelines.land import RecordSlice, raw_rows
from schemas.findings import FINDINGS, HL7_FINDINGS, RECORD_FINDINGS, Severity
from schemas.modality import Parsed
from schemas.source import NO_SOURCES
from tests.unit.hl7_messages import read_all, read_one

Place = tuple[str | None, int, int | None, int | None, int | None]
"""Segment name, its index, field, repetition, component."""


def usual(*lines: str, code: str = "ORU^R01", **fields: str) -> bytes:
    """A message of the usual header and some lines; ``f18="GBK"`` says MSH-18."""
    values = dict(enumerate(("LIS", "CLINIC", "", "", "20260301080000", "", code, "C1", "P", "2.5.1"), 3))
    values |= {int(name[1:]): value for name, value in fields.items()}
    header = "|".join(["MSH", "^~\\&", *(values.get(number, "") for number in range(3, max(values) + 1))])
    return "\r".join((header, *lines)).encode()


READ: Mapping[str, tuple[bytes, list[Place]]] = MappingProxyType(
    {
        "HL7-CHARSET-UNKNOWN": (usual(f18="KLINGON"), [("MSH", 0, 18, None, None)]),
        "HL7-CHARSET-MISMATCH": (usual("ZZZ|é", f18="ASCII"), [("MSH", 0, 18, None, None)]),
        "HL7-CHARSET-GUESSED": (usual() + b"\rZZZ|\xcd\xf5", [("MSH", 0, 18, None, None)]),
        "HL7-CHARSET-DOUBTFUL": (
            usual("ZZZ|王王", f18="GB 18030-2000"),
            [("MSH", 0, 18, None, None)],
        ),
        "HL7-SEGMENT-CONTINUED": (usual("ZZZ|a", "ADD|b"), [("MSH", 0, None, None, None)]),
        "HL7-FRAGMENT": (usual(f14="7"), [("MSH", 0, None, None, None)]),
        "HL7-CONTROL-ID-MISSING": (usual(f10=""), [("MSH", 0, 10, None, None)]),
        "HL7-TYPE-MISSING": (usual(code=""), [("MSH", 0, 9, None, None)]),
        "HL7-EVENT-TIME-MISSING": (usual(f7=""), [("MSH", 0, 7, None, 1)]),
        "HL7-EVENT-TIME-RANGE": (usual(f7="18991231"), [("MSH", 0, 7, None, 1)]),
        "HL7-DTM-INVALID": (
            usual("PID|1||P1||||x", "OBR|1||||||20261301~20260101", "OBX|1|TS|A||99~2026~z||||||F", f7="y"),
            [("MSH", 0, 7, None, 1), ("PID", 1, 7, None, 1), ("OBR", 2, 7, 1, 1), ("OBX", 3, 5, 1, None),
             ("OBX", 3, 5, 3, None)],
        ),
        "HL7-NM-INVALID": (
            usual(
                "PID|1||P1",
                "OBR|1",
                "OBX|1|NM|A||x||||||F",
                "OBX|2|NM|B||x~1~y~~z||||||F",
                "OBX|3|SN|C||>^x^-^y||||||F",
                "OBX|4|NM|D||~x||||||F",
                "OBX|5|CQ|E||x^mg||||||F",
                "OBX|6|SN|F||^1~^x~^1^-^y||||||F",
            ),
            [
                ("OBX", 3, 5, None, None),
                ("OBX", 4, 5, 1, None), ("OBX", 4, 5, 3, None), ("OBX", 4, 5, 5, None),
                ("OBX", 5, 5, None, 2), ("OBX", 5, 5, None, 4),
                ("OBX", 6, 5, 2, None),
                ("OBX", 7, 5, None, None),
                ("OBX", 8, 5, 2, 2), ("OBX", 8, 5, 3, 4),
            ],
        ),
        "HL7-SN-INVALID": (
            usual("PID|1||P1", "OBR|1", "OBX|1|SN|A||5||||||F", "OBX|2|SN|B||>=^1^-^2~≥^1^:^2~=^1^x||||||F"),
            [("OBX", 3, 5, None, 1), ("OBX", 4, 5, 2, 1), ("OBX", 4, 5, 3, 3)],
        ),
        "HL7-ED-INVALID": (
            usual("PID|1||P1", "OBR|1", "OBX|1|ED|A||a^b^c^Base64^!~x||||||F"),
            [("OBX", 3, 5, 1, 5)],
        ),
        "HL7-VERSION-TIME-FUTURE": (
            usual("PID|1||P1", "PV1|1", f7="20990101", code="ADT^A08"),
            [(name, index, None, None, None) for index, name in enumerate(("MSH", "PID", "PV1"))],
        ),
        "HL7-PATIENT-ID-MISSING": (usual("PID|1"), [("PID", 1, 3, None, None)]),
        "HL7-ORDER-MISSING": (usual("PID|1||P1", "OBX|1|ST|A||b||||||F"), [("OBX", 2, None, None, None)]),
        "HL7-STATUS-MISSING": (
            usual("PID|1||P1", "OBR|1", "OBX|1|ST|A||b"),
            [("OBX", 3, 11, None, None)],
        ),
    }
)  # fmt: skip
"""Code → a message that is read with it, and where it is."""

REFUSED: Mapping[str, tuple[bytes, tuple[str | None, int | None, int | None]]] = MappingProxyType(
    {
        "HL7-NO-MSH": (b"PID|1", (None, None, None)),
        "HL7-DELIMITERS": (b"MSH|^^~\\&|a", ("MSH", 0, 2)),
        "HL7-CHARSET-UNSUPPORTED": (usual(f18="UNICODE UTF-16"), ("MSH", 0, 18)),
    }
)
"""Code → a message that cannot be read, and segment, its index and field that are told."""

IGNORED: Mapping[str, bytes] = MappingProxyType(
    {
        "HL7-PROCESSING-ID": usual(f11="T"),
        "HL7-REPLY": usual("MSA|AA|1", code="ACK"),
        "HL7-QUERY": usual(code="QBP^Q22"),
    }
)
"""Code → a message that is not wanted."""


def places(parsed: Parsed, code: str) -> list[Place]:
    rows = parsed.tables["normalised/finding"].to_pylist()
    names = ("segment", "segment_index", "field", "repetition", "component")
    return [tuple(row[name] for name in names) for row in rows if row["code"] == code]


def test_each_finding_has_a_message_that_provokes_it() -> None:
    assert {*READ, *REFUSED, *IGNORED} == {finding.code for finding in HL7_FINDINGS}
    assert {FINDINGS[code].severity for code in READ} == {Severity.WARNING, Severity.NOTICE}
    assert {FINDINGS[code].severity for code in REFUSED} == {Severity.QUARANTINED}
    assert {FINDINGS[code].severity for code in IGNORED} == {Severity.IGNORED}


@pytest.mark.parametrize("code", READ)
def test_what_deviates_is_read_and_told_with_its_place(code: str) -> None:
    message, expected = READ[code]
    parsed = read_one(message)
    assert places(parsed, code) == expected
    assert code in parsed.messages.column("codes")[0].as_py()
    for row in parsed.tables["normalised/finding"].to_pylist():
        assert (row["codes"], row["severity"]) == ([row["code"]], FINDINGS[row["code"]].severity.value)


@pytest.mark.parametrize(
    "code", [code for code in READ if READ[code][1][0][0] != "MSH"] + ["HL7-DTM-INVALID"]
)
def test_rows_have_the_codes_of_what_was_found_in_them(code: str) -> None:
    message, expected = READ[code]
    tables = read_one(message).tables
    found = {
        row["segment_index"]
        for name, table in tables.items()
        if name != "normalised/finding"
        for row in table.to_pylist()
        if code in (row["codes"] or [])
    }
    assert found == {index for name, index, *_ in expected if name != "MSH"}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_read_is_told_with_its_place(code: str) -> None:
    message, expected = REFUSED[code]
    (row,) = read_all([message]).unreadable.to_pylist()
    assert (row["code"], (row["segment"], row["segment_index"], row["field"])) == (code, expected)


@pytest.mark.parametrize("code", IGNORED)
def test_what_is_not_wanted_is_told(code: str) -> None:
    envelope = HL7V2.envelopes([IGNORED[code]], [NO_SOURCES.get("clinic")])
    raw = pa.table(
        {"source": ["clinic"]} | {n: envelope.column(n) for n in ("processing_id", "message_type")}
    )
    assert HL7V2.triage(raw, NO_SOURCES).to_pylist() == [code]


def test_a_value_in_a_later_repetition_is_not_lost() -> None:
    (row,) = (
        read_one(usual("PID|1||P1", "OBR|1", "OBX|1|NM|A||~2||||||F"))
        .tables["normalised/observation"]
        .to_pylist()
    )
    assert (row["value_number"], row["values"][0]["number"], row["value_repetitions"]) == (None, 2.0, 1)


def test_what_records_and_objects_are_refused_for(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("objects/hl7v2/there", usual())
    headers: list[dict[str, bytes]] = [
        {},
        {"object-path": b"objects/hl7v2/gone"},
        {"object-path": b"objects/hl7v2/there", "object-sha256": b"0" * 64},
    ]
    records = RecordSlice([0, 1, 2], [0, 0, 0], [b"", b"", b""], headers)
    raw = raw_rows(OffsetRange("raw.hl7v2", "T", 0, 0, 3), records, HL7V2, NO_SOURCES, store)
    found = raw.column("problem").to_pylist()
    assert found == [finding.code for finding in RECORD_FINDINGS]
    assert {finding.severity for finding in RECORD_FINDINGS} == {Severity.QUARANTINED}
