"""Loading: which files, which records, what is counted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.records import Record
from jobs.load_files import FoundFile, Tally, find_files, load_files
from schemas.errors import TransportError
from schemas.source import Source

A = b"MSH|^~\\&|LAB|H|||20260301||ADT^A01|1|P|2.5.1\rPID|1||77^^^H\r"
B = b"MSH|^~\\&|LAB|H|||20260301||ORU^R01|2|P|2.5.1\rPID|1||78^^^H\r"
SOURCE = Source("county-3")
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Sent:
    """Takes records as Kafka would, up to a number."""

    def __init__(self, at_most: int | None = None) -> None:
        self.records: list[Record] = []
        self.objects: dict[str, bytes] = {}
        self.at_most = at_most

    def deliver(self, records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
        for record in records:
            if self.at_most is not None and len(self.records) >= self.at_most:
                raise TransportError("KAFKA-UNREACHABLE", "Kafka does not answer")
            self.records.append(record)
            on_delivered(record)

    def put(self, path: str, data: bytes) -> None:
        self.objects[path] = data

    def load(self, files: list[FoundFile], **settings: object) -> Tally:
        tally = Tally()
        self.tally = tally
        load_files(
            files,
            SOURCE,
            self.deliver,
            self.put,
            tally,
            topic="raw.hl7v2",
            clock=lambda: NOW,
            **settings,  # type: ignore[arg-type]
        )
        return tally


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.hl7").write_bytes(A + B)
    (tmp_path / "a.hl7").write_bytes(A)
    (tmp_path / ".hidden").write_bytes(A)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.hl7").write_bytes(A)
    (tmp_path / "LICENSE").write_text("Apache License\n")
    return tmp_path


def test_a_folder_with_all_below_it_in_order(folder: Path) -> None:
    sent = Sent()
    tally = sent.load(find_files([folder]))
    assert [record.value for record in sent.records] == [A, A, B]
    assert (tally.files, tally.messages, tally.delivered, tally.message_bytes) == (
        3,
        3,
        3,
        2 * len(A) + len(B),
    )
    assert tally.findings == {"NOT-HL7": 1}
    assert tally.complete


def test_a_file_counts_once_and_as_named(folder: Path) -> None:
    files = find_files([folder, folder / "LICENSE", folder / "a.hl7"])
    assert sorted(file.path.name for file in files) == ["LICENSE", "a.hl7", "two.hl7"]
    sent = Sent()
    sent.load(files)
    # what the user named is sent, to quarantine if need be
    assert b"Apache License\n" in [record.value for record in sent.records]


def test_a_circle_of_links_ends(folder: Path) -> None:
    (folder / "b" / "up").symlink_to(folder, target_is_directory=True)
    assert len(find_files([folder])) == 3


def test_records_say_where_they_come_from_and_not_the_files_name(folder: Path) -> None:
    (folder / "Zhang San 3301.hl7").write_bytes(b"BHS|^~\\&|A||||||||B1\r" + A + b"BTS|1\r")
    sent = Sent()
    sent.load(find_files([folder / "Zhang San 3301.hl7"]))
    (record,) = sent.records
    headers = dict(record.headers)
    assert headers["source"] == b"county-3"
    assert headers["received-at"] == b"2026-03-01T08:00:00.000000Z"
    assert headers["batch"].endswith(b"//B1#1.1")
    assert record.key == b"H|77"
    assert b"Zhang" not in repr(record).encode()


def test_the_same_file_has_the_same_batch_and_another_has_another(folder: Path) -> None:
    (folder / "copy.hl7").write_bytes(A)
    sent = Sent()
    sent.load(find_files([folder / "a.hl7", folder / "copy.hl7", folder / "b"]))
    batches = [dict(record.headers)["batch"] for record in sent.records]
    assert batches[0] == batches[1] != batches[2] == batches[3]
    sent.load(find_files([folder / "a.hl7"]), batch_id="migration-7")
    assert dict(sent.records[-1].headers)["batch"] == b"migration-7"


def test_large_messages_go_to_objects_first(folder: Path) -> None:
    sent = Sent()
    tally = sent.load(find_files([folder / "a.hl7"]), threshold=len(A) - 1)
    digest = hashlib.sha256(A).hexdigest()
    path = f"objects/hl7v2/{digest[:2]}/{digest}"
    assert sent.objects == {path: A}
    (record,) = sent.records
    assert record.value == b""
    headers = dict(record.headers)
    assert headers["object-path"] == path.encode()
    assert headers["object-size"] == str(len(A)).encode()
    assert headers["object-sha256"] == digest.encode()
    assert tally.objects == 1


def test_a_file_that_cannot_be_read_does_not_sink_the_others(folder: Path) -> None:
    os.mkfifo(folder / "pipe.hl7")
    (folder / "broken.hl7").symlink_to(folder / "nowhere")
    sent = Sent()
    tally = sent.load(find_files([folder / "absent.hl7", folder]))
    assert len(sent.records) == 3
    assert tally.unreadable == 3
    assert tally.findings["FILE-UNREADABLE"] == 3
    assert not tally.complete
    assert {detail.file.name for detail in tally.details if detail.finding.code == "FILE-UNREADABLE"} == {
        "absent.hl7", "pipe.hl7", "broken.hl7",
    }  # fmt: skip


def test_a_fault_in_the_middle_leaves_an_honest_count(folder: Path) -> None:
    sent = Sent(at_most=2)
    with pytest.raises(TransportError):
        sent.load(find_files([folder]))
    assert sent.tally.delivered == 2


def test_a_message_over_the_limit_of_its_source_makes_the_load_incomplete(folder: Path) -> None:
    sent = Sent()
    tally = Tally()
    small = Source("county-3", size_limit=len(A))
    (folder / "large.hl7").write_bytes(A + B + b"NTE|1|\r")
    load_files(find_files([folder / "large.hl7"]), small, sent.deliver, sent.put, tally, topic="t")
    assert [record.value for record in sent.records] == [A]
    assert not tally.complete
