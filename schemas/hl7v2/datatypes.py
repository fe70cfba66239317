"""Data types of HL7 v2 that become structures (HL7 v2.5.1 §2.A, v2.8.2 §2.A): where each part stands.

A part is written ``component`` or ``component.subcomponent``; of several, the first that has a value counts, so
that parts which moved between versions are found in both places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from schemas.tables.structures import (
    ADDRESS,
    CODEABLE_CONCEPT,
    CONTACT_POINT,
    ENTITY,
    HUMAN_NAME,
    IDENTIFIER,
    LOCATION_PLACE,
    ORGANIZATION,
    PRACTITIONER,
    QUALIFICATION,
)

Part = tuple[int, int]
"""Component and subcomponent, from 1; subcomponent 0 for the whole component."""


@dataclass(frozen=True)
class DataType:
    """An HL7 data type.

    Attributes:
        name: HL7's name of it.
        struct: what it becomes.
        parts: name in the struct → places within a repetition, tried in turn.
        authority: the part that falls back to the sender (``source/MSH-4``) where nothing is sent.
    """

    name: str
    struct: pa.StructType
    parts: Mapping[str, tuple[Part, ...]]
    authority: str | None = None


def _type(name: str, struct: pa.StructType, parts: dict[str, str], authority: str | None = None) -> DataType:
    if list(parts) != [struct.field(place).name for place in range(struct.num_fields)]:
        raise ValueError(f"{name}: its parts are not those of the structure")
    places = {part: tuple(map(_part, text.split())) for part, text in parts.items()}
    return DataType(name, struct, MappingProxyType(places), authority)


def _part(text: str) -> Part:
    component, _, subcomponent = text.partition(".")
    return int(component), int(subcomponent or 0)


DATA_TYPES: tuple[DataType, ...] = (
    # §2.A.14
    _type("CX", IDENTIFIER, {"value": "1.1", "authority": "4.1 4.2", "type": "5"}, authority="authority"),
    # §2.A.89; XPN.1 was ST before v2.3
    _type(
        "XPN",
        HUMAN_NAME,
        {"family": "1.1", "given": "2", "middle": "3", "suffix": "4", "prefix": "5", "type": "7",
         "representation": "8"},
    ),
    # §2.A.86; XAD.1 is SAD
    _type(
        "XAD",
        ADDRESS,
        {"street": "1.1", "other": "2", "city": "3", "district": "9", "state": "4", "postal_code": "5",
         "country": "6", "type": "7"},
    ),
    # §2.A.90; XTN.1 until v2.5, XTN.12 since; else its parts joined (AROUND_TELEPHONE)
    _type("XTN", CONTACT_POINT, {"value": "1 12 7", "use": "2", "equipment": "3", "email": "4"}),
    # §2.A.13; CE has the first six of these
    _type(
        "CWE",
        CODEABLE_CONCEPT,
        {"code": "1", "display": "2", "system": "3", "alt_code": "4", "alt_display": "5", "alt_system": "6",
         "system_version": "7", "text": "9"},
    ),
    # §2.A.88; XCN.2 is FN
    _type(
        "XCN",
        PRACTITIONER,
        {"id": "1", "family": "2.1", "given": "3", "prefix": "6", "authority": "9.1 9.2", "type": "13"},
    ),
    # §2.A.87; XON.10 since v2.5
    _type("XON", ORGANIZATION, {"name": "1", "id": "10 3", "authority": "6.1 6.2"}),
    # §2.A.53
    _type(
        "PL",
        LOCATION_PLACE,
        {"point_of_care": "1.1", "room": "2.1", "bed": "3.1", "facility": "4.1", "building": "7.1",
         "floor": "8.1"},
    ),
    # §2.A.28
    _type("EI", ENTITY, {"id": "1", "namespace": "2 3"}),
    # §2.A, PLN; PRA-6
    _type("PLN", QUALIFICATION, {"number": "1", "type": "2.1", "issuer": "3", "expiration": "4"}),
)  # fmt: skip
"""Those whose repetitions become lists."""


LOCAL_NUMBER: Part = (7, 0)
"""XTN.7, the local number: where it stands for a whole number, what goes around it is joined to it."""

AROUND_TELEPHONE: tuple[Part, Part, Part] = ((5, 0), (6, 0), (8, 0))
"""Country code, area code and extension (HL7 v2.5.1 §2.A.90)."""


def data_type_of(struct: pa.DataType) -> DataType:
    """The data type that becomes a structure.

    Raises:
        KeyError: none does.
    """
    for data_type in DATA_TYPES:
        if data_type.struct.equals(struct):
            return data_type
    raise KeyError(str(struct))


_NAME = (7, ("L", "OR", "D", ""))
_ADDRESS = (7, ("H", "L", "C", ""))
_TELEPHONE = (2, ("PRN", ""))

PREFERRED: Mapping[tuple[str, int], tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        ("PID", 5): _NAME,
        ("PID", 11): _ADDRESS,
        ("PID", 13): _TELEPHONE,
        ("NK1", 2): _NAME,
        ("NK1", 4): _ADDRESS,
        ("GT1", 3): _NAME,
        ("STF", 3): _NAME,
    }
)
"""Of several repetitions the one that stands for the field: (segment, field) → the component that says what kind each
is, and kinds from the most to the least wanted (HL7 tables 0200, 0190, 0201); any other comes last, and of equals the
first. A legal name stands before one without a type, a home address before a mailing address."""

VALUE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "NM": "number", "SI": "number",
        "SN": "structured",
        "CE": "coded", "CWE": "coded", "CNE": "coded", "CF": "coded", "ID": "coded", "IS": "coded",
        "DT": "time", "DTM": "time", "TS": "time",
        "ED": "document", "RP": "document",
        "CQ": "quantity", "MO": "quantity", "CP": "quantity",
    }
)  # fmt: skip
"""OBX-2 (HL7 table 0125) → how OBX-5 is read beside its text; TM has no date, so no point in time."""
