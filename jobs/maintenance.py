"""Upkeep of a stage's tables, now and then, by the process that runs the stage."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.curated_progress import followed_up_to
from jobs.run_stages import Context, Outcome, normalised_up_to
from lake_layout.maintain import forget_claims, maintain, maintain_all
from pipelines.batch_memory import collect_cycles
from schemas.table import Table
from schemas.tables.coding import CODES_TABLES
from schemas.tables.curation import CURATE_TABLES
from schemas.tables.identification import IDENTITY_TABLES
from schemas.tables.ops import LEDGER, QUARANTINE

EVERY = 10
"""Batches in which each table has its turn once: some tables after each batch, so that none waits long for upkeep."""


@dataclass
class Maintenance:
    """Keeps a stage's tables in shape, some after each batch: land, normalise, curate, identity or codes.

    Attributes:
        stage: whose tables.
        batches: committed so far.
    """

    stage: str
    batches: int = 0

    def after(self, context: Context, outcome: Outcome) -> None:
        """To be called after each committed batch."""
        turn = self.batches % EVERY
        self.batches += 1
        if turn == 0:
            collect_cycles()
            forget_claims(context.lake, outcome.stage, outcome.batch)
        self._maintain(context, self._tables(context)[turn::EVERY])

    def now(self, context: Context) -> None:
        """Look after all tables at once."""
        self._maintain(context, self._tables(context))

    def _tables(self, context: Context) -> tuple[Table, ...]:
        modality = context.modality
        if self.stage == "curate":
            return CURATE_TABLES
        if self.stage == "identity":
            return IDENTITY_TABLES
        if self.stage == "codes":
            return CODES_TABLES
        return (modality.raw,) if self.stage == "land" else (*modality.tables, QUARANTINE, LEDGER)

    def _maintain(self, context: Context, tables: tuple[Table, ...]) -> None:
        lake = context.lake
        if not tables:
            return
        if self.stage == "land":
            read = normalised_up_to(context)
            maintain(lake, context.modality.raw, read_up_to=read)
        elif self.stage == "normalise":
            # nobody follows these commits before the first batch of curate, which may take the live rows for them
            maintain_all(lake, tables, followed_up_to(lake))
        else:
            maintain_all(lake, tables)
