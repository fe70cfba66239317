"""Upkeep of a stage's tables, now and then, by the process that runs the stage."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.run_stages import Context, Outcome
from lake_layout.maintain import forget_claims, maintain, maintain_all
from schemas.tables.ops import LEDGER, QUARANTINE

EVERY = 25


@dataclass
class Maintenance:
    """Counts the batches of a stage (``land`` or ``normalise``) and keeps its tables in shape.

    Attributes:
        stage: whose tables.
        batches: committed since the last upkeep.
    """

    stage: str
    batches: int = 0

    def after(self, context: Context, outcome: Outcome) -> None:
        """To be called after each committed batch."""
        forget_claims(context.lake, outcome.stage, outcome.batch)
        self.batches += 1
        if self.batches >= EVERY:
            self.now(context)

    def now(self, context: Context) -> None:
        """Look after the tables at once."""
        self.batches = 0
        lake, modality = context.lake, context.modality
        if self.stage == "land":
            read = lake.open(LEDGER).transaction_version(context.normalise_app_id) or 0
            maintain(lake, modality.raw, read_up_to=read)
        else:
            maintain_all(lake, (*modality.tables, QUARANTINE, LEDGER))
