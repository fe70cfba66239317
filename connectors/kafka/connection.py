"""How to reach a Kafka cluster: librdkafka's own settings, and clients made from them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from schemas.errors import ConfigError, TransportError

log = structlog.get_logger(__name__)

BOOTSTRAP = "bootstrap.servers"
_SECRET = re.compile(r"password|secret|\.pem$|oauthbearer\.config|key$", re.IGNORECASE)
_PROPERTY = re.compile(
    r'property:? "([a-z0-9._]+)"|for `?([a-z0-9._]+)`?:|^`?([a-z0-9]+(?:\.[a-z0-9]+)+)`? '
    r"|\b((?:ssl|sasl)\.[a-z0-9.]*[a-z0-9])\b"
)
"""Where librdkafka's sentences name a setting. Values are no match: none begins like a name of TLS or SASL settings."""


@dataclass(frozen=True, repr=False)
class KafkaConnection:
    """Settings of a connection, passed through to librdkafka as they are (SASL and TLS settings too).

    Picklable and hashable; ``repr`` shows names of secret settings, never their values.

    Attributes:
        properties: librdkafka names → values; ``bootstrap.servers`` must be among them.

    Raises:
        ConfigError: ``KAFKA-BOOTSTRAP-MISSING``.
    """

    properties: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.properties.get(BOOTSTRAP, "").strip():
            raise ConfigError("KAFKA-BOOTSTRAP-MISSING", "name the brokers of Kafka", setting=BOOTSTRAP)

    def __repr__(self) -> str:
        shown = {
            name: "***" if _SECRET.search(name) else value for name, value in sorted(self.properties.items())
        }
        return f"KafkaConnection({shown})"

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.properties.items())))

    @property
    def bootstrap(self) -> str:
        return self.properties[BOOTSTRAP]

    def settings(self, extra: Mapping[str, str | int | bool]) -> dict[str, str | int | bool]:
        """These settings for one client: ``extra`` gives way to what the operator set, but for what it must have.

        Args:
            extra: what the client would choose by itself.
        """
        return {**extra, **self.properties}

    def admin(self) -> AdminClient:
        """A new admin client.

        Raises:
            ConfigError: ``KAFKA-SETTINGS``, naming the setting that librdkafka refuses.
        """
        try:
            return AdminClient(dict(self.properties), logger=_Librdkafka())
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_settings(error) from None

    def consumer(
        self, preferred: Mapping[str, str | int | bool], fixed: Mapping[str, str | int | bool]
    ) -> Consumer:
        """A new consumer.

        Args:
            preferred: settings that the operator's own replace.
            fixed: settings that correctness rests on; they replace the operator's.

        Raises:
            ConfigError: ``KAFKA-SETTINGS``, naming the setting that librdkafka refuses.
        """
        try:
            return Consumer({**self.settings(preferred), **fixed}, logger=_Librdkafka())
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_settings(error) from None

    def producer(
        self, preferred: Mapping[str, str | int | bool], fixed: Mapping[str, str | int | bool]
    ) -> Producer:
        """A new producer.

        Args:
            preferred: settings that the operator's own replace.
            fixed: settings that correctness rests on; they replace the operator's.

        Raises:
            ConfigError: ``KAFKA-SETTINGS``, naming the setting that librdkafka refuses.
        """
        try:
            return Producer({**self.settings(preferred), **fixed}, logger=_Librdkafka())
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_settings(error) from None


def refused_settings(error: Exception) -> ConfigError:
    """What librdkafka says of a wrong setting, without its value (which may be a secret)."""
    cause = kafka_error(error) if isinstance(error, KafkaException) else None
    text = cause.str() if cause else str(error)
    found = _PROPERTY.search(text)
    name = next((group for group in found.groups() if group), "unknown") if found else "unknown"
    if "SASL mechanism" in text:
        name = "sasl.mechanism"
    return ConfigError("KAFKA-SETTINGS", "librdkafka refuses a setting of the connection", setting=name)


def kafka_error(exception: KafkaException) -> KafkaError:
    """The error inside an exception of confluent-kafka."""
    inner = exception.args[0] if exception.args else None
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError.UNKNOWN)


def unreachable(
    connection: KafkaConnection, error: KafkaError | None, **coordinates: str | int
) -> TransportError:
    """Kafka does not answer, or answers with a fault that may pass; names librdkafka's error, not its text."""
    return TransportError(
        "KAFKA-UNREACHABLE",
        "Kafka does not answer; is the broker up and the address right?",
        bootstrap=connection.bootstrap,
        **({"kafka_error": error.name()} if error else {}),
        **coordinates,
    )


class _Librdkafka:
    """Takes librdkafka's own log lines (connection faults, deprecated settings) into the project's log."""

    def log(self, level: int, text: str, *args: object) -> None:
        event = "librdkafka_error" if level >= logging.ERROR else "librdkafka"
        write = log.warning if level >= logging.ERROR else log.debug
        write(event, text=(text % args) if args else text)
