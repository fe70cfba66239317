"""What structured reports and key object notes say: instances that are taken away, and radiation dose (PS3.3 §C.17)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipelines.dicom.elements import Element, Elements
from pipelines.dicom.values import Values
from schemas.dicom.kinds import (
    ACCUMULATED,
    ACQUISITION,
    CT_DOSE,
    EVENT_UID,
    PLANE,
    SCOPE,
    SCOPE_STUDY,
    Code,
)

_CONTENT = 0x0040A730
_CONCEPT = 0x0040A043
_VALUE_CODE = 0x0040A168
_MEASURED = 0x0040A300
_NUMBER = 0x0040A30A
_UNITS = 0x004008EA
_UID = 0x0040A124
_EVIDENCE = 0x0040A375
_SERIES = 0x00081115
_INSTANCES = 0x00081199
_SOP_UID = 0x00081155
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_MOST = 100_000


class Reference(NamedTuple):
    """An instance that a document refers to as evidence."""

    study: str | None
    series: str | None
    instance: str


class Dose(NamedTuple):
    """A measured dose."""

    concept: Code
    sub_id: str | None
    text: str
    unit: Code | None


def items_of(element: Element | None) -> tuple[Elements, ...]:
    """The items of a sequence; none where it is none."""
    return () if element is None or element.items is None else element.items


def code_of(values: Values, element: Element | None) -> Code | None:
    """The first code of a sequence of codes: code value, long code value or URN."""
    for item in items_of(element):
        own = values.of_item(item)
        value = next(
            (found for tag in (0x00080100, 0x00080119, 0x00080120) if (found := own.first(item.get(tag)))),
            None,
        )
        meaning, scheme = own.first(item.get(0x00080104)), own.first(item.get(0x00080102))
        if value or meaning:
            return Code(value or "", meaning or "", scheme or "")
        break
    return None


def references(values: Values, elements: Elements) -> list[Reference]:
    """The instances that a document names as its evidence (0040,A375)."""
    found: dict[str, Reference] = {}
    for study in items_of(elements.get(_EVIDENCE)):
        study_uid = values.first(study.get(_STUDY_UID))
        for series in items_of(study.get(_SERIES)):
            series_uid = values.first(series.get(_SERIES_UID))
            for one in items_of(series.get(_INSTANCES)):
                uid = values.first(one.get(_SOP_UID))
                if uid and len(found) < _MOST:
                    found.setdefault(uid, Reference(study_uid, series_uid, uid))
    return list(found.values())


def doses(values: Values, elements: Elements) -> Iterator[Dose]:
    """The totals of a radiation dose report, and the dose of each CT acquisition."""
    for number, item in enumerate(items_of(elements.get(_CONTENT))):
        name = _concept(values, item)
        if name in ACCUMULATED:
            yield from _measured(values, item, _scope(values, elements, item))
        elif name == ACQUISITION:
            event = _uid(values, item, EVENT_UID) or str(number)
            for part in items_of(item.get(_CONTENT)):
                if _concept(values, part) == CT_DOSE:
                    yield from _measured(values, part, event)


def _scope(values: Values, elements: Elements, container: Elements) -> str | None:
    """What the totals are of, besides the study: the UID of a step or a series, the plane of the equipment."""
    parts = []
    for item in items_of(elements.get(_CONTENT)):
        if _concept(values, item) == SCOPE:
            scope = code_of(values, item.get(_VALUE_CODE))
            if scope is not None and scope.value != SCOPE_STUDY:
                uids = [values.first(one.get(_UID)) for one in items_of(item.get(_CONTENT))]
                parts += [uid for uid in uids if uid]
    for item in items_of(container.get(_CONTENT)):
        if _concept(values, item) == PLANE:
            plane = code_of(values, item.get(_VALUE_CODE))
            parts += [plane.value] if plane is not None else []
    return " ".join(parts) or None


def _concept(values: Values, item: Elements) -> str:
    code = code_of(values, item.get(_CONCEPT))
    return code.value if code is not None else ""


def _uid(values: Values, container: Elements, concept: str) -> str | None:
    for item in items_of(container.get(_CONTENT)):
        if _concept(values, item) == concept:
            return values.first(item.get(_UID))
    return None


def _measured(values: Values, container: Elements, sub_id: str | None) -> Iterator[Dose]:
    for item in items_of(container.get(_CONTENT)):
        concept = code_of(values, item.get(_CONCEPT))
        for measured in items_of(item.get(_MEASURED))[:1]:
            text = values.first(measured.get(_NUMBER))
            if text is not None and concept is not None:
                yield Dose(concept, sub_id, text, code_of(values, measured.get(_UNITS)))
