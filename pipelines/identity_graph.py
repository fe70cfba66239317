"""Which identifiers can have to do with those that something new is said of: looked up, not found by reading all.

The graph is kept on the local disk as sorted runs of both ends of each edge, and of each identifier that is listed
beside a patient's first one (``lake_layout/sorted_runs.py``). From what a batch names one goes to neighbours until
there are no new ones; so cost follows the components that the batch touches, whatever else the lake holds.

Runs may have pairs that the tables have no more. What is found then is more components than needed, each of them
whole, and to resolve these anew changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from lake_layout.lake import Lake
from lake_layout.run_files import Entries, entries_of, sort_entries
from lake_layout.sorted_runs import WHOLE, IndexLocation, RunSource, SortedRuns, open_runs
from pipelines.identity import ends_of
from pipelines.identity_components import I64, among
from schemas.tables.identity import APPLIED, BLOCKED, IDENTIFIER_SEEN, NOTHING, OVERRULED, PERSON_LINK

_TRIED = (("outcome", (APPLIED, NOTHING, OVERRULED, BLOCKED)),)
"""Edges whose outcome may depend on others: a refused one depends on nothing."""

EDGES: Final = (
    RunSource(PERSON_LINK, "edge-from", _TRIED, None, "key", "to_key", pairs=True),
    RunSource(PERSON_LINK, "edge-to", _TRIED, None, "to_key", "key", pairs=True),
)
LISTED: Final = RunSource(IDENTIFIER_SEEN, "listed", (), None, "patient_key", "key", pairs=True)
LISTED_BESIDE: Final = RunSource(IDENTIFIER_SEEN, "listed-beside", (), None, "key", "patient_key", pairs=True)


@dataclass(frozen=True)
class Pairs:
    """Which key stands beside which: what the lake has, and what is new.

    Attributes:
        runs: what the lake has.
        news: what is new, sorted.
    """

    runs: SortedRuns
    news: Entries

    @classmethod
    def of(cls, runs: SortedRuns, one: I64, other: I64) -> Pairs:
        apart = one != other
        return cls(runs, sort_entries(one[apart], other[apart]))

    def of_keys(self, keys: I64) -> Entries:
        """All pairs that begin with some keys (ascending)."""
        there, news = self.runs.values(WHOLE, keys), entries_of(self.news, keys)
        return np.concatenate([there[0], news[0]]), np.concatenate([there[1], news[1]])


@dataclass(frozen=True)
class Graph:
    """What has to do with what.

    Attributes:
        edges: from both ends.
        listed: beside which patients which identifiers are listed.
        beside: which identifiers are listed beside which patients.
    """

    edges: Sequence[Pairs]
    listed: Pairs
    beside: Pairs

    @classmethod
    def of(cls, lake: Lake, index: IndexLocation, edges: pa.Table, seen: pa.Table) -> Graph:
        """The graph as the lake has it now, and what is new.

        Args:
            lake: where the tables lie.
            index: where the runs lie.
            edges: new ones, ``PERSON_LINK``.
            seen: new ones, ``SEEN``.

        Raises:
            LakeError, TransportError: as ``open_runs``.
        """
        versions = {table.name: lake.version(table) for table in (PERSON_LINK, IDENTIFIER_SEEN)}

        def pairs(source: RunSource, one: I64, other: I64) -> Pairs:
            return Pairs.of(open_runs(lake, index, source, versions[source.table.name]), one, other)

        ends = ends_of(edges)
        key, to_key = ends.key[ends.free], ends.to_key[ends.free]
        patient, listed = (seen.column(name).to_numpy().astype(np.int64) for name in ("patient_key", "key"))
        return cls(
            (pairs(EDGES[0], key, to_key), pairs(EDGES[1], to_key, key)),
            pairs(LISTED, patient, listed),
            pairs(LISTED_BESIDE, listed, patient),
        )

    def reached(self, changed: I64) -> I64:
        """Keys of all identifiers in the components that some identifiers are in; ascending.

        Patients have to do with an identifier that is listed beside them where an edge names it, for a move takes it
        from them.

        Args:
            changed: their keys.
        """
        found = near = np.unique(changed)
        while len(near):
            nodes = np.unique(np.concatenate([*self._over_edges(near), *self._over_lists(near)]))
            near = nodes[~among(nodes, found)]
            found = np.union1d(found, near)
        return found

    def _over_edges(self, keys: I64) -> list[I64]:
        return [pairs.of_keys(keys)[1] for pairs in self.edges]

    def _over_lists(self, keys: I64) -> list[I64]:
        listed = np.unique(self.listed.of_keys(keys)[1])
        return [self.beside.of_keys(self._named(keys))[1], self._named(listed)]

    def _named(self, keys: I64) -> I64:
        """Those of some keys (ascending) that edges name."""
        named = np.unique(np.concatenate([pairs.of_keys(keys)[0] for pairs in self.edges]))
        return keys[among(keys, named)]
