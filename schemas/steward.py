"""Events of stewards: people who decide who is who where messages do not, or wrongly.

An event is a JSON object in UTF-8, one to a record of the topic ``raw.steward``, recorded and replayed like every
message::

    {"id": "0b9c…", "action": "unlink", "when": "2026-03-01T08:00:00+08:00", "who": "chen.li", "why": "two sisters",
     "first": {"value": "P1", "authority": "CLINIC", "type": "MR"}, "second": {"value": "P2", "authority": "CLINIC"}}

===========  ============================================================================================
action       what it says
===========  ============================================================================================
link         both identifiers are of one person
unlink       what was stated before of just these two does not hold: an un-merge, for which HL7 has no event
cannot-link  both are never of one person, whatever messages say; until a later link or unlink of the two
===========  ============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import MessageError
from schemas.tables.identity import CANNOT_LINK, LINK, UNLINK

ACTIONS = (LINK, UNLINK, CANNOT_LINK)

UNREADABLE = "STEWARD-UNREADABLE"
INCOMPLETE = "STEWARD-INCOMPLETE"

_LAST_YEAR = 2199
_FIRST_YEAR = 1900


@dataclass(frozen=True, slots=True)
class PatientIdentifier:
    """An identifier of a patient, as the tables have it."""

    value: str
    authority: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class StewardEvent:
    """What a steward says of two identifiers.

    Attributes:
        id: unique; an event that is sent again has the same.
        action: link, unlink or cannot-link.
        when: with its offset.
        who: the steward.
        why: the reason.
        first: one identifier.
        second: another one.
    """

    id: str
    action: str
    when: datetime
    who: str
    why: str
    first: PatientIdentifier
    second: PatientIdentifier

    def to_bytes(self) -> bytes:
        """The event as it is sent."""
        made = {
            "id": self.id,
            "action": self.action,
            "when": self.when.isoformat(),
            "who": self.who,
            "why": self.why,
            "first": _written(self.first),
            "second": _written(self.second),
        }
        return json.dumps(made, ensure_ascii=False).encode("utf-8")


def _written(one: PatientIdentifier) -> dict[str, str]:
    made = {"value": one.value, "authority": one.authority}
    return made if one.type is None else {**made, "type": one.type}


def read_object(payload: bytes) -> Mapping[str, object]:
    """The JSON object of an event.

    Raises:
        MessageError: it is none.
    """
    try:
        found = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MessageError(UNREADABLE, "send one JSON object in UTF-8")
    return found


def read_event(payload: bytes) -> StewardEvent:
    """Read an event.

    Raises:
        MessageError: it is no JSON object, or lacks what it must say.
    """
    found = read_object(payload)
    try:
        when = datetime.fromisoformat(_text(found, "when"))
        event = StewardEvent(
            id=_text(found, "id"),
            action=_text(found, "action"),
            when=when,
            who=_text(found, "who"),
            why=_text(found, "why"),
            first=_identifier(found.get("first")),
            second=_identifier(found.get("second")),
        )
        inside = when.tzinfo is not None and _FIRST_YEAR <= when.astimezone(UTC).year <= _LAST_YEAR
    except (ValueError, OverflowError):
        inside = False
    if not inside or event.action not in ACTIONS or _is_one(event):
        raise MessageError(INCOMPLETE, "give id, action, when, who, why, first and second") from None
    return event


def _is_one(event: StewardEvent) -> bool:
    first, second = event.first, event.second
    return (first.value, first.authority) == (second.value, second.authority)


def _text(found: Mapping[str, object], name: str) -> str:
    """A text that says something.

    Raises:
        ValueError: it does not, or cannot be written in UTF-8.
    """
    value = found.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    value.encode("utf-8")
    return value.strip()


def _identifier(found: object) -> PatientIdentifier:
    if not isinstance(found, dict):
        raise ValueError  # noqa: TRY004 - one kind of error for all that is missing
    type_ = _text(found, "type") if found.get("type") is not None else None
    return PatientIdentifier(_text(found, "value"), _text(found, "authority"), type_)
