"""What becomes of all that lies in an archive, and what a second run takes."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import jobs.harvest_progress as harvest_progress_module
from connectors.dicom.dicomdir import named, referenced
from connectors.dicom.harvest import CHUNK, FINDINGS, LEFT_OUT, SETTLED, Look, Outcome, outcomes
from connectors.dicom.header import Cut, find_cut
from connectors.dicom.places import FolderPlace, Found, PlaceError, Read
from connectors.records import Record
from jobs.harvest import Tally, harvest
from jobs.harvested import Harvested
from schemas.errors import ConfigError, LakeError, TransportError
from schemas.source import Source
from tests.dicom_files import DATA, SENTINEL, SMALL, fill, pack, small

CUT = find_cut(SMALL, ended=True)
assert isinstance(CUT, Cut)
HEADER = CUT.header


def no_object(path: str, data: bytes) -> None:
    raise AssertionError(path, len(data))


class Run:
    """A harvest whose records end in a list."""

    def __init__(self, memory: Path | None = None, topic_id: str = "t1") -> None:
        self.memory, self.topic_id = memory, topic_id
        self.put: dict[str, bytes] = {}
        self.tally = Tally()
        self.records: list[Record] = []
        self.names = io.StringIO()

    def __call__(
        self,
        root: Path,
        *,
        workers: int = 2,
        limit: int | None = None,
        again: bool = False,
        threshold: int = 900_000,
    ) -> Run:
        place = FolderPlace.of(os.fsencode(root))
        look = Look(Source("pacs"), "raw.dicom", place.first, self.put.__setitem__, threshold)
        with Harvested(self.memory, self.topic_id, again=again) as harvested:
            harvest(
                place,
                look,
                self.deliver,
                harvested,
                self.tally,
                workers=workers,
                limit=limit,
                names=self.names,
            )
        return self

    def deliver(self, records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
        for record in records:
            self.records.append(record)
            on_delivered(record)

    @property
    def uris(self) -> list[str]:
        return [dict(record.headers)["attachment-uri"].decode() for record in self.records]


def test_headers_of_files_and_of_members_are_sent_with_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a 张.dcm").write_bytes(SMALL)
    pack(
        tmp_path / "b" / "x.ZIP",
        iter([("in/1.dcm", small(1)), ("in/", b""), ("note", b"no DICOM at all " * 20)]),
    )
    run = Run()(tmp_path)
    assert run.uris == [
        f"file://{tmp_path}/a%20%E5%BC%A0.dcm",
        f"file://{tmp_path}/b/x.ZIP!/in/1.dcm",
    ]
    first = run.records[0]
    headers = dict(first.headers)
    assert first.value == HEADER
    assert (headers["attachment-size"], headers["content-type"]) == (b"%d" % len(SMALL), b"application/dicom")
    assert "attachment-sha256" not in headers
    assert first.key.startswith(b"pacs|1.")
    assert (run.tally.looked_at, run.tally.headers, run.tally.delivered) == (3, 2, 2)
    assert run.tally.findings == {"HARVEST-NOT-DICOM": 1}
    assert run.tally.complete


def test_a_single_file_and_a_single_zip_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(SMALL)
    assert len(Run()(tmp_path / "one").records) == 1
    pack(tmp_path / "archive", iter([("1", SMALL)]))  # without a name that says so
    assert len(Run()(tmp_path / "archive").records) == 1
    with pytest.raises(ConfigError, match="HARVEST-URI"):
        Run()(tmp_path / "absent")


def test_what_is_there_besides_is_counted_and_never_ends_a_run(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n" + bytes(500))
    (tmp_path / "short.dcm").write_bytes(SMALL[:700])
    (tmp_path / "damaged.zip").write_bytes(b"PK\3\4" + bytes(100))
    with (tmp_path / os.fsdecode(b"\xd5\xc5")).open("wb") as named_in_gbk:
        named_in_gbk.write(small(7))
    run = Run()(tmp_path)
    assert len(run.records) == 5
    assert f"file://{tmp_path}/%D5%C5" in run.uris
    assert run.tally.findings == {
        "HARVEST-EMPTY": 1,
        "HARVEST-VANISHED": 1,
        "HARVEST-NO-FILE": 2,
        "HARVEST-NOT-DICOM": 1,
        "HARVEST-CUT-SHORT": 1,
        "HARVEST-ZIP": 1,
    }
    assert not run.tally.complete
    assert (
        f"HARVEST-ZIP\t{run.tally.named['HARVEST-ZIP'][0]}\tfile://{tmp_path}/damaged.zip\n"
        in run.names.getvalue()
    )
    assert SENTINEL not in str(run.tally)


def test_members_that_are_damaged_or_encrypted_are_named_and_the_others_taken(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    pack(file, ((f"{number}.dcm", small(number)) for number in range(3)))
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        damaged, encrypted = archive.infolist()[:2]
    at = damaged.header_offset + 30 + len(damaged.filename)
    data[at : at + 40] = b"\xff" * 40
    data[encrypted.header_offset + 6] |= 1
    directory = data.rindex(b"PK\1\2", 0, data.rindex(b"2.dcm"))
    data[data.rindex(b"PK\1\2", 0, directory) + 8] |= 1
    file.write_bytes(data)
    run = Run()(file)
    assert run.uris == [f"file://{tmp_path}/x.zip!/2.dcm"]
    assert run.tally.findings == {"HARVEST-ZIP": 2}


def test_a_second_run_takes_what_is_new_or_has_changed(tmp_path: Path) -> None:
    archive, memory = tmp_path / "archive", tmp_path / "memory"
    fill(archive, 5)
    (archive / "note.txt").write_text("no DICOM")
    pack(archive / "x.zip", ((f"{number}.dcm", small(number)) for number in range(10, 12)))
    assert Run(memory)(archive).tally.delivered == 7
    assert (again := Run(memory)(archive).tally).known == 8
    assert (again.looked_at, again.delivered) == (0, 0)

    changed = archive / "000" / f"{SENTINEL}-2.dcm"
    changed.write_bytes(small(2))
    os.utime(changed, (1, 1))
    pack(archive / "x.zip", ((f"{number}.dcm", small(number)) for number in range(10, 13)))
    fill(archive, 1, start=5)
    third = Run(memory)(archive)
    assert sorted(uri.rpartition("/")[2] for uri in third.uris) == [
        "12.dcm", f"{SENTINEL}-2.dcm", f"{SENTINEL}-5.dcm",
    ]  # fmt: skip
    assert (
        Run(memory, topic_id="t2")(archive).tally.known == 0
    )  # the topic was made anew: nothing of it is there
    assert Run(memory, topic_id="t2")(archive, again=True).tally.delivered == 9


def test_what_kafka_did_not_confirm_is_taken_again(tmp_path: Path) -> None:
    archive, memory = tmp_path / "archive", tmp_path / "memory"
    fill(archive, 150)

    class Broken(Run):
        def deliver(self, records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
            for record in records:
                self.records.append(record)
                if len(self.records) % 2:
                    on_delivered(record)
                if len(self.records) == 101:
                    raise TransportError("KAFKA-NOT-STORED", "Kafka did not confirm the record in time")

    broken = Broken(memory)
    with pytest.raises(TransportError):
        broken(archive)
    rest = Run(memory)(archive)
    assert rest.tally.known == broken.tally.delivered == 51
    assert set(broken.uris[::2]) | set(rest.uris) == set(Run()(archive).uris)
    assert not set(broken.uris[::2]) & set(rest.uris)


def test_an_object_without_pixel_data_is_read_whole_and_has_its_hash(tmp_path: Path) -> None:
    report = (DATA / "test_files" / "test-SR.dcm").read_bytes()
    (tmp_path / "report").write_bytes(report)
    (record,) = Run()(tmp_path).records
    assert record.value == report
    assert dict(record.headers)["attachment-sha256"].decode() == hashlib.sha256(report).hexdigest()


def test_two_harvests_of_a_source_remember_together(tmp_path: Path) -> None:
    fill(tmp_path / "archive", 4)
    found = list(FolderPlace.of(os.fsencode(tmp_path / "archive")).found())
    with Harvested(tmp_path / "memory", "t1") as one, Harvested(tmp_path / "memory", "t1") as other:
        for number, thing in enumerate(found):
            (one if number % 2 else other).settle(thing)
    with Harvested(tmp_path / "memory", "t1") as after:
        assert after.known(found) == [True] * 4


def test_a_limit_and_a_next_run(tmp_path: Path) -> None:
    archive, memory = tmp_path / "archive", tmp_path / "memory"
    fill(archive, 9)
    first, second = Run(memory)(archive, limit=4), Run(memory)(archive)
    assert (first.tally.looked_at, second.tally.known, second.tally.delivered) == (4, 4, 5)
    assert not set(first.uris) & set(second.uris)


def test_a_memory_that_is_damaged_is_told_without_a_loss(tmp_path: Path) -> None:
    (tmp_path / "memory").write_bytes(b"no data base " * 100)
    with pytest.raises(LakeError, match="HARVEST-STATE"):
        Run(tmp_path / "memory")(tmp_path)


def test_headers_too_large_for_kafka_go_to_the_store(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(SMALL)
    run = Run()(tmp_path, threshold=1000)
    ((path, data),) = run.put.items()
    assert data == HEADER
    assert path.startswith("objects/dicom/")
    headers = dict(run.records[0].headers)
    assert (run.records[0].value, headers["object-path"]) == (b"", path.encode())
    assert headers["attachment-size"] == b"%d" % len(SMALL)
    assert run.tally.objects == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_things_keep_their_order_and_few_large_headers_are_held(workers: int) -> None:
    size = 3 * 1024 * 1024
    under_way: list[int] = []

    @contextmanager
    def opened() -> Iterator[Read]:
        yield bytes

    def look(found: Found) -> Outcome:
        under_way.append(1)
        return Outcome(found, header_bytes=size)

    found = [Found(str(number), 1, "", opened) for number in range(5 * CHUNK)]
    most = 0
    seen = []
    for outcome in outcomes(iter(found), lambda some: [one.uri.endswith("7") for one in some], look, workers):
        if outcome is not None:
            seen.append(outcome.found.uri)
            most = max(most, len(under_way) - len(seen))
    assert seen == [one.uri for one in found if not one.uri.endswith("7")]
    assert most < 2 * workers * 3 + 3


def test_a_dicomdir_tells_what_the_medium_lacks(tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(DATA / "test_files" / "dicomdirtests", medium)
    for file in medium.rglob("*"):
        file.chmod(file.stat().st_mode | stat.S_IWUSR)
    for other in medium.glob("DICOMDIR-*"):
        other.unlink()
    (medium / "beside.dcm").write_bytes(SMALL)
    names = referenced((medium / "DICOMDIR").read_bytes())
    assert names is not None
    whole = Run()(medium)
    assert (whole.tally.dicomdirs, whole.tally.complete) == (2, True)  # one lies in a folder of the other
    assert f"file://{medium}/beside.dcm" in whole.uris
    assert not [uri for uri in whole.uris if uri.endswith("DICOMDIR")]

    lost = min(names)
    next(file for file in medium.rglob("*") if str(file.relative_to(medium)).lower() == lost).unlink()
    run = Run()(medium)
    assert run.tally.findings["HARVEST-NOT-ON-MEDIUM"] == 1
    assert f"\tfile://{medium}/{lost}\n" in run.names.getvalue()
    assert len(run.records) == len(whole.records) - 1

    pack(
        tmp_path / "cd.zip",
        ((str(f.relative_to(tmp_path)), f.read_bytes()) for f in medium.rglob("*") if f.is_file()),
    )
    packed = Run()(tmp_path / "cd.zip")
    assert packed.tally.findings["HARVEST-NOT-ON-MEDIUM"] == 1
    assert len(packed.records) == len(run.records)


@pytest.mark.parametrize("data", [b"", b"x" * 500, (DATA / "test_files" / "CT_small.dcm").read_bytes()])
def test_what_is_no_dicomdir_names_nothing(data: bytes) -> None:
    assert referenced(data) is None


def test_names_of_media_are_compared_as_media_spell_them() -> None:
    assert named("IMG/CT001.;1") == named("img/ct001") == "img/ct001"


def test_a_file_that_goes_while_it_is_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(SMALL)
    place = FolderPlace.of(os.fsencode(tmp_path))
    look = Look(Source("pacs"), "raw.dicom", place.first, no_object)
    (found,) = place.found()
    (tmp_path / "one").unlink()
    assert look(found).code == "HARVEST-VANISHED"
    (tmp_path / "one").write_bytes(SMALL[:600])
    assert look(found).code == "HARVEST-CHANGED"


def test_a_file_that_may_not_be_read_is_told() -> None:
    @contextmanager
    def refused() -> Iterator[Read]:
        raise PlaceError("HARVEST-UNREADABLE")
        yield

    look = Look(Source("pacs"), "raw.dicom", 1024, no_object)
    found = Found("file:///x", 10, "", refused)
    assert look(found).code == "HARVEST-UNREADABLE"
    assert look(replace(found, size=0)).code == "HARVEST-EMPTY"


def test_every_code_has_its_sentence_and_place() -> None:
    assert FINDINGS.keys() >= LEFT_OUT
    assert SETTLED - {""} <= FINDINGS.keys()
    assert not LEFT_OUT & SETTLED


def test_how_far_it_is_is_told_with_rate_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 5)
    place, tally = FolderPlace.of(os.fsencode(tmp_path)), Tally(looked_at=3, known=1, delivered=3)
    monkeypatch.setattr("sys.stderr", io.StringIO())  # no terminal
    monkeypatch.setattr(harvest_progress_module, "LINE_EVERY", 0.0)
    monkeypatch.setattr(harvest_progress_module, "_COUNT_AFTER", 0.0)
    with capture_logs() as lines, harvest_progress_module.harvest_progress(tally, place) as follow:
        deadline = time.monotonic() + 30
        while not tally.counted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(follow(iter([None, None]))) == [None, None]
    assert tally.total == 5
    assert len(lines) == 2
    assert {name: lines[0][name] for name in ("looked_at", "known", "delivered", "of")} == {
        "looked_at": 3, "known": 1, "delivered": 3, "of": 5,
    }  # fmt: skip
    assert {"rate", "seconds_left"} <= lines[0].keys()
