"""Files that are dropped are taken once, whole, in order, and what is wrong with one stops no other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from connectors.records import Record
from connectors.result_files import FAULTS, Collector, Dropped, FileFault, FolderDrop, Taken
from jobs.collect import collect_every
from lake_layout.location import LakeLocation
from lake_layout.objects import ObjectStore, open_store
from schemas.errors import TransportError
from schemas.source import Source

SENTINEL = "钟馗零九七"


@dataclass
class Topic:
    """What was delivered; after ``room`` records it refuses more, as a broker that went away."""

    records: list[Record] = field(default_factory=list)
    room: int = 1000

    def deliver(self, records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
        for record in records:
            if len(self.records) == self.room:
                raise TransportError("KAFKA-NOT-STORED", "gone")
            self.records.append(record)
            on_delivered(record)

    @property
    def values(self) -> list[bytes]:
        return [record.value for record in self.records]


@dataclass
class Place:
    """A folder that is dropped into, and a lake."""

    drop: Path
    store: ObjectStore
    topic: Topic = field(default_factory=Topic)

    def collector(self, **settings: object) -> Collector:
        source = Source("clinic", size_limit=1000)
        made = Collector(
            source,
            FolderDrop(self.drop),
            Taken(self.store, "clinic"),
            self.topic.deliver,
            self.store.put_if_absent,
        )
        for name, value in settings.items():
            setattr(made, name, value)
        return made

    def put(self, name: str, data: bytes, changed: int = 1_700_000_000) -> Path:
        path = self.drop / name
        path.write_bytes(data)
        os.utime(path, (changed, changed))
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "drop").mkdir()
    return Place(tmp_path / "drop", open_store(LakeLocation(str(tmp_path / "lake"))))


def test_a_file_is_taken_once_it_has_not_changed(place: Place) -> None:
    collector = place.collector()
    place.put("a.csv", b"half")
    assert collector.round().waiting == 1
    place.put("a.csv", b"half and half")
    assert (collector.round().waiting, place.topic.values) == (1, [])
    assert (collector.round().taken, place.topic.values) == (1, [b"half and half"])
    assert (collector.round().known, len(place.topic.values)) == (1, 1)
    # another process knows too; a file that is written anew is another one
    place.put("a.csv", b"half and half", 1_700_000_099)
    other = place.collector()
    assert [other.round().waiting, other.round().taken] == [1, 1]


def test_a_marker_says_that_a_file_is_whole(place: Place) -> None:
    collector = place.collector(marker=".done", pattern="*.csv*")
    place.put("a.csv", b"a")
    assert [collector.round().waiting for _ in range(3)] == [1, 1, 1]
    place.put("a.csv.done", b"")
    assert (collector.round().taken, place.topic.values) == (1, [b"a"])


def test_the_oldest_goes_first_and_large_ones_go_to_objects(place: Place) -> None:
    collector = place.collector(threshold=5)
    place.put("a.csv", b"later", 1_700_000_100)
    place.put("b.csv", b"earlier", 1_700_000_000)
    place.put("c.csv", b"x" * 1001)
    place.put(".hidden", b"x")
    (place.drop / "folder").mkdir()
    (place.drop / "link.csv").symlink_to(place.drop / "a.csv")
    collector.round()
    tally = collector.round()
    assert place.topic.values == [b"", b"later"]
    headers = dict(place.topic.records[0].headers)
    assert place.store.get(headers["object-path"].decode()) == b"earlier"
    assert (tally.taken, dict(tally.faults), tally.complete) == (2, {"COLLECT-TOO-LARGE": 1}, False)


def test_what_kafka_took_before_it_went_is_not_sent_again(place: Place) -> None:
    place.topic.room = 1
    collector = place.collector()
    place.put("a.csv", b"first", 1_700_000_000)
    place.put("b.csv", b"second", 1_700_000_001)
    collector.round()
    with pytest.raises(TransportError):
        collector.round()
    place.topic.room = 1000
    assert collector.round().taken == 1
    assert place.topic.values == [b"first", b"second"]


def test_taken_files_are_moved_also_where_a_crash_left_them(place: Place, tmp_path: Path) -> None:
    first = place.put("a.csv", b"a")
    collector = place.collector()
    assert [collector.round().waiting, collector.round().taken] == [1, 1]
    assert first.exists()
    away = tmp_path / "taken"
    place.collector(move_to=away).round()
    assert (first.exists(), (away / "a.csv").read_bytes()) == (False, b"a")
    again = place.collector(move_to=away)
    place.put("a.csv", b"another")
    assert [again.round().waiting, again.round().taken] == [1, 1]
    assert sorted(path.read_bytes() for path in away.iterdir()) == [b"a", b"another"]


def test_what_cannot_be_read_is_told_by_code(place: Place) -> None:
    def fault(file: Dropped) -> str:
        with pytest.raises(FileFault) as raised:
            FolderDrop(place.drop).read(file)
        return raised.value.code

    assert fault(Dropped("gone", 1, 1)) == "COLLECT-VANISHED"
    changed = place.put("a.csv", b"a")
    assert fault(Dropped("a.csv", 2, changed.stat().st_mtime_ns)) == "COLLECT-CHANGED"
    (place.drop / "link").symlink_to(changed)
    assert fault(Dropped("link", 1, changed.stat().st_mtime_ns)) == "COLLECT-UNREADABLE"
    os.mkfifo(place.drop / "pipe")
    assert fault(Dropped("pipe", 1, 1)) == "COLLECT-CHANGED"
    collector = place.collector(drop=FolderDrop(place.drop / "nowhere"))
    assert dict(collector.round().faults) == {"COLLECT-FOLDER": 1}


def test_looking_goes_on_while_kafka_is_away_and_ends_when_it_is_told_to(place: Place) -> None:
    place.topic.room = 0
    place.put("a.csv", b"a")
    told: list[tuple[str, int]] = []

    def later(step: int = 0) -> None:
        if step == 0:
            place.topic.room = 1000
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    timers = [threading.Timer(0.3 + 0.3 * step, later, (step,)) for step in range(2)]
    for timer in timers:
        timer.start()
    collect_every([place.collector()], 0.02, lambda name, tally: told.append((name, tally.taken)))
    assert told == [("clinic", 1)]
    assert place.topic.values == [b"a"]


def test_no_name_is_logged(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    collector = place.collector(move_to=tmp_path / "file")
    place.put(f"{SENTINEL}.csv", SENTINEL.encode())
    place.put(f"{SENTINEL}-large.csv", b"x" * 1001)
    with structlog.testing.capture_logs() as logs:
        tallies = [collector.round() for _ in range(4)]
    assert [tally.taken for tally in tallies] == [0, 1, 0, 0]
    assert [tally.faults["COLLECT-TOO-LARGE"] for tally in tallies] == [1, 1, 1, 1]
    assert len(logs) == 3  # each is told once
    assert {str(entry["code"]) for entry in logs if "code" in entry} == {
        "COLLECT-TOO-LARGE",
        "COLLECT-NOT-MOVED",
    }
    assert {str(entry["code"]) for entry in logs if "code" in entry} <= FAULTS.keys()
    assert SENTINEL not in repr(logs)
    assert SENTINEL.encode() not in b"".join(value for _, value in place.topic.records[0].headers)
