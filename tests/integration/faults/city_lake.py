"""A city whose messages go straight to Kafka, the lake that takes them in while things fail, and one left in peace."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.topics import ensure_topic
from connectors.routing import HL7_TOPIC, record_for
from jobs.city.compare import compare
from jobs.city.settings import source_settings
from jobs.city.traffic import City, Transport
from jobs.soak.schedule import COMMANDS
from jobs.soak.soak import ANOTHER_PROGRAM
from jobs.soak.warm import Ended, Warm
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from schemas.source import Source
from schemas.tables.coding import CODING
from schemas.tables.curation import CURATE_TABLES, CURATION
from schemas.tables.identity import IDENTITY
from tests.integration.setting import header_or_none, rows_of, send

STAGES = COMMANDS
MORE = 16
SMALL_BATCHES: Mapping[str, str] = {"PHL_INGEST_BATCH_MESSAGES": "25", "PHL_CURATE_ROWS": "100"}
"""So small that there are many."""

BATCH_COLUMNS = ("batch_number", "decided_at", "reading")
"""What tells how rows were made."""


@dataclass
class CityLake:
    """A lake, the topic it is fed from, and the city that feeds that.

    Attributes:
        env: the settings that all its commands share.
        folder: for settings files and local state.
        connection: to Kafka.
        location: of the lake.
        warm: runs the commands.
        city: whose messages it is sent.
        changed: whether commands run with the changed settings.
    """

    env: dict[str, str]
    folder: Path
    connection: KafkaConnection
    location: LakeLocation
    warm: Warm
    city: City = field(default_factory=lambda: City(7, Transport.FILES, people=40))
    changed: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config(changed=False).write_text(source_settings(), "utf-8")
        self.config(changed=True).write_text(source_settings() + ANOTHER_PROGRAM, "utf-8")
        ensure_topic(self.connection, self.topic, 2, {})

    @property
    def topic(self) -> str:
        return self.env["PHL_KAFKA_TOPIC_PREFIX"] + HL7_TOPIC

    @property
    def lake(self) -> Lake:
        return Lake(self.location)

    def config(self, *, changed: bool) -> Path:
        return self.folder / ("changed.toml" if changed else "phl.toml")

    def send(self, count: int) -> None:
        """The city's next messages, as a connector would write them."""
        send(
            self.connection,
            [
                record_for(
                    planned.payload,
                    header_or_none(planned.payload),
                    Source(planned.institution.source, planned.institution.code),
                    datetime.now(UTC),
                    topic=self.topic,
                )
                for planned in self.city.messages(count)
            ],
        )

    def send_more(self) -> None:
        """As many messages as make a batch."""
        self.send(MORE)

    def ask_again(self) -> None:
        """All that was landed is to be read again."""
        done = self.phl("reprocess", "--from", "2020-01-01", "--why", "a trial", "--by", "a test")
        assert done.code == 0, done.output

    def phl(
        self, *arguments: str, fail_point: str | None = None, file_limit: int | None = None, **env: str
    ) -> Ended:
        """Run a command with the settings that hold now."""
        settings = {**self.env, "PHL_CONFIG": str(self.config(changed=self.changed)), **env}
        return self.warm.phl(*arguments, env=settings, fail_point=fail_point, file_limit=file_limit)

    def stage(self, name: str, *, fail_point: str | None = None, file_limit: int | None = None) -> Ended:
        """``phl ingest --once`` of a stage."""
        return self.phl("ingest", "--once", "--stage", name, fail_point=fail_point, file_limit=file_limit)

    def take_in(self) -> None:
        """All that is there, through all stages."""
        for stage in STAGES:
            done = self.stage(stage)
            assert done.code == 0, done.output

    def assert_whole(self) -> None:
        """Nothing is missing, nothing is twice, nothing differs from what the city knows."""
        done = self.phl("verify", "--strict", "--deep")
        assert done.code == 0, done.output
        assert [one.sentence() for one in compare(self.lake, self.city.truth)] == []

    def assert_like(self, calm: CityLake) -> None:
        """Every curated row is that of a lake to which nothing happened."""
        for table in (*CURATE_TABLES, *IDENTITY, CODING):
            if table is not CURATION:
                mine = rows_of(self.lake, table, but=BATCH_COLUMNS)
                assert mine == rows_of(calm.lake, table, but=BATCH_COLUMNS), table.name


def city_lake(
    warm: Warm,
    connection: KafkaConnection,
    location: LakeLocation,
    folder: Path,
    *,
    like: CityLake | None = None,
    batches: Mapping[str, str] = SMALL_BATCHES,
) -> CityLake:
    """A fresh lake on a topic of its own, or on that of another one."""
    env = {
        "PHL_KAFKA_BOOTSTRAP": str(connection.properties["bootstrap.servers"]),
        "PHL_KAFKA_TOPIC_PREFIX": like.env["PHL_KAFKA_TOPIC_PREFIX"]
        if like
        else f"f{uuid.uuid4().hex[:10]}.",
        "PHL_LAKE_URI": location.uri,
        "PHL_STATE_DIR": str(folder / "state"),
        "PHL_LOG_LEVEL": "warning",
    }
    if location.is_s3:
        env |= {
            "PHL_S3_ENDPOINT": str(location.endpoint),
            "PHL_S3_ACCESS_KEY": str(location.access_key),
            "PHL_S3_SECRET_KEY": str(location.secret_key),
            "PHL_S3_REGION": location.region,
        }
    if like is None:
        env |= batches
    return CityLake(env, folder, connection, location, warm)
