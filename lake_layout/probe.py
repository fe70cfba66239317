"""Does the store keep the one promise that everything rests on: of many conditional PUTs, one wins?"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from lake_layout.objects import ObjectStore
from schemas.errors import LakeError

_ROUNDS = 3
_RACERS = 8


def probe_store(store: ObjectStore) -> None:
    """Let writers race for an object, and look what is there afterwards.

    Raises:
        LakeError: the store lets a second writer replace the first one's object, or loses what it confirmed.
        TransportError: the store does not answer.
        ConfigError: it refuses the credentials or has no such bucket.
    """
    for _ in range(_ROUNDS):
        path = f"_phl/probe/{uuid.uuid4().hex}"
        entries = [f"{racer}:{uuid.uuid4().hex}".encode() for racer in range(_RACERS)]
        try:
            with ThreadPoolExecutor(_RACERS) as pool:
                won = list(pool.map(lambda data, path=path: store.put_if_absent(path, data), entries))
            late = store.put_if_absent(path, b"late")
            winners = [data for data, first in zip(entries, won, strict=True) if first]
            if late or len(winners) != 1 or store.get_or_none(path) != winners[0]:
                raise LakeError(
                    "LAKE-NO-CONDITIONAL-PUT",
                    "the object store does not honour If-None-Match on PUT; two writers could both commit, use another",
                )
        finally:
            store.delete(path)
