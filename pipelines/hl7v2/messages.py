"""What is known of each message of a batch from its MSH and EVN: who speaks, when, and what kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, Wanted
from pipelines.hl7v2.decode import I64
from pipelines.hl7v2.findings import Findings
from pipelines.hl7v2.gather import texts
from pipelines.hl7v2.relations import relate
from pipelines.hl7v2.split import Split
from pipelines.hl7v2.times import NO_OFFSET, Clock, Times, read_times
from schemas.hl7v2.mapping import Place
from schemas.hl7v2.mappings import FAMILIES, family_of
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
        findings: of the whole batch.
        columns: the batch's columns, with the clock set.
    """

    institution: pa.Array
    authority: pa.Array
    message_type: pa.Array
    family: I64
    time: Times
    received: I64
    findings: Findings
    columns: Columns

    def __len__(self) -> int:
        return len(self.received)

    @cached_property
    def sent_sequence(self) -> pa.Array:
        """MSH-13 of each message, where it is a whole number above 0 (HL7 v2.5.1 §2.15.9.13)."""
        columns = self.columns
        first = np.searchsorted(columns.rows("MSH").segments, columns.split.first_of_message)
        sent = columns.number(Place("MSH", 13, 1), "MSH").take(first)
        whole = sent.valid & (sent.value == np.floor(sent.value)) & (sent.value > 0) & (sent.value < 2**53)
        return pa.array(np.where(whole, sent.value, 0).astype(np.int64), mask=~whole)


def read_messages(
    split: Split, sources: Sequence[Source], received: I64, wanted: Wanted, wanted_texts: Wanted
) -> Messages:
    """Read MSH and EVN.

    Args:
        split: the batch; every message begins with its MSH.
        sources: the source of each message.
        received: when each was received, microseconds since 1970 UTC.
        wanted: parts of fields that will be asked for.
        wanted_texts: those of them that will be asked for as texts of every segment.
    """
    count = len(sources)
    distinct = {id(source): source for source in sources}
    names = sorted({source.time_zone for source in distinct.values()})
    number = {key: names.index(source.time_zone) for key, source in distinct.items()}
    zone = np.fromiter((number[id(source)] for source in sources), np.int64, count)
    clock = Clock(np.full(count, NO_OFFSET, np.int64), zone, names)
    columns = Columns(split, relate(split), clock, wanted, wanted_texts)
    findings = Findings()
    msh = columns.rows("MSH")
    # a second MSH line inside a message is a segment like any other
    first = np.searchsorted(msh.segments, split.first_of_message)
    sent = msh.place(7, 1)
    clock.offset[:] = read_times(split.data, sent, msh.message, None).sent[first]
    time = _within_years(read_times(split.data, sent, msh.message, clock).take(first), split, findings)

    def text(field: int, component: int = 0) -> pa.Array:
        return texts(split, msh.place(field, component), msh.segments, first)

    facility = pc.coalesce(text(4, 1), text(4, 2))
    fallbacks = pa.array([source.institution or source.name for source in sources], pa.string())
    codes, triggers = text(9, 1), text(9, 2)
    for code, values, field in (("HL7-CONTROL-ID-MISSING", text(10), 10), ("HL7-TYPE-MISSING", codes, 9)):
        missing = pc.is_null(values).to_numpy(zero_copy_only=False)
        findings.note(code, split.first_of_message[missing], field)
    for found in split.decoded.found:
        findings.note(found.code, split.first_of_message[found.messages], found.field or 0)
    return Messages(
        institution=pc.coalesce(facility, fallbacks),
        authority=pc.binary_join_element_wise(
            pa.array([source.name for source in sources], pa.string()), pc.fill_null(facility, ""), "/"
        ),
        message_type=_types(codes, triggers),
        family=_families(codes, triggers, _events(columns)),
        time=time,
        received=received,
        findings=findings,
        columns=columns,
    )


def _within_years(time: Times, split: Split, findings: Findings) -> Times:
    inside = (time.day >= _FIRST_YEAR_DAY) & (time.day <= _LAST_YEAR_DAY)
    first = split.first_of_message
    findings.note("HL7-DTM-INVALID", first[time.refused], 7, 1)
    findings.note("HL7-EVENT-TIME-RANGE", first[time.valid & ~inside], 7, 1)
    findings.note("HL7-EVENT-TIME-MISSING", first[~time.valid & ~time.refused], 7, 1)
    return Times(
        time.instant, time.valid & inside, time.precision, time.refused, time.day, time.sent, time.offset
    )


def _types(codes: pa.Array, triggers: pa.Array) -> pa.Array:
    both = pc.binary_join_element_wise(pc.utf8_trim_whitespace(codes), pc.utf8_trim_whitespace(triggers), "^")
    return pc.coalesce(both, codes)


def _events(columns: Columns) -> pa.Array:
    """EVN-1 of each message's first EVN, which stood for the trigger before v2.3."""
    evn = columns.rows("EVN")
    link = columns.link("MSH", "EVN")[
        np.searchsorted(columns.rows("MSH").segments, columns.split.first_of_message)
    ]
    return texts(columns.split, evn.place(1, 1), evn.segments, link)


def _families(codes: pa.Array, triggers: pa.Array, events: pa.Array) -> I64:
    keys = pc.binary_join_element_wise(
        pc.fill_null(codes, ""), pc.fill_null(triggers, ""), pc.fill_null(events, ""), "\x1f"
    ).dictionary_encode()
    found = []
    for key in keys.dictionary.to_pylist():
        family = family_of(*key.split("\x1f", 2))
        found.append(FAMILIES.index(family) if family is not None else NO_FAMILY)
    return np.array(found, np.int64)[keys.indices.to_numpy()] if found else np.zeros(0, np.int64)
