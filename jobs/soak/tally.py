"""What was done to the lake, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Faults that were survived, by kind.

    Attributes:
        faults: how many by kind, such as ``normalise killed`` or ``object store: 503``.
        places: fail points that were visited, each with its stage.
    """

    faults: Counter[str] = field(default_factory=Counter)
    places: set[tuple[str, str]] = field(default_factory=set)

    def killed(self, stage: str, point: str) -> None:
        """A stage died at a fail point."""
        self.faults[f"{stage} killed"] += 1
        self.places.add((stage, point))

    def add(self, kind: str, count: int = 1) -> None:
        """Something else befell it."""
        self.faults[kind] += count

    def lines(self) -> Iterable[str]:
        """A table for a person."""
        width = max(map(len, self.faults), default=0)
        for kind, count in sorted(self.faults.items()):
            yield f"{kind:<{width}}  {count:>6,}"
        yield f"{'faults survived':<{width}}  {sum(self.faults.values()):>6,}"
