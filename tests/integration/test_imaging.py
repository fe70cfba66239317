"""Headers of images take the way of every message: Kafka, raw, tables, what is so now; and they can be read again."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.dicom.header import Cut, find_cut
from connectors.dicom.record import Attachment, record_of
from connectors.kafka.ranges import ensure_topic
from connectors.records import Record
from jobs.decisions import Decision, Range, record
from jobs.ingest_once import ingest_once
from jobs.lake_views import lake_views
from jobs.verify_lake import verify_lake
from lake_layout.lake import LakeLocation
from pipelines.dicom.modality import DICOM
from schemas.source import Source, Sources
from schemas.tables import RAW_DICOM, TABLES
from tests.conftest import KafkaServer
from tests.dicom_headers import ROOT, dose_report, header, note
from tests.integration.setting import RECEIVED, Setting, make_setting, send

PACS = Source("pacs", institution="HOSPITAL", patient_id_role="examination")
SECOND = f"{ROOT}1.1.2"


@pytest.fixture
def setting(kafka: KafkaServer, local_location: LakeLocation, tmp_path: Path) -> Setting:
    made = make_setting(kafka.connection, local_location, tmp_path, sources=Sources.of(PACS))
    context = dataclasses.replace(made.context, modality=DICOM)
    ensure_topic(kafka.connection, context.topic, 1, {})
    context.lake.create_missing(TABLES)
    return Setting(context)


def record_for(setting: Setting, payload: bytes, number: int) -> Record:
    found = find_cut(payload, ended=True)
    assert isinstance(found, Cut)
    attachment = Attachment(f"objects/dicom/00/{number}", 1000 + number, sha256=f"{number:064}")
    at = RECEIVED + timedelta(seconds=number)
    return record_of(found, PACS, at, attachment, topic=setting.context.topic)


def test_headers_are_landed_read_and_folded(setting: Setting, kafka: KafkaServer) -> None:
    sent = [
        header(CTDIvol=7.5), header(CTDIvol=7.5), header(CTDIvol=7.5, Rows=8), header(SOPInstanceUID=SECOND),
        dose_report(), note("113001", SECOND), b"no header",
    ]  # fmt: skip
    records = [record_for(setting, one, number) for number, one in enumerate(sent[:-1])]
    records.append(dataclasses.replace(records[0], value=sent[-1]))
    send(kafka.connection, records)
    ingest_once([setting.context], ("land", "normalise", "curate"))
    assert setting.dispositions() == {"accepted": 4, "duplicate": 1, "conflict": 1, "quarantined": 1}
    with lake_views(setting.lake) as views:
        ask = views.connection.execute
        assert ask("SELECT instances, images, modalities, bytes FROM curated_imaging.study").fetchall() == [
            (3, 1, ["CT", "KO", "SR"], 3011)
        ]
        assert ask(
            "SELECT rows, attachment_uri, attachment_size FROM curated.imaging_instance WHERE is_image"
        ).fetchall() == [(8, "objects/dicom/00/2", 1002)]
        assert ask(
            "SELECT value_number FROM curated.observation WHERE observation_code = '113830' AND status = 'F'"
        ).fetchall() == [(7.5,)]
        assert ask("SELECT patient_id, examination_number FROM curated.imaging_study").fetchall() == [
            (None, "P1")
        ]
    prefix = setting.context.topic_prefix
    report = verify_lake(setting.lake, (DICOM,), kafka.connection, topic_prefix=prefix)
    assert report.clean(), report.differences

    # by now it is known that Patient ID holds the patient's number: read again, and folded from the beginning
    told = dataclasses.replace(PACS, patient_id_role="patient", patient_authorities=("CITY",))
    context = dataclasses.replace(setting.context, sources=Sources.of(told))
    record(setting.lake, RAW_DICOM.name, Decision("reprocess", "test", "role"), Range(None, None, "pacs"))
    ingest_once([context], ("land", "normalise", "curate"))
    with lake_views(setting.lake) as views:
        found = views.connection.execute(
            "SELECT patient_id, patient_authority, examination_number, instances FROM curated_imaging.study"
        ).fetchall()
        persons = views.connection.execute(
            "SELECT count(DISTINCT person_id) FROM curated_person.imaging_instance"
        ).fetchall()
    assert found == [("P1", "CITY", None, 3)]
    assert persons == [(1,)]
    report = verify_lake(setting.lake, (DICOM,), kafka.connection, topic_prefix=prefix)
    assert report.clean(), report.differences
