"""Requests to a bucket that are signed here: botocore signs the same ones likewise."""

from __future__ import annotations

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lake_layout.quick_s3 import QuickS3


@pytest.mark.parametrize("token", [None, "of-a-session"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_botocore_signs_alike(method: str, token: str | None) -> None:
    keys = Credentials("KEY", "secret/+", token)
    path = "/lake/a%20b/event_month%3D2026-01-01/part-1~.parquet"
    sha256 = "0" * 64
    headers = QuickS3("http://store:8333", "lake", "eu-west-1", keys)._signed(method, path, sha256)
    signature = headers.pop("Authorization").rpartition("Signature=")[2]
    request = AWSRequest(method, f"http://store:8333{path}", headers={"host": "store:8333", **headers})
    request.context["timestamp"] = headers["x-amz-date"]
    theirs = S3SigV4Auth(keys.get_frozen_credentials(), "s3", "eu-west-1")
    asked = theirs.canonical_request(request)
    assert theirs.signature(theirs.string_to_sign(request, asked), request) == signature
