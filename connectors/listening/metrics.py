"""What all listeners of a process count together."""

from __future__ import annotations

from prometheus_client import Gauge

UNDER_WAY = Gauge("phl_listen_under_way", "Whole messages that are not yet answered.")
HELD_BYTES = Gauge("phl_listen_held_bytes", "Bytes of messages, whole or begun, that are not yet answered.")
WAITING = Gauge("phl_listen_connections_waiting", "Connections not read from until memory is free.")
