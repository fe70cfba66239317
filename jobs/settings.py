"""The settings: ``PHL_*`` variables of the environment over ``phl.toml`` over defaults.

A variable is named after the setting's place in the file: ``PHL_KAFKA_BOOTSTRAP`` is ``bootstrap`` in ``[kafka]``,
``PHL_LISTEN_TLS__CERT`` is ``cert`` in ``[listen.tls]``, ``PHL_KAFKA_PROPERTIES__SASL_PASSWORD`` is ``sasl.password``
in ``[kafka.properties]``. A name that is not known and a value that is not right are errors that name the setting,
never its value.
"""

from __future__ import annotations

import codecs
import ipaddress
import json
import os
import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobs.durations import seconds
from schemas.errors import ConfigError
from schemas.hl7v2.charsets import TRAIL_BYTES_LOOK_LIKE_DELIMITERS
from schemas.lab.profiles import PROFILES, Places, problem_of_bend
from schemas.source import MEBIBYTE, Source, Sources

if TYPE_CHECKING:
    from connectors.kafka.connection import KafkaConnection
    from jobs.services.state import Services
    from lake_layout.location import LakeLocation
    from schemas.lab.result_file import ResultFile

DEFAULT_FILE = Path("phl.toml")
DEFAULT_STATE_DIR = Path(".phl")
PREFIX = "PHL_"
NOT_SETTINGS = frozenset({"PHL_CONFIG", "PHL_FAIL_POINT", "PHL_LOG_LEVEL", "PHL_PARENT"})
"""Variables that are read by themselves: the settings' file, how much is logged, and whose help a process is."""

_PARTS_OF_GB18030 = frozenset({"gbk", "gb2312"})
_MOST_PROCESSES = 4
_TOML_PLACE = re.compile(r"at line \d+, column \d+|at end of document")


def _codec(name: str) -> str:
    try:
        codec = codecs.lookup(name)
        "".encode(name)  # refused by codecs that are not of text, such as base64
    except LookupError:
        raise ValueError("not a character set that Python knows, such as utf-8 or gb18030") from None
    if codec.name in _PARTS_OF_GB18030:
        return "gb18030"
    if codec.name.startswith(("utf-16", "utf-32", "utf-7")):
        raise ValueError("not a character set that HL7 v2 can be sent in")
    if codec.name not in TRAIL_BYTES_LOOK_LIKE_DELIMITERS and _hides_delimiters(codec.name):
        raise ValueError(
            "a character set in which | can be half a character: of these gb18030, big5 and shift_jis can be read"
        )
    return codec.name


def _hides_delimiters(codec: str) -> bool:
    """Whether a delimiter of HL7 can be the second byte of a character."""
    for lead in range(0x80, 0x100):
        for delimiter in b"|^~\\":
            try:
                if len(bytes((lead, delimiter)).decode(codec)) == 1:
                    return True
            except UnicodeError:
                continue
    return False


def _profile(name: str) -> str:
    """Refuse an instrument's profile that there is not."""
    if name not in PROFILES:
        raise ValueError(f"there is no such profile; there are {', '.join(filter(None, PROFILES))}")
    return name


def _bends(said: dict[str, Places]) -> dict[str, Places]:
    """Refuse what is no part of an instrument's profile, or no place."""
    for name, places in said.items():
        if problem := problem_of_bend(name, places):
            raise ValueError(f"{name}: {problem}")
    return said


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone of the IANA data base, such as Asia/Shanghai") from None
    return name


def _peer(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not an IP address or network, such as 10.1.2.3 or 10.1.0.0/16") from None
    return text


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return seconds(value, "it")
    except ConfigError:
        raise ValueError("not a duration, such as 30, 5s or 2m") from None


def _text(value: object) -> object:
    """Kafka's library takes everything as text; people write numbers and true or false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _brokers(text: str) -> str:
    for broker in text.split(","):
        host, colon, port = broker.strip().rpartition(":")
        if not colon or "]" in port:  # a name without a port, or an IPv6 address in brackets
            host, port = broker.strip(), "9092"
        if not host or re.search(r"\s", host) or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("give HOST:PORT of each broker, with commas between them")
    return text


def _endpoint(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/?", text):
        raise ValueError("give http://HOST:PORT or https://HOST:PORT, without a path")
    return text


Protocol = Literal["mllp", "astm", "dicom", "files"]
"""How a source's messages come in."""

SIZE_LIMITS: Final[Mapping[Protocol, int]] = {
    "mllp": 1024 * MEBIBYTE, "astm": 1024 * MEBIBYTE, "files": 1024 * MEBIBYTE, "dicom": 64 * 1024 * MEBIBYTE,
}  # fmt: skip
"""The greatest ``size_limit`` of a source: what comes by DICOM is never held whole."""

DICOM_SIZE_LIMIT: Final = 4 * 1024 * MEBIBYTE

OWN_PORT: Final[frozenset[Protocol]] = frozenset({"astm", "dicom"})
"""Protocols whose messages do not say whose they are: a source of these has a port of its own."""

IDLE_SECONDS: Final[Mapping[Protocol, float]] = MappingProxyType(
    {"mllp": 300.0, "astm": 86_400.0, "dicom": 300.0, "files": 300.0}
)
"""Silence after which a connection is closed, unless the source says so: instruments keep theirs open overnight."""

Port = Annotated[int, Field(ge=1, le=65535)]
_AE_TITLE: Final = r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?"
"""PS3.5 table 6.2-1: up to 16 characters without backslash; blanks around it do not count."""

AeTitle = Annotated[str, Field(pattern=f"^{_AE_TITLE}$")]

Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Property = Annotated[SecretStr, BeforeValidator(_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class KafkaSettings(_Section):
    """``[kafka]``; without ``bootstrap`` the embedded broker is used."""

    bootstrap: Annotated[str, AfterValidator(_brokers)] | None = None
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    partitions: int = Field(default=4, ge=1, le=10_000)
    replication_factor: int = Field(default=-1, ge=-1, le=32_767)
    properties: dict[str, Property] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_address(self) -> KafkaSettings:
        if "bootstrap.servers" in self.properties:
            raise ValueError("name the brokers in bootstrap, not in properties")
        if self.properties and self.bootstrap is None:
            raise ValueError("properties are for an outside broker: name it in bootstrap")
        return self


class LakeSettings(_Section):
    """``[lake]``; without ``uri`` the embedded S3 store is used."""

    uri: str | None = Field(default=None, min_length=1)


class S3Settings(_Section):
    """``[s3]``: how to reach the store of an ``s3://`` lake; what is not given is found as AWS' tools find it."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    region: str = Field(default="us-east-1", min_length=1)

    @model_validator(mode="after")
    def _both_keys(self) -> S3Settings:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together")
        return self


class IngestSettings(_Section):
    """``[ingest]``: the stages.

    Attributes:
        batch_messages: most messages of a batch; more need more memory, fewer cost more commits.
        processes: how many read the messages of a large batch side by side, each with memory of its own; else one
            for each processor but one that this process may use, at most four.
        metrics_port: Prometheus metrics of ``phl ingest --every``, on loopback; none without it.
        runner_options: Beam's options, one an entry; empty for the in-process runner.
    """

    batch_messages: int = Field(default=400_000, ge=1)
    processes: int | None = Field(default=None, ge=1, le=64)
    metrics_port: Port | None = None
    runner_options: tuple[str, ...] = ()


class CurateSettings(_Section):
    """``[curate]``: the stage that folds normalised rows into the curated tables.

    Attributes:
        every: from the start of one batch to the next with ``phl ingest --every``: each rewrites files that hold
            what has changed, so it pays to wait.
        rows: most new rows of a table in a batch.
    """

    every: Duration = 60.0
    rows: int = Field(default=2_000_000, ge=1)


class TlsSettings(_Section):
    """``[listen.tls]``: PEM files; with ``client_ca`` every sender must show a certificate that it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    @model_validator(mode="after")
    def _readable(self) -> TlsSettings:
        for name, path in (("cert", self.cert), ("key", self.key), ("client_ca", self.client_ca)):
            if path is not None and not os.access(path, os.R_OK):
                raise ValueError(f"{name} is not a file that can be read")
        return self


class ListenSettings(_Section):
    """``[listen]``: the MLLP listener.

    Attributes:
        host: address to listen on; loopback unless told otherwise.
        port: of senders whose source has no port of its own.
        source: name of the source of messages that no entry of ``[[sources]]`` matches.
        tls: none for plain connections.
        metrics_port: Prometheus metrics, on loopback; none without it.
        when_away: while Kafka is away, answer AE after ``delivery_seconds`` or let the senders wait.
        delivery_seconds: how long Kafka may take to confirm a message.
        object_threshold: bytes; larger messages go to the lake's objects, the record carries their reference.
        memory_limit: bytes of messages held at a time, of all connections together.
        max_connections: held open at a time.
        max_associations: of DICOM, of all sources together.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 2575
    source: str = Field(default="mllp", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    tls: TlsSettings | None = None
    metrics_port: Port | None = None
    when_away: Literal["answer", "wait"] = "answer"
    delivery_seconds: Duration = 10.0
    object_threshold: ByteSize = Field(default=ByteSize(900_000), ge=1, le=1_000_000)
    memory_limit: ByteSize = Field(default=ByteSize(256 * MEBIBYTE), ge=MEBIBYTE)
    max_connections: int = Field(default=2_000, ge=1)
    max_associations: int = Field(default=64, ge=1, le=1_000)


class SourceSettings(_Section):
    """``[[sources]]``: a sender and how its connection is told from others (port, peer or MSH-4).

    Attributes:
        protocol: how its messages come in.
        port: the listener opens this port for the source alone, or for several that differ in what follows.
        peer: address or network that it connects from.
        facility: MSH-4.1 of its messages (MLLP).
        ae_title: the AE title that it must call us by (DICOM); empty for any.
        calling_ae_titles: the AE titles that it may call itself (DICOM); none for any.
        max_associations: that it may have open at a time (DICOM).
        tls: at its port, instead of ``listen.tls``.
        profile: what its records have elsewhere than ``instrument_profile`` says (``schemas.lab.profiles``).
        path: folder, or ``s3://bucket/prefix``, that its files are dropped in (files).
        glob: names of them, such as ``*.csv``.
        mapping: file that says how they are read (``jobs.result_file_mapping``).
        done_marker: what follows a file's name in that of the marker that says that it is whole; empty: it is once it
            has not changed for ``settle``.
        settle: see there.
        move_to: folder that files are moved to once they are taken; none leaves them.
        others: see ``schemas.source.Source``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")
    protocol: Protocol = "mllp"
    institution: str = ""
    charset: Annotated[str, AfterValidator(_codec)] = "utf-8"
    time_zone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    processing_ids: tuple[str, ...] = ("P", "")
    size_limit: ByteSize = Field(default=ByteSize(32 * MEBIBYTE), ge=1)
    idle_timeout: Duration | None = None
    patient_authorities: tuple[str, ...] = ()
    order_id_scope: Literal["ever", "year", "month", "day"] = "ever"
    visit_number_scope: Literal["ever", "day", "patient"] = "ever"
    orders_at_word: bool = False
    patient_id_role: Literal["patient", "examination"] = "patient"
    instrument_profile: Annotated[str, AfterValidator(_profile)] = ""
    profile: Annotated[dict[str, Places], AfterValidator(_bends)] = Field(default_factory=dict)
    owned_authorities: tuple[str, ...] = ()
    port: Port | None = None
    peer: Annotated[str, AfterValidator(_peer)] | None = None
    facility: str | None = Field(default=None, min_length=1)
    ae_title: Annotated[str, Field(pattern=f"^({_AE_TITLE})?$")] = ""
    calling_ae_titles: tuple[AeTitle, ...] = ()
    max_associations: int = Field(default=16, ge=1, le=1_000)
    tls: TlsSettings | None = None
    path: str | None = Field(default=None, min_length=1)
    glob: str = Field(default="*", min_length=1)
    mapping: Path | None = None
    done_marker: str = Field(default="", pattern=r"^[^/]*$")
    settle: Duration = 2.0
    move_to: Path | None = None

    @model_validator(mode="after")
    def _reached(self) -> SourceSettings:
        if self.protocol in OWN_PORT and self.port is None:
            raise ValueError(
                f"a source with protocol {self.protocol} has a port of its own: give it one in port"
            )
        if self.protocol == "files" and (self.port or self.peer):
            raise ValueError(
                "nobody connects to send files: leave port and peer out, or give another protocol"
            )
        if self.protocol != "mllp" and self.facility:
            raise ValueError("facility is MSH-4 of HL7 messages: leave it out, or set protocol to mllp")
        if self.protocol != "astm" and (self.instrument_profile or self.profile):
            raise ValueError(
                "instrument_profile and profile are for instruments: leave them out, or set protocol to astm"
            )
        if self.protocol != "dicom" and (self.ae_title or self.calling_ae_titles):
            raise ValueError("AE titles are DICOM's: leave them out, or set protocol to dicom")
        if self.size_limit > SIZE_LIMITS[self.protocol]:
            raise ValueError(f"size_limit may be {SIZE_LIMITS[self.protocol]} bytes at most")
        if self.tls is not None and self.port is None:
            raise ValueError("tls is for a port of its own: give it one in port")
        return self

    @model_validator(mode="after")
    def _dropped(self) -> SourceSettings:
        if self.protocol == "files" and (self.path is None or self.mapping is None):
            raise ValueError("a source that drops files needs path, where, and mapping, how they are read")
        if self.protocol != "files" and (self.path or self.mapping or self.move_to or self.done_marker):
            raise ValueError(
                "path, mapping, move_to and done_marker are for files: leave them out, or set protocol to files"
            )
        if self.move_to is not None and (self.path or "").startswith("s3://"):
            raise ValueError("objects are not moved: leave move_to out")
        return self

    def _size_limit(self) -> int:
        if self.protocol == "dicom" and "size_limit" not in self.model_fields_set:
            return DICOM_SIZE_LIMIT
        return int(self.size_limit)

    def source(self) -> Source:
        """The part that the stages need too."""
        return Source(
            name=self.name,
            institution=self.institution,
            charset=self.charset,
            time_zone=self.time_zone,
            processing_ids=self.processing_ids,
            size_limit=self._size_limit(),
            idle_timeout=self.idle_timeout or IDLE_SECONDS[self.protocol],
            patient_authorities=self.patient_authorities,
            order_id_scope=self.order_id_scope,
            visit_number_scope=self.visit_number_scope,
            orders_at_word=self.orders_at_word,
            patient_id_role=self.patient_id_role,
            instrument_profile=self.instrument_profile,
            profile_places=tuple(sorted(self.profile.items())),
            owned_authorities=self.owned_authorities,
            result_file=self._result_file(),
        )

    def _result_file(self) -> ResultFile | None:
        """The mapping of its files.

        Raises:
            ConfigError: ``CONFIG-MAPPING``.
        """
        if self.mapping is None:
            return None
        from jobs.result_file_mapping import load_mapping

        return load_mapping(self.mapping, f"sources.{self.name}.mapping")


class _Environment(PydanticBaseSettingsSource):
    """``PHL_*`` variables as a tree of settings."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False  # the tree is read as a whole by __call__

    def __call__(self) -> dict[str, Any]:
        return environment_tree(os.environ)


class Settings(BaseSettings):
    """All settings; make them with ``load_settings``."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True
    )

    state_dir: Path = DEFAULT_STATE_DIR
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    curate: CurateSettings = Field(default_factory=CurateSettings)
    listen: ListenSettings = Field(default_factory=ListenSettings)
    source_settings: tuple[SourceSettings, ...] = Field(default=(), validation_alias="sources")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class passes it by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then what the file said."""
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _together(self) -> Settings:
        names = [source.name for source in self.source_settings]
        if len(set(names)) < len(names):
            raise ValueError("sources: each name may be given once")
        told_apart: dict[tuple[object, ...], str] = {}
        for source in self.source_settings:
            marks: tuple[object, ...] = (source.port, source.peer, source.facility)
            if source.protocol == "dicom":
                marks = (*marks, source.ae_title, source.calling_ae_titles)
            if source.protocol == "files":
                marks = (source.path, source.glob)
            if any(mark is not None for mark in marks) and marks in told_apart:
                raise ValueError(
                    f"sources: {told_apart[marks]} and {source.name} are told apart by nothing: give one another"
                    " port, peer or facility"
                )
            told_apart[marks] = source.name
        protocols: dict[int | None, Protocol] = {self.listen.port: "mllp"}
        for source in self.source_settings:
            if source.port and protocols.setdefault(source.port, source.protocol) != source.protocol:
                raise ValueError(
                    f"sources: at port {source.port} senders speak {protocols[source.port]}:"
                    f" give {source.name} another port"
                )
        encrypted: dict[int, TlsSettings | None] = {}
        for source in self.source_settings:
            if source.port and encrypted.setdefault(source.port, source.tls) != source.tls:
                raise ValueError(f"sources: those of port {source.port} must have the same tls")
        ports = {self.listen.port, *(source.port for source in self.source_settings)}
        if self.listen.metrics_port in ports - {None}:
            raise ValueError("listen.metrics_port: messages come in by that port; give another")
        if self.lake.uri is None and (self.s3.endpoint or self.s3.access_key):
            raise ValueError(
                "s3: it is for an outside store: name the lake in lake.uri too, such as s3://lake/"
            )
        return self

    @property
    def topic_partitions(self) -> int:
        """Partitions of a raw topic that is created."""
        return self.kafka.partitions

    @property
    def ingest_processes(self) -> int:
        """How many processes read the messages of a large batch."""
        if self.ingest.processes or self.ingest.runner_options:  # a cluster has workers of its own
            return self.ingest.processes or 1
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(_MOST_PROCESSES, usable - 1))  # landing and the services take one

    def sources(self) -> Sources:
        """What is known of the senders; one that is not configured gets the defaults."""
        return Sources.of(*(source.source() for source in self.source_settings))

    @property
    def index_dir(self) -> Path:
        """Where the local indexes lie."""
        return self.state_dir / "index"

    def lake_location(self) -> LakeLocation:
        """Where the lake is: as configured, else in the embedded store.

        Raises:
            ConfigError: ``SERVICES-NOT-UP`` where nothing is configured and ``phl up`` has not run; ``LAKE-URI``.
        """
        from lake_layout.location import LakeLocation

        if self.lake.uri is None:
            store = self._services("lake.uri").s3
            return LakeLocation(store.uri, store.endpoint, store.access_key, store.secret_key, store.region)
        return LakeLocation(
            self.lake.uri,
            self.s3.endpoint,
            _revealed(self.s3.access_key),
            _revealed(self.s3.secret_key),
            self.s3.region,
        )

    def kafka_connection(self) -> KafkaConnection:
        """How to reach Kafka: as configured, else the embedded broker.

        Raises:
            ConfigError: ``SERVICES-NOT-UP`` where nothing is configured and ``phl up`` has not run.
        """
        from connectors.kafka.connection import KafkaConnection

        if self.kafka.bootstrap is None:
            return KafkaConnection({"bootstrap.servers": self._services("kafka.bootstrap").kafka.bootstrap})
        properties = {name: value.get_secret_value() for name, value in self.kafka.properties.items()}
        return KafkaConnection({"bootstrap.servers": self.kafka.bootstrap, **properties})

    def _services(self, setting: str) -> Services:
        """Addresses of the embedded services; what is not embedded has an empty one."""
        from jobs.services.state import read_services

        services = read_services(self.state_dir)
        absent = services is None or (
            not services.kafka.bootstrap if setting == "kafka.bootstrap" else not services.s3.endpoint
        )
        if services is None or absent:
            raise ConfigError(
                "SERVICES-NOT-UP",
                f"no embedded services are known here: run phl up, or name outside ones in {setting}",
                setting=setting,
                state_dir=str(self.state_dir),
            )
        return services


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


@dataclass(frozen=True)
class Problem:
    """What is wrong with one setting; never its value."""

    setting: str
    message: str


def settings_file(config: Path | None) -> Path | None:
    """The file of the settings: as given, else ``PHL_CONFIG``, else ``phl.toml`` where there is one.

    Raises:
        ConfigError: ``CONFIG-FILE`` where a file that was asked for is not there.
    """
    asked = config or (Path(os.environ["PHL_CONFIG"]) if os.environ.get("PHL_CONFIG") else None)
    if asked is None:
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    if not asked.is_file():
        raise ConfigError("CONFIG-FILE", "there is no such file of settings", file=str(asked))
    return asked


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        config: the file; None for ``PHL_CONFIG``, else ``phl.toml`` where there is one.

    Raises:
        ConfigError: ``CONFIG-FILE``; ``CONFIG-SETTING``, naming the first setting that is wrong.
    """
    settings, problems = read_settings(config)
    if settings is None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more: run phl check)" if len(problems) > 1 else ""
        raise ConfigError("CONFIG-SETTING", first.message + more, setting=first.setting)
    return settings


def read_settings(config: Path | None = None) -> tuple[Settings | None, list[Problem]]:
    """The settings, or all that is wrong with them.

    Raises:
        ConfigError: ``CONFIG-FILE`` where the file is not there or not TOML.
    """
    path = settings_file(config)
    tree = _file_tree(path) if path else {}
    try:
        return Settings(**tree), []
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False, include_url=False)
    names = {variable_path(name): name for name in os.environ if _is_setting(name)}
    problems = []
    for one in found:
        place = tuple(str(part) for part in one["loc"])
        setting = _dotted(place)
        variable = names.get(place)
        shown = f"{setting} ({variable})" if variable else setting
        problems.append(Problem(shown or "settings", _sentence(one["type"], one["msg"])))
    return None, problems


def _sentence(kind: str, text: str) -> str:
    """The words of pydantic, and ours where they speak of Python."""
    ours = {
        "extra_forbidden": "there is no such setting",
        "missing": "this setting must be given",
        "string_type": "must be text",
        "string_too_short": "must not be empty",
        "tuple_type": 'must be a list, such as ["one", "two"]',
        "string_pattern_mismatch": "has characters that are not allowed here, or is empty or too long",
    }
    return ours.get(kind, text.removeprefix("Value error, "))


def _dotted(place: tuple[str, ...]) -> str:
    """``sources[1].port`` of ("sources", "1", "port")."""
    text = ""
    for part in place:
        text += f"[{part}]" if part.isdecimal() else f".{part}" if text else part
    return text


def _file_tree(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        raise ConfigError(
            "CONFIG-FILE",
            f"the settings are not TOML ({place.group() if place else 'somewhere'})",
            file=str(path),
        ) from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            "CONFIG-FILE", "the file of settings cannot be read as UTF-8 text", file=str(path)
        ) from None
    _resolve(tree, path.parent)
    return tree


def _resolve(tree: dict[str, Any], folder: Path) -> None:
    """Paths in a file are relative to it, the default one too, so that it means the same from everywhere."""
    state_dir = tree.setdefault("state_dir", str(DEFAULT_STATE_DIR))
    if isinstance(state_dir, str):
        tree["state_dir"] = str(folder / Path(state_dir).expanduser())
    lake = tree.get("lake")
    uri = lake.get("uri") if isinstance(lake, dict) else None
    if isinstance(lake, dict) and isinstance(uri, str) and uri and "://" not in uri:
        lake["uri"] = str(folder / Path(uri).expanduser())
    sources = tree.get("sources")
    for section in (tree.get("listen"), *(sources if isinstance(sources, list) else ())):
        tls = section.get("tls") if isinstance(section, dict) else None
        if isinstance(tls, dict):
            paths = {name: value for name, value in tls.items() if isinstance(value, str)}
            tls.update({name: str(folder / Path(value).expanduser()) for name, value in paths.items()})
        for name in ("path", "mapping", "move_to") if isinstance(section, dict) else ():
            value = section.get(name)
            if isinstance(value, str) and value and "://" not in value:
                section[name] = str(folder / Path(value).expanduser())


def _is_setting(variable: str) -> bool:
    return variable.startswith(PREFIX) and variable not in NOT_SETTINGS


def variable_path(variable: str) -> tuple[str, ...]:
    """Place of the setting that a variable names: ("kafka", "properties", "sasl.password")."""
    name = variable.removeprefix(PREFIX).lower()
    for section in ("kafka", "lake", "s3", "ingest", "curate", "listen"):
        if not name.startswith(f"{section}_"):
            continue
        first, *more = name.removeprefix(f"{section}_").lstrip("_").split("__")
        if (section, first) == ("kafka", "properties") and more:
            return section, first, ".".join(more).replace("_", ".")
        return section, first, *more
    return (name,)


def environment_tree(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment gives, as a tree like the file's; empty variables count as not set.

    Lists and tables are JSON: ``PHL_INGEST_RUNNER_OPTIONS='["--runner=FlinkRunner"]'``.
    """
    tree: dict[str, Any] = {}
    for variable, value in sorted(environment.items()):
        if not _is_setting(variable) or not value:
            continue
        *parents, last = variable_path(variable)
        node = tree
        for parent in parents:
            below = node.setdefault(parent, {})
            if not isinstance(below, dict):
                below = node[parent] = {}
            node = below
        node[last] = _value(value)
    return tree


def _value(text: str) -> Any:  # noqa: ANN401 - what the settings make of it is theirs to check
    if text[:1] not in "[{":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
