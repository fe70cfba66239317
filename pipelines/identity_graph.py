"""Which identifiers can have to do with those that something new is said of: looked up, not found by reading all.

Of both ends of each edge, and of each identifier that is listed beside a patient's first one, what is known lies on the
local disk (``pipelines.identity_known``). From what a batch names one goes to neighbours until there are no new ones;
so cost follows the components that the batch touches, whatever else the lake holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from lake_layout.kept_rows import KeptRows
from lake_layout.run_files import Entries, entries_of, sort_entries
from pipelines.identity import ends_of
from pipelines.identity_components import I64, among
from schemas.table import Table
from schemas.tables.identity import APPLIED, BLOCKED, IDENTIFIER_SEEN, NOTHING, OVERRULED, PERSON_LINK

_TRIED: Final = ("outcome", (APPLIED, NOTHING, OVERRULED, BLOCKED))
"""Edges whose outcome may depend on others: a refused one depends on nothing."""


@dataclass(frozen=True)
class Pairs:
    """Which key stands beside which: what is known, and what is new.

    Attributes:
        rows: what is known.
        table: where it stands,
        key: as one column,
        value: beside another.
        news: what is new, sorted.
    """

    rows: KeptRows
    table: Table
    key: str
    value: str
    news: Entries

    def of_keys(self, keys: I64) -> Entries:
        """All pairs that begin with some keys (ascending)."""
        tried = _TRIED if self.table is PERSON_LINK else None
        there = self.rows.pairs(self.table, self.key, self.value, keys, tried)
        news = entries_of(self.news, keys)
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
    def of(cls, rows: KeptRows, edges: pa.Table, seen: pa.Table) -> Graph:
        """The graph of what is known, and of what is new.

        Args:
            rows: what is known.
            edges: new ones, ``PERSON_LINK``.
            seen: new ones, ``SEEN``.
        """

        def pairs(table: Table, key: str, value: str, one: I64, other: I64) -> Pairs:
            apart = one != other
            return Pairs(rows, table, key, value, sort_entries(one[apart], other[apart]))

        ends = ends_of(edges)
        key, to_key = ends.key[ends.free], ends.to_key[ends.free]
        patient, listed = (seen.column(name).to_numpy().astype(np.int64) for name in ("patient_key", "key"))
        return cls(
            (
                pairs(PERSON_LINK, "key", "to_key", key, to_key),
                pairs(PERSON_LINK, "to_key", "key", to_key, key),
            ),
            pairs(IDENTIFIER_SEEN, "patient_key", "key", patient, listed),
            pairs(IDENTIFIER_SEEN, "key", "patient_key", listed, patient),
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
