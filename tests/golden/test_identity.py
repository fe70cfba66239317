"""Golden identities: who is who after some messages and stewards' events, in whatever order they come.

A case is a folder ``identity/<case>`` with ``messages.txt`` (messages that begin with MSH, and events of stewards as
JSON; a blank line between them) and ``expected.json``:

- ``persons``: representative → all identifiers that lead to the person;
- ``redirects``: ``level identifier`` → where it leads, of accounts and visits (and of patients where a case asks);
- ``history``: ids that were given out, by the identifier that they were made of: since when, until when, whose now;
- ``queue``: what a steward should look at;
- ``owned``: authorities that a source claims.

An identifier is written ``value|authority``. Every order of arrival and any repetition gives the same.
"""

from __future__ import annotations

import itertools
import json
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # when started by hand

from pipelines.identity import (
    Identity,
    edges_of_links,
    edges_of_patients,
    edges_of_steward,
    person_id,
    resolve,
    seen_of,
)
from pipelines.identity_edges import Owners
from pipelines.steward.modality import STEWARD
from schemas.source import Source, Sources
from schemas.tables.normalised import PATIENT, PATIENT_LINK
from schemas.tables.steward_event import STEWARD_EVENT
from tests.stated_rows import stated_rows

CASES = Path(__file__).parent / "identity"


def messages_of(case: Path) -> list[bytes]:
    blocks = (case / "messages.txt").read_text("utf-8").split("\n\n")
    return [block.strip().replace("\n", "\r").encode() for block in blocks if block.strip()]


def rows_of(message: bytes, place: int, sources: Sources) -> dict[str, pa.Table]:
    """Rows of all normalised tables of one message, which arrives at a place."""
    if message.startswith(b"{"):
        return stated_rows([(message, "stewards")], sources, STEWARD, first=place)
    return stated_rows([(message, next(iter(sources.by_name)))], sources, first=place)


def who_is_who(messages: list[bytes], sources: Sources) -> Identity:
    owners = Owners.of(sources)
    edges, seen = [], []
    for place, message in enumerate(messages):
        tables = rows_of(message, place, sources)
        if STEWARD_EVENT.name in tables:
            edges.append(edges_of_steward(tables[STEWARD_EVENT.name]))
        else:
            edges.append(edges_of_links(tables[PATIENT_LINK.name], owners))
            edges.append(edges_of_patients(tables[PATIENT.name], owners))
            seen.append(seen_of(tables[PATIENT.name]))
    return resolve(pa.concat_tables(edges), pa.concat_tables(seen))


def shown(found: Identity) -> dict[str, Any]:
    """An identity as cases tell it."""
    persons = {row["person_id"]: _written(row) for row in found.persons.to_pylist()}
    members: dict[str, list[str]] = {name: [] for name in persons.values()}
    for row in found.identifiers.to_pylist():
        if row["role"] == "subject":
            members[persons[row["person_id"]]].append(_written(row))
    for row in found.history.to_pylist():  # every id that was ever given out leads to a person there is
        assert row["current_person_id"] in persons
        assert row["person_id"] == person_id(row["authority"], row["value"])
    return {
        "persons": {name: sorted(some) for name, some in members.items()},
        "redirects": {
            f"{row['level']} {_written(row)}": " ".join(_leads(row)) for row in found.redirects.to_pylist()
        },
        "history": [
            " ".join([_written(row), *_between(row), "->", persons[row["current_person_id"]]])
            for row in found.history.to_pylist()
        ],
        "queue": [
            " ".join(
                [row["code"], row["event_code"], _written(row), *([_written(row, "to_")] if row["to_value"] else [])]
            )
            for row in found.queue.to_pylist()
        ],
    }  # fmt: skip


def _written(row: dict[str, Any], prefix: str = "") -> str:
    return f"{row[prefix + 'value']}|{row[prefix + 'authority']}"


def _leads(row: dict[str, Any]) -> list[str]:
    found = [_written(row, "current_")]
    found += ["in", _written(row, "account_")] if row["account_value"] else []
    return found + (["of", _written(row, "patient_")] if row["patient_value"] else [])


def _between(row: dict[str, Any]) -> list[str]:
    return [
        row[name].astimezone(UTC).strftime("%m-%d") if row[name] else "-"
        for name in ("given_from", "given_until")
    ]


def sources_of(expected: dict[str, Any]) -> Sources:
    clinic = Source("clinic", owned_authorities=tuple(expected.get("owned", {}).get("clinic", ())))
    others = [
        Source(name, owned_authorities=tuple(some))
        for name, some in expected.get("owned", {}).items()
        if name != "clinic"
    ]
    return Sources.of(clinic, Source("stewards"), *others)


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_identity(case: str) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text("utf-8"))
    sources = sources_of(expected)
    messages = messages_of(CASES / case)
    orders = list(itertools.permutations(messages))
    for order in orders[:: max(1, len(orders) // 8)]:
        found = shown(who_is_who([*order, order[0]], sources))
        assert found["persons"] == expected["persons"]
        if "redirects" in expected:
            told = {
                name: leads
                for name, leads in found["redirects"].items()
                if name in expected["redirects"] or not name.startswith("patient ")
            }
            assert told == expected["redirects"]
        if "history" in expected:
            assert sorted(found["history"]) == expected["history"]
        assert sorted(set(found["queue"])) == expected.get("queue", [])


def main() -> None:
    """Print what becomes of a case."""
    folder = CASES / sys.argv[1]
    kept = folder / "expected.json"
    expected = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    found = shown(who_is_who(messages_of(folder), sources_of(expected)))
    sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
