"""By which numbers an order is known, as a user asks it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from jobs.lake_views import lake_views
from jobs.order_alias import ORDER_ALIAS
from tests.curated_lake import CuratedLake, rows_of
from tests.stated_rows import RECEIVED


def message(day: str, kind: str, *segments: str) -> tuple[bytes, str]:
    header = f"MSH|^~\\&|LIS|H|||{day}0800+0000||{kind}|{day}{kind}|P|2.5.1"
    return "\r".join([header, "PID|1||123^^^H", *segments, ""]).encode(), "test"


def test_numbers_of_an_order_since_when_and_from_which_message(tmp_path: Path) -> None:
    messages = [
        message("20260410", "OML^O21", "ORC|NW|P1^HIS||G1^HIS", "OBR|1|P1^HIS||CBC^Blood count^L"),
        message("20260412", "ORU^R01", "OBR|1|P1^HIS|F1^LIS|CBC^Blood count^L|||202604120700"),
        # received last, and older: since then it is so; leaving a number out takes nothing away
        message("20260411", "OML^O21", "ORC|SC|P1^HIS|F1^LIS", "OBR|1|P1^HIS|F1^LIS|CBC^Blood count^L",
                "SPM|1|||BLD^Blood^L||||||||||||||||||||||||||A7"),
        message("20260413", "ORU^R01", "OBR|1||F1^LIS|CBC^Blood count^L|||202604120700"),
        message("20260413", "RDE^O11", 'ORC|NW|P2|""', "RXE||AMOX^Amoxicillin^L|500||mg|CAP"),
        message("20260414", "RDE^O11", "ORC|NW|P2|F2", "RXE||AMOX^Amoxicillin^L|500||mg|CAP"),
    ]  # fmt: skip
    lake = CuratedLake(tmp_path).create()
    lake.put(rows_of(messages), range(len(messages)))
    columns = (
        "kind, number, authority, known_as, order_number, order_authority, code, since::DATE::TEXT, "
        'last_said::DATE::TEXT, known_since, "offset"'
    )
    with lake_views(lake.lake) as views:
        found = views.connection.execute(f"SELECT {columns} FROM curated.order_alias ORDER BY ALL").fetchall()
        names = [row[0] for row in views.connection.execute("DESCRIBE curated.order_alias").fetchall()]
    second = [RECEIVED + timedelta(seconds=place) for place in range(len(messages))]
    assert found == [
        ("accession", "A7", "test/H", "filler", "F1", "LIS", None, "2026-04-11", "2026-04-11", second[2], 2),
        ("group", "G1", "HIS", "placer", "P1", "HIS", "CBC", "2026-04-10", "2026-04-10", second[0], 0),
        ("placer", "P1", "HIS", "filler", "F1", "LIS", "CBC", "2026-04-11", "2026-04-12", second[1], 2),
        ("placer", "P1", "HIS", "filler", "F1", "LIS", None, "2026-04-11", "2026-04-11", second[2], 2),
        (
            "placer",
            "P2",
            "test/H",
            "filler",
            "F2",
            "test/H",
            "AMOX",
            "2026-04-14",
            "2026-04-14",
            second[5],
            5,
        ),
    ]
    assert names == [field.name for field in ORDER_ALIAS.fields]
