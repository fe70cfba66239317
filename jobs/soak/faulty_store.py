"""A way to an S3 store on which requests and answers get lost, come late, come twice, or say what is not so."""

from __future__ import annotations

import http.client
import itertools
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Final
from urllib.parse import urlsplit

from lake_layout.location import LakeLocation


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to the store: its method and path, and whether it is a PUT of what must not be there yet."""

    method: str
    path: str
    conditional: bool


Fault = Callable[[Asked], str]
"""Given a request, what befalls it: ``""`` nothing; ``lost`` the store acts and the answer never comes; ``cut`` half of
the answer comes; ``twice`` the store acts twice and the second answer comes; ``late 0.5`` the answer comes half a
second later; ``silent 65`` the store never hears of it and the sender waits so many seconds for nothing; a status such
as ``412`` the store acts and this is the answer; ``away 503`` this is the answer and the store knows nothing of it."""

_OF_ALL: Final = ("away 503", "away 500", "late 0.3", "lost")
_OF_METHOD: Final = {"GET": (*_OF_ALL, "cut"), "PUT": (*_OF_ALL, "500", "503", "away 507", "twice")}
_WRITES_FAIL: Final = 8
_CONDITIONAL: Final = ("412", "412", "409", "twice", "lost", "500")


def nothing(_: Asked) -> str:
    """The store is as it should be."""
    return ""


def seeded(seed: int, share: float, *, silent: float = 0.0) -> Fault:
    """Faults of all kinds: which request of a run they befall, and which kind, depends on the seed.

    Args:
        seed: of the choice.
        share: of the requests; of those that write ``_WRITES_FAIL`` times as many, since there are fewer of them.
        silent: seconds that a sender may have to wait for nothing, once in a hundred faults; 0 for never.
    """
    numbers = itertools.count()

    def fault(asked: Asked) -> str:
        rng = Random(f"store {seed} {next(numbers)}")  # noqa: S311 - repeatable on purpose
        if rng.random() >= share * (_WRITES_FAIL if asked.method == "PUT" else 1):
            return ""
        if silent and rng.random() < 0.01:
            return f"silent {silent}"
        return rng.choice(_CONDITIONAL if asked.conditional else _OF_METHOD.get(asked.method, _OF_ALL))

    return fault


@dataclass
class FaultyStore:
    """The way to the store.

    Attributes:
        location: the lake by this way.
        fault: what befalls a request.
        seen: requests that something befell.
        counts: how many, by what it was.
    """

    location: LakeLocation
    fault: Fault = nothing
    seen: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, method: str, ending: str, what: str) -> None:
        """Let something befall the next request of this kind."""
        self.always(method, ending, what, times=1)

    def always(self, method: str, ending: str, what: str, times: int = 10**9) -> None:
        """Let something befall the next requests of this kind."""
        left = [times]

        def fault(asked: Asked) -> str:
            if asked.method != method or not asked.path.endswith(ending) or not left[0]:
                return ""
            left[0] -= 1
            return what

        self.fault = fault

    def befalls(self, asked: Asked) -> str:
        """What befalls a request; counted."""
        with self._lock:
            what = self.fault(asked)
            if what:
                self.seen.append((asked.method, asked.path))
                self.counts[what] += 1
        return what


@contextmanager
def faulty_store(location: LakeLocation) -> Iterator[FaultyStore]:
    """Stand between clients and the S3 store, on a loopback port; nothing befalls requests until it is told what."""
    assert location.endpoint is not None
    faulty = FaultyStore(location)
    handler = type("Handler", (_Handler,), {"faulty": faulty, "behind": urlsplit(location.endpoint).netloc})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    faulty.location = replace(location, endpoint=f"http://127.0.0.1:{server.server_address[1]}")
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    content: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed while they asked."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """Passes a request on to the store that lies behind, or does not."""

    protocol_version = "HTTP/1.1"
    faulty: FaultyStore
    behind: str

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        conditional = "If-None-Match" in self.headers
        kind, _, more = self.faulty.befalls(
            Asked(self.command, urlsplit(self.path).path, conditional)
        ).partition(" ")
        if kind == "silent":
            time.sleep(float(more))
            self.close_connection = True
            return
        if kind == "away":
            self._answer(_Answer(int(more), [], b""))
            return
        try:
            answer = self._ask(body)
            if kind == "twice":
                answer = self._ask(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # as the store itself, which is away
            return
        if kind == "late":
            time.sleep(float(more))
        if kind == "lost":
            self.close_connection = True
        elif kind.isdigit():
            self._answer(_Answer(int(kind), [], b""))
        else:
            self._answer(answer, cut=kind == "cut")

    def _ask(self, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(self.behind, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the Host too: it is part of what is signed
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _answer(self, answer: _Answer, *, cut: bool = False) -> None:
        with suppress(OSError):  # whoever asked may be dead by now
            self._say(answer, cut=cut)

    def _say(self, answer: _Answer, *, cut: bool) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in answer.headers}.get("content-length")
        told = length if self.command == "HEAD" and length else str(len(answer.content))
        self.send_header("Content-Length", told)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content[: len(answer.content) // 2] if cut else answer.content)
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        return
