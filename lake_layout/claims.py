"""Claims: what a batch is, agreed on before any of it is written.

A claim is an object, made by a conditional PUT, so that of several processes one decides what the batch is and
all others run that or nothing. It never changes; a claim that takes over another's batch has the next generation.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lake_layout.objects import ObjectStore
from schemas.errors import LakeError

FOLDER = "_phl/claims"

GENERATIONS = 1_000_000
"""More generations of one batch than there can be: the factor of batch numbers in ``Claim.mark``."""

_STAGE = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Claim:
    """A batch of a stage.

    Attributes:
        stage: such as ``normalise-hl7v2``.
        batch: its number, counted from 1 without gaps.
        generation: 1, and one more each time that other code took the batch over.
        attempt: names the process that runs it; not part of what is agreed.
        begin: by txn app id, where the batch begins.
        end: by txn app id, the txn version that the tables have once the batch is done.
        pins: versions of tables that decisions are made against, by table name.
        code: hash of program and configuration.
        tables: ids of the tables it writes, by name.
        made_at: when.
        last: name of the table whose commit ends the batch.
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
    made_at: datetime
    last: str

    @property
    def mark(self) -> int:
        """Batch and generation as one number that only grows: which claim last touched a table."""
        return self.batch * GENERATIONS + self.generation

    def to_json(self) -> bytes:
        """The claim as it is stored."""
        content = {**vars(self), "made_at": self.made_at.isoformat()}
        content |= {name: dict(content[name]) for name in ("begin", "end", "pins", "tables")}
        return json.dumps(content, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Claim:
        """The claim that ``to_json`` wrote.

        Raises:
            LakeError: the bytes are no claim of this form.
        """
        try:
            content = json.loads(data)
            return cls(**{**content, "made_at": datetime.fromisoformat(content["made_at"])})
        except (ValueError, TypeError, KeyError):
            raise LakeError("CLAIM-DAMAGED", "a claim is not of this program's form") from None


def batch_app_id(stage: str) -> str:
    """Under this id a stage's last table records the newest batch that is done."""
    return f"batch:{stage}"


def claim_app_id(stage: str) -> str:
    """Under this id every table records which claim (``Claim.mark``) touched it last.

    It is the fence too: two commits that both write it cannot follow one another on handles of the same version.
    """
    return f"claim:{stage}"


def claim_path(stage: str, batch: int, generation: int) -> str:
    """Where a claim lies."""
    if not _STAGE.fullmatch(stage):
        raise LakeError("CLAIM-STAGE-NAME", "a stage's name has letters, digits, _ and - only")
    return f"{FOLDER}/{stage}/{batch:012d}.{generation}.json"


def claim_of_path(path: str) -> tuple[str, int, int] | None:
    """Stage, batch and generation of a claim's path; None for another object."""
    found = re.fullmatch(rf"{re.escape(FOLDER)}/([^/]+)/(\d{{12}})\.(\d+)\.json", path)
    return (found[1], int(found[2]), int(found[3])) if found else None


def new_attempt() -> str:
    """An id that nobody else has."""
    return uuid.uuid4().hex


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def put_claim(store: ObjectStore, claim: Claim) -> bool:
    """Make a claim; False where somebody else was first."""
    # The attempt id within makes the bytes this process's own, so an unclear answer can be settled.
    return store.put_if_absent(claim_path(claim.stage, claim.batch, claim.generation), claim.to_json())


def claims_of(store: ObjectStore, stage: str, batch: int) -> list[Claim]:
    """All claims of a batch, oldest first.

    Generations follow each other without gaps, so they are asked for one by one: a listing may lag behind.
    """
    claims: list[Claim] = []
    while (data := store.get_or_none(claim_path(stage, batch, len(claims) + 1))) is not None:
        claims.append(Claim.from_json(data))
    return claims


def newest_claims(store: ObjectStore) -> list[Claim]:
    """The newest claim of each stage that a listing shows.

    Raises:
        LakeError: ``CLAIM-DAMAGED``.
    """
    newest: dict[str, tuple[int, int, str]] = {}
    for info in store.list(f"{FOLDER}/"):
        place = claim_of_path(info.path)
        if place is not None:
            stage, batch, generation = place
            newest[stage] = max((batch, generation, info.path), newest.get(stage, (0, 0, "")))
    contents = (store.get_or_none(path) for _, _, path in newest.values())
    return [Claim.from_json(content) for content in contents if content is not None]


def is_newest(store: ObjectStore, claim: Claim) -> bool:
    """Whether nobody took the batch over."""
    return store.get_or_none(claim_path(claim.stage, claim.batch, claim.generation + 1)) is None
