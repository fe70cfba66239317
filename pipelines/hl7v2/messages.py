"""What is known of each message of a batch from its MSH and EVN: who speaks, when, and what kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, taken
from pipelines.hl7v2.decode import I64
from pipelines.hl7v2.findings import Noted
from pipelines.hl7v2.split import Split
from pipelines.hl7v2.times import NO_OFFSET, Clock, LocalTimes, read_times
from schemas.hl7v2.charsets import codec_of
from schemas.hl7v2.families import FAMILIES, family_of
from schemas.hl7v2.places import Place
from schemas.source import Source

NO_FAMILY = -1
_FIRST_YEAR_DAY = (np.datetime64("1900-01-01") - np.datetime64("1970-01-01")).astype(int)
_LAST_YEAR_DAY = (np.datetime64("2199-12-31") - np.datetime64("1970-01-01")).astype(int)


@dataclass(frozen=True)
class Messages:
    """Columns with one entry per readable message.

    Attributes:
        institution: MSH-4.1 (else MSH-4.2); what the source says, else its name.
        authority: of identifiers without one: ``source/MSH-4``.
        message_type: ``CODE^TRIGGER``.
        family: index into ``FAMILIES``; ``NO_FAMILY`` where only ``segment`` takes the message.
        time: MSH-7.
        received: microseconds since 1970 UTC.
        noted: findings.
        columns: the batch's columns, with the clock set.
    """

    institution: pa.Array
    authority: pa.Array
    message_type: pa.Array
    family: I64
    time: LocalTimes
    received: I64
    noted: Noted
    columns: Columns


def read_messages(split: Split, sources: Sequence[Source], received: I64) -> Messages:
    """Read MSH and EVN.

    Args:
        split: the batch; every message begins with its MSH.
        sources: the source of each message.
        received: when each was received, microseconds since 1970 UTC.
    """
    count = len(sources)
    names = sorted({source.time_zone for source in sources})
    zone = np.array([names.index(source.time_zone) for source in sources], np.int64)
    clock = Clock(np.full(count, NO_OFFSET), zone, names)
    columns = Columns(split, clock)
    msh = columns.rows("MSH")
    # a second MSH line inside a message is a segment like any other
    first = np.searchsorted(msh.segments, split.first_of_message)
    sent = msh.place(7, 1)
    zoned = read_times(split.data, sent, msh.message, None)
    clock.offset[:] = zoned.offset[first]
    whole = read_times(split.data, sent, msh.message, clock)
    noted = Noted()
    time = _within_years(whole, first, noted)

    def text(field: int, component: int = 0) -> pa.Array:
        return columns.text(Place("MSH", field, component), "MSH").take(pa.array(first))

    facility = pc.coalesce(text(4, 1), text(4, 2))
    source_names = pa.array([source.name for source in sources], pa.string())
    fallback = pa.array([source.institution or source.name for source in sources], pa.string())
    noted.note("HL7-CONTROL-ID-MISSING", pc.is_null(text(10)).to_numpy(zero_copy_only=False))
    codes, triggers = text(9, 1), text(9, 2)
    noted.note("HL7-TYPE-MISSING", pc.is_null(codes).to_numpy(zero_copy_only=False))
    _note_charset(text(18), noted)
    _note_decoding(split, noted)
    return Messages(
        institution=pc.coalesce(facility, fallback),
        authority=pc.binary_join_element_wise(source_names, pc.fill_null(facility, ""), "/"),
        message_type=_types(codes, triggers),
        family=_families(codes, triggers, _events(columns, count)),
        time=time,
        received=received,
        noted=noted,
        columns=columns,
    )


def _within_years(whole: LocalTimes, first: I64, noted: Noted) -> LocalTimes:
    day, valid = whole.day[first], whole.valid[first]
    inside = (day >= _FIRST_YEAR_DAY) & (day <= _LAST_YEAR_DAY)
    refused = whole.refused[first]
    noted.note("HL7-DTM-INVALID", refused)
    noted.note("HL7-EVENT-TIME-RANGE", valid & ~inside)
    noted.note("HL7-EVENT-TIME-MISSING", ~valid & ~refused)
    return LocalTimes(
        whole.instant[first], valid & inside, whole.precision[first], refused, day, whole.offset[first]
    )


def _types(codes: pa.Array, triggers: pa.Array) -> pa.Array:
    both = pc.binary_join_element_wise(pc.utf8_trim_whitespace(codes), pc.utf8_trim_whitespace(triggers), "^")
    return pc.coalesce(both, codes)


def _events(columns: Columns, count: int) -> pa.Array:
    """EVN-1 of each message's first EVN, which stood for the trigger before v2.3."""
    evn = columns.rows("EVN")
    link = np.full(count, -1)
    link[evn.message[::-1]] = np.arange(len(evn))[::-1]
    return taken(columns.text(Place("EVN", 1, 1), "EVN"), link)


def _families(codes: pa.Array, triggers: pa.Array, events: pa.Array) -> I64:
    keys = pc.binary_join_element_wise(
        pc.fill_null(codes, ""), pc.fill_null(triggers, ""), pc.fill_null(events, ""), "\x1f"
    ).dictionary_encode()
    found = []
    for key in keys.dictionary.to_pylist():
        family = family_of(*key.split("\x1f", 2))
        found.append(FAMILIES.index(family) if family is not None else NO_FAMILY)
    return np.array(found, np.int64)[keys.indices.to_numpy()] if found else np.zeros(0, np.int64)


def _note_charset(declared: pa.Array, noted: Noted) -> None:
    names = declared.dictionary_encode()
    unknown = np.array([codec_of(name.encode()) is None for name in names.dictionary.to_pylist()], bool)
    index = names.indices
    there = pc.is_valid(index).to_numpy(zero_copy_only=False)
    if len(unknown):
        noted.note("HL7-CHARSET-UNKNOWN", there & unknown[pc.fill_null(index, 0).to_numpy()])


def _note_decoding(split: Split, noted: Noted) -> None:
    for message, code in split.decoded.codes:
        noted.note(code, np.array([message]))
