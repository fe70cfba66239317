"""Small requests to a bucket without boto3: signed and sent as they are.

boto3 takes a millisecond of CPU for a request of a few hundred bytes, most of it on the way to signing and from the
answer, and a batch of a few messages makes two hundred of them. Whatever does not go as it should is left to boto3,
with its retries, its ways to the store, and its errors.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import http.client
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import IO, Final
from urllib.parse import quote, urlsplit

from botocore.credentials import Credentials

_TIMEOUT: Final = 60.0
_TO_CONNECT: Final = 5.0
_RESTS, _RESTS_LONG = 5.0, 300.0
"""Seconds in which nothing is tried again after a store could not be reached: one that had answered, one that never
did, to which boto3 may know another way."""

_KEPT: Final = 32
_NO_BODY: Final = hashlib.sha256().hexdigest()
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store said: status, headers and whole body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class QuickS3:
    """Requests to one bucket, for several threads; connections are kept and shared.

    Attributes:
        endpoint: URL of the store.
        bucket: its name.
        region: for the signature.
        credentials: the keys.
    """

    def __init__(self, endpoint: str, bucket: str, region: str, credentials: Credentials) -> None:
        self.bucket, self.region, self.credentials = bucket, region, credentials
        self._url = urlsplit(endpoint)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._answered_ever = False
        self._in_vain_until = 0.0

    def get(self, key: str, span: str | None = None) -> Answer | None:
        """An object, or a span of it (as of the header Range); None where there was no whole answer."""
        return self._answered("GET", key, {"Range": span} if span else _NOTHING)

    def head(self, key: str) -> Answer | None:
        """What is said of an object; None where there was no whole answer."""
        return self._answered("HEAD", key, _NOTHING)

    def put(self, key: str, data: bytes, only: Mapping[str, str] = _NOTHING) -> Answer | None:
        """Write an object; the store compares its SHA-256. None where there was no whole answer: it may be there.

        Args:
            key: whose.
            data: what.
            only: headers that say when it may be written.
        """
        return self._answered("PUT", key, only, data, hashlib.sha256(data).hexdigest())

    def put_file(self, key: str, file: IO[bytes], size: int, sha256: str) -> Answer | None:
        """Write a file's first ``size`` bytes to a key that is free, as ``put``, without reading them here."""
        return self._answered("PUT", key, {"If-None-Match": "*"}, (file, size), sha256)

    def _answered(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: bytes | tuple[IO[bytes], int] = b"",
        sha256: str = _NO_BODY,
    ) -> Answer | None:
        if time.monotonic() < self._in_vain_until:
            return None
        path = f"/{self.bucket}/{quote(key)}"
        connection = self._taken()
        fresh = connection.sock is None
        try:
            if fresh:
                connection.connect()
                connection.sock.settimeout(_TIMEOUT)
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (*headers.items(), *self._signed(method, path, sha256).items()):
                connection.putheader(name, value)
            if method == "PUT":
                connection.putheader("Content-Length", str(len(body) if isinstance(body, bytes) else body[1]))
            if isinstance(body, bytes):
                connection.endheaders(body or None)
            else:
                connection.endheaders()
                assert connection.sock is not None
                connection.sock.sendfile(body[0], 0, body[1])
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            if fresh:  # one that was kept may have been closed meanwhile
                self._in_vain_until = time.monotonic() + (_RESTS if self._answered_ever else _RESTS_LONG)
            return None
        self._answered_ever = True
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append(connection)
                return answer
        connection.close()
        return answer

    def _taken(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.netloc, timeout=_TO_CONNECT)

    def _signed(self, method: str, path: str, sha256: str) -> dict[str, str]:
        """Headers that sign a request (AWS Signature Version 4)."""
        keys = self.credentials.get_frozen_credentials()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": self._url.netloc, "x-amz-content-sha256": sha256, "x-amz-date": stamp}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        asked = f"{method}\n{path}\n\n{lines}\n{names}\n{sha256}"
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = _hmac(_key(keys.secret_key or "", stamp[:8], self.region), text).hex()
        del signed["host"]  # sent by the connection itself
        return signed | {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        }


@functools.lru_cache(maxsize=16)
def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
