"""Headers of DICOM files: what is read of them, and what is told of those that deviate."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from connectors.kafka.ranges import OffsetRange
from lake_layout.objects import FolderStore
from pipelines.dicom.modality import DICOM
from pipelines.land import RecordSlice, raw_rows
from schemas.findings import DICOM_FINDINGS, FINDINGS, Severity
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT
from tests.dicom_headers import ROOT, dose_report, header, item, note

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)


def parse(*payloads: bytes, **settings: Any) -> Parsed:
    raw = pa.table(
        {
            "payload": pa.array(payloads, pa.binary()),
            "source": ["pacs"] * len(payloads),
            "received_at": pa.array([RECEIVED] * len(payloads), INSTANT),
        }
    )
    return DICOM.parse(raw, Sources.of(Source("pacs", **settings)))


def row_of(table: str, payload: bytes, **settings: Any) -> dict[str, Any]:
    parsed = parse(payload, **settings)
    assert not parsed.unreadable.num_rows, parsed.unreadable.to_pylist()
    found: list[dict[str, Any]] = parsed.tables[f"normalised/{table}"].to_pylist()
    assert len(found) == 1
    return found[0]


def envelope(payload: bytes, source: str = "pacs") -> dict[str, Any]:
    found: dict[str, Any] = DICOM.envelopes([payload], [Source(source)]).to_pylist()[0]
    return found


def test_the_envelope_names_the_instance() -> None:
    found = envelope(header())
    assert (found["control_id"], found["message_type"], found["sent_date"]) == (
        f"{ROOT}1.1.1", "DICOM^CT", "20260301",
    )  # fmt: skip
    assert found["problem"] is None


def test_an_instance_states_study_series_and_itself() -> None:
    payload = header(SliceThickness="1.25", SeriesNumber=3)
    study = row_of("imaging_study", payload)
    assert (study["study_instance_uid"], study["patient_id"]) == (f"{ROOT}1", "P1")
    assert study["started"] == datetime(2026, 3, 1, 0, 15, tzinfo=UTC)
    assert (study["started_precision"], study["started_offset"]) == ("second", 480)
    series = row_of("imaging_series", payload)
    assert (series["series_instance_uid"], series["number"]) == (f"{ROOT}1.1", 3)
    instance = row_of("imaging_instance", payload)
    assert (instance["sop_instance_uid"], instance["slice_thickness"]) == (f"{ROOT}1.1.1", 1.25)
    assert instance["is_image"]
    assert instance["codes"] == []


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit VR, as it is or with another length."""
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in {"OB", "OW", "SQ", "UN", "UT"}:
        return head + struct.pack("<HI", 0, size) + value
    return head + struct.pack("<H", size) + value


def with_element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """A header that ends with an element of our own."""
    return header() + element(tag, vr, value, length)


def codes_of(payload: bytes, **settings: Any) -> set[str]:
    parsed = parse(payload, **settings)
    if parsed.unreadable.num_rows:
        return set(parsed.unreadable.column("code").to_pylist())
    return set(parsed.messages.column("codes").to_pylist()[0])


def renamed(payload: bytes, charset: str) -> bytes:
    """A header that claims another character set: pydicom would warn of some, and write its texts in it."""
    own = charset.encode("ascii").ljust(len(charset) + len(charset) % 2)
    was = b"CS\x0a\x00ISO_IR 192"
    assert was in payload
    return payload.replace(was, b"CS" + struct.pack("<H", len(own)) + own, 1)


def text_of(declared: str | None, raw: bytes, **settings: Any) -> tuple[str, str, set[str]]:
    """The description of a study whose bytes and declared character set are given: text, codec used, codes."""
    payload = header(
        StudyDescription="@" * (len(raw) + len(raw) % 2), SpecificCharacterSet=declared and "ISO_IR 192"
    )
    payload = renamed(payload, declared) if declared else payload
    payload = payload.replace(b"@" * (len(raw) + len(raw) % 2), raw + b" " * (len(raw) % 2))
    row = row_of("imaging_study", payload, **settings)
    return (
        row["description"],
        row_of("imaging_instance", payload, **settings)["charset_used"],
        codes_of(payload, **settings),
    )


CORPUS = sorted(
    {Path(one) for one in (*get_testdata_files(), *get_charset_files()) if one and Path(one).is_file()}
)


def test_every_file_of_the_package_ends_in_a_row_or_a_coded_finding() -> None:
    payloads = [path.read_bytes() for path in CORPUS]
    parsed = parse(*payloads)
    rows = parsed.tables["normalised/imaging_instance"]
    readable, unreadable = (
        set(one.column("row").to_pylist()) for one in (parsed.messages, parsed.unreadable)
    )
    assert readable == set(rows.column("row").to_pylist())
    assert readable.isdisjoint(unreadable)
    assert readable | unreadable == set(range(len(payloads)))
    assert len(readable) > 150
    assert {
        code for codes in parsed.messages.column("codes").to_pylist() for code in codes
    } <= FINDINGS.keys()
    for code, severity in zip(
        parsed.unreadable.column("code").to_pylist(), ["quarantined"] * len(unreadable), strict=True
    ):
        assert FINDINGS[code].severity.value == severity
    problems = DICOM.envelopes(payloads, [Source("pacs")] * len(payloads)).column("problem").to_pylist()
    assert {place for place, problem in enumerate(problems) if problem} == unreadable
    for attributes in rows.column("attributes").to_pylist():
        json.loads(attributes)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "reportsi.dcm",
     "chrH31.dcm", "chrX2.dcm", "chrH32.dcm", "chrI2.dcm", "chrSQEncoding.dcm", "rtplan.dcm", "priv_SQ.dcm",
     "UN_sequence.dcm",
     "SC_rgb_rle_16bit.dcm", "examples_ybr_color.dcm"],
)  # fmt: skip
def test_values_are_those_that_pydicom_reads(name: str) -> None:
    path = next(one for one in CORPUS if one.name == name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        wanted = json.loads(json.dumps(read.to_json_dict(bulk_data_threshold=10**9)))
    row = row_of("imaging_instance", path.read_bytes())
    found = json.loads(row["attributes"])
    assert not {tag for tag in found if tag not in wanted}
    for tag, one in found.items():
        if (
            one["vr"] != "UN" and "BulkDataURI" not in one
        ):  # pydicom knows some private elements, and keeps all
            assert alike(one) == alike(wanted[tag]), tag


def alike(value: Any) -> Any:
    """DICOM JSON without what may be written in two ways: numbers as texts, empty values, bulk data, padding."""
    if isinstance(value, dict):
        if "InlineBinary" in value or "BulkDataURI" in value:
            return value["vr"] if value["vr"] != "OB or OW" else "OW"
        return {
            name: alike(one) for name, one in value.items() if one not in ([], [None], [""], None, "", [{}])
        }
    if isinstance(value, list):
        return [alike(one) for one in value]
    if isinstance(value, str):
        value = value.replace("\r\n", "\n").strip(" \0\n")
        try:
            return float(value)
        except ValueError:
            return value or None
    return float(value) if isinstance(value, int | float) else value


# Frames and elements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_header_says_the_same_in_every_syntax(syntax: str) -> None:
    attributes: dict[str, Any] = {
        "PatientName": "Li^Wei",
        "WindowCenter": "40",
        "CTDIvol": 7.5,
        "BitsStored": 12,
    }
    rows = []
    for one in (header(**attributes), header(syntax, **attributes)):
        row = row_of("imaging_instance", one)
        rows.append({name: value for name, value in row.items() if name != "transfer_syntax_uid"})
        assert codes_of(one) == set()
    assert rows[0] == rows[1]


def test_a_deflated_header_is_read_as_far_as_it_goes() -> None:
    plain = header(DeflatedExplicitVRLittleEndian)
    assert row_of("imaging_study", plain)["patient_id"] == "P1"
    cut = plain[: len(plain) - 20]  # cut in the deflated part
    assert row_of("imaging_instance", cut)["sop_instance_uid"] == f"{ROOT}1.1.1"


def test_a_header_without_its_frame_is_read_by_how_it_looks() -> None:
    for syntax in (None, ImplicitVRLittleEndian):
        whole = header(syntax) if syntax else header()
        bare = whole[whole.index(b"\x08\x00\x16\x00", 300) :]
        assert codes_of(bare) == {"DICOM-PREAMBLE-MISSING", "DICOM-META-MISSING"}
        assert row_of("imaging_study", bare)["patient_id"] == "P1"


def test_private_attributes_and_sequences_are_kept_as_json() -> None:
    payload = header(RequestAttributesSequence=[item(ScheduledProcedureStepID="S1", PatientName="Li^Wei=李^伟")],
                     SpecificCharacterSet="ISO_IR 192", ConvolutionKernel=["H30s", "2"])  # fmt: skip
    payload += (
        element(0x00910010, "LO", b"ACME")
        + element(0x00911001, "UN", b"\1\2")
        + element(0x00911002, "OB", b"\0" * 1000)
    )
    row = row_of("imaging_instance", payload)
    found = json.loads(row["attributes"])
    assert found["00910010"] == {"vr": "LO", "Value": ["ACME"]}
    assert found["00911001"] == {"vr": "UN", "InlineBinary": "AQI="}
    assert found["00911002"] == {"vr": "OB", "BulkDataURI": f"?offset={len(payload) - 1000}&length=1000"}
    step = found["00400275"]["Value"][0]
    assert step["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Li^Wei", "Ideographic": "李^伟"}]}
    assert row_of("imaging_series", payload)["scheduled_step_id"] == "S1"
    assert row["convolution_kernel"] == ["H30s", "2"]
    assert "00181210" not in found  # a column holds it


def test_where_the_object_lies_goes_with_the_row() -> None:
    raw = pa.table(
        {
            "payload": pa.array([header()], pa.binary()), "source": ["pacs"],
            "received_at": pa.array([RECEIVED], INSTANT), "attachment_uri": ["objects/dicom/ab/abc"],
            "attachment_size": pa.array([70000]), "attachment_sha256": ["abc"],
            "attachment_etag": pa.array([None], pa.string()),
        }
    )  # fmt: skip
    (row,) = DICOM.parse(raw, Sources.of()).tables["normalised/imaging_instance"].to_pylist()
    assert (row["attachment_uri"], row["attachment_size"], row["attachment_etag"]) == (
        "objects/dicom/ab/abc", 70000, None,
    )  # fmt: skip


def test_what_a_record_says_of_its_object_lands_with_it(tmp_path: Path) -> None:
    told = {
        "source": b"pacs", "attachment-uri": b"objects/dicom/ab/abc", "attachment-size": b"70000",
        "attachment-sha256": b"abc",
    }  # fmt: skip
    odd = {"attachment-size": b"many", "attachment-uri": b"\xff"}
    records = RecordSlice([0, 1, 2], [0, 0, 0], [header(), header(), b""], [told, odd, {}])
    span = OffsetRange("raw.dicom", "T", 0, 0, 3)
    raw = raw_rows(span, records, DICOM, Sources.of(), FolderStore(tmp_path))
    names = [name for name in raw.column_names if name.startswith("attachment_")]
    assert raw.select(names).to_pylist() == [
        {"attachment_uri": "objects/dicom/ab/abc", "attachment_size": 70000, "attachment_sha256": "abc",
         "attachment_etag": None},
        {"attachment_uri": "\ufffd", "attachment_size": None, "attachment_sha256": None, "attachment_etag": None},
        dict.fromkeys(names),
    ]  # fmt: skip
    assert raw.column("control_id").to_pylist() == [f"{ROOT}1.1.1", f"{ROOT}1.1.1", None]
    assert raw.column("problem").to_pylist() == [None, None, "RECORD-EMPTY"]


# What names whom ---------------------------------------------------------------------------------------------------


def test_the_same_content_is_the_same_and_another_is_not() -> None:
    one, again, changed = envelope(header()), envelope(header()), envelope(header(Rows=5))
    other = envelope(header(), source="clinic")
    assert one == again
    assert one["id_hash"] == changed["id_hash"] != other["id_hash"]
    assert one["content_hash"] != changed["content_hash"]


def test_the_date_of_an_instance_is_its_study_s_else_the_next_that_is_there() -> None:
    assert envelope(header(StudyDate="", ContentDate="20260405"))["sent_date"] == "20260405"
    assert (
        envelope(header().replace(b"DA\x08\x0020260301", b"DA\x0a\x002026.03.02"))["sent_date"] == "20260302"
    )
    assert envelope(header(StudyDate=None))["sent_date"] is None


def test_a_patient_has_the_issuer_that_is_stated_else_that_of_the_source() -> None:
    others = [item(PatientID="ID9", IssuerOfPatientID="CITY", TypeOfPatientID="TEXT")]
    payload = header(IssuerOfPatientID="HOSPITAL", OtherPatientIDsSequence=others)
    row = row_of("imaging_study", payload)
    assert (row["patient_id"], row["patient_authority"]) == ("P1", "HOSPITAL")
    assert row["identifiers"] == [
        {"value": "P1", "authority": "HOSPITAL", "type": None}, {"value": "ID9", "authority": "CITY", "type": "TEXT"},
    ]  # fmt: skip
    assert row_of("imaging_study", header())["patient_authority"] == "pacs/pacs"
    assert row_of("imaging_study", header(), patient_authorities=("CITY",))["patient_authority"] == "CITY"


def test_patient_id_may_hold_the_number_of_an_examination() -> None:
    others = [item(PatientID="ID9", IssuerOfPatientID="CITY")]
    row = row_of("imaging_study", header(OtherPatientIDsSequence=others), patient_id_role="examination")
    assert (row["patient_id"], row["patient_authority"], row["examination_number"]) == ("ID9", "CITY", "P1")
    row = row_of("imaging_study", header(), patient_id_role="examination")
    assert (row["patient_id"], row["identifiers"], row["examination_number"]) == (None, None, "P1")


def test_times_are_read_in_the_zone_that_is_stated_else_in_the_source_s() -> None:
    row = row_of("imaging_study", header(TimezoneOffsetFromUTC="+0900", StudyTime="0815"))
    assert row["started"] == datetime(2026, 2, 28, 23, 15, tzinfo=UTC)
    assert (row["started_precision"], row["started_offset"]) == ("minute", 540)
    summer = row_of("imaging_study", header(StudyDate="19880701", StudyTime="080000.25"))
    assert (summer["started_precision"], summer["started_offset"]) == ("fraction", 540)
    plain = row_of("imaging_study", header(StudyTime=""), time_zone="Europe/Berlin")
    assert (plain["started_precision"], plain["started_offset"]) == ("day", 60)
    exact = row_of("imaging_instance", header(AcquisitionDateTime="20260301081500.5-0100"))
    assert exact["acquired_exactly"] == datetime(2026, 3, 1, 9, 15, 0, 500000, UTC)
    assert row_of("imaging_study", header(PatientBirthDate="19600229"))["birth_date"] == date(1960, 2, 29)


# Character sets ----------------------------------------------------------------------------------------------------

NAME = "李^伟"


@pytest.mark.parametrize(
    ("declared", "codec", "settings", "codes"),
    [
        ("ISO_IR 192", "utf-8", {}, set()),
        ("GB18030", "gb18030", {}, set()),
        ("GBK", "gb18030", {}, set()),
        (None, "utf-8", {}, {"DICOM-CHARSET-MISSING"}),
        (None, "gb18030", {"charset": "gb18030"}, {"DICOM-CHARSET-MISSING"}),
        (None, "gb18030", {}, {"DICOM-CHARSET-GUESSED"}),
        ("ISO_IR 192", "gb18030", {"charset": "gb18030"}, {"DICOM-CHARSET-MISMATCH"}),
        ("ISO_IR 192", "gb18030", {}, {"DICOM-CHARSET-GUESSED"}),
        ("GB18030", "utf-8", {}, {"DICOM-CHARSET-MISMATCH"}),
        ("ISO_IR 100", "gb18030", {"charset": "gb18030"}, {"DICOM-CHARSET-MISMATCH"}),
        ("ISO_IR 100", "utf-8", {}, {"DICOM-CHARSET-MISMATCH"}),
        ("ISO_IR 999", "utf-8", {}, {"DICOM-CHARSET-UNKNOWN"}),
    ],
)
def test_a_name_is_read_in_the_character_set_that_fits(
    declared: str | None, codec: str, settings: dict[str, str], codes: set[str]
) -> None:
    raw = "李伟 胸部增强扫描".encode(codec)
    if (declared, codec) == ("GB18030", "utf-8"):
        raw = "李伟 胸部增强扫描。".encode()  # no text of GB 18030
    text, used, found = text_of(declared, raw, **settings)
    assert text == raw.decode(codec)
    assert used == codec
    assert found == codes


def test_a_claim_that_fits_any_bytes_is_believed_and_doubted() -> None:
    text, used, codes = text_of("ISO_IR 100", "李伟".encode("gb18030"))
    assert (text, used, codes) == ("ÀîÎ°", "iso8859-1", {"DICOM-CHARSET-DOUBTFUL"})
    assert text_of("ISO_IR 100", "Müller".encode("latin-1")) == ("Müller", "iso8859-1", set())


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        (["", "ISO 2022 IR 58"], b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab=", "王^小东"),
        (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=", "洪^吉洞"),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", "山田^太郎"),
    ],
)
def test_names_with_escape_sequences_have_their_groups(declared: list[str], raw: bytes, text: str) -> None:
    size = len(raw) + len(raw) % 2
    payload = header(PatientName="@" * size, SpecificCharacterSet=declared)
    row = row_of("imaging_study", payload.replace(b"@" * size, raw.ljust(size)))
    assert row["patient_name_ideographic"] == text
    assert row["patient_name_alphabetic"] == raw.split(b"=")[0].decode()
    assert row["patient_name_phonetic"] is None


# Findings ----------------------------------------------------------------------------------------------------------

_DEEP = b"".join(
    [
        struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF),
        struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF),
    ] * 40
)  # fmt: skip


def bare_meta() -> bytes:
    """File meta information in implicit VR before a data set in explicit VR."""
    whole = header()
    start = whole.index(b"\x08\x00\x16\x00", 300)
    syntax = b"1.2.840.10008.1.2.1\0"
    return whole[:132] + struct.pack("<HHI", 2, 0x10, len(syntax)) + syntax + whole[start:]


def damaged() -> bytes:
    """A deflated header of one block as it is, and one that no block is."""
    whole = header(DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    plain = zlib.decompress(whole[start:], -15)
    return whole[:start] + struct.pack("<BHH", 0, len(plain), len(plain) ^ 0xFFFF) + plain + b"\xff\xff"


PROVOKED: dict[str, bytes] = {
    "DICOM-NOT-DICOM": b"MSH|^~\\&|",
    "DICOM-NO-DATA-SET": header()[:-1][: header().index(b"\x08\x00\x16\x00", 300)],
    "DICOM-UID-MISSING": (bare := header(SOPInstanceUID=None))[bare.index(b"\x08\x00\x16\x00", 300) :],
    "DICOM-PREAMBLE-MISSING": header()[128:],
    "DICOM-META-MISSING": header()[header().index(b"\x08\x00\x16\x00", 300) :],
    "DICOM-META-IMPLICIT": bare_meta(),
    "DICOM-SYNTAX-WRONG": header().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"),
    "DICOM-DEFLATE": damaged(),
    "DICOM-VR-UNKNOWN": with_element(0x00400254, "??", b""),
    "DICOM-TRUNCATED": with_element(0x00400254, "LO", b"abc", 20),
    "DICOM-STRUCTURE": with_element(0x00400275, "SQ", b"\0" * 16),
    "DICOM-DEPTH": header() + _DEEP,
    "DICOM-LENGTH-ODD": with_element(0x00400254, "LO", b"abc"),
    "DICOM-ORDER": with_element(0x00100020, "LO", b"P2"),
    "DICOM-TAG-REPEATED": with_element(0x00100020, "LO", b"P2"),
    "DICOM-UID-INVALID": header().replace(f"{ROOT}1.1.1".encode(), f"{ROOT}1.1.x".encode()),
    "DICOM-UID-FROM-META": header(SOPInstanceUID=None),
    "DICOM-STUDY-MISSING": header(StudyInstanceUID=None),
    "DICOM-PATIENT-ID-MISSING": header(PatientID=""),
    "DICOM-TIME-INVALID": header().replace(b"20260301", b"20261301"),
    "DICOM-NUMBER-INVALID": with_element(0x00400316, "DS", b"3 dGy "),
    "DICOM-CHARSET-UNKNOWN": renamed(header(SpecificCharacterSet="ISO_IR 192"), "ISO_IR 999"),
    "DICOM-CHARSET-MISSING": with_element(0x00400254, "LO", "李伟".encode()),
    "DICOM-CHARSET-MISMATCH": header(SpecificCharacterSet="ISO_IR 100") + element(0x00400254, "LO", "李伟".encode()),
    "DICOM-CHARSET-GUESSED": with_element(0x00400254, "LO", "李伟".encode("gb18030")),
    "DICOM-CHARSET-DOUBTFUL": header(SpecificCharacterSet="ISO_IR 100") + element(
        0x00400254, "LO", "李伟".encode("gb18030")
    ),
    "DICOM-REJECTION-EMPTY": note("113001"),
    "DICOM-DOSE-EMPTY": dose_report().replace(b"113811", b"113899").replace(b"113819", b"113898"),
}  # fmt: skip


def test_of_several_uids_the_first_is_used_and_told() -> None:
    parsed = parse(header(StudyInstanceUID=f"{ROOT}1\\{ROOT}2"))
    assert parsed.tables["normalised/imaging_study"].column("study_instance_uid").to_pylist() == [f"{ROOT}1"]
    assert parsed.messages.column("codes").to_pylist() == [["DICOM-UID-INVALID"]]


@pytest.mark.parametrize("code", [one.code for one in DICOM_FINDINGS if one.severity is not Severity.IGNORED])
def test_every_finding_is_provoked(code: str) -> None:
    assert code in codes_of(PROVOKED[code])


def test_a_directory_is_no_instance() -> None:
    found = envelope(header(SOPClassUID="1.2.840.10008.1.3.10", Modality=None))
    assert found["message_type"] == "DICOM^DICOMDIR"
    raw = pa.table({"message_type": ["DICOM^DICOMDIR", "DICOM^CT", None]})
    assert DICOM.triage(raw, Sources.of()).to_pylist() == ["DICOM-DIRECTORY", None, None]


def test_findings_say_where() -> None:
    rows = parse(PROVOKED["DICOM-TIME-INVALID"]).tables["normalised/finding"].to_pylist()
    assert ("DICOM-TIME-INVALID", "00080020", "warning") in {
        (one["code"], one["segment"], one["severity"]) for one in rows
    }


def test_what_a_deflated_bomb_holds_is_not_read() -> None:
    whole = header(DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = zlib.decompress(whole[start:], -15) + element(0x00910010, "OB", b"\0" * 2**27)
    bomb = whole[:start] + pack.compress(plain) + pack.flush()
    assert len(bomb) < 2**18
    assert "DICOM-DEFLATE" in codes_of(bomb)


def test_versions_are_ordered_by_receipt() -> None:
    assert row_of("imaging_instance", header())["version_time"] == RECEIVED
    later = parse(header()).messages.column("event_time").to_pylist()
    assert later == [datetime(2026, 3, 1, 0, 15, tzinfo=UTC)]
    assert RECEIVED - later[0] > timedelta(days=1)


def test_many_headers_are_read_as_few_are() -> None:
    few = [header(), header(Rows=None, PatientID="", Modality="MR"), dose_report(), b"none"]
    parsed = parse(*few * 600)
    once = parse(*few)
    for name, rows in once.tables.items():
        found = parsed.tables[name]
        assert found.num_rows == 600 * rows.num_rows
        assert found.column_names == rows.column_names
        last = found.slice(599 * rows.num_rows).drop_columns(["row"])
        assert last.to_pylist() == rows.drop_columns(["row"]).to_pylist()
    assert parsed.unreadable.column("row").to_pylist() == list(range(3, 2400, 4))


@pytest.mark.parametrize("payload", [b"", b"MSH|^~\\&|", b"\0" * 200])
def test_other_bytes_are_put_aside(payload: bytes) -> None:
    assert parse(payload).unreadable.column("code").to_pylist() == ["DICOM-NOT-DICOM"]
    assert envelope(payload)["problem"] == "DICOM-NOT-DICOM"
