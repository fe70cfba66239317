"""Take in what is there, then stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from jobs.maintenance import Maintenance
from jobs.run_stages import Context, Outcome, check_landed, land_batch, normalise_batch, prepare
from schemas.tables.ops import DISPOSITIONS


class StageReport(TypedDict):
    """What one stage did: messages, batches, seconds, and messages by disposition (normalise only)."""

    messages: int
    batches: int
    seconds: float
    dispositions: dict[str, int]


def ingest_once(contexts: Sequence[Context], stages: Sequence[str]) -> dict[str, StageReport]:
    """Run the stages of all modalities until nothing is left.

    Landing ends with the first batch that is not full: on a topic that is always being written to there is
    always something new.

    Returns:
        ``<stage> <modality>`` → report.
    """
    report: dict[str, StageReport] = {}
    for context in contexts:
        prepare(context)
        if "land" in stages:
            check_landed(context)
        for stage in stages:
            run, full = {"land": (land_batch, context.limits.messages), "normalise": (normalise_batch, 1)}[
                stage
            ]
            upkeep = Maintenance(stage)
            report[f"{stage} {context.modality.name}"] = _all_batches(run, full, context, upkeep)
            upkeep.now(context)
    return report


def _all_batches(
    run: Callable[[Context], Outcome | None], full: int, context: Context, upkeep: Maintenance
) -> StageReport:
    done = StageReport(messages=0, batches=0, seconds=0.0, dispositions={})
    while (outcome := run(context)) is not None:
        upkeep.after(context, outcome)
        done["messages"] += outcome.messages
        done["batches"] += 1
        done["seconds"] += outcome.seconds
        for name in DISPOSITIONS:
            count = outcome.counters.get(f"disposition_{name}", 0)
            if count:
                done["dispositions"][name] = done["dispositions"].get(name, 0) + count
        if outcome.messages < full:
            break
    return done
