"""Who is who: from the set of edges and identifiers seen to persons, their identifiers, redirects and the queue.

A pure function of the set: neither order nor repetition of edges changes anything. What an edge can change lies within
its connected component, so it is enough to resolve anew the components that new edges touch (``affected``) and to
replace their rows: a person's rows are those of the identifiers of its component.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.identity_components import I64, Bools, affected, among, components
from pipelines.identity_edges import (
    STEWARD,
    condense,
    edges_of_links,
    edges_of_patients,
    edges_of_steward,
    in_order,
    join_seen,
    seen_of,
)
from pipelines.identity_replay import STILL_CONNECTED, Replayed, Statement, replay
from schemas.tables.identity import (
    APPLIED,
    IDENTIFIER_REDIRECT,
    MERGE,
    MOVE,
    NOTHING,
    OVERRULED,
    PERSON,
    PERSON_ID_HISTORY,
    PERSON_IDENTIFIER,
    PERSON_LINK,
    REFUSED,
    RENAME,
    SEEN,
    STEWARD_QUEUE,
)

__all__ = [
    "ENDS",
    "Ends",
    "Identity",
    "Touch",
    "affected",
    "components",
    "condense",
    "edges_of_links",
    "edges_of_patients",
    "edges_of_steward",
    "ends_of",
    "join_seen",
    "once",
    "person_id",
    "resolve",
    "resolve_in_shares",
    "seen_of",
    "touched",
]

ROWS_TOGETHER = 50_000
"""So many edges and identifiers seen are resolved at a time: bounds a worker's memory, some kilobytes for each."""

_NAMESPACE = uuid.UUID("5b0a4a54-8f0e-5c0e-9d5b-6c2f0d3b8a11")
"""The name space of person ids; another one would change them all."""

Name = tuple[str, str]
"""Authority and value."""

Node = tuple[str, str, str]
"""Level, authority and value."""

Row = dict[str, object]


@dataclass(frozen=True)
class Identity:
    """Who is who.

    Attributes:
        links: ``PERSON_LINK``, every edge with its outcome.
        persons: ``PERSON``.
        identifiers: ``PERSON_IDENTIFIER``.
        history: ``PERSON_ID_HISTORY``.
        redirects: ``IDENTIFIER_REDIRECT``.
        queue: ``STEWARD_QUEUE``.
    """

    links: pa.Table
    persons: pa.Table
    identifiers: pa.Table
    history: pa.Table
    redirects: pa.Table
    queue: pa.Table


def person_id(authority: str, value: str) -> str:
    """The id of a person whom an identifier represents: a UUID of version 5 (RFC 9562 §5.5)."""
    return str(uuid.uuid5(_NAMESPACE, f"{authority}\x1f{value}"))


def once(edges: pa.Table) -> pa.Table:
    """Each edge once, in the order of what they state, without the outcome that depends on others."""
    ordered = _unresolved(_last_reading(edges.take(in_order(edges))))
    kept: dict[tuple[object, ...], int] = {}
    for place, edge in enumerate(
        zip(*(ordered.column(name).to_pylist() for name in _SAME_EDGE), strict=True)
    ):
        kept.setdefault(edge, place)
    if len(kept) < ordered.num_rows:
        ordered = ordered.take(pa.array(kept.values(), pa.int64()))
    condensed = condense(ordered)
    return condensed.take(in_order(condensed))


def _last_reading(edges: pa.Table) -> pa.Table:
    """Of messages that were read again only what the last reading states."""
    readings = edges.column("reading").to_numpy()
    if not len(readings) or readings.min() == readings.max():
        return edges
    places = list(zip(*(edges.column(name).to_pylist() for name in _COORDINATES), strict=True))
    last: dict[tuple[object, ...], int] = {}
    for place, reading in zip(places, readings.tolist(), strict=True):
        last[place] = max(reading, last.get(place, reading))
    kept = [last[place] == reading for place, reading in zip(places, readings.tolist(), strict=True)]
    return edges.filter(pa.array(kept, pa.bool_()))


def _own(edges: pa.Table) -> pa.ChunkedArray:
    """Whether edges have an outcome by themselves, whatever others say."""
    alone = pc.equal(edges.column("key"), edges.column("to_key"))
    same_owner = pc.and_(
        *(
            pc.fill_null(pc.equal(edges.column(f"to_{name}"), edges.column(f"former_{name}")), False)
            for name in ("value", "authority")
        )
    )
    nothing = pc.and_(pc.equal(edges.column("outcome"), NOTHING), pc.or_(alone, same_owner))
    return pc.fill_null(pc.or_(pc.equal(edges.column("outcome"), REFUSED), nothing), False)


def _unresolved(edges: pa.Table) -> pa.Table:
    """Edges with only the outcome and finding that they have by themselves."""
    own = _own(edges)
    for name in ("outcome", "code"):
        place = edges.schema.get_field_index(name)
        kept = pc.if_else(own, edges.column(name), pa.scalar(None, pa.string()))
        edges = edges.set_column(place, edges.schema.field(place), kept)
    return edges


_COORDINATES = ("topic_id", "partition", "offset")

_SAME_EDGE = (
    "topic_id", "partition", "offset", "reading", "segment_index", "edge_index", "kind", "key", "to_key",
)  # fmt: skip


def resolve(edges: pa.Table, seen: pa.Table) -> Identity:
    """Who is who.

    Args:
        edges: ``PERSON_LINK``, in any order, repeated or not: all of whole components.
        seen: ``SEEN``: which identifiers messages state of which patients, of the same components.

    Returns:
        all rows of those identifiers, each table sorted.
    """
    links = once(edges)
    known = _Known(join_seen(seen) if seen.num_rows else SEEN.empty_table())
    rows = _with_numbers(links).to_pylist()
    for row in rows:
        known.add_ends(row)
    made = _Made(known)
    for numbers in _by_component(links):
        made.resolve([rows[number] for number in numbers])
    made.add_alone()
    return Identity(
        links=_table(PERSON_LINK.arrow_schema, rows),
        persons=_sorted(PERSON.arrow_schema, made.persons, "person_id"),
        identifiers=_sorted(
            PERSON_IDENTIFIER.arrow_schema, made.identifiers(), "person_id", "authority", "value"
        ),
        history=_sorted(PERSON_ID_HISTORY.arrow_schema, made.history, "person_id", "given_from"),
        redirects=_sorted(IDENTIFIER_REDIRECT.arrow_schema, made.redirects, "level", "authority", "value"),
        queue=_table(STEWARD_QUEUE.arrow_schema, list(_queue(rows))),
    )


def resolve_in_shares(edges: pa.Table, seen: pa.Table, rows: int = ROWS_TOGETHER) -> Identity:
    """The same, with as much at a time as memory has room for; tables are not sorted.

    Args:
        edges: as for ``resolve``.
        seen: as for ``resolve``.
        rows: about so many of both make a share of whole components.
    """
    found = [resolve(*share) for share in _shares(_last_reading(edges), seen, rows)]
    return Identity(
        **{
            one.name: pa.concat_tables([getattr(share, one.name) for share in found])
            for one in fields(Identity)
        }
    )


def _shares(edges: pa.Table, seen: pa.Table, rows: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Parts without anything to do with each other."""
    parts = -(-(edges.num_rows + seen.num_rows) // rows)
    if parts <= 1:
        yield edges, seen
        return
    ends = ends_of(edges)
    patient, listed = (seen.column(name).to_numpy().astype(np.int64) for name in ("patient_key", "key"))
    joins = (patient != listed) & np.isin(
        listed, np.concatenate([ends.key[ends.free], ends.to_key[ends.free]])
    )
    one = np.concatenate([ends.key[ends.free], patient[joins]])
    other = np.concatenate([ends.to_key[ends.free], listed[joins]])
    names, first = np.unique(np.concatenate([one, other]), return_index=True)
    label = np.tile(components(one, other), 2)[first]

    def part_of(keys: I64) -> I64:
        """What stands in no component is one of its own."""
        found: I64 = keys % parts
        if len(names):
            place = np.minimum(np.searchsorted(names, keys), len(names) - 1)
            found = np.where(names[place] == keys, label[place], keys) % parts
        return found

    of_edge, of_patient = part_of(ends.key), part_of(patient)
    for number in range(parts):
        yield edges.filter(pa.array(of_edge == number)), seen.filter(pa.array(of_patient == number))


def touched(edges: pa.Table, seen: pa.Table, changed: I64) -> tuple[pa.Table, pa.Table]:
    """What has to be resolved anew when something changed: whole components.

    An identifier that edges name belongs together with the patients beside whom messages list it, since a move takes
    it from them.

    Args:
        edges: all that are known, the new ones included.
        seen: all that is known of identifiers, what is new included.
        changed: keys of the identifiers that new edges name (both ends), that edges of an earlier reading named,
            and that messages now state.

    Returns:
        their edges and what is seen of their patients; the rows of these patients, accounts and visits are to be
        replaced by what ``resolve`` makes of them.
    """
    edges = _unresolved(_last_reading(edges))
    patient, listed = (seen.column(name).to_numpy().astype(np.int64) for name in ("patient_key", "key"))
    touch = Touch.of(ends_of(edges), patient, listed, changed)
    return edges.filter(pa.array(touch.edges(ends_of(edges)))), seen.filter(pa.array(touch.patients(patient)))


@dataclass(frozen=True)
class Ends:
    """The two ends of edges, by their keys.

    Attributes:
        key: of the first identifier.
        to_key: of the second one.
        free: whether what becomes of the edge depends on others.
    """

    key: I64
    to_key: I64
    free: Bools


def ends_of(edges: pa.Table) -> Ends:
    """The ends of edges; of ``PERSON_LINK`` the columns ``ENDS`` are enough, with an outcome or without."""
    key, to_key = (edges.column(name).to_numpy().astype(np.int64) for name in ("key", "to_key"))
    return Ends(key, to_key, ~_own(edges).to_numpy().astype(bool))


ENDS = (
    "key", "to_key", "outcome", "to_value", "to_authority", "former_value", "former_authority",
)  # fmt: skip
"""Columns of an edge that tell which component it stands in."""


@dataclass(frozen=True)
class Touch:
    """What has to be resolved anew.

    Attributes:
        keys: of all identifiers in components that something changed in; ascending.
        changed: keys of what changed; ascending.
    """

    keys: I64
    changed: I64

    @classmethod
    def of(cls, ends: Ends, patient: I64, listed: I64, changed: I64) -> Touch:
        """By union-find over all edges.

        Args:
            ends: of all edges.
            patient: keys of patients beside whom messages list identifiers; those that no edge names may be left out.
            listed: keys of these identifiers.
            changed: as for ``touched``.
        """
        key, to_key = ends.key[ends.free], ends.to_key[ends.free]
        joins = (patient != listed) & np.isin(listed, np.concatenate([key, to_key]))
        one = np.concatenate([key, patient[joins], changed])
        other = np.concatenate([to_key, listed[joins], changed])
        chosen = affected(one, other, changed)
        return cls(np.unique(np.concatenate([one[chosen], other[chosen]])), np.unique(changed))

    def edges(self, ends: Ends) -> Bools:
        """Which edges are touched."""
        return np.where(ends.free, among(ends.key, self.keys), among(ends.key, self.changed))

    def patients(self, patient: I64) -> Bools:
        """Of which patients what is seen is touched."""
        return among(patient, self.keys)


def _with_numbers(links: pa.Table) -> pa.Table:
    """Edges with their version time in microseconds."""
    place = links.schema.get_field_index("version_time")
    return links.set_column(place, "version_time", links.column(place).cast(pa.int64()))


def _table(schema: pa.Schema, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)


def _sorted(schema: pa.Schema, rows: Sequence[Row], *keys: str) -> pa.Table:
    return _table(schema, rows).sort_by([(key, "ascending") for key in keys])


def _by_component(links: pa.Table) -> Iterator[list[int]]:
    """Numbers of the edges that can have to do with each other; what has an outcome has nothing to do with others."""
    open_ = np.flatnonzero(links.column("outcome").is_null().to_numpy())
    if not len(open_):
        return
    key, to_key = (links.column(name).to_numpy()[open_].astype(np.int64) for name in ("key", "to_key"))
    labels: I64 = components(key, to_key)
    order = np.argsort(labels, kind="stable")
    for some in np.split(open_[order], np.flatnonzero(np.diff(labels[order])) + 1):
        yield some.tolist()


class _Known:
    """What is known of the identifiers of patients without regard to edges.

    Attributes:
        first: identifier → when it was first stated, microseconds.
        named: identifier → when a PID first named its patient by it.
        last: identifier → when it was last stated.
        types: identifier → its type.
        listed: what messages state of patients: (patient, identifier, type, first, last).
    """

    def __init__(self, seen: pa.Table) -> None:
        self.first: dict[Name, int] = {}
        self.named: dict[Name, int] = {}
        self.last: dict[Name, int] = {}
        self.types: dict[Name, str | None] = {}
        self.listed: list[tuple[Name, Name, str | None, int, int]] = []
        columns = {
            name: (
                seen.column(name).cast(pa.int64()) if name.endswith("_seen") else seen.column(name)
            ).to_pylist()
            for name in SEEN.names
        }
        for values in zip(*columns.values(), strict=True):
            patient_value, patient_authority, value, authority, type_, first, last = values[:7]
            patient, one = (patient_authority, patient_value), (authority, value)
            self.listed.append((patient, one, type_, first, last))
            self.named[patient] = min(first, self.named.get(patient, first))
            self._add(patient, type_ if patient == one else None, first, last)

    def _add(self, name: Name, type_: str | None, first: int, last: int) -> None:
        self.first[name] = min(first, self.first.get(name, first))
        self.last[name] = max(last, self.last.get(name, last))
        self.types[name] = self.types.get(name) or type_

    def seniority(self, name: Name) -> tuple[int, bool, Name]:
        """What orders identifiers: the earliest comes first, of equals one that a PID began with."""
        return self.first[name], self.named.get(name) != self.first[name], name

    def add_ends(self, row: Row) -> None:
        """The two ends of an edge that is not refused are stated too."""
        if row["outcome"] is not None:
            return
        time = _time(row)
        for node, type_ in zip(_ends(row), ("type", "to_type"), strict=True):
            if node[0] == "patient":
                known = row[type_]
                self._add(node[1:], str(known) if known is not None else None, time, time)


def _time(row: Row) -> int:
    """Version time in microseconds."""
    time = row["version_time"]
    assert isinstance(time, int)
    return time


def _ends(row: Row) -> tuple[Node, Node]:
    level, to_level = str(row["level"]), str(row["to_level"])
    return (
        (level, str(row["authority"]), str(row["value"])),
        (to_level, str(row["to_authority"]), str(row["to_value"])),
    )


class _Made:
    """The rows in the making."""

    def __init__(self, known: _Known) -> None:
        self.known = known
        self.persons: list[Row] = []
        self.history: list[Row] = []
        self.redirects: list[Row] = []
        self._person: dict[Name, Name] = {}  # identifier → the representative of its person
        self._current: dict[Name, Name] = {}
        self._moved: dict[Name, int] = {}  # identifier → when it moved to another patient

    def resolve(self, rows: list[Row]) -> None:
        """The edges of one component, in order."""
        ends = [_ends(row) for row in rows]
        names = {node[1:] for pair in ends for node in pair if node[0] == "patient"}
        self._resolve_patients(
            names,
            [(row, pair) for row, pair in zip(rows, ends, strict=True) if pair[0][0] == "patient"],
        )
        others = [(row, pair) for row, pair in zip(rows, ends, strict=True) if pair[0][0] != "patient"]
        if others:
            self._resolve_numbers(others)

    def _resolve_patients(self, names: set[Name], edges: list[tuple[Row, tuple[Node, Node]]]) -> None:
        first = self.known.first
        nodes = sorted(names, key=self.known.seniority)
        number = {name: place for place, name in enumerate(nodes)}
        statements = [
            Statement(str(row["kind"]), number[one[1:]], number[other[1:]], _time(row), _is_stewards(row))
            for row, (one, other) in edges
        ]
        found = replay([first[name] for name in nodes], statements)
        since: dict[int, object] = {}
        for (row, _), statement, (outcome, code) in zip(edges, statements, found.outcomes, strict=True):
            row["outcome"], row["code"] = outcome, row["code"] or code
            if outcome == APPLIED:
                since[statement.one] = since[statement.other] = row["version_time"]
                if statement.kind == MOVE:
                    self._moved[nodes[statement.one]] = statement.time
        self._add_persons(nodes, found)
        for place, name in enumerate(nodes):
            if place in since and (found.current[place] != place or found.representative[place] != place):
                self._add_redirect(("patient", *name), self._current[name], since[place], patient=name)

    def _add_persons(self, nodes: list[Name], found: Replayed) -> None:
        members: dict[int, list[int]] = {}
        for place, name in enumerate(nodes):
            members.setdefault(found.representative[place], []).append(place)
            self._person[name] = nodes[found.representative[place]]
            self._current[name] = nodes[found.current[place]]
        for best, some in members.items():
            self._add_person(nodes[best], min(self.known.first[nodes[place]] for place in some), len(some))
        given = {place for place, _, _ in found.intervals}
        for place, since, until in found.intervals:
            self._add_given(nodes[place], since, until)
        for place, name in enumerate(nodes):
            if place not in given:
                self._add_given(name, None, None)

    def _add_person(self, name: Name, first: int, identifiers: int) -> None:
        self.persons.append(
            {
                "person_id": person_id(*name), "value": name[1], "authority": name[0], "first_seen": first,
                "identifiers": identifiers,
            }
        )  # fmt: skip

    def _add_given(self, name: Name, since: int | None, until: int | None) -> None:
        self.history.append(
            {
                "person_id": person_id(*name), "value": name[1], "authority": name[0],
                "current_person_id": person_id(*self._person[name]),
                "given_from": since, "given_until": until,
            }
        )  # fmt: skip

    def add_alone(self) -> None:
        """Identifiers of patients that no edge names: each is a person of its own."""
        for name, first in self.known.first.items():
            if name not in self._person:
                self._person[name] = self._current[name] = name
                self._add_person(name, first, 1)
                self._add_given(name, first, None)

    def _resolve_numbers(self, edges: list[tuple[Row, tuple[Node, Node]]]) -> None:
        """Accounts and visits: given up, changed, moved."""
        numbers = _Numbers(edges)
        for node in numbers.nodes:
            numbers.settle(node)
        for row, (one, other) in edges:
            row["outcome"] = APPLIED if numbers.is_last(one, other, str(row["kind"])) else OVERRULED
        for node in numbers.nodes:
            path = numbers.path(node)
            account, patient, since = numbers.owners(path)
            if since is not None:
                self._add_redirect(node, path[-1][1:], since, patient=patient, account=account)

    def _add_redirect(
        self, node: Node, current: Name, since: object, *, patient: Name | None, account: Name | None = None
    ) -> None:
        person = self._person[patient] if patient else None
        self.redirects.append(
            {
                "level": node[0], "authority": node[1], "value": node[2],
                "current_authority": current[0], "current_value": current[1],
                "account_authority": account and account[0], "account_value": account and account[1],
                "patient_authority": person and person[0], "patient_value": person and person[1],
                "person_id": person and person_id(*person), "since": since,
            }
        )  # fmt: skip

    def identifiers(self) -> list[Row]:
        """The identifiers of all persons."""
        known = self.known
        found: dict[tuple[Name, Name], tuple[str | None, int, int]] = {
            (person, name): (known.types[name], known.first[name], known.last[name])
            for name, person in self._person.items()
        }
        for patient, name, type_, first, last in known.listed:
            person = self._person[patient]
            if last >= self._moved.get(name, last) or self._person.get(name) == person:
                before = found.get((person, name), (type_, first, last))
                found[person, name] = before[0] or type_, min(before[1], first), max(before[2], last)
        return [
            {
                "person_id": person_id(*person), "value": name[1], "authority": name[0], "type": type_,
                "use": self._use(person, name),
                "role": "subject" if self._person.get(name) == person else "listed",
                "first_seen": first, "last_seen": last,
            }
            for (person, name), (type_, first, last) in found.items()
        ]  # fmt: skip

    def _use(self, person: Name, name: Name) -> str:
        if name == person:
            return "usual"
        return "old" if self._current.get(name, name) != name else "secondary"


def _is_stewards(row: Row) -> bool:
    return row["event_code"] == STEWARD


class _Numbers:
    """Accounts and visits of a component: where each leads."""

    def __init__(self, edges: list[tuple[Row, tuple[Node, Node]]]) -> None:
        self._given_up: dict[Node, tuple[int, Node, object]] = {}
        self._owner: dict[tuple[Node, str], tuple[int, Node, object]] = {}
        self._paths: dict[Node, list[Node]] = {}
        self.nodes = sorted({node for _, pair in edges for node in pair if node[0] != "patient"})
        for number, (row, (one, other)) in enumerate(edges):
            if row["kind"] in {MERGE, RENAME}:
                self._given_up[one] = number, other, row["version_time"]
            elif row["kind"] == MOVE:
                self._owner[one, other[0]] = number, other, row["version_time"]

    def settle(self, node: Node) -> None:
        """Follow what a number was given up for, to its end; in a cycle its latest edge decides."""
        path = [node]
        while path[-1] in self._given_up and path[-1] not in path[:-1]:
            path.append(self._given_up[path[-1]][1])
        if path[-1] in path[:-1]:
            cycle = path[path.index(path[-1]) : -1]
            path.append(max(self._given_up[one] for one in cycle)[1])
        self._paths[node] = path

    def path(self, node: Node) -> list[Node]:
        """A number and all that it was given up for; the last one is in its place now."""
        return self._paths[node]

    def is_last(self, one: Node, other: Node, kind: str) -> bool:
        """Whether what is stated of a number is what was stated last."""
        last = self._owner.get((one, other[0])) if kind == MOVE else self._given_up.get(one)
        return last is not None and last[1] == other

    def owners(self, path: list[Node]) -> tuple[Name | None, Name | None, object]:
        """The account and the patient that the last move on a path names, and since when anything is so."""
        steps = [self._given_up[node] for node in path if node in self._given_up]
        account = self._last(path, "account")
        found = [move for move in (self._last(path, "patient"), account) if move is not None]
        patients = [move for move in (self._last(path, "patient"),) if move is not None]
        if account is not None:
            of_account = self._last(self._paths[account[1]], "patient")
            patients += [of_account] if of_account is not None else []
        patient = max(patients, key=lambda move: move[0]) if patients else None
        since = max((*steps, *found, *patients), key=lambda step: step[0], default=None)
        return (
            self._paths[account[1]][-1][1:] if account else None,
            patient[1][1:] if patient else None,
            since[2] if since else None,
        )

    def _last(self, path: list[Node], level: str) -> tuple[int, Node, object] | None:
        moves = [self._owner[node, level] for node in path if (node, level) in self._owner]
        return max(moves, key=lambda move: move[0]) if moves else None


def _queue(rows: Sequence[Row]) -> Iterator[Row]:
    """What a steward should look at and has not yet said anything of.

    An A37 that does nothing stands there once, however many identifiers it names.
    """
    answered: dict[tuple[object, object], int] = {}
    for row in rows:
        if _is_stewards(row):
            answered[_pair(row)] = _time(row)
    told: set[tuple[object, ...]] = set()
    for row in rows:
        place = tuple(row[name] for name in ("code", "topic_id", "partition", "offset", "segment_index"))
        said = not _is_stewards(row) and answered.get(_pair(row), _time(row) - 1) >= _time(row)
        if row["code"] is not None and not said and (place not in told or row["code"] != STILL_CONNECTED):
            told.add(place)
            yield row


def _pair(row: Row) -> tuple[object, object]:
    key, to_key = row["key"], row["to_key"]
    assert isinstance(key, int)
    assert isinstance(to_key, int)
    return min(key, to_key), max(key, to_key)
