"""The city's traffic on its way: over MLLP with a connection for each institution, or into files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from connectors.mllp.client import MllpClient, read_acknowledgement
from jobs.city.institutions import Institution
from jobs.city.traffic import Planned

PER_FILE = 50


@dataclass
class Answers:
    """Answers by code, and how many were not what the city expected."""

    codes: dict[str, int] = field(default_factory=dict)
    unexpected: int = 0

    @property
    def total(self) -> int:
        return sum(self.codes.values())


async def send_over_mllp(
    messages: Iterable[Planned],
    host: str,
    port: int,
    *,
    rate: float | None = None,
    on_answer: Callable[[int], object] = lambda _: None,
) -> Answers:
    """Send each message over its institution's connection, which waits for the answer before the next.

    Args:
        messages: in the order they are sent.
        host: of the listener.
        port: of the listener.
        rate: messages a second of all institutions together; None for as fast as answers come.
        on_answer: told how many were answered.

    Raises:
        TransportError: the listener does not answer.
    """
    answers = Answers()
    lanes: dict[str, asyncio.Queue[Planned | None]] = {}
    tasks: list[asyncio.Task[None]] = []

    async def lane(queue: asyncio.Queue[Planned | None]) -> None:
        client = MllpClient()
        await client.connect(host, port)
        try:
            while (planned := await queue.get()) is not None:
                reply = read_acknowledgement(await client.send(planned.payload))
                answers.codes[reply.code] = answers.codes.get(reply.code, 0) + 1
                answers.unexpected += reply.code != planned.answer
                on_answer(answers.total)
        finally:
            await client.close()

    for planned in messages:
        name = planned.institution.code
        if name not in lanes:
            lanes[name] = asyncio.Queue(maxsize=16)
            tasks.append(asyncio.create_task(lane(lanes[name])))
        putting = asyncio.create_task(lanes[name].put(planned))
        # a lane that failed takes no more: stop with its error instead of waiting for ever
        await asyncio.wait([putting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                putting.cancel()
                await task
        await putting
        if rate:
            await asyncio.sleep(1 / rate)
    for queue in lanes.values():
        await queue.put(None)
    await asyncio.gather(*tasks)
    return answers


def write_files(messages: Iterable[Planned], folder: Path) -> int:
    """Write messages as files of up to fifty, a folder for each source; how many files.

    What is no message stands at the beginning of a file of its own: within another file it would be read as the
    end of the message before it.
    """
    waiting: dict[str, list[bytes]] = {}
    numbers: dict[str, int] = {}
    files = 0

    def write(institution: Institution | str, parts: list[bytes]) -> None:
        nonlocal files
        name = institution if isinstance(institution, str) else institution.source
        numbers[name] = numbers.get(name, 0) + 1
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{name}-{numbers[name]:05d}.hl7").write_bytes(b"".join(parts))
        files += 1

    for planned in messages:
        source = planned.institution.source
        parts = waiting.setdefault(source, [])
        if not planned.payload.startswith(b"MSH") and parts:
            write(source, parts)
            parts = waiting[source] = []
        parts.append(planned.payload)
        if len(parts) >= PER_FILE:
            write(source, parts)
            waiting[source] = []
    for source, parts in sorted(waiting.items()):
        if parts:
            write(source, parts)
    return files
