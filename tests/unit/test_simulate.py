"""``phl simulate --sources``."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.city.truth import Truth
from jobs.cli.main import run


@pytest.fixture(autouse=True)
def logging_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.logs.configure_logging", lambda: None)


def test_somebodys_settings_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "phl.toml"
    assert run(["simulate", "--sources", str(file)]) == 0
    written = file.read_bytes()
    assert run(["simulate", "--sources", str(file)]) == 0, "the same again is no harm"

    file.write_text("[listen]\nport = 2600\n")
    assert run(["simulate", "--sources", str(file)]) == 78
    assert "phl.toml" in capsys.readouterr().err
    assert file.read_text() == "[listen]\nport = 2600\n"
    assert b"[[sources]]" in written


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--sources", str(tmp_path / "absent" / "phl.toml")]) == 78
    assert "absent" in capsys.readouterr().err


def test_clinics_drop_files_that_the_settings_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "simulate",
        "--messages",
        "150",
        "--drops",
        "drops",
        "--sources",
        "phl.toml",
        "--truth",
        "truth.json",
    ]
    assert run(arguments) == 0
    assert run(["check"]) == 0
    dropped = sorted(path.parent.name for path in (tmp_path / "drops").glob("*/*"))
    assert dropped == [
        name for name in ("town01-lab", "town02-lab", "town03-lab", "town04-lab") for _ in range(4)
    ]
    truth = Truth.load(tmp_path / "truth.json")
    assert truth.dispositions() == {"accepted": 12, "duplicate": 4}


def test_instruments_are_named_in_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "--sources", "phl.toml", "--instruments"]) == 0
    assert run(["check"]) == 0
    assert (tmp_path / "phl.toml").read_text().count('protocol = "astm"') == 6
