"""What is known of a sender before its first message (the settings of one connection)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from schemas.lab.profiles import Bends
from schemas.lab.result_file import ResultFile

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A connection that messages arrive by; the institution that speaks is MSH-4 within it.

    Attributes:
        name: the value of the ``source`` header on every record; letters, digits, ``-``, ``_``, ``.``.
        institution: code of the institution that runs the connection; empty where unknown.
        charset: the charset of messages whose MSH-18 is blank or wrong (a Python codec name).
        time_zone: IANA zone of time stamps that carry no offset.
        processing_ids: accepted values of MSH-11.1 (HL7 table 0103); others are ``ignored``.
        size_limit: the largest message in bytes; larger ones are refused with AR.
        idle_timeout: seconds without a byte after which the connection is closed.
        patient_authorities: assigning authorities in the order in which PID-3 is searched for the record key.
        owned_authorities: assigning authorities whose identifiers only this source (and others that name them) may
            merge, move, rename and link; an authority that no source names is open to all. Holds for what is taken in
            from then on: what was judged before stays so.
        order_id_scope: within what an order number names one order; "year": numbers come round again each year.
        visit_number_scope: within what a visit number names one visit; "day": it is given anew each day,
            "patient": it counts the visits of a patient.
        patient_id_role: what Patient ID (0010,0020) of its images holds: the patient's number, or an examination's.
        instrument_profile: how an instrument fills its records (``schemas.lab.profiles``); empty: as LIS2-A2 has it.
        profile_places: what it says otherwise than that profile.
        result_file: how its result files are read; None where it drops none.
        orders_at_word: whether an order is cancelled, held or discontinued as soon as this source asks for it.
    """

    name: str
    institution: str = ""
    charset: str = "utf-8"
    time_zone: str = "Asia/Shanghai"
    processing_ids: tuple[str, ...] = ("P", "")
    size_limit: int = 32 * MEBIBYTE
    idle_timeout: float = 300.0
    patient_authorities: tuple[str, ...] = ()
    owned_authorities: tuple[str, ...] = ()
    order_id_scope: Literal["ever", "year", "month", "day"] = "ever"
    visit_number_scope: Literal["ever", "day", "patient"] = "ever"
    orders_at_word: bool = False
    patient_id_role: Literal["patient", "examination"] = "patient"
    instrument_profile: str = ""
    profile_places: Bends = ()
    result_file: ResultFile | None = None


@dataclass(frozen=True)
class Sources:
    """All configured sources; a name that is not configured gets the defaults."""

    by_name: Mapping[str, Source]

    @classmethod
    def of(cls, *sources: Source) -> Sources:
        return cls({source.name: source for source in sources})

    def get(self, name: str) -> Source:
        return self.by_name.get(name) or Source(name=name)

    def __reduce__(self) -> tuple[object, ...]:
        return (Sources, (dict(self.by_name),))


NO_SOURCES = Sources(MappingProxyType({}))
