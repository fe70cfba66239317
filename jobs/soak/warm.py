"""``phl`` again and again without its start: each command is a forked child of a process that has the libraries.

A command that is killed in its middle has to be followed by another, some dozens of times, and the libraries take
seconds to import. What runs is the same program all the same: ``jobs.cli.main`` in a process of its own, which may be
killed, stopped or kept from writing to the disk.

The parent reads requests as lines of JSON and answers in the same way (``python -m jobs.soak.warm``).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from lake_layout.fail_points import VARIABLE
from schemas.errors import TransportError

KILLED = -signal.SIGKILL
LONGEST_OUTPUT = 64 * 1024
_NEEDED = (
    "jobs.cli.main", "jobs.settings", "jobs.ingest_once", "jobs.wiring", "jobs.decisions", "jobs.verify_lake",
    "jobs.verify_curated", "jobs.verify_identity", "jobs.verify_codes", "pipelines.codes.keep",
)  # fmt: skip
"""What the commands import late. None of it begins a thread, which a child would lack."""

_PATIENCE = 900
"""Seconds after which a command that says nothing and does not end is taken for a defect."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, negative where a signal ended it; None where it was stopped and can be resumed.
        output: the last of what it printed, both channels together.
        pid: its process id.
    """

    code: int | None
    output: str
    pid: int

    @property
    def stopped(self) -> bool:
        return self.code is None


def outside() -> dict[str, str]:
    """The environment of this process without its settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}


class Warm:
    """Runs ``phl`` commands while the block lasts.

    Args:
        env: the environment of each command; ``PHL_*`` variables of this process are not among it.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jobs.soak.warm"],
            env={**outside(), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)

    def phl(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        fail_point: str | None = None,
        file_limit: int | None = None,
    ) -> Ended:
        """Run a command to its end, or until it stops.

        Args:
            arguments: as after ``phl``.
            env: variables beside those of all commands.
            fail_point: where it is to die or to stop, as ``PHL_FAIL_POINT`` says it.
            file_limit: no file that it writes may get larger than this (bytes), as on a disk that is full.
        """
        more = dict(env or {}) | ({VARIABLE: fail_point} if fail_point else {})
        return self._ask({"arguments": arguments, "env": more, "file_limit": file_limit})

    def resume(self, stopped: Ended) -> Ended:
        """Let a stopped command go on, to its end."""
        return self._ask({"resume": stopped.pid})

    def _ask(self, request: Mapping[str, object]) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise TransportError("SOAK-WARM", "the process that runs the commands has ended")
        return Ended(**json.loads(line))


# In the process that forks -------------------------------------------------------------------------------------------


def main() -> None:
    """Import what all stages need, then run what is asked for until nothing more is."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print while they are imported
    _import()
    running: dict[int, int] = {}  # pid → the end of the pipe that its output comes from
    for line in sys.stdin:
        request = json.loads(line)
        pid = request.get("resume")
        if pid is None:
            pid, running_output = _start(request["arguments"], request["env"], request["file_limit"])
            running[pid] = running_output
        else:
            os.kill(pid, signal.SIGCONT)
        code, output = _follow(pid, running[pid])
        if code is not None:
            os.close(running.pop(pid))
        answers.write(json.dumps({"code": code, "output": output, "pid": pid}) + "\n")
        answers.flush()
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _import() -> None:
    from jobs.compile_kernels import read_city

    for name in _NEEDED:
        importlib.import_module(name)
    read_city(50)  # kernels are loaded when they are first called; children inherit them
    gc.collect()
    gc.freeze()


def _start(arguments: Sequence[str], env: Mapping[str, str], file_limit: int | None) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 70
    try:
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.environ.update(env)
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        from jobs.cli.main import run

        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # as the command itself does


def _follow(pid: int, reader: int) -> tuple[int | None, str]:
    """The exit code and output of a child; None for the code where it has stopped."""
    kept = b""
    quiet = 0.0
    while True:
        ready, _, _ = select.select([reader], [], [], 0.02)
        data = os.read(reader, 65536) if ready else b""
        kept = (kept + data)[-LONGEST_OUTPUT:]
        quiet = 0.0 if data else quiet + 0.02
        ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if ended:
            break
        if quiet > _PATIENCE:
            os.kill(pid, signal.SIGKILL)
    while select.select([reader], [], [], 0)[0] and (data := os.read(reader, 65536)):
        kept = (kept + data)[-LONGEST_OUTPUT:]
    text = kept.decode("utf-8", "replace")
    return (None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)), text


if __name__ == "__main__":
    main()
