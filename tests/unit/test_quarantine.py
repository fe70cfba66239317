"""``phl quarantine`` as a user runs it: a process of its own over real Delta tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake_layout.location import LakeLocation
from schemas.tables import DECISION
from tests.small_lake import OBJECT_BYTES, SmallLake, small_lake

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    return small_lake(LakeLocation(str(tmp_path_factory.mktemp("lake"))))


def quarantine(small: SmallLake, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}
    environment |= {"PHL_LAKE_URI": str(small.root), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli.main", "quarantine", *arguments],
        env=environment, cwd=small.root, capture_output=True, check=False,
    )  # fmt: skip


def listed(small: SmallLake, *arguments: str) -> list[dict[str, object]]:
    answer = quarantine(small, "list", "--json", *arguments)
    assert answer.returncode == 0, answer.stderr
    rows: list[dict[str, object]] = json.loads(answer.stdout)
    return rows


def test_the_list_has_every_message_that_cannot_be_read_and_no_payload(small: SmallLake) -> None:
    rows = listed(small)
    assert rows
    assert {row["code"] for row in rows} == {"HL7-NO-MSH"}
    assert "payload" not in rows[0]
    received = [str(row["received_at"]) for row in rows]
    assert received == sorted(received, reverse=True)


def test_the_list_can_be_narrowed(small: SmallLake) -> None:
    rows = listed(small)
    source = str(rows[0]["source"])
    assert listed(small, "--source", source) == [row for row in rows if row["source"] == source]
    assert listed(small, "--code", "HL7-CONTROL-ID-MISSING") == []
    middle = str(rows[len(rows) // 2]["received_at"])[:19]
    later = listed(small, "--since", middle)
    assert 0 < len(later) < len(rows)
    assert later + listed(small, "--until", middle) == rows


def test_what_was_set_aside_is_listed_on_demand(small: SmallLake) -> None:
    aside = listed(small, "--ignored")
    assert aside
    assert not {(row["partition"], row["offset"]) for row in aside} & {
        (row["partition"], row["offset"]) for row in listed(small)
    }


def test_a_message_is_shown_as_received(small: SmallLake) -> None:
    row = listed(small)[0]
    place = f"{row['partition']}:{row['offset']}"
    for named in (place, f"{row['topic_id']}:{place}"):
        answer = quarantine(small, "show", named)
        assert answer.returncode == 0, answer.stderr
        assert b"quarantined HL7-NO-MSH" in answer.stdout
    assert quarantine(small, "show", "0:100", "--raw").stdout == OBJECT_BYTES


@pytest.mark.parametrize(
    "arguments", [["show"], ["list", "0:1"], ["show", "0"], ["show", "0:x"], ["show", "0:99999999"]]
)
def test_what_names_no_message_is_refused(small: SmallLake, arguments: list[str]) -> None:
    answer = quarantine(small, *arguments)
    assert answer.returncode == 78
    assert b"MESSAGE" in answer.stderr


def decisions(small: SmallLake) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = small.lake.dataset(DECISION).to_table().to_pylist()
    return sorted(rows, key=lambda row: str(row["decided_at"]))


def test_decisions_are_recorded_with_who_and_why(tmp_path: Path) -> None:
    small = small_lake(LakeLocation(str(tmp_path / "lake")))
    rows = listed(small)
    place = f"{rows[0]['partition']}:{rows[0]['offset']}"
    done = quarantine(small, "discard", place, "--why", "a test of the sender's", "--by", "chen.li")
    assert done.returncode == 0, done.stderr
    assert listed(small) == rows[1:]
    again = listed(small, "--settled")
    assert [(row["decision"], row["decided_by"]) for row in again[:2]] == [
        ("discard", "chen.li"),
        (None, None),
    ]
    done = quarantine(small, "replay", "--code", "HL7-NO-MSH", "--why", "mended", "--by", "li.na", "--json")
    assert json.loads(done.stdout)["messages"] == len(rows) - 1
    made = decisions(small)
    assert [(row["action"], row["decided_by"], row["why"]) for row in made[:2]] == [
        ("discard", "chen.li", "a test of the sender's"), ("replay", "li.na", "mended"),
    ]  # fmt: skip
    assert len(made) == len(rows)
    assert {row["last_batch"] for row in made} == {small.batches}


@pytest.mark.parametrize(
    "arguments",
    [
        ["discard", "--code", "HL7-NO-MSH"],  # no reason given
        ["discard", "--why", "all"],  # which?
        ["discard", "0:99999999", "--why", "gone"],
        ["discard", "--code", "HL7-NO-MSH", "--with", "message.hl7", "--why", "mended"],
    ],
)
def test_a_decision_says_about_what_and_why(small: SmallLake, arguments: list[str]) -> None:
    assert quarantine(small, *arguments).returncode == 78
    assert not small.lake.exists(DECISION)
