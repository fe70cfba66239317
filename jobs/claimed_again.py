"""Which messages a batch of normalise reads again, by what its claim pins."""

from __future__ import annotations

import pyarrow as pa

from lake_layout.claims import Claim
from lake_layout.lake import Lake
from pipelines import read_again
from schemas.modality import Modality
from schemas.tables.ops import DECISION, LEDGER


def claimed_again(lake: Lake, modality: Modality, claim: Claim) -> pa.Table:
    """The messages that a claim says are to be read again (``read_again.messages_of``)."""
    raw = modality.raw
    request = read_again.request_at(lake, raw, claim.pins[DECISION.name])
    most = claim.pins[read_again.progress_id(raw)]
    return read_again.messages_of(lake, raw, request, claim.pins[LEDGER.name], most)
