"""What belongs to what in a message, where the standard has more than one way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipelines.hl7v2 import parse
from tests.unit.hl7_messages import read_one


def rows(table: str, code: str, *lines: str) -> list[dict[str, object]]:
    """The rows of a table that a message of some lines becomes."""
    header = f"MSH|^~\\&|HIS|CLINIC|||20260301080000||{code}|C1|P|2.5.1"
    parsed = read_one("\r".join((header, "PID|1||P1", *lines)).encode())
    found: list[dict[str, object]] = parsed.tables[f"normalised/{table}"].to_pylist()
    return found


def told(of: Sequence[dict[str, object]], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in of]


@pytest.mark.parametrize(
    ("lines", "orders"),
    [
        # OUL^R22 and R24 have the ORC behind its OBR, ORU before it, and either may leave it out
        (("OBR|1||F1|A", "ORC|RE|O1", "OBX|1", "OBR|2||F2|B", "ORC|RE|O2", "OBX|1"), [("F1", "O1"), ("F2", "O2")]),
        (("ORC|RE|O1", "OBR|1||F1|A", "OBX|1", "ORC|RE|O2", "OBR|2||F2|B", "OBX|1"), [("F1", "O1"), ("F2", "O2")]),
        (("OBR|1||F1|A", "ORC|RE|O2", "OBR|2||F2|B", "OBX|1"), [("F2", "O2")]),
        (("OBR|1||F1|A", "OBX|1", "ORC|RE|O2", "OBR|2||F2|B", "OBX|1"), [("F1", None), ("F2", "O2")]),
        (("OBR|1||F1|A", "ORC|RE|O1", "NTE|1", "TQ1|1", "OBX|1", "OBX|2"), [("F1", "O1"), ("F1", "O1")]),
        (("OBR|1||F1|A", "ORC|RE|O2", "NTE|1", "OBR|2||F2|B", "OBX|1"), [("F2", "O2")]),
        (("ORC|RE|O1", "OBR|1||F1|A", "ORC|RE|O2", "OBX|1"), [(None, "O2")]),
    ],
)  # fmt: skip
def test_an_orc_belongs_to_the_obr_beside_it(
    lines: tuple[str, ...], orders: list[tuple[object, ...]]
) -> None:
    assert told(rows("observation", "OUL^R22", *lines), "filler_order", "placer_order") == orders


@pytest.mark.parametrize(("code", "second"), [("RAS^O17", "O1"), ("ras^O17", "O1"), ("VXU^V04", None)])
def test_what_was_given_of_one_order(code: str, second: str | None) -> None:
    """RAS holds many RXA for an order; in VXU each vaccination is an order of its own, with its ORC or without."""
    table = "medication_administration" if second else "immunization"
    found = rows(table, code, "ORC|RE|O1", "RXA|0|1", "RXR|PO", "RXA|0|2", "RXR|IV", "ORC|RE|O2", "RXA|0|1")
    assert told(found, "administration_number", "placer_order", "route") == [
        ("1", "O1", "PO"),
        ("2", second, "IV"),
        ("1", "O2", None),
    ]


def test_ingredients_and_routes_are_those_behind_their_detail() -> None:
    lines = ("ORC|NW|O1", "RXO|A", "RXR|PO", "RXC|B|X", "RXE||A", "RXC|B|Y", "RXD|1|A", "RXR|IV", "RXC|B|Z")
    (ordered,) = rows("medication_request", "RDS^O13", *lines)
    (dispensed,) = rows("medication_dispense", "RDS^O13", *lines)
    assert (ordered["route"], dispensed["route"]) == ("PO", "IV")
    assert [[one["code"] for one in row["ingredients"]] for row in (ordered, dispensed)] == [["Y"], ["Z"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "code", "lines"),
    [
        ("patient", "ADT^A08", ("PD1|S", "NTE|1||n", "NTE|2||m")),
        ("encounter", "ADT^A08", ("PV1|1|I", "PV2|", "NTE|1||n", "NTE|2||m")),
        ("appointment", "SIU^S12", ("SCH|A1", "TQ1|1", "NTE|1||n", "NTE|2||m")),
        ("diagnostic_report", "OUL^R22", ("OBR|1||F1", "ORC|RE", "NTE|1||n", "NTE|2||m")),
        ("service_request", "OML^O21", ("ORC|NW", "OBR|1||F1", "TCD|A", "NTE|1||n", "NTE|2||m")),
        ("observation", "ORU^R01", ("OBR|1||F1", "OBX|1", "PRT|1", "NTE|1||n", "NTE|2||m", "OBX|2")),
    ],
)
def test_notes_are_about_what_precedes_them(table: str, code: str, lines: tuple[str, ...]) -> None:
    assert rows(table, code, *lines)[0]["notes"] == ["n", "m"]


def test_notes_about_what_no_table_takes_are_about_nothing_else() -> None:
    assert rows("patient", "ADT^A08", "ZZZ|1", "NTE|1||n")[0]["notes"] is None


def test_lines_of_a_result_are_counted_within_their_order_specimen_or_patient() -> None:
    assert told(rows("observation", "ORU^R01", "OBX|1||A", "OBX|2||A", "PID|2||P2", "OBX|1||A"), "line") == [
        (0,), (1,), (0,),
    ]  # fmt: skip
    assert told(
        rows("observation", "OUL^R22", "SPM|1", "OBX|1||A", "SPM|2", "OBX|1||A", "OBX|2||A"), "line"
    ) == [(0,), (0,), (1,)]
    assert told(
        rows("observation", "VXU^V04", "ORC|RE", "RXA|0", "OBX|1||A", "ORC|RE", "RXA|0", "OBX|1||A"), "line"
    ) == [(0,), (0,)]


def test_a_result_of_a_specimen_without_an_order_has_its_type() -> None:
    found = rows("observation", "OUL^R22", "SPM|1|^S1||SER", "OBX|1||A", "OBR|1||F1", "OBX|1||B")
    assert told(found, "specimen_id", "specimen_type") == [("S1", "SER"), ("S1", "SER")]


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ("^PRN^PH^^1^775^5551234^12", "+1 775 5551234 x12"),
        ("^PRN^PH^^^775^5551234", "775 5551234"),
        ('^PRN^PH^^+86^""^5551234', "+86 5551234"),
        ("0851-5551234^PRN^PH^^86^851^5551234", "0851-5551234"),
        ("^PRN^PH^^86^851^5551234^^^^^+86 851 5551234", "+86 851 5551234"),
        ("^PRN^PH^^86^851", None),
        ('^PRN^PH^^86^851^""', '""'),
        ("^NET^Internet^a@b.example~^PRN^CP^^^139^1", "139 1"),
    ],
)
def test_telephone_numbers_sent_in_parts_are_whole(sent: str, number: str | None) -> None:
    tables = parse([f"MSH|^~\\&|H|C|||2026||ADT^A08|1\rPID|1||P||||||||||{sent}\rNK1|1||||{sent}".encode()])
    last = {}
    for name in ("patient", "related_person"):
        (row,) = tables[name].to_pylist()
        last[name] = row["telecoms"][-1]["value"]
    patient = tables["patient"].column("phone").to_pylist()
    assert (patient, last) == ([number], {"patient": number, "related_person": number})
