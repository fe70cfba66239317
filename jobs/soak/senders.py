"""Hospitals that do not give up: each message is sent until it is answered, as HL7 wants it of a sender."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from connectors.astm.client import AstmClient
from connectors.astm.messages import asks
from connectors.astm.session import STANDARD
from connectors.mllp.client import MllpClient, read_acknowledgement
from jobs.city.compare import landed_dispositions
from jobs.city.instruments import Sent as Measurement
from jobs.city.traffic import Planned
from jobs.city.truth import Expected, Truth
from lake_layout.lake import Lake
from schemas.errors import TransportError

PAUSE = 0.5
"""Seconds before a sender tries again."""

PATIENCE = 20.0
"""Seconds that a sender waits for an answer before it takes the connection for broken."""

_QUICK = replace(STANDARD, busy=PAUSE)
"""An instrument that does not wait long after it was refused."""

_TRIES = 400
_COME_BACK = ("AE", "CE")
"""Answers that say: send it again later."""


@dataclass
class Sent:
    """What senders know.

    Attributes:
        answered: messages that have their answer.
        unexpected: of these, those with another answer than the city wants.
        repeated: messages that had to be sent again, as often as they were: each may have come twice.
    """

    answered: int = 0
    unexpected: int = 0
    repeated: list[Expected] = field(default_factory=list)


async def send_surely(
    messages: Iterable[Planned], host: str, port: int, on_answer: Callable[[int], object] = lambda _: None
) -> Sent:
    """Send messages, those of an institution one after the other, until all are answered.

    Args:
        messages: in the order in which each institution sends them.
        host: of the listener, which may go away and come back.
        port: of the listener.
        on_answer: told how many are answered.

    Raises:
        TransportError: ``SOAK-NO-ANSWER``: a message is not answered, however often it is sent.
    """
    lanes: dict[str, list[Planned]] = {}
    for planned in messages:
        lanes.setdefault(planned.institution.code, []).append(planned)
    sent = Sent()

    def answered(expected: bool) -> None:
        sent.answered += 1
        sent.unexpected += not expected
        on_answer(sent.answered)

    await asyncio.gather(*(_lane(lane, host, port, sent, answered) for lane in lanes.values()))
    return sent


async def _lane(
    messages: Sequence[Planned], host: str, port: int, sent: Sent, answered: Callable[[bool], None]
) -> None:
    client: MllpClient | None = None
    for planned in messages:
        for _ in range(_TRIES):
            try:
                if client is None:
                    fresh = MllpClient(PATIENCE)
                    await fresh.connect(host, port)
                    client = fresh
            except TransportError:  # nothing was sent
                await asyncio.sleep(PAUSE)
                continue
            try:
                code = read_acknowledgement(await client.send(planned.payload)).code
            except TransportError:
                await client.close()
                client = None
                code = ""
            if code and code not in _COME_BACK:
                answered(code == planned.answer)
                break
            sent.repeated.append(planned.expected)
            await asyncio.sleep(PAUSE)
        else:
            raise TransportError("SOAK-NO-ANSWER", "a message is not answered, however often it is sent")
    if client is not None:
        await client.close()


async def measure_surely(
    messages: Iterable[Measurement], host: str, ports: Mapping[str, int], on_taken: Callable[[int], object]
) -> list[Expected]:
    """Send what instruments say, each on its line, until the last frame of every message is acknowledged.

    Args:
        messages: in the order in which each instrument sends them.
        host: of the listener, which may go away and come back.
        ports: of the listener, by instrument.
        on_taken: told how many are acknowledged.

    Returns:
        Messages that had to be sent again, as often as they were.

    Raises:
        TransportError: ``SOAK-NO-ANSWER``.
    """
    lines: dict[str, list[Measurement]] = {}
    for sent in messages:
        lines.setdefault(sent.instrument.name, []).append(sent)
    repeated: list[Expected] = []
    taken = itertools.count(1)
    await asyncio.gather(
        *(
            _line(line, host, ports[name], repeated, lambda: on_taken(next(taken)))
            for name, line in lines.items()
        )
    )
    return repeated


async def _line(
    messages: Sequence[Measurement], host: str, port: int, repeated: list[Expected], on_taken: Callable[[], object]
) -> None:  # fmt: skip
    client: AstmClient | None = None
    for sent in messages:
        for _ in range(_TRIES):
            try:
                if client is None:
                    fresh = AstmClient(_QUICK)
                    await fresh.connect(host, port)
                    client = fresh
            except TransportError:  # nothing was sent
                await asyncio.sleep(PAUSE)
                continue
            try:
                taken = (await client.send([sent.payload])).delivered
            except TransportError:
                await client.close()
                client, taken = None, 0
            if taken:
                break
            repeated.append(sent.expected)
            await asyncio.sleep(PAUSE)
        else:
            raise TransportError("SOAK-NO-ANSWER", "a message is not acknowledged, however often it is sent")
        on_taken()
        if client is not None and asks(sent.payload):
            try:
                await client.listen(PATIENCE)
            except TransportError:
                await client.close()
                client = None
    if client is not None:
        await client.close()


def with_repeats(lake: Lake, truth: Truth, repeated: Sequence[Expected]) -> Truth:
    """The truth, where a message that was sent again may have come once more: as a duplicate, or refused again.

    Args:
        lake: whose ledger tells whether it did.
        truth: as if each message came once.
        repeated: messages that were sent again, as often as they were.
    """
    wanted = Counter((one.source, one.control_id, one.code, one.disposition) for one in truth.messages)
    surplus = landed_dispositions(lake) - wanted
    more: list[Expected] = []
    for one in repeated:
        read = one.disposition in ("accepted", "conflict", "duplicate")
        again = replace(one, disposition="duplicate", code="") if read else one
        key = (again.source, again.control_id, again.code, again.disposition)
        if surplus[key] > 0:
            surplus[key] -= 1
            more.append(again)
    return Truth([*truth.messages, *more], truth.tables)
