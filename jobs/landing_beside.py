"""Landing in a process of its own beside the one that normalises.

It is started before the libraries are imported, which takes each of them seconds, and begins when it is told to: what
is wrong with settings, Kafka or the lake is then told once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PARENT = "PHL_PARENT"
"""Variable by which a process is told whose help it is: with that one gone it begins no further batch."""


def start_landing(config: Path | None, *, accept_loss: bool) -> subprocess.Popen[str]:
    """A process that waits for ``begin_landing``, lands all there is and prints its report as JSON."""
    command = [sys.executable, "-m", "jobs.cli.main", "ingest", "--once", "--stage", "land", "--json"]
    command += ["--accept-loss"] if accept_loss else []
    command += ["--config", str(config)] if config else []
    return subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, PARENT: str(os.getpid())},
    )


def begin_landing(process: subprocess.Popen[str]) -> None:
    """Tell it that all is ready."""
    assert process.stdin is not None
    try:
        process.stdin.write("begin\n")
        process.stdin.flush()
    except BrokenPipeError:
        return  # it has ended; its exit code says why


def leave_landing(process: subprocess.Popen[str]) -> None:
    """It ends by itself, where it has not begun; else with its batch, once this process is gone."""
    if process.stdin is not None:
        process.stdin.close()


def wait_to_begin() -> bool:
    """In such a process: whether its parent is ready; at once in any other."""
    return PARENT not in os.environ or sys.stdin.readline() != ""


def is_wanted() -> bool:
    """Whether whoever started this process to help is still there: its successor runs the stage otherwise."""
    parent = os.environ.get(PARENT)
    return parent is None or parent == str(os.getppid())
