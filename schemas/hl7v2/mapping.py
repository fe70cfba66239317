"""The vocabulary that mappings are written in: which segment makes a row of a table, and where its columns come from.

A place is written as HL7 writes it: ``PID-5.1.1`` is the first subcomponent of the first component of field 5.
What a column becomes follows from its type in the table:

======================  ==================================================================================
type of the column      what is read
======================  ==================================================================================
string                  the text, escapes resolved, of the field's first (or preferred) repetition
timestamp               an instant; ``<name>_precision`` and ``<name>_offset`` come with it
date32                  the date, where sent to the day
float64, int32          a number (NM)
list of string          the text of every repetition, of every segment of that name that belongs to the row
list of a structure     likewise, parted after the data type of that structure (``schemas/hl7v2/datatypes.py``)
======================  ==================================================================================

Several places are tried in turn: where they name different fields, the first field that is there at all decides
(so that a number and its namespace come from the same segment); within one field, the first value. A list holds the
repetitions of all its places.

A place in another segment than the row's own is read from the segment of that name that belongs to the row
(``schemas/hl7v2/structure.py``). ``PID(1)-3`` is PID-3 of the message's first PID, whatever the row.
``PV1(next)-19`` is PV1-19 of the first PV1 after the row, before the next segment of the row's own name, whatever
else PV1 belongs to: in A45 each MRG is followed by the PV1 that it is about.

A column may also have a constant, the same for each row of a mapping: which segment states the row, say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from schemas.hl7v2.datatypes import AROUND_TELEPHONE, LOCAL_NUMBER
from schemas.table import Table

_PLACE = re.compile(r"([A-Z][A-Z0-9]{2})(\((?:1|next)\))?-(\d+)(?:\.(\d+)(?:\.(\d+))?)?")

_TRIGGERS = re.compile(r"([A-Z]+)(\d+)(?:-[A-Z]+(\d+))?")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a message.

    Attributes:
        segment: segment name.
        field: HL7 field number, from 1.
        component: from 1; 0 for the whole repetition.
        subcomponent: from 1; 0 for the whole component.
        first: whether the message's first segment of that name is meant, whatever the row.
        next: whether the first one after the row is meant, before the next segment of the row's own name.
    """

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0
    first: bool = False
    next: bool = False

    @classmethod
    def of(cls, text: str) -> Place:
        """Read ``PID-5.1.1``.

        Raises:
            ValueError: where it is not written so.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a place in a message: {text}")
        return cls(
            match[1],
            int(match[3]),
            int(match[4] or 0),
            int(match[5] or 0),
            first=match[2] == "(1)",
            next=match[2] == "(next)",
        )

    def __str__(self) -> str:
        parts = f".{self.component}" if self.component else ""
        parts += f".{self.subcomponent}" if self.subcomponent else ""
        which = "(1)" if self.first else "(next)" if self.next else ""
        return f"{self.segment}{which}-{self.field}{parts}"


@dataclass(frozen=True)
class TableMapping:
    """How segments of a kind become rows of a table.

    Attributes:
        table: the table.
        segment: each segment of this name becomes a row.
        places: column name → places in the order in which they are tried.
        version: places of the time that orders the versions of a thing; MSH-7, then the receipt, come after.
        later: whether the message's first segment of the name makes no row (a second PID is linked to the first).
        unless: the row is made only where its order has no segment of these names (an ORC whose order has an OBR
            is no row of its own).
        constants: column name → the text that it has in every row.
    """

    table: Table
    segment: str
    places: Mapping[str, tuple[Place, ...]]
    version: tuple[Place, ...]
    later: bool = False
    unless: tuple[str, ...] = ()
    constants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        unknown = {*self.places, *self.constants} - {column.name for column in self.table.fields}
        if unknown or set(self.places) & set(self.constants):
            raise ValueError(f"{self.table.name}: columns unknown or told twice: {sorted(unknown)}")

    @property
    def telephones(self) -> Mapping[str, tuple[Place, ...]]:
        """Columns of telephone numbers → where country code, area code and extension stand (``telephone``)."""
        return {
            name: tuple(replace(places[-1], component=part) for part, _ in AROUND_TELEPHONE)
            for name, places in self.places.items()
            if [place.component for place in places] == [1, 12, LOCAL_NUMBER[0]]
        }


def places(text: str) -> tuple[Place, ...]:
    """Places written with blanks between them."""
    return tuple(map(Place.of, text.split()))


def mapping(
    table: Table,
    segment: str,
    columns: Mapping[str, str],
    *,
    version: str = "",
    later: bool = False,
    unless: tuple[str, ...] = (),
    constants: Mapping[str, str] | None = None,
) -> TableMapping:
    """A mapping written as text: column name → places with blanks between them."""
    return TableMapping(
        table,
        segment,
        MappingProxyType({name: places(text) for name, text in columns.items()}),
        places(version),
        later,
        unless,
        MappingProxyType(dict(constants or {})),
    )


def coded(name: str, *fields: str) -> dict[str, str]:
    """The columns of a coded element (CE, CWE, CNE: HL7 v2.5.1 §2.A.13): two triplets, version and original text.

    Args:
        name: as given to ``schemas.tables.columns.coded``.
        fields: places of whole fields, such as ``OBR-4``, tried in turn.
    """
    parts = {
        "code": 1, "display": 2, "system": 3, "alt_code": 4, "alt_display": 5, "alt_system": 6,
        "system_version": 7, "text": 9,
    }  # fmt: skip
    return {
        f"{name}_{part}": " ".join(f"{field}.{number}" for field in fields) for part, number in parts.items()
    }


def code(name: str, *fields: str) -> dict[str, str]:
    """The columns of a coded element of which the first triplet is enough.

    Args:
        name: as given to ``schemas.tables.columns.code``.
        fields: places of whole fields, such as ``PID-16``, tried in turn.
    """
    parts = {"": 1, "_display": 2, "_system": 3}
    return {
        f"{name}{part}": " ".join(f"{field}.{number}" for field in fields) for part, number in parts.items()
    }


def telephone(name: str, field: str) -> dict[str, str]:
    """The column of a telephone number (XTN: HL7 v2.5.1 §2.A.90): as it is written, else its parts joined.

    Args:
        name: the column.
        field: place of a whole field, such as ``PID-13``.
    """
    return {name: f"{field}.1 {field}.12 {field}.{LOCAL_NUMBER[0]}"}


def timing(*fields: str) -> dict[str, str]:
    """The columns of a timing: TQ1 (HL7 v2.5.1 §4.5.4), before v2.5 a field of type TQ (§2.A).

    Args:
        fields: places of whole fields of type TQ, such as ``ORC-7``, tried in turn after TQ1.
    """
    parts = {
        "quantity": ("TQ1-2.1", "1.1"), "quantity_unit": ("TQ1-2.2.1", "1.2"),
        "repeat_pattern": ("TQ1-3.1.1", "2.1"), "explicit_time": ("TQ1-4", "2.2"),
        "service_duration": ("TQ1-6.1", ""), "service_duration_unit": ("TQ1-6.2.1", ""),
        "service_duration_text": ("", "3"),
        "occurrence_start": ("TQ1-7", "4.1"), "occurrence_end": ("TQ1-8", "5.1"),
        "condition_text": ("TQ1-10", "7"), "instruction_text": ("TQ1-11", "8"),
        "total_occurrences": ("TQ1-14", "12"),
    }  # fmt: skip
    return {
        name: " ".join([own] * bool(own) + [f"{field}.{old}" for field in fields if old])
        for name, (own, old) in parts.items()
    }


def practitioner(name: str, *fields: str) -> dict[str, str]:
    """The columns of a person who acts (XCN: HL7 v2.5.1 §2.A.88).

    Args:
        name: as given to ``schemas.tables.columns.practitioner``.
        fields: places of whole fields, such as ``OBR-16``, tried in turn.
    """
    parts = {"id": "1", "family_name": "2.1", "given_name": "3"}
    return {
        f"{name}_{part}": " ".join(f"{field}.{place}" for field in fields) for part, place in parts.items()
    }


@dataclass(frozen=True)
class Family:
    """Messages that are read alike.

    Attributes:
        code: MSH-9.1.
        triggers: MSH-9.2; where a sender leaves it out, EVN-1, else ``default_trigger``.
        mappings: the rows they become; what these take does not go to ``segment``.
        doc: one sentence.
        standard: the clause.
        default_trigger: what the code alone stands for.
    """

    code: str
    triggers: frozenset[str]
    mappings: tuple[TableMapping, ...]
    doc: str
    standard: str
    default_trigger: str = ""


def triggers(text: str) -> frozenset[str]:
    """Trigger events written as ``A01-A03 A08 PC1``.

    Raises:
        ValueError: where they are not written so.
    """
    found: set[str] = set()
    for item in text.split():
        match = _TRIGGERS.fullmatch(item)
        if match is None:
            raise ValueError(f"not a trigger event: {item}")
        letters, first, last = match[1], match[2], match[3] or match[2]
        found |= {f"{letters}{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)}
    return frozenset(found)
