"""The demonstration: the whole way from a hospital's message to an answer, on this machine, compared with the truth."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from jobs.city.codes import compare_codes, compare_released, concept_map
from jobs.city.compare import Difference, compare
from jobs.city.compare_studies import compare_studies
from jobs.city.institutions import INSTITUTIONS
from jobs.city.instruments import INSTRUMENTS, Laboratory, instrument_settings, reported, send_over_astm
from jobs.city.result_files import CLINICS, FileDrops, write_drops, write_settings
from jobs.city.send import send_over_mllp, write_files
from jobs.city.settings import source_settings
from jobs.city.studies import ARCHIVES, studies_of, studies_settings, write_images
from jobs.city.traffic import City, Transport
from jobs.city.truth import Truth
from jobs.demo_identity import Merge, Pair, find_pair, merge_and_undo
from jobs.services.processes import free_port
from jobs.settings import load_settings
from lake_layout.lake import Lake
from schemas.errors import LakeError, TransportError
from schemas.tables.normalised import MESSAGE_HEADER

FOLDER = Path(".phl") / "demo"
ROUNDS = 3
"""Result files of each clinic: of three one has a bad line, one comes twice, and one corrects another."""

MEASURED = 10
"""Messages of each instrument: of every kind one at least."""

_PATIENCE = 60
"""Seconds that the listener has for its end."""

QUERY = """SELECT institution, observation_display AS test, count(*) AS results,
       round(avg(value_number), 1) AS mean, any_value(unit_code) AS unit
FROM normalised.observation
WHERE value_number IS NOT NULL AND observation_code = '718-7'
GROUP BY ALL ORDER BY institution"""

CORRECTION = """WITH corrected AS (
  SELECT DISTINCT source, institution, filler_order, observation_code
  FROM curated.observation AS now JOIN normalised.observation AS said
    USING (source, institution, filler_order, observation_code)
  WHERE now.status = 'C' AND said.value_number <> now.value_number ORDER BY ALL LIMIT 1)
SELECT 'was said' AS what, version_time AS since, status, observation_display AS test, value_number AS value
FROM normalised.observation JOIN corrected USING (source, institution, filler_order, observation_code)
UNION ALL
SELECT 'is so now', since, status, observation_display, value_number
FROM curated.observation JOIN corrected USING (source, institution, filler_order, observation_code)
ORDER BY 1 DESC, 2"""
"""A result that was corrected: all that was said of it, and what is so now."""

CODED = """SELECT loinc, loinc_display AS concept, unit_code AS sent_in, canonical_unit AS compared_in,
       count(*) AS results, round(avg(value_number), 1) AS mean_as_sent, round(avg(value_canonical), 1) AS mean
FROM curated_coded.observation WHERE loinc IN ('2345-7', '777-3') AND value_canonical IS NOT NULL
GROUP BY ALL ORDER BY 1"""
"""Values in the unit of their concept, by the map that was loaded after them."""


STUDIES = """SELECT source, modalities, instances, images, patients, patient_name_ideographic AS name
FROM curated_imaging.study WHERE instances > 0 ORDER BY ALL LIMIT 6"""
"""Studies with their counts; the one of two patients is marked."""


_STATE = 'state_dir = "."\n'


@dataclass(frozen=True)
class Outcome:
    """What the demonstration found.

    Attributes:
        dispositions: messages by disposition.
        kinds: how many kinds of messages (code and trigger) were read.
        tables: how many tables have rows.
        rows: how many rows were compared.
        seconds: that all of it took.
        differences: from the truth.
        pair: two patients who were merged and parted again.
        merge: what that did; None where there were none.
    """

    dispositions: dict[str, int]
    kinds: int
    tables: int
    rows: int
    seconds: float
    differences: list[Difference]
    pair: Pair | None
    merge: Merge | None


class Demo:
    """One run in a folder of its own.

    Args:
        folder: its state; made afresh.
        messages: how many, over MLLP and in files together.
        seed: of the traffic.
        say: takes a line for the user.
    """

    def __init__(self, folder: Path, messages: int, seed: int, say: Callable[[str], None]) -> None:
        self.folder, self.messages, self.seed, self.say = folder.resolve(), messages, seed, say
        self.config = self.folder / "phl.toml"
        self.drops = self.folder / "drops"
        self.dicom_port = 0
        self.line_ports: list[int] = []
        self.studies, self.images = studies_of(seed)
        own = {name: value for name, value in os.environ.items() if not name.startswith("PHL_")}
        self.env = own | {"PHL_CONFIG": str(self.config), "PHL_LOG_LEVEL": "warning"}

    def prepare(self) -> None:
        """Begin anew: stop what an earlier run left, empty the folder, write the settings."""
        if self.config.exists():
            self.phl("down", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.config.write_text(_STATE, "utf-8")

    def name_senders(self) -> None:
        """Write the settings of all that will send; the services run, so that none of them takes their ports."""
        self.dicom_port = free_port()
        self.line_ports = []
        for _ in INSTRUMENTS:
            self.line_ports.append(free_port(avoid=(self.dicom_port, *self.line_ports)))
        clinics = write_settings(self.folder, self.drops)
        lines = instrument_settings(self.line_ports)
        settings = f"{source_settings()}{studies_settings(self.dicom_port)}\n{lines}\n{clinics}"
        self.config.write_text(f"{_STATE}\n{settings}", "utf-8")

    def run(self) -> Outcome:
        """From services to the comparison.

        Raises:
            LakeError: a step did not end as it must.
        """
        began = time.monotonic()
        self.say("starting Kafka and the S3 store (the first time they are downloaded)")
        self.phl("up")
        self.name_senders()
        over_mllp = City(self.seed, Transport.MLLP)
        in_files = City(self.seed, Transport.FILES)
        laboratory = self._send(over_mllp)
        self._load(in_files)
        in_drops = FileDrops(self.seed)
        self._collect(in_drops)
        self.say("Beam lands, normalises and curates into Delta tables on S3")
        print(self.phl("ingest", "--once").stdout, end="")  # noqa: T201 - the command's own report
        self._map_codes()
        self.say(
            "verifying: every landed message has its disposition and its rows, and what is so now follows from them"
        )
        self.phl("verify", "--strict", "--deep")
        self.say("looking whether every object that a row names is there, with its bytes (phl objects check)")
        self.phl("objects", "check", "--deep", "--strict", "--grace", "0s")
        parts = (over_mllp.truth, in_files.truth, in_drops.truth, laboratory.truth, self.studies.truth)
        truth = Truth.together(parts)
        self.say("comparing every table with what the city knows")
        lake = Lake(load_settings(self.config).lake_location())
        found = compare(lake, truth)
        more = (
            compare_codes(lake, truth),
            compare_released(lake, laboratory),
            compare_studies(lake, self.studies),
        )
        found += [one for one in more if one is not None]
        rows = sum(map(len, truth.tables.values()))
        kinds = {row["message_type"] for row in truth.tables[MESSAGE_HEADER.name]}
        pair = find_pair(lake)
        merge = self._merge(lake, pair) if pair is not None else None
        seconds = time.monotonic() - began
        return Outcome(truth.dispositions(), len(kinds), len(truth.tables), rows, seconds, found, pair, merge)

    def _merge(self, lake: Lake, pair: Pair) -> Merge:
        """A hospital says that two patients are one; a steward says that they are not."""
        path = self.folder / "merge.hl7"

        def merge() -> None:
            self.say("a hospital merges two patients (A40)")
            path.write_bytes(pair.merge(datetime.now(UTC)))
            self.phl("load", str(path), "--source", pair.source)
            self.phl("ingest", "--once")

        def undo() -> None:
            self.say("a steward undoes the merge (phl steward unlink)")
            self.phl(
                "steward", "unlink", pair.cx(pair.given_up), pair.cx(pair.staying), "--who", "demo",
                "--why", "two persons with one name",
            )  # fmt: skip
            self.phl("ingest", "--once")

        return merge_and_undo(lake, pair, merge, undo)

    def _map_codes(self) -> None:
        """Map the laboratories' codes to LOINC, now that their results are there already."""
        path = self.folder / "codes.csv"
        path.write_text(concept_map(), "utf-8")
        told = self.phl("codes", "load", str(path), "--source", "*", "--by", "demo").stdout.strip()
        self.say(f"the laboratories' codes are mapped (phl codes load): {told}")

    def _send(self, city: City) -> Laboratory:
        count = self.messages * 2 // 3
        with self._listener() as listener:
            self.say(f"{len(INSTITUTIONS)} institutions send {count} messages over MLLP")
            answers = asyncio.run(send_over_mllp(city.messages(count), "127.0.0.1", listener.port))
            laboratory = self._measure(city.truth)
            self._send_images()
        shown = ", ".join(f"{number} {code}" for code, number in sorted(answers.codes.items()))
        self.say(f"answered: {shown}")
        if answers.unexpected:
            raise LakeError(
                "DEMO-ANSWERS", "the listener answered otherwise than it must", answers=answers.unexpected
            )
        return laboratory

    def _measure(self, truth: Truth) -> Laboratory:
        """Laboratory instruments send, some of specimens that laboratory systems have reported on."""
        laboratory = Laboratory(self.seed, reported(truth))
        sent = list(laboratory.messages(MEASURED))
        self.say(f"{len(INSTRUMENTS)} laboratory instruments send {len(sent)} messages over ASTM")
        delivered, answered = asyncio.run(send_over_astm(sent, "127.0.0.1", self.line_ports))
        if (delivered, answered) != (len(sent), sum(one.said is None for one in sent)):
            raise LakeError(
                "DEMO-ANSWERS",
                "the listener did not take all that instruments sent",
                taken=delivered,
                answered=answered,
            )  # fmt: skip
        return laboratory

    def _send_images(self) -> None:
        """One archive sends its studies by C-STORE, of the other the files are harvested."""
        folder = self.folder / "images"
        counts = write_images(self.images, folder)
        for archive in ARCHIVES:
            place, count = str(folder / archive.source), counts[archive.source]
            if archive.sends:
                self.say(f"an archive of images sends {count} objects by DICOM C-STORE")
                self.phl("send", place, "--protocol", "dicom", "--to", f"127.0.0.1:{self.dicom_port}")
            else:
                self.say(f"the headers of another one's {count} files are harvested where they lie")
                self.phl("harvest", place, "--source", archive.source)

    def _load(self, city: City) -> None:
        folder = self.folder / "files"
        files = write_files(city.messages(self.messages - self.messages * 2 // 3), folder)
        self.say(f"and drop {files} files")
        for source in sorted(folder.iterdir()):
            # exit 1 says that something in the files was odd, and there is: quarantine is part of the city
            self.phl("load", str(source), "--source", source.name, check=False)

    def _collect(self, drops: FileDrops) -> None:
        files = write_drops(drops.files(ROUNDS), self.drops)
        self.say(f"{len(CLINICS)} clinics' laboratories drop {files} result files (phl collect)")
        self.phl("collect", "--once")

    def _listener(self) -> Listener:
        return Listener([*self.command("listen"), "--port", "0", "--json"], self.env)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "jobs.cli.main", *arguments]

    def phl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a ``phl`` command as a user would."""
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            self.command(*arguments), env=self.env, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            raise LakeError(
                "DEMO-STEP",
                "a step failed; its output stands above",
                step=arguments[0],
                exit_code=done.returncode,
            )
        return done


class Listener:
    """``phl listen`` in a process of its own, while the block runs."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            list(command), env=env, stdout=subprocess.PIPE, text=True
        )
        self.port = 0

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise TransportError("DEMO-LISTENER", "phl listen ended at once", exit_code=self.process.wait())
        self.port = int(json.loads(line)["ports"][0])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
