"""Codes and units as a laboratory's integrator meets them: what is not mapped, a map, and what is true then."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.main import run
from jobs.coded_views import JOIN
from jobs.ingest_once import curate_once
from jobs.lake_views import lake_views
from jobs.maintenance import Maintenance
from jobs.run_stages import codes_batch, codes_lag
from jobs.verify_codes import verify_codes
from pipelines.codes import keep
from pipelines.codes.concept_map import ConceptMap, Entry
from pipelines.codes.keep import Load, keep_current, load_map
from schemas.tables.coding import CODING, CONCEPT_MAP
from schemas.tables.normalised import OBSERVATION
from tests.conftest import ROOT
from tests.curated_lake import CuratedLake, rows_of

Answer = tuple[int, str, str]
Phl = Callable[..., Answer]


def report(
    number: int, *lines: str, specimen: str = "", sent: str = "20260310080000", app: str = "LIS"
) -> bytes:
    """A report whose results are ``code|value|unit|status``, the code as OBX-3."""
    segments = [
        f"MSH|^~\\&|{app}|CLINIC|LAKE|CITY|{sent}||ORU^R01|{app}{number}|P|2.5.1|||||CHN|UNICODE UTF-8",
        f"PID|1||P{number}^^^CLINIC^MR",
        f"OBR|1||{app}{number}|PANEL^Panel^L|||{sent}",
    ]
    for place, line in enumerate(lines, 1):
        code, value, unit, status = (*line.split("|"), "F")[:4]
        segments.append(f"OBX|{place}|NM|{code}||{value}|{unit}|||||{status}|||{sent}")
    if specimen:
        segments.append(f"SPM|1|{specimen}||SER")
    return ("\r".join(segments) + "\r").encode()


@pytest.fixture
def lake(tmp_path: Path) -> CuratedLake:
    return CuratedLake(tmp_path).create()


def put(lake: CuratedLake, *messages: bytes, first: int = 0) -> None:
    lake.put(
        rows_of([(message, "test") for message in messages], first=first), range(first, first + len(messages))
    )


@pytest.fixture
def phl(
    lake: CuratedLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Phl:
    assert lake.folder == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHL_LAKE_URI", str(tmp_path / "lake"))
    monkeypatch.setenv("PHL_STATE_DIR", str(tmp_path / "state"))

    def call(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def coded(lake: CuratedLake, columns: str, view: str = "observation") -> list[tuple[Any, ...]]:
    with lake_views(lake.lake) as views:
        return views.connection.execute(f"SELECT {columns} FROM curated_coded.{view} ORDER BY ALL").fetchall()


def test_a_map_that_is_loaded_later_holds_for_what_is_there(
    lake: CuratedLake, phl: Phl, tmp_path: Path
) -> None:
    put(
        lake,
        report(1, "GLU^葡萄糖^L|5.5|mmol/L", "CREA^肌酐^L|1.2|mg/dL", "ODD^未知^L|1|％"),
        report(2, "GLU^葡萄糖^L|99|ｍg/dL", "718-7^Hb^LN^HGB^^L|13.1|g/dL"),
        report(3, "GLU^葡萄糖^L|6.1|mmol/L"),
    )
    assert codes_lag(lake.context) == 6
    curate_once([lake.context])
    assert codes_lag(lake.context) == 0
    assert codes_batch(lake.context) is None

    assert coded(lake, "observation_code, loinc, ucum_unit, value_canonical")[:1] == [
        ("718-7", "718-7", "g/dL", 131.0)
    ]
    code, out, _ = phl("codes", "unmapped", "--json")
    found = [(row["code"], row["unit"], row["results"], row["reason"]) for row in json.loads(out)]
    assert (code, found) == (
        0,
        [
            ("GLU", "mmol/L", 2, "CODE-UNMAPPED"), ("CREA", "mg/dL", 1, "CODE-UNMAPPED"),
            ("GLU", "ｍg/dL", 1, "CODE-UNMAPPED"), ("ODD", "％", 1, "CODE-UNMAPPED"),
        ],
    )  # fmt: skip
    _, out, _ = phl("codes", "unmapped", "--source", "test", "--top", "1", "--csv")
    todo = tmp_path / "map.csv"
    header, line = out.splitlines()
    assert header.split(",")[0] == "source"

    version = lake.lake.version(OBSERVATION)
    todo.write_text(f"{header}\n{line}14749-6\n", "utf-8")
    code, out, err = phl("codes", "load", todo, "--source", "test", "--json")
    assert code == 0, err
    assert json.loads(out) == {"entries": 1, "changed": 1, "load": 1, "combinations": 5}
    assert lake.lake.version(OBSERVATION) == version
    assert coded(lake, "observation_code, value_number, unit_code, loinc, value_canonical, canonical_unit")[
        2:
    ] == [
        ("GLU", 5.5, "mmol/L", "14749-6", 5.5, "mmol/L"),
        ("GLU", 6.1, "mmol/L", "14749-6", 6.1, "mmol/L"),
        ("GLU", 99.0, "ｍg/dL", None, None, None),
        ("ODD", 1.0, "％", None, None, None),
    ]
    code, out, _ = phl("codes", "show", "GLU", "--json")
    assert [(row["unit"], row["loinc"]) for row in json.loads(out)] == [
        ("mmol/L", "14749-6"),
        ("ｍg/dL", None),
    ]

    versions = [lake.lake.version(table) for table in (CODING, CONCEPT_MAP)]
    code, out, _ = phl("codes", "load", todo, "--source", "test")
    assert (code, out) == (0, "nothing new in 1 entries\n")
    assert [lake.lake.version(table) for table in (CODING, CONCEPT_MAP)] == versions

    whole = tmp_path / "whole.csv"
    whole.write_text("code,loinc\nGLU,14749-6\nCREA,1742-6\n", "utf-8")
    assert phl("codes", "load", whole, "--source", "test", "--by", "lab")[0] == 0
    assert pytest.approx(
        next(row for row in coded(lake, "value_canonical, value_number") if row[1] == 99.0)[:1], rel=1e-6
    ) == (5.495237,)
    _, out, _ = phl("codes", "unmapped", "--units", "--json")
    assert [(row["code"], row["unit"], row["reason"]) for row in json.loads(out)] == [
        ("CREA", "mg/dL", "UNIT-OTHER-KIND")
    ]
    _, out, _ = phl("codes", "list", "--json")
    assert [(row["code"], row["unit"], row["loinc"], row["load"], row["file_name"]) for row in json.loads(out)] == [
        ("CREA", "", "1742-6", 2, "whole.csv"), ("GLU", "", "14749-6", 2, "whole.csv"),
        ("GLU", "mmol/L", "14749-6", 1, "map.csv"),
    ]  # fmt: skip
    assert verify_codes(lake.lake) == []

    taken_back = tmp_path / "back.csv"
    taken_back.write_text("code,loinc\nCREA,\n", "utf-8")
    assert phl("codes", "load", taken_back, "--source", "test")[0] == 0
    assert coded(lake, "observation_code, loinc")[1] == ("CREA", None)
    assert len(json.loads(phl("codes", "list", "--json")[1])) == 2
    assert len(json.loads(phl("codes", "list", "--history", "--json")[1])) == 4
    assert verify_codes(lake.lake) == []


def test_a_file_is_loaded_as_a_whole_or_not_at_all(lake: CuratedLake, phl: Phl, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(
        "code,loinc,canonical_unit,valid_from,valid_to\n"
        "GLU,14749-6,,,\n"
        "CREA,14682-8,,,\n"
        "Wang Secret,1234,,,\n"
        "NA,2951-2,mmol/L,2026-02-30,\n"
        "K,2823-3,nonsense,2026-02-01,2026-01-01\n"
        "GLU,14749-6,,\n"
        "GLU,2345-7,,,\n"
        "GLU2,14749-6,mg/dL,,\n",
        "utf-8",
    )
    code, _, err = phl("codes", "load", file, "--source", "*")
    assert code == 78
    assert err.splitlines()[:8] == [
        "line 3, loinc: it is no LOINC code: form or check digit is wrong",
        "line 4, loinc: it is no LOINC code: form or check digit is wrong",
        "line 5, valid_from: give a date such as 2026-03-01",
        "line 6, valid_to: it must be after valid_from: the first day on which the entry does not hold any more",
        "line 6, canonical_unit: it is no unit of UCUM",
        "line 7: it has 4 columns, the header has 5",
        "line 8, code: it says otherwise than line 2 of the same",
        "line 9, canonical_unit: the program compares this concept in another unit; leave it empty",
    ]
    assert "Secret" not in err
    assert "CODES-FILE" in err.splitlines()[-1]
    assert not lake.lake.exists(CONCEPT_MAP) or lake.lake.version(CONCEPT_MAP) == 0
    for content, expected in (
        (b"\xff\xfe", "charset"),
        (b"", "the first line must name the columns"),
        (b"code,loinc,patient\n", "column 3 has an unknown name"),
        (b'code,loinc\n"GLU,14749-6\n', "no CSV"),
        (b"code,loinc\n\x00,14749-6\n", "line 2"),
    ):
        file.write_bytes(content)
        code, _, err = phl("codes", "load", file, "--source", "test")
        assert (code, expected in err) == (78, True), err
    file.write_bytes("code,loinc\n葡萄糖,14749-6\n".encode("gb18030"))
    assert phl("codes", "load", file, "--source", "test", "--charset", "gb18030", "--dry-run")[1] == (
        "1 entries, nothing wrong\n"
    )
    assert phl("codes", "load", file)[0] == 78
    assert phl("codes", "load", tmp_path / "none.csv", "--source", "test")[0] == 78


def test_the_most_specific_entry_counts_on_its_days() -> None:
    def entry(loinc: str, **more: Any) -> Entry:
        return Entry(**{"source": "test", "code": "GLU", "loinc": loinc, **more})

    maps = ConceptMap.of(
        [
            entry("2345-7", source="*"),
            entry("14749-6"),
            entry("15074-8", specimen_type="BLD"),
            entry("2339-0", specimen_type="BLD", unit="MG/DL"),
            entry("2093-3", valid_from=date(2026, 3, 1), valid_to=date(2026, 4, 1)),
        ]
    )

    def meant(day: str, source: str = "test", specimen: str = "", unit: str = "") -> str:
        found = maps.about(source, "GLU", "L", specimen, "", unit)
        return next(one.loinc for one in found if one.holds_on(date.fromisoformat(day)))

    assert meant("2026-01-01", source="other") == "2345-7"
    assert meant("2026-01-01") == "14749-6"
    assert [meant(day) for day in ("2026-02-28", "2026-03-01", "2026-03-31", "2026-04-01")] == [
        "14749-6", "2093-3", "2093-3", "14749-6",
    ]  # fmt: skip
    assert meant("2026-03-05", specimen="BLD") == "15074-8"
    assert meant("2026-03-05", specimen="BLD", unit="ｍg/dl") == "2339-0"


def test_validity_is_by_the_day_of_the_message(lake: CuratedLake, phl: Phl, tmp_path: Path) -> None:
    put(lake, *(report(n, "X^X^L|1|g/L", sent=f"2026030{n}235900") for n in (1, 2, 3)))
    curate_once([lake.context])
    file = tmp_path / "map.csv"
    file.write_text("code,loinc,valid_from,valid_to\nX,2885-2,,2026-03-02\nX,1751-7,2026-03-03,\n", "utf-8")
    assert phl("codes", "load", file, "--source", "test")[0] == 0
    assert coded(lake, "event_date, loinc") == [
        (date(2026, 3, 1), "2885-2"), (date(2026, 3, 2), None), (date(2026, 3, 3), "1751-7"),
    ]  # fmt: skip
    assert verify_codes(lake.lake) == []


def test_only_new_combinations_are_derived(lake: CuratedLake) -> None:
    put(lake, report(1, "A^A^L|1|g/L", "B^B^L|1|g/L"))
    assert codes_batch(lake.context) is not None
    put(lake, report(2, "A^A^L|2|g/L", "C^C^L|1|g/L"), first=1)
    kept = keep_current(lake.lake, lake.lake.version(OBSERVATION))
    assert (kept.rows, kept.combinations) == (2, 1)
    put(lake, report(3, "A^A^L|3|g/L"), first=2)
    kept = keep_current(lake.lake, lake.lake.version(OBSERVATION))
    assert (kept.rows, kept.combinations) == (1, 0)
    assert lake.lake.dataset(CODING).to_table().num_rows == 3


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_first_and_whoever_is_at_it(
    lake: CuratedLake, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Loads, observations, upkeep and several processes in any order end where the rule does."""
    rng = random.Random(seed)
    codes = ["A", "B", "C", "D"]
    for number in range(6):
        put(
            lake,
            report(number, *(f"{c}^{c}^L|1|{rng.choice(['g/L', 'mg/dL'])}" for c in codes)),
            first=number,
        )
        one = Entry(
            "test", rng.choice(codes), rng.choice(["2885-2", "1751-7", ""]), unit=rng.choice(["", "g/L"])
        )
        end = lake.lake.version(OBSERVATION)
        steps: list[Callable[[], object]] = [
            lambda one=one: load_map(lake.lake, Load([one], "me", "f.csv", "0")),  # type: ignore[misc]
            lambda end=end: keep_current(lake.lake, end),  # type: ignore[misc]
            lambda end=end: keep_current(lake.lake, end),  # type: ignore[misc]
        ]
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(step) for step in rng.sample(steps, 3)]:
                done.result()
        assert verify_codes(lake.lake) == []
        if rng.random() < 0.5:
            monkeypatch.setattr("lake_layout.maintain.SMALL_FILES", 2)
            Maintenance("codes").now(lake.context)
    while codes_batch(lake.context) is not None:
        pass
    assert codes_lag(lake.context) == 0
    assert verify_codes(lake.lake) == []
    rows = lake.lake.dataset(CODING).to_table(columns=["code", "unit"]).to_pylist()
    assert len(rows) == len({tuple(row.values()) for row in rows})


def test_who_dies_before_the_commit_has_changed_nothing(
    lake: CuratedLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, report(1, "A^A^L|1|g/L"))
    entry = Entry("test", "A", "2885-2")

    def die(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(keep, "write_file", die)
        for step in (
            lambda: load_map(lake.lake, Load([entry], "me", "f", "0")),
            lambda: keep_current(lake.lake, lake.lake.version(OBSERVATION)),
        ):
            with pytest.raises(MemoryError):
                step()
    assert (lake.lake.version(CONCEPT_MAP), lake.lake.version(CODING)) == (0, 0)
    assert load_map(lake.lake, Load([entry], "me", "f", "0")) == (1, 1)
    # whoever loaded it died here: the next look at codes finds that the map is newer
    assert codes_batch(lake.context) is not None
    assert lake.lake.dataset(CODING).to_table(columns=["loinc"]).column(0).to_pylist() == ["2885-2"]
    assert load_map(lake.lake, Load([Entry("test", "A", "1751-7")], "me", "f", "1")) == (1, 2)
    assert codes_lag(lake.context) == 1
    assert codes_batch(lake.context) is not None
    assert codes_batch(lake.context) is None
    assert lake.lake.dataset(CODING).to_table(columns=["loinc"]).column(0).to_pylist() == ["1751-7"]


def test_another_program_derives_everything_anew(lake: CuratedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, report(1, "A^A^L|1|g/L"))
    assert codes_batch(lake.context) is not None
    for module in ("coding", "keep"):
        monkeypatch.setattr(f"pipelines.codes.{module}.rule", lambda: "another")
    assert codes_lag(lake.context) == 1
    assert codes_batch(lake.context) is not None
    assert lake.lake.dataset(CODING).to_table(columns=["rule"]).column(0).to_pylist() == ["another"]
    assert codes_batch(lake.context) is None


def test_verify_finds_what_the_rule_does_not_say(lake: CuratedLake) -> None:
    put(lake, report(1, "A^A^L|1|g/L", "B^B^L|1|g/L"))
    assert codes_batch(lake.context) is not None
    assert verify_codes(lake.lake) == []
    table = lake.lake.open(CODING)
    table.update(updates={"loinc": "'2885-2'"}, predicate="code = 'A'")
    assert [(one.code, one.messages) for one in verify_codes(lake.lake)] == [("CODES-DIFFER", 1)]
    lake.lake.open(CODING).delete("code = 'A'")
    assert [(one.code, one.messages) for one in verify_codes(lake.lake)] == [("CODES-MISSING", 1)]


def test_an_instruments_result_is_released_by_one_of_the_same_specimen_and_day(lake: CuratedLake) -> None:
    put(
        lake,
        report(1, "GLU^^L|5|mmol/L|instrument", "NA^^L|140|mmol/L|instrument", specimen="T1", app="AN"),
        report(2, "GLU^^L|5|mmol/L|F", specimen="T1"),
        report(3, "GLU^^L|7|mmol/L|instrument", specimen="T1", app="AN", sent="20260320080000"),
    )
    curate_once([lake.context])
    assert coded(lake, "event_date, observation_code, released", "instrument_observation") == [
        (date(2026, 3, 10), "GLU", True), (date(2026, 3, 10), "NA", False), (date(2026, 3, 20), "GLU", False),
    ]  # fmt: skip
    assert coded(lake, "event_date, observation_code, status", "result") == [
        (date(2026, 3, 10), "GLU", "F"), (date(2026, 3, 10), "NA", "instrument"),
        (date(2026, 3, 20), "GLU", "instrument"),
    ]  # fmt: skip
    with lake_views(lake.lake) as views:
        for table in (one.table for one in views.views.values()):
            if table.name.startswith("curated_coded/"):
                shown = views.connection.execute(f"DESCRIBE {table.view_name}").fetchall()
                assert [row[0] for row in shown] == [field.name for field in table.fields]


def test_the_documented_join_is_the_one_that_is_used() -> None:
    text = (ROOT / "docs" / "laboratory.md").read_text("utf-8")
    assert " ".join(JOIN.split()) in " ".join(text.split())
