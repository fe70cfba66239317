"""Golden folds: what is true now after some messages, in whatever order they come.

A case is a folder ``fold/<case>`` with ``messages.hl7`` (each begins with MSH; a blank line between them) and
``expected.json``: table → the rows that are shown, each with the columns that matter (``null`` where it has none).
``source`` names settings of the source. Every order of arrival gives the same rows: all orders of up to three messages
are tried, and of more messages some, unless ``every_order`` asks for all; each message is a batch of its own.
"""

from __future__ import annotations

import itertools
import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # when started by hand

from pipelines.dicom.modality import DICOM
from pipelines.fold import aliases_of, join, join_aliases, kept, laid, read, rekeyed, state_of
from pipelines.hl7v2.modality import HL7V2
from pipelines.lab.modality import LAB
from schemas.fold import Fold, RowFold
from schemas.lab import ASTM
from schemas.source import Source, Sources
from schemas.table import INSTANT
from schemas.tables.curated import FOLDS
from tests.dicom_headers import ROOT, dose_report, header, note
from tests.stated_rows import RECEIVED, stated_rows

CASES = Path(__file__).parent / "fold"
BY_NAME = {fold.table.name.removeprefix("normalised/"): fold for fold in FOLDS}


def messages_of(case: Path) -> list[bytes]:
    blocks = (case / "messages.hl7").read_text("utf-8").split("\n\n")
    return [block.strip().replace("\n", "\r").encode() for block in blocks if block.strip()]


def rows_of(messages: list[bytes], source: Source) -> dict[str, pa.Table]:
    """Rows of all normalised tables, by name; ``offset`` is the message's place, at which it is received."""
    return stated_rows([(message, source.name) for message in messages], Sources.of(source))


def folded(fold: Fold, tables: dict[str, pa.Table], order: tuple[int, ...], sources: Sources) -> pa.Table:
    """Messages taken one by one in an order; the order of arrival is that order."""
    moved = {}
    for name, rows in tables.items():
        place = pa.array([order.index(offset) for offset in rows.column("offset").to_pylist()], pa.int64())
        received = pa.array([RECEIVED + timedelta(seconds=one) for one in place.to_pylist()], INSTANT)
        for column, values in (("offset", place), ("received_at", received)):
            rows = rows.set_column(rows.schema.get_field_index(column), column, values)  # noqa: PLW2901
        moved[name] = rows
    states = []
    aliases = []
    for place in range(len(order)):
        of_message = {
            name: rows.filter(pa.compute.equal(rows.column("offset"), place)) for name, rows in moved.items()
        }
        rows = of_message.pop(fold.table.name, fold.table.arrow_schema.empty_table())
        aliases.append(aliases_of(fold, rows, sources=sources))
        states.append(state_of(fold, rows, echoes=of_message, sources=sources))
    known = join_aliases(*aliases)
    state = states[0]
    for more in states[1:]:
        state = join(fold, state, more)
    return read(fold, rekeyed(fold, state, known))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    return value


def shown(rows: pa.Table, names: list[str]) -> list[str]:
    """The rows as lines of JSON, in an order of their own."""
    return sorted(
        json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False, sort_keys=True)
        for row in rows.select(names).to_pylist()
    )


def orders_of(count: int, *, every: bool) -> list[tuple[int, ...]]:
    if every or count <= 3:
        return list(itertools.permutations(range(count)))
    straight = tuple(range(count))
    turned = [straight[place:] + straight[:place] for place in range(0, count, max(1, count // 6))]
    return [*turned, *(one[::-1] for one in turned)]


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_fold(case: str) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text("utf-8"))
    source = Source(**{"name": "clinic", **expected.get("source", {})})
    messages = messages_of(CASES / case)
    tables = rows_of(messages, source)
    for name, rows in expected["tables"].items():
        names = sorted({column for row in rows for column in row})
        wanted = sorted(
            json.dumps({column: row.get(column) for column in names}, ensure_ascii=False, sort_keys=True)
            for row in rows
        )
        for order in orders_of(len(messages), every=expected.get("every_order", False)):
            found = folded(BY_NAME[name], tables, order, Sources.of(source))
            assert shown(found, names) == wanted, (name, order)


def test_every_fold_reads_nothing_of_nothing() -> None:
    for fold in FOLDS:
        state = state_of(fold, fold.table.arrow_schema.empty_table())
        assert read(fold, state).num_rows == 0
        assert isinstance(fold, RowFold) or fold.values


def test_every_fold_takes_what_every_family_states() -> None:
    """The messages of all golden cases together: what is laid down is what is joined, and is shown or deleted."""
    messages = [path.read_bytes() for path in sorted((CASES.parent / "hl7v2").glob("*/message.hl7"))]
    readable = [
        one for one in messages if not HL7V2.envelopes([one], [Source("clinic")])["problem"][0].is_valid
    ]
    tables = rows_of(readable, Source("clinic"))
    images = [(one, "clinic") for one in (header(CTDIvol=7.5), dose_report(), note("113001", f"{ROOT}9"))]
    controls = [
        (
            (CASES.parent / "lab/quality-control-message/message.astm").read_bytes().replace(b"\n", b"\r"),
            "clinic",
        )
    ]
    for others in (
        stated_rows(images, Sources.of(Source("clinic")), DICOM),
        stated_rows(controls, Sources.of(Source("clinic")), LAB, content_type=ASTM),
    ):
        tables |= {name: rows for name, rows in others.items() if name not in tables}
    for fold in FOLDS:
        rows = tables[fold.table.name]
        aliases = aliases_of(fold, rows)
        state = state_of(fold, rows, echoes=tables, aliases=aliases)
        lines = sorted(map(repr, state.to_pylist()))
        assert sorted(map(repr, join(fold, state, state).to_pylist())) == lines
        table = laid(fold, state)
        assert sorted(map(repr, kept(fold, table).to_pylist())) == lines
        assert read(fold, state).num_rows == sum(table.column("shown").to_pylist()) > 0, fold.table.name
