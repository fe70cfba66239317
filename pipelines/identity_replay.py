"""What the statements about some patients' identifiers amount to, replayed in the order of their own time.

The persons are the connected components of the edges that count. The *representative* of a person is found so: each
identifier that was given up points to what it was given up for last; from the latest such edge on one follows the
pointers to the identifier that survives, or into a cycle, of which the latest edge decides. Of several survivors that
are only linked, the earliest seen represents the person.

An edge does not count where a later statement takes its place: a steward's unlink or cannot-link of the same two, for a
link also an A37; for what an identifier says of whose it is, a later move of it (or a later message that lists it
beside another). What would join two identifiers that a steward said are never one person is blocked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.tables.identity import (
    APPLIED,
    BLOCKED,
    CANNOT_LINK,
    LINK,
    MERGE,
    MOVE,
    NOTHING,
    OVERRULED,
    RENAME,
    SAME,
    UNLINK,
)

STILL_CONNECTED = "IDENTITY-STILL-CONNECTED"
FORBIDDEN = "IDENTITY-CANNOT-LINK"

_DIRECTED = frozenset({MERGE, RENAME, MOVE})
_OWNING = frozenset({MOVE, SAME})
_JOINING = frozenset({*_DIRECTED, SAME, LINK})


@dataclass(frozen=True, slots=True)
class Statement:
    """What is stated of two different identifiers of patients.

    Attributes:
        kind: see ``schemas.tables.identity.KINDS``.
        one: number of the first identifier.
        other: of the second.
        time: version time in microseconds.
        steward: whether a steward states it.
    """

    kind: str
    one: int
    other: int
    time: int
    steward: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        """The two, in whatever order they were named."""
        return (self.one, self.other) if self.one < self.other else (self.other, self.one)


@dataclass(frozen=True)
class Replayed:
    """What statements amount to.

    Attributes:
        representative: of each identifier's person.
        current: of each identifier the one in whose place it is now; itself where it was not given up.
        outcomes: of each statement, with a finding where a steward should look.
        intervals: identifier, since when, until when (None: still) it represented a person, in microseconds.
    """

    representative: list[int]
    current: list[int]
    outcomes: list[tuple[str, str | None]]
    intervals: list[tuple[int, int, int | None]]


def replay(first_seen: Sequence[int], statements: Sequence[Statement]) -> Replayed:
    """Replay statements.

    Args:
        first_seen: when each identifier was first stated, microseconds; identifiers are numbered in the order in
            which they were first seen, so that of two the smaller number is the earlier one.
        statements: in the order of what they state; each about two different identifiers.
    """
    count = len(first_seen)
    given = _Given(first_seen)
    state = _State(count)
    rulings = _Rulings(statements)
    for number, statement in enumerate(statements):
        before = rulings.needs_anew(number)
        rulings.take(number)
        if before:
            state = _anew(count, rulings, number + 1)
            given.become(state.representatives(), statement.time)
        elif statement.kind in _JOINING and rulings.counts(number):
            given.change(*state.add(number, statement, rulings.forbidden), statement.time)
    final = _anew(count, rulings, len(statements))
    return Replayed(
        representative=[final.best[final.find(node)] for node in range(count)],
        current=[final.survivor(node) for node in range(count)],
        outcomes=[_outcome(number, rulings, final) for number in range(len(statements))],
        intervals=given.all(),
    )


def _anew(count: int, rulings: _Rulings, upto: int) -> _State:
    """The state after some statements, from the beginning."""
    state = _State(count)
    for number in range(upto):
        statement = rulings.statements[number]
        if statement.kind in _JOINING and rulings.counts(number):
            state.add(number, statement, rulings.forbidden)
    return state


@dataclass
class _Rulings:
    """Which of the statements taken so far count.

    Attributes:
        statements: all of them.
        last_word: pair → the last thing that a steward said of it.
        cut: pair → the last time that a steward took apart what was stated before.
        unlinked: pair → the last A37.
        owner: identifier → the last statement of whose it is.
        moved: identifier → the last move of it.
        forbidden: pairs that are never one person.
        of_pair: pair → all that was said of it.
    """

    statements: Sequence[Statement]
    last_word: dict[tuple[int, int], int] = field(default_factory=dict)
    cut: dict[tuple[int, int], int] = field(default_factory=dict)
    unlinked: dict[tuple[int, int], int] = field(default_factory=dict)
    owner: dict[int, int] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    forbidden: set[tuple[int, int]] = field(default_factory=set)
    of_pair: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def needs_anew(self, number: int) -> bool:
        """Whether a statement, the next to be taken, may undo what counted before."""
        statement = self.statements[number]
        if statement.kind == SAME:
            last = self.owner.get(statement.one)
            return last is not None and self.statements[last].other != statement.other
        return statement.kind in {MOVE, UNLINK, CANNOT_LINK} or (
            statement.steward and statement.pair in self.forbidden
        )

    def take(self, number: int) -> None:
        """Take the next statement."""
        statement = self.statements[number]
        self.of_pair.setdefault(statement.pair, []).append(number)
        if statement.steward:
            self.last_word[statement.pair] = number
            if statement.kind == CANNOT_LINK:
                self.forbidden.add(statement.pair)
            else:
                self.forbidden.discard(statement.pair)
            if statement.kind in {UNLINK, CANNOT_LINK}:
                self.cut[statement.pair] = number
        elif statement.kind == UNLINK:
            self.unlinked[statement.pair] = number
        if statement.kind in _OWNING:
            self.owner[statement.one] = number
        if statement.kind == MOVE:
            self.moved[statement.one] = number

    def counts(self, number: int) -> bool:
        """Whether a statement that joins two identifiers is not overruled by what was taken."""
        statement = self.statements[number]
        if self.cut.get(statement.pair, -1) > number:
            return False
        if statement.steward:
            return True
        if statement.pair in self.forbidden:
            return False
        if statement.kind in _OWNING:
            owner = self.statements[self.owner[statement.one]]
            return owner.other == statement.other
        moved = self.moved.get(statement.one, -1)
        if statement.kind == LINK:
            moved = max(moved, self.moved.get(statement.other, -1), self.unlinked.get(statement.pair, -1))
        return moved < number


class _State:
    """Persons, made by adding edges in their order.

    Attributes:
        best: root of a person → its representative.
        applied: statements that count.
    """

    def __init__(self, count: int) -> None:
        self.best = list(range(count))
        self.applied: set[int] = set()
        self._person = list(range(count))
        self._group = list(range(count))  # what merges, renames and moves alone join
        self._survivor = list(range(count))  # root of a group → the identifier that survives
        self._survivors = [{node} for node in range(count)]  # root of a person → of its groups
        self._out: dict[
            int, tuple[int, int]
        ] = {}  # identifier → the last statement that gives it up, for what

    def find(self, node: int) -> int:
        """The root of an identifier's person."""
        return _root(self._person, node)

    def representatives(self) -> set[int]:
        """Of all persons."""
        return {self.best[self.find(node)] for node in range(len(self.best))}

    def add(
        self, number: int, statement: Statement, forbidden: set[tuple[int, int]]
    ) -> tuple[set[int], set[int]]:
        """Add a statement that joins two identifiers; none where that is forbidden.

        Returns:
            representatives before and after, of the persons that it is about.
        """
        one, other = self.find(statement.one), self.find(statement.other)
        if one != other and any({self.find(low), self.find(high)} == {one, other} for low, high in forbidden):
            return set(), set()
        self.applied.add(number)
        before = {self.best[one], self.best[other]}
        root = one
        if one != other:
            if len(self._survivors[one]) < len(self._survivors[other]):
                one, other = other, one
            root = one
            self._person[other] = root
            self._survivors[root] |= self._survivors[other]
            self._survivors[other] = set()
        if statement.kind in _DIRECTED:
            self._give_up(number, statement, root, before)
        else:
            self.best[root] = min(before)
        return before, {self.best[root]}

    def _give_up(self, number: int, statement: Statement, root: int, before: set[int]) -> None:
        """Let an identifier be given up for another, and tell who represents the person then."""
        self._out[statement.one] = number, statement.other
        low, high = _root(self._group, statement.one), _root(self._group, statement.other)
        gone = {self._survivor[low], self._survivor[high]}
        self._group[high] = low
        survivor = self._survivor[low] = self.survivor(statement.one)
        self._survivors[root] -= gone
        self._survivors[root].add(survivor)
        gone.discard(survivor)
        self.best[root] = min(self._survivors[root] if gone & before else before | {survivor})

    def survivor(self, node: int) -> int:
        """Where an identifier leads: to what is not given up itself; in a cycle to what its latest edge names."""
        met: dict[int, int] = {}
        path: list[tuple[int, int]] = []
        while node in self._out and node not in met:
            met[node] = len(path)
            path.append(self._out[node])
            node = path[-1][1]
        return max(path[met[node] :])[1] if node in met else node


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


class _Given:
    """Which identifiers gave a person its id, from when to when."""

    def __init__(self, first_seen: Sequence[int]) -> None:
        self._since: dict[int, int] = dict(enumerate(first_seen))
        self._ended: dict[int, list[tuple[int, int]]] = {}

    def change(self, before: set[int], after: set[int], time: int) -> None:
        """Some ids were a person's and others are now."""
        for node in before - after:
            since = self._since.pop(node)
            if since < time:
                self._ended.setdefault(node, []).append((since, time))
        for node in after - before:
            ended = self._ended.get(node)
            self._since[node] = ended.pop()[0] if ended and ended[-1][1] == time else time

    def become(self, after: set[int], time: int) -> None:
        """These are the persons' ids now."""
        self.change(set(self._since), after, time)

    def all(self) -> list[tuple[int, int, int | None]]:
        """Every interval, by identifier."""
        found: list[tuple[int, int, int | None]] = [
            (node, since, until) for node, ended in self._ended.items() for since, until in ended
        ]
        found += [(node, since, None) for node, since in self._since.items()]
        return sorted(found, key=lambda one: one[:2])


def _outcome(number: int, rulings: _Rulings, final: _State) -> tuple[str, str | None]:
    statement = rulings.statements[number]
    if number in final.applied:
        return APPLIED, None
    if statement.kind == CANNOT_LINK:
        return (APPLIED if rulings.last_word[statement.pair] == number else OVERRULED), None
    if statement.kind == UNLINK:
        return _outcome_of_unlink(number, rulings, final)
    if rulings.counts(number):
        return BLOCKED, FORBIDDEN
    if statement.pair in rulings.forbidden and rulings.last_word[statement.pair] < number:
        return BLOCKED, FORBIDDEN
    return OVERRULED, None


def _outcome_of_unlink(number: int, rulings: _Rulings, final: _State) -> tuple[str, str | None]:
    statement = rulings.statements[number]
    direct = [
        other for other in rulings.of_pair[statement.pair] if rulings.statements[other].kind in _JOINING
    ]
    if any(other > number and other in final.applied for other in direct):
        return OVERRULED, None
    if final.find(statement.one) == final.find(statement.other):
        return NOTHING, STILL_CONNECTED
    undone = [
        other
        for other in direct
        if other < number and (statement.steward or rulings.statements[other].kind == LINK)
    ]
    return (APPLIED if undone else NOTHING), None
