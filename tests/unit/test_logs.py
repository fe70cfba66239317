"""What is printed never holds what a message said, whoever prints it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from schemas.errors import MessageError, TransportError

MARKER = "ZZSENTINEL^PATIENT"

PROGRAM = f"""
import logging, sys, threading, warnings
from jobs.logs import configure_logging
configure_logging()
import structlog
own = structlog.get_logger("own")
def fail():
    raise ValueError("{MARKER}")
own.info("batch_done", batch=7)
try:
    fail()
except ValueError as error:
    own.exception("failed")
    own.error("failed_again", exc_info=error)
    logging.getLogger("library").exception("broke on {MARKER}")
logging.getLogger("library").error("broke on %s", "{MARKER}")
logging.getLogger("library").warning("{MARKER}")
warnings.warn("{MARKER}")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Broken:
    def __del__(self):
        fail()
Broken()
fail()
"""


def test_neither_libraries_nor_exceptions_nor_threads_print_payload(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    assert MARKER not in done.stderr
    for said in (
        "batch_done",
        "failed",
        "failed_again",
        "library_log",
        "uncaught_in_thread",
        "unraisable",
        "uncaught",
    ):
        assert f'"event": "{said}"' in done.stderr
    assert '"kind": "ValueError"' in done.stderr
    assert '"batch": 7' in done.stderr
    assert done.returncode == 1


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logging of the tests' own process as it is."""
    monkeypatch.setattr("jobs.logs.configure_logging", lambda: None)


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            TransportError("KAFKA-UNREACHABLE", "no answer", topic="t", partition=3),
            75,
            "KAFKA-UNREACHABLE: no answer",
        ),
        (MessageError("HL7-NO-MSH", "no MSH", offset=12), 1, "offset=12"),
        (ValueError(MARKER), 70, "ValueError"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_end_the_command_with_one_line_and_their_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "_load", lambda _name: _raise(error))
    assert main.run(["status"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert MARKER not in printed.err
    assert printed.err.strip().count("\n") == 0


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom jobs.cli.main import run\nrun(['--help'])\n"
        "heavy = {'apache_beam', 'pyarrow', 'deltalake', 'duckdb', 'great_expectations', 'boto3', 'numpy',"
        " 'pydantic', 'confluent_kafka', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for name in main.COMMANDS:
        assert f" {name} " in done.stdout


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([name, "--help"]) == 0
    assert f"phl {name}" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_an_unknown_command_is_a_wrong_command_line() -> None:
    assert main.run(["nonsense"]) == 2
