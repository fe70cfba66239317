"""What the tests of the lake share: small tables, a stage over them, rows, and a store whose answers get lost."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pyarrow as pa

from lake_layout.claims import Claim
from lake_layout.files import NewFile, write_file
from lake_layout.lake import Lake, LakeLocation
from lake_layout.stage import Plan, Progress, Stage, begin_batch, commit_table
from schemas.table import INSTANT, Field, Table

MARCH = date(2026, 3, 1)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
TOPIC_ID = "qUCfKMB-QT6m9rXCjyCLzw"


def small_table(name: str) -> Table:
    return Table(
        name=name,
        doc="A table of a test.",
        fields=(
            Field("month", pa.date32(), "Month."),
            Field("topic_id", pa.string(), "Topic.", nullable=False),
            Field("partition", pa.int32(), "Partition.", nullable=False),
            Field("offset", pa.int64(), "Offset.", nullable=False),
            Field("received_at", INSTANT, "Received."),
            Field("payload", pa.binary(), "Bytes."),
            Field("codes", pa.list_(pa.string()), "Codes."),
        ),
        partition_by="month",
        sort_by=("topic_id", "partition", "offset"),
        statistics=("topic_id", "partition", "offset", "received_at"),
    )


RAW, FIRST, SECOND, LAST = (
    small_table(name) for name in ("raw/t", "normalised/a", "normalised/b", "ops/last")
)
LAND = Stage("land-t", (RAW,), RAW)
NORMALISE = Stage("normalise-t", (FIRST, SECOND, LAST), LAST)
LAND_ID = f"land:t:{TOPIC_ID}:0"
NORMALISE_ID = "normalise:raw/t"


def rows(first: int, count: int, payload: bytes = b"MSH|") -> pa.Table:
    """Rows with the offsets from ``first`` on."""
    return pa.table(
        {
            "topic_id": pa.array([TOPIC_ID] * count),
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(first, first + count), pa.int64()),
            "received_at": pa.array([NOON] * count, INSTANT),
            "payload": pa.array([payload] * count, pa.binary()),
            "codes": pa.array([["A"]] * count, pa.list_(pa.string())),
        }
    )


def file_of(lake: Lake, table: Table, first: int, count: int) -> NewFile:
    return write_file(lake, table, rows(first, count), MARCH)


def up_to(app_id: str, end: int) -> Callable[[Progress], Plan | None]:
    """A plan that goes from where the stage is to ``end``."""

    def plan(progress: Progress) -> Plan | None:
        begin = progress.version(app_id) or 0
        return Plan({app_id: begin}, {app_id: end}, {}) if begin < end else None

    return plan


def claim_land(lake: Lake, end: int, code: str = "code") -> Claim:
    claim = begin_batch(lake, LAND, up_to(LAND_ID, end), code)
    assert claim is not None
    return claim


def claim_normalise(lake: Lake, end: int, code: str = "code") -> Claim:
    claim = begin_batch(lake, NORMALISE, up_to(NORMALISE_ID, end), code)
    assert claim is not None
    return claim


def land(lake: Lake, end: int) -> Claim:
    """A whole batch of the land stage, up to an offset."""
    claim = claim_land(lake, end)
    begin = claim.begin[LAND_ID]
    commit_table(lake, claim, RAW, [file_of(lake, RAW, begin, claim.end[LAND_ID] - begin)])
    return claim


def offsets(lake: Lake, table: Table, version: int | None = None) -> list[int]:
    """All offsets in a table, sorted; a row that is there twice shows twice."""
    return sorted(lake.dataset(table, version).to_table(columns=["offset"]).column(0).to_pylist())


@dataclass
class FaultyStore:
    """A way to the S3 store on which requests and answers can get lost.

    Attributes:
        location: the lake by this way.
        fault: given method and path of a request, what befalls it: ``""`` nothing; ``lost`` the store acts and the
            answer never comes; a status such as ``412`` the store acts and this is the answer; ``away 503`` this is
            the answer and the store knows nothing of it.
        seen: requests that something befell.
    """

    location: LakeLocation
    fault: Callable[[str, str], str] = lambda _method, _path: ""
    seen: list[tuple[str, str]] = field(default_factory=list)

    def once(self, method: str, ending: str, what: str) -> None:
        """Let something befall the next request of this kind."""
        self.always(method, ending, what, times=1)

    def always(self, method: str, ending: str, what: str, times: int = 10**9) -> None:
        """Let something befall the next requests of this kind."""
        lock = threading.Lock()
        left = [times]

        def fault(asked: str, path: str) -> str:
            with lock:
                if asked != method or not path.endswith(ending) or not left[0]:
                    return ""
                left[0] -= 1
                self.seen.append((asked, path))
                return what

        self.fault = fault


@contextmanager
def faulty_store(location: LakeLocation) -> Iterator[FaultyStore]:
    """Stand between a client and the S3 store."""
    assert location.endpoint is not None
    behind = urlsplit(location.endpoint).netloc
    faulty = FaultyStore(location)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = faulty.fault(self.command, urlsplit(self.path).path)
            if what.startswith("away "):
                self._answer(int(what.removeprefix("away ")), [], b"")
                return
            connection = http.client.HTTPConnection(behind, timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the Host too: it is part of what is signed
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            if what == "lost":
                self.close_connection = True
            elif what:
                self._answer(int(what), [], b"")
            else:
                self._answer(answer.status, answer.getheaders(), content)
            connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = {name.lower(): value for name, value in headers}.get("content-length")
            self.send_header(
                "Content-Length", length if self.command == "HEAD" and length else str(len(content))
            )
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    faulty.location = replace(location, endpoint=f"http://127.0.0.1:{server.server_address[1]}")
    try:
        yield faulty
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
