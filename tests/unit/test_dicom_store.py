"""The C-STORE SCP with a folder as the lake: what is answered, what is kept, what a hostile sender can do."""

from __future__ import annotations

import hashlib
import io
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType

from connectors.dicom.client import Target, echo, read_dicom_file, send_files
from connectors.dicom.record import DICOM_TOPIC
from connectors.dicom.server import DicomListener, DicomService
from connectors.dicom.sources import DicomSource
from connectors.dicom.storage import Keep
from connectors.records import Record
from lake_layout.objects import FolderStore
from schemas.errors import ConfigError, TransportError
from schemas.source import Source
from tests.tools.dicom_sender import (
    CT,
    EXPLICIT,
    RawSender,
    element,
    fragment,
    instance,
    request,
    store_command,
    store_pdus,
    uid,
    write_file,
)

IMPLICIT, BIG, DEFLATED, JPEG = (f"1.2.840.10008.1.2{rest}" for rest in ("", ".2", ".1.99", ".4.70"))
PRIVATE = "1.2.826.0.1.3680043.8.498.77.9"


@dataclass
class Setting:
    """A listener and where its objects and records go."""

    folder: Path
    records: list[Record] = field(default_factory=list)
    store_fault: Exception | None = None
    kafka_fault: Exception | None = None

    def __post_init__(self) -> None:
        (self.folder / "spool").mkdir()
        self.store = FolderStore(self.folder / "lake")

    def put(self, path: str, file: IO[bytes], size: int, sha256: str) -> None:
        if self.store_fault:
            raise self.store_fault
        self.store.put_file(path, file, size, sha256)

    def deliver(self, record: Record) -> None:
        if self.kafka_fault:
            raise self.kafka_fault
        self.records.append(record)

    def listen(self, *sources: DicomSource, limit: int = 10, threshold: int = 100_000) -> int:
        """Open a port for sources; without any for one that takes everything."""
        wanted = sources or (DicomSource(Source("pacs", size_limit=1_000_000, idle_timeout=20), 0),)
        keep = Keep(self.put, self.deliver, self.folder / "spool", threshold=threshold)
        self.listener = DicomListener(DicomService(wanted, keep, limit))
        return self.listener.open("127.0.0.1", 0)

    def headers(self, number: int = -1) -> dict[str, str]:
        return {name: value.decode() for name, value in self.records[number].headers}

    def object(self, number: int = -1) -> bytes:
        return self.store.get(self.headers(number)["attachment-uri"])


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.listener.close()


def test_an_object_is_kept_as_received_and_its_header_goes_to_kafka(setting: Setting) -> None:
    port = setting.listen()
    sent = instance(7, 50_000)
    with RawSender(port) as sender:
        assert sender.store(7, sent) == 0
        assert sender.release() == 6
    whole = setting.object()
    assert whole.endswith(sent)
    assert pydicom.dcmread(io.BytesIO(whole)).PixelData == bytes([7]) * 50_000
    digest = hashlib.sha256(whole).hexdigest()
    assert setting.headers() | {"received-at": ""} == {
        "source": "pacs",
        "content-type": "application/dicom",
        "received-at": "",
        "attachment-uri": f"objects/dicom/{digest[:2]}/{digest}",
        "attachment-size": str(len(whole)),
        "attachment-sha256": digest,
    }
    (record,) = setting.records
    assert record.topic == DICOM_TOPIC
    assert whole.startswith(record.value)
    header = pydicom.dcmread(io.BytesIO(record.value))
    assert header.SOPInstanceUID == uid(7)
    assert "PixelData" not in header
    assert record.key.startswith(b"pacs|1.2.826")


def test_pynetdicom_sends_what_pydicom_carries(setting: Setting) -> None:
    port = setting.listen(DicomSource(Source("pacs", size_limit=10_000_000), 0), threshold=900_000)
    names = (
        "CT_small.dcm",
        "JPEG2000.dcm",
        "MR_small_bigendian.dcm",
        "image_dfl.dcm",
        "MR_small_implicit.dcm",
    )
    files = [read_dicom_file(Path(str(get_testdata_file(name)))) for name in names]
    answers: list[int | None] = []
    target = Target("127.0.0.1", port, patience=20)
    assert echo(target)
    send_files(target, [one for one in files if one], 0, lambda _file, status, _why: answers.append(status))
    assert answers == [0] * len(names)
    for number, file in enumerate(files):
        assert file is not None
        kept = pydicom.dcmread(io.BytesIO(setting.object(number)))
        wanted = pydicom.dcmread(file.path)
        assert kept == wanted
        assert kept.file_meta.TransferSyntaxUID == file.transfer_syntax
        header = pydicom.dcmread(io.BytesIO(setting.records[number].value))
        assert {one.tag for one in header} == {one.tag for one in wanted if one.tag.group < 0x7FE0}


def test_a_resent_object_is_the_same_object(setting: Setting) -> None:
    port = setting.listen()
    with RawSender(port, calling="ONE") as sender, RawSender(port, calling="TWO") as other:
        assert sender.store(1, instance(1)) == 0
        assert other.store(1, instance(1), 4096) == 0
        assert other.store(1, instance(1, patient="CHANGED^NAME")) == 0
    first, second, changed = (setting.headers(number) for number in range(3))
    assert first["attachment-uri"] == second["attachment-uri"] != changed["attachment-uri"]
    assert setting.records[0].value == setting.records[1].value
    assert len(list(setting.store.list("objects/dicom/"))) == 2


def test_private_classes_and_the_syntax_that_the_sender_has_are_accepted(setting: Setting) -> None:
    port = setting.listen()
    contexts = (
        (PRIVATE, [IMPLICIT, JPEG]),
        (CT, [BIG, IMPLICIT]),
        (CT, [DEFLATED]),
        ("1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT]),
    )
    with RawSender(port, contexts=contexts) as sender:
        assert sender.answer == 2
        body, found = sender.body[68:], []
        while body:  # items of the A-ASSOCIATE-AC (PS3.8 table 9-18)
            kind, length = body[0], struct.unpack(">H", body[2:4])[0]
            if kind == 0x21:
                found.append((body[6], body[12 : 4 + length].decode().rstrip("\0")))
            body = body[4 + length :]
    assert found[:3] == [(0, JPEG), (0, BIG), (0, DEFLATED)]
    assert found[3][0] == 3, "queries are not answered"


def test_a_deflated_object_has_a_deflated_header(setting: Setting) -> None:
    port = setting.listen()
    state = zlib.compressobj(wbits=-15)
    sent = state.compress(instance(3, 200_000)) + state.flush()
    with RawSender(port, contexts=((CT, [DEFLATED]),)) as sender:
        assert sender.store(3, sent) == 0
    assert setting.object().endswith(sent)
    header = pydicom.dcmread(io.BytesIO(setting.records[0].value))
    assert (header.SOPInstanceUID, "PixelData" in header) == (uid(3), False)


def test_a_header_too_large_for_kafka_goes_to_the_store(setting: Setting) -> None:
    port = setting.listen(threshold=1000)
    with RawSender(port) as sender:
        assert sender.store(1, instance(1, comment=b"long " * 1000)) == 0
        assert sender.store(2, instance(2, 0, comment=b"long " * 1000)) == 0
    with_pixels, without = setting.headers(0), setting.headers(1)
    assert [record.value for record in setting.records] == [b"", b""]
    stored = setting.store.get(with_pixels["object-path"])
    assert setting.object(0).startswith(stored)
    assert hashlib.sha256(stored).hexdigest() == with_pixels["object-sha256"]
    assert without["object-path"] == without["attachment-uri"], "all of it is header: it is there once"
    assert len(list(setting.store.list("objects/"))) == 3


@pytest.mark.parametrize(
    ("command", "data_set", "status"),
    [
        (store_command(1), instance(1, 2_000_000), 0xA700),
        (store_command(1), instance(1, sop_class="1.2.840.10008.5.1.4.1.1.4"), 0xA900),
        (store_command(1), instance(2), 0xA900),
        (store_command(1), b"not a data set, whatever it is", 0xC000),
        (store_command(1), element(0x00080016, b"UI", CT.encode()), 0xC000),
        (store_command(1, sop_class="1.2.840.10008.5.1.4.1.1.4"), instance(1), 0x0122),
        (store_command(1, sop_instance="../../etc/passwd"), instance(1), 0x0117),
        (store_command(1)[:-70].replace(struct.pack("<HHIH", 0, 0x100, 2, 1), b""), b"", None),
    ],
)
def test_what_cannot_be_taken_has_its_status_and_the_association_goes_on(
    setting: Setting, command: bytes, data_set: bytes, status: int | None
) -> None:
    port = setting.listen()
    with RawSender(port) as sender:
        pdus = list(store_pdus(1, data_set))
        sender.socket.sendall(fragment(3, command) + b"".join(pdus[1:]))
        if status is None:
            assert sender.pdu()[0] == 7, "no command: the association is aborted"
            return
        assert sender.status() == status
        assert setting.records == []
        assert list(setting.store.list("objects/")) == []
        assert sender.store(5, instance(5)) == 0
    assert not list((setting.folder / "spool").iterdir())


@pytest.mark.parametrize("fault", ["store_fault", "kafka_fault"])
def test_what_could_not_be_kept_is_sent_again(setting: Setting, fault: str, tmp_path: Path) -> None:
    port = setting.listen()
    setattr(setting, fault, TransportError("AWAY", "it is away"))
    with RawSender(port) as sender:
        assert sender.store(1, instance(1)) == 0xA700
        setattr(setting, fault, None)
        assert sender.store(1, instance(1)) == 0
    setattr(setting, fault, TransportError("AWAY", "it is away"))
    file = read_dicom_file(write_file(tmp_path, 2))
    assert file is not None
    answers: list[tuple[int | None, str]] = []
    target = Target("127.0.0.1", port, patience=20)
    send_files(target, [file], 0, lambda _, status, why: answers.append((status, why)))
    assert answers == [(0xA700, "AWAY")]
    assert [setting.headers(0)["attachment-size"]] == [str(len(setting.object(0)))]


def test_a_full_disk_is_out_of_resources(setting: Setting) -> None:
    port = setting.listen()
    spool = setting.folder / "spool"
    spool.rmdir()
    with RawSender(port) as sender:
        assert sender.store(1, instance(1)) == 0xA700
        spool.mkdir()
        assert sender.store(1, instance(1)) == 0


def test_titles_and_addresses_that_are_not_known_are_rejected(setting: Setting) -> None:
    source = DicomSource(
        Source("ct"), 0, ae_title="PHL", calling_ae_titles=("CT1", "CT2"), peer="127.0.0.0/8"
    )
    far = DicomSource(Source("far"), 0, ae_title="FAR", peer="192.0.2.0/24")
    port = setting.listen(source, far)
    for called, calling, reason in (
        ("PHL", "CT2", ()),
        ("OTHER", "CT1", (1, 1, 7)),
        ("PHL", "CT3", (1, 1, 3)),
        ("FAR", "CT1", (1, 1, 7)),
    ):
        with RawSender(port, called=called, calling=calling) as sender:
            assert sender.reason == reason
    with pytest.raises(ConfigError, match="DICOM-REJECTED"):
        echo(Target("127.0.0.1", port, "OTHER", "CT1", patience=20))
    only_far = replace(far, ae_title="")
    setting.listener.close()
    with RawSender(setting.listen(only_far)) as sender:
        assert sender.reason == (1, 1, 1)


def test_a_rejection_is_told_from_silence_however_late_it_is_looked_at(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = setting.listen(DicomSource(Source("ct"), 0, ae_title="PHL"))
    associate = AE.associate

    def slowly(*args: object, evt_handlers: list[EventHandlerType], **more: object) -> Association:
        late = (evt.EVT_REQUESTED, lambda _event: time.sleep(0.5))
        return associate(*args, evt_handlers=[*evt_handlers, late], **more)  # type: ignore[arg-type, misc]

    monkeypatch.setattr(AE, "associate", slowly)
    with pytest.raises(ConfigError, match="DICOM-REJECTED"):
        echo(Target("127.0.0.1", port, "OTHER", "CT1", patience=20))


def test_the_last_word_arrives_whatever_was_not_read(setting: Setting) -> None:
    port = setting.listen(DicomSource(Source("ct"), 0, ae_title="PHL"))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as hasty:
        contexts = [(CT, [EXPLICIT])]
        hasty.sendall(request("OTHER", "CT1", contexts) + b"".join(store_pdus(1, instance(1, 500_000))))
        time.sleep(0.3)  # whatever was to be sent has been, and the connection would be reset by now
        assert hasty.recv(100)[:1] == b"\x03", "rejected"
        assert hasty.recv(100) == b"", "and closed"


def test_a_source_is_found_by_its_titles(setting: Setting) -> None:
    port = setting.listen(
        DicomSource(Source("any"), 0),
        DicomSource(Source("ct"), 0, calling_ae_titles=("CT1",)),
        DicomSource(Source("archive"), 0, ae_title="ARCHIVE"),
    )
    for number, (called, calling) in enumerate((("PHL", "CT1"), ("ARCHIVE", "MR1"), ("PHL", "MR1"))):
        with RawSender(port, called=called, calling=calling) as sender:
            assert sender.store(number, instance(number)) == 0
    assert [setting.headers(number)["source"] for number in range(3)] == ["ct", "archive", "any"]


def test_associations_are_limited(setting: Setting) -> None:
    port = setting.listen(
        DicomSource(Source("ct"), 0, calling_ae_titles=("CT",), max_associations=1),
        DicomSource(Source("any"), 0),
        limit=2,
    )
    with RawSender(port, calling="CT") as first:
        with RawSender(port, calling="CT") as second:
            assert second.reason == (2, 3, 2)
        with RawSender(port) as other, RawSender(port) as third:
            assert (other.answer, third.reason) == (2, (2, 3, 2))
        assert first.release() == 6
    deadline = time.monotonic() + 20
    while True:
        with RawSender(port, calling="CT") as again:
            if again.answer == 2:
                break
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: lake\r\n\r\n",
        struct.pack(">BBI", 1, 0, 0xFFFFFFF0),
        struct.pack(">BBI", 1, 0, 100) + b"\xff" * 100,
        struct.pack(">BBI", 4, 0, 10) + b"\x00" * 10,
    ],
)
def test_other_bytes_end_the_connection_and_nothing_else(setting: Setting, data: bytes) -> None:
    port = setting.listen()
    with RawSender(port) as good:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as odd:
            odd.sendall(data)
            assert odd.recv(100)[:1] == b"\x07", "an abort"
        assert good.store(1, instance(1)) == 0


@pytest.mark.parametrize(
    "data",
    [
        fragment(3, store_command(1), context_id=9),
        fragment(2, b"data before a command"),
        fragment(3, store_command(1)) + fragment(3, store_command(2)),
        fragment(3, b"\x00" * 7),
        struct.pack(">BBI", 4, 0, 3) + b"abc",
        struct.pack(">BBIIBB", 4, 0, 6, 0xFFFFFFFF, 1, 3),
        struct.pack(">BBI", 9, 0, 0),
        struct.pack(">BBI", 1, 0, 0),
    ],
)
def test_a_breach_of_the_protocol_aborts_the_association(setting: Setting, data: bytes) -> None:
    port = setting.listen()
    with RawSender(port) as sender:
        sender.socket.sendall(data)
        assert sender.pdu()[0] == 7
    with RawSender(port) as sender:
        assert sender.store(1, instance(1)) == 0


def test_an_object_that_breaks_off_leaves_nothing(setting: Setting) -> None:
    port = setting.listen()
    with RawSender(port) as sender:
        sender.socket.sendall(b"".join(store_pdus(1, instance(1, 500_000)))[:200_000])
    with RawSender(port) as sender:
        assert sender.store(2, instance(2)) == 0
    assert len(setting.records) == 1
    assert not list((setting.folder / "spool").iterdir())


def test_stopping_answers_what_is_under_way(setting: Setting) -> None:
    import threading

    port = setting.listen()
    with RawSender(port) as busy, RawSender(port) as idle:
        sent = b"".join(store_pdus(1, instance(1, 300_000)))
        busy.socket.sendall(sent[:100_000])
        time.sleep(0.2)  # so that the listener has read the beginning
        ending = threading.Thread(target=setting.listener.close)
        ending.start()
        assert idle.pdu()[0] == 7
        busy.socket.sendall(sent[100_000:])
        assert busy.status() == 0
        assert busy.pdu()[0] == 7
        ending.join(30)
        assert not ending.is_alive()
    assert len(setting.records) == 1


def test_other_requests_are_answered_too(setting: Setting) -> None:
    from connectors.dicom.commands import write_command

    port = setting.listen()
    with RawSender(port) as sender:
        find = write_command({0x0002: CT, 0x0100: 0x0020, 0x0110: 1, 0x0800: 1})
        sender.socket.sendall(fragment(3, find) + fragment(2, instance(1)))
        assert sender.status() == 0x0211
        assert sender.store(1, instance(1)) == 0
