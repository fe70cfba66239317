"""Objects below the lake's root: on S3 or in a local folder, behind one small protocol.

Delivery: ``put_if_absent`` has one winner, whatever answers were lost; ``put`` writes whole objects or nothing.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypedDict, cast

import boto3
import structlog
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from lake_layout.location import LakeLocation
from lake_layout.quick_s3 import Answer, QuickS3
from schemas.errors import LakeError, TransportError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef, GetObjectRequestTypeDef

log = structlog.get_logger(__name__)

_UNCLEAR_ANSWERS = 3
_PART = 64 * 1024 * 1024
"""Larger files go to S3 in parts of this size."""

_MOST_PARTS = 10_000
_COPIED = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object: its path below the lake's root, its size in bytes, and when it was written (UTC)."""

    path: str
    size: int
    modified: datetime


class _Condition(TypedDict, total=False):
    """When an object may be written."""

    IfNoneMatch: str


class FileSpan(io.RawIOBase):
    """Bytes of a file, read by its descriptor, so that others may read it meanwhile."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._descriptor = file.fileno()
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = max(min(len(buffer), self._size - self._at), 0)
        count = os.preadv(self._descriptor, [memoryview(buffer)[:count]], self._start + self._at)
        self._at += count
        return count


class ObjectStore(Protocol):
    """What the lake asks of object storage. Paths are relative to the lake's root, with ``/`` between.

    All methods raise TransportError ``STORE-UNREACHABLE`` when the store does not answer and LakeError
    ``STORE-REFUSED`` when it answers that it will not.
    """

    def get(self, path: str) -> bytes:
        """The whole object; LakeError ``OBJECT-MISSING`` where there is none."""

    def get_or_none(self, path: str) -> bytes | None:
        """The whole object, None where there is none."""

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on; LakeError ``OBJECT-MISSING`` where there is no object."""

    def get_tail(self, path: str, length: int) -> tuple[bytes, int]:
        """The last ``length`` bytes (fewer, if there are) and the whole size; LakeError ``OBJECT-MISSING``."""

    def put(self, path: str, data: bytes) -> None:
        """Write the object, over what is there."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write the object where there is none.

        Returns:
            Whether it is there with these bytes afterwards. An unclear answer is settled by reading it back, so
            whoever must know that it was the first writes bytes that nobody else does (an attempt id in them).
        """

    def put_file(self, path: str, file: IO[bytes], size: int, sha256: str) -> None:
        """Write a file's first ``size`` bytes, unless an object of that size is there; memory does not depend on it.

        For objects that are named after their content. ``file`` must have a descriptor; its position may change.
        """

    def delete(self, path: str) -> None:
        """Remove the object; nothing happens where there is none."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose path begins with ``prefix``, in whatever order the store lists them."""

    def size(self, path: str) -> int | None:
        """Size in bytes, None where there is no such object."""


def open_store(location: LakeLocation) -> ObjectStore:
    """The store of a lake; cheap to call, clients are kept per process."""
    if location.is_s3:
        return S3Store(location)
    return FolderStore(Path(location.path))


@dataclass(frozen=True)
class S3Store:
    """Objects in a bucket."""

    location: LakeLocation

    @property
    def _client(self) -> S3Client:
        return s3_client(self.location)

    @property
    def _quick(self) -> QuickS3 | None:
        return _quick_s3(self.location, os.getpid())

    def _key(self, path: str) -> str:
        return f"{self.location.prefix}{_inside(path)}"

    def get(self, path: str) -> bytes:
        data = self.get_or_none(path)
        if data is None:
            raise _missing(path)
        return data

    def get_or_none(self, path: str) -> bytes | None:
        answer = self._quick.get(self._key(path)) if self._quick else None
        if answer is not None and (answer.status == _OK or _is_absent(answer)):
            return answer.body if answer.status == _OK else None
        with s3_faults(path):
            try:
                return self._read({"Bucket": self.location.bucket, "Key": self._key(path)})[0]
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise

    def get_range(self, path: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        return self._get_span(path, f"bytes={start}-{start + length - 1}")[0]

    def get_tail(self, path: str, length: int) -> tuple[bytes, int]:
        return self._get_span(path, f"bytes=-{length}")

    def _get_span(self, path: str, span: str) -> tuple[bytes, int]:
        quick = self._quick.get(self._key(path), span) if self._quick else None
        if quick is not None and quick.status == _PART_OF_IT:
            return quick.body, _whole_size(quick.headers.get("Content-Range", ""), quick.body)
        with s3_faults(path):
            try:
                data, answer = self._read(
                    {"Bucket": self.location.bucket, "Key": self._key(path), "Range": span}
                )
            except ClientError as error:
                if _code(error) in _ABSENT:
                    raise _missing(path) from None
                raise
        return data, _whole_size(answer.get("ContentRange", ""), data)

    def _read(self, wanted: GetObjectRequestTypeDef) -> tuple[bytes, GetObjectOutputTypeDef]:
        """Bytes and answer; the client asks again where there is no answer, but not where one breaks off."""
        for _ in range(_UNCLEAR_ANSWERS - 1):
            answer = self._client.get_object(**wanted)
            try:
                return answer["Body"].read(), answer
            except BotoCoreError as error:
                log.info("answer_broke_off", kind=type(error).__name__)
        answer = self._client.get_object(**wanted)
        return answer["Body"].read(), answer

    def put(self, path: str, data: bytes) -> None:
        answer = self._quick.put(self._key(path), data) if self._quick else None
        if answer is not None and answer.status == _OK:
            return
        with s3_faults(path):
            self._client.put_object(Bucket=self.location.bucket, Key=self._key(path), Body=data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        key = self._key(path)
        answer = self._quick.put(key, data, {"If-None-Match": "*"}) if self._quick else None
        if answer is not None and answer.status == _OK:
            return True
        # refused or unclear: what is there by now is found out below, by asking for the same again
        for attempt in range(_UNCLEAR_ANSWERS):
            time.sleep(0.2 * attempt)
            try:
                self._client.put_object(Bucket=self.location.bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) not in _TAKEN and not _passes(error):
                    with s3_faults(path):
                        raise
            except (BotoCoreError, OSError):
                log.info("conditional_put_unclear", path=path, attempt=attempt)
            else:
                return True
            # The store may have taken the bytes and said otherwise, or not at all: what is there now decides.
            there = self.get_or_none(path)
            if there is not None:
                return there == data
        raise TransportError("STORE-UNREACHABLE", "the S3 store does not take an object", path=path)

    def put_file(self, path: str, file: IO[bytes], size: int, sha256: str) -> None:
        with s3_faults(path):
            if size > _PART:
                if self.size(path) != size:
                    self._put_parts(path, file, size)
                return
            answer = self._quick.put_file(self._key(path), file, size, sha256) if self._quick else None
            if answer is not None and answer.status in (_OK, _TAKEN_ALREADY):
                written = answer.status == _OK
            else:
                written = self._put_span(path, file, size, {"IfNoneMatch": "*"})
            if not written and self.size(path) != size:  # named so, and another: what is there is damaged
                self._put_span(path, file, size, {})

    def _put_span(self, path: str, file: IO[bytes], size: int, only: _Condition) -> bool:
        """Whether the object was written; False where the condition does not hold."""
        try:
            self._client.put_object(
                Bucket=self.location.bucket,
                Key=self._key(path),
                Body=cast("IO[bytes]", FileSpan(file, 0, size)),
                **only,
            )
        except ClientError as error:
            if _code(error) not in _TAKEN:
                raise
            return False
        return True

    def _put_parts(self, path: str, file: IO[bytes], size: int) -> None:
        """As a multipart upload, one part after the other; what was begun and failed is taken back."""
        key, bucket = self._key(path), self.location.bucket
        upload = self._client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        step = max(_PART, -(-size // _MOST_PARTS))
        parts: list[CompletedPartTypeDef] = []
        try:
            for number, start in enumerate(range(0, size, step), 1):
                answer = self._client.upload_part(
                    Bucket=bucket, Key=key, UploadId=upload, PartNumber=number,
                    Body=cast("IO[bytes]", FileSpan(file, start, min(step, size - start))),
                )  # fmt: skip
                parts.append({"ETag": answer["ETag"], "PartNumber": number})
            self._client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except (ClientError, BotoCoreError, OSError):
            with contextlib.suppress(ClientError, BotoCoreError, OSError):
                self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            raise

    def delete(self, path: str) -> None:
        with s3_faults(path):
            self._client.delete_object(Bucket=self.location.bucket, Key=self._key(path))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.location.bucket, Prefix=self.location.prefix + prefix
        )
        with s3_faults(prefix):
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectInfo(
                        item["Key"][len(self.location.prefix) :], item["Size"], item["LastModified"]
                    )

    def size(self, path: str) -> int | None:
        answer = self._quick.head(self._key(path)) if self._quick else None
        if answer is not None and answer.status == _GONE:
            return None
        if answer is not None and answer.status == _OK and (length := answer.headers.get("Content-Length")):
            return int(length)
        with s3_faults(path):
            try:
                return self._client.head_object(Bucket=self.location.bucket, Key=self._key(path))[
                    "ContentLength"
                ]
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise


def head_of(location: LakeLocation, bucket: str, key: str) -> tuple[int, str] | None:
    """Size and ETag of an object of any bucket that the lake's keys open; None where there is none.

    Raises:
        TransportError, LakeError: as those of an ``ObjectStore``; they name the bucket alone.
    """
    with s3_faults(f"s3://{bucket}"):
        try:
            answer = s3_client(location).head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
    return answer["ContentLength"], answer["ETag"].strip('"')


def _missing(path: str) -> LakeError:
    return LakeError("OBJECT-MISSING", "an object of the lake is gone", path=path)


def _inside(path: str) -> str:
    """The path, if it names something inside the lake."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise LakeError("LAKE-PATH", "a path must be relative to the lake's root and stay below it")
    return path


_OK, _PART_OF_IT, _GONE, _TAKEN_ALREADY = 200, 206, 404, 412
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_PASSING = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"})


def _is_absent(answer: Answer) -> bool:
    """Whether there is no such object; a bucket that is missing is another matter."""
    return answer.status == _GONE and b"<Code>NoSuchKey</Code>" in answer.body


def _whole_size(content_range: str, data: bytes) -> int:
    """Size of the object that an answer has a span of."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdigit() else len(data)


def _code(error: Exception) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _passes(error: ClientError) -> bool:
    """Whether the store may well answer otherwise a while later: all that is its own fault, a full disk among it."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or _code(error) in _PASSING


@contextlib.contextmanager
def s3_faults(path: str) -> Iterator[None]:
    """Turn what boto3 raises into coded errors without its text.

    Args:
        path: what to name in them.

    Raises:
        TransportError: ``STORE-UNREACHABLE``, also where it says that it cannot just now.
        LakeError: ``STORE-REFUSED``.
    """
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if _passes(error):
            raise TransportError(
                "STORE-UNREACHABLE", "the S3 store does not answer", path=path, answer=code
            ) from None
        raise LakeError(
            "STORE-REFUSED", "the S3 store refuses; are bucket, keys and rights as they must be?",
            path=path, answer=code,
        ) from None  # fmt: skip
    except BotoCoreError as error:
        raise TransportError(
            "STORE-UNREACHABLE", "the S3 store does not answer; is its address right?", path=path,
            kind=type(error).__name__,
        ) from None  # fmt: skip
    except OSError as error:
        raise TransportError(
            "STORE-UNREACHABLE", "the connection to the S3 store broke", path=path, kind=type(error).__name__
        ) from None


def s3_client(location: LakeLocation) -> S3Client:
    """The client of a lake's bucket in this process."""
    return _s3_client(location, os.getpid())


@functools.lru_cache(maxsize=16)
def _s3_client(location: LakeLocation, _process: int) -> S3Client:
    """One client per lake and process: a client must not be used on both sides of a fork."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=location.endpoint,
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        region_name=location.region,
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 4, "mode": "standard"},
            s3={"addressing_style": "path"} if location.endpoint else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        ),
    )


@functools.lru_cache(maxsize=16)
def _quick_s3(location: LakeLocation, process: int) -> QuickS3 | None:
    """None where no keys can be found; connections must not be used on both sides of a fork either."""
    found = (
        Credentials(location.access_key, location.secret_key)
        if location.access_key and location.secret_key
        else boto3.session.Session().get_credentials()
    )
    if found is None:
        return None
    endpoint = str(_s3_client(location, process).meta.endpoint_url)
    return QuickS3(endpoint, location.bucket, location.region, found)


@dataclass(frozen=True)
class FolderStore:
    """Objects as files of a folder; new ones appear whole and are on disk before the call returns."""

    root: Path

    def _file(self, path: str) -> Path:
        return self.root / _inside(path)

    def get(self, path: str) -> bytes:
        data = self.get_or_none(path)
        if data is None:
            raise _missing(path)
        return data

    def get_or_none(self, path: str) -> bytes | None:
        try:
            return self._file(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def get_range(self, path: str, start: int, length: int) -> bytes:
        try:
            with self._file(path).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except FileNotFoundError:
            raise _missing(path) from None

    def get_tail(self, path: str, length: int) -> tuple[bytes, int]:
        size = self.size(path)
        if size is None:
            raise _missing(path)
        return self.get_range(path, max(size - length, 0), length), size

    def put(self, path: str, data: bytes) -> None:
        with self._written(path, data) as (temporary, target):
            temporary.replace(target)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        with self._written(path, data) as (temporary, target):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return target.read_bytes() == data
        return True

    @contextlib.contextmanager
    def _written(self, path: str, data: bytes | FileSpan) -> Iterator[tuple[Path, Path]]:
        """The bytes in a file beside the target, on disk; the name is made durable after the block."""
        target = self._file(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            _make_folder(target.parent)
            with temporary.open("xb") as file:
                if isinstance(data, FileSpan):
                    shutil.copyfileobj(data, file, _COPIED)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary, target
            _sync(target.parent)
        except OSError as error:
            raise TransportError(
                "STORE-UNREACHABLE", "the lake's folder cannot be written; is the disk full?", path=path,
                kind=type(error).__name__, errno=error.errno or 0,
            ) from None  # fmt: skip
        finally:
            temporary.unlink(missing_ok=True)

    def put_file(self, path: str, file: IO[bytes], size: int, sha256: str) -> None:  # noqa: ARG002
        if self.size(path) == size:
            return
        with self._written(path, FileSpan(file, 0, size)) as (temporary, target):
            temporary.replace(target)

    def delete(self, path: str) -> None:
        self._file(path).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = self.root / prefix.rpartition("/")[0]
        files = (file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else iter(())
        named = sorted((file.relative_to(self.root).as_posix(), file) for file in files)
        for name, file in named:
            if name.startswith(prefix) and not name.endswith(".tmp"):
                stat = file.stat()
                yield ObjectInfo(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def size(self, path: str) -> int | None:
        try:
            return self._file(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that their names outlive a power cut too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
