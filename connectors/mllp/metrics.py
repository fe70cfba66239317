"""What the listener counts. Labels are codes and configured names, never anything that a message said."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter("phl_mllp_received", "Frames that came in whole.", ["source"])
RECEIVED_BYTES = Counter("phl_mllp_received_bytes", "Bytes that came in.")
ACKNOWLEDGED = Counter("phl_mllp_acknowledged", "Acknowledgements by code (HL7 table 0008).", ["code"])
ANSWERS_UNSENT = Counter("phl_mllp_answers_unsent", "Answers whose connection was gone.")
REFUSED = Counter("phl_mllp_refused", "Messages refused or not stored, by reason.", ["reason"])
FRAMING_FAULTS = Counter("phl_mllp_framing_faults", "Faults of framing.", ["fault"])
CONNECTIONS = Gauge("phl_mllp_connections", "Connections that are open.")
CONNECTIONS_REFUSED = Counter(
    "phl_mllp_connections_refused", "Connections closed at once, by reason.", ["reason"]
)
CONNECTIONS_CLOSED = Counter(
    "phl_mllp_connections_closed", "Connections that we closed, by reason.", ["reason"]
)
SECONDS = Histogram(
    "phl_mllp_answer_seconds",
    "Seconds from a whole message to its acknowledgement.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DELIVERY_SECONDS = Histogram(
    "phl_mllp_delivery_seconds",
    "Seconds until Kafka confirmed a message.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
