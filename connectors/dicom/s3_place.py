"""DICOM objects of an S3 prefix, read by ranges.

A header takes one request, which is most of the work, and boto3 takes three times as long for it as signing and
sending it: so that is done here. Whatever does not go as it should is asked again by boto3, with its retries, its ways
to the store, and its errors.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from connectors.dicom.places import Found, PlaceError, Read, found_in_zip, is_dicomdir, is_zip
from lake_layout.location import LakeLocation
from lake_layout.objects import s3_client, s3_faults

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_PARTIAL: Final = 206
_TIMEOUT: Final = 20.0
_ASKS: Final = 3
_AHEAD_IN_ZIP: Final = 64 * 1024
_CODES: Final = {
    403: "HARVEST-UNREADABLE",
    404: "HARVEST-VANISHED",
    412: "HARVEST-CHANGED",
    416: "HARVEST-CHANGED",
}


@dataclass(frozen=True)
class S3Place:
    """A prefix, or a single object, of a bucket; ZIP files are looked into.

    Attributes:
        location: the bucket and how to reach it; its prefix is without meaning here.
        prefix: keys that are it, or go on with ``/``; all where it is empty.
    """

    location: LakeLocation
    prefix: str
    workers: int = 16  # most of the time they wait for a store that is far away
    first: int = 16 * 1024

    def found(self) -> Iterator[Found]:
        ranges = S3Ranges(self.location)
        for key, size, etag in self._listed(self.prefix):
            uri = f"s3://{self.location.bucket}/{key}"
            if is_zip(key):
                yield from found_in_zip(uri, functools.partial(_archive, ranges, key, size, etag))
                continue
            medium = functools.partial(self._names_beside, key) if is_dicomdir(key) else None
            yield Found(uri, size, etag, ranges.opener(key, size, etag), etag, medium=medium)

    def count(self) -> Iterator[int]:
        for _ in self._listed(self.prefix):
            yield 1

    def _names_beside(self, dicomdir: str) -> Iterator[str]:
        folder = dicomdir.rpartition("/")[0]
        return (key[len(folder) :].lstrip("/").lower() for key, _, _ in self._listed(folder))

    def _listed(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Key, size and ETag of all objects; what only stands for a folder is none."""
        pages = (
            s3_client(self.location)
            .get_paginator("list_objects_v2")
            .paginate(Bucket=self.location.bucket, Prefix=prefix)
        )
        with s3_faults(f"s3://{self.location.bucket}"):
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"]
                    within = not prefix or key == prefix or key.startswith(prefix.rstrip("/") + "/")
                    if within and not key.endswith("/"):
                        yield key, item["Size"], item.get("ETag", "").strip('"')


class S3Ranges:
    """Parts of objects of a bucket, for several threads."""

    def __init__(self, location: LakeLocation) -> None:
        self._location = location
        self._client = s3_client(location)
        self._endpoint = urlsplit(self._client.meta.endpoint_url)
        self._credentials = (
            Credentials(location.access_key, location.secret_key)
            if location.access_key and location.secret_key
            else boto3.session.Session().get_credentials()
        )
        self._thread = threading.local()

    def opener(self, key: str, size: int, etag: str) -> Callable[[], AbstractContextManager[Read]]:
        """Opens an object to be read from its beginning on."""
        return functools.partial(self._opened, key, size, etag)

    @contextlib.contextmanager
    def _opened(self, key: str, size: int, etag: str) -> Iterator[Read]:
        position = 0

        def read(count: int) -> bytes:
            nonlocal position
            data = self.get(key, position, min(count, size - position), etag)
            position += len(data)
            return data

        yield read

    def get(self, key: str, start: int, count: int, etag: str) -> bytes:
        """``count`` bytes of an object from ``start`` on.

        Raises:
            PlaceError: it is gone, may not be read, or is no longer the one with this ETag.
            TransportError, LakeError: see ``lake_layout.objects.s3_faults``.
        """
        if count <= 0:
            return b""
        span = f"bytes={start}-{start + count - 1}"
        answer = self._quick(key, span, count)
        data, found = answer if answer is not None else self._patient(key, span, count)
        if etag and found and found.strip('"') != etag:
            raise PlaceError("HARVEST-CHANGED")
        return data

    def _quick(self, key: str, span: str, count: int) -> tuple[bytes, str] | None:
        """Bytes and ETag; None where it did not go as it should."""
        if self._credentials is None or getattr(self._thread, "in_vain", False):
            return None
        path = f"/{self._location.bucket}/{quote(key)}"
        request = AWSRequest(
            "GET",
            f"{self._endpoint.scheme}://{self._endpoint.netloc}{path}",
            headers={"Range": span, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"},
        )
        request.context["payload_signing_enabled"] = False
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._location.region).add_auth(request)
        connection = self._connection()
        try:
            connection.request("GET", path, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            if answer.status == _PARTIAL:
                data = answer.read(count)
                if len(data) == count and not answer.read(1):
                    return data, answer.headers.get("ETag", "")
        except (OSError, http.client.HTTPException):
            # an idle connection that was closed is opened again; what never answered is not asked so again
            self._thread.in_vain = not getattr(self._thread, "answered", False)
        else:
            self._thread.answered = True
        connection.close()
        return None

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._thread, "connection", None)
        if connection is None:
            kind = (
                http.client.HTTPSConnection
                if self._endpoint.scheme == "https"
                else http.client.HTTPConnection
            )
            connection = kind(self._endpoint.netloc, timeout=_TIMEOUT)
            self._thread.connection = connection
        return connection

    def _patient(self, key: str, span: str, count: int) -> tuple[bytes, str]:
        with s3_faults(f"s3://{self._location.bucket}"):
            for asked in range(_ASKS):
                try:
                    answer = self._answer(key, span)
                except ClientError as error:
                    code = _CODES.get(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                    if code is None:
                        raise
                    raise PlaceError(code) from None
                try:
                    with contextlib.closing(answer["Body"]) as body:
                        return body.read(count), answer.get("ETag", "")
                except BotoCoreError:
                    if asked == _ASKS - 1:
                        raise
        raise AssertionError  # the loop ends by one of its answers

    def _answer(self, key: str, span: str) -> GetObjectOutputTypeDef:
        return self._client.get_object(Bucket=self._location.bucket, Key=key, Range=span)


def _archive(ranges: S3Ranges, key: str, size: int, etag: str) -> io.BufferedReader:
    return io.BufferedReader(_RangedFile(ranges, key, size, etag), _AHEAD_IN_ZIP)


class _RangedFile(io.RawIOBase):
    """An object as a file that can be sought in."""

    def __init__(self, ranges: S3Ranges, key: str, size: int, etag: str) -> None:
        self._ranges, self._key, self._size, self._etag = ranges, key, size, etag
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._size - self._position)
        data = self._ranges.get(self._key, self._position, count, self._etag)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
