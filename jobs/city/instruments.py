"""The city's laboratory instruments: six analysers, what they send (ASTM, LIS2-A2 records), and what must become of it.

Among it are results with and without a patient's id, runs repeated because a first value was doubted, messages sent
twice, barcodes that come round again on another day, quality controls, comments and queries. Specimens that a
laboratory system reports on as well are measured on the same day, so that its results release the instruments'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from random import Random

from connectors.astm.client import AstmClient
from connectors.astm.messages import asks
from jobs.city.draft import CITY_OFFSET
from jobs.city.results import ANALYTES, Analyte
from jobs.city.traffic import BASE
from jobs.city.truth import Expected, Row, Truth, Value
from schemas.lab.astm import INSTRUMENT
from schemas.tables.normalised import (
    DIAGNOSTIC_REPORT,
    MESSAGE_HEADER,
    OBSERVATION,
    PATIENT,
    SEGMENT,
    SERVICE_REQUEST,
    SPECIMEN,
)
from schemas.tables.qc_result import QC_RESULT

PORTS = (4001, 4002, 4003, 4004, 4005, 4006)
"""Where they find the listener, each at a port of its own, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """An analyser.

    Attributes:
        name: of its source.
        institution: whose laboratory it stands in.
        model: what it calls itself (H-5).
        charset: of its records.
        analytes: what it measures, by the laboratory's own codes.
        control: the material that it is checked with (O-12 = Q).
        delimiters: field, repeat, component and escape.
        profile: how its vendor bends the standard.
    """

    name: str
    institution: str
    model: str
    analytes: tuple[str, ...]
    control: str = "QC-L1"
    charset: str = "utf-8"
    delimiters: str = "|\\^&"
    profile: str = ""

    @property
    def measures(self) -> tuple[Analyte, ...]:
        """What it measures."""
        return tuple(one for one in ANALYTES if one.local in self.analytes)


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        "an-chem-1", "CITY01", "ChemDemo 5800", ("GLU", "CREA", "UREA", "UA", "ALT"), profile="chemistry"
    ),
    Instrument("an-blood-1", "CITY01", "HemaDemo XN", ("WBC", "RBC", "HGB", "PLT"), profile="haematology"),
    Instrument(
        "an-chem-2", "CITY02", "ChemDemo 5800", ("GLU", "TP", "ALB"), charset="gb18030", profile="chemistry"
    ),
    Instrument("an-ions-1", "COUN01", "IonDemo 300", ("NA", "K", "CL"), delimiters="!~$?"),
    Instrument("an-blood-2", "COUN02", "HemaDemo XN", ("WBC", "RBC", "PLT", "NEUT"), profile="haematology"),
    Instrument("an-chem-3", "TOWN01", "ChemDemo mini", ("GLU", "CREA", "UREA"), charset="gb18030"),
)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A tube, by its barcode and the day it came on: barcodes come round again.

    Attributes:
        barcode: O-3.
        day: when.
        patient: P-3; empty where the instrument knows none.
    """

    barcode: str
    day: date
    patient: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A message of results.

    Attributes:
        number: of the message, which makes its id (H-3).
        specimen: of which; of a control the material.
        at: when it was measured, local.
        values: local code and value.
        status: R-9.
        control: whether it is a control.
        comment: on the last result; empty where there is none.
    """

    number: int
    specimen: Specimen
    at: datetime
    values: tuple[tuple[str, float], ...]
    status: str = "F"
    control: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way.

    Attributes:
        instrument: whose.
        payload: records, each ended by CR.
        expected: what must become of it.
        rows: the rows it must become where it is read.
        said: what it says; None of a query.
    """

    instrument: Instrument
    payload: bytes
    expected: Expected
    rows: dict[str, list[Row]]
    said: Measured | None


def _day(row: Row) -> date:
    """The local day of an observation."""
    return (datetime.fromisoformat(str(row["effective_time"])).replace(tzinfo=None) + CITY_OFFSET).date()


Reported = tuple[Specimen, tuple[str, ...]]
"""A specimen that a laboratory system reports on, and the local codes that it released."""


def reported(truth: Truth) -> dict[str, list[Reported]]:
    """What laboratory systems release of specimens, by institution."""
    found: dict[str, dict[Specimen, set[str]]] = {}
    for row in truth.tables.get(OBSERVATION.name, []):
        local, barcode = row.get("observation_alt_code"), row.get("specimen_id")
        if barcode and local and row["status"] in ("F", "C"):
            tube = Specimen(str(barcode), _day(row))
            found.setdefault(str(row["institution"]), {}).setdefault(tube, set()).add(str(local))
    return {
        institution: [(tube, tuple(sorted(codes))) for tube, codes in tubes.items()]
        for institution, tubes in found.items()
    }


@dataclass
class Laboratory:
    """Makes up what the instruments send.

    Attributes:
        seed: the same gives the same.
        known: specimens that laboratory systems report on, by institution (``reported``).
        truth: what must come of it; grows with what is sent.
    """

    seed: int
    known: dict[str, list[Reported]] = field(default_factory=dict)
    truth: Truth = field(default_factory=Truth)

    def messages(self, count: int, base: datetime = BASE) -> Iterator[Sent]:
        """So many messages of each instrument, in their order."""
        for instrument in INSTRUMENTS:
            rng = Random(f"{self.seed} {instrument.name}")  # noqa: S311 - repeatable on purpose
            for sent in self._of(instrument, rng, count, base):
                self.truth.add(sent.expected, sent.rows)
                yield sent

    def released(self) -> set[tuple[str, str, str, str]]:
        """Institution, barcode, day and local code of what instruments measured and a laboratory system released."""
        there = {
            (institution, tube.barcode, tube.day.isoformat(), code)
            for institution, tubes in self.known.items()
            for tube, codes in tubes
            for code in codes
        }
        return self.measured() & there

    def measured(self) -> set[tuple[str, str, str, str]]:
        """Institution, barcode, day and local code of what instruments measured.

        Which instrument it was does not tell results apart: one may measure again what another of its laboratory did.
        """
        of_source = {one.name: one.institution for one in INSTRUMENTS}
        return {
            (
                of_source[str(row["source"])],
                str(row["specimen_id"]),
                _day(row).isoformat(),
                str(row["observation_code"]),
            )
            for row in self.truth.tables.get(OBSERVATION.name, [])
        }

    def _of(self, instrument: Instrument, rng: Random, count: int, base: datetime) -> Iterator[Sent]:
        before: list[Measured] = []
        at = base
        sent: Sent | None = None
        for number, kind in zip(range(1, count + 1), _kinds(), strict=False):
            at += timedelta(minutes=rng.randrange(1, 9))
            if kind == "resent" and sent is not None:
                yield replace(sent, expected=replace(sent.expected, disposition="duplicate"))
                continue
            sent = self._sent(instrument, rng, kind, number, at, before)
            yield sent
            if sent.said is not None and not sent.said.control:
                before.append(sent.said)

    def _sent(
        self,
        instrument: Instrument,
        rng: Random,
        kind: str,
        number: int,
        at: datetime,
        before: Sequence[Measured],
    ) -> Sent:
        control_id = f"{instrument.name}-{number:05d}"
        expected = Expected(instrument.name, control_id, "accepted")
        if kind == "query":
            payload = query(instrument, number, f"S{number:06d}", at)
            return Sent(instrument, payload, expected, asked(instrument, number, at, payload), None)
        said = self._said(instrument, rng, kind, number, at, before)
        return Sent(instrument, results(instrument, said), expected, rows_of(instrument, said), said)

    def _said(
        self,
        instrument: Instrument,
        rng: Random,
        kind: str,
        number: int,
        at: datetime,
        before: Sequence[Measured],
    ) -> Measured:
        known = self.known.get(instrument.institution, [])
        match kind:
            case "control":
                material = Specimen(instrument.control, at.date())
                return Measured(number, material, at, _values(rng, instrument.measures), control=True)
            case "rerun" if before:
                first = rng.choice(before)
                again = tuple((code, round(value * 1.1, 1)) for code, value in first.values)
                return replace(
                    first, number=number, at=first.at + timedelta(minutes=30), values=again, comment="复检"
                )
            case "again" if before:  # the same barcode, days later, another patient's
                first = rng.choice(before)
                day = first.specimen.day + timedelta(days=7)
                tube = Specimen(first.specimen.barcode, day, f"P{number:05d}")
                return Measured(number, tube, first.at + timedelta(days=7), _values(rng, instrument.measures))
            case "known" if known:
                tube, codes = rng.choice(known)
                own = [one for one in ANALYTES if one.local in codes]
                return Measured(number, tube, datetime.combine(tube.day, at.time()), _values(rng, own))
        patient = f"P{number:05d}" if rng.random() < 0.5 else ""
        tube = Specimen(f"{instrument.institution}S{number:05d}", at.date(), patient)
        return Measured(number, tube, at, _values(rng, instrument.measures), rng.choice("FFFP"))


def _kinds() -> Iterator[str]:
    while True:
        yield from (
            "plain",
            "known",
            "control",
            "rerun",
            "plain",
            "query",
            "again",
            "resent",
            "known",
            "plain",
        )


def _values(rng: Random, analytes: Sequence[Analyte]) -> tuple[tuple[str, float], ...]:
    return tuple((one.local, round(rng.uniform(one.least, one.most), 1)) for one in analytes)


# What they write ----------------------------------------------------------------------------------------------------


def results(instrument: Instrument, said: Measured) -> bytes:
    """A message of results: H, P, O, one R for each value, C where there is a comment, L."""
    component = instrument.delimiters[2]
    barcode, number = _places(instrument, said)
    collected = "" if said.control else f"{said.specimen.day:%Y%m%d}070000"
    order = _record(
        instrument, "O", "1", barcode, number, f"{component * 3}ALL", "R", "", collected, "", "", "",
        "Q" if said.control else "", "", "", "", "SER",
    )  # fmt: skip
    lines = [
        _header(instrument, said.number, said.at),
        _record(instrument, "P", "1", said.specimen.patient),
        order,
    ]
    for place, (code, value) in enumerate(said.values, 1):
        analyte = next(one for one in ANALYTES if one.local == code)
        lines.append(
            _record(
                instrument, "R", str(place), _test(instrument, code), f"{value}", _unit(analyte), _range(analyte, said),
                _flag(analyte, value, said), "", said.status, "", "OP1", "", f"{said.at:%Y%m%d%H%M%S}",
                instrument.model,
            )
        )  # fmt: skip
    if said.comment:
        lines.append(_record(instrument, "C", "1", "I", said.comment, "G"))
    return _message(instrument, [*lines, _record(instrument, "L", "1", "N")])


def query(instrument: Instrument, number: int, barcode: str, at: datetime) -> bytes:
    """A message that asks what is to be measured of a specimen."""
    question = _question(instrument, barcode)
    return _message(
        instrument, [_header(instrument, number, at), question, _record(instrument, "L", "1", "N")]
    )


def _question(instrument: Instrument, barcode: str) -> str:
    component = instrument.delimiters[2]
    return _record(instrument, "Q", "1", f"{component}{barcode}", "", "ALL", "", "", "", "", "", "", "", "O")


def _places(instrument: Instrument, said: Measured) -> tuple[str, str]:
    """O-3 and O-4."""
    component = instrument.delimiters[2]
    match instrument.profile:
        case "chemistry":
            return said.specimen.barcode, component.join((f"{said.number}", "0012", "3"))
        case "haematology":
            return "", component.join(("6", "1", said.specimen.barcode.rjust(16), "B"))
        case _:
            return said.specimen.barcode, ""


def _test(instrument: Instrument, code: str) -> str:
    """R-3."""
    component = instrument.delimiters[2]
    match instrument.profile:
        case "chemistry":
            return f"{component * 3}{code}{component}1"
        case "haematology":
            return f"{component * 4}{code}{component}26"
        case _:
            return f"{component * 3}{code}"


def _header(instrument: Instrument, number: int, at: datetime) -> str:
    """H, whose second field is the delimiters."""
    field = instrument.delimiters[0]
    rest = _record(
        instrument, _control_id(instrument, number), "", instrument.model, "", "", "", "", "", "", "P", "LIS2-A2",
        f"{at:%Y%m%d%H%M%S}",
    )  # fmt: skip
    return f"H{instrument.delimiters}{field}{rest}"


def _control_id(instrument: Instrument, number: int) -> str:
    return f"{instrument.name}-{number:05d}"


def _record(instrument: Instrument, *fields: str) -> str:
    return instrument.delimiters[0].join(fields).rstrip(instrument.delimiters[0])


def _message(instrument: Instrument, records: Sequence[str]) -> bytes:
    return "".join(f"{record}\r" for record in records).encode(instrument.charset)


def _unit(analyte: Analyte) -> str:
    return analyte.unit.partition("^")[0]


def _range(analyte: Analyte, said: Measured) -> str:
    return "" if said.control else f"{analyte.low:g} to {analyte.high:g}"


def _flag(analyte: Analyte, value: float, said: Measured) -> str:
    return "" if said.control else analyte.flag(value, "N")


# What must come out -------------------------------------------------------------------------------------------------


def rows_of(instrument: Instrument, said: Measured) -> dict[str, list[Row]]:
    """The rows that a message of results must become, by table."""
    rows = _Rows(instrument, said.number, "QC" if said.control else "R", said.at)
    rows.header()
    taken = _utc(datetime.combine(said.specimen.day, datetime.min.time()).replace(hour=7))
    about: dict[str, Value | list[str]] = {}
    if said.specimen.patient:
        authority = f"{instrument.name}/{instrument.institution}"
        about = {"patient_id": said.specimen.patient, "patient_authority": authority}
        rows.add(PATIENT.name, 1, **about, identifiers=[f"{said.specimen.patient}|{authority}|"])
    order: dict[str, Value | list[str]] = {**about, "specimen_id": said.specimen.barcode, "order_index": 0}
    number = {"chemistry": f"{said.number}", "haematology": "6"}.get(instrument.profile)
    if not said.control:
        rows.add(
            SERVICE_REQUEST.name,
            2,
            **order,
            set_id="1",
            service_code="ALL",
            service_system="L",
            specimen_type="SER",
            priority="R",
            stated_in="O",
        )
        rows.add(
            SPECIMEN.name,
            2,
            **order,
            set_id="1",
            collected_time=taken,
            type_code="SER",
            filler_specimen_id=number,
        )
        rows.add(
            DIAGNOSTIC_REPORT.name, 2, **order, set_id="1", service_code="ALL", service_system="L",
            specimen_type="SER", status=INSTRUMENT, effective_time=taken,
        )  # fmt: skip
    else:
        rows.keep(1, results(instrument, said))
        rows.keep(2, results(instrument, said))
    for place, (code, value) in enumerate(said.values):
        analyte = next(one for one in ANALYTES if one.local == code)
        flag = _flag(analyte, value, said)
        columns: dict[str, Value | list[str]] = {
            "set_id": str(place + 1), "observation_code": code, "observation_system": "L", "value_type": "NM",
            "value_text": f"{value}", "value_number": value, "unit_code": _unit(analyte),
            "reference_range": _range(analyte, said) or None, "interpretation": [flag] if flag else None,
        }  # fmt: skip
        if said.control:
            rows.add(QC_RESULT.name, 3 + place, **columns, specimen_id=said.specimen.barcode,
                     control_material=said.specimen.barcode, instrument=instrument.model)  # fmt: skip
            continue
        rows.add(
            OBSERVATION.name, 3 + place, **order, **columns, line=0, service_code="ALL", service_system="L",
            specimen_type="SER", status=INSTRUMENT, effective_time=taken,
            notes=[said.comment] if said.comment and place == len(said.values) - 1 else [],
        )  # fmt: skip
    return rows.tables


def asked(instrument: Instrument, number: int, at: datetime, payload: bytes) -> dict[str, list[Row]]:
    """The rows that a query must become: it is kept as it is."""
    rows = _Rows(instrument, number, "Q", at)
    rows.header()
    rows.keep(1, payload)
    return rows.tables


@dataclass
class _Rows:
    """Rows of one message."""

    instrument: Instrument
    number: int
    kind: str
    at: datetime
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, table: str, at: int, **columns: Value | list[str]) -> None:
        made: Row = {
            "source": self.instrument.name,
            "control_id": _control_id(self.instrument, self.number),
            "segment_index": at,
            "institution": self.instrument.institution,
            "message_type": f"ASTM^{self.kind}",
            "event_time": _utc(self.at),
            "event_time_precision": "second",
            "event_date": self.at.date().isoformat(),
            "version_time": _utc(self.at),
            "codes": [],
        }
        self.tables.setdefault(table, []).append(made | columns)

    def keep(self, at: int, payload: bytes) -> None:
        """A record as it was sent."""
        record = payload.decode(self.instrument.charset).split("\r")[at]
        self.add(SEGMENT.name, at, name=record[0], text=record)

    def header(self) -> None:
        self.add(
            MESSAGE_HEADER.name, 0, sending_application=self.instrument.model, version="LIS2-A2", processing_id="P",
            sent_time_text=f"{self.at:%Y%m%d%H%M%S}", charset_used=self.instrument.charset,
        )  # fmt: skip


def _utc(local: datetime) -> str:
    return f"{local - CITY_OFFSET:%Y-%m-%dT%H:%M:%SZ}"


# On their way -------------------------------------------------------------------------------------------------------


def instrument_settings(ports: Sequence[int]) -> str:
    """TOML with one ``[[sources]]`` for each instrument.

    Args:
        ports: of the listener, one for each.
    """
    return "\n".join(
        f'[[sources]]\nname = "{one.name}"\nprotocol = "astm"\ninstitution = "{one.institution}"\nport = {port}\n'
        f'charset = "{one.charset}"\n' + (f'instrument_profile = "{one.profile}"\n' if one.profile else "")
        for one, port in zip(INSTRUMENTS, ports, strict=True)
    )


async def send_over_astm(messages: Iterable[Sent], host: str, ports: Sequence[int]) -> tuple[int, int]:
    """Send each message over its instrument's line, one session each; a query waits for its answer.

    Args:
        messages: in the order they are sent.
        host: of the listener.
        ports: of the listener, one for each instrument.

    Returns:
        How many were acknowledged, and how many queries were answered.

    Raises:
        TransportError: the listener does not answer.
    """
    of_line: dict[str, list[bytes]] = {}
    for sent in messages:
        of_line.setdefault(sent.instrument.name, []).append(sent.payload)

    async def line(payloads: Sequence[bytes], port: int) -> tuple[int, int]:
        client = AstmClient()
        await client.connect(host, port)
        delivered = answered = 0
        try:
            for payload in payloads:
                delivered += (await client.send([payload])).delivered
                if asks(payload):
                    client.received.clear()
                    answered += len(await client.listen(_ANSWER_SECONDS))
        finally:
            await client.close()
        return delivered, answered

    port_of = {one.name: port for one, port in zip(INSTRUMENTS, ports, strict=True)}
    done = await asyncio.gather(*(line(payloads, port_of[name]) for name, payloads in of_line.items()))
    return sum(one for one, _ in done), sum(two for _, two in done)


_ANSWER_SECONDS = 15.0
"""Patience with the answer to a query."""
