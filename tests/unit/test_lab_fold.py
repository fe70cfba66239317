"""What instruments say, folded: measured again, sent again, of another day, and controls."""

from __future__ import annotations

from typing import Any

from pipelines.fold import join, read, state_of
from pipelines.lab.modality import LAB
from schemas.fold import RowFold
from schemas.source import Source, Sources
from schemas.tables.curated import OBSERVATION_FOLD, QC_RESULT_FOLD
from tests.stated_rows import stated_rows

SOURCES = Sources.of(Source("one", institution="YL-1"), Source("two", institution="YL-1"))


def message(order: str, *results: str) -> bytes:
    return ("\r".join([r"H|\^&|||A1", "P|1", order, *results, "L|1|N"]) + "\r").encode()


def result(value: str, time: str, code: str = "GLU") -> str:
    return f"R|1|^^^{code}|{value}|mmol/L||||F||||{time}|A1"


def folded(fold: RowFold, *messages: tuple[bytes, str]) -> list[dict[str, Any]]:
    """What is shown; each message is a batch of its own, and every one is joined to what is there."""
    tables = stated_rows(messages, SOURCES, LAB)
    rows = tables[fold.table.name]
    offsets = rows.column("offset").to_pylist()
    states = [
        state_of(fold, rows.filter([offset == one for offset in offsets]), sources=SOURCES)
        for one in range(len(messages))
    ]
    state = states[0]
    for more in states[1:]:
        state = join(fold, state, more)
    found: list[dict[str, Any]] = read(fold, state).to_pylist()
    return found


ORDER = "O|1|B1||^^^GLU"
FIRST = (message(ORDER, result("5.1", "20260301080000")), "one")
AGAIN = (message(ORDER, result("5.3", "20260301083000")), "one")


def test_a_result_measured_again_takes_the_place_of_the_first_whatever_the_order() -> None:
    for messages in ((FIRST, AGAIN), (AGAIN, FIRST)):
        shown = folded(OBSERVATION_FOLD, *messages)
        assert [(row["value_text"], row["status"]) for row in shown] == [("5.3", "instrument")]


def test_a_result_of_another_instrument_of_the_institution_is_of_the_same_specimen() -> None:
    shown = folded(OBSERVATION_FOLD, FIRST, (message(ORDER, result("7", "20260301080500", "CRP")), "two"))
    assert {row["observation_code"] for row in shown} == {"GLU", "CRP"}
    assert len({row["key_hash"] for row in shown}) == 1


def test_a_bar_code_that_comes_round_again_is_another_specimen() -> None:
    later = (message(ORDER, result("9.9", "20260302080000")), "one")
    assert {row["value_text"] for row in folded(OBSERVATION_FOLD, FIRST, later)} == {"5.1", "9.9"}


def test_each_measurement_of_a_control_stays() -> None:
    control = "O|1|QC1^L5^1||^^^GLU|||||||Q"
    times = ("20260301080000", "20260301120000", "20260301080000")
    messages = [(message(control, result("10.1", time)), "one") for time in times]
    shown = folded(QC_RESULT_FOLD, *messages)
    assert len(shown) == 2
    assert {row["control_lot"] for row in shown} == {"L5"}
