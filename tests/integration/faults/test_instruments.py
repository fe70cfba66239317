"""Instruments that do not give up, while the listener, the broker and the store die: all of it is in the lake."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from connectors.astm.client import AstmClient
from connectors.astm.session import STANDARD
from jobs.soak.tally import Tally
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from schemas.errors import TransportError
from schemas.tables import RAW_LAB
from tests.conftest import KafkaServer, RunPhl, S3Server
from tests.integration.mllp_setting import Process, run
from tests.integration.test_astm import astm_env, free_port, result

QUICK = replace(STANDARD, busy=0.5)
THRESHOLD = 4_000


def test_everything_dies_and_what_instruments_know_to_be_taken_is_in_the_lake(
    kafka: KafkaServer, s3: S3Server, lake_location: LakeLocation, phl_env: dict[str, str], tmp_path: Path,
    run_phl: RunPhl, tally: Tally,
) -> None:  # fmt: skip
    """Each line sends small messages, and some that go to the store before they go to Kafka."""
    port = free_port()
    env = astm_env(phl_env, port)
    env |= {"PHL_LISTEN_DELIVERY_SECONDS": "3", "PHL_LISTEN_OBJECT_THRESHOLD": str(THRESHOLD)}
    acknowledged: set[bytes] = set()
    lanes = [
        [result(lane * 1_000 + number, results=90 if number % 5 == 0 else 3) for number in range(15)]
        for lane in range(4)
    ]

    async def instrument(messages: list[bytes]) -> None:
        while messages:
            client = AstmClient(QUICK)
            try:
                await client.connect("127.0.0.1", port)
                while messages:
                    if (await client.send(messages[:1])).delivered:
                        acknowledged.add(messages.pop(0))
            except TransportError:
                await asyncio.sleep(0.2)
            finally:
                await client.close()

    async def work() -> None:
        process = Process(env, tmp_path)
        tasks = [asyncio.create_task(instrument(list(messages))) for messages in lanes]
        while len(acknowledged) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.to_thread(s3.kill)
        await asyncio.sleep(2)
        await asyncio.to_thread(kafka.kill)
        process.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.process.wait, 30)
        await asyncio.to_thread(s3.start)
        await asyncio.to_thread(kafka.start)
        process = await asyncio.to_thread(Process, env, tmp_path)
        await asyncio.gather(*tasks)
        assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0

    run(work())
    for what in ("listener killed", "broker killed", "store killed"):
        tally.add(f"beside instruments: {what}")
    done = run_phl("ingest", "--once", env={"PHL_SOURCES": env["PHL_SOURCES"]})
    assert done.returncode == 0, done.stderr
    verified = run_phl("verify", "--strict", "--json", env={"PHL_SOURCES": env["PHL_SOURCES"]})
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert acknowledged == {message for lane in lanes for message in lane}
    assert in_the_lake(lake_location) == acknowledged


def in_the_lake(location: LakeLocation) -> set[bytes]:
    """Messages of the raw table, those that lie in objects too."""
    store = open_store(location)
    rows = Lake(location).dataset(RAW_LAB).to_table(columns=["payload", "object_path"]).to_pylist()
    return {store.get(row["object_path"]) if row["object_path"] else row["payload"] for row in rows}
