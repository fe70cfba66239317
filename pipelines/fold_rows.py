"""Folds whose winner is a whole row, or a group of lines (``schemas.fold.RowFold``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.fold_keys import I64, Bools, Hasher, has_code, is_one_of, mixed
from pipelines.fold_versions import (
    NONE,
    WITHOUT_SEGMENT,
    Rank,
    Taken,
    flags,
    greatest,
    int64,
    later,
    message_of,
    number,
    rows_of,
)
from schemas.fold import VERSION, Register, RowFold
from schemas.tables.columns import ORIGIN

_ORIGIN = frozenset(field.name for field in ORIGIN)


def _pairs(*columns: I64) -> I64:
    """Several numbers of a row as one hash."""
    return mixed(*(column.astype(np.int64).view(np.uint64) for column in columns)).view(np.int64)


def units_of(state: pa.Table, rank: Rank) -> tuple[I64, int]:
    """Numbers of the units: the lines of one group that one message states; and how many units there are."""
    return number(
        int64(state, "key_hash"),
        _pairs(
            int64(state, "group_hash"),
            int64(state, "subject_hash"),
            rank[VERSION.index("version_time")],
            message_of(state, rank),
            flags(state, "echo").astype(np.int64),
        ),
    )


def winners_by_register(state: pa.Table, rank: Rank) -> Bools:
    """Which rows of a state are to be kept: of each register the greatest version, of preliminary ones all.

    Args:
        state: versions; the same one may be there several times.
        rank: of each.
    """
    units, count = units_of(state, rank)
    register = int64(state, "register")
    every = np.where(register == Register.PRELIMINARY, message_of(state, rank), 0)
    # what was named by a number that another stands for may have to leave: it wins and loses among its like
    alias = int64(state, "alias_hash")
    slot = _pairs(int64(state, "group_hash"), int64(state, "subject_hash"), alias, register, every)
    slots, slot_count = number(int64(state, "key_hash"), slot)
    best = greatest(slots, slot_count, rank[:WITHOUT_SEGMENT])
    wins = np.zeros(count, bool)
    wins[units[best]] = True
    lines, line_count = number(units, int64(state, "segment_index"))
    first = np.full(line_count, len(lines))
    np.minimum.at(first, lines, np.arange(len(lines)))
    once = np.zeros(len(lines), bool)
    once[first] = True
    return wins[units] & once


@dataclass(frozen=True)
class Shown:
    """Rows to be shown, made of rows of the state.

    Attributes:
        base: row that says what the thing is.
        value: row that its value comes from; ``NONE`` for none.
        status: row that says how it stands, and since when.
        line: ordinal among the rows of one group.
    """

    base: I64
    value: I64
    status: I64
    line: I64

    @classmethod
    def of(cls, *parts: Shown) -> Shown:
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("base", "value", "status", "line")
            )
        )


def read_rows(fold: RowFold, state: pa.Table, rank: Rank) -> tuple[dict[str, pa.Array], I64]:
    """What is true now.

    Args:
        fold: the fold.
        state: its state.
        rank: of each version.

    Returns:
        Columns of the rows to be shown, and for each the row of the state that it is, unchanged; ``NONE`` where it
        is made of several.
    """
    reading = _Reading(fold, state, rank)
    shown = reading.shown()
    group = int64(state, "group_hash")[shown.base]
    order = np.lexsort((shown.line, group, int64(state, "key_hash")[shown.base]))
    shown = Shown(shown.base[order], shown.value[order], shown.status[order], shown.line[order])
    plain = bool(((shown.base == shown.value) & (shown.base == shown.status)).all())
    same = np.where((shown.base == shown.value) & (shown.base == shown.status), shown.base, NONE)
    base, value, status = Taken(shown.base), Taken(shown.value), Taken(shown.status)
    if "line" in state.column_names:
        stated = pc.fill_null(base.of(state.column("line")), NONE).to_numpy()
        same[stated != shown.line] = NONE
    statuses = _ORIGIN | _status_columns(fold)
    columns = {}
    for name in state.column_names:
        if plain or (name not in statuses and name not in fold.value):
            columns[name] = base.of(state.column(name))
        elif name in statuses:
            columns[name] = status.of(state.column(name))
        else:
            columns[name] = value.of(state.column(name))
    columns["line"] = pa.array(shown.line.astype(np.int32))
    return columns, same


def _status_columns(fold: RowFold) -> frozenset[str]:
    found = set()
    status = fold.status
    while status is not None:
        found |= {status.column, *([status.raised_column] if status.raised_column else [])}
        found |= {f"{status.raised_column}_precision", f"{status.raised_column}_offset"}
        status = status.otherwise
    return frozenset(found)


class _Reading:
    """A state on its way to what is true now. A unit is known by its first line."""

    def __init__(self, fold: RowFold, state: pa.Table, rank: Rank) -> None:
        self.fold = fold
        self.state = state
        self.rank = rank
        self.message_rank = rank[:WITHOUT_SEGMENT]
        self.unit, self.count = units_of(state, rank)
        self.first = greatest(self.unit, self.count, -rank[WITHOUT_SEGMENT:])
        self.register = int64(state, "register")[self.first]
        self.echo = flags(state, "echo")[self.first]

    def _of_unit(self, name: str) -> I64:
        return int64(self.state, name)[self.first]

    @cached_property
    def group(self) -> tuple[I64, int]:
        """Numbers of the groups."""
        return number(self._of_unit("key_hash"), self._of_unit("group_hash"))

    @cached_property
    def told_of(self) -> tuple[I64, I64, int]:
        """Numbers of group and subject, and of scope and subject, of each unit."""
        key, subject = self._of_unit("key_hash"), self._of_unit("subject_hash")
        pairs = [_pairs(self._of_unit(name), subject) for name in ("group_hash", "scope_hash")]
        ids, count = number(np.concatenate([key, key]), np.concatenate(pairs))
        return ids[: self.count], ids[self.count :], count

    def _best(self, ids: I64, count: int, units: I64) -> I64:
        """Of each id the unit of the greatest version among some units."""
        return greatest(ids, count, self.message_rank[:, self.first], units)

    def _later(self, units: I64, others: I64) -> Bools:
        ranks = np.ascontiguousarray(self.message_rank[:, self.first])
        return later(ranks, units, others)

    @cached_property
    def taken_back_by(self) -> I64:
        """For each unit the greatest unit that takes it back; ``NONE`` where none does.

        What changes a set counts while it is later than the set as a whole.
        """
        own, scope, count = self.told_of
        every = np.arange(self.count)
        if self.fold.action is not None:
            sets = np.flatnonzero(self._of_unit("group_hash") == 0)
            best = self._best(own, count, sets)[scope]
            best = np.where(self._of_unit("group_hash") == 0, NONE, best)
            return np.where((best >= 0) & self._later(np.maximum(best, 0), every), best, NONE)
        resets = np.flatnonzero(self.register == Register.RESET)
        if not len(resets):
            return np.full(self.count, NONE, np.int64)
        of_id = self._best(own, count, resets)
        best, other = of_id[own], of_id[scope]
        best = np.where((other >= 0) & self._later(np.maximum(other, 0), best), other, best)
        return np.where(self._later(every, best), NONE, best)

    def shown(self) -> Shown:
        """The rows to be shown."""
        group, groups = self.group
        alive = (self.register != Register.RESET) & (self.taken_back_by < 0)
        ordered = np.vstack([-self.register, self.message_rank[:, self.first]])
        winner = greatest(group, groups, ordered, np.flatnonzero(alive))
        lost = np.flatnonzero(winner < 0)
        winner = winner[winner >= 0]
        for codes in self.fold.deleting:
            deletes = has_code(self.state, codes)[self.first]
            winner = winner[~deletes[winner]]
        plain, unsaid = self._without_value(winner)
        parts = [self._lines(plain, plain, plain)]
        if self.fold.action is not None:
            parts = [self._members(parts[0])]
        if len(unsaid):
            parts.append(self._with_value(unsaid))
        if self.fold.shows_reset and len(lost):
            parts.append(self._taken_back(lost))
        return Shown.of(*parts)

    def _lines(self, units: I64, values: I64, statuses: I64) -> Shown:
        """The lines of units of values, each with a base and a status of its own."""
        place = np.full(self.count, NONE, np.int64)
        place[values] = np.arange(len(values))
        rows = np.flatnonzero(place[self.unit] >= 0)
        of = place[self.unit[rows]]
        order = np.lexsort((self.rank[WITHOUT_SEGMENT, rows], of))
        rows, of = rows[order], of[order]
        begins = np.searchsorted(of, np.arange(len(values)))
        line = np.arange(len(rows)) - begins[of]
        own = units[of] == values[of]
        base = np.where(own, rows, self.first[units[of]])
        status = np.where(statuses[of] == values[of], rows, self.first[statuses[of]])
        return Shown(base, rows, status, line)

    def _without_value(self, winner: I64) -> tuple[I64, I64]:
        """Winners as they are, and those that take their value from elsewhere."""
        status = self.fold.status
        if status is None or not status.takes_value or not len(winner):
            return winner, winner[:0]
        takes = is_one_of(self.state.column(status.column), status.takes_value)[self.first[winner]]
        if takes.any():
            rows = rows_of(self.state, self.first[winner])
            takes &= ~_says(rows, self.fold.value)
        return winner[~takes], winner[takes]

    def _with_value(self, winner: I64) -> Shown:
        """Winners with the value of the latest preliminary version that is not after them."""
        own, _, count = self.told_of
        asks = np.full(count, NONE, np.int64)
        asks[own[winner]] = winner
        given = np.flatnonzero(
            (self.register == Register.PRELIMINARY) & (self.taken_back_by < 0) & (asks[own] >= 0)
        )
        given = given[~self._later(given, asks[own[given]])]
        if len(given):
            given = given[_says(rows_of(self.state, self.first[given]), self.fold.value)]
        found = self._best(own, count, given)[own[winner]]
        there = found >= 0
        return Shown.of(
            self._lines(winner[there], found[there], winner[there]),
            self._lines(winner[~there], winner[~there], winner[~there]),
        )

    def _taken_back(self, groups: I64) -> Shown:
        """Groups of which nothing is left: their first line without its value, as what took it back says."""
        group, count = self.group
        wanted = np.zeros(count, bool)
        wanted[groups] = True
        units = np.flatnonzero(wanted[group] & ~self.echo)
        base = self._best(group, count, units)
        by = np.where(self.register == Register.RESET, np.arange(self.count), NONE)
        theirs = self.taken_back_by
        by = np.where((theirs >= 0) & self._later(np.maximum(theirs, 0), by), theirs, by)
        ids = group[units]
        # of all that took back a unit of the group the greatest
        best = greatest(ids, count, np.ascontiguousarray(self.message_rank[:, self.first[by[units]]]))
        there = base >= 0
        base = self.first[base[there]]
        status = self.first[by[units[best[there]]]]
        nothing = np.full(len(base), NONE, np.int64)
        return Shown(base, nothing, status, np.zeros(len(base), np.int64))

    def _members(self, lines: Shown) -> Shown:
        """Members of sets without those that a later row with an action code speaks of."""
        key, group = int64(self.state, "key_hash"), int64(self.state, "group_hash")
        of_set = group[lines.base] == 0
        if not of_set.any() or not (group != 0).any():
            return lines
        member = Hasher(self.state).first(self.fold.members).view(np.int64)
        alive = self.first[np.flatnonzero((self.taken_back_by < 0) & (self._of_unit("group_hash") != 0))]
        every = np.concatenate([alive, lines.base])
        ids, count = number(key[every], member[every])
        spoken = np.zeros(count, bool)
        spoken[ids[: len(alive)]] = True
        keep = ~of_set | ~spoken[ids[len(alive) :]]
        return Shown(lines.base[keep], lines.value[keep], lines.status[keep], lines.line[keep])


def _says(rows: pa.Table, names: tuple[str, ...]) -> Bools:
    """Which rows say anything in some columns that hold a value."""
    says = np.zeros(rows.num_rows, bool)
    for name in names:
        if name.startswith("value_") and name not in {"value_type", "value_repetitions"}:
            column = rows.column(name)
            if column.null_count < len(column):
                says |= column.is_valid().to_numpy(zero_copy_only=False)
    return says
