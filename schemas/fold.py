"""The vocabulary of folds: how the versions of a thing become what is true now. A fold is a literal.

A *version* is what one message says of one thing; versions are ordered by ``VERSION``. A fold says what the thing's
key is and, in *registers*, which versions count: of each register the greatest one. A register is a join, and so is
a fold: whatever the order, repetition or grouping in which versions are joined, the result is the same.

The rules of meaning stand with the literals in ``schemas/tables/curated.py``; ``pipelines/fold.py`` executes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from schemas.table import Table
from schemas.tables.columns import DELETED

VERSION = (
    "version_time", "sent_sequence", "received_at", "topic_id", "partition", "offset", "reading",
    "segment_index",
)  # fmt: skip
"""What orders versions, the most telling first. The version's own time (never later than a day after receipt); where
that is equal MSH-13 (0 where it is not sent), then the receipt, then the place in Kafka, then the reading of it."""


class Part(IntEnum):
    """How a part of a key is read."""

    VALUE = 0
    """The column as it is."""
    CODE = 1
    """A coded element: code and system, else alternate code and system, else the text without case and width."""
    AUTHORITY = 2
    """Who assigned a number: the column, else source and institution."""
    PERIOD = 3
    """The year, month or day of the column, where the source's order numbers come round again."""
    VISIT = 4
    """The day of the column, or the patient, where the source's visit numbers come round again."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows of which a column has one of some codes.

    The column ``trigger`` is the event that the message tells (MSH-9.2, else EVN-1), ``message_code`` is MSH-9.1.
    """

    column: str
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Key:
    """One way to name a thing.

    Attributes:
        name: two ways of the same name give the same key, in whatever table; part of the key's hash.
        parts: columns, and how they are read.
        needs: columns that must say something; else the next way is tried.
        weak: whether it names the circumstances, for want of a number.
        when: the rows that this way is for; None for all.
        unless: rows that it is not for.
        alias_of: name of the way that a thing first named so is known by, once one message has said both.
        alias_beside: a part that both must say alike: one placer number may have a filler number for each service.
    """

    name: str
    parts: tuple[tuple[str, Part], ...]
    needs: tuple[str, ...] = ()
    weak: bool = False
    when: Codes | None = None
    unless: Codes | None = None
    alias_of: str | None = None
    alias_beside: tuple[str, Part] | None = None


def parts(columns: str) -> tuple[tuple[str, Part], ...]:
    """Parts of a key written as text: ``filler_order authority:filler_authority code:service``."""
    found = []
    for item in columns.split():
        kind, _, column = item.rpartition(":")
        found.append((column, Part[kind.upper()] if kind else Part.VALUE))
    return tuple(found)


def key(
    name: str,
    columns: str,
    *,
    needs: str = "",
    weak: bool = False,
    when: Codes | None = None,
    unless: Codes | None = None,
    alias_of: str | None = None,
    alias_beside: str = "",
) -> Key:
    """A key whose parts are written as text (``parts``)."""
    beside = parts(alias_beside)[0] if alias_beside else None
    return Key(name, parts(columns), tuple(needs.split()), weak, when, unless, alias_of, beside)


class Register(IntEnum):
    """What a version of a row says of the row, in the order in which they are read."""

    RESET = 0
    """What came before, itself included, is no longer so."""
    RAISED = 1
    """Final, and above what is merely final, whatever its time."""
    FINAL = 2
    PRELIMINARY = 3
    """Every version is kept: a U takes its value from the latest one that is not after it."""


@dataclass(frozen=True, slots=True)
class Status:
    """Which register a row goes to; without one every row is final.

    Attributes:
        column: the column with the status; what is in neither set is preliminary.
        reset: statuses that take back.
        final: final statuses.
        raised_codes: final statuses that rank above others.
        raised_column: a row in which this column says something ranks above others.
        takes_value: statuses that take the value of the latest preliminary version where they have none.
        otherwise: where the column says nothing, this status is read; None: preliminary.
    """

    column: str
    reset: frozenset[str]
    final: frozenset[str]
    raised_codes: frozenset[str] = frozenset()
    raised_column: str | None = None
    takes_value: frozenset[str] = frozenset()
    otherwise: Status | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """Rows that speak of a thing of another key, or table: in a row fold, that what came before is no longer so.

    They make no thing be shown that only they speak of.

    Attributes:
        table: the normalised table they come from.
        when: which of its rows.
        columns: column of this fold → column of that row; those of the key, the status, and what else is said.
        also: what its rows must be besides.
        resets: in a row fold, whether they take back what came before; else they go to the register that their status
            tells, such as that of what deletes whatever comes later.
        status: the status that those stand for which have none of their own.
        but: two columns that must not say the same: nothing takes its own place.
    """

    table: str
    when: Codes
    columns: Mapping[str, str]
    also: Codes | None = None
    resets: bool = True
    status: str | None = None
    but: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RowFold:
    """The winner is a whole row, or a group of lines.

    Attributes:
        table: the normalised table.
        keys: ways to name the thing, tried in turn; then each row is a thing of its own.
        groups: ways to name a group of lines within the thing; a later version replaces all lines of a group. None:
            the thing is its only group.
        scopes: ways to name what a group belongs to; what is taken back there is taken back in the group.
        subject: columns of whom it is said; a reset acts only on what was said of the same.
        status: which register a row goes to.
        value: columns that a status without a value takes from elsewhere, and that a reset empties.
        deleting: rows that take the thing away.
        ignored: rows that say nothing of it.
        echoes: rows elsewhere that take it back.
        shows_reset: whether a thing that was taken back is still shown, with that status and without a value.
        action: column with an action code. The thing is a set then: the rows of a message without one are the whole
            set; a row with one adds, changes or takes away (``deleting``) one member.
        members: ways to name a member of the set.
    """

    table: Table
    keys: tuple[Key, ...]
    groups: tuple[Key, ...] = ()
    scopes: tuple[Key, ...] = ()
    subject: tuple[str, ...] = ()
    status: Status | None = None
    value: tuple[str, ...] = ()
    deleting: tuple[Codes, ...] = ()
    ignored: Codes | None = None
    echoes: tuple[Echo, ...] = ()
    shows_reset: bool = False
    action: str | None = None
    members: tuple[Key, ...] = ()

    def __post_init__(self) -> None:
        keys = (*self.keys, *self.groups, *self.members, *self.scopes)
        columns = [
            *self.subject,
            *self.value,
            self.action,
            *(one for echo in self.echoes for one in echo.columns),
        ]
        status = self.status
        while status is not None:
            columns += [status.column, status.raised_column]
            status = status.otherwise
        _check(self.table, keys, columns, (*self.deleting, self.ignored))


class Owns(IntEnum):
    """What a register of events does with its values."""

    NOTHING = 0
    """They are none of its own; it is shown by itself."""
    STATES = 1
    """Its latest event says them, whichever it is: a transfer, or its cancellation that says where back."""
    ENDS = 2
    """Its cancelling event empties them; after the other kind they may be corrected, but not emptied."""


@dataclass(frozen=True, slots=True)
class Events:
    """A register of a field-wise fold that events set and unset.

    Attributes:
        name: its name.
        column: where the event stands; ``trigger`` is the event that the message tells.
        sets: event → what is shown in ``shows`` (empty: nothing).
        unsets: likewise.
        owns: what it does with ``values``.
        values: values that are its own, each by its first column.
        shows: column of the curated table that shows its state: ``sets``' or ``unsets``' text.
        told_in: a column whose value is shown instead, where a row has one; such rows count as events.
        not_told_by: events for which ``told_in`` is no fact.
        shows_time: column that shows since when.
        hides: whether the thing is not shown once it is unset.
        at_word: further events, of sources that are taken at their word.
    """

    name: str
    column: str
    sets: Mapping[str, str]
    unsets: Mapping[str, str]
    owns: Owns = Owns.NOTHING
    values: tuple[str, ...] = ()
    shows: str | None = None
    told_in: str | None = None
    not_told_by: frozenset[str] = frozenset()
    shows_time: str | None = None
    hides: bool = False
    at_word: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class FieldFold:
    """Field by field: of each value the latest version that says something; ``""`` deletes.

    Attributes:
        table: the normalised table.
        keys: ways to name the thing, tried in turn; then each row is a thing of its own.
        values: columns that are one value together, such as a code with its text and system.
        sets: lists that only grow: each member (value and authority) that was ever said.
        events: registers that events set and unset.
        groups: ways to name what is told apart within the thing; what names none is said of all of them.
        ignored: rows that say nothing of it.
        echoes: rows elsewhere that say something of it.
    """

    table: Table
    keys: tuple[Key, ...]
    values: tuple[tuple[str, ...], ...]
    sets: tuple[str, ...] = ()
    events: tuple[Events, ...] = ()
    groups: tuple[Key, ...] = ()
    ignored: Codes | None = None
    echoes: tuple[Echo, ...] = ()

    def __post_init__(self) -> None:
        columns = [*self.sets, *(one for value in self.values for one in value)]
        columns += [one for echo in self.echoes for one in echo.columns]
        heads = {value[0] for value in self.values}
        for events in self.events:
            columns += [events.column, *([events.told_in] if events.told_in else [])]
            columns += [one if one in heads else f"{one} (no value's first)" for one in events.values]
        _check(self.table, (*self.keys, *self.groups), columns, (self.ignored,))


Fold = RowFold | FieldFold

_READ = frozenset({"trigger", "message_code"})


def _check(
    table: Table, keys: Iterable[Key], columns: Iterable[str | None], codes: Iterable[Codes | None]
) -> None:
    """Refuse a fold that names columns which its table has not."""
    there = {field.name for field in table.fields} | _READ
    ways = tuple(keys)
    named = {column for column in columns if column is not None}
    named |= {
        one.column for one in (*codes, *(key.when for key in ways), *(key.unless for key in ways)) if one
    }
    for key in ways:
        named |= set(key.needs)
        for column, kind in (*key.parts, *([key.alias_beside] if key.alias_beside else [])):
            coded = f"{column}_code" in there or {column, f"{column}_system", f"{column}_display"} <= there
            named |= set() if kind is Part.CODE and coded else {column}
        named -= {column for column, kind in key.parts if kind is Part.CODE and f"{column}_code" in there}
    if unknown := named - there:
        raise ValueError(f"a fold of {table.name} names unknown columns: {sorted(unknown)}")


_TOGETHER = (
    "_display", "_system", "_alt_code", "_alt_display", "_alt_system", "_system_version", "_text", "_precision",
    "_offset", "_authority", "_type", "_family_name", "_given_name", "_unit", "_currency",
)  # fmt: skip


def values_of(
    table: Table,
    origin: frozenset[str],
    apart: tuple[str, ...] = (),
    together: tuple[tuple[str, ...], ...] = (),
) -> tuple[tuple[str, ...], ...]:
    """The columns of a table that are one value together: a code with its text, an instant with its precision.

    Args:
        table: a normalised table.
        origin: columns that say where a row came from.
        apart: columns that go alone, whatever their names.
        together: further columns that are one value.
    """
    heads: dict[str, str] = {name: value[0] for value in together for name in value}
    names = [field.name for field in table.fields if field.name not in origin]
    for name in names:
        stems = [name.removesuffix(end) for end in _TOGETHER if name.endswith(end)]
        wanted = [one for stem in stems for one in (stem, f"{stem}_code", f"{stem}_id", f"{stem}_number")]
        found = next((one for one in wanted if one in heads), None)
        heads.setdefault(name, name if found is None or name in apart else heads[found])
    return tuple(
        tuple(name for name in names if heads[name] == head) for head in names if heads[head] == head
    )


__all__ = [
    "DELETED", "VERSION", "Codes", "Echo", "Events", "FieldFold", "Fold", "Key", "Owns", "Part", "Register",
    "RowFold", "Status", "key", "parts", "values_of",
]  # fmt: skip
