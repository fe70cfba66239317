"""Where a lake is: a bucket or a local folder, and how to reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import ConfigError


@dataclass(frozen=True)
class LakeLocation:
    """Address of a lake; picklable and hashable.

    Attributes:
        uri: ``s3://bucket/prefix`` or a local folder (a path or ``file://`` URI).
        endpoint: address of an S3 store that is not Amazon's.
        access_key: S3 access key; None takes it from where boto3 looks.
        secret_key: its secret; never shown.
        region: S3 region.

    Raises:
        ConfigError: ``LAKE-URI`` where the URI is neither.
    """

    uri: str
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        parts = urlsplit(self.uri)
        if (
            parts.scheme not in ("", "file", "s3")
            or not self.uri
            or (parts.scheme == "s3" and not parts.netloc)
        ):
            raise ConfigError("LAKE-URI", "give s3://bucket/prefix or a local folder", setting="lake.uri")

    @property
    def is_s3(self) -> bool:
        return self.uri.startswith("s3://")

    @property
    def bucket(self) -> str:
        """Name of the bucket (S3 only)."""
        return urlsplit(self.uri).netloc

    @property
    def prefix(self) -> str:
        """What stands before each key in the bucket: empty or ending with ``/`` (S3 only)."""
        path = urlsplit(self.uri).path.strip("/")
        return f"{path}/" if path else ""

    @property
    def path(self) -> str:
        """The absolute path of the folder (local lakes only)."""
        return str(Path(self.uri.removeprefix("file://")).expanduser().resolve())

    def uri_of(self, path: str) -> str:
        """The full URI of a path below the root."""
        return f"s3://{self.bucket}/{self.prefix}{path}" if self.is_s3 else f"{self.path}/{path}"

    def storage_options(self) -> dict[str, str]:
        """Options for Delta tables.

        The library's own patience (minutes) is cut short: a batch that fails is run again from its claim.
        """
        if not self.is_s3:
            return {}
        options = {
            "aws_region": self.region,
            "timeout": "60s",
            "connect_timeout": "5s",
            "max_retries": "4",
            "retry_timeout": "20s",
        }
        if self.endpoint:
            options["aws_endpoint_url"] = self.endpoint
            if self.endpoint.startswith("http://"):
                options["aws_allow_http"] = "true"
        if self.access_key and self.secret_key:
            options["aws_access_key_id"] = self.access_key
            options["aws_secret_access_key"] = self.secret_key
        return options
