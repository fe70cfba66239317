"""Only the process that was started is ever taken for it or ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.services.processes import ProcessId, free_port, identify, is_free, is_running, kill, launch, stop
from jobs.services.state import Services, locked, read_services, write_services
from schemas.errors import ConfigError, TransportError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_number_that_was_given_out_again_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    process = identify(sleeper.pid)
    assert is_running(process)
    another = replace(process, born="long ago")
    assert not is_running(another)
    assert stop(another, 1.0) is False
    kill(another)
    assert sleeper.poll() is None, "a process that is not ours must not be ended"
    assert stop(process, 10.0) is True
    assert not is_running(process)


def test_a_process_that_ended_but_was_not_reaped_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    process = identify(sleeper.pid)
    sleeper.kill()
    for _ in range(200):
        if not is_running(process):
            break
        time.sleep(0.05)
    assert not is_running(process)
    assert identify(sleeper.pid) == ProcessId()


def test_one_that_does_not_heed_is_ended_with_all_it_started(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    log = tmp_path / "log"
    started = launch([sys.executable, "-c", program], log, {}, tmp_path)
    while not log.read_text().strip():
        time.sleep(0.05)
    child = identify(int(log.read_text()))
    assert is_running(child)
    assert stop(identify(started.pid), 0.5) is True
    for _ in range(200):
        if not is_running(child):
            break
        time.sleep(0.05)
    assert not is_running(child)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-program"):
        launch(["/no-such-program"], tmp_path / "log", {}, tmp_path)


def test_ports_that_are_taken_are_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert not is_free(taken)
        assert free_port(taken) != taken
        low = taken - 10_000
        if low > 1024 and is_free(low):
            assert free_port(low, pair=True) != low
            assert free_port(low) == low


def test_two_commands_do_not_work_on_a_folder_at_once(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "state"),
        pytest.raises(TransportError, match="SERVICES-BUSY"),
        locked(tmp_path / "state", patience=0.1),
    ):
        pytest.fail("two hold the lock")
    with locked(tmp_path / "state", patience=0.1):
        pass


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    assert read_services(tmp_path) is None
    (tmp_path / "services.json").write_text("{")
    with pytest.raises(ConfigError, match=r"services\.json"):
        read_services(tmp_path)
    write_services(tmp_path, Services())
    assert read_services(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == []
