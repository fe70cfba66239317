"""Curated rows are a function of the set of messages: compared with folds that sort everything and know no batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.fold import join, kept, laid, read, state_of
from schemas.fold import Fold
from schemas.table import Table
from schemas.tables.curated import (
    CONDITION_FOLD,
    ENCOUNTER_FOLD,
    OBSERVATION_FOLD,
    PATIENT_FOLD,
    SERVICE_REQUEST_FOLD,
)
from schemas.tables.normalised import DIAGNOSTIC_REPORT

BEGIN = datetime(2026, 1, 31, 20, tzinfo=UTC)
DELETED = '""'
Values: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[Any, ...]

given_messages = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Message:
    """What a message says: rows by table; ``hour`` is its version time, ``offset`` its place in Kafka."""

    offset: int
    hour: int
    sequence: int | None
    trigger: str
    rows: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]

    @property
    def rank(self) -> tuple[int, ...]:
        return (self.hour, self.sequence or 0, self.offset)

    @property
    def time(self) -> datetime:
        return BEGIN + timedelta(hours=self.hour)

    @property
    def month(self) -> date:
        return self.time.date().replace(day=1)

    def said(self, name: str) -> list[Values]:
        return [dict(values) for table, values in self.rows if table == name]


def message(draw: st.DrawFn, offset: int, trigger: str, rows: Iterable[tuple[str, Values]]) -> Message:
    return Message(
        offset,
        draw(st.integers(0, 5)) * 4,
        draw(st.sampled_from([None, 1, 2])),
        trigger,
        tuple((table, tuple(values.items())) for table, values in rows),
    )


def table_of(table: Table, messages: Sequence[Message]) -> pa.Table:
    rows = []
    for one in messages:
        for segment, values in enumerate(one.said(table.name)):
            origin = {
                "event_month": one.month, "topic_id": "t", "partition": 0, "offset": one.offset,
                "source": "s", "institution": "i", "message_type": f"ADT^{one.trigger}",
                "received_at": BEGIN + timedelta(days=9, seconds=one.offset), "event_time": one.time,
                "event_date": one.time.date(), "version_time": one.time, "sent_sequence": one.sequence,
                "segment_index": 3 + segment, "batch_number": 1, "reading": 0, "patient_authority": "a",
                "patient_id": "p",
            }  # fmt: skip
            rows.append(origin | values)
    schema = table.arrow_schema
    return pa.Table.from_pylist(
        [{name: row.get(name, 0 if name == "line" else None) for name in schema.names} for row in rows],
        schema=schema,
    )


def state(fold: Fold, messages: Sequence[Message]) -> pa.Table:
    echoes = {DIAGNOSTIC_REPORT.name: table_of(DIAGNOSTIC_REPORT, messages)}
    return state_of(fold, table_of(fold.table, messages), echoes=echoes)


def in_batches(fold: Fold, messages: Sequence[Message], seed: int) -> pa.Table:
    """Messages in any order, some of them several times, cut anywhere, joined in any order."""
    chance = random.Random(seed)
    many = [*messages, *chance.choices(messages, k=chance.randint(0, 2))]
    chance.shuffle(many)
    states = []
    while many:
        size = chance.randint(1, 3)
        states.append(state(fold, many[:size]))
        many = many[size:]
    while len(states) > 1:
        first, second = (states.pop(chance.randrange(len(states))) for _ in range(2))
        joined = join(fold, first, second)
        # now and then what is known goes through the table
        states.append(kept(fold, laid(fold, joined)) if chance.random() < 0.3 else joined)
    return states[0]


def check(
    fold: Fold,
    names: Sequence[str],
    reference: Callable[[Sequence[Message]], list[Values]],
    messages: Sequence[Message],
    seed: int,
) -> None:
    def plain(rows: Iterable[Values]) -> list[Row]:
        return sorted((tuple(row[name] for name in names) for row in rows), key=repr)

    found = in_batches(fold, messages, seed)
    assert plain(read(fold, found).to_pylist()) == plain(reference(messages))
    table = laid(fold, found)
    assert plain(row for row in table.to_pylist() if row["shown"]) == plain(reference(messages))
    once = state(fold, messages)
    half = state(fold, messages[::2])
    for other in (
        join(fold, found, found), join(fold, half, once), join(fold, once, half), join(fold, found, once),
        kept(fold, table),
    ):  # fmt: skip
        assert sorted(map(repr, other.to_pylist())) == sorted(map(repr, once.to_pylist()))


# Results -----------------------------------------------------------------------------------------------------------

RESULT_COLUMNS = (
    "filler_order", "observation_code", "line", "status", "value_text", "patient_id", "since", "offset",
    "home_month",
)  # fmt: skip
RESET, FINAL = {"D", "W", "X"}, {"F", "C", "A", "B", "V", "U"}


@st.composite
def results(draw: st.DrawFn) -> list[Message]:
    messages = []
    for offset in range(draw(st.integers(1, 6))):
        order = draw(st.sampled_from(["1", "1", "2"]))
        patient = draw(st.sampled_from(["p", "p", "q"]))
        issued = draw(st.sampled_from([None, None, BEGIN]))
        of_report = draw(st.sampled_from(["F", None, "X", "P"]))
        about = {"filler_order": order, "patient_id": patient, "issued_time": issued, "service_code": "S"}
        rows = [(DIAGNOSTIC_REPORT.name, about | {"status": of_report})]
        for code in draw(st.lists(st.sampled_from("ab"), max_size=2)):
            status = draw(st.sampled_from(["P", "F", "C", "W", "U", "X", "R", None]))
            value = None if status == "U" else draw(st.sampled_from(["5", "6"]))
            rows.append(
                (
                    OBSERVATION_FOLD.table.name,
                    about
                    | {"observation_code": code, "status": status, "report_status": of_report,
                       "value_text": value},
                )
            )  # fmt: skip
        messages.append(message(draw, offset, "R01", rows))
    return messages


@dataclass(frozen=True)
class Version:
    message: Message
    lines: tuple[Values, ...]

    @property
    def status(self) -> str | None:
        first = self.lines[0]
        taken_back = first["report_status"] in RESET
        status: str | None = (
            first["report_status"] if taken_back else first["status"] or first["report_status"]
        )
        return status

    @property
    def register(self) -> int:
        if self.status in RESET:
            return 0
        if self.status in FINAL:
            return 1 if self.status == "C" or self.lines[0]["issued_time"] else 2
        return 3


def result_reference(messages: Sequence[Message]) -> list[Values]:
    shown = []
    groups: dict[tuple[str, str], list[Version]] = {}
    months: dict[str, list[date]] = {}
    reports: dict[str, list[Version]] = {}
    for one in messages:
        for values in one.said(DIAGNOSTIC_REPORT.name):
            if values["status"] in RESET:
                of_report = values | {"report_status": values["status"]}
                reports.setdefault(values["filler_order"], []).append(Version(one, (of_report,)))
                months.setdefault(values["filler_order"], []).append(one.month)
        lines: dict[tuple[str, str], list[Values]] = {}
        for values in one.said(OBSERVATION_FOLD.table.name):
            lines.setdefault((values["filler_order"], values["observation_code"]), []).append(values)
            months.setdefault(values["filler_order"], []).append(one.month)
        for group, some in lines.items():
            groups.setdefault(group, []).append(Version(one, tuple(some)))
    for (order, code), versions in groups.items():
        resets = [*(v for v in versions if v.register == 0), *reports.get(order, [])]

        def of(version: Version, all_resets: list[Version] = resets) -> list[Version]:
            """What takes a version back."""
            return [
                reset
                for reset in all_resets
                if reset.lines[0]["patient_id"] == version.lines[0]["patient_id"]
                and reset.message.rank >= version.message.rank
            ]

        alive = [v for v in versions if v.register and not of(v)]
        row = {"filler_order": order, "observation_code": code, "home_month": min(months[order])}
        if not alive:
            last = max(versions, key=lambda v: v.message.rank)
            by = max((r for v in versions for r in of(v)), key=lambda v: v.message.rank)
            shown.append(
                row
                | {"line": 0, "status": by.status, "value_text": None, "since": by.message.time,
                   "patient_id": last.lines[0]["patient_id"], "offset": by.message.offset}
            )  # fmt: skip
            continue
        winner = min(alive, key=lambda v: (v.register, *(-level for level in v.message.rank)))
        given_by = winner
        if winner.status == "U" and winner.lines[0]["value_text"] is None:
            earlier = [
                v
                for v in alive
                if v.register == 3
                and v.message.rank <= winner.message.rank
                and v.lines[0]["value_text"] is not None
                and v.lines[0]["patient_id"] == winner.lines[0]["patient_id"]
            ]
            given_by = max(earlier, key=lambda v: v.message.rank, default=winner)
        for line, values in enumerate(given_by.lines):
            mine = winner.lines[0] if given_by is not winner else values
            status = Version(winner.message, (mine,)).status
            shown.append(
                row
                | {"line": line, "status": status, "value_text": values["value_text"],
                   "since": winner.message.time, "patient_id": mine["patient_id"],
                   "offset": winner.message.offset}
            )  # fmt: skip
    return shown


@given_messages
@given(results(), st.integers(0, 2**32))
def test_results(messages: list[Message], seed: int) -> None:
    check(OBSERVATION_FOLD, RESULT_COLUMNS, result_reference, messages, seed)


# Visits ------------------------------------------------------------------------------------------------------------

VISIT_COLUMNS = (
    "visit_number", "visit_state", "point_of_care", "bed", "hospital_service", "discharge_disposition",
    "discharge_state", "leave_state", "attending_id", "patient_class", "home_month", "since",
)  # fmt: skip


def said(values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, None, DELETED, *values])


@st.composite
def visits(draw: st.DrawFn) -> list[Message]:
    numbers = (1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 11, 12, 13, 21, 22, 23, 28, 31, 38, 52, 53, 54, 55)
    events = [f"A{number:02}" for number in numbers]
    messages = []
    for offset in range(draw(st.integers(1, 8))):
        row = {
            "visit_number": draw(st.sampled_from("12")),
            "point_of_care": draw(said(["W1", "W2"])),
            "bed": draw(said(["1"])),
            "hospital_service": draw(said(["MED", "SUR"])),
            "discharge_disposition": draw(said(["01", "02"])),
            "attending_id": draw(said(["d", "e"])),
            "patient_class": draw(said(["I", "O"])),
        }
        event = draw(st.sampled_from(events))
        messages.append(message(draw, offset, event, [(ENCOUNTER_FOLD.table.name, row)]))
    return messages


def visit_reference(messages: Sequence[Message]) -> list[Values]:
    by_visit: dict[str, list[tuple[Message, Values]]] = {}
    for one in sorted(messages, key=lambda one: one.rank):
        if one.trigger not in {"A28", "A29", "A31"}:
            for values in one.said(ENCOUNTER_FOLD.table.name):
                by_visit.setdefault(values["visit_number"], []).append((one, values))
    shown = []
    for visit, told in by_visit.items():

        def last(
            names: Sequence[str], triggers: str = "", versions: list[tuple[Message, Values]] = told
        ) -> dict[str, Any] | None:
            """The latest that says something of some columns."""
            for one, values in reversed(versions):
                if (not triggers or one.trigger in triggers) and any(values[name] for name in names):
                    return {name: None if values[name] == DELETED else values[name] for name in names}
            return None

        def event(triggers: str, versions: list[tuple[Message, Values]] = told) -> Message | None:
            return next((one for one, _ in reversed(versions) if one.trigger in triggers), None)

        existence, discharge = event("A01 A04 A05 A11 A38 A23"), event("A03 A13")
        leave = event("A21 A53 A22 A52")
        if existence is not None and existence.trigger in "A11 A38 A23":
            continue
        disposition = (last(["discharge_disposition"]) or {}).get("discharge_disposition")
        if discharge is not None:
            real = [
                values["discharge_disposition"]
                for one, values in told
                if one.rank >= discharge.rank and values["discharge_disposition"] not in {None, DELETED}
            ]
            disposition = real[-1] if real and discharge.trigger == "A03" else None
        place = ["point_of_care", "bed"]
        shown.append(
            {
                "visit_number": visit,
                "visit_state": existence and {"A01": "admitted", "A04": "registered"}.get(
                    existence.trigger, "planned"),
                "discharge_disposition": disposition,
                "discharge_state": discharge and ("discharged" if discharge.trigger == "A03" else "present"),
                "leave_state": leave and ("on leave" if leave.trigger in "A21 A53" else "present"),
                "home_month": min(one.month for one, _ in told),
                "since": told[-1][0].time,
                **(last(place, "A01 A02 A12 A17") or last(place) or dict.fromkeys(place)),
                **(last(["hospital_service"]) or {"hospital_service": None}),
                **(last(["attending_id"], "A54 A55") or last(["attending_id"]) or {"attending_id": None}),
                **(last(["patient_class"], "A06 A07") or last(["patient_class"]) or {"patient_class": None}),
            }
        )  # fmt: skip
    return shown


@given_messages
@given(visits(), st.integers(0, 2**32))
def test_visits(messages: list[Message], seed: int) -> None:
    check(ENCOUNTER_FOLD, VISIT_COLUMNS, visit_reference, messages, seed)


# Patients ----------------------------------------------------------------------------------------------------------

PATIENT_COLUMNS = (
    "patient_id",
    "family_name",
    "street",
    "marital_status",
    "marital_status_display",
    "members",
)


@st.composite
def patients(draw: st.DrawFn) -> list[Message]:
    messages = []
    for offset in range(draw(st.integers(1, 6))):
        row = {
            "patient_id": draw(st.sampled_from("pq")),
            "family_name": draw(said(["李", "王"])),
            "street": draw(said(["甲", "乙"])),
            "marital_status": draw(said(["M", "S"])),
            "marital_status_display": draw(said(["married"])),
        }
        ids = draw(st.lists(st.sampled_from(["1", "2", "3"]), unique=True))
        row["identifiers"] = [{"value": one, "authority": "x", "type": None} for one in ids]
        messages.append(message(draw, offset, "A31", [(PATIENT_FOLD.table.name, row)]))
    return messages


def patient_reference(messages: Sequence[Message]) -> list[Values]:
    shown: dict[str, Values] = {}
    for one in sorted(messages, key=lambda one: one.rank):
        for values in one.said(PATIENT_FOLD.table.name):
            row = shown.setdefault(values["patient_id"], dict.fromkeys(PATIENT_COLUMNS))
            row["patient_id"] = values["patient_id"]
            for value in (["family_name"], ["street"], ["marital_status", "marital_status_display"]):
                if any(values[name] for name in value):
                    row |= {name: None if values[name] == DELETED else values[name] for name in value}
            row["members"] = (row["members"] or set()) | {one["value"] for one in values["identifiers"]}
    return [row | {"members": sorted(row["members"])} for row in shown.values()]


@given_messages
@given(patients(), st.integers(0, 2**32))
def test_patients(messages: list[Message], seed: int) -> None:
    found = in_batches(PATIENT_FOLD, messages, seed)
    rows = [
        row | {"members": sorted(one["value"] for one in row["identifiers"] or [])}
        for row in read(PATIENT_FOLD, found).to_pylist()
    ]
    names = PATIENT_COLUMNS
    plain = [[row[name] for name in names] for row in sorted(rows, key=lambda row: str(row["patient_id"]))]
    wanted = sorted(patient_reference(messages), key=lambda row: str(row["patient_id"]))
    assert plain == [[row[name] for name in names] for row in wanted]


# Orders ------------------------------------------------------------------------------------------------------------

ORDER_COLUMNS = ("filler_order", "service_code", "request", "state", "priority", "since")


@st.composite
def orders(draw: st.DrawFn) -> list[Message]:
    messages = []
    for offset in range(draw(st.integers(1, 6))):
        row = {
            "filler_order": draw(st.sampled_from("12")),
            "service_code": draw(st.sampled_from([None, "a", "b"])),
            "order_control": draw(st.sampled_from(["NW", "CA", "OC", "HD", "HR", "SC", "RE"])),
            "order_status": draw(st.sampled_from([None, None, "IP", "CM"])),
            "priority": draw(said(["R", "S"])),
        }
        messages.append(message(draw, offset, "O01", [(SERVICE_REQUEST_FOLD.table.name, row)]))
    return messages


def order_reference(messages: Sequence[Message]) -> list[Values]:
    told = [
        (one, values)
        for one in sorted(messages, key=lambda one: one.rank)
        for values in one.said(SERVICE_REQUEST_FOLD.table.name)
    ]
    things = {(values["filler_order"], values["service_code"]) for _, values in told}
    shown = []
    for order, service in things:
        if service is None and any(other == order and one for other, one in things):
            continue
        row: Values = dict.fromkeys(ORDER_COLUMNS)
        row |= {"filler_order": order, "service_code": service}
        for one, values in told:
            if values["filler_order"] != order or values["service_code"] not in {service, None}:
                continue
            control, status = values["order_control"], values["order_status"]
            row["since"] = one.time
            if control in {"NW", "CA", "HD"}:
                row["request"] = control
            state = {"OC": "CA", "HR": "HD"}.get(control)
            state = status or state if control not in {"CA", "HD"} else None
            row["state"] = state or row["state"]
            if values["priority"]:
                row["priority"] = None if values["priority"] == DELETED else values["priority"]
        shown.append(row)
    return shown


@given_messages
@given(orders(), st.integers(0, 2**32))
def test_orders(messages: list[Message], seed: int) -> None:
    check(SERVICE_REQUEST_FOLD, ORDER_COLUMNS, order_reference, messages, seed)


# Sets --------------------------------------------------------------------------------------------------------------

SET_COLUMNS = ("visit_number", "condition_code", "priority", "line", "since")


@st.composite
def diagnoses(draw: st.DrawFn) -> list[Message]:
    messages = []
    for offset in range(draw(st.integers(1, 6))):
        rows = []
        for code in draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3)):
            row = {"visit_number": draw(st.sampled_from("12")), "condition_code": code,
                   "action_code": draw(st.sampled_from([None, None, "A", "D", "U"])),
                   "priority": str(offset), "stated_in": "DG1"}  # fmt: skip
            rows.append((CONDITION_FOLD.table.name, row))
        messages.append(message(draw, offset, "A08", rows))
    return messages


def set_reference(messages: Sequence[Message]) -> list[Values]:
    now: dict[str, dict[str, Values]] = {}
    for one in sorted(messages, key=lambda one: one.rank):
        rows = one.said(CONDITION_FOLD.table.name)
        whole = [row for row in rows if row["action_code"] is None]
        for visit in {row["visit_number"] for row in whole}:
            mine = [row for row in whole if row["visit_number"] == visit]
            now[visit] = {
                row["condition_code"]: row | {"line": line, "since": one.time}
                for line, row in enumerate(mine)
            }
        for row in rows:
            if row["action_code"] is not None:
                members = now.setdefault(row["visit_number"], {})
                members.pop(row["condition_code"], None)
                if row["action_code"] != "D":
                    members[row["condition_code"]] = row | {"line": 0, "since": one.time}
    return [row for members in now.values() for row in members.values()]


@given_messages
@given(diagnoses(), st.integers(0, 2**32))
def test_sets(messages: list[Message], seed: int) -> None:
    check(CONDITION_FOLD, SET_COLUMNS, set_reference, messages, seed)


# All folds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_join_is_the_same_however_it_is_bracketed(seed: int) -> None:
    chance = random.Random(seed)
    messages = [
        Message(offset, chance.randint(0, 9), None, chance.choice(["A01", "A03", "A08"]),
                ((ENCOUNTER_FOLD.table.name, (("visit_number", "1"), ("bed", str(offset)))),))
        for offset in range(3)
    ]  # fmt: skip
    a, b, c = (state(ENCOUNTER_FOLD, [one]) for one in messages)
    left = join(ENCOUNTER_FOLD, join(ENCOUNTER_FOLD, a, b), c)
    right = join(ENCOUNTER_FOLD, c, join(ENCOUNTER_FOLD, b, a))
    assert sorted(map(repr, left.to_pylist())) == sorted(map(repr, right.to_pylist()))
