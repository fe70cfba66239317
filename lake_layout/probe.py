"""Is this store one that the lake can be trusted to?"""

from __future__ import annotations

import uuid

from lake_layout.objects import ObjectStore
from schemas.errors import LakeError


def probe_store(store: ObjectStore) -> None:
    """Check that a second conditional PUT of the same object is refused, and that what was written is read back.

    Raises:
        LakeError: ``LAKE-NO-CONDITIONAL-PUT``, ``LAKE-STORE-FORGETS``.
        TransportError: the store does not answer.
    """
    path = f"_phl/probe/{uuid.uuid4().hex}"
    try:
        first = store.put_if_absent(path, b"first")
        second = store.put_if_absent(path, b"second")
        kept = store.get_or_none(path)
        if second or (first and kept == b"second"):
            raise LakeError(
                "LAKE-NO-CONDITIONAL-PUT",
                "the store accepts a conditional PUT (If-None-Match: *) over an object that is there; without it two"
                " writers can overwrite each other, so this store cannot hold a lake",
            )
        if not first or kept != b"first":
            raise LakeError("LAKE-STORE-FORGETS", "the store did not give back what was written to it")
    finally:
        store.delete(path)
