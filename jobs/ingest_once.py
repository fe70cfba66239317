"""Take in what is there, then stop."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from jobs.landing_beside import begin_landing, is_wanted
from jobs.maintenance import Maintenance
from jobs.run_stages import (
    Context,
    Outcome,
    check_landed,
    codes_batch,
    curate_batch,
    identify_batch,
    land_batch,
    normalise_batch,
    normalised_up_to,
    prepare,
    prepare_curated,
)
from lake_layout.added_since import rows_added
from pipelines.helpers import helpers
from schemas.tables.ops import DISPOSITIONS

PAUSE = 0.2

_AFTER = {"curate": curate_batch, "identity": identify_batch, "codes": codes_batch}
"""What follows normalised tables, whatever modality their rows are of."""


class StageReport(TypedDict):
    """What one stage did: messages, batches, seconds, CPU seconds by step, messages by disposition (normalise only).

    Of curate, identity and codes, rows of normalised tables stand for messages.
    """

    messages: int
    batches: int
    seconds: float
    steps: dict[str, float]
    dispositions: dict[str, int]


class StageFailedError(Exception):
    """The process of a stage ended with an error that it has told already."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def ingest_once(contexts: Sequence[Context], stages: Sequence[str]) -> dict[str, StageReport]:
    """Run the stages of all modalities one after the other until nothing is left.

    Landing ends with the first batch that is not full: on a topic that is always being written to there is
    always something new.

    Returns:
        ``<stage> <modality>`` → report; ``curate``, ``identity`` and ``codes`` → report of all modalities.
    """
    report: dict[str, StageReport] = {}
    for context in contexts:
        prepare(context)
        for stage in stages:
            if stage == "curate":
                continue
            upkeep = Maintenance(stage)
            done = _nothing_yet()
            if stage == "land":
                check_landed(context)
                _all_batches(land_batch, context.limits.of_land, context, upkeep, done)
            else:
                _all_batches(normalise_batch, 1, context, upkeep, done)
            upkeep.now(context)
            report[f"{stage} {context.modality.name}"] = done
    helpers().let_go()
    return report | (curate_once(contexts) if "curate" in stages else {})


def curate_once(contexts: Sequence[Context]) -> dict[str, StageReport]:
    """Fold all new normalised rows into the curated tables, find who is who, and what codes mean.

    Returns:
        ``curate``, ``identity`` and ``codes`` → report.
    """
    context = contexts[0]  # whatever modality the rows are of
    for one in contexts:
        prepare(one)
    prepare_curated(context)
    report = {}
    for stage, run in _AFTER.items():
        upkeep, done = Maintenance(stage), _nothing_yet()
        _all_batches(run, 1, context, upkeep, done)
        upkeep.now(context)
        report[stage] = done
    return report


def ingest_side_by_side(
    contexts: Sequence[Context], landing: subprocess.Popen[str]
) -> dict[str, StageReport]:
    """Land in a process of its own while this one normalises what was landed; ends when both have nothing left.

    Args:
        contexts: one per modality.
        landing: process that lands all there is once it is told to, and prints its report as JSON.

    Raises:
        StageFailedError: landing ended with an error; what was landed before it is normalised.
    """
    for context in contexts:
        prepare(context)
    upkeep = Maintenance("normalise")
    reports = {f"normalise {context.modality.name}": _nothing_yet() for context in contexts}
    landed = {context.modality.name: Landed(context, normalised_up_to(context)) for context in contexts}
    begin_landing(landing)
    while True:
        ended = landing.poll() is not None
        for context in contexts:
            # a batch costs some opening and committing of tables whatever its size, so it is worth waiting a little
            if ended or landed[context.modality.name].look() >= context.limits.of_land:
                done = reports[f"normalise {context.modality.name}"]
                _all_batches(normalise_batch, 1, context, upkeep, done)
                landed[context.modality.name] = Landed(context, normalised_up_to(context))
        if ended:
            break
        time.sleep(PAUSE)
    helpers().let_go()
    for context in contexts:
        upkeep.now(context)
    out, _ = landing.communicate()
    if landing.returncode:
        raise StageFailedError(landing.returncode)
    report: dict[str, StageReport] = json.loads(out)
    return {**report, **reports}


@dataclass
class Landed:
    """Counts what is landed, by looking at nothing but new commits.

    Attributes:
        context: whose raw table.
        version: of the raw table, up to which all is counted.
        messages: that were landed since.
    """

    context: Context
    version: int
    messages: int = 0

    def look(self) -> int:
        """Messages that are landed by now."""
        rows, self.version = rows_added(self.context.lake, self.context.modality.raw, self.version)
        self.messages += rows
        return self.messages


def _nothing_yet() -> StageReport:
    return StageReport(messages=0, batches=0, seconds=0.0, steps={}, dispositions={})


def _all_batches(
    run: Callable[[Context], Outcome | None],
    full: int,
    context: Context,
    upkeep: Maintenance,
    done: StageReport,
) -> None:
    """Run batches until there is none, or one that is not full; what they did is added to ``done``.

    The first batch may be one that a process before this one left open, as small as it was planned then: whether it
    is full says nothing of what is there now.
    """
    while (outcome := run(context)) is not None:
        upkeep.after(context, outcome)
        done["messages"] += outcome.messages
        done["batches"] += 1
        done["seconds"] += outcome.seconds
        for name, seconds in outcome.steps.items():
            done["steps"][name] = done["steps"].get(name, 0.0) + seconds
        for name in DISPOSITIONS:
            count = outcome.counters.get(f"disposition_{name}", 0)
            if count:
                done["dispositions"][name] = done["dispositions"].get(name, 0) + count
        if (outcome.messages < full and done["batches"] > 1) or not is_wanted():
            break
