"""Kill stages at fail points, one after the other, so that each takes up what the one before it left."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Protocol

from jobs.soak.schedule import COMMAND, COMMANDS, ENTRY, Kill
from jobs.soak.tally import Tally
from jobs.soak.warm import KILLED, Ended

_TRIES = 4
"""A place may lie behind the end of what is there: so often more work is brought."""


class LostError(Exception):
    """Something was not survived; the text says what, without a word of any message."""


class Killable(Protocol):
    """A lake, and the city that it is fed from.

    Attributes:
        changed: whether commands run with the changed settings.
    """

    changed: bool

    def stage(self, name: str, *, fail_point: str | None = None) -> Ended:
        """``phl ingest --once`` of a stage."""

    def send_more(self) -> None:
        """Messages that a batch can be made of."""

    def ask_again(self) -> None:
        """Ask that messages be read again."""


def kill_everywhere(
    lake: Killable, schedule: Iterable[Kill], tally: Tally, say: Callable[[str], object] = lambda _: None
) -> list[Kill]:
    """Kill stages by a schedule; whatever was left open is left so.

    Args:
        lake: whose stages.
        schedule: where, in this order.
        tally: what was done is added.
        say: told of each stage that is done with.

    Returns:
        Those whose places were not come by.

    Raises:
        LostError: a command ended with an error.
    """
    missed = []
    for stage, places in itertools.groupby(schedule, lambda kill: kill.stage):
        _bring_work(lake, stage, tally)
        for kill in places:
            if ENTRY.get(stage) == kill.point and (stage, kill.point) in tally.places:
                continue  # where work was brought
            if not _kill(lake, kill, tally):
                missed.append(kill)
        say(f"{stage} was killed at {len([one for one, _ in tally.places if one == stage])} places")
    return missed


def _kill(lake: Killable, kill: Kill, tally: Tally) -> bool:
    for tried in range(_TRIES):
        lake.changed = lake.changed != kill.changed  # each time: what was brought in is claimed already
        # what was half done is done by less: it is the first time that counts, then
        place = kill.point if tried else kill.fail_point
        if _run(lake, kill.command, place):
            tally.killed(kill.stage, kill.point)
            return True
        _bring_work(lake, kill.stage, tally)
    return False


def _bring_work(lake: Killable, stage: str, tally: Tally) -> None:
    """See to it that a stage has something to do; one that runs in another's process comes to its turn at once."""
    lake.send_more()
    command = COMMAND.get(stage, stage)
    for before in COMMANDS[: COMMANDS.index(command)]:
        _run(lake, before)
    if stage == "again":
        _run(lake, command)
        lake.ask_again()
    if stage in ENTRY and _run(lake, command, ENTRY[stage]):
        tally.killed(stage, ENTRY[stage])


def _run(lake: Killable, command: str, place: str | None = None) -> bool:
    """Whether the stage died at the place, else it got through."""
    done = lake.stage(command, fail_point=place)
    if done.code not in (0, KILLED) or (done.code == KILLED and place is None):
        raise LostError(f"{command} ended with exit code {done.code}: {done.output[-1000:]}")
    return done.code == KILLED
