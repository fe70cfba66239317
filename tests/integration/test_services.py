"""``phl up``, ``phl status``, ``phl down`` on the real services."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from connectors.kafka.ranges import describe_topic
from jobs.metrics import serve_metrics
from jobs.services.processes import is_running
from jobs.services.state import Services, read_services
from jobs.settings import load_settings
from lake_layout.lake import Lake
from schemas.errors import ConfigError
from schemas.tables import TABLES
from tests.conftest import KafkaServer, RunPhl, clean_environment, phl_command

Embedded = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    """Runs ``phl`` on a state folder of its own; takes its services down in the end."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            phl_command(*arguments),
            cwd=tmp_path,
            env=clean_environment() | {"PHL_KAFKA_PARTITIONS": "2"} | (env or {}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    yield run
    run("down")


def services(folder: Path) -> Services:
    found = read_services(folder / ".phl")
    assert found is not None
    return found


def report(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.stdout, done.stderr
    return {entry["service"]: entry for entry in json.loads(done.stdout)["services"]}


def test_up_makes_everything_ready_again_is_nothing_new_and_down_keeps_the_data(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = embedded("status", "--json")
    assert before.returncode == 1
    assert "phl up" in report(before)["kafka"]["problem"]

    first = embedded("up", "--json")
    assert first.returncode == 0, first.stderr
    assert all(entry["up"] and entry["kind"] == "embedded" for entry in report(first).values())
    assert embedded("status").returncode == 0

    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    lake = Lake(settings.lake_location())
    ids = {table.name: lake.table_id(table) for table in TABLES}
    topic = describe_topic(settings.kafka_connection(), "raw.hl7v2")
    assert len(topic.partitions) == 2

    started = services(tmp_path)
    assert embedded("up").returncode == 0
    assert services(tmp_path) == started, "a second up starts nothing"

    down = embedded("down", "--json")
    assert sorted(json.loads(down.stdout)["stopped"]) == ["kafka", "store"]
    assert not is_running(started.kafka.process)
    assert not is_running(started.s3.process)
    assert "run" in embedded("down").stdout
    with pytest.raises(ConfigError, match="phl up"):
        settings.kafka_connection()

    assert embedded("up").returncode == 0
    assert services(tmp_path).kafka.bootstrap == started.kafka.bootstrap, "the address stays"
    settings = load_settings()
    assert {table.name: Lake(settings.lake_location()).table_id(table) for table in TABLES} == ids
    assert describe_topic(settings.kafka_connection(), "raw.hl7v2").topic_id == topic.topic_id


def test_a_killed_service_is_seen_and_only_it_is_started_again(embedded: Embedded, tmp_path: Path) -> None:
    assert embedded("up").returncode == 0
    started = services(tmp_path)
    os.kill(started.kafka.process.pid, signal.SIGKILL)
    seen = embedded("status", "--json")
    assert seen.returncode == 1
    assert report(seen)["kafka"]["up"] is False
    assert report(seen)["kafka"]["pid"] is None
    assert report(seen)["store"]["up"] is True

    again = embedded("up", "--json")
    assert again.returncode == 0, again.stderr
    now = services(tmp_path)
    assert now.s3 == started.s3
    assert now.kafka.process != started.kafka.process
    assert now.kafka.cluster_id == started.kafka.cluster_id

    os.kill(now.s3.process.pid, signal.SIGKILL)
    assert report(embedded("status", "--json"))["store"]["up"] is False
    assert embedded("up").returncode == 0


def test_ports_that_are_taken_are_passed_over(embedded: Embedded, tmp_path: Path) -> None:
    holders = []
    for port in (9092, 8333):
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
            holder.listen()
        except OSError:
            holder.close()  # somebody else has it: as good
        else:
            holders.append(holder)
    try:
        up = embedded("up", "--json")
        assert up.returncode == 0, up.stderr
        found = services(tmp_path)
        assert not found.kafka.bootstrap.endswith(":9092")
        assert not found.s3.endpoint.endswith(":8333")
    finally:
        for holder in holders:
            holder.close()


def test_two_at_once_start_one_of_each(embedded: Embedded, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: embedded("up", "--json"), range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    pids = {tuple(entry["pid"] for entry in report(done).values()) for done in both}
    now = services(tmp_path)
    assert pids == {(now.kafka.process.pid, now.s3.process.pid)}


def test_services_listen_on_loopback_only(embedded: Embedded, tmp_path: Path) -> None:
    assert embedded("up").returncode == 0
    found = services(tmp_path)
    import psutil

    for process in (found.kafka.process, found.s3.process):
        listening = [
            c for c in psutil.Process(process.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_a_service_that_does_not_start_says_where_to_look_and_leaves_nothing_running(
    embedded: Embedded, tmp_path: Path
) -> None:
    assert embedded("up").returncode == 0
    assert embedded("down").returncode == 0
    damaged = tmp_path / ".phl" / "kafka" / "data" / "meta.properties"
    damaged.write_text(damaged.read_text().replace("node.id=1", "node.id=7"))
    failed = embedded("up")
    assert failed.returncode == 75
    line = failed.stderr.strip().splitlines()[-1]
    assert "SERVICE-NOT-READY" in line
    assert "kafka.log" in line
    assert read_services(tmp_path / ".phl") is None, "the store was stopped again"


def test_outside_services_are_probed_and_nothing_is_started(
    run_phl: RunPhl, phl_env: dict[str, str], kafka: KafkaServer
) -> None:
    assert run_phl("check").returncode == 0
    up = run_phl("up", "--json")
    assert up.returncode == 0, up.stderr
    assert {entry["kind"] for entry in report(up).values()} == {"outside"}
    assert read_services(Path(phl_env["PHL_STATE_DIR"])) is None
    topic = phl_env["PHL_KAFKA_TOPIC_PREFIX"] + "raw.hl7v2"
    assert len(describe_topic(kafka.connection, topic).partitions) == 4
    assert run_phl("status").returncode == 0

    away = run_phl("status", "--json", env={"PHL_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert away.returncode == 1
    assert report(away)["kafka"]["up"] is False
    assert report(away)["store"]["up"] is True


def test_a_folder_is_a_lake_too(run_phl: RunPhl, tmp_path: Path) -> None:
    folder = {
        "PHL_LAKE_URI": str(tmp_path / "lake"),
        "PHL_S3_ENDPOINT": "",
        "PHL_S3_ACCESS_KEY": "",
        "PHL_S3_SECRET_KEY": "",
    }
    assert report(run_phl("status", "--json", env=folder))["store"]["up"] is False
    up = run_phl("up", env=folder)
    assert up.returncode == 0, up.stderr
    assert (tmp_path / "lake" / "raw").is_dir()
    assert run_phl("status", env=folder).returncode == 0


class _Careless(BaseHTTPRequestHandler):
    """A store that takes every PUT, condition or not."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Content-Encoding", "") or self.headers.get(
            "X-Amz-Decoded-Content-Length"
        ):
            body = body.split(b"\r\n")[1]
        self.objects[self.path.partition("?")[0]] = body
        self._answer(200, b"")

    def do_GET(self) -> None:
        found = self.objects.get(self.path.partition("?")[0])
        self._answer(404 if found is None else 200, found or b"")

    do_HEAD = do_GET  # noqa: N815 - the base class names it so

    def do_DELETE(self) -> None:
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_store_without_conditional_put_is_refused(run_phl: RunPhl) -> None:
    handler = type("Handler", (_Careless,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        up = run_phl("up", env={"PHL_S3_ENDPOINT": f"http://127.0.0.1:{server.server_port}"})
    finally:
        server.shutdown()
        server.server_close()
    assert up.returncode == 1
    assert "LAKE-NO-CONDITIONAL-PUT" in up.stderr


def test_check_names_what_librdkafka_refuses(run_phl: RunPhl, tmp_path: Path) -> None:
    file = tmp_path / "phl.toml"
    file.write_text('[kafka.properties]\n"sasl.mechanisn" = "PLAIN"\n')
    done = run_phl("check", "--config", file, "--json")
    assert done.returncode == 78
    assert "sasl.mechanisn" in json.loads(done.stdout)["problems"][0]["setting"]


def test_check_names_what_is_no_certificate_and_what_is_no_toml(run_phl: RunPhl, tmp_path: Path) -> None:
    file = tmp_path / "phl.toml"
    (tmp_path / "some.pem").write_text("no certificate\n")
    file.write_text("[listen.tls]\ncert = 'some.pem'\nkey = 'some.pem'\n")
    done = run_phl("check", "--config", file)
    assert done.returncode == 78
    assert done.stdout.startswith("listen.tls: ")
    file.write_text("[listen\n")
    done = run_phl("check", "--config", file, "--json")
    assert done.returncode == 78
    assert "TOML" in json.loads(done.stdout)["problems"][0]["message"]


def test_init_writes_once_and_check_likes_it(run_phl: RunPhl, tmp_path: Path) -> None:
    file = tmp_path / "phl.toml"
    assert run_phl("init", file).returncode == 0
    assert run_phl("check", "--config", file).returncode == 0
    again = run_phl("init", file)
    assert again.returncode == 78
    assert "--force" in again.stderr
    assert run_phl("init", file, "--force").returncode == 0
    file.write_text("[listen]\nport = 0\nprt = 1\n")
    wrong = run_phl("check", "--config", file)
    assert wrong.returncode == 78
    assert "listen.port" in wrong.stdout
    assert "listen.prt" in wrong.stdout


def test_metrics_are_served_on_loopback_and_a_taken_port_is_named() -> None:
    registry = CollectorRegistry()
    Counter("phl_made_up", "For this test.", registry=registry).inc(3)
    served = serve_metrics(registry, 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=10) as answer:
            assert b"phl_made_up_total 3.0" in answer.read()
        with pytest.raises(ConfigError, match=f"port={served.port}"):
            serve_metrics(registry, served.port)
    finally:
        served.close()
