"""What the DICOM listener counts. Labels are codes and configured names, never anything that an object said."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ASSOCIATIONS = Gauge("phl_dicom_associations", "Associations that are open.")
ASSOCIATIONS_REFUSED = Counter(
    "phl_dicom_associations_refused", "Associations refused, by reason.", ["reason"]
)
ASSOCIATIONS_ABORTED = Counter(
    "phl_dicom_associations_aborted", "Associations broken off, by reason.", ["reason"]
)
RECEIVED = Counter("phl_dicom_received", "Objects that came in whole.", ["source"])
RECEIVED_BYTES = Counter("phl_dicom_received_bytes", "Bytes of them.", ["source"])
ANSWERED = Counter("phl_dicom_answered", "Answers to C-STORE by status (PS3.4 table B.2-1).", ["status"])
REFUSED = Counter("phl_dicom_refused", "Objects refused or not stored, by reason.", ["reason"])
SECONDS = Histogram(
    "phl_dicom_answer_seconds",
    "Seconds from an object's last byte to its answer.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
