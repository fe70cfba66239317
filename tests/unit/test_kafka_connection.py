"""Settings of the connection: passed through, shown without secrets, named when they are wrong."""

from __future__ import annotations

import pickle
import socket

import pytest

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.topics import describe_topic
from schemas.errors import ConfigError, TransportError

SECRET = "s3cr3t-marker"


def test_a_connection_does_not_show_its_secrets() -> None:
    connection = KafkaConnection(
        {
            "bootstrap.servers": "kafka:9092",
            "sasl.username": "phl",
            "sasl.password": SECRET,
            "ssl.key.password": SECRET,
            "ssl.key.pem": SECRET,
            "ssl.keystore.password": SECRET,
            "sasl.oauthbearer.client.secret": SECRET,
            "sasl.oauthbearer.config": SECRET,
        }
    )
    assert SECRET not in repr(connection)
    assert SECRET not in f"{connection}"
    assert "kafka:9092" in repr(connection)
    assert "phl" in repr(connection)


def test_a_connection_travels_to_workers() -> None:
    connection = KafkaConnection({"bootstrap.servers": "kafka:9092", "client.id": "x"})
    again = pickle.loads(pickle.dumps(connection))
    assert again == connection
    assert hash(again) == hash(connection)


@pytest.mark.parametrize("properties", [{}, {"bootstrap.servers": " "}])
def test_without_brokers_there_is_no_connection(properties: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        KafkaConnection(properties)
    assert caught.value.coordinates == {"setting": "bootstrap.servers"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no.such.setting", SECRET),
        ("security.protocol", SECRET),
        ("socket.timeout.ms", SECRET),
        ("socket.timeout.ms", "-5"),
        ("ssl.ca.location", f"/nowhere/{SECRET}"),
        ("ssl.key.pem", SECRET),
        ("ssl.ca.pem", SECRET),
        ("sasl.mechanism", SECRET),
    ],
)
@pytest.mark.parametrize("client", ["admin", "consumer", "producer"])
def test_a_wrong_setting_is_named_without_its_value(name: str, value: str, client: str) -> None:
    properties = {"bootstrap.servers": "127.0.0.1:1", name: value}
    if name.startswith(("ssl.", "sasl.")):
        properties["security.protocol"] = "ssl" if name.startswith("ssl.") else "sasl_plaintext"
    connection = KafkaConnection(properties)
    make = {
        "admin": connection.admin,
        "consumer": lambda: connection.consumer({"group.id": "g"}, {}),
        "producer": lambda: connection.producer({}, {"enable.idempotence": True}),
    }[client]
    with pytest.raises(ConfigError) as caught:
        make()  # type: ignore[no-untyped-call]
    assert caught.value.code == "KAFKA-SETTINGS"
    assert caught.value.coordinates["setting"] == name
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_broker_that_is_not_there_is_worth_another_try() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TransportError) as caught:
        describe_topic(KafkaConnection({"bootstrap.servers": address}), "raw.hl7v2", patience=1.0)
    assert caught.value.code == "KAFKA-UNREACHABLE"
    assert caught.value.coordinates["bootstrap"] == address
