"""The literals that say which messages become which rows: sound in themselves, and true to HL7's numbers of fields."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.document import PAGES
from schemas.findings import FINDINGS, Severity
from schemas.hl7v2.datatypes import data_type_of
from schemas.hl7v2.mapping import Place, TableMapping, code, coded, timing
from schemas.hl7v2.mappings import FAMILIES, IGNORED, family_of
from schemas.table import INSTANT, Field, Table
from schemas.tables.columns import ORDER, ORIGIN, SUBJECT, TIMING
from schemas.tables.normalised import (
    FINDING,
    MESSAGE_HEADER,
    NORMALISED,
    OBSERVATION,
    PATIENT,
    SEGMENT,
)

ROOT = Path(__file__).parents[2]

MAPPINGS = tuple({id(one): one for family in FAMILIES for one in family.mappings}.values())

LAST_FIELD = {
    "MSH": 25, "EVN": 7, "PID": 40, "PD1": 22, "MRG": 7, "NK1": 41, "GT1": 57, "PV1": 54, "PV2": 50, "DG1": 26,
    "PRB": 28, "PR1": 25, "AL1": 6, "IAM": 30, "IN1": 55, "IN2": 72, "ORC": 34, "OBR": 54, "RF1": 25, "TQ1": 14,
    "SPM": 32, "OBX": 30, "NTE": 8, "TXA": 26, "RXO": 36, "RXE": 45, "RXD": 35, "RXG": 33, "RXA": 29, "RXR": 6,
    "RXC": 11, "SCH": 27, "AIS": 12, "AIG": 14, "AIL": 12, "AIP": 12, "FT1": 43, "MFI": 6, "MFE": 7, "STF": 41,
    "PRA": 12, "LOC": 9, "LDP": 12, "OM1": 59, "OM2": 10, "CDM": 13, "PRC": 18,
}  # fmt: skip
"""Of each segment the number of its last field in HL7 v2.8.2."""

NOT_HELD = {
    "MSH": {1, 2},  # the delimiters
    "PID": {1}, "PV1": {1},  # sequence numbers of what stands once
    "STF": {21, 23, 24, 25, 26, 29, 41},  # motor insurance of the staff, re-activation, the signature as a picture
}  # fmt: skip
"""Fields of segments that make rows which no column holds; everything else is held."""

MADE_BY_CODE = {
    "patient_id", "patient_authority", "order_index", "line", "value_number", "value_comparator", "value_low",
    "value_high", "value_separator", "value_code", "value_display", "value_system", "value_alt_code",
    "value_alt_display", "value_alt_system", "value_system_version", "value_time", "value_repetitions", "values",
    "value_object_path", "value_size", "value_sha256", "value_media_type", "charset_used", "charset_guessed",
}  # fmt: skip
"""Columns that are no copy of a place."""

OF_INSTRUMENTS = {"instrument_status", "dilution", "rack", "rack_position"}
"""Columns that HL7 has no place for."""

WANTED = {
    "ADT": [f"A{number:02d}" for number in range(1, 63)],
    "ORU": ["R01", "R30", "R32", "R40"],
    "OUL": ["R21", "R22", "R23", "R24"],
    "ORM": ["O01"],
    "OML": ["O21", "O33", "O35"],
    "OMG": ["O19"],
    "OMI": ["O23"],
    "RDE": ["O11", "O25"],
    "RDS": ["O13"],
    "RAS": ["O17"],
    "RGV": ["O15"],
    "VXU": ["V04"],
    "MDM": [f"T{number:02d}" for number in range(1, 12)],
    "SIU": [f"S{number}" for number in range(12, 27)],
    "DFT": ["P03", "P11"],
    "BAR": ["P01", "P02", "P05", "P06", "P10", "P12"],
    "PPR": ["PC1", "PC2", "PC3"],
    "REF": ["I12", "I13", "I14", "I15"],
    "RRI": ["I12", "I13", "I14", "I15"],
    "MFN": ["M02", "M04", "M05", "M08"],
    "PMU": ["B01"],
}


def label(mapping: TableMapping) -> str:
    return f"{mapping.segment} in {mapping.table.name}"


def places() -> Iterator[tuple[TableMapping, str, Place]]:
    for mapping in MAPPINGS:
        for column, tried in mapping.places.items():
            for place in tried:
                yield mapping, column, place
        for place in mapping.version:
            yield mapping, "version_time", place


def own(table: Table) -> list[Field]:
    """The table's own columns, without those that follow an instant."""
    origin = {field.name for field in ORIGIN}
    instants = {field.name for field in table.fields if field.type == INSTANT}
    return [
        field
        for field in table.fields
        if field.name not in origin
        and re.sub("_(precision|offset)$", "", field.name) not in instants - {field.name}
    ]


def test_every_message_that_is_wanted_has_a_family() -> None:
    found = {
        code: [trigger for trigger in triggers if family_of(code, trigger)]
        for code, triggers in WANTED.items()
    }
    assert found == WANTED


def test_a_trigger_is_told_by_one_family_only() -> None:
    told = [(family.code, trigger) for family in FAMILIES for trigger in family.triggers]
    assert len(told) == len(set(told))
    assert not {family.code for family in FAMILIES} & set(IGNORED)


@pytest.mark.parametrize(
    ("code", "trigger", "event", "found"),
    [
        ("ADT", "A40", "", "A40"),
        ("adt", " a08 ", "", "A08"),
        ("ADT", "", "A04", "A04"),  # before v2.3 EVN-1 is the trigger
        ("ADT", "A01", "A08", "A01"),
        ("ORU", "", "", "R01"),
        ("ADT", "", "", None),  # nobody can tell what happened
        ("ADT", "A99", "", None),
        ("XYZ", "A01", "", None),
    ],
)  # fmt: skip
def test_the_family_of_a_message(code: str, trigger: str, event: str, found: str | None) -> None:
    family = family_of(code, trigger, event)
    assert (family is not None and found in family.triggers) if found else family is None


def test_families_say_what_they_are_and_by_which_clause() -> None:
    assert all(family.doc.endswith(".") and "§" in family.standard for family in FAMILIES)
    assert all(family.default_trigger in {"", *family.triggers} for family in FAMILIES)


def test_replies_and_queries_are_ignored_with_a_finding() -> None:
    assert {FINDINGS[finding].severity for finding in IGNORED.values()} == {Severity.IGNORED}
    assert {IGNORED[code] for code in ("ACK", "ORL", "ORR", "RSP", "MFK", "ADR", "RRE")} == {"HL7-REPLY"}
    assert {IGNORED[code] for code in ("QBP", "QRY", "VXQ")} == {"HL7-QUERY"}


def test_tables_are_named_once_and_say_what_they_are() -> None:
    names = [table.name for table in NORMALISED]
    assert len(names) == len(set(names))
    assert NORMALISED[-2:] == (SEGMENT, FINDING)
    assert {mapping.table.name for mapping in MAPPINGS} == set(names[:-2])
    undocumented = [
        (table.name, field.name)
        for table in NORMALISED
        for field in (*table.fields, Field("table", pa.string(), table.doc))
        if not field.doc.endswith(".")
    ]
    assert undocumented == []


def test_every_message_has_its_header() -> None:
    assert all(family.mappings[0].table is MESSAGE_HEADER for family in FAMILIES)


@pytest.mark.parametrize("mapping", MAPPINGS, ids=label)
def test_columns_have_types_that_their_places_can_fill(mapping: TableMapping) -> None:
    types = {field.name: field.type for field in mapping.table.fields}
    for column, tried in mapping.places.items():
        kind = types[column]
        assert tried, column
        if kind == INSTANT:
            assert types[f"{column}_precision"] == pa.string(), column
            assert types[f"{column}_offset"] == pa.int16(), column
        elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
            assert data_type_of(kind.value_type).name, column
            assert not any(place.component for place in tried), f"{column} is parted from whole repetitions"
        elif pa.types.is_list(kind):
            assert kind.value_type == pa.string(), column
        else:
            assert kind in (pa.string(), pa.float64(), pa.int32(), pa.date32()), column
    assert all(types[column] == pa.string() for column in mapping.constants)


@pytest.mark.parametrize(
    "table", [table for table in NORMALISED if table not in (SEGMENT, FINDING)], ids=lambda t: t.name
)
def test_every_column_comes_from_somewhere(table: Table) -> None:
    filled = {
        column
        for mapping in MAPPINGS
        if mapping.table is table
        for column in (*mapping.places, *mapping.constants)
    }
    assert {field.name for field in own(table)} - filled - MADE_BY_CODE - OF_INSTRUMENTS == set()
    assert filled & (MADE_BY_CODE - {"patient_id"}) == set()


def test_what_is_made_by_code_is_there() -> None:
    names = {field.name for table in (PATIENT, OBSERVATION, MESSAGE_HEADER) for field in table.fields}
    assert names >= MADE_BY_CODE


def test_places_are_within_their_segments() -> None:
    beyond = {str(place) for _, _, place in places() if place.field > LAST_FIELD[place.segment]}
    assert beyond == set()


def test_a_segment_that_makes_a_row_is_held_wholly() -> None:
    held: dict[str, set[int]] = defaultdict(set)
    rows = {mapping.segment for mapping in MAPPINGS}
    for mapping, _, place in places():
        if place.segment == mapping.segment:
            held[place.segment].add(place.field)
    missing = {name: set(range(1, LAST_FIELD[name] + 1)) - held[name] for name in rows}
    assert {name: fields for name, fields in missing.items() if fields} == NOT_HELD


def test_what_a_table_says_of_its_standard_is_where_it_is_read_from() -> None:
    """The fields named beside a column are those that some mapping reads."""
    shared = {field.name for field in (*SUBJECT, *ORDER, *TIMING, *ORIGIN)}
    read: dict[tuple[str, str], set[str]] = defaultdict(set)
    for mapping, column, place in places():
        read[mapping.table.name, column].add(f"{place.segment}-{place.field}")
    wrong = [
        (table.name, field.name)
        for table in NORMALISED
        for field in own(table)
        if field.name not in shared | MADE_BY_CODE and (table.name, field.name) in read
        if set(
            re.findall(
                r"[A-Z][A-Z0-9]{2}(?:\([a-z0-9]+\))?-\d+",
                field.standard.replace("(1)", "").replace("(next)", ""),
            )
        )
        != read[table.name, field.name]
    ]
    assert wrong == []


def test_a_merge_is_a_link_of_what_stays_and_what_is_given_up() -> None:
    for trigger in ("A18", "A30", "A34", "A35", "A36", *(f"A{number}" for number in range(39, 52))):
        family = family_of("ADT", trigger)
        assert family is not None
        (link,) = (one for one in family.mappings if one.table.name == "normalised/patient_link")
        assert (link.segment, link.later) == ("MRG", False), trigger
    for trigger in ("A17", "A24", "A37"):
        family = family_of("ADT", trigger)
        assert family is not None
        (link,) = (one for one in family.mappings if one.table.name == "normalised/patient_link")
        assert (link.segment, link.later) == ("PID", True), trigger
        assert link.places["other_patient_id"][0] == Place.of("PID(1)-3.1")


@pytest.mark.parametrize("text", ["PID-5", "PID-5.1", "PID-5.1.1", "PID(1)-3", "PV1(next)-19.4.1"])
def test_places_are_read_as_they_are_written(text: str) -> None:
    assert str(Place.of(text)) == text


@pytest.mark.parametrize("text", ["PID", "pid-3", "PID-", "PID-3.", "PID(2)-3", "PID-3-1", "OBX-5.1.1.1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a place"):
        Place.of(text)


def test_pieces_of_mappings_have_the_columns_of_their_tables() -> None:
    assert coded("service", "OBR-4")["service_alt_code"] == "OBR-4.4"
    assert code("diet", "PV1-38") == {
        "diet": "PV1-38.1",
        "diet_display": "PV1-38.2",
        "diet_system": "PV1-38.3",
    }
    instants = {
        f"{name}_{part}"
        for name in ("occurrence_start", "occurrence_end")
        for part in ("precision", "offset")
    }
    assert set(timing("ORC-7")) == {field.name for field in TIMING} - instants
    assert timing("OBR-27", "ORC-7")["occurrence_start"] == "TQ1-7 OBR-27.4.1 ORC-7.4.1"


@pytest.mark.parametrize("path", PAGES)
def test_the_pages_are_what_the_literals_say(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == PAGES[path](), "python -m jobs.document writes it anew"
