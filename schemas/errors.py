"""The exceptions that reach a user, as one tree.

::

    IngestError
    ├── MessageError     this message is bad          quarantine it, go on
    ├── TransportError   the other side is away       retry with back-off
    ├── LakeError        a table is not as it must be stop, say what to do
    └── ConfigError      the operator's to mend       stop before anything starts

Every error carries a stable ``code`` and coordinates (topic, partition, offset, segment, field, table,
version …). None ever carries a payload, a name or an identifier of a patient: what a library says about the
bytes it failed on is dropped with ``raise … from None``.
"""

from __future__ import annotations

from typing import ClassVar


class IngestError(Exception):
    """Base of all errors raised on purpose.

    Args:
        code: stable upper-case code, such as ``HL7-NO-MSH`` or ``LAKE-TABLE-REPLACED``.
        message: a fixed sentence that tells the user what to do; never text from a message.
        coordinates: where it happened, such as ``topic="raw.hl7v2", partition=3, offset=1204``.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, **coordinates: str | int) -> None:
        super().__init__(code, message, coordinates)
        self.code = code
        self.message = message
        self.coordinates = coordinates

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.coordinates))

    def __str__(self) -> str:
        where = ", ".join(f"{key}={value}" for key, value in self.coordinates.items())
        return f"{self.code}: {self.message}" + (f" ({where})" if where else "")


def _rebuild(
    kind: type[IngestError], code: str, message: str, coordinates: dict[str, str | int]
) -> IngestError:
    """Make the error again in another process, so that coded errors survive pickling."""
    return kind(code, message, **coordinates)


class MessageError(IngestError):
    """One message is bad; it goes to quarantine with this code and the others go on."""


class TransportError(IngestError):
    """Kafka, the object store or a peer does not answer; worth trying again."""

    exit_code = 75  # EX_TEMPFAIL


class LakeError(IngestError):
    """A table, claim or topic is not as it must be; going on could lose or double rows."""


class ConfigError(IngestError):
    """A setting is wrong; names the setting and stops before anything starts."""

    exit_code = 78  # EX_CONFIG
