"""One header → the values of its rows: study, series, instance, what it takes away, the dose it states."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from pipelines.dicom.content import Dose, code_of, doses, items_of, references
from pipelines.dicom.elements import Element, Elements
from pipelines.dicom.envelopes import Named, own_date
from pipelines.dicom.json_model import json_of
from pipelines.dicom.part10 import Frame
from pipelines.dicom.times import Instant, date_of, date_time_of, instant_of, is_time
from pipelines.dicom.values import Values, number_of, whole_of
from schemas.dicom.attributes import INSTANCE, SERIES, STUDY, Attribute, Kind, fields_of
from schemas.dicom.kinds import (
    CTDI_VOL,
    DOSE_OF_IMAGES,
    DOSE_REPORT,
    MGY,
    NO_IMAGES,
    REJECTIONS,
    Code,
)
from schemas.source import Source

Row = dict[str, object]

_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_PATIENT_ID, _ISSUER, _ID_TYPE = 0x00100020, 0x00100021, 0x00100022
_QUALIFIERS, _UNIVERSAL_ID, _LOCAL_ID = 0x00100024, 0x00400032, 0x00400031
_OTHER_IDS, _OTHER_IDS_SEQUENCE = 0x00101000, 0x00101002
_ACCESSION, _ACCESSION_ISSUER = 0x00080050, 0x00080051
_REQUESTS, _REFERENCED_REQUESTS = 0x00400275, 0x0040A370
_PLACER, _FILLER = 0x00402016, 0x00402017
_CHARACTER_SET = 0x00080005
_CTDI = 0x00189345

_HELD = frozenset({_STUDY_UID, _SERIES_UID, _PATIENT_ID, _ISSUER, _ID_TYPE, _ACCESSION, _CHARACTER_SET,
                   0x00080016, 0x00080018, 0x00080201})  # fmt: skip
"""Attributes that columns hold by other ways than those of the literals."""


class Header(NamedTuple):
    """A header that was read: what its rows are made of."""

    frame: Frame
    elements: Elements
    values: Values
    named: Named
    source: Source
    institution: str
    zone: tzinfo
    received: datetime


@dataclass
class Stated:
    """What one header states, by table."""

    study: Row | None
    series: Row | None
    instance: Row
    rejections: list[Row] = field(default_factory=list)
    reports: list[Row] = field(default_factory=list)
    observations: list[Row] = field(default_factory=list)
    event: Instant | None = None
    event_day: object = None


@dataclass(frozen=True)
class _Plan:
    """How the attributes of a level are read: name of the first column, kind, path, tag of the time."""

    steps: tuple[tuple[tuple[str, ...], Kind, tuple[int, ...], int | None], ...]

    @classmethod
    def of(cls, attributes: tuple[Attribute, ...]) -> _Plan:
        return cls(
            tuple((tuple(one.name for one in fields_of(a)), a.kind, a.path, a.time_tag) for a in attributes)
        )


_STUDY, _SERIES, _INSTANCE = _Plan.of(STUDY), _Plan.of(SERIES), _Plan.of(INSTANCE)


def state(header: Header) -> Stated:
    """What a header states."""
    held: set[int] = set(_HELD)
    values, elements = header.values, header.elements
    study_uid = values.first(elements.get(_STUDY_UID))
    series_uid = values.first(elements.get(_SERIES_UID))
    subject = _subject(header)
    whose = {name: subject[name] for name in ("patient_id", "patient_authority")}
    uids = {"study_instance_uid": study_uid, "series_instance_uid": series_uid}
    _check_uids(header, study_uid, series_uid)
    series = _read(header, _SERIES, held)
    study = _read(header, _STUDY, held)
    instance = _read(header, _INSTANCE, held)
    event = own_date(values, elements)
    stated = Stated(
        study=None if study_uid is None else {
            "study_instance_uid": study_uid, **study, **subject, **_requests(header, study),
        },
        series=None if series_uid is None else {**uids, **whose, **series},
        instance={**uids, **whose, **instance, **_about(header, instance)},
        event_day=event[0] if event else None,
    )  # fmt: skip
    if event is not None:
        day, time = (values.first(elements.get(tag)) or "" for tag in event[1:])
        stated.event = instant_of(day, time, header.zone)
    _documents(header, stated, {**uids, **whose})
    stated.instance["attributes"] = json_of(values, elements, held)
    return stated


def _check_uids(header: Header, study_uid: str | None, series_uid: str | None) -> None:
    odd = header.values.odd
    if not header.named.own:
        odd.append(("DICOM-UID-FROM-META", 0x00080018))
    if study_uid is None:
        odd.append(("DICOM-STUDY-MISSING", _STUDY_UID))
    elif series_uid is None:
        odd.append(("DICOM-STUDY-MISSING", _SERIES_UID))
    for uid, tag in ((header.named.uid, 0x00080018), (study_uid, _STUDY_UID), (series_uid, _SERIES_UID)):
        if uid is not None and (len(uid) > 64 or not set(uid) <= _OF_UIDS):
            odd.append(("DICOM-UID-INVALID", tag))
    for tag in (_STUDY_UID, _SERIES_UID, 0x00080018):  # the first of several is used
        element = header.elements.get(tag)
        if element is not None and len(header.values.texts(element)) > 1:
            odd.append(("DICOM-UID-INVALID", tag))


_OF_UIDS = frozenset("0123456789.")

# Attributes by the literals ----------------------------------------------------------------------------------------


def _read(header: Header, plan: _Plan, held: set[int]) -> Row:
    """The columns of a level that are not empty; tags whose values they hold whole are added to ``held``."""
    row: Row = {}
    elements = header.elements
    for names, kind, path, time in plan.steps:
        element = elements.get(path[0])
        if element is None:
            continue
        for tag in path[1:]:
            inner = items_of(element)
            element = inner[0].get(tag) if inner else None
            if element is None:
                break
        if element is None or not element.length:
            continue
        whole = _READERS[kind](header, element, names, row, path[-1], time)
        if whole and len(path) == 1:
            held.add(path[0])
            if time is not None:
                held.add(time)
    return row


Reader = Callable[[Header, Element, tuple[str, ...], Row, int, int | None], bool]
"""Puts what an element says into the columns, and tells whether they hold all of it."""


def _text(
    header: Header, element: Element, names: tuple[str, ...], row: Row, _tag: int, _time: int | None
) -> bool:
    found = header.values.texts(element)
    if found:
        row[names[0]] = found[0] or None
    return len(found) == 1


def _texts(
    header: Header, element: Element, names: tuple[str, ...], row: Row, _tag: int, _time: int | None
) -> bool:
    found = header.values.texts(element)
    if found:
        row[names[0]] = found
    return bool(found)


def _whole(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int, _time: int | None
) -> bool:
    return _parsed(header, element, names, row, tag, whole_of)


def _number(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int, _time: int | None
) -> bool:
    return _parsed(header, element, names, row, tag, number_of)


def _parsed(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int,
    read: Callable[[str], float | None],
) -> bool:  # fmt: skip
    found = header.values.texts(element)
    if not found or not found[0]:
        return False
    made = read(found[0])
    if made is None:
        header.values.odd.append(("DICOM-NUMBER-INVALID", tag))
        return False
    row[names[0]] = made
    return len(found) == 1


def _numbers(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int, _time: int | None
) -> bool:
    found = header.values.numbers(element)
    if not found:
        if header.values.first(element):
            header.values.odd.append(("DICOM-NUMBER-INVALID", tag))
        return False
    row[names[0]] = found
    return True


def _day(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int, _time: int | None
) -> bool:
    text = header.values.first(element)
    found = date_of(text) if text else None
    if found is None:
        if text:
            header.values.odd.append(("DICOM-TIME-INVALID", tag))
        return False
    row[names[0]] = found
    return True


def _instant(
    header: Header, element: Element, names: tuple[str, ...], row: Row, tag: int, time: int | None
) -> bool:
    values = header.values
    text = values.first(element)
    if not text:
        return False
    hour = (values.first(header.elements.get(time)) or "") if time is not None else ""
    found = date_time_of(text, header.zone) if time is None else instant_of(text, hour, header.zone)
    if found is None:
        values.odd.append(("DICOM-TIME-INVALID", tag))
        return False
    row[names[0]], row[names[1]], row[names[2]] = found
    if hour and not is_time(hour):
        values.odd.append(("DICOM-TIME-INVALID", time or 0))
        return False
    return True


def _name(
    header: Header, element: Element, names: tuple[str, ...], row: Row, _tag: int, _time: int | None
) -> bool:
    groups = header.values.name(element)
    row.update(zip(names, groups, strict=True))
    return len(header.values.texts(element)) == 1


def _code(
    header: Header, element: Element, names: tuple[str, ...], row: Row, _tag: int, _time: int | None
) -> bool:
    found = code_of(header.values, element)
    if found is not None:
        row[names[0]], row[names[1]], row[names[2]] = (one or None for one in found)
    return False


def _count(
    _header: Header, element: Element, names: tuple[str, ...], row: Row, _tag: int, _time: int | None
) -> bool:
    if element.items is not None:
        row[names[0]] = len(element.items)
    return False


_READERS: Mapping[Kind, Reader] = {
    Kind.TEXT: _text, Kind.TEXTS: _texts, Kind.WHOLE: _whole, Kind.NUMBER: _number, Kind.NUMBERS: _numbers,
    Kind.DAY: _day, Kind.INSTANT: _instant, Kind.NAME: _name, Kind.CODE: _code, Kind.COUNT: _count,
}  # fmt: skip

# What takes more than one attribute --------------------------------------------------------------------------------


def _subject(header: Header) -> Row:
    """Whose study it is: Patient ID with its issuer, and all other numbers of the patient."""
    values, elements = header.values, header.elements
    number = values.first(elements.get(_PATIENT_ID))
    issuer = _issuer(values, elements, header)
    type_ = values.first(elements.get(_ID_TYPE))
    others = [
        (uid, _issuer(values, item, header), values.first(item.get(_ID_TYPE)))
        for item in items_of(elements.get(_OTHER_IDS_SEQUENCE))
        if (uid := values.first(item.get(_PATIENT_ID)))
    ]
    examination = header.source.patient_id_role == "examination"
    known = others if examination or number is None else [(number, issuer, type_), *others]
    plain = elements.get(_OTHER_IDS)
    more = [
        (one, _no_issuer(header), None) for one in (values.texts(plain) if plain is not None else []) if one
    ]
    found = {one[:2]: one for one in reversed([*known, *more])}
    first = known[0] if known else (None, None, None)
    if number is None and not examination:
        values.odd.append(("DICOM-PATIENT-ID-MISSING", _PATIENT_ID))
    return {
        "patient_id": first[0],
        "patient_authority": first[1],
        "patient_id_type": first[2],
        "examination_number": number if examination else None,
        "identifiers": [
            {"value": value, "authority": authority, "type": kind}
            for value, authority, kind in reversed(found.values())
        ]
        or None,
    }


def _issuer(values: Values, elements: Elements, header: Header) -> str:
    """Who assigned a Patient ID: (0010,0021), else its qualifiers' universal id, else what is set for the source."""
    stated = values.first(elements.get(_ISSUER))
    if stated:
        return stated
    for item in items_of(elements.get(_QUALIFIERS)):
        universal = values.first(item.get(_UNIVERSAL_ID))
        if universal:
            return universal
    return _no_issuer(header)


def _no_issuer(header: Header) -> str:
    authorities = header.source.patient_authorities
    return authorities[0] if authorities else f"{header.source.name}/{header.institution}"


def _requests(header: Header, study: Row) -> Row:
    """Accession numbers and order numbers: of the study, of each request (0040,0275), of what a report refers to."""
    values, elements = header.values, header.elements
    items = [*items_of(elements.get(_REQUESTS)), *items_of(elements.get(_REFERENCED_REQUESTS))]
    found: dict[str, str | None] = {}
    for one in (elements, *items):
        number = values.first(one.get(_ACCESSION))
        if number is not None and found.get(number) is None:
            found[number] = _entity(values, one.get(_ACCESSION_ISSUER))
    made: Row = {}
    if found:
        number, authority = next(iter(found.items()))
        made = {
            "accession_number": number,
            "accession_authority": authority,
            "accessions": [{"id": one, "namespace": issuer} for one, issuer in found.items()],
        }
    for name, tag in (("placer_order", _PLACER), ("filler_order", _FILLER)):
        if name not in study:
            made[name] = next((text for item in items if (text := values.first(item.get(tag)))), None)
    if "requested_procedure_id" not in study:
        made["requested_procedure_id"] = next(
            (text for item in items if (text := values.first(item.get(0x00401001)))), None
        )
    return made


def _entity(values: Values, element: Element | None) -> str | None:
    """An issuer (PS3.3 table 10-17): its local name, else its universal id."""
    for item in items_of(element):
        return values.first(item.get(_LOCAL_ID)) or values.first(item.get(_UNIVERSAL_ID))
    return None


def _about(header: Header, instance: Row) -> Row:
    named, charset = header.named, header.values.charset
    rows = instance.get("rows")
    refers = references(header.values, header.elements)
    return {
        "sop_instance_uid": named.uid,
        "status": "current",
        "sop_class_uid": named.sop_class,
        "sop_class": uid_name(named.sop_class) if named.sop_class else None,
        "transfer_syntax_uid": header.frame.transfer_syntax,
        "is_image": isinstance(rows, int) and rows > 0 and named.modality not in NO_IMAGES,
        "referenced_instances": [one.instance for one in refers] or None,
        "charset_declared": charset.declared,
        "charset_used": charset.codec,
        "charset_guessed": charset.guessed,
    }


@functools.lru_cache(maxsize=1000)
def uid_name(uid: str) -> str | None:
    """The name of a UID of the standard (PS3.6 annex A)."""
    from pydicom.config import IGNORE  # noqa: PLC0415 - takes a while, once
    from pydicom.uid import UID  # noqa: PLC0415

    name = UID(uid, IGNORE).name  # else it warns of what is no UID, and shows it
    return None if name == uid else str(name)


# Documents and dose ------------------------------------------------------------------------------------------------


def _documents(header: Header, stated: Stated, whose: Row) -> None:
    values, elements, instance = header.values, header.elements, stated.instance
    title = instance.get("title_code") if instance.get("title_system") == "DCM" else None
    how = REJECTIONS.get(str(title)) if header.named.modality == "KO" else None
    if how is not None:
        stated.rejections = [
            {
                **whose,
                "study_instance_uid": one.study,
                "series_instance_uid": one.series,
                "sop_instance_uid": one.instance,
                "status": how,
                "reason": title,
                "reason_display": instance.get("title_display"),
                "reason_system": "DCM",
                "document_uid": header.named.uid,
                "segment_index": place,
            }
            for place, one in enumerate(references(values, elements))
        ]
        if not stated.rejections:
            values.odd.append(("DICOM-REJECTION-EMPTY", 0x0040A375))
    study = whose["study_instance_uid"]
    if study is None:
        return
    if title == DOSE_REPORT.value:
        final = "P" if instance.get("completion") == "PARTIAL" else "F"
        measured = list(doses(values, elements))
        stated.observations = list(_observed(stated, whose, DOSE_REPORT, measured, final))
        stated.reports = [
            _report(stated, whose, DOSE_REPORT, final, 0),
            *([_report(stated, whose, DOSE_OF_IMAGES, "X", 1)] if measured else []),
        ]
        if not measured:
            values.odd.append(("DICOM-DOSE-EMPTY", 0x0040A730))
        return
    ctdi = values.first(elements.get(_CTDI))
    if header.named.modality == "CT" and ctdi is not None and number_of(ctdi) is not None:
        series = whose["series_instance_uid"]
        dose = Dose(CTDI_VOL, None if series is None else str(series), ctdi, MGY)
        at = stated.event.at if stated.event is not None else datetime(1900, 1, 1, tzinfo=UTC)
        for row in _observed(stated, whose, DOSE_OF_IMAGES, [dose], "F"):
            # of the study's own time: a dose report of whenever is later, and takes it back
            stated.observations.append({**row, "version_time": min(at, header.received)})


def _observed(
    stated: Stated, whose: Row, service: Code, measured: list[Dose], status: str,
) -> Iterator[Row]:  # fmt: skip
    lines: dict[tuple[str, str | None], int] = {}
    for place, dose in enumerate(measured):
        group = (dose.concept.value, dose.sub_id)
        lines[group] = lines.get(group, -1) + 1
        unit = dose.unit or Code("", "", "")
        yield {
            **_order(stated, whose, service),
            "observation_code": dose.concept.value or None,
            "observation_display": dose.concept.meaning or None,
            "observation_system": dose.concept.scheme or None,
            "sub_id": dose.sub_id,
            "line": lines[group],
            "value_type": "NM",
            "value_text": dose.text,
            "value_number": number_of(dose.text),
            "unit_code": unit.value or None,
            "unit_display": unit.meaning or None,
            "unit_system": unit.scheme or None,
            "status": status,
            "report_status": status,
            "specimen_time": stated.event.at if stated.event else None,
            "specimen_time_precision": stated.event.precision if stated.event else None,
            "specimen_time_offset": stated.event.offset if stated.event else None,
            "instance_id": None,
            "segment_index": place,
        }


def _report(stated: Stated, whose: Row, service: Code, status: str, place: int) -> Row:
    return {**_order(stated, whose, service), "status": status, "segment_index": place}


def _order(stated: Stated, whose: Row, service: Code) -> Row:
    """Dose belongs to the study, which is an order of the source's own."""
    event = stated.event
    return {
        "patient_id": whose["patient_id"],
        "patient_authority": whose["patient_authority"],
        "filler_order": whose["study_instance_uid"],
        "order_index": 0,
        "service_code": service.value,
        "service_display": service.meaning,
        "service_system": service.scheme,
        "effective_time": event.at if event else None,
        "effective_time_precision": event.precision if event else None,
        "effective_time_offset": event.offset if event else None,
    }
