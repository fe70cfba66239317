"""Claims: what a batch will do, written down before it begins and won by one process.

A claim is an object written by conditional PUT. It says from where to where the batch goes, in which tables, and
against which versions it decides, so that whoever runs it again after a crash does the same work.

::

    _phl/claims/<stage>/<batch>.<generation>.json      the claim
    _phl/claims/<stage>/<batch>.<generation>.closing   its roll-back has begun: nobody commits for it any more
    _phl/claims/<stage>/<batch>.<generation>.closed    its roll-back is done and no other claim followed yet
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lake_layout.objects import ObjectStore
from schemas.errors import LakeError


@dataclass(frozen=True)
class Claim:
    """A batch that somebody began; picklable.

    Attributes:
        stage: name of the stage.
        batch: number of the batch, from 1.
        generation: 0, and one more each time that another program rolled the batch back.
        attempt: id of the process that runs it; only the first one's is in the object.
        begin: by app id, the version the batch starts after.
        end: by app id, the version that its commits record.
        pins: by table name, the version that decisions are made against.
        code: hash of program and configuration.
        tables: by table name, the id of the table that the batch writes to.
        last: name of the table whose commit ends the batch.
        made_at: when the batch was claimed (UTC).
    """

    stage: str
    batch: int
    generation: int
    attempt: str
    begin: Mapping[str, int]
    end: Mapping[str, int]
    pins: Mapping[str, int]
    code: str
    tables: Mapping[str, str]
    last: str
    made_at: datetime

    @property
    def batch_app_id(self) -> str:
        """App id under which the last table records the batch's number."""
        return batch_app_id(self.stage)

    def to_json(self) -> bytes:
        """The claim as it is stored."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: dict(values[name]) for name in ("begin", "end", "pins", "tables")}
        values["made_at"] = self.made_at.isoformat()
        return json.dumps(values, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Claim:
        """Read a stored claim.

        Raises:
            LakeError: ``CLAIM-DAMAGED``.
        """
        try:
            values = json.loads(data)
            values["made_at"] = datetime.fromisoformat(values["made_at"])
            return cls(**values)
        except (ValueError, TypeError, KeyError):
            raise LakeError("CLAIM-DAMAGED", "an object under _phl/claims cannot be read as a claim") from None


def batch_app_id(stage: str) -> str:
    return f"batch:{stage}"


def claim_path(stage: str, batch: int, generation: int, ending: str = "json") -> str:
    """Where a claim, or a mark on it, lies below the lake's root."""
    return f"_phl/claims/{stage}/{batch:012d}.{generation}.{ending}"


def newest_claim(store: ObjectStore, stage: str, batch: int) -> Claim | None:
    """The claim of a batch with the highest generation; None where nobody claimed it."""
    newest: Claim | None = None
    generation = 0
    while (data := store.get_or_none(claim_path(stage, batch, generation))) is not None:
        newest = Claim.from_json(data)
        generation += 1
    return newest


def is_marked(store: ObjectStore, claim: Claim, ending: str) -> bool:
    """Whether a claim bears a mark (``closing``, ``closed``)."""
    return store.size(claim_path(claim.stage, claim.batch, claim.generation, ending)) is not None


def mark(store: ObjectStore, claim: Claim, ending: str) -> None:
    """Put a mark on a claim; doing so again changes nothing."""
    store.put_if_absent(claim_path(claim.stage, claim.batch, claim.generation, ending), claim.code.encode())
