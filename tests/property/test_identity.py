"""Who is who depends on the set of statements alone: not on their order, repetition or grouping into batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.identity import (
    Identity,
    components,
    join_seen,
    person_id,
    resolve,
    resolve_in_shares,
    touched,
)
from pipelines.identity_edges import STEWARD, Edge, Identifier, edge_row, edge_table, key_of
from schemas.tables.identity import SEEN

START = datetime(2026, 1, 1, tzinfo=UTC)
AUTHORITY = "CLINIC"
NAMES = tuple("ABCDEF")

JOINING = ("merge", "rename", "move", "same", "link")
DIRECTED = ("merge", "rename", "move")


@dataclass(frozen=True)
class Said:
    """A statement; ``place`` is where it came from, and decides between equal times."""

    time: int
    place: int
    kind: str
    one: str
    other: str
    steward: bool

    @property
    def pair(self) -> frozenset[str]:
        return frozenset((self.one, self.other))


@st.composite
def statements(draw: st.DrawFn) -> list[Said]:
    made = []
    for place in range(draw(st.integers(1, 9))):
        one, other = draw(
            st.permutations(NAMES[: draw(st.integers(2, len(NAMES)))]).map(lambda some: some[:2])
        )
        steward = draw(st.integers(0, 3)) == 0
        kinds = ("link", "unlink", "cannot-link") if steward else (*JOINING, "merge", "merge", "unlink")
        made.append(Said(draw(st.integers(2, 7)), place, draw(st.sampled_from(kinds)), one, other, steward))
    return condensed(made)


def condensed(made: list[Said]) -> list[Said]:
    """Of what is stated again and again the first and the last: nothing more is asked of the result."""
    kept = []
    for said in sorted(made, key=order):
        alike = [one for one in made if (one.kind, one.one, one.other) == (said.kind, said.one, said.other)]
        ends = (min(alike, key=order), max(alike, key=order))
        if said.kind != "same" or said in ends:
            kept.append(said)
    return kept


def order(said: Said) -> tuple[int, int]:
    return said.time, said.place


seen_at = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), max_size=len(NAMES))


def edges_of(said: Sequence[Said]) -> pa.Table:
    rows = []
    for one in said:
        first, second = Identifier(one.one, AUTHORITY), Identifier(one.other, AUTHORITY)
        rows.append(
            {
                **edge_row(Edge(one.kind, "patient", first, second, "patient"), None),
                "event_code": STEWARD if one.steward else "A40",
                "version_time": at(one.time), "received_at": START, "topic_id": "topic", "partition": 0,
                "offset": one.place, "reading": 0, "segment_index": 2, "edge_index": 0, "source": "clinic",
            }
        )  # fmt: skip
    return edge_table(rows)


def seen_rows(seen: dict[str, int]) -> pa.Table:
    rows = [listed(name, name, time) for name, time in seen.items()]
    return pa.Table.from_pylist(rows, schema=SEEN)


def listed(patient: str, name: str, time: int) -> dict[str, Any]:
    return {
        "patient_value": patient, "patient_authority": AUTHORITY, "value": name, "authority": AUTHORITY,
        "type": None, "first_seen": at(time), "last_seen": at(time),
        "patient_key": key(patient), "key": key(name),
    }  # fmt: skip


def key(name: str) -> int:
    return key_of("patient", AUTHORITY, name)


def at(time: int) -> datetime:
    return START + timedelta(days=time)


# The reference ------------------------------------------------------------------------------------------------------


def counting(said: Sequence[Said]) -> list[Said]:
    """Statements that no later one overrules and no steward forbids, in order."""
    stewards = {one.pair: one for one in said if one.steward}
    forbidden = [pair for pair, one in stewards.items() if one.kind == "cannot-link"]
    kept: list[Said] = []
    for place, one in enumerate(said):
        later = said[place + 1 :]
        if one.kind not in JOINING:
            continue
        if any(two.steward and two.kind != "link" and two.pair == one.pair for two in later):
            continue
        if not one.steward:
            if one.pair in forbidden:
                continue
            ends = one.pair if one.kind == "link" else {one.one}
            if one.kind in ("move", "same"):
                owners = [two for two in said if two.kind in ("move", "same") and two.one == one.one]
                if owners[-1].other != one.other:
                    continue
            elif any(two.kind == "move" and two.one in ends for two in later):
                continue
            if one.kind == "link" and any(
                two.kind == "unlink" and not two.steward and two.pair == one.pair for two in later
            ):
                continue
        persons = parts([*kept, one])
        if not any(pair <= person for pair in forbidden for person in persons):
            kept.append(one)
    return kept


def parts(kept: Sequence[Said]) -> list[frozenset[str]]:
    """Connected components."""
    found = [frozenset(name) for name in NAMES]
    for one in kept:
        joined = frozenset().union(*(part for part in found if part & one.pair))
        found = [part for part in found if not part & one.pair] + [joined]
    return found


def survivor(kept: Sequence[Said], name: str) -> str:
    """Where an identifier leads."""
    last = {one.one: one for one in kept if one.kind in DIRECTED}
    path: list[str] = []
    while name in last and name not in path:
        path.append(name)
        name = last[name].other
    if name not in path:
        return name
    return max((last[one] for one in path[path.index(name) :]), key=order).other


def representatives(kept: Sequence[Said], first: dict[str, int], named: dict[str, int]) -> dict[str, str]:
    """Identifier → the one that represents its person."""
    directed = [one for one in kept if one.kind in DIRECTED]
    surviving = []
    for group in parts(directed):
        edges = [one for one in directed if one.pair <= group]
        surviving.append(survivor(kept, max(edges, key=order).one) if edges else next(iter(group)))
    found: dict[str, str] = {}
    for person in parts(kept):
        some = [name for name in surviving if name in person]
        best = min(some, key=lambda name: (first.get(name, 99), named.get(name) != first.get(name), name))
        found |= dict.fromkeys(person, best)
    return found


def reference(said: Sequence[Said], seen: dict[str, int]) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Identifier → representative; and the history, replayed from the beginning for every moment."""
    said = sorted(said, key=order)
    first = dict(seen)
    for one in said:
        for name in one.pair:
            first[name] = min(one.time, first.get(name, one.time))
    times = sorted({*first.values(), *(one.time for one in said)})
    given: dict[str, list[list[int | None]]] = {name: [] for name in first}
    for time in times:
        now = representatives(counting([one for one in said if one.time <= time]), first, seen)
        for name, since in first.items():
            intervals = given[name]
            is_id = since <= time and now[name] == name
            if is_id and (not intervals or intervals[-1][1] is not None):
                intervals.append([time, None])
            elif not is_id and intervals and intervals[-1][1] is None:
                intervals[-1][1] = time
    final = representatives(counting(said), first, seen)
    history: list[tuple[Any, ...]] = []
    for name, intervals in given.items():
        history += [(name, *interval, final[name]) for interval in intervals or [[None, None]]]
    return {name: final[name] for name in first}, sorted(history, key=str)


def days(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - START).days


def shown(found: Identity) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    named = {row["person_id"]: row["value"] for row in found.persons.to_pylist()}
    persons = {
        row["value"]: named[row["person_id"]]
        for row in found.identifiers.to_pylist()
        if row["role"] == "subject"
    }
    history = [
        (row["value"], days(row["given_from"]), days(row["given_until"]), named[row["current_person_id"]])
        for row in found.history.to_pylist()
    ]
    return persons, sorted(history, key=str)


# The properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(statements(), seen_at, st.randoms(use_true_random=False))
def test_persons_and_their_ids_are_those_of_the_reference(
    said: list[Said], seen: dict[str, int], rng: random.Random
) -> None:
    some = [*said, *rng.sample(said, rng.randint(0, len(said)))]
    rng.shuffle(some)
    found = resolve(edges_of(some), seen_rows(seen))
    assert shown(found) == reference(said, seen)
    applied = {
        row["offset"]
        for row in found.links.to_pylist()
        if row["outcome"] == "applied" and row["kind"] in JOINING
    }
    assert applied == {one.place for one in counting(sorted(said, key=order))}


@settings(max_examples=150, deadline=None)
@given(statements(), seen_at, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(
    said: list[Said], seen: dict[str, int], rng: random.Random
) -> None:
    expected = resolve(edges_of(said), seen_rows(seen))
    again = [*said, *said]
    rng.shuffle(again)
    found = resolve(edges_of(again), join_seen(seen_rows(seen), seen_rows(seen)))
    assert vars(found) == vars(expected)
    assert vars(resolve(expected.links, seen_rows(seen))) == vars(expected)  # outcomes are no input


@settings(max_examples=150, deadline=None)
@given(
    statements(),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 9)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_resolving_what_is_touched_is_enough(
    said: list[Said], lists: list[tuple[str, str, int]], rng: random.Random
) -> None:
    """Batches in any order, each resolving only the components that it touches, end where one batch does."""
    rows = [listed(name, name, time) for name, _, time in lists] + [listed(*one) for one in lists]
    batches: list[tuple[list[Said], list[dict[str, Any]]]] = [([], []) for _ in range(3)]
    for one in said:
        rng.choice(batches)[0].append(one)
    for row in rows:
        rng.choice(batches)[1].append(row)
    edges, seen = edges_of([]), SEEN.empty_table()
    kept: dict[str, list[dict[str, Any]]] = {"persons": [], "identifiers": [], "history": []}
    for new, more in batches:
        new_edges, new_seen = edges_of(new), pa.Table.from_pylist(more, schema=SEEN)
        edges, seen = pa.concat_tables([edges, new_edges]), join_seen(seen, new_seen)
        keys = [new_edges.column("key"), new_edges.column("to_key")]
        keys += [new_seen.column("patient_key"), new_seen.column("key")]
        changed = np.concatenate([column.to_numpy() for column in keys]).astype(np.int64)
        found = resolve(*touched(edges, seen, changed))
        replaced = {
            row["person_id"] for row in found.history.to_pylist()
        }  # of every identifier that was touched
        for name, rows_before in kept.items():
            kept[name] = [row for row in rows_before if row["person_id"] not in replaced]
            kept[name] += getattr(found, name).to_pylist()
    whole = resolve(edges, seen)
    for name, rows_now in kept.items():
        assert sorted(map(str, rows_now)) == sorted(map(str, getattr(whole, name).to_pylist()))


@settings(max_examples=150, deadline=None)
@given(
    statements(),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 9)), max_size=6),
    st.integers(1, 5),
)
def test_shares_have_nothing_to_do_with_each_other(
    said: list[Said], lists: list[tuple[str, str, int]], rows: int
) -> None:
    seen = [listed(name, name, time) for name, _, time in lists] + [listed(*one) for one in lists]
    edges, known = edges_of(said), join_seen(SEEN.empty_table(), pa.Table.from_pylist(seen, schema=SEEN))
    whole, found = resolve(edges, known), resolve_in_shares(edges, known, rows)
    for name, table in vars(whole).items():
        assert sorted(map(str, getattr(found, name).to_pylist())) == sorted(map(str, table.to_pylist()))


EVENTS = ("merge account", "merge visit", "move account patient", "move visit account", "move visit patient")

numbers = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(EVENTS),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=9,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(numbers, st.randoms(use_true_random=False))
def test_accounts_and_visits_lead_where_the_reference_says(
    said: list[tuple[int, str, int, int]], rng: random.Random
) -> None:
    edges = []
    for place, (time, what, one, other) in enumerate(said):
        kind, level, to_level = [*what.split(), what.split()[1]][:3]
        if level != to_level or one != other:
            edges.append((time, place, kind, (level, f"{level}{one}"), (to_level, f"{to_level}{other}")))
    rows = [
        {
            **edge_row(
                Edge(kind, one[0], Identifier(one[1], AUTHORITY), Identifier(other[1], AUTHORITY), other[0]), None
            ),
            "event_code": "A45", "version_time": at(time), "received_at": START, "topic_id": "topic", "partition": 0,
            "offset": place, "reading": 0, "segment_index": 2, "edge_index": 0, "source": "clinic",
        }
        for time, place, kind, one, other in edges
    ]  # fmt: skip
    rng.shuffle(rows)
    found = resolve(edge_table([*rows, *rows[:2]]), SEEN.empty_table())
    told = {
        (row["level"], row["value"]): (row["current_value"], row["account_value"], row["patient_value"])
        for row in found.redirects.to_pylist()
    }
    assert told == leads(sorted(edges))


def leads(edges: Sequence[tuple[int, int, str, Any, Any]]) -> dict[Any, Any]:
    """Where each account and visit leads that was given up or moved."""
    given_up = {edge[3]: edge for edge in edges if edge[2] == "merge"}

    def path(node: Any) -> list[Any]:
        met = [node]
        while met[-1] in given_up and met[-1] not in met[:-1]:
            met.append(given_up[met[-1]][4])
        if met[-1] in met[:-1]:
            met.append(max(given_up[one] for one in met[met.index(met[-1]) : -1])[4])
        return met

    def moved(node: Any, level: str) -> list[Any]:
        return [
            edge for edge in edges if edge[2] == "move" and edge[3] in path(node) and edge[4][0] == level
        ][-1:]

    found = {}
    for node in {one for edge in edges for one in edge[3:] if one[0] != "patient"}:
        account, patient = moved(node, "account"), moved(node, "patient")
        if account:
            patient = sorted([*patient, *moved(account[0][4], "patient")])[-1:]
        if node in given_up or account or patient:
            found[node] = (
                path(node)[-1][1],
                path(account[0][4])[-1][1] if account else None,
                patient[0][4][1] if patient else None,
            )
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=30))
def test_components_are_those_of_the_reference(pairs: list[tuple[int, int]]) -> None:
    expected = {name: {name} for pair in pairs for name in pair}
    for one, other in pairs:
        joined = expected[one] | expected[other]
        expected |= dict.fromkeys(joined, joined)
    ends = [np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1)]
    assert components(*ends).tolist() == [min(expected[name]) for name, _ in pairs]


def test_only_the_last_reading_of_a_message_counts() -> None:
    first, again = (
        edges_of([Said(2, 0, "merge", "A", "B", False)]),
        edges_of([Said(2, 0, "merge", "A", "C", False)]),
    )
    place = again.schema.get_field_index("reading")
    again = again.set_column(place, again.schema.field(place), pa.array([1], pa.int32()))
    found = resolve(pa.concat_tables([again, first]), SEEN.empty_table())
    assert shown(found)[0] == {"A": "C", "C": "C"}


def test_an_id_is_made_of_nothing_but_the_identifier() -> None:
    assert person_id("CLINIC", "P1") == "81a55e2f-3c44-531e-84c5-23a1aabdc390"
    assert person_id("CLINI", "CP1") != person_id("CLINIC", "P1")


def test_many_edges_of_one_identifier_are_resolved() -> None:
    """A record that hundreds of patients are merged into by mistake, and that a steward takes apart again."""
    said = [Said(2, place, "merge", f"P{place}", "HUB", False) for place in range(3_000)]
    found = resolve(edges_of(said), SEEN.empty_table())
    assert found.persons.num_rows == 1
    undone = [Said(3, 3_000 + place, "unlink", f"P{place}", "HUB", True) for place in range(50)]
    assert resolve(edges_of([*said, *undone]), SEEN.empty_table()).persons.num_rows == 51
