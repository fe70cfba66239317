"""Objects, on the real S3 store and in a folder: one winner, whatever is lost on the way."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from jobs.soak.faulty_store import faulty_store
from lake_layout import objects
from lake_layout.handles import current_handle
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import FolderStore, ObjectStore, open_store
from lake_layout.probe import probe_store
from schemas.errors import ConfigError, LakeError, TransportError
from tests.integration.lake_cases import RAW


@pytest.fixture(params=["lake_location", "local_location"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return open_store(request.getfixturevalue(request.param))


def test_what_is_put_is_there(store: ObjectStore) -> None:
    store.put("a/b/one", b"1")
    store.put("a/b/one", b"first")
    store.put("a/two", b"second")
    store.put("a-three", b"")
    assert (store.get("a/b/one"), store.get_or_none("a/b/none"), store.size("a/two")) == (b"first", None, 6)
    assert store.size("a/none") is None
    assert sorted((info.path, info.size) for info in store.list("a/")) == [("a/b/one", 5), ("a/two", 6)]
    assert sorted(info.path for info in store.list("a")) == ["a-three", "a/b/one", "a/two"]
    assert list(store.list("nothing/")) == []
    store.delete("a/two")
    store.delete("a/two")
    assert store.get_or_none("a/two") is None
    with pytest.raises(LakeError) as missing:
        store.get("a/two")
    assert missing.value.code == "OBJECT-MISSING"


def test_parts_of_an_object(store: ObjectStore) -> None:
    store.put("o", bytes(range(100)))
    assert store.get_range("o", 10, 5) == bytes(range(10, 15))
    assert store.get_range("o", 10, 0) == b""
    assert store.get_tail("o", 3) == (bytes(range(97, 100)), 100)
    assert store.get_tail("o", 1000) == (bytes(range(100)), 100)
    with pytest.raises(LakeError):
        store.get_range("none", 0, 1)
    with pytest.raises(LakeError):
        store.get_tail("none", 1)


def _file(tmp_path: Path, data: bytes) -> IO[bytes]:
    path = tmp_path / uuid.uuid4().hex
    path.write_bytes(data)
    return path.open("rb")


def test_a_file_is_put_by_its_content(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    digest = hashlib.sha256(data).hexdigest()
    with _file(tmp_path, data + b"and more") as file:
        for _ in range(2):  # the second time it is there already
            store.put_file(f"objects/{digest}", file, len(data), digest)
    assert store.get(f"objects/{digest}") == data
    store.put("objects/damaged", b"other")
    with _file(tmp_path, data) as file:
        store.put_file("objects/damaged", file, len(data), digest)
    assert store.get("objects/damaged") == data
    empty = hashlib.sha256(b"").hexdigest()
    with _file(tmp_path, b"") as file:
        store.put_file(f"objects/{empty}", file, 0, empty)
    assert store.size(f"objects/{empty}") == 0


def test_a_large_file_is_put_in_parts(
    lake_location: LakeLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_PART", 5 * 1024 * 1024)
    store, data = open_store(lake_location), bytes(range(256)) * 50_000
    digest = hashlib.sha256(data).hexdigest()
    with _file(tmp_path, data) as file:
        for _ in range(2):
            store.put_file(f"objects/{digest}", file, len(data), digest)
    assert hashlib.sha256(store.get(f"objects/{digest}")).hexdigest() == digest


def test_a_file_that_cannot_be_put_is_said_so(lake_location: LakeLocation, tmp_path: Path) -> None:
    wrong_key = replace(lake_location, secret_key="wrong")
    nowhere = replace(lake_location, endpoint="http://127.0.0.1:9")
    with _file(tmp_path, b"data") as file:
        for location, kind in ((wrong_key, LakeError), (nowhere, TransportError)):
            with pytest.raises(kind):
                open_store(location).put_file("objects/x", file, 4, hashlib.sha256(b"data").hexdigest())


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//b", "."])
def test_no_path_leaves_the_lake(store: ObjectStore, path: str) -> None:
    with pytest.raises(LakeError):
        store.put(path, b"x")
    with pytest.raises(LakeError):
        store.get_or_none(path)
    with pytest.raises(LakeError):
        store.delete(path)


def test_of_sixteen_writers_one_wins(store: ObjectStore) -> None:
    for _ in range(10):
        path = f"race/{uuid.uuid4().hex}"
        start = threading.Barrier(16)

        def write(number: int, path: str = path, start: threading.Barrier = start) -> bool:
            start.wait()
            return store.put_if_absent(path, b"%d" % number)

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(write, range(16)))
        assert sum(won) == 1
        assert store.get(path) == b"%d" % won.index(True)
    assert all(".tmp" not in info.path for info in store.list("race/"))


def test_a_second_writer_learns_that_it_was_not_the_first(store: ObjectStore) -> None:
    assert store.put_if_absent("x", b"mine")
    assert not store.put_if_absent("x", b"theirs")
    assert store.put_if_absent("x", b"mine"), "what is there is what was to be written"
    assert store.get("x") == b"mine"


@pytest.mark.parametrize("answer", ["lost", "412", "500", "503", "409"])
def test_a_conditional_put_that_was_taken_and_answered_wrongly_has_won(
    lake_location: LakeLocation, answer: str
) -> None:
    with faulty_store(lake_location) as faulty:
        store = open_store(faulty.location)
        faulty.once("PUT", "/x", answer)
        assert store.put_if_absent("x", b"mine")
        assert len(faulty.seen) == 1
        faulty.once("PUT", "/x", answer)
        assert not store.put_if_absent("x", b"theirs")
        assert store.get("x") == b"mine"


@pytest.mark.parametrize("status", [409, 500, 503])
def test_a_conditional_put_that_was_not_taken_is_sent_again(lake_location: LakeLocation, status: int) -> None:
    with faulty_store(lake_location) as faulty:
        store = open_store(faulty.location)
        faulty.once("PUT", "/x", f"away {status}")
        assert store.put_if_absent("x", b"mine")
        assert store.get("x") == b"mine"


@pytest.mark.parametrize("status", [503, 507])
@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
def test_a_store_that_is_away_is_a_transport_error(
    lake_location: LakeLocation, method: str, status: int
) -> None:
    """One without room is away too: it may have some later."""
    with faulty_store(lake_location) as faulty:
        store = open_store(faulty.location)
        calls: dict[str, Callable[[], object]] = {
            "GET": lambda: store.get("x"), "PUT": lambda: store.put_if_absent("x", b"1"),
            "HEAD": lambda: store.size("x"), "DELETE": lambda: store.delete("x"),
        }  # fmt: skip
        faulty.always(method, "/x", f"away {status}")
        with pytest.raises(TransportError) as away:
            calls[method]()
        assert str(lake_location.secret_key) not in repr(away.value)


def test_an_answer_that_breaks_off_is_asked_for_again(lake_location: LakeLocation) -> None:
    with faulty_store(lake_location) as faulty:
        store = open_store(faulty.location)
        store.put("x", b"0123456789")
        faulty.once("GET", "/x", "cut")
        assert store.get("x") == b"0123456789"
        faulty.once("GET", "/x", "cut")
        assert store.get_range("x", 2, 4) == b"2345"
        faulty.always("GET", "/x", "cut")
        with pytest.raises(TransportError):
            store.get("x")


def test_a_listing_of_the_log_that_breaks_off_is_asked_for_again(lake_location: LakeLocation) -> None:
    with faulty_store(lake_location) as faulty:
        lake = Lake(faulty.location)
        lake.create_missing((RAW,))
        faulty.once("GET", f"/{lake_location.bucket}", "cut")
        assert lake.version(RAW) == 0
        faulty.once("GET", f"/{lake_location.bucket}", "cut")
        assert current_handle(lake, RAW).version() == 0
        assert faulty.counts["cut"] == 2


def test_nobody_at_the_address_is_a_transport_error(lake_location: LakeLocation) -> None:
    with pytest.raises(TransportError):
        open_store(replace(lake_location, endpoint="http://127.0.0.1:9")).get_or_none("x")


def test_wrong_keys_and_buckets_are_named(lake_location: LakeLocation) -> None:
    for wrong in (
        replace(lake_location, secret_key="wrong"),
        replace(lake_location, uri="s3://no-such-bucket-here/x"),
    ):
        with pytest.raises((LakeError, ConfigError)) as refused:
            open_store(wrong).get("x")
        assert refused.value.code == "STORE-REFUSED"


def test_the_secret_travels_but_does_not_show(lake_location: LakeLocation) -> None:
    assert str(lake_location.secret_key) not in repr(lake_location)
    store = open_store(pickle.loads(pickle.dumps(lake_location)))
    store.put("x", b"1")
    assert store.get("x") == b"1"


def _child(location: LakeLocation, path: str) -> None:
    open_store(location).put(path, b"child")


def test_a_forked_process_has_its_own_connection(lake_location: LakeLocation) -> None:
    store = open_store(lake_location)
    store.put("parent", b"1")  # so that there is a connection to inherit
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_child, args=(lake_location, f"c{n}")) for n in range(4)]
    for child in children:
        child.start()
    for number in range(20):
        store.put("parent", b"%d" % number)
        assert store.get("parent") == b"%d" % number
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert [store.get(f"c{number}") for number in range(4)] == [b"child"] * 4


def test_the_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    probe_store(store)
    assert list(store.list("_phl/")) == []


class Careless(FolderStore):
    """A store that takes every conditional PUT, as some that call themselves S3 do."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        self.put(path, data)
        return True


class Forgetful(FolderStore):
    """A store that confirms and keeps nothing."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        return not path.endswith("late") and data[:2] == b"0:"


@pytest.mark.parametrize("kind", [Careless, Forgetful])
def test_the_probe_refuses_a_store_that_breaks_its_promise(
    local_location: LakeLocation, kind: type[FolderStore]
) -> None:
    good = open_store(local_location)
    assert isinstance(good, FolderStore)
    with pytest.raises(LakeError) as refused:
        probe_store(kind(good.root))
    assert refused.value.code == "LAKE-NO-CONDITIONAL-PUT"
