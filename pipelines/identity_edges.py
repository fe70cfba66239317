"""What messages and stewards state of two identifiers, as edges (HL7 v2.5.1 §3.3, §3.6.2; rows of ``PERSON_LINK``).

=================  ============================================================================================
event              edges
=================  ============================================================================================
A18 A30 A34 A39    MRG-1 is merged into PID-3, paired by type of identifier; MRG-4 into PID-2, MRG-2 into PID-4
A40, A36           likewise; A36 the account too
A35 A41, A42       an account, a visit is merged: MRG-3 into PID-18, MRG-5 into PV1-19
A43, A44, A45      an identifier, an account, a visit moves to the patient in PID (a visit to PID-18 too)
A46 A47 A48        an identifier is renamed: MRG-4 to PID-2, MRG-1 to PID-3, MRG-2 to PID-4
A49, A50, A51      an account, a visit, an alternate visit is renamed
A24, A37           the patients of two PID are linked, or not linked any more
=================  ============================================================================================

A17 swaps beds, and A06 and A07 say which account a visit has now: neither is about who is who. Where MRG and PID do
not fit the event, the edge carries a finding and is refused: a steward decides, nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from schemas.source import Sources
from schemas.tables.identity import (
    LINK,
    MERGE,
    MOVE,
    NOTHING,
    PERSON_LINK,
    REFUSED,
    RENAME,
    SAME,
    SEEN,
    UNLINK,
)
from schemas.tables.structures import IDENTIFIER

UNFIT = "IDENTITY-UNFIT"
UNPAIRED = "IDENTITY-UNPAIRED"
NOT_OWNER = "IDENTITY-NOT-OWNER"
STEWARD = "STEWARD"

Row = Mapping[str, object]

_ORIGIN = (
    "version_time", "sent_sequence", "received_at", "topic_id", "partition", "offset", "reading", "segment_index",
    "source", "institution",
)  # fmt: skip
_MOST_PAIRS = 64


@dataclass(frozen=True, slots=True)
class Identifier:
    """A value, who assigned it, and its type."""

    value: str
    authority: str
    type: str | None = None

    def is_same(self, other: Identifier | None) -> bool:
        """Whether both name the same thing, whatever type they are called."""
        return other is not None and (self.value, self.authority) == (other.value, other.authority)


@dataclass(frozen=True, slots=True)
class Edge:
    """What is stated of two identifiers; see ``PERSON_LINK``."""

    kind: str
    level: str
    one: Identifier
    other: Identifier | None
    to_level: str
    former: Identifier | None = None
    code: str | None = None


@dataclass(frozen=True)
class Owners:
    """Which source may state what of an authority's identifiers.

    An authority that settings claim (``Source.owned_authorities``) is its claimers'. What a source assigned without
    naming an authority (``source/MSH-4``) is its own. Any other authority is open.

    Attributes:
        claimers: authority → the sources that claim it.
        names: all configured sources.
    """

    claimers: Mapping[str, frozenset[str]]
    names: frozenset[str]

    @classmethod
    def of(cls, sources: Sources) -> Owners:
        claimers: dict[str, set[str]] = {}
        for source in sources.by_name.values():
            for authority in source.owned_authorities:
                claimers.setdefault(authority, set()).add(source.name)
        return cls(
            MappingProxyType({name: frozenset(some) for name, some in claimers.items()}),
            frozenset(sources.by_name),
        )

    def allows(self, source: str, authority: str) -> bool:
        """Whether a source may merge, move, rename and link an authority's identifiers."""
        claimed = self.claimers.get(authority)
        if claimed is not None:
            return source in claimed
        assigned_by, slash, _ = authority.partition("/")
        return not slash or assigned_by == source or assigned_by not in self.names

    def claims(self, source: str, authority: str) -> bool:
        """Whether settings say that the authority is the source's."""
        return source in self.claimers.get(authority, ())


def key_of(level: str, authority: str, value: str) -> int:
    """64 bits that name an identifier of a level."""
    digest = xxh3_64_intdigest(f"{level}\x1f{authority}\x1f{value}".encode())
    return digest - (1 << 64) if digest >= 1 << 63 else digest


def edges_of_links(rows: pa.Table, owners: Owners) -> pa.Table:
    """Edges that messages state.

    Args:
        rows: rows of ``normalised/patient_link``.
        owners: who may state what.

    Returns:
        rows of ``PERSON_LINK``; ``outcome`` is set where an edge is refused or says nothing.
    """
    made = []
    for row in rows.to_pylist():
        event = _event(row)
        for index, edge in enumerate(_EVENTS.get(event, _none)(row)):
            made.append(
                _with_origin(_checked(edge, str(row["source"]), owners), row, index, event_code=event)
            )
    return edge_table(made)


def edges_of_patients(rows: pa.Table, owners: Owners) -> pa.Table:
    """Edges for identifiers that one PID lists beside each other.

    Only where the same authority assigned both, or settings say that both authorities are the source's: that an
    identity card stands beside a record number joins no patients of two institutions.

    Args:
        rows: rows of ``normalised/patient``.
        owners: who claims which authority.

    Returns:
        rows of ``PERSON_LINK``, condensed.
    """
    lists = pc.fill_null(pc.list_value_length(rows.column("identifiers")), 0)
    made = []
    for row in rows.filter(pc.greater(lists, 1)).to_pylist():
        first, *others = _identifiers(row, "identifiers")[:_MOST_PAIRS]
        source = str(row["source"])
        for index, other in enumerate(others):
            owned = owners.claims(source, first.authority) and owners.claims(source, other.authority)
            if not other.is_same(first) and (first.authority == other.authority or owned):
                edge = Edge(SAME, "patient", other, first, "patient")
                made.append(_with_origin((edge, None), row, index, event_code=_event(row)))
    return condense(edge_table(made))


def seen_of(rows: pa.Table) -> pa.Table:
    """Which identifiers messages state of which patients.

    Args:
        rows: rows of ``normalised/patient``.

    Returns:
        ``SEEN``, joined.
    """
    chosen = rows.select(["identifiers", "version_time"]).filter(
        pc.greater(pc.fill_null(pc.list_value_length(rows.column("identifiers")), 0), 0)
    )
    if not chosen.num_rows:
        return SEEN.empty_table()
    lists = chosen.column("identifiers").combine_chunks()
    owner = pc.list_parent_indices(lists)
    flat = pc.list_flatten(lists)
    first = pc.list_element(lists, 0)
    times = chosen.column("version_time").combine_chunks().take(owner)
    found = pa.table(
        {
            "patient_value": _trimmed(first, "value").take(owner),
            "patient_authority": _trimmed(first, "authority").take(owner),
            "value": _trimmed(flat, "value"),
            "authority": _trimmed(flat, "authority"),
            "type": pc.struct_field(flat, "type"),
            "first_seen": times,
            "last_seen": times,
        }
    )
    for name, which in (("patient_key", "patient_"), ("key", "")):
        names = zip(
            found.column(f"{which}authority").to_pylist(),
            found.column(f"{which}value").to_pylist(),
            strict=True,
        )
        keys = [key_of("patient", authority, value) for authority, value in names]
        found = found.append_column(name, pa.array(keys, pa.int64()))
    return join_seen(found.cast(SEEN))


def seen_in_images(rows: pa.Table) -> pa.Table:
    """Which patients images state: their first identifier, at the time of the study.

    What an old image lists beside it says nothing of to whom that belongs today.

    Args:
        rows: rows of ``normalised/imaging_study``.

    Returns:
        ``SEEN``, joined.
    """
    named = rows.filter(pc.is_valid(rows.column("patient_id")))
    event, version = named.column("event_time"), named.column("version_time")
    time = pc.if_else(pc.fill_null(pc.less(event, version), False), event, version)
    once = named.set_column(named.column_names.index("version_time"), "version_time", time)
    once = once.group_by(["patient_id", "patient_authority"]).aggregate(
        [("version_time", "min"), ("version_time", "max")]
    )
    parts = []
    for which in ("min", "max"):
        members = pa.StructArray.from_arrays(
            [once.column("patient_id").combine_chunks(), once.column("patient_authority").combine_chunks(),
             pa.nulls(once.num_rows, pa.string())], fields=list(IDENTIFIER),
        )  # fmt: skip
        lists = pa.ListArray.from_arrays(pa.array(range(once.num_rows + 1), pa.int32()), members)
        parts.append(
            seen_of(pa.table({"identifiers": lists, "version_time": once.column(f"version_time_{which}")}))
        )
    return join_seen(*parts)


def _trimmed(identifiers: pa.Array, name: str) -> pa.Array:
    """A part of identifiers, without the spaces around it: they name nothing."""
    return pc.utf8_trim(pc.struct_field(identifiers, name), " ")


def join_seen(*tables: pa.Table) -> pa.Table:
    """What is known of the same identifiers of the same patients as one row each: a join, in any order."""
    whole = pa.concat_tables(tables).sort_by([("last_seen", "ascending"), ("type", "ascending")])
    keys = ["patient_value", "patient_authority", "value", "authority", "patient_key", "key"]
    grouped = whole.group_by(keys, use_threads=False).aggregate(
        [("type", "last"), ("first_seen", "min"), ("last_seen", "max")]
    )
    named = grouped.rename_columns([*keys, "type", "first_seen", "last_seen"])
    return named.select(SEEN.names).cast(SEEN)


def condense(edges: pa.Table) -> pa.Table:
    """Of what is stated again and again (``same``) only the first and the last statement of each pair."""
    repeated = pc.equal(edges.column("kind"), SAME)
    some = edges.filter(repeated)
    if not some.num_rows:
        return edges
    some = some.take(in_order(some))
    pairs: dict[tuple[int, int], list[int]] = {}
    for place, pair in enumerate(
        zip(some.column("key").to_pylist(), some.column("to_key").to_pylist(), strict=True)
    ):
        pairs.setdefault(pair, []).append(place)
    kept = sorted({place for places in pairs.values() for place in (places[0], places[-1])})
    return pa.concat_tables([edges.filter(pc.invert(repeated)), some.take(pa.array(kept))])


def in_order(edges: pa.Table) -> pa.Array:
    """Indices of edges in the order of what they state."""
    columns = {
        name: pc.fill_null(edges.column(name), 0) if name == "sent_sequence" else edges.column(name)
        for name in _SORTED_BY
    }
    return pc.sort_indices(pa.table(columns), sort_keys=[(name, "ascending") for name in columns])


_SORTED_BY = (*_ORIGIN[:8], "edge_index", "key", "to_key", "kind")


def edge_table(rows: list[dict[str, object]]) -> pa.Table:
    """Edges as a table; a column that is not given is null."""
    names = PERSON_LINK.arrow_schema.names
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in names} for row in rows], schema=PERSON_LINK.arrow_schema
    )


def edge_row(edge: Edge, outcome: str | None) -> dict[str, object]:
    """The columns of what an edge states."""
    other, former = edge.other, edge.former
    key = key_of(edge.level, edge.one.authority, edge.one.value)
    return {
        "kind": edge.kind, "level": edge.level, "value": edge.one.value, "authority": edge.one.authority,
        "type": edge.one.type, "to_level": edge.to_level if other else None, "to_value": other and other.value,
        "to_authority": other and other.authority, "to_type": other and other.type,
        "former_value": former and former.value, "former_authority": former and former.authority, "key": key,
        "to_key": key_of(edge.to_level, other.authority, other.value) if other else key,
        "code": edge.code, "outcome": outcome,
    }  # fmt: skip


def _with_origin(
    checked: tuple[Edge, str | None], row: Row, index: int, *, event_code: str
) -> dict[str, object]:
    origin = {name: row[name] for name in _ORIGIN}
    return {**edge_row(*checked), **origin, "edge_index": index, "event_code": event_code}


def _checked(edge: Edge, source: str, owners: Owners) -> tuple[Edge, str | None]:
    """An edge and its outcome, as far as it does not depend on others."""
    if edge.code is not None:
        return edge, REFUSED
    if edge.other is None or (edge.level == edge.to_level and edge.one.is_same(edge.other)):
        return edge, NOTHING
    if not all(owners.allows(source, one.authority) for one in (edge.one, edge.other)):
        return replace(edge, code=NOT_OWNER), REFUSED
    if edge.other.is_same(edge.former):
        return edge, NOTHING
    return edge, None


def _event(row: Row) -> str:
    """Trigger event: MSH-9.2, before v2.3 EVN-1."""
    return (
        (str(row["message_type"] or "").partition("^")[2] or str(row.get("event_code") or "")).strip().upper()
    )


def edges_of_steward(rows: pa.Table) -> pa.Table:
    """Edges that stewards state.

    Args:
        rows: rows of ``normalised/steward_event``.

    Returns:
        rows of ``PERSON_LINK``.
    """
    made = []
    for row in rows.to_pylist():
        one, other = (
            Identifier(row[f"{which}_value"], row[f"{which}_authority"], row[f"{which}_type"])
            for which in ("first", "second")
        )
        edge = Edge(row["action"], "patient", one, other, "patient")
        stated = _with_origin((edge, None), row, 0, event_code=STEWARD)
        made.append({**stated, "stated_by": row["steward"], "reason": row["reason"]})
    return edge_table(made)


# What a row says ---------------------------------------------------------------------------------------------------


def _identifiers(row: Row, name: str) -> list[Identifier]:
    found = row[name]
    return [
        Identifier(one["value"].strip(" "), (one["authority"] or _own_authority(row)).strip(" "), one["type"])
        for one in (found if isinstance(found, list) else ())
    ]


def _own_authority(row: Row) -> str:
    return f"{row['source']}/{row['institution'] or ''}"


def _number(row: Row, name: str, authority: str | None = None) -> Identifier | None:
    value = row[name]
    if value in (None, '""'):
        return None
    assigned = row[authority] if authority else None
    return Identifier(str(value).strip(" "), str(assigned or _own_authority(row)).strip(" "))


def _account(row: Row) -> Identifier | None:
    return _number(row, "account_number", "account_authority")


def _other_account(row: Row) -> Identifier | None:
    return _number(row, "other_account_number", "other_account_authority")


def _first(row: Row, name: str) -> Identifier | None:
    return next(iter(_identifiers(row, name)), None)


def _unfit(kind: str, level: str, one: Identifier | None, other: Identifier | None, to_level: str) -> Edge:
    return Edge(kind, level, one or other or Identifier("", ""), other, to_level, code=UNFIT)


def _of_one_patient(row: Row) -> bool:
    """Whether MRG names no patient, or the one of PID."""
    stated = _identifiers(row, "other_identifiers")
    own = _identifiers(row, "identifiers")
    return not stated or any(one.is_same(mine) for one in stated for mine in own)


# What an event says ------------------------------------------------------------------------------------------------


def _none(_: Row) -> Iterator[Edge]:
    yield from ()


def paired(
    given_up: list[Identifier], staying: list[Identifier]
) -> Iterator[tuple[Identifier, Identifier | None]]:
    """Which identifier each of those that are given up becomes.

    The one of the same type and authority, else of the same type, else (where one has no type) of the same
    authority, else the only one; of several the one in the same place. An identifier that both lists have stays.
    """
    kept = [one for one in staying if not any(one.is_same(other) for other in given_up)]
    changed = []
    for one in given_up:
        if any(one.is_same(other) for other in staying):
            yield one, one
        else:
            changed.append(one)
    taken: dict[tuple[Identifier, ...], int] = {}
    for one in changed:
        found = tuple(_alike(one, kept or staying))
        if not found and len(changed) == len(staying) == 1 and None in (one.type, staying[0].type):
            found = (staying[0],)
        place = taken.get(found, 0)
        taken[found] = place + 1
        yield one, found[min(place, len(found) - 1)] if found else None


def _alike(one: Identifier, some: list[Identifier]) -> list[Identifier]:
    of_type = [other for other in some if other.type == one.type]
    both = [other for other in of_type if other.authority == one.authority]
    if both:
        return both
    if one.type is not None and of_type:
        return of_type
    return [other for other in some if None in (other.type, one.type) and other.authority == one.authority]


def _changed(row: Row, kind: str, given_up: str, staying: str) -> Iterator[Edge]:
    """Patient identifiers of one field that are given up for those of another."""
    for one, other in paired(_identifiers(row, given_up), _identifiers(row, staying)):
        yield Edge(kind, "patient", one, other, "patient", code=None if other else UNPAIRED)


_LISTED = ("other_listed_identifiers", "listed_identifiers")
_EXTERNAL = ("other_external_identifiers", "external_identifiers")
_ALTERNATE = ("other_alternate_identifiers", "alternate_identifiers")


def _merge_patients(row: Row) -> Iterator[Edge]:
    made = list(_changed(row, MERGE, *_LISTED))
    for fields in (_EXTERNAL, _ALTERNATE):
        if row[fields[1]] or not made:
            made += _changed(row, MERGE, *fields)
    if not made or not row["identifiers"]:
        made = [_unfit(MERGE, "patient", _first(row, "other_identifiers"), None, "patient")]
    yield from made


def _merge_patients_and_accounts(row: Row) -> Iterator[Edge]:
    yield from _merge_patients(row)
    one, other = _other_account(row), _account(row)
    fits = one is not None and other is not None
    yield (
        Edge(MERGE, "account", one, other, "account")
        if fits and one
        else _unfit(MERGE, "account", one, other, "account")
    )


def _of_a_field(kind: str, level: str) -> Callable[[Row], Iterator[Edge]]:
    """An account or a visit that is given up for another of the same patient."""

    def stated(row: Row) -> Iterator[Edge]:
        if level == "account":
            one, other = _other_account(row), _account(row)
        else:
            one, other = _number(row, "other_visit_number"), _number(row, "visit_number")
        if one is None or other is None or not _of_one_patient(row):
            yield _unfit(kind, level, one, other, level)
        else:
            yield Edge(kind, level, one, other, level)

    return stated


def _alternate_visit(row: Row) -> Iterator[Edge]:
    listed = _identifiers(row, "other_alternate_visits")
    one = Identifier(listed[0].value, _own_authority(row)) if listed else None
    other = _number(row, "alternate_visit_number")
    if one is None or other is None or not _of_one_patient(row):
        yield _unfit(RENAME, "visit", one, other, "visit")
    else:
        yield Edge(RENAME, "visit", one, other, "visit")


def _rename(fields: tuple[str, str]) -> Callable[[Row], Iterator[Edge]]:
    def stated(row: Row) -> Iterator[Edge]:
        made = list(_changed(row, RENAME, *(fields if row[fields[0]] else _LISTED)))
        yield from made or [_unfit(RENAME, "patient", None, _first(row, "identifiers"), "patient")]

    return stated


def _move_identifier(row: Row) -> Iterator[Edge]:
    """A43: what both MRG-1 and PID-3 have moves from the patient of MRG-4 to that of PID-2.

    Where these older fields are empty, to the one of PID-3 that MRG does not have.
    """
    before, after = _identifiers(row, "other_identifiers"), _identifiers(row, "identifiers")
    moved = [one for one in before if any(one.is_same(other) for other in after)]
    rest = [one for one in after if not any(one.is_same(other) for other in moved)]
    external = _identifiers(row, "external_identifiers")
    target = next((one for one in (*external, *rest) if any(one.is_same(other) for other in rest)), None)
    former = next((one for one in before if not any(one.is_same(other) for other in moved)), None)
    if not moved or target is None:
        yield _unfit(MOVE, "patient", _first(row, "other_identifiers"), _first(row, "identifiers"), "patient")
        return
    for one in moved:
        yield Edge(MOVE, "patient", one, target, "patient", former)


def _one_of(before: Identifier | None, after: Identifier | None) -> Identifier | None:
    """What MRG and PID (or PV1) both name, or one of them alone; None where they differ."""
    if before is not None and after is not None and not before.is_same(after):
        return None
    return before or after


def _move_account(row: Row) -> Iterator[Edge]:
    """A44: the account of MRG-3 moves to the patient of PID-3."""
    account, target = _one_of(_other_account(row), _account(row)), _first(row, "identifiers")
    if account is None or target is None:
        yield _unfit(MOVE, "account", _other_account(row), _account(row), "account")
        return
    yield Edge(MOVE, "account", account, target, "patient", _first(row, "other_identifiers"))


def _move_visit(row: Row) -> Iterator[Edge]:
    """A45: the visit of MRG-5 moves to the account of PID-18 and the patient of PID-3."""
    stated, sent = _number(row, "other_visit_number"), _number(row, "visit_number")
    visit, target, account = _one_of(stated, sent), _first(row, "identifiers"), _account(row)
    if visit is None or (target is None and account is None):
        yield _unfit(MOVE, "visit", stated, sent, "visit")
        return
    if account is not None:
        yield Edge(MOVE, "visit", visit, account, "account", _other_account(row))
    if target is not None:
        yield Edge(MOVE, "visit", visit, target, "patient", _first(row, "other_identifiers"))


def _link(row: Row) -> Iterator[Edge]:
    one, other = _first(row, "other_identifiers"), _first(row, "identifiers")
    if one is None or other is None:
        yield _unfit(LINK, "patient", one, other, "patient")
    else:
        yield Edge(LINK, "patient", one, other, "patient")


def _unlink(row: Row) -> Iterator[Edge]:
    """A37: whichever identifiers of the two a link named."""
    one, other = _identifiers(row, "other_identifiers"), _identifiers(row, "identifiers")
    if not one or not other:
        yield _unfit(UNLINK, "patient", next(iter(one), None), next(iter(other), None), "patient")
        return
    pairs = [(mine, theirs) for mine in one for theirs in other if not mine.is_same(theirs)]
    for mine, theirs in pairs[:_MOST_PAIRS]:
        yield Edge(UNLINK, "patient", mine, theirs, "patient")


_EVENTS: Mapping[str, Callable[[Row], Iterator[Edge]]] = MappingProxyType(
    {
        **dict.fromkeys(("A18", "A30", "A34", "A39", "A40"), _merge_patients),
        "A36": _merge_patients_and_accounts,
        **dict.fromkeys(("A35", "A41"), _of_a_field(MERGE, "account")),
        "A42": _of_a_field(MERGE, "visit"),
        "A43": _move_identifier,
        "A44": _move_account,
        "A45": _move_visit,
        "A46": _rename(_EXTERNAL),
        "A47": _rename(_LISTED),
        "A48": _rename(_ALTERNATE),
        "A49": _of_a_field(RENAME, "account"),
        "A50": _of_a_field(RENAME, "visit"),
        "A51": _alternate_visit,
        "A24": _link,
        "A37": _unlink,
    }
)
"""Trigger event → what a row of it states."""
