"""Folds executed: from versions of things to what is true now.

A *state* is a table of versions, the fewest from which a fold can be read: of each thing and register the greatest
(``schemas.fold``). States are joined; the join is commutative, associative and idempotent, and the state of all
versions is the join of the states of any parts of them. What deletes or takes back stays in the state, so that an
older version that comes later changes nothing.

=============  ==========================================================================================
``state_of``   rows of a normalised table → state
``join``       states → state
``read``       state → what is true now
``laid``       state → rows of the curated table: what is true now, and beside it the versions to join with
``kept``       rows of the curated table → state
=============  ==========================================================================================

All rows of one message in one table must come to ``state_of`` together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake_layout.columns import Absent, as_one, whole
from pipelines.fold_fields import read_fields, winners_by_field
from pipelines.fold_keys import I64, Bools, Hasher, has_code, hash_of_texts, is_one_of, mixed
from pipelines.fold_rows import read_rows, units_of, winners_by_register
from pipelines.fold_versions import WITHOUT_SEGMENT, greatest, int64, least, number, rank_of, rows_of
from schemas.fold import Echo, FieldFold, Fold, Part, Register, RowFold, Status
from schemas.source import NO_SOURCES, Sources
from schemas.tables.columns import ORIGIN
from schemas.tables.curated import curated, state_fields

I8 = np.ndarray[tuple[int], np.dtype[np.int8]]

ALIASES_SCHEMA = pa.schema(
    [pa.field("alias_hash", pa.int64(), nullable=False), pa.field("key_hash", pa.int64(), nullable=False)]
)
"""A number that a thing was named by → the key that it is known by. Joined by the least key."""

NO_ALIASES = ALIASES_SCHEMA.empty_table()
NO_ECHOES: Mapping[str, pa.Table] = MappingProxyType({})
_NO_MONTH = np.iinfo(np.int64).max


def state_schema(fold: Fold) -> pa.Schema:
    """The Arrow schema of a fold's states."""
    return pa.schema([pa.field(one.name, one.type, nullable=one.nullable) for one in state_fields(fold)])


def state_of(
    fold: Fold,
    rows: pa.Table,
    *,
    echoes: Mapping[str, pa.Table] = NO_ECHOES,
    sources: Sources = NO_SOURCES,
    aliases: pa.Table = NO_ALIASES,
) -> pa.Table:
    """The state of what some messages say.

    Args:
        fold: the fold.
        rows: rows of the fold's normalised table; strings may be dictionaries.
        echoes: rows of other normalised tables, by name, that say something of the fold's things
            (``fold.echoes``).
        sources: settings of the senders: within what their numbers are unique.
        aliases: ``ALIASES_SCHEMA``, of this fold, what is known so far and what ``rows`` say.
    """
    return _state_of(fold, Hasher(rows, sources), echoes, aliases)


def said_by(fold: Fold, rows: pa.Table, *, sources: Sources) -> tuple[pa.Table, pa.Table, pa.Table]:
    """What rows of the fold's own table say: ``state_of``, ``aliases_of`` and ``formerly``, their keys hashed once."""
    hasher = Hasher(rows, sources)
    aliases, former = (join_aliases(one) for one in _said_both(fold, hasher))
    return _state_of(fold, hasher, NO_ECHOES, NO_ALIASES), aliases, former


def _state_of(fold: Fold, hasher: Hasher, echoes: Mapping[str, pa.Table], aliases: pa.Table) -> pa.Table:
    sources = hasher.sources
    if fold.ignored is not None and len(hasher):
        ignored = has_code(hasher.rows, fold.ignored)
        hasher = Hasher(hasher.rows.filter(pa.array(~ignored)), sources) if ignored.any() else hasher
    rows = hasher.rows
    pieces = [_versions(fold, hasher, aliases)]
    for echo in fold.echoes:
        theirs = rows if echo.table == fold.table.name else echoes.get(echo.table)
        if theirs is not None and theirs.num_rows:
            pieces.append(_echoed(fold, echo, theirs, sources, aliases))
    return join(fold, *pieces)


def join(fold: Fold, *states: pa.Table) -> pa.Table:
    """States of one fold as one."""
    saying = [state for state in states if state.num_rows]
    if not saying:
        return states[0]
    state = as_one(saying)
    rank = rank_of(state)
    ids, count = number(int64(state, "key_hash"))
    months = pc.fill_null(whole(state.column("home_month")).cast(pa.int32()).cast(pa.int64()), _NO_MONTH)
    home = least(ids, count, months.to_numpy())
    wins = (
        winners_by_field(fold, state, rank)
        if isinstance(fold, FieldFold)
        else winners_by_register(state, rank)
    )
    home = home[ids]
    if not wins.all():
        rows = np.flatnonzero(wins)
        state, home = rows_of(state, rows), home[rows]
    return _with(state, "home_month", _months(home))


def read(fold: Fold, state: pa.Table) -> pa.Table:
    """What is true now.

    Args:
        fold: the fold.
        state: of the fold.

    Returns:
        The fold's curated table, rows with ``shown``, sorted by key, group and line; ``kept`` tells which of them
        are at the same time versions of the state, unchanged.
    """
    return _read(fold, state)[0]


def _read(fold: Fold, state: pa.Table) -> tuple[pa.Table, I64]:
    """What is true now, and the rows of the state that it shows unchanged."""
    schema = curated(fold).arrow_schema
    if not state.num_rows:
        return schema.empty_table(), np.zeros(0, np.int64)
    rank = rank_of(state)
    columns, same = (
        read_rows(fold, state, rank) if isinstance(fold, RowFold) else read_fields(fold, state, rank)
    )
    columns["since"] = columns["version_time"]
    columns["shown"] = pa.array(np.ones(len(same), bool))
    columns["kept"] = pa.array(same >= 0)
    shown = pa.table([columns[name] for name in schema.names], schema=schema)
    return shown, same[same >= 0]


def laid(fold: Fold, state: pa.Table) -> pa.Table:
    """The rows of the curated table that hold a state: those that are shown, and the versions beside them."""
    shown, same = _read(fold, state)
    hidden = np.ones(state.num_rows, bool)
    hidden[same] = False
    rows = rows_of(state, np.flatnonzero(hidden))
    none, yes = np.zeros(rows.num_rows, bool), np.ones(rows.num_rows, bool)
    columns = {name: rows.column(name) for name in rows.column_names}
    columns |= {"since": rows.column("version_time"), "shown": pa.array(none), "kept": pa.array(yes)}
    absent = Absent(rows.num_rows)
    beside = pa.table(
        [columns[one.name] if one.name in columns else absent.of(one.type) for one in shown.schema],
        schema=shown.schema,
    )
    return pa.concat_tables([shown, beside])


def kept(fold: Fold, rows: pa.Table) -> pa.Table:
    """The state that rows of the curated table hold."""
    rows = rows_of(rows, np.flatnonzero(rows.column("kept").to_numpy()))
    return rows.select(state_schema(fold).names).cast(state_schema(fold))


def aliases_of(fold: Fold, rows: pa.Table, *, sources: Sources = NO_SOURCES) -> pa.Table:
    """Which keys stand for which numbers, as some rows say that give both.

    Args:
        fold: the fold.
        rows: rows of its normalised table.
        sources: settings of the senders.

    Returns:
        ``ALIASES_SCHEMA``. An order that was first known by its placer's number is the same order later.
    """
    return join_aliases(_said_both(fold, Hasher(rows, sources))[0])


def formerly(fold: Fold, rows: pa.Table, *, sources: Sources = NO_SOURCES) -> pa.Table:
    """By which keys things were known before rows said both their numbers: where versions to be rekeyed lie.

    Args:
        fold: the fold.
        rows: rows of its normalised table.
        sources: settings of the senders.

    Returns:
        ``ALIASES_SCHEMA``, with the former key; beside it, versions may be known by an earlier alias.
    """
    return join_aliases(_said_both(fold, Hasher(rows, sources))[1])


def has_aliases(fold: Fold) -> bool:
    """Whether things may be known by a number that stands for another."""
    return any(key.alias_of is not None for key in fold.keys)


def _said_both(fold: Fold, hasher: Hasher) -> tuple[pa.Table, pa.Table]:
    """Aliases with the keys that they stand for, and with those that things have without them."""
    if not len(hasher) or not has_aliases(fold):
        return NO_ALIASES, NO_ALIASES
    named = hasher.named(fold.keys)
    found = ([NO_ALIASES], [NO_ALIASES])
    for source in named.alias_sources:
        there = source != 0
        for pieces, keys in zip(found, (named.alias_target, named.alias_own), strict=True):
            pieces.append(pa.table([source[there], keys[there]], schema=ALIASES_SCHEMA))
    return pa.concat_tables(found[0]), pa.concat_tables(found[1])


def join_aliases(*aliases: pa.Table) -> pa.Table:
    """Aliases as one table: of each number the least key."""
    if not aliases:
        return NO_ALIASES
    every = pa.concat_tables(aliases)
    source, target = int64(every, "alias_hash"), int64(every, "key_hash")
    ids, count = number(source)
    found = least(ids, count, target)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, ids, np.arange(len(ids)))
    return pa.table([source[first], found], schema=ALIASES_SCHEMA).sort_by("alias_hash")


def rekeyed(fold: Fold, state: pa.Table, aliases: pa.Table) -> pa.Table:
    """A state whose things are known by what newer aliases say; to be joined with the states of those keys."""
    own = int64(state, "key_hash")
    keys = _known_by(own, int64(state, "alias_hash"), aliases)
    return state if np.array_equal(keys, own) else join(fold, _with(state, "key_hash", pa.array(keys)))


def _known_by(keys: I64, alias: I64, aliases: pa.Table) -> I64:
    if not aliases.num_rows or not alias.any():
        return keys
    source, target = int64(aliases, "alias_hash"), int64(aliases, "key_hash")
    place = np.minimum(np.searchsorted(source, alias), len(source) - 1)
    return np.where((alias != 0) & (source[place] == alias), target[place], keys)


def _versions(fold: Fold, hasher: Hasher, aliases: pa.Table) -> pa.Table:
    """Every row as a version: what it names, and its register."""
    rows = hasher.rows
    named = hasher.named(fold.keys)
    count = rows.num_rows
    columns = {name: rows.column(name) for name in rows.column_names}
    group = _group(fold, hasher)
    scope = subject = np.zeros(count, np.int64)
    register = np.full(count, Register.FINAL, np.int8)
    if isinstance(fold, RowFold):
        scope = hasher.first(fold.scopes).view(np.int64)
        parts = [hasher.part(name, Part.VALUE) for name in fold.subject]
        subject = mixed(*parts).view(np.int64) if parts else subject
        if fold.status is not None:
            register, columns[fold.status.column] = _registers(fold.status, rows)
    made = {
        "home_month": rows.column("event_month"),
        "key_hash": pa.array(_known_by(named.key, named.alias, aliases)),
        "group_hash": pa.array(group),
        "scope_hash": pa.array(scope),
        "subject_hash": pa.array(subject),
        "alias_hash": pa.array(named.alias),
        "register": pa.array(register),
        "weak": pa.array(named.weak),
        "echo": pa.array(np.zeros(count, bool)),
        "at_word": pa.array(_at_word(rows, hasher.sources)),
    }
    state = _as_state(fold, {**columns, **made}, count)
    return _one_register_per_group(state) if isinstance(fold, RowFold) and fold.status is not None else state


def _group(fold: Fold, hasher: Hasher) -> I64:
    if isinstance(fold, RowFold) and fold.action is not None:
        acts = hasher.part(fold.action, Part.VALUE) != 0
        return np.where(acts, hasher.first(fold.members).view(np.int64), 0)
    return hasher.first(fold.groups).view(np.int64)


def _at_word(rows: pa.Table, sources: Sources) -> Bools:
    names = pc.unique(rows.column("source").cast(pa.string())).to_pylist()
    trusted = [name for name in names if sources.get(name).orders_at_word]
    if not trusted:
        return np.zeros(rows.num_rows, bool)
    flags: Bools = pc.is_in(whole(rows.column("source")).cast(pa.string()), pa.array(trusted)).to_numpy(
        zero_copy_only=False
    )
    return flags


def _registers(status: Status, rows: pa.Table) -> tuple[I8, pa.Array]:
    """The register of each row by itself, and the status that it has in effect."""
    column = whole(rows.column(status.column)).cast(pa.string())
    final, reset = is_one_of(column, status.final), is_one_of(column, status.reset)
    above = is_one_of(column, status.raised_codes)
    if status.raised_column is not None:
        above |= whole(rows.column(status.raised_column)).is_valid().to_numpy(zero_copy_only=False)
    register = np.select(
        [reset, final & above, final],
        [np.int8(Register.RESET), np.int8(Register.RAISED), np.int8(Register.FINAL)],
        np.int8(Register.PRELIMINARY),
    )
    if status.otherwise is None:
        return register, column
    others, other_column = _registers(status.otherwise, rows)
    said = hash_of_texts(column) != 0
    theirs = ~said | (others == Register.RESET)
    effective = pc.if_else(pa.array(theirs), pc.coalesce(other_column, column), column)
    return np.where(theirs, others, register), effective


def _one_register_per_group(state: pa.Table) -> pa.Table:
    """The lines of a group go where the first of them goes."""
    rank = rank_of(state)
    units, count = units_of(state, rank)
    first = greatest(units, count, -rank[WITHOUT_SEGMENT:])
    return _with(state, "register", pa.array(int64(state, "register")[first[units]].astype(np.int8)))


def _echoed(fold: Fold, echo: Echo, rows: pa.Table, sources: Sources, aliases: pa.Table) -> pa.Table:
    """What rows elsewhere say, or take back, as versions of this fold."""
    rows = rows.filter(pa.array(has_code(rows, echo.when)))
    if echo.also is not None and rows.num_rows:
        rows = rows.filter(pa.array(has_code(rows, echo.also)))
    if echo.but is not None and rows.num_rows:
        one, other = (hash_of_texts(rows.column(name)) for name in echo.but)
        rows = rows.filter(pa.array((one != other) | (one == 0)))
    if not rows.num_rows:
        return state_schema(fold).empty_table()
    schema = pa.schema([(one.name, one.type) for one in fold.table.fields])
    origin = {field.name for field in ORIGIN}
    mapped = pa.table(
        [
            rows.column(echo.columns.get(name, name)).cast(kind)
            if name in echo.columns or name in origin
            else pa.nulls(rows.num_rows, kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ],
        schema=schema,
    )
    hasher = Hasher(mapped, sources)
    named = hasher.first(fold.keys) != 0
    if not named.all():
        mapped = mapped.filter(pa.array(named))
        hasher = Hasher(mapped, sources)
    count = mapped.num_rows
    state = _with(_versions(fold, hasher, aliases), "echo", pa.array(np.ones(count, bool)))
    if isinstance(fold, FieldFold) or not echo.resets:
        return state
    state = _with(state, "group_hash", pa.array(hasher.first(fold.scopes).view(np.int64)))
    if fold.status is not None and echo.status is not None:
        state = _with(state, fold.status.column, pa.array([echo.status] * count, pa.string()))
    return _with(state, "register", pa.array(np.full(count, Register.RESET, np.int8)))


def _as_state(fold: Fold, columns: Mapping[str, pa.ChunkedArray | pa.Array], count: int) -> pa.Table:
    schema, absent = state_schema(fold), Absent(count)
    return pa.table([_typed(columns.get(field.name), field, absent) for field in schema], schema=schema)


def _typed(column: pa.ChunkedArray | pa.Array | None, field: pa.Field, absent: Absent) -> pa.Array:
    if column is not None and column.null_count < len(column):
        found = whole(column)
        found = found if found.type == field.type else found.cast(field.type)
        return found if field.nullable or not found.null_count else pc.fill_null(found, 0)
    return absent.of(field.type) if field.nullable else pa.array(np.zeros(absent.count), field.type)


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), column)


def _months(home: I64) -> pa.Array:
    return pa.array(np.where(home == _NO_MONTH, 0, home).astype(np.int32), mask=home == _NO_MONTH).cast(
        pa.date32()
    )
