"""Verify and query against the real S3 store and the real Kafka."""

from __future__ import annotations

import dataclasses

from confluent_kafka import Producer

from connectors.kafka.topics import describe_topic, ensure_topic
from jobs.lake_views import lake_views
from jobs.verify_lake import verify_lake
from lake_layout.location import LakeLocation
from lake_layout.objects import open_store
from schemas.tables import LEDGER, OBSERVATION, QUARANTINE, RAW_HL7V2
from tests.conftest import KafkaServer
from tests.small_lake import MODALITY, SmallLake, small_lake


def test_a_lake_on_s3_is_verified_and_queried(lake_location: LakeLocation) -> None:
    small = small_lake(lake_location)
    assert verify_lake(small.lake, [MODALITY], None).clean(strict=True)
    with lake_views(small.lake) as lake:
        counted = lake.connection.execute(
            'SELECT count(*), count(DISTINCT "offset") FROM normalised.observation WHERE "partition" = 1'
        ).fetchall()
    assert counted == [(27, 9)]

    path = str(small.files(OBSERVATION)[0]["path"])
    open_store(lake_location).delete(f"{OBSERVATION.name}/{path}")
    codes = {(d.code, d.table) for d in verify_lake(small.lake, [MODALITY], None).differences}
    assert codes == {("FILE-MISSING", OBSERVATION.name), ("ROWS-MISSING", OBSERVATION.name)}


def test_kafka_explains_gaps_without_a_message_and_no_others(
    kafka: KafkaServer, topic: str, local_location: LakeLocation
) -> None:
    """Offsets of the markers that end transactions hold no message; offsets of messages do."""
    connection = kafka.connection
    ensure_topic(connection, topic, 1)
    producer = Producer({**connection.properties, "transactional.id": topic})
    producer.init_transactions()
    for _ in range(2):  # offsets 0 1 2, marker 3, 4 5 6, marker 7
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, b"MSH|^~\\&|", partition=0)
        producer.commit_transaction()
    topic_id = describe_topic(connection, topic).topic_id

    small = SmallLake(local_location, topic, topic_id, next={0: 0}).create()
    modality = dataclasses.replace(MODALITY, topic=topic)
    small.normalise(0, small.land(0, 3))
    small.next[0] = 4
    small.normalise(0, small.land(0, 3))
    report = verify_lake(small.lake, [modality], connection)
    assert report.clean(strict=True), report.differences
    assert report.explained == 1

    small.drop_file(RAW_HL7V2, 1)  # the messages 4 5 6, and landing says it has been at 7
    report = verify_lake(small.lake, [modality], connection)
    (gap,) = [d for d in report.differences if d.code == "OFFSET-GAP"]
    assert (gap.first, gap.last) == (3, 6)


def test_what_went_from_all_tables_together_is_still_missing(
    kafka: KafkaServer, topic: str, local_location: LakeLocation
) -> None:
    """Nothing in the lake speaks of these messages any more but landing's progress, and Kafka has them."""
    connection = kafka.connection
    ensure_topic(connection, topic, 3)
    producer = Producer({**connection.properties})
    for partition in (0, 1):
        for _ in range(20):
            producer.produce(topic, b"MSH|^~\\&|", partition=partition)
    assert producer.flush(30) == 0
    topic_id = describe_topic(connection, topic).topic_id
    small = SmallLake(local_location, topic, topic_id, next={0: 0, 1: 0}).create()
    modality = dataclasses.replace(MODALITY, topic=topic)
    for _ in range(2):
        for partition in (0, 1):
            small.normalise(partition, small.land(partition))
    tables = (RAW_HL7V2, LEDGER, QUARANTINE, *MODALITY.tables)

    for table in tables:
        small.lake.open(table).delete('partition = 0 AND "offset" < 4')
    (gap,) = [
        d for d in verify_lake(small.lake, [modality], connection).differences if d.code == "OFFSET-GAP"
    ]
    assert (gap.partition, gap.first, gap.last) == (0, 0, 3)
    for table in tables:
        small.lake.open(table).delete("partition = 1")
    gaps = [d for d in verify_lake(small.lake, [modality], connection).differences if d.code == "OFFSET-GAP"]
    assert [(gap.partition, gap.first, gap.last) for gap in gaps] == [(0, 0, 3), (1, 0, 19)]
