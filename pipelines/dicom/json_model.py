"""What no column holds, as DICOM JSON (PS3.18 annex F).

The text is put together element by element: an object for each would take longer than all else that is read.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection
from json.encoder import encode_basestring as quoted
from typing import Final

from pipelines.dicom.elements import Element, Elements
from pipelines.dicom.values import NUMBERS, TEXTS, Values

INLINE_AT_MOST: Final = 256
"""Bytes of binary values that are kept."""
TEXT_AT_MOST: Final = 16 * 1024
"""Bytes of a text, or of numbers, that are kept."""

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def json_of(values: Values, elements: Elements, without: Collection[int]) -> str:
    """Elements as one line of JSON, by tag.

    A value that is too large has ``BulkDataURI`` instead: ``?offset=132&length=7000`` tells where in the header's bytes
    (inflated, of a deflated one) it stands.

    Args:
        values: reads them.
        elements: of the data set.
        without: tags that are left out.
    """
    return _object(values, [one for one in elements.items() if one[0] not in without])


def _object(values: Values, elements: list[tuple[int, Element]]) -> str:
    elements.sort()
    made = [f'"{tag:08X}":{{"vr":"{one.vr}"{_value(values, one)}}}' for tag, one in elements]
    return "{" + ",".join(made) + "}"


def _value(values: Values, element: Element) -> str:
    """What an element has behind its VR."""
    vr, start, length, items = element
    if items is not None:
        inner = ",".join(_object(values.of_item(item), list(item.items())) for item in items)
        return f',"Value":[{inner}]' if items else ""
    if not length:
        return ""
    if length <= TEXT_AT_MOST:
        if vr in TEXTS:
            return _texts(values, element)
        if vr in NUMBERS:
            found = values.numbers_of(element)
            one = _name if vr == "AT" else _number
            return f',"Value":[{",".join(map(one, found))}]'
    if length <= INLINE_AT_MOST:
        return f',"InlineBinary":"{base64.b64encode(values.bytes_of(element)).decode("ascii")}"'
    return f',"BulkDataURI":"?offset={start}&length={length}"'


def _texts(values: Values, element: Element) -> str:
    texts = values.texts(element)
    if not texts:
        return ""
    one = _person if element.vr == "PN" else _text
    return f',"Value":[{",".join(map(one, texts))}]'


def _text(text: str) -> str:
    return quoted(text) if text else "null"


def _name(tag: float) -> str:
    return f'"{int(tag):08X}"'


def _number(number: float) -> str:
    return repr(number) if math.isfinite(number) else f'"{number}"'


def _person(text: str) -> str:
    groups = zip(_GROUPS, text.split("="), strict=False)
    parts = [f'"{name}":{quoted(group.strip())}' for name, group in groups if group.strip()]
    return "{" + ",".join(parts) + "}" if parts else "null"
