"""The synthetic city: who lives in it, what it sends, what must come out, and that a damaged lake is found out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from stdnum.cn import ric, uscc

from connectors.hl7_files import FileMessage, read_messages
from jobs.city.compare import Difference, compare
from jobs.city.corpus import corpus
from jobs.city.institutions import INSTITUTIONS, Level
from jobs.city.messages import ADMISSIONS, OBSERVATION, PATIENT, REPORT, SEGMENT
from jobs.city.people import FAMILY_NAMES, GIVEN_NAMES
from jobs.city.send import write_files
from jobs.city.settings import source_settings
from jobs.city.traffic import City, Planned, Transport
from jobs.city.truth import Row, Truth
from jobs.settings import load_settings
from lake_layout.files import write_file
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from schemas.table import INSTANT, Table
from schemas.tables import LEDGER, QUARANTINE, TABLES
from schemas.tables.clinical import IDENTIFIER, NORMALISED

COUNT = 600


@pytest.fixture(scope="module", params=[Transport.MLLP, Transport.FILES], ids=["mllp", "files"])
def sent(request: pytest.FixtureRequest) -> tuple[City, list[Planned]]:
    city = City(7, request.param)
    return city, list(city.messages(COUNT))


def test_institutions_stand_on_four_levels_under_one_another() -> None:
    codes = {one.code for one in INSTITUTIONS}
    assert {one.level for one in INSTITUTIONS} == set(Level)
    assert len(codes) == len(INSTITUTIONS)
    assert all(one.parent in codes for one in INSTITUTIONS if one.level is not Level.CITY)
    assert {one.credit_code for one in INSTITUTIONS} == {
        uscc.validate(one.credit_code) for one in INSTITUTIONS
    }
    assert {(one.charset, one.declares) for one in INSTITUTIONS} == {
        ("utf-8", "UNICODE UTF-8"), ("utf-8", ""), ("gb18030", "GB 18030-2000"), ("gb18030", ""),
    }  # fmt: skip


def test_identity_numbers_check_and_say_what_the_person_is() -> None:
    people = City(3, Transport.MLLP).people
    assert len({one.identity for one in people}) > 0.99 * len(people)
    for one in people:
        assert ric.validate(one.identity) == one.identity
        assert ric.get_birth_date(one.identity) == one.born
        assert ric.get_gender(one.identity) == one.gender


def test_some_names_have_delimiters_among_their_bytes() -> None:
    dangerous = {
        letter
        for name in (*FAMILY_NAMES, *GIVEN_NAMES)
        for letter in name
        if letter.encode("gb18030")[-1:] in (b"|", b"^", b"~", b"\\")
    }
    assert set("瑋質觀館葉魚錦運") <= dangerous


def test_the_same_seed_gives_the_same_bytes_and_truth() -> None:
    first, again, other = City(5, Transport.MLLP), City(5, Transport.MLLP), City(6, Transport.MLLP)
    one, two, three = ([m.payload for m in city.messages(200)] for city in (first, again, other))
    assert one == two
    assert first.truth == again.truth
    assert one != three


def test_traffic_has_everything_that_happens_in_a_city(sent: tuple[City, list[Planned]]) -> None:
    city, messages = sent
    kinds = Counter(
        str(row["message_type"]) for planned in messages for row in planned.rows.get(SEGMENT, [])[:1]
    )
    assert {kind for kind in kinds if kind.startswith("ADT")} == {f"ADT^{event}" for event in ADMISSIONS}
    assert {"ORU^R01", "SIU^S12", "MDM^T02", "ORM^O01"} <= set(kinds)
    assert set(city.truth.dispositions()) == {"accepted", "duplicate", "conflict", "ignored", "quarantined"}
    observations = city.truth.tables[OBSERVATION]
    assert {row["value_type"] for row in observations} == {"NM", "SN", "ST", "CE"}
    assert {row["status"] for row in observations} == {"P", "F", "C"}
    assert {"10*9/L", "×10⁹/L"} <= {row["unit_code"] for row in observations}
    assert {tuple(flags) for row in observations if isinstance(flags := row["interpretation"], list)} == {
        (), ("H",), ("L",), ("N",), ("A",)
    }  # fmt: skip
    lines = Counter((row["source"], row["control_id"]) for row in observations)
    assert min(lines.values()) >= 5
    assert max(lines.values()) <= 20


def test_reports_are_corrected_on_the_same_order(sent: tuple[City, list[Planned]]) -> None:
    told: dict[object, list[object]] = {}
    for planned in sent[1]:
        for row in planned.rows.get(REPORT, []):
            told.setdefault(row["filler_order"], []).append(row["status"])
    several = {tuple(statuses) for statuses in told.values() if len(statuses) > 1}
    assert {("F", "C"), ("P", "F")} <= several
    assert not [statuses for statuses in several if statuses[0] == "C"]


def test_resends_are_equal_but_for_the_time_of_the_same_day(sent: tuple[City, list[Planned]]) -> None:
    seen: dict[tuple[str, str], list[list[str]]] = {}
    identical = restamped = 0
    for planned in sent[1]:
        key = (planned.expected.source, planned.expected.control_id)
        fields = planned.payload.decode(planned.institution.charset, "replace").split("|")
        if planned.expected.disposition == "duplicate":
            rest = [[one for place, one in enumerate(old) if place != 6] for old in seen[key]]
            assert [one for place, one in enumerate(fields) if place != 6] in rest
            assert {old[6][:8] for old in seen[key]} == {fields[6][:8]}
            identical += fields in seen[key]
            restamped += fields not in seen[key]
        if planned.expected.disposition == "conflict":
            assert fields not in seen[key]
        seen.setdefault(key, []).append(fields)
    assert identical
    assert restamped


def test_every_segment_of_what_is_read_has_rows(sent: tuple[City, list[Planned]]) -> None:
    for planned in sent[1]:
        if planned.expected.disposition in ("accepted", "conflict"):
            positions = {row["segment_index"] for rows in planned.rows.values() for row in rows}
            lines = planned.payload.decode(planned.institution.charset).rstrip("\r").split("\r")
            assert positions == set(range(len(lines)))
            texts = {row["segment_index"]: row["text"] for row in planned.rows[SEGMENT]}
            assert all(lines[int(str(place))] == text for place, text in texts.items())


def test_what_the_listener_refuses_is_not_in_the_truth_of_the_lake() -> None:
    over_mllp, in_files = City(1, Transport.MLLP), City(1, Transport.FILES)
    refused = [one for one in over_mllp.messages(COUNT) if one.answer == "AR"]
    assert {one.expected.code for one in refused} == {
        "HL7-DELIMITERS",
        "HL7-NO-MSH",
        "HL7-CONTROL-ID-MISSING",
    }
    assert len(over_mllp.truth.messages) == COUNT - len(refused)
    assert len(list(in_files.messages(COUNT))) == len(in_files.truth.messages)
    codes = {one.code for one in in_files.truth.messages if one.disposition == "quarantined"}
    assert codes == {"HL7-DELIMITERS", "HL7-NO-MSH", "HL7-CHARSET-UNSUPPORTED"}


def test_truth_survives_its_file(tmp_path: Path) -> None:
    city = City(2, Transport.FILES)
    list(city.messages(50))
    city.truth.save(tmp_path / "truth.json")
    assert Truth.load(tmp_path / "truth.json") == city.truth


def test_files_hold_the_messages_as_they_were_made(tmp_path: Path, sent: tuple[City, list[Planned]]) -> None:
    _, messages = sent
    count = write_files(messages, tmp_path)
    paths = sorted(tmp_path.rglob("*.hl7"))
    assert len(paths) == count
    found: Counter[tuple[str, bytes]] = Counter()
    for path in paths:
        with path.open("rb") as stream:
            found.update(
                (path.parent.name, one.data.rstrip(b"\r"))
                for one in read_messages(stream)
                if isinstance(one, FileMessage)
            )
    assert found == Counter((one.institution.source, one.payload.rstrip(b"\r")) for one in messages)


def test_settings_name_every_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHL_CONFIG", raising=False)
    path = tmp_path / "phl.toml"
    path.write_text(source_settings(), "utf-8")
    sources = load_settings(path).sources()
    for one in INSTITUTIONS:
        assert sources.get(one.source).charset == one.charset


def test_corpus_is_mixed_and_about_a_kilobyte() -> None:
    messages = list(corpus(1, 5_000))
    assert messages == list(corpus(1, 5_000))
    ids = Counter(message.split(b"|", 10)[9] for message in messages)
    assert 0.01 < 1 - len(ids) / len(messages) < 0.06
    kinds = Counter(message.split(b"|", 9)[8][:3] for message in messages)
    assert kinds[b"ADT"] > 1_000
    assert kinds[b"ORU"] > 1_000
    assert len(kinds) >= 4
    assert 700 < sum(map(len, messages)) / len(messages) < 1_300
    chinese = Counter(_is_utf8(message) for message in messages)
    assert chinese[True] > chinese[False] > 500


def test_corpus_begins_the_same_whatever_its_length() -> None:
    assert list(islice(corpus(4, 1_000), 40)) == list(corpus(4, 40))


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
