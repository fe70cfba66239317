"""The synthetic city: who lives in it, what it sends, what must come out, and that a damaged lake is found out."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from itertools import islice, pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from stdnum.cn import ric, uscc

from connectors.hl7_files import FileMessage, read_messages
from jobs.city.admissions import ADMISSIONS
from jobs.city.compare import Difference, compare
from jobs.city.corpus import corpus
from jobs.city.families import MAKERS
from jobs.city.institutions import INSTITUTIONS, Level
from jobs.city.people import FAMILY_NAMES, GIVEN_NAMES
from jobs.city.replies import KINDS as REPLIES
from jobs.city.send import write_files
from jobs.city.settings import source_settings
from jobs.city.traffic import City, Planned, Transport
from jobs.city.truth import Row, Truth
from jobs.cli.main import app
from jobs.settings import load_settings
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from pipelines.identity import edges_of_links, edges_of_patients, resolve, seen_of
from pipelines.identity_edges import Owners
from schemas.hl7v2.mapping import triggers
from schemas.hl7v2.mappings import FAMILIES, family_of
from schemas.table import INSTANT, Field, Table
from schemas.tables import LEDGER, NORMALISED, OBSERVATION, PATIENT, QUARANTINE, SEGMENT, TABLES
from schemas.tables.normalised import DIAGNOSTIC_REPORT, FINDING, MESSAGE_HEADER, PATIENT_LINK
from schemas.tables.structures import IDENTIFIER
from tests.curated_lake import SOURCES, city_messages, rows_of

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
        assert one.identity[-1] == ric.calc_check_digit(one.identity)
        assert ric.get_birth_date(one.identity) == one.born
        assert int(one.identity[16]) % 2 == (one.gender == "M")
        # the library takes the district of the year of birth; numbers were given to all who lived from 1984 on
        assert one.born.year < 1983 or ric.validate(one.identity) == one.identity


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
    city, _ = sent
    assert set(city.truth.dispositions()) == {"accepted", "duplicate", "conflict", "ignored", "quarantined"}
    reasons = {one.code for one in city.truth.messages if one.disposition == "ignored"}
    assert reasons == {"HL7-PROCESSING-ID", "HL7-REPLY", "HL7-QUERY"}
    assert {row["code"] for row in city.truth.tables[FINDING.name]} == {
        "HL7-NM-INVALID", "HL7-DTM-INVALID", "HL7-CHARSET-UNKNOWN",
    }  # fmt: skip
    documents = [row for row in city.truth.tables[OBSERVATION.name] if row.get("value_size")]
    assert {bool(row["value_object_path"]) for row in documents} == {True, False}
    observations = [one for one in city.truth.tables[OBSERVATION.name] if one["message_type"] == "ORU^R01"]
    assert {row["value_type"] for row in observations} == {"NM", "SN", "ST", "CE"}
    assert {row["status"] for row in observations} == {"P", "F", "C"}
    assert {"10*9/L", "×10⁹/L"} <= {row["unit_code"] for row in observations}
    flags = [row["interpretation"] for row in observations]
    assert {one[0] for one in flags if isinstance(one, list)} == {"H", "L", "N", "A"}
    assert None in flags
    lines = Counter((row["source"], row["control_id"]) for row in observations)
    assert min(lines.values()) >= 5
    assert max(lines.values()) <= 20


def test_every_family_comes_early_and_admissions_and_reports_are_most(
    sent: tuple[City, list[Planned]],
) -> None:
    kinds = Counter(_kind(planned) for planned in sent[1] if planned.payload.startswith(b"MSH|^~"))
    codes: Counter[str] = Counter()
    for kind, count in kinds.items():
        codes[kind[:3]] += count
    found = [family_of(*kind.partition("^")[::2]) for kind in kinds]
    assert [family.doc for family in FAMILIES if family not in found] == []
    assert {kind for kind in kinds if kind.startswith("ADT")} == {f"ADT^{event}" for event in ADMISSIONS}
    assert 0.33 * COUNT < codes["ADT"] < 0.45 * COUNT
    assert 0.38 * COUNT < codes["ORU"] < 0.52 * COUNT
    rows = sent[0].truth.tables
    assert {table.name for table in NORMALISED} == set(rows)
    for declared in ("utf-8", "gb18030"):
        readers = {row["code"] for row in rows[MESSAGE_HEADER.name] if row["charset_used"] == declared}
        assert len(readers) > 10


def test_every_event_of_every_family_comes() -> None:
    found = {_kind(planned) for planned in City(1, Transport.MLLP).messages(1_000)}
    assert {kind.rpartition("^")[0] for kind in (*MAKERS, *REPLIES)} <= found


def test_who_changed_fits_what_changed() -> None:
    """No steward is needed: identifiers, accounts and visits that change or move are the same resident's."""
    rows = rows_of(city_messages(1_000))
    owners = Owners.of(SOURCES)
    links = edges_of_links(rows[PATIENT_LINK.name], owners)
    edges = pa.concat_tables([links, edges_of_patients(rows[PATIENT.name], owners)])
    assert resolve(edges, seen_of(rows[PATIENT.name])).queue.to_pylist() == []
    stated = links.to_pylist()
    assert {row["event_code"] for row in stated} == {
        event for event in ADMISSIONS if event in triggers("A18 A24 A30 A34-A37 A39-A51")
    }
    changed = [row for row in stated if row["event_code"] in triggers("A35 A41-A51")]
    assert {row["outcome"] for row in changed} == {None}
    assert all(
        _resident(row["value"]) == _resident(row["to_value"]) for row in changed if row["type"] != "NI"
    )


def _resident(number: str) -> str:
    """Whose a number of the city is: a letter, the resident's number, and of a visit another digit."""
    return number[1:7] if number[0] in "ABKUV" and len(number) < 9 else number[-6:]


def _kind(planned: Planned) -> str:
    """MSH-9 without the structure."""
    fields = planned.payload.split(b"|", 9)
    return b"^".join(fields[8].split(b"^")[:2]).decode("ascii", "replace") if len(fields) > 8 else ""


def test_reports_are_corrected_on_the_same_order(sent: tuple[City, list[Planned]]) -> None:
    told: dict[object, list[object]] = {}
    for planned in sent[1]:
        for row in planned.rows.get(DIAGNOSTIC_REPORT.name, []):
            told.setdefault(row["filler_order"], []).append(row["status"])
    assert {pair for statuses in told.values() for pair in pairwise(statuses)} >= {("F", "C"), ("P", "F")}
    assert not [statuses for statuses in told.values() if statuses[0] == "C"]


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
            texts = {row["segment_index"]: row["text"] for row in planned.rows.get(SEGMENT.name, [])}
            assert all(lines[int(str(place))] == text for place, text in texts.items())


def test_what_the_listener_refuses_is_not_in_the_truth_of_the_lake() -> None:
    over_mllp, in_files = City(1, Transport.MLLP), City(1, Transport.FILES)
    refused = [one for one in over_mllp.messages(1_000) if one.answer == "AR"]
    assert {one.expected.code for one in refused} == {
        "HL7-DELIMITERS",
        "HL7-NO-MSH",
        "HL7-CONTROL-ID-MISSING",
    }
    assert len(over_mllp.truth.messages) == 1_000 - len(refused)
    assert len(list(in_files.messages(1_000))) == len(in_files.truth.messages)
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
                for one in read_messages(stream, foreign=True)
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


def test_simulate_writes_the_same_files_and_truth_for_the_same_seed(tmp_path: Path) -> None:
    def simulated(name: str, seed: str) -> tuple[dict[str, bytes], bytes]:
        folder = tmp_path / name
        with pytest.raises(SystemExit) as end:
            app(
                [
                    "simulate", "--messages", "120", "--seed", seed, "--files", f"{folder}", "--json",
                    "--truth", f"{tmp_path / name}.json",
                ],
                prog_name="phl",
            )  # fmt: skip
        assert end.value.code == 0
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.hl7")}
        return files, (tmp_path / f"{name}.json").read_bytes()

    one, again, other = simulated("one", "1"), simulated("again", "1"), simulated("other", "2")
    assert one == again
    assert one[0] != other[0]
    assert one[1] != other[1]


class Written:
    """A lake that holds what the truth says, written by hand, with something changed on the way."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(LakeLocation(str(folder)))
        self.city = City(9, Transport.FILES)
        self.messages = list(self.city.messages(120))

    def with_rows(self, change: Change, *, documents: bool = True) -> list[Difference]:
        """Write all tables, each changed by ``change``, and mostly the documents too, and compare."""
        ledger: list[Row] = []
        tables: dict[str, list[Row]] = {table.name: [] for table in (LEDGER, QUARANTINE, *NORMALISED)}
        for offset, planned in enumerate(self.messages):
            expected = planned.expected
            place: Row = {"topic_id": "t", "partition": 0, "offset": offset, "source": expected.source}
            ledger.append(
                {
                    **place, "control_id": expected.control_id or None, "disposition": expected.disposition,
                    "codes": [expected.code] if expected.code else [],
                }
            )  # fmt: skip
            if expected.disposition == "quarantined":
                tables[QUARANTINE.name].append({**place, "code": expected.code})
            if expected.disposition in ("accepted", "conflict"):
                for name, rows in planned.rows.items():
                    tables[name] += [{**row, **place} for row in rows]
                if documents:
                    self._keep_document(planned)
        tables[LEDGER.name] = ledger
        by_name = {table.name: table for table in TABLES}
        self.lake.create_missing(tuple(by_name[name] for name in tables))
        for name, rows in tables.items():
            table = by_name[name]
            write_deltalake(self.lake.table_uri(table), _arrow(table, change(name, rows)), mode="append")
        return compare(self.lake, self.city.truth)

    def _keep_document(self, planned: Planned) -> None:
        for row in planned.rows.get(OBSERVATION.name, []):
            if path := row.get("value_object_path"):
                data = b64decode(planned.payload.partition(b"^Base64^")[2].partition(b"|")[0])
                assert open_store(self.lake.location).put_if_absent(str(path), data)


Change = Callable[[str, list[Row]], list[Row]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_a_lake_as_it_must_be_has_no_differences(written: Written) -> None:
    assert written.with_rows(lambda _, rows: rows) == []


def test_which_of_equal_messages_is_the_duplicate_plays_no_part(written: Written) -> None:
    def exchanged(name: str, rows: list[Row]) -> list[Row]:
        if name != LEDGER.name:
            return rows
        said: dict[object, list[Row]] = {}
        for row in rows:
            said.setdefault((row["source"], row["control_id"], *row["codes"]), []).append(row)  # type: ignore[misc]
        changed = [
            {**row, "disposition": other["disposition"]}
            for group in said.values()
            for row, other in zip(group, reversed(group), strict=True)
        ]
        assert changed != [row for group in said.values() for row in group]
        return changed

    assert written.with_rows(exchanged) == []


def test_a_lost_row_is_missing(written: Written) -> None:
    (found,) = written.with_rows(lambda name, rows: rows[1:] if name == OBSERVATION.name else rows)
    assert (found.table, found.missing, found.surplus, found.differing) == (OBSERVATION.name, 1, 0, 0)


def test_a_document_that_is_not_in_the_lake_is_missing(written: Written) -> None:
    found = written.with_rows(lambda _, rows: rows, documents=False)
    assert [(one.table, one.surplus, one.differing) for one in found] == [("objects", 0, 0)]
    assert found[0].missing > 0


def test_a_doubled_row_is_too_many(written: Written) -> None:
    (found,) = written.with_rows(lambda name, rows: [*rows, rows[0]] if name == PATIENT.name else rows)
    assert (found.table, found.missing, found.surplus, found.differing) == (PATIENT.name, 0, 1, 0)


def test_a_wrong_value_is_told_by_its_column_and_not_by_itself(written: Written) -> None:
    def damaged(name: str, rows: list[Row]) -> list[Row]:
        if name != OBSERVATION.name:
            return rows
        return [{**rows[0], "value_text": "Geheim", "unit_code": "Geheim"}, *rows[1:]]

    (found,) = written.with_rows(damaged)
    assert (found.missing, found.surplus, found.differing) == (0, 0, 1)
    assert found.columns == ("unit_code", "value_text")
    first = written.city.truth.tables[OBSERVATION.name][0]
    assert found.examples == (f"{first['source']} {first['control_id']}, segment {first['segment_index']}",)
    assert "Geheim" not in found.sentence()
    assert "unit_code" in found.sentence()


def test_a_wrong_disposition_and_a_wrong_reason_are_told(written: Written) -> None:
    def damaged(name: str, rows: list[Row]) -> list[Row]:
        if name == LEDGER.name:
            return [
                {**row, "disposition": "accepted", "codes": ["HL7-TIME"]}
                if row["disposition"] == "ignored"
                else row
                for row in rows
            ]
        if name == QUARANTINE.name:
            return [{**row, "code": "RECORD-EMPTY"} for row in rows]
        return rows

    ledger, quarantine = written.with_rows(damaged)
    assert (ledger.table, ledger.columns) == (LEDGER.name, ("code", "disposition"))
    assert ledger.differing == written.city.truth.dispositions()["ignored"]
    assert (quarantine.table, quarantine.columns) == (QUARANTINE.name, ("code",))
    assert quarantine.differing == written.city.truth.dispositions()["quarantined"]


def _arrow(table: Table, rows: list[Row]) -> pa.Table:
    columns = {field.name: [_value(field, row) for row in rows] for field in table.fields}
    return pa.table(columns, schema=table.arrow_schema)


def _value(field: Field, row: Mapping[str, object]) -> object:
    """The truth's way of writing turned back; something or other where a value must be."""
    value = row.get(field.name)
    if value is None:
        return None if field.nullable else _SOMETHING[field.type]
    if field.type == INSTANT:
        return datetime.fromisoformat(str(value))
    if field.type == pa.date32():
        return date.fromisoformat(str(value))
    if field.type == pa.list_(IDENTIFIER):
        assert isinstance(value, list)
        return [dict(zip(("value", "authority", "type"), one.split("|"), strict=True)) for one in value]
    return value


_SOMETHING: Mapping[pa.DataType, object] = {
    pa.string(): "", pa.int32(): 0, pa.int64(): 0, INSTANT: datetime(2026, 3, 2, tzinfo=UTC),
    pa.date32(): date(2026, 3, 1),
}  # fmt: skip
