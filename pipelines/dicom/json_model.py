"""What no column holds, as DICOM JSON (PS3.18 annex F)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection
from typing import Final

from pipelines.dicom.elements import Element, Elements
from pipelines.dicom.values import NUMBERS, TEXTS, Values

INLINE_AT_MOST: Final = 256
"""Bytes of binary values that are kept."""
TEXT_AT_MOST: Final = 16 * 1024
"""Bytes of a text that is kept."""

Json = dict[str, object]


def json_of(values: Values, elements: Elements, without: Collection[int]) -> str:
    """Elements as one line of JSON, by tag.

    A value that is too large has ``BulkDataURI`` instead: ``?offset=132&length=7000`` tells where in the header's bytes
    (inflated, of a deflated one) it stands.

    Args:
        values: reads them.
        elements: of the data set.
        without: tags that are left out.
    """
    made = {_name(tag): _element(values, one) for tag, one in elements.items() if tag not in without}
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _name(tag: int) -> str:
    return f"{tag:08X}"


def _element(values: Values, element: Element) -> Json:  # noqa: PLR0911 - by the kind of its VR
    vr, length = element.vr, element.length
    if element.items is not None:
        items = [
            {_name(tag): _element(values, one) for tag, one in sorted(item.items())} for item in element.items
        ]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if not length:
        return {"vr": vr}
    if vr in NUMBERS and length <= TEXT_AT_MOST:
        numbers = values.numbers_of(element)
        if vr == "AT":
            return {"vr": vr, "Value": [_name(int(one)) for one in numbers]}
        return {"vr": vr, "Value": [one if math.isfinite(one) else str(one) for one in numbers]}
    if vr in TEXTS and length <= TEXT_AT_MOST:
        texts = values.texts(element)
        if vr == "PN":
            return {"vr": vr, "Value": [_person(one) for one in texts]} if texts else {"vr": vr}
        return {"vr": vr, "Value": [one or None for one in texts]} if texts else {"vr": vr}
    if length <= INLINE_AT_MOST:
        return {"vr": vr, "InlineBinary": base64.b64encode(values.bytes_of(element)).decode("ascii")}
    return {"vr": vr, "BulkDataURI": f"?offset={element.start}&length={length}"}


def _person(text: str) -> dict[str, str] | None:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: group.strip() for name, group in groups if group.strip()} or None
