"""``phl simulate --sources``."""

from __future__ import annotations

from pathlib import Path

import pytest

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
