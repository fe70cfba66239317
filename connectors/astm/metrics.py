"""What the listener of instruments counts. Labels are codes and configured names, never anything that was said."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter("phl_astm_received", "Messages that came in whole.", ["source"])
RECEIVED_BYTES = Counter("phl_astm_received_bytes", "Bytes that came in.")
MESSAGES = Counter("phl_astm_messages", "Messages by what became of them: stored, not_stored.", ["outcome"])
NOT_STORED = Counter("phl_astm_not_stored", "Messages that were not stored, by reason.", ["reason"])
SENT = Counter("phl_astm_sent", "What was said to instruments: ack, nak, eot, enq, frame.", ["what"])
FAULTS = Counter("phl_astm_faults", "Faults of framing and of sessions.", ["source", "fault"])
QUERIES = Counter("phl_astm_queries", "Answers to queries: delivered, failed.", ["outcome"])
CONNECTIONS = Gauge("phl_astm_connections", "Connections that are open.")
CONNECTIONS_REFUSED = Counter(
    "phl_astm_connections_refused", "Connections closed at once, by reason.", ["reason"]
)
CONNECTIONS_CLOSED = Counter(
    "phl_astm_connections_closed", "Connections that we closed, by reason.", ["reason"]
)
SECONDS = Histogram(
    "phl_astm_answer_seconds",
    "Seconds from the frame that completes a message to its answer.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
