"""What is stated of two identifiers: which of them belong together, and who may say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.identity_edges import Identifier, Owners, paired
from schemas.findings import FINDINGS, IDENTITY_FINDINGS, Severity
from schemas.hl7v2.mapping import triggers
from schemas.source import Source, Sources
from schemas.table import Table
from schemas.tables.identity import IDENTITY
from tests.golden.test_identity import CASES, shown, who_is_who

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "hl7v2"


def identifiers(text: str) -> list[Identifier]:
    """``P1 CLINIC MR, X1 NHS -``: value, authority, type."""
    found = []
    for item in filter(None, text.split(", ")):
        value, authority, type_ = item.split()
        found.append(Identifier(value, authority, None if type_ == "-" else type_))
    return found


@pytest.mark.parametrize(
    ("given_up", "staying", "pairs"),
    [
        ("P9 C MR", "P1 C MR", "P9>P1"),
        ("P9 C MR, X9 N NI", "X1 N NI, P1 C MR", "P9>P1 X9>X1"),
        ("P9 A MR", "P1 A MR, P2 B MR", "P9>P1"),  # of the same authority
        ("P9 B MR", "P1 A MR, P2 B MR", "P9>P2"),
        ("P9 C MR", "P1 A MR", "P9>P1"),  # of the same type only
        ("P9 C -", "P1 C MR", "P9>P1"),  # sent without a type
        ("P9 C MR", "P1 A -", "P9>P1"),  # nothing else it could be
        ("P9 C -, P8 C -", "P1 C -, P2 C -", "P9>P1 P8>P2"),  # in the same place
        ("P9 C MR, P8 C MR", "P1 C MR", "P9>P1 P8>P1"),
        ("P9 C MR, X1 N NI", "P1 C MR, X1 N NI", "P9>P1 X1>X1"),  # what both have stays
        ("P9 C MR, X9 N NI", "P1 C MR", "P9>P1 X9>"),
        ("P9 C MR", "", "P9>"),
        ("P9 C MR", "X1 N NI", "P9>"),
    ],
)
def test_identifiers_are_paired_by_type(given_up: str, staying: str, pairs: str) -> None:
    found = paired(identifiers(given_up), identifiers(staying))
    assert sorted(f"{one.value}>{other.value if other else ''}" for one, other in found) == sorted(
        pairs.split()
    )


@pytest.mark.parametrize(
    ("source", "authority", "allowed"),
    [
        ("region", "REGION", True),
        ("clinic", "REGION", False),
        ("clinic", "clinic/CLINIC", True),
        ("clinic", "region/CLINIC", False),  # what another source numbered without naming an authority
        ("clinic", "CLINIC", True),  # nobody claims it
        ("clinic", "http://city/ids", True),
    ],
)
def test_a_source_speaks_for_the_authorities_it_owns(source: str, authority: str, allowed: bool) -> None:
    sources = Sources.of(Source("region", owned_authorities=("REGION",)), Source("clinic"))
    assert Owners.of(sources).allows(source, authority) is allowed


def test_every_event_that_tells_who_is_who_has_a_case() -> None:
    events = triggers("A17 A18 A24 A30 A34-A37 A39-A51")
    assert events <= {path.name.partition("-")[0].upper() for path in CASES.iterdir()}


def test_every_finding_on_identity_happens() -> None:
    found = {
        entry.split()[0]
        for path in CASES.iterdir()
        for entry in json.loads((path / "expected.json").read_text("utf-8")).get("queue", [])
    }
    assert found == {finding.code for finding in IDENTITY_FINDINGS}
    assert {FINDINGS[code].severity for code in found} == {Severity.WARNING}


@pytest.mark.parametrize("table", IDENTITY, ids=lambda table: table.name)
def test_tables_say_what_they_are(table: Table) -> None:
    assert all(text.endswith(".") for text in (table.doc, *(field.doc for field in table.fields)))


@pytest.mark.skipif(not FIXTURES.exists(), reason="the shared messages are not here")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("fhir-converter/ADT-A40-01.hl7", {"redirects": {"patient 56789|BCBS": "12345|BCBS of 12345|BCBS"}}),
        ("cosyte/canonical-adt-a40-merge.hl7", {"queue": []}),
        (
            "cosyte/canonical-adt-a43-move.hl7",
            {"redirects": {}, "queue": ["IDENTITY-UNFIT A43 MRN99008|HOSP MRN99007|HOSP"]},
        ),
        (
            "fhir-converter/ADT-A45-01.hl7",
            {
                "queue": [],
                "redirects": {
                    "visit 5001|clinic/GHHSFacility": "5001|clinic/GHHSFacility in PACCT110|clinic/GHHSFacility "
                    "of PATID1234|ADT1"
                },
            },
        ),
    ],
)
def test_public_messages(path: str, expected: dict[str, object]) -> None:
    message = (FIXTURES / path).read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    found = shown(who_is_who([message], Sources.of(Source("clinic"))))
    assert {name: found[name] for name in expected} == expected
