"""The city's concept map says of every local code what the city knows that it means."""

from __future__ import annotations

from jobs.city import codes
from jobs.city.results import ANALYTES
from pipelines.codes.coding import SENT_SCHEMA, coding_of
from pipelines.codes.concept_map import ConceptMap, read_map
from schemas.tables.coding import SENT


def test_every_code_of_the_city_has_its_meaning() -> None:
    entries = read_map(codes.concept_map().encode(), "*")
    assert len(entries) == len(ANALYTES)
    sent = [
        {**dict.fromkeys(SENT, ""), "source": "any", "code": one.local, "unit": one.unit.partition("^")[0]}
        for one in ANALYTES
    ]
    rows = coding_of(SENT_SCHEMA.empty_table().from_pylist(sent), ConceptMap.of(entries), 1).to_pylist()
    found = {row["code"]: (row["ucum_unit"], row["canonical_unit"], row["factor"]) for row in rows}
    assert found == {local: (ucum, unit, factor) for local, (ucum, unit, factor) in codes._MEANS.items()}
    assert {row["code"]: row["loinc"] for row in rows} == {one.local: one.code for one in ANALYTES}
