"""What is known of the embedded services: one small file in the state folder, changed under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs.services.processes import ProcessId
from schemas.errors import ConfigError, TransportError

FILE = "services.json"
LOCK = "services.lock"


@dataclass(frozen=True)
class KafkaRecord:
    """An embedded broker; the empty record stands for none.

    Attributes:
        bootstrap: address for clients.
        controller_port: of its own quorum.
        cluster_id: tells it from another broker that took its port.
        process: of the Java runtime.
        log: its log file.
    """

    bootstrap: str = ""
    controller_port: int = 0
    cluster_id: str = ""
    process: ProcessId = field(default_factory=ProcessId)
    log: str = ""


@dataclass(frozen=True)
class S3Record:
    """An embedded S3 store; the empty record stands for none.

    Attributes:
        endpoint: address for clients.
        access_key: of its only user.
        secret_key: of its only user.
        region: S3 region.
        bucket: the lake's.
        process: of the store.
        log: its log file.
    """

    endpoint: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    region: str = "us-east-1"
    bucket: str = "lake"
    process: ProcessId = field(default_factory=ProcessId)
    log: str = ""

    @property
    def uri(self) -> str:
        """The lake in it."""
        return f"s3://{self.bucket}/"


@dataclass(frozen=True)
class Services:
    """The embedded services of a state folder."""

    kafka: KafkaRecord = field(default_factory=KafkaRecord)
    s3: S3Record = field(default_factory=S3Record)


def read_services(state_dir: Path) -> Services | None:
    """The services that ``phl up`` started; None where it has not run or ``phl down`` has.

    Raises:
        ConfigError: ``SERVICES-STATE`` where the file can't be understood.
    """
    path = state_dir / FILE
    try:
        tree = json.loads(path.read_text("utf-8"))
        kafka, s3 = dict(tree["kafka"]), dict(tree["s3"])
        kafka["process"], s3["process"] = ProcessId(**kafka["process"]), ProcessId(**s3["process"])
        return Services(KafkaRecord(**kafka), S3Record(**s3))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise ConfigError(
            "SERVICES-STATE",
            "the file of the embedded services cannot be read; if nothing of it runs any more, remove it",
            file=str(path),
        ) from None


def write_services(state_dir: Path, services: Services) -> None:
    """Replace the file as a whole; it holds the store's keys, so only its owner may read it."""
    if services == Services():
        (state_dir / FILE).unlink(missing_ok=True)
        return
    handle, name = tempfile.mkstemp(dir=state_dir, prefix=f"{FILE}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(services), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(state_dir / FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(folder: Path, name: str = LOCK, patience: float = 180.0) -> Iterator[None]:
    """Hold a folder's lock, so that two commands do not start or stop the same services at once.

    Args:
        folder: made where it is absent.
        name: of the lock's file.
        patience: seconds to wait for another holder.

    Raises:
        TransportError: ``SERVICES-BUSY`` where another command holds it for longer.
        ConfigError: ``SERVICES-STATE-DIR`` where the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        raise ConfigError(
            "SERVICES-STATE-DIR",
            "the state folder cannot be written to",
            setting="state_dir",
            folder=str(folder),
        ) from None
    try:
        _wait_for_lock(handle, folder, patience)
        yield
    finally:
        os.close(handle)  # gives the lock back too


def _wait_for_lock(handle: int, folder: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TransportError(
                    "SERVICES-BUSY",
                    "another phl up or phl down is still at work in this folder",
                    folder=str(folder),
                ) from None
            time.sleep(0.1)
        else:
            return
