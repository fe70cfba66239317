"""The synthetic city lives, and everything fails in turn; after each round the lake is compared with the truth.

A round is every kind of trouble once, in an order that the seed mixes. Processes that die are real ones: commands,
the listener, the broker, the store.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

from jobs.city.compare import compare
from jobs.city.compare_studies import compare_studies
from jobs.city.instruments import INSTRUMENTS, Laboratory, instrument_settings, reported
from jobs.city.result_files import FileDrops, write_drops, write_settings
from jobs.city.settings import source_settings
from jobs.city.studies import ARCHIVES, Studies, studies_settings, write_images
from jobs.city.traffic import BASE, City, Transport
from jobs.city.truth import Expected, Truth
from jobs.services.processes import ProcessId, free_port, kill, stop
from jobs.services.state import Services, read_services
from jobs.settings import Settings, load_settings
from jobs.soak.faulty_store import faulty_store, nothing, seeded
from jobs.soak.killing import LostError, kill_everywhere
from jobs.soak.schedule import COMMANDS, kills, places_of
from jobs.soak.senders import PAUSE, measure_surely, send_surely, with_repeats
from jobs.soak.tally import Tally
from jobs.soak.warm import KILLED, Ended, Warm, outside
from lake_layout.fail_points import COLLECT, FAIL_POINTS, UPKEEP
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from schemas.errors import IngestError, TransportError
from schemas.tables import TABLES

FOLDER = Path(".phl") / "soak"
AWAY = TransportError.exit_code
MAKES_WAY: Final = ("STAGE-AHEAD", "CLAIM-TAKEN-OVER", "CLAIM-CONTENDED", "COMMIT-CONTENDED", "COMMIT-UNCLEAR",
                    "ROLLBACK-FILE-GONE", "LAKE-REMOVED-ALREADY")  # fmt: skip
"""With these a process makes way for another that runs the same stage."""

PLACES: Final = sum(len(point.stages) for point in FAIL_POINTS if point.stages != UPKEEP)
"""Fail points, counted once for each stage that comes by; without those of upkeep, which has to do after many days."""

ANOTHER_PROGRAM: Final = '\n[[sources]]\nname = "added-later"\nfacility = "ADDED-LATER"\n'
"""What is added to the settings so that their hash, which claims bear, is another."""

_SETTINGS: Final = """state_dir = "."

[ingest]
batch_messages = 60

[curate]
rows = 1_000

"""
_MEASURED: Final = 4
"""Messages of each instrument in a round."""
_FILES: Final = 6
"""Result files in a round."""
_STUDIES: Final = 4
"""Of each archive in a round: one of each modality."""
_MOST_ROUNDS: Final = 10_000
_TRIES: Final = 10
_PATIENCE: Final = 300


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        rounds: how many were run to their end.
        messages: that were sent and acknowledged, or refused as they must be.
        repeated: times that a message was sent again.
        tally: what failed, and which fail points were visited.
        problems: what is not as it must be; empty where everything was survived.
        seconds: that it took.
    """

    rounds: int
    messages: int
    repeated: int
    tally: Tally
    problems: tuple[str, ...]
    seconds: float


class Soak:
    """One run in a folder of its own.

    Args:
        folder: its state; made afresh.
        seed: of the traffic and of all that fails.
        messages: that are sent before each kind of trouble.
        say: takes a line for the user.
        troubles: which (keys of ``TROUBLES``); none for all.
    """

    def __init__(
        self, folder: Path, seed: int, messages: int, say: Callable[[str], None], troubles: Sequence[str] = ()
    ) -> None:
        self.folder, self.seed, self.messages, self.say = folder.resolve(), seed, messages, say
        self.troubles = list(troubles or TROUBLES)
        self.tally = Tally()
        self.city = City(seed, Transport.MLLP, people=120)
        self.laboratories: list[Laboratory] = []
        self.drops = FileDrops(seed)
        self._dropped = self.drops.files(_MOST_ROUNDS)
        self.studies = Studies(seed)
        self._studies = itertools.count(1, _STUDIES)
        self.repeated: list[Expected] = []
        self.sent = 0
        self.changed = False
        self.since = ""

    # The run -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Begin anew: stop what an earlier run left, empty the folder, write the settings."""
        if self.config(changed=False).exists():
            self.down()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.config(changed=False).write_text(_SETTINGS, "utf-8")

    def name_senders(self) -> None:
        """Write the settings of all that will send; the services run, so that none of them takes their ports."""
        self.dicom_port = free_port()
        self.line_ports: dict[str, int] = {}
        for one in INSTRUMENTS:
            self.line_ports[one.name] = free_port(avoid=(self.dicom_port, *self.line_ports.values()))
        lines = instrument_settings(list(self.line_ports.values()))
        clinics = write_settings(self.folder, self.folder / "drops")
        settings = f"{_SETTINGS}{source_settings()}{studies_settings(self.dicom_port)}\n{lines}\n{clinics}"
        self.config(changed=False).write_text(settings, "utf-8")
        self.config(changed=True).write_text(settings + ANOTHER_PROGRAM, "utf-8")

    def run(self, minutes: float) -> Outcome:
        """Rounds until the time is over, at least one; ends at the first thing that was not survived."""
        began = time.monotonic()
        self.say("starting Kafka, the S3 store and the listener")
        self.up()
        self.name_senders()
        problems: list[str] = []
        rounds = 0
        with Warm(self.own_env()) as self.warm, faulty_store(self.location()) as self.store:
            self.listener = Listener(self.process("listen"))
            try:
                while not problems and (not rounds or time.monotonic() - began < minutes * 60):
                    problems += self.round(rounds + 1)
                    rounds += 1
            except (LostError, IngestError) as lost:
                problems.append(str(lost))
            finally:
                self.listener.kill()
        for what, count in self.store.counts.items():
            self.tally.add(f"store: {what}", count)
        seconds = time.monotonic() - began
        return Outcome(rounds, self.sent, len(self.repeated), self.tally, tuple(problems), seconds)

    def round(self, number: int) -> list[str]:
        """Everything fails once; what is wrong with the lake afterwards."""
        rng = Random(f"round {self.seed} {number}")  # noqa: S311 - repeatable on purpose
        for name in rng.sample(self.troubles, len(self.troubles)):
            began = time.monotonic()
            TROUBLES[name](self, rng)
            self.say(
                f"round {number}, {name}: survived ({time.monotonic() - began:.0f} s); {self.sent} messages, "
                f"{sum(self.tally.faults.values())} faults"
            )
        found = self.differences()
        self.say(f"round {number}: " + ("nothing lost, nothing twice" if not found else "NOT survived"))
        return found

    def differences(self) -> list[str]:
        """Take in what is left, verify, compare with the truth, open every table."""
        self.store.fault = nothing
        self.take_in()
        found = []
        verified = self.phl("verify", "--strict", "--deep")
        if verified.code != 0:
            found.append(f"phl verify: exit code {verified.code}\n{verified.output}")
        checked = self.phl("objects", "check", "--deep")
        if checked.code != 0:
            found.append(f"phl objects check: exit code {checked.code}\n{checked.output}")
        lake = Lake(self.store.location)
        known = (
            self.city.truth,
            self.drops.truth,
            self.studies.truth,
            *(one.truth for one in self.laboratories),
        )
        differences = compare(lake, with_repeats(lake, Truth.together(known), self.repeated))
        studies = compare_studies(lake, self.studies)
        found += [one.sentence() for one in (*differences, *([studies] if studies else []))]
        for table in TABLES:
            lake.open(table)
        return found

    # Commands ----------------------------------------------------------------------------------------------------

    def config(self, *, changed: bool) -> Path:
        """The settings, or those of what passes for another program."""
        return self.folder / ("changed.toml" if changed else "phl.toml")

    def own_env(self) -> dict[str, str]:
        """The environment of commands that know the services by themselves."""
        return {"PHL_CONFIG": str(self.config(changed=self.changed)), "PHL_LOG_LEVEL": "error"}

    def env(self) -> dict[str, str]:
        """The environment of commands that reach the store by the faulty way."""
        location = self.store.location
        return self.own_env() | {
            "PHL_LAKE_URI": location.uri,
            "PHL_S3_ENDPOINT": str(location.endpoint),
            "PHL_S3_ACCESS_KEY": str(location.access_key),
            "PHL_S3_SECRET_KEY": str(location.secret_key),
            "PHL_S3_REGION": location.region,
        }

    def phl(self, *arguments: str, fail_point: str | None = None, file_limit: int | None = None) -> Ended:
        """A command, by a child of the warm process."""
        return self.warm.phl(*arguments, env=self.env(), fail_point=fail_point, file_limit=file_limit)

    def stage(self, name: str, *, fail_point: str | None = None, file_limit: int | None = None) -> Ended:
        """``phl ingest --once`` of a stage.

        Raises:
            LostError: it ended otherwise than by success, death or a wish to be started again.
        """
        done = self.phl("ingest", "--once", "--stage", name, fail_point=fail_point, file_limit=file_limit)
        if done.code not in (0, AWAY, KILLED, None):
            raise LostError(f"{name} ended with exit code {done.code}: {done.output[-1000:]}")
        return done

    def take_in(self) -> None:
        """All stages, each until it gets through."""
        for stage in COMMANDS:
            for _ in range(_TRIES):
                if self.stage(stage).code == 0:
                    break
                self.tally.add("stage gave up and was started again")
            else:
                raise LostError(f"{stage} does not get through")

    def process(self, *arguments: str) -> Callable[..., subprocess.Popen[str]]:
        """Starts a command as a process of its own."""

        def start(*more: str) -> subprocess.Popen[str]:
            return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "jobs.cli.main", *arguments, *more],
                env={**outside(), **self.env()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

        return start

    def up(self) -> None:
        """Start the services that do not run."""
        self._services("up")

    def down(self) -> None:
        """Stop the services."""
        self._services("down")

    def _services(self, command: str) -> None:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "jobs.cli.main", command],
            env={**outside(), **self.own_env()}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LostError(f"phl {command}: {(done.stdout + done.stderr)[-1000:]}")

    def settings(self) -> Settings:
        """The settings, with the addresses of the embedded services."""
        return load_settings(self.config(changed=False))

    def location(self) -> LakeLocation:
        """The lake by the straight way."""
        return self.settings().lake_location()

    def services(self) -> Services:
        """Processes of the embedded services."""
        return read_services(self.folder) or Services()

    # Traffic -----------------------------------------------------------------------------------------------------

    def send(self, count: int | None = None, at: int = -1, do: Callable[[], object] = lambda: None) -> None:
        """The city's next messages, each until it is answered; something is done after ``at`` answers.

        Raises:
            LostError: the listener answered otherwise than it must.
        """

        def on_answer(answered: int) -> None:
            if answered == at:
                do()

        messages = list(self.city.messages(count or self.messages))
        sent = asyncio.run(send_surely(messages, "127.0.0.1", self.listener.port, on_answer))
        self.sent += sent.answered
        self.repeated += sent.repeated
        self.tally.add("message sent again", len(sent.repeated))
        if sent.unexpected:
            raise LostError(f"the listener answered {sent.unexpected} messages otherwise than it must")

    # What fails --------------------------------------------------------------------------------------------------

    def kill_stages(self, rng: Random) -> None:
        """Stages die at every fail point."""
        self.since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        missed = kill_everywhere(self, kills(rng.randrange(2**32)), self.tally, self.say)
        for stage in COMMANDS:
            self._through(stage)
        if missed:
            named = ", ".join(f"{one.stage} at {one.point}" for one in missed)
            raise LostError(f"places were not come by: {named}")

    def send_more(self) -> None:
        """As many messages as before each trouble."""
        self.send()

    def ask_again(self) -> None:
        """What was sent since stages began to be killed is to be read again."""
        done = self.phl("reprocess", "--from", self.since, "--why", "a trial", "--by", "soak")
        if done.code:
            raise LostError(f"phl reprocess ended with exit code {done.code}: {done.output[-1000:]}")

    def _through(self, stage: str) -> None:
        if self.stage(stage).code != 0:
            raise LostError(f"{stage} does not get through though nothing fails")

    def kill_listener(self, rng: Random) -> None:
        """The listener dies with messages under way, and another takes its port."""
        self.send(at=rng.randrange(1, self.messages // 2), do=self.listener.replace)
        self.tally.add("listener killed")

    def kill_beside_instruments(self, rng: Random) -> None:
        """The listener dies with messages of laboratory instruments under way."""
        number = len(self.laboratories)
        laboratory = Laboratory(self.seed + number, reported(self.city.truth))
        self.laboratories.append(laboratory)
        messages = list(laboratory.messages(_MEASURED, BASE + timedelta(days=number)))
        at = rng.randrange(1, len(messages) // 2)

        def on_taken(taken: int) -> None:
            if taken == at:
                self.listener.replace()

        repeated = asyncio.run(measure_surely(messages, "127.0.0.1", self.line_ports, on_taken))
        self._came(len(messages), repeated, "listener killed beside instruments")

    def kill_collect(self, _: Random) -> None:
        """``phl collect`` dies when Kafka has files of laboratories and nobody has noted that they are taken."""
        files = list(itertools.islice(self._dropped, _FILES))
        write_drops(files, self.folder / "drops")
        repeated: list[Expected] = []
        for point in places_of(*COLLECT):
            if self._collected(point) == KILLED:
                self.tally.killed(*COLLECT, point)
                repeated += [one.expected for one in files]
        if (code := self._collected(None)) != 0:
            raise LostError(f"phl collect ended with exit code {code}")
        self._came(len(files), repeated)

    def _collected(self, point: str | None) -> int | None:
        return self.phl("collect", "--once", fail_point=point).code

    def kill_beside_images(self, rng: Random) -> None:
        """The listener dies while images are sent to it, and the harvest of an archive while it reads."""
        numbers = range(first := next(self._studies), first + _STUDIES)
        folder = self.folder / "images" / str(first)
        for archive in ARCHIVES:
            images = list(self.studies.images(archive, numbers))
            write_images(images, folder)
            place, repeated = str(folder / archive.source), list[Expected]()
            if archive.sends:
                command = self.process(
                    "send", place, "--protocol", "dicom", "--to", f"127.0.0.1:{self.dicom_port}"
                )
            else:
                command = self.process("harvest", place, "--source", archive.source)
            for tried in range(_TRIES):
                process = command()
                if not tried:
                    time.sleep(rng.uniform(1, 3))
                    if archive.sends:
                        self.listener.replace()
                    else:
                        process.kill()
                out, err = process.communicate(timeout=_PATIENCE)
                if process.returncode == 0:
                    break
                repeated += [one.expected for one in images]
                time.sleep(PAUSE)
            else:
                raise LostError(f"images of {archive.source} do not get through: {(out + err)[-1000:]}")
            self._came(len(images), repeated, "killed beside images")

    def _came(self, count: int, repeated: Sequence[Expected], what: str = "") -> None:
        self.sent += count
        self.repeated += repeated
        if what:
            self.tally.add(what)

    def restart_broker(self, rng: Random) -> None:
        """The broker is stopped or killed while it is written to and read from."""
        self.send()
        ingest = self.process("ingest", "--once")()
        ending = rng.choice((kill, lambda process: stop(process, 60.0)))
        away = threading.Thread(target=self._away, args=(ending, self.services().kafka.process))
        self.send(at=rng.randrange(1, self.messages // 2), do=away.start)
        away.join()
        self._ended(ingest, "ingest beside a broker that went away")
        self.tally.add("broker killed" if ending is kill else "broker stopped")

    def restart_store(self, rng: Random) -> None:
        """The store dies while stages work."""
        self.send()
        ingest = self.process("ingest", "--once")()
        time.sleep(rng.uniform(5, 10))
        self._away(kill, self.services().s3.process)
        self._ended(ingest, "ingest beside a store that went away")
        self.tally.add("store killed")

    def _away(self, ending: Callable[[ProcessId], object], process: ProcessId) -> None:
        ending(process)
        time.sleep(2)
        self.up()

    def _ended(self, process: subprocess.Popen[str], what: str) -> None:
        """Wait for a process that may end well, may have to be started again, or may have made way for another."""
        out, err = process.communicate(timeout=_PATIENCE)
        if process.returncode in (0, AWAY) or any(code in err for code in MAKES_WAY):
            return
        raise LostError(f"{what}: exit code {process.returncode}: {(out + err)[-1000:]}")

    def garble_store(self, rng: Random) -> None:
        """The store's answers get lost, come late, come twice, or say what is not so."""
        self.send()
        self.store.fault = seeded(rng.randrange(2**32), 0.02)
        for stage in COMMANDS:
            for _ in range(_TRIES):
                if self.stage(stage).code == 0:
                    break
        self.store.fault = nothing

    def fill_disk(self, _: Random) -> None:
        """There is no room for the indexes on the local disk; a batch brings them up to date with those before it."""
        self.send()
        self.take_in()
        self.send()
        self._through("land")
        full = 0
        for stage in ("normalise", "curate"):
            full += self.stage(stage, file_limit=100).code == AWAY
            self._through(stage)
        if not full:
            raise LostError("no stage noticed that the local disk is full")
        self.tally.add("disk full", full)

    def fill_store(self, rng: Random) -> None:
        """The store has no room."""
        self.send()
        stage = rng.choice(COMMANDS)
        for before in COMMANDS[: COMMANDS.index(stage)]:
            self._through(before)
        self.store.always("PUT", "", "away 507")
        if self.stage(stage).code != AWAY:
            raise LostError(f"{stage} did not notice that the store has no room")
        self.store.fault = nothing

    def run_two(self, _: Random) -> None:
        """Somebody starts a second ingester by mistake."""
        self.send()
        start = self.process("ingest", "--once")
        for process in [start(), start()]:
            self._ended(process, "one of two ingesters")
        self.tally.add("two ingesters at once")

    def wake_zombie(self, rng: Random) -> None:
        """A process that was taken for dead goes on, when another program has taken its batch over."""
        self.send()
        stage = rng.choice(("normalise", "curate"))
        for before in COMMANDS[: COMMANDS.index(stage)]:
            self._through(before)
        stopped = self.stage(stage, fail_point=f"after-commit:{rng.randint(1, 4)}:stop")
        if not stopped.stopped:
            return  # there was nothing for it to do
        self.changed = not self.changed
        self._through(stage)
        woken = self.warm.resume(stopped)
        if woken.code == 0 or not any(code in woken.output for code in MAKES_WAY):
            raise LostError(f"a zombie was not refused: exit code {woken.code}: {woken.output[-1000:]}")
        self.tally.add("zombie refused")

    def change_program(self, rng: Random) -> None:
        """The program changes between two attempts at a batch."""
        self.send()
        stage = rng.choice(COMMANDS)
        for before in COMMANDS[: COMMANDS.index(stage)]:
            self._through(before)
        point = "before-last-commit" if stage == "land" else "tables-committed"
        if self.stage(stage, fail_point=point).code == KILLED:
            self.tally.killed(stage, point)
            self.changed = not self.changed
            self.tally.add("program changed in a batch")
        self._through(stage)

    def make_topic_anew(self, _: Random) -> None:
        """The topic is deleted and made again, when all that it had was landed."""
        from connectors.kafka.topics import ensure_topic

        self.take_in()
        settings = self.settings()
        connection = settings.kafka_connection()
        topic = settings.kafka.topic_prefix + "raw.hl7v2"
        admin = connection.admin()  # gone before its answer, it would give none
        admin.delete_topics([topic])[topic].result()
        time.sleep(2)
        ensure_topic(connection, topic, settings.topic_partitions)
        self.send()
        self.take_in()
        self.tally.add("topic made anew")


TROUBLES: Final[Mapping[str, Callable[[Soak, Random], None]]] = MappingProxyType(
    {
        "kills": Soak.kill_stages,
        "listener": Soak.kill_listener,
        "instruments": Soak.kill_beside_instruments,
        "drops": Soak.kill_collect,
        "images": Soak.kill_beside_images,
        "broker": Soak.restart_broker,
        "store": Soak.restart_store,
        "answers": Soak.garble_store,
        "disk": Soak.fill_disk,
        "room": Soak.fill_store,
        "two": Soak.run_two,
        "zombie": Soak.wake_zombie,
        "program": Soak.change_program,
        "topic": Soak.make_topic_anew,
    }
)
"""All that befalls the city."""


class Listener:
    """``phl listen``, which may be killed and replaced by another on the same port.

    Args:
        start: starts one, given the arguments that say where.
    """

    def __init__(self, start: Callable[..., subprocess.Popen[str]]) -> None:
        self._start = start
        self.port = 0
        self._process = self._begin()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise TransportError("SOAK-LISTENER", "phl listen ended at once", exit_code=self._process.wait())
        self.port = int(json.loads(line)["ports"][0])

    def replace(self) -> None:
        """Kill it, and start another; senders come back by themselves."""
        self.kill()
        self._process = self._begin()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()

    def _begin(self) -> subprocess.Popen[str]:
        return self._start("--port", str(self.port), "--json")
