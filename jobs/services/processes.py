"""Processes that outlive the command that started them: start, recognise, stop."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from schemas.errors import ConfigError

LOWEST_PORT, HIGHEST_PORT = 12_000, 22_000
"""Below the ports that Linux gives to outgoing connections, with and without the 10,000 that gRPC ports add."""


@dataclass(frozen=True)
class ProcessId:
    """A process, not only its number: numbers are given out again.

    Attributes:
        pid: number; 0 for no process.
        born: when it began, as the system counts (and in which boot).
    """

    pid: int = 0
    born: str = ""


def identify(pid: int) -> ProcessId:
    """The process that has this number now; no process where there is none or it has only not been reaped."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ProcessId()
        return ProcessId(pid, _born(process))
    except psutil.Error:
        return ProcessId()


def _born(process: psutil.Process) -> str:
    """On Linux ticks since boot, which a change of the clock does not move; else the time it began."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return (
            f"{boot}:{fields[19]}"  # proc_pid_stat(5): field 22, and the first two stand before the bracket
        )
    except (OSError, IndexError):
        return f"{process.create_time():.2f}"


def is_running(process: ProcessId) -> bool:
    """Whether it is still this process."""
    return process.pid > 0 and identify(process.pid) == process


def launch(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that Ctrl-C in the terminal does not end it.

    Args:
        command: program and arguments.
        log: takes what it prints, added to what is there.
        environment: all that it gets.
        folder: its working directory.

    Raises:
        ConfigError: ``SERVICE-START`` where the program is missing or may not be run.
    """
    with log.open("ab") as output:
        try:
            return subprocess.Popen(  # noqa: S603 - programs of installed packages, arguments of our own
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise ConfigError(
                "SERVICE-START",
                "the program cannot be run; install the packages anew",
                program=str(command[0]),
                error=error.strerror or type(error).__name__,
            ) from None


def stop(process: ProcessId, grace: float) -> bool:
    """Ask a process to end; end its whole group when it has not after the grace (seconds).

    Returns:
        False where it was not running.
    """
    if not is_running(process):
        return False
    _signal(process, signal.SIGTERM)
    if not wait_gone(process, grace):
        kill(process)
    return True


def kill(process: ProcessId) -> None:
    """End a process and its group at once."""
    _signal(process, signal.SIGKILL)
    wait_gone(process, 10.0)


def wait_gone(process: ProcessId, patience: float) -> bool:
    """Whether the process ended within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while is_running(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError, OSError):  # reap it where it is a child of this process
        os.waitpid(process.pid, os.WNOHANG)
    return True


def _signal(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to the process' group, if it is still that process and leads a group of its own."""
    if not is_running(process):
        return
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def is_free(port: int) -> bool:
    """Whether this port can be bound on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None, *, pair: bool = False, avoid: Sequence[int] = ()) -> int:
    """A port that is free now: the preferred one, else one chosen at random.

    Args:
        preferred: taken where it is free.
        pair: the port 10,000 above it must be free too (where a server's gRPC listens).
        avoid: already given to another.

    Raises:
        ConfigError: ``SERVICE-PORTS`` where none is to be had.
    """
    candidates = [preferred] if preferred else []
    candidates += random.sample(range(LOWEST_PORT, HIGHEST_PORT), 200)
    for port in candidates:
        if port not in avoid and is_free(port) and (not pair or is_free(port + 10_000)):
            return port
    raise ConfigError("SERVICE-PORTS", "no free port was found on this machine")


def last_lines(log: Path, start: int = 0, count: int = 3) -> str:
    """The last lines of a service's own log since a position, for an error that tells why it did not start.

    Before a service is ready no message has reached it, so there is nothing of a patient in them.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(line[:300] for line in lines[-count:])
