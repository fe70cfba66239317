"""Structures inside columns, in FHIR's words: what a list of names, addresses or identifiers holds."""

from __future__ import annotations

import pyarrow as pa

_TEXT = pa.string()


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct([pa.field(name, type_) for name, type_ in fields.items()])


IDENTIFIER = _struct(value=_TEXT, authority=_TEXT, type=_TEXT)
"""FHIR Identifier: the value, who assigned it, its type."""

HUMAN_NAME = _struct(
    family=_TEXT, given=_TEXT, middle=_TEXT, suffix=_TEXT, prefix=_TEXT, type=_TEXT, representation=_TEXT
)
"""FHIR HumanName: its parts; type is HL7 table 0200, representation 0465 (ideographic, alphabetic, phonetic)."""

ADDRESS = _struct(
    street=_TEXT, other=_TEXT, city=_TEXT, district=_TEXT, state=_TEXT, postal_code=_TEXT, country=_TEXT,
    type=_TEXT,
)  # fmt: skip
"""FHIR Address; type is HL7 table 0190."""

CONTACT_POINT = _struct(value=_TEXT, use=_TEXT, equipment=_TEXT, email=_TEXT)
"""FHIR ContactPoint; use is HL7 table 0201, equipment 0202."""

CODEABLE_CONCEPT = _struct(
    code=_TEXT, display=_TEXT, system=_TEXT, alt_code=_TEXT, alt_display=_TEXT, alt_system=_TEXT,
    system_version=_TEXT, text=_TEXT,
)  # fmt: skip
"""FHIR CodeableConcept: two codings, the version of the first one's system, the original text."""

PRACTITIONER = _struct(
    id=_TEXT, family=_TEXT, given=_TEXT, prefix=_TEXT, authority=_TEXT, type=_TEXT
)  # fmt: skip
"""A person who acts: id with who assigned it, and name."""

ORGANIZATION = _struct(name=_TEXT, id=_TEXT, authority=_TEXT)
"""An organisation: name, and id with who assigned it."""

LOCATION_PLACE = _struct(
    point_of_care=_TEXT, room=_TEXT, bed=_TEXT, facility=_TEXT, building=_TEXT, floor=_TEXT
)
"""A place within an institution."""

ENTITY = _struct(id=_TEXT, namespace=_TEXT)
"""HL7 EI: an id and the name space that it is unique in."""

VALUE = _struct(text=_TEXT, number=pa.float64(), code=_TEXT, display=_TEXT, system=_TEXT)
"""One of several values of an observation."""

ATTACHMENT = _struct(
    type=_TEXT, text=_TEXT, media_type=_TEXT, object_path=_TEXT, size=pa.int64(), sha256=_TEXT
)  # fmt: skip
"""FHIR Attachment: text, or where the document lies, with its size in bytes and its hash."""

QUALIFICATION = _struct(number=_TEXT, type=_TEXT, issuer=_TEXT, expiration=_TEXT)
"""A licence or another number of a member of the staff; type is HL7 table 0338, expiration the date as sent."""
