"""Folds field by field (``schemas.fold.FieldFold``): of each value the latest version that says something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.columns import whole
from pipelines.fold_keys import I64, Bools, hash_of_texts, mixed, text_column
from pipelines.fold_versions import NONE, Rank, Taken, flags, greatest, int64, later, number, taken
from schemas.fold import DELETED, Events, FieldFold, Owns


@dataclass(frozen=True)
class Happened:
    """What the events of a register say, row by row.

    Attributes:
        tells: whether the row is an event of the register.
        sets: whether it sets it.
        text: what is to be shown of it; null for nothing.
    """

    tells: Bools
    sets: Bools
    text: pa.Array


def winners_by_field(fold: FieldFold, state: pa.Table, rank: Rank) -> Bools:
    """Which rows of a state are to be kept: those that win a value, a register, a member of a set, or all.

    Args:
        fold: the fold.
        state: versions; the same one may be there several times.
        rank: of each.
    """
    # what was named by a number that another stands for may have to leave: it wins and loses among its like
    group, alias = (int64(state, name).view(np.uint64) for name in ("group_hash", "alias_hash"))
    ids, count = number(int64(state, "key_hash"), mixed(group, alias).view(np.int64))
    keeps = np.zeros(state.num_rows, bool)
    for rows in _registers(fold, state):
        best = greatest(ids, count, rank, rows)
        keeps[best[best >= 0]] = True
    for name in fold.sets:
        parents, _ = _members(state, name, ids, rank)
        keeps[parents] = True
    return keeps


def _registers(fold: FieldFold, state: pa.Table) -> Iterator[I64]:
    """The rows that count in each register."""
    yield np.arange(state.num_rows)
    for value in fold.values:
        yield _said(state, value)
    for events in fold.events:
        tells = _happened(events, state).tells
        yield np.flatnonzero(tells)
        for value in _owned(fold, events):
            yield _own(state, events, tells, value)


def _owned(fold: FieldFold, events: Events) -> Iterator[tuple[str, ...]]:
    return (value for value in fold.values if value[0] in events.values)


def _own(state: pa.Table, events: Events, tells: Bools, value: tuple[str, ...]) -> I64:
    """The rows that count for a value of a register: its own events, or all that say it and do not delete it."""
    if events.owns is Owns.ENDS:
        return _said(state, value, deleting=False)
    rows = _said(state, value)
    return rows[tells[rows]]


def _said(state: pa.Table, value: tuple[str, ...], *, deleting: bool = True) -> I64:
    """The rows that say something of a value, or that say it and do not delete it."""
    says = np.zeros(state.num_rows, bool)
    for name in value:
        column = whole(state.column(name))
        if column.null_count == len(column):
            continue
        there = column.is_valid()
        if pa.types.is_list(column.type):
            there = pc.and_(there, pc.greater(pc.fill_null(pc.list_value_length(column), 0), 0))
        elif not deleting and pa.types.is_string(column.type):
            there = pc.and_(there, pc.fill_null(pc.not_equal(column, DELETED), False))
        says |= there.to_numpy(zero_copy_only=False)
    return np.flatnonzero(says)


def _happened(events: Events, state: pa.Table) -> Happened:
    """Which rows are events of a register."""
    column = whole(text_column(state, events.column)).cast(pa.string())
    code = pc.fill_null(pc.utf8_upper(pc.utf8_trim_whitespace(column)), "")
    sets, unsets = _in(code, events.sets), _in(code, events.unsets)
    text = _mapped(code, dict(events.sets) | dict(events.unsets))
    if events.told_in is not None:
        told = whole(state.column(events.told_in))
        told = pc.if_else(pc.is_in(code, pa.array(sorted(events.not_told_by), pa.string())), None, told)
        told = pc.if_else(pc.equal(told, DELETED), None, told)
        if events.at_word:
            asked = _mapped(code, dict(events.at_word))
            told = pc.coalesce(told, pc.if_else(state.column("at_word"), asked, None))
        text = pc.coalesce(whole(told), text)
        sets |= whole(text).is_valid().to_numpy(zero_copy_only=False)
    return Happened(sets | unsets, sets, text)


def _in(code: pa.Array, codes: object) -> Bools:
    found: Bools = pc.is_in(code, pa.array(sorted(codes), pa.string())).to_numpy(  # type: ignore[call-overload]
        zero_copy_only=False
    )
    return found


def _mapped(code: pa.Array, texts: dict[str, str]) -> pa.Array:
    """What each code shows; null for nothing."""
    known = pa.array([*texts], pa.string())
    shown = pa.array([text or None for text in texts.values()], pa.string())
    return shown.take(pc.index_in(code, known)) if len(known) else pa.nulls(len(code), pa.string())


def _members(state: pa.Table, name: str, ids: I64, rank: Rank) -> tuple[I64, I64]:
    """The latest statement of each member of a set.

    Returns:
        Rows that state them, and their places in the flattened list.
    """
    lists = whole(state.column(name))
    parents = pc.list_parent_indices(lists).to_numpy()
    members = pc.list_flatten(lists)
    value = hash_of_texts(members.field("value"))
    places = np.flatnonzero(value != 0)
    member = mixed(value, hash_of_texts(members.field("authority"))).view(np.int64)[places]
    parents = parents[places]
    each, count = number(ids[parents], member)
    best = greatest(each, count, np.ascontiguousarray(rank[:, parents]))
    return parents[best], places[best]


class _Picker:
    """Of things that are told apart within a key, and of what is said of all of them, the later."""

    def __init__(self, state: pa.Table, rank: Rank) -> None:
        key, group = int64(state, "key_hash"), int64(state, "group_hash")
        both, count = number(np.concatenate([key, key]), np.concatenate([group, np.zeros_like(group)]))
        self.rank = rank
        self.ids, whole_ids = both[: len(key)], both[len(key) :]
        self.count = count
        first = greatest(self.ids, count, rank)
        rows = first[first >= 0]
        apart = np.zeros(count, bool)  # keys, by the number of the whole, that have parts told apart
        apart[whole_ids[rows][group[rows] != 0]] = True
        shown = np.sort(rows[(group[rows] != 0) | ~apart[self.ids[rows]]])
        self.row = shown
        self.things = self.ids[shown]
        self.wholes = whole_ids[shown]

    def best(self, rows: I64) -> I64:
        """The greatest of some rows, for each thing that is shown; ``NONE`` where there is none."""
        best = greatest(self.ids, self.count, self.rank, rows)
        own, common = best[self.things], best[self.wholes]
        takes = (common >= 0) & later(self.rank, np.maximum(common, 0), own)
        found: I64 = np.where(takes, common, own)
        return found


def read_fields(fold: FieldFold, state: pa.Table, rank: Rank) -> tuple[dict[str, pa.Array], I64]:
    """What is true now.

    Args:
        fold: the fold.
        state: its state.
        rank: of each version.

    Returns:
        Columns of the rows to be shown; no row is a row of the state unchanged (``NONE`` for each).
    """
    picker = _Picker(state, rank)
    last = picker.best(np.arange(state.num_rows))
    chosen = {value[0]: picker.best(_said(state, value)) for value in fold.values}
    columns: dict[str, pa.Array] = {}
    hidden = np.zeros(len(last), bool)
    if fold.echoes:
        hidden |= picker.best(np.flatnonzero(~flags(state, "echo"))) == NONE
    for events in fold.events:
        happened = _happened(events, state)
        event = picker.best(np.flatnonzero(happened.tells))
        there = event >= 0
        unset = there & ~happened.sets[event]
        hidden |= unset & events.hides
        if events.shows is not None:
            columns[events.shows] = taken(happened.text, event)
        if events.shows_time is not None:
            columns[events.shows_time] = taken(state.column("version_time"), event)
        for value in _owned(fold, events):
            own = picker.best(_own(state, events, happened.tells, value))
            if events.owns is Owns.STATES:
                chosen[value[0]] = np.where(own >= 0, own, chosen[value[0]])
            else:
                own = np.where(later(rank, np.maximum(event, 0), own), event, own)
                chosen[value[0]] = np.where(there, np.where(unset, NONE, own), chosen[value[0]])
    heads = {name: value[0] for value in fold.values for name in value}
    latest, values = Taken(last), {head: Taken(rows) for head, rows in chosen.items()}
    for name in state.column_names:
        if name in heads:
            columns[name] = without_deleted(values[heads[name]].of(state.column(name)))
        elif name in fold.sets:
            columns[name] = _set(state, name, picker, rank)
        else:
            columns[name] = latest.of(state.column(name))
    key, group = (int64(state, name)[picker.row] for name in ("key_hash", "group_hash"))
    columns["group_hash"] = pa.array(group)
    order = np.lexsort((group, key))
    order = order[~hidden[order]]
    take = pa.array(order)
    return {name: column.take(take) for name, column in columns.items()}, np.full(len(order), NONE, np.int64)


def _set(state: pa.Table, name: str, picker: _Picker, rank: Rank) -> pa.Array:
    """Every member of a set that was ever stated, the latest statements first."""
    thing = np.full(picker.count, NONE, np.int64)
    thing[picker.things] = np.arange(len(picker.things))
    parents, places = _members(state, name, picker.ids, rank)
    of = thing[picker.ids[parents]]
    parents, places, of = parents[of >= 0], places[of >= 0], of[of >= 0]
    age = np.empty(state.num_rows, np.int64)
    age[np.lexsort(rank[::-1])[::-1]] = np.arange(state.num_rows)
    order = np.lexsort((places, age[parents], of))
    counts = np.bincount(of, minlength=len(picker.things))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    members = pc.list_flatten(whole(state.column(name))).take(pa.array(places[order]))
    lists = pa.ListArray.from_arrays(pa.array(offsets), without_deleted(members), mask=pa.array(counts == 0))
    return lists.cast(state.schema.field(name).type)


def without_deleted(values: pa.Array) -> pa.Array:
    """Values without what is deleted: ``""`` is nothing, and so is what holds nothing else."""
    kind = values.type
    if pa.types.is_string(kind):
        deleted = pc.equal(values, DELETED)
        return pc.if_else(deleted, None, values) if pc.any(deleted).as_py() else values
    if pa.types.is_struct(kind):
        fields = [without_deleted(field) for field in values.flatten()]
        nothing = np.logical_and.reduce([field.is_null().to_numpy(zero_copy_only=False) for field in fields])
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=pa.array(nothing))
    if pa.types.is_list(kind):
        return _list_without(values)
    return values


def _list_without(lists: pa.Array) -> pa.Array:
    members = pc.list_flatten(lists)
    if not len(members):
        return lists
    parents = pc.list_parent_indices(lists).to_numpy()
    cleaned = without_deleted(members)
    there = cleaned.is_valid().to_numpy(zero_copy_only=False)
    counts = np.bincount(parents[there], minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    made = pa.ListArray.from_arrays(
        pa.array(offsets), cleaned.filter(pa.array(there)), mask=pa.array(counts == 0)
    )
    return made.cast(lists.type)
