"""``curated/*`` of identity: which identifiers are one patient, account or visit, and who the person is.

FHIR R5: Person and Person.link, Patient.link (replaced-by, refer), Identifier. What the events say stands in HL7
v2.5.1 §3.3 and §3.6.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from schemas.table import INSTANT, Field, Table
from schemas.tables.columns import text, whole
from schemas.tables.raw import COORDINATES

LEVELS = ("patient", "account", "visit")
"""Whose identifiers: of a patient (PID-3), an account (PID-18), a visit (PV1-19, PV1-50)."""

MERGE, RENAME, MOVE, SAME = "merge", "rename", "move", "same"
LINK, UNLINK, CANNOT_LINK = "link", "unlink", "cannot-link"

KINDS = (MERGE, RENAME, MOVE, SAME, LINK, UNLINK, CANNOT_LINK)
"""What an edge says of two identifiers:

===========  ===========================================================================================
merge        the first is given up for the second
rename       the first was changed to the second
move         the first belongs to the second from now on: to a patient, or to an account
same         one message lists the first beside the second, its patient's first identifier
link         both are of one person; neither is given up
unlink       what was stated of just these two before does not hold any more
cannot-link  both are never of one person
===========  ===========================================================================================
"""

APPLIED, NOTHING, OVERRULED, REFUSED, BLOCKED = "applied", "nothing", "overruled", "refused", "blocked"

OUTCOMES = (APPLIED, NOTHING, OVERRULED, REFUSED, BLOCKED)
"""What became of an edge: it counts; it changes nothing; a later statement takes its place; who states it may not, or
it does not fit its event; a steward's cannot-link forbids it."""

ORDER_OF_EDGES = (
    "version_time", "sent_sequence", "received_at", "topic_id", "partition", "offset", "reading",
    "segment_index", "edge_index",
)  # fmt: skip
"""What orders edges, the most telling first: the order of versions, then the place within what a segment states."""


def _required(name: str, doc: str, standard: str = "") -> Field:
    return Field(name, pa.string(), doc, standard, nullable=False)


PERSON_LINK = Table(
    name="curated/patient_link",
    doc="Every statement about two identifiers, by messages and stewards, and what became of it.",
    fields=(
        _required("kind", f"What it says: {', '.join(KINDS)}."),
        _required("level", "Whose identifier the first one is: patient, account or visit."),
        _required("value", "First identifier: the one that is given up, changed or moved.", "MRG"),
        _required("authority", "Its assigning authority, else source/institution."),
        text("type", "Its type (HL7 table 0203)."),
        text("to_level", "Whose identifier the second one is; as the first, unless it moves."),
        text("to_value", "Second identifier: the one that stays, or that the first moves to.", "PID, PV1"),
        text("to_authority", "Its assigning authority, else source/institution."),
        text("to_type", "Its type (HL7 table 0203)."),
        text("former_value", "Whose it was before it moved, where that is stated.", "MRG"),
        text("former_authority", "The assigning authority of that one."),
        Field(
            "key", pa.int64(), "Hash of level, authority and value of the first identifier.", nullable=False
        ),
        Field("to_key", pa.int64(), "Likewise of the second; that of the first where none is stated."),
        text("event_code", "Event that states it: A40, A24 …; STEWARD.", "MSH-9.2"),
        text("stated_by", "The steward who stated it."),
        text("reason", "Why, in the steward's words."),
        text("code", "Finding on it, where a steward should look."),
        text("outcome", f"What became of it: {', '.join(OUTCOMES)}; null before it is resolved."),
        Field("version_time", INSTANT, "When it was stated: EVN-2, else MSH-7.", nullable=False),
        Field("sent_sequence", pa.int64(), "Sequence number of the message within its link.", "MSH-13"),
        Field("received_at", INSTANT, "When the connector had the whole message.", nullable=False),
        *COORDINATES,
        Field("reading", pa.int32(), "0 for the first reading.", nullable=False),
        whole("segment_index", "Position of the segment in its message, counted from 0."),
        whole("edge_index", "Place among what that segment states, counted from 0."),
        _required("source", "Name of the connection."),
        text("institution", "Who speaks.", "MSH-4"),
    ),
    sort_by=("version_time",),
    statistics=("key", "to_key", "version_time"),
)

PERSON = Table(
    name="curated/person",
    doc="One row per person, as known now (FHIR Person).",
    fields=(
        _required("person_id", "Name-based UUID (RFC 9562 version 5) of the representative identifier."),
        _required("value", "Representative identifier: the surviving one, else the earliest."),
        _required("authority", "Its assigning authority."),
        Field(
            "first_seen", INSTANT, "When any of the person's identifiers was first stated.", nullable=False
        ),
        whole("identifiers", "How many identifiers of patients lead to this person."),
    ),
    sort_by=("person_id",),
    statistics=("person_id",),
)

PERSON_IDENTIFIER = Table(
    name="curated/person_identifier",
    doc="The identifiers of persons: those that name patients lead to one person, others may be of several.",
    fields=(
        _required("person_id", "The person."),
        _required("value", "Identifier.", "PID-3.1"),
        _required("authority", "Its assigning authority.", "PID-3.4"),
        text("type", "Its type (HL7 table 0203).", "PID-3.5"),
        _required(
            "use",
            "FHIR Identifier.use: usual (the representative), secondary, old (given up by merge or rename).",
        ),
        _required("role", "subject: names a patient by itself; listed: stands beside one that does."),
        Field("first_seen", INSTANT, "When it was first stated of this person.", nullable=False),
        Field("last_seen", INSTANT, "When it was last stated of this person.", nullable=False),
    ),
    sort_by=("person_id",),
    statistics=("person_id",),
)

PERSON_ID_HISTORY = Table(
    name="curated/person_id_history",
    doc="Every person_id that was ever given out, and the person it leads to now.",
    fields=(
        _required("person_id", "The id: that of the identifier beside it."),
        _required("value", "The identifier it was made of."),
        _required("authority", "Its assigning authority."),
        _required("current_person_id", "The person it leads to now."),
        Field(
            "given_from",
            INSTANT,
            "Since when it was a person's id, in the order of events' own times; null where it could only be given "
            "out while events were still under way.",
        ),
        Field("given_until", INSTANT, "Until when; null while it is, or where given_from is null."),
    ),
    sort_by=("person_id",),
    statistics=("person_id",),
)

IDENTIFIER_REDIRECT = Table(
    name="curated/identifier_redirect",
    doc="Where an identifier leads that was given up, changed, moved or linked; any other leads to itself.",
    fields=(
        _required("level", "patient, account or visit."),
        _required("value", "The identifier as messages state it."),
        _required("authority", "Its assigning authority; of visits source/institution."),
        _required("current_value", "The identifier in whose place it is now, through all chains."),
        _required("current_authority", "Its assigning authority."),
        text("account_value", "The account that the visit moved to."),
        text("account_authority", "Its assigning authority."),
        text("patient_value", "The patient it is of, where a move says so; of patients the surviving one."),
        text("patient_authority", "Its assigning authority."),
        text("person_id", "That patient's person."),
        Field("since", INSTANT, "Version time of the latest statement that counts for it.", nullable=False),
    ),
    sort_by=("level", "authority", "value"),
    statistics=("level", "value"),
)

STEWARD_QUEUE = Table(
    name="curated/steward_queue",
    doc="What a steward should look at and has not decided yet: statements that were not applied, or do nothing.",
    fields=(
        _required("code", "Stable code of what is the matter, such as IDENTITY-UNFIT."),
        _required("level", "patient, account or visit."),
        text("value", "First identifier of the statement."),
        text("authority", "Its assigning authority."),
        text("to_value", "Second identifier."),
        text("to_authority", "Its assigning authority."),
        text("kind", "What was stated."),
        text("event_code", "By which event."),
        Field("version_time", INSTANT, "When it was stated.", nullable=False),
        *COORDINATES,
        whole("segment_index", "Position of the segment in its message, counted from 0."),
        _required("source", "Name of the connection."),
        text("institution", "Who speaks."),
    ),
    sort_by=("version_time",),
    statistics=("version_time",),
)

IDENTIFIER_SEEN = Table(
    name="curated/identifier_seen",
    doc="Which identifiers messages state of which patients: a row for each identifier that a PID lists.",
    fields=(
        _required("patient_value", "First identifier of the PID: whom its message is about."),
        _required("patient_authority", "Its assigning authority."),
        _required("value", "Identifier that the PID lists; the first one too.", "PID-3.1"),
        _required("authority", "Its assigning authority.", "PID-3.4"),
        text("type", "Its type (HL7 table 0203), as last stated.", "PID-3.5"),
        Field("first_seen", INSTANT, "When it was first stated so.", nullable=False),
        Field("last_seen", INSTANT, "When it was last stated so.", nullable=False),
        Field("patient_key", pa.int64(), "Hash of the first identifier, as in patient_link.", nullable=False),
        Field("key", pa.int64(), "Hash of the identifier.", nullable=False),
    ),
    sort_by=("patient_key",),
    statistics=("patient_key", "key"),
)
"""A join: first_seen is a minimum, last_seen a maximum."""

IDENTITY: tuple[Table, ...] = (
    PERSON_LINK,
    IDENTIFIER_SEEN,
    PERSON,
    PERSON_IDENTIFIER,
    PERSON_ID_HISTORY,
    IDENTIFIER_REDIRECT,
    STEWARD_QUEUE,
)
"""The curated tables of identity; what the others are made of comes first."""

UNITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        PERSON_LINK.name: ("key",),
        IDENTIFIER_SEEN.name: ("patient_key",),
        PERSON.name: ("person_id",),
        PERSON_IDENTIFIER.name: ("person_id",),
        PERSON_ID_HISTORY.name: ("person_id",),
        IDENTIFIER_REDIRECT.name: ("level", "authority", "value"),
        STEWARD_QUEUE.name: (
            "topic_id", "partition", "offset", "segment_index", "kind", "level", "value", "authority", "to_value",
            "to_authority",
        ),
    }
)  # fmt: skip
"""By table, the columns that name what is replaced as a whole where any row of it differs."""

SEEN = IDENTIFIER_SEEN.arrow_schema
"""Columns of identifiers seen."""
