"""Processes that read parts of a batch side by side, where a batch is large and there are processors for it.

Parsing and writing keep a processor busy for the whole of a large batch, and Python's lock lets no second thread of a
process in often enough. A helper gets a part and gives back small descriptors; it loads no graph, writes files and
commits nothing, so that one that dies or goes on after its parent leaves nothing but files that no commit names.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from pipelines.batch_memory import keep_memory
from pipelines.parts import coded_error
from schemas.errors import IngestError, LakeError

P = ParamSpec("P")
T = TypeVar("T")


class Helper:
    """A process that does what it is asked to, one thing after the other; it ends when its parent is gone."""

    def __init__(self) -> None:
        # started anew, not forked: threads of Arrow, Kafka and the runner are alive in this process
        context = multiprocessing.get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()  # or the end of the process would not be seen here

    def call(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        """What the function gives there.

        Raises:
            IngestError: what it raised; ``STAGE-HELPER``: the process was ended, mostly for want of memory.
        """
        try:
            self._line.send((function, arguments))
            outcome = self._line.recv()
        except (EOFError, OSError):
            raise LakeError(
                "STAGE-HELPER",
                "a process that read messages was ended from outside; where memory is scarce lower ingest.processes",
            ) from None
        if isinstance(outcome, IngestError):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    def end(self) -> None:
        """Let it go once it has nothing to do."""
        self._line.close()
        self._process.join()


def _serve(line: Connection) -> None:
    """In a helper: do what comes down the line until it is closed, be it by the parent's death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the parent, with which it ends
    keep_memory()
    while True:
        try:
            function, arguments = line.recv()
        except EOFError:
            return
        try:
            outcome = function(*arguments)
        except Exception as error:  # noqa: BLE001 - the border to the parent: nothing uncoded may pass
            outcome = coded_error(error)
        try:
            line.send(outcome)
        except BrokenPipeError:
            return


class Helpers:
    """The helpers of a process: started when they are first needed; they stay until they are let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._idle: SimpleQueue[Helper] = SimpleQueue()

    def submit(
        self, processes: int, function: Callable[P, T], *args: P.args, **_kwargs: P.kwargs
    ) -> Future[T]:
        """Let one of so many processes call a function."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(processes)
                for _ in range(processes):
                    self._idle.put(Helper())
            return self._threads.submit(self._call, function, args)

    def _call(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        helper = self._idle.get()
        try:
            return helper.call(function, arguments)
        finally:
            self._idle.put(helper)

    def let_go(self) -> None:
        """End them, where there are any: the next large batch may be long in coming, and each holds memory."""
        with self._lock:
            threads, self._threads = self._threads, None
            if threads is not None:
                threads.shutdown()
                while not self._idle.empty():
                    self._idle.get().end()


@functools.cache
def helpers() -> Helpers:
    """Those of this process."""
    return Helpers()
