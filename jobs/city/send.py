"""The city's traffic on its way: over MLLP with a connection for each institution, or into files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.mllp.client import MllpClient, read_acknowledgement
from jobs.city.traffic import Planned

PER_FILE = 50


@dataclass
class Answers:
    """Answers by code, and how many were not what the city expected (MSA-1, and MSA-2 where it is known)."""

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
                control_id = planned.expected.control_id.encode("ascii")
                answers.unexpected += reply.code != planned.answer or bool(
                    control_id and reply.control_id != control_id
                )
                on_answer(answers.total)
        finally:
            await client.close()

    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, planned in enumerate(messages):
        if rate:
            # by the clock, not by a pause after each: what is late is made up for
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
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
    for queue in lanes.values():
        await queue.put(None)
    await asyncio.gather(*tasks)
    return answers


def write_files(messages: Iterable[Planned], folder: Path) -> int:
    """Write messages as files of at most fifty, a folder for each source; how many files.

    What is no message begins a file, with messages after it: within a file it would be read as the end of the message
    before it, and a file with nothing else would be passed over as foreign. Wide text has a file of its own, since
    its line ends are none to those who read bytes.
    """
    readable: dict[str, list[bytes]] = {}
    junk: dict[str, list[bytes]] = {}
    wide: dict[str, list[bytes]] = {}
    for planned in messages:
        payload = planned.payload
        kind = readable if payload.startswith(b"MSH") else wide if b"\0" in payload[:4] else junk
        kind.setdefault(planned.institution.source, []).append(payload)
    files = 0
    for source in sorted({*readable, *junk, *wide}):
        contents = _files(readable.get(source, []), junk.get(source, [])) + wide.get(source, [])
        target = folder / source
        target.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents, 1):
            (target / f"{source}-{number:05d}.hl7").write_bytes(content)
        files += len(contents)
    return files


def _files(messages: Sequence[bytes], junk: Sequence[bytes]) -> list[bytes]:
    """Messages in their order, cut into as many files as are needed, the first ones with junk at their beginning."""
    count = max(math.ceil(len(messages) / PER_FILE), len(junk))
    cuts = [len(messages) * place // count for place in range(count + 1)] if count else [0]
    return [
        b"".join([*junk[place : place + 1], *messages[cuts[place] : cuts[place + 1]]])
        for place in range(count)
    ]
