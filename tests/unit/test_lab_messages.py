"""Messages of instruments: what is the same again, which findings there are, and controls that are nobody's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.settings import load_settings
from pipelines.lab.modality import LAB
from schemas.errors import ConfigError
from schemas.findings import LAB_ASTM_FINDINGS
from schemas.lab.profiles import PROFILES
from schemas.source import Source
from tests.property.test_lab_any_bytes import parse

GOLDEN = Path(__file__).parents[1] / "golden" / "lab"
BODY = "P|1\rO|1|B1||^^^GLU\rR|1|^^^GLU|{value}|||||F||||20260301075900\rL|1|N\r"
ANALYSER = Source("analyser")


def message(header: str, value: str = "5.1") -> bytes:
    return (header + "\r" + BODY.format(value=value)).encode()


def hashes(payload: bytes, source: Source = ANALYSER) -> tuple[int, int]:
    row = LAB.envelopes([payload], [source]).to_pylist()[0]
    return row["id_hash"], row["content_hash"]


def test_a_message_sent_again_at_another_time_is_the_same() -> None:
    first = hashes(message(r"H|\^&|||A1|||||||P|LIS2-A2|20260301080000"))
    assert hashes(message(r"H|\^&|||A1|||||||P|LIS2-A2|20260301080500")) == first
    assert hashes(message("H|\\^&|||A1|||||||P|LIS2-A2|20260301080500\r\n")) == first
    other = hashes(message(r"H|\^&|||A1|||||||P|LIS2-A2|20260301080000", "5.2"))
    assert other[1] != first[1]


def test_a_message_id_names_it_where_one_is_sent() -> None:
    one, again = hashes(message(r"H|\^&|7||A1")), hashes(message(r"H|\^&|7||A1", "5.2"))
    assert one[0] == again[0]
    assert one[1] != again[1]
    assert hashes(message(r"H|\^&|8||A1"))[1] == one[1]
    assert hashes(message(r"H|\^&|7||A1"), Source("other"))[0] != one[0]


def test_controls_are_nobodys() -> None:
    for name, profile in PROFILES.items():
        if not profile.example:
            continue
        source = Source("analyser", instrument_profile=name)
        tables = parse([("\r".join(profile.example) + "\r").encode()], source).tables
        controls = tables["normalised/qc_result"].column("specimen_id").to_pylist()
        assert controls
        assert "patient_id" not in tables["normalised/qc_result"].column_names
        for other in ("observation", "specimen", "service_request", "diagnostic_report"):
            assert not set(controls) & set(tables[f"normalised/{other}"].column("specimen_id").to_pylist())


def test_no_result_of_an_instrument_is_released() -> None:
    records = [f"R|{number}|^^^T{number}|1|||||{status}" for number, status in enumerate("CPFXISMRNQVW", 1)]
    payload = "\r".join([r"H|\^&", "P|1", "O|1|B1", *records, "L|1|N"]).encode()
    rows = parse([payload], ANALYSER).tables["normalised/observation"]
    assert set(rows.column("status").to_pylist()) == {"instrument"}
    assert "".join(rows.column("instrument_status").to_pylist()) == "CPFXISMRNQVW"


def test_every_finding_on_a_message_is_kept_as_a_golden_case() -> None:
    wanted = {finding.code for finding in LAB_ASTM_FINDINGS}
    told = {"LAB-ASTM-CHARSET", "LAB-CONTROL-CHARACTER", "LAB-AFTER-TERMINATOR", "LAB-RECORD-CUT"}
    for case in GOLDEN.iterdir():
        kept = json.loads((case / "expected.json").read_text("utf-8"))
        told |= {kept["triage"], *(one["code"] for one in kept["unreadable"])}
        told |= {code for one in kept["messages"] for code in one.get("codes", [])}
    assert wanted <= told


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"H|\\^&\rP|1|\x00\rL|1|N\r", "LAB-CONTROL-CHARACTER"),
        (b"H|\\^&\rL|1|N\rP|1||T1\r", "LAB-AFTER-TERMINATOR"),
        (b"H|\\^&\rP|1\rH|\\^&\rL|1|N\r", "LAB-NESTING"),
        (b"H|\\^&\rP|1\rO|1|B1\rR|1|^^^GLU|5.", "LAB-RECORD-CUT"),
        (b"H|\\^&\rP|1\rO|1|B1\rR|1|^^^GLU|5.", "LAB-NO-TERMINATOR"),
    ],
)
def test_a_deviation_has_its_code(payload: bytes, code: str) -> None:
    assert code in parse([payload], ANALYSER).messages.column("codes").to_pylist()[0]


def test_a_value_that_was_cut_off_is_no_value() -> None:
    begun = "H|\\^&\rP|1||T1|||王\rO|1|B1\rR|1|^^^GLU|5.1\rR|2|^^^ALT|4".encode() + "单".encode()[:2]
    tables = parse([begun], ANALYSER).tables
    assert tables["normalised/observation"].column("value_text").to_pylist() == ["5.1"]
    assert tables["normalised/segment"].column("name").to_pylist() == ["R"]
    assert parse([b"H|\\^&"], ANALYSER).messages.num_rows == 1
    ended = parse([begun[:42] + b"\rL|1"], ANALYSER).messages.column("codes").to_pylist()[0]
    assert "LAB-NO-TERMINATOR" not in ended


def test_bytes_of_no_character_set_are_put_aside() -> None:
    assert parse([b"H|\\^&|||\xff\xff\x80\r"], ANALYSER).unreadable.column("code").to_pylist() == [
        "LAB-ASTM-CHARSET"
    ]


def test_a_profile_that_there_is_not_is_told(tmp_path: Path) -> None:
    file = tmp_path / "phl.toml"
    file.write_text('[[sources]]\nname = "a"\nprotocol = "astm"\nport = 4001\ninstrument_profile = "chem"\n')
    with pytest.raises(
        ConfigError,
        match="there are chemistry, haematology, immunoassay-aspects, number-and-name, immunoassay",
    ):
        load_settings(file)


def test_a_source_says_what_its_analyser_has_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "phl.toml"
    head = '[[sources]]\nname = "a"\nprotocol = "astm"\nport = 4001\n[sources.profile]\n'
    file.write_text(head + 'test_code = ["R-3.4"]\nsub_id = ["R-3.8"]\ncontrol_prefixes = ["QC"]\n')
    source = load_settings(file).sources().get("a")
    records = [
        r"H|\^&", "P|1", r"O|1|S1||^^^TSH\^^^FT4", "R|1|^^^TSH^^^1^DOSE|2.5|uIU/mL", "R|2|^^^TSH^^^1^RLU|25600|RLU",
        "R|3|^^^FT4^^^1^DOSE|15|pmol/L", "O|2|QC7||^^^TSH", "R|1|^^^TSH^^^1^DOSE|1.1|uIU/mL", "L|1|N",
    ]  # fmt: skip
    tables = parse([("\r".join(records) + "\r").encode()], source).tables
    rows = tables["normalised/observation"].select(["observation_code", "sub_id", "line", "service_code"])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("TSH", "DOSE", 0, "TSH"), ("TSH", "RLU", 0, "TSH"), ("FT4", "DOSE", 0, "FT4"),
    ]  # fmt: skip
    assert tables["normalised/service_request"].column("service_code").to_pylist() == ["TSH", "FT4"]
    assert tables["normalised/qc_result"].num_rows == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('place = ["R-3"]', "no such part of a profile"),
        ('test_code = ["O-3"]', "written R-3 or R-3.4"),
        ('specimen_id = ["O-1"]', "written O-3 or O-3.4"),
        ('control_prefixes = [""]', "is not empty"),
        ('test_system = ["R-3.1", "R-3.2"]', "one place"),
    ],
)
def test_a_place_that_there_is_not_is_told(tmp_path: Path, said: str, told: str) -> None:
    file = tmp_path / "phl.toml"
    file.write_text(f'[[sources]]\nname = "a"\nprotocol = "astm"\nport = 4001\n[sources.profile]\n{said}\n')
    with pytest.raises(ConfigError, match=told):
        load_settings(file)
