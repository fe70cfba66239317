"""The city's images: studies of CT, MR, ultrasound and CR, and beside each object what must become of it.

Two archives have them. One sends by C-STORE, in UTF-8; the other is a folder of files, in GB 18030, of which some do
not say so. Among them are objects that are sent again, corrections, rejections, radiation dose reports, images that
come late, and some that come with another patient. Pixels are few and the same each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from jobs.city.institutions import INSTITUTIONS
from jobs.city.people import Person, person
from jobs.city.truth import Expected, Row, Truth
from schemas.source import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STUDIES_BASE: Final = datetime(2026, 3, 2, 7, 30, tzinfo=timezone(timedelta(hours=8)))
"""When the first study starts."""

_INSTITUTIONS: Final = {one.code: one for one in INSTITUTIONS}
_ROOT: Final = "1.2.826.0.1.3680043.10.1493."
_SOP_CLASSES: Final = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "SR": "1.2.840.10008.5.1.4.1.1.88.67",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
}
_WHAT: Final = {
    "CT": ("胸部CT平扫", "CHEST"),
    "MR": ("头颅MR平扫", "HEAD"),
    "US": ("腹部超声", "ABDOMEN"),
    "CR": ("胸部正位片", "CHEST"),
}  # fmt: skip
_SIDE: Final = 4
"""Rows and columns of each image."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where images come from.

    Attributes:
        source: name of the connection.
        institution: whose it is.
        declares: Specific Character Set that it writes; None for nothing.
        codec: what its texts are in.
        sends: whether it sends by C-STORE; else it is a folder that is harvested.
    """

    source: str
    institution: str
    declares: str | None
    codec: str
    sends: bool

    def settings(self) -> Source:
        """What the lake must know of it: who assigns its patients' numbers, and what its texts are in."""
        return Source(
            self.source, institution=self.institution, charset=self.codec, patient_authorities=(self.institution,)
        )  # fmt: skip

    def toml(self, port: int) -> str:
        """Its ``[[sources]]``; ``port`` is the listener's, of one that sends."""
        lines = [
            "[[sources]]", f'name = "{self.source}"', f'institution = "{self.institution}"',
            f'charset = "{self.codec}"', f'patient_authorities = ["{self.institution}"]',
        ]  # fmt: skip
        lines += ['protocol = "dicom"', f"port = {port}"] if self.sends else []
        return "\n".join(lines) + "\n"


SENDING: Final = Archive("city01-pacs", "CITY01", "ISO_IR 192", "utf-8", sends=True)
FOLDER: Final = Archive("coun01-pacs", "COUN01", "GB18030", "gb18030", sends=False)
ARCHIVES: Final = (SENDING, FOLDER)


@dataclass(frozen=True)
class Image:
    """An object on its way.

    Attributes:
        archive: where it comes from.
        name: of its file.
        payload: the whole file.
        expected: what must become of it.
        rows: the rows it must become, by table.
    """

    archive: Archive
    name: str
    payload: bytes
    expected: Expected
    rows: dict[str, list[Row]]


@dataclass(frozen=True)
class Study:
    """A study while it is made up."""

    archive: Archive
    number: int
    modality: str
    who: Person
    at: datetime

    @property
    def uid(self) -> str:
        return f"{_ROOT}{'1' if self.archive.sends else '2'}.{self.number}"

    @property
    def accession(self) -> str:
        return f"{self.archive.institution}A{self.number:05d}"

    @property
    def patient_id(self) -> str:
        """The number that the institution files them under in its messages too."""
        return self.who.record_number(_INSTITUTIONS[self.archive.institution])


@dataclass
class Counts:
    """What is so of a study at the end."""

    instances: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    series: set[str] = field(default_factory=set)
    modalities: set[str] = field(default_factory=set)


class Studies:
    """Makes up images.

    Args:
        seed: the same seed gives the same bytes.
        studies: how many of each archive; the first four have one of each modality.
        base: when the first one starts.
    """

    def __init__(self, seed: int, studies: int = 6, base: datetime = STUDIES_BASE) -> None:
        self.truth = Truth()
        self._rng = Random(f"{seed} images")  # noqa: S311 - repeatable on purpose
        residents = Random(seed)  # noqa: S311
        self._people = [person(residents, number) for number in range(100)]
        self._studies, self._base = studies, base
        self._current: dict[tuple[str, str], tuple[str, str, str, bool]] = {}

    def images(self, archive: Archive, numbers: range | None = None) -> Iterator[Image]:
        """Objects of an archive, in the order in which they are sent; ``truth`` grows with them.

        Args:
            archive: whose.
            numbers: of its studies; None for all.
        """
        for image in self._made(archive, numbers or range(1, self._studies + 1)):
            self.truth.add(image.expected, image.rows)
            yield image

    def now(self) -> dict[tuple[str, str, str], tuple[int, int, int, tuple[str, ...]]]:
        """What is so of each study once all that was yielded is in.

        Returns:
            (source, Study Instance UID, patient ID) → instances, images, series, modalities.
        """
        found: dict[tuple[str, str, str], Counts] = defaultdict(Counts)
        for (source, uid), (study, patient, series, is_image) in self._current.items():
            counts = found[source, study, patient]
            counts.instances.add(uid)
            counts.series.add(series.partition(" ")[0])
            counts.modalities.add(series.partition(" ")[2])
            if is_image:
                counts.images.add(uid)
        return {
            key: (len(one.instances), len(one.images), len(one.series), tuple(sorted(one.modalities)))
            for key, one in found.items()
        }

    def _made(self, archive: Archive, numbers: range) -> Iterator[Image]:
        late: list[Image] = []
        for number in numbers:
            modality = ("CT", "CR", "MR", "US")[(number - 1) % 4]
            started = self._base + timedelta(hours=7 * number, minutes=self._rng.randrange(60))
            who = self._people[self._rng.randrange(len(self._people) - 1)]
            study = Study(archive, number, modality, who, started)
            silent = not archive.sends and number % 3 == 0  # does not say its character set
            slices = [
                self._image(study, place, silent=silent) for place in range(1, {"CT": 7, "MR": 5}.get(modality, 3))
            ]  # fmt: skip
            yield from slices[:-1]
            late.append(slices[-1])  # comes after all other studies
            yield replace(slices[0], name=f"again-{slices[0].name}", expected=replace(
                slices[0].expected, disposition="duplicate"
            ))  # fmt: skip
            if modality == "CT":
                yield self._dose(study, silent=silent)
                yield self._rejection(study, slices[1].expected.control_id, silent=silent)
            if modality == "CR":
                yield self._image(study, 1, silent=silent, corrected=True)
            if modality == "US":
                other = replace(study, who=self._people[-1])
                yield self._image(other, 9, silent=silent)
        yield from late

    # Objects

    def _image(self, study: Study, place: int, *, silent: bool, corrected: bool = False) -> Image:
        what, body_part = _WHAT[study.modality]
        own: dict[str, object] = {"InstanceNumber": place, "Rows": _SIDE, "Columns": _SIDE}
        columns: Row = {"number": place, "rows": _SIDE, "columns": _SIDE, "is_image": True}
        if study.modality == "CT":
            own |= {"KVP": "120", "SliceThickness": "1.25", "CTDIvol": 7.5, "ConvolutionKernel": "B30f"}
            columns |= {"kvp": 120.0, "slice_thickness": 1.25, "ctdi_vol": 7.5}
        if study.modality == "MR":
            own |= {"MagneticFieldStrength": "1.5", "EchoTime": "90", "RepetitionTime": "4000"}
            columns |= {"magnetic_field_strength": 1.5, "echo_time": 90.0, "repetition_time": 4000.0}
        if study.modality == "US":
            own |= {"NumberOfFrames": 2, "TransducerType": "SECTOR_PHASED"}
            columns |= {"frames": 2, "transducer_type": "SECTOR_PHASED"}
        if study.modality == "CR":
            own |= {"ViewPosition": "PA", "ExposureIndex": "400"}
            columns |= {"view_position": "PA", "exposure_index": 400.0}
        described = f"{what}(更正)" if corrected else what
        own |= {"StudyDescription": described, "BodyPartExamined": body_part}
        frames = 2 if study.modality == "US" else 1
        own |= {"PixelData": bytes(range(_SIDE * _SIDE)) * frames}
        disposition = "conflict" if corrected else "accepted"
        image = self._object(study, (study.modality, 1, place), own, columns, disposition, silent=silent)
        _rows(image, "imaging_study")[0]["description"] = described
        _rows(image, "imaging_series")[0]["body_part"] = body_part
        if study.modality == "CT":
            image.rows["normalised/observation"] = [
                self._dose_row(image, study, ("73569-6", "LN"), ("113830", "7.5", "mGy"), f"{study.uid}.1", 0)
            ]
        return image

    def _dose(self, study: Study, *, silent: bool) -> Image:
        measured = (("113812", "1", "{events}"), ("113813", "301.5", "mGy.cm"))
        each = (("113830", "7.5", "mGy"), ("113838", "301.5", "mGy.cm"))
        event = f"{study.uid}.7"
        content = [
            _container("113811", [_number(*one) for one in measured]),
            _container(
                "113819", [_uid("113769", event), _container("113829", [_number(*one) for one in each])]
            ),
        ]
        own = {
            "CompletionFlag": "COMPLETE", "VerificationFlag": "UNVERIFIED", "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": [_code("113701", "X-Ray Radiation Dose Report")], "ContentSequence": content,
        }  # fmt: skip
        columns: Row = {
            "is_image": False, "title_code": "113701", "completion": "COMPLETE", "verification": "UNVERIFIED",
        }  # fmt: skip
        image = self._object(study, ("SR", 8, 1), own, columns, "accepted", silent=silent)
        report = ("113701", "DCM")
        image.rows["normalised/observation"] = [
            self._dose_row(image, study, report, one, sub, place)
            for place, (one, sub) in enumerate(
                [*((one, None) for one in measured), *((one, event) for one in each)]
            )
        ]
        image.rows["normalised/diagnostic_report"] = [
            {**_origin(image, place), **_service(*service), "filler_order": study.uid, "status": status,
             "patient_id": study.patient_id}
            for place, (service, status) in enumerate(((report, "F"), (("73569-6", "LN"), "X")))
        ]  # fmt: skip
        return image

    def _rejection(self, study: Study, rejected: str, *, silent: bool) -> Image:
        refers = _item(ReferencedSOPClassUID=_SOP_CLASSES["CT"], ReferencedSOPInstanceUID=rejected)
        series = _item(SeriesInstanceUID=f"{study.uid}.1", ReferencedSOPSequence=[refers])
        own = {
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": [_code("113001", "Rejected for Quality Reasons")],
            "CurrentRequestedProcedureEvidenceSequence": [
                _item(StudyInstanceUID=study.uid, ReferencedSeriesSequence=[series])
            ],
        }
        columns: Row = {"is_image": False, "title_code": "113001"}
        image = self._object(study, ("KO", 9, 1), own, columns, "accepted", silent=silent)
        image.rows["normalised/imaging_rejection"] = [
            {**_origin(image, 0), "study_instance_uid": study.uid, "series_instance_uid": f"{study.uid}.1",
             "sop_instance_uid": rejected, "status": "rejected", "reason": "113001"}
        ]  # fmt: skip
        del self._current[study.archive.source, rejected]
        return image

    def _object(
        self, study: Study, what: tuple[str, int, int], own: Mapping[str, object], columns: Row, disposition: str, *,
        silent: bool,
    ) -> Image:  # fmt: skip
        """A file with its rows of study, series and instance."""
        modality, series, place = what
        archive, who = study.archive, study.who
        series_uid, uid = f"{study.uid}.{series}", f"{study.uid}.{series}.{place}"
        declared = None if silent else archive.declares
        alphabetic = f"P{who.number:05d}^{who.gender}"
        ideographic = f"{who.family}^{who.given}"
        given = {
            "SpecificCharacterSet": declared, "SOPClassUID": _SOP_CLASSES[modality], "SOPInstanceUID": uid,
            "StudyDate": f"{study.at:%Y%m%d}", "StudyTime": f"{study.at:%H%M%S}", "AccessionNumber": study.accession,
            "Modality": modality, "Manufacturer": "演示影像", "PatientName": f"{alphabetic}={ideographic}",
            "PatientID": study.patient_id, "PatientBirthDate": f"{who.born:%Y%m%d}", "PatientSex": who.gender,
            "StudyInstanceUID": study.uid, "SeriesInstanceUID": series_uid, "StudyID": str(study.number),
            "SeriesNumber": series, **own,
        }  # fmt: skip
        codes: list[str] = ["DICOM-CHARSET-MISSING"] if silent else []
        image = Image(
            archive, f"{modality.lower()}-{study.number:03d}-{series}-{place:03d}.dcm",
            _file(given, archive, silent=silent), Expected(archive.source, uid, disposition),
            {},
        )  # fmt: skip
        about: Row = {
            "institution": archive.institution, "message_type": f"DICOM^{modality}",
            "event_date": f"{study.at:%Y-%m-%d}", "event_time": _utc(study.at), "event_time_precision": "second",
        }  # fmt: skip
        origin: Row = {**_origin(image, 0), **about}
        subject: Row = {"patient_id": study.patient_id, "patient_authority": archive.institution}
        uids: Row = {"study_instance_uid": study.uid, "series_instance_uid": series_uid}
        image.rows["normalised/imaging_study"] = [
            {**origin, **subject, "study_instance_uid": study.uid, "accession_number": study.accession,
             "patient_name_alphabetic": alphabetic, "patient_name_ideographic": ideographic,
             "birth_date": f"{who.born:%Y-%m-%d}", "gender": who.gender, "started": _utc(study.at),
             "study_id": str(study.number)}
        ]  # fmt: skip
        image.rows["normalised/imaging_series"] = [
            {**origin, **subject, **uids, "modality": modality, "number": series, "manufacturer": "演示影像"}
        ]
        image.rows["normalised/imaging_instance"] = [
            {**origin, **subject, **uids, "sop_instance_uid": uid, "sop_class_uid": _SOP_CLASSES[modality],
             "modality": modality, "status": "current", "charset_declared": declared, "charset_used": archive.codec,
             "charset_guessed": False, "codes": codes, **columns}
        ]  # fmt: skip
        if silent:
            image.rows["normalised/finding"] = [
                {**origin, "code": codes[0], "severity": "warning", "segment": "00080005", "codes": codes}
            ]
        self._current[archive.source, uid] = (
            study.uid, study.patient_id, f"{series_uid} {modality}", bool(columns["is_image"]),
        )  # fmt: skip
        return image

    def _dose_row(
        self, image: Image, study: Study, service: tuple[str, str], measured: tuple[str, str, str], sub_id: str | None,
        place: int,
    ) -> Row:  # fmt: skip
        code, text, unit = measured
        return {
            **_origin(image, place), **_service(*service), "filler_order": study.uid, "patient_id": study.patient_id,
            "observation_code": code, "observation_system": "DCM", "sub_id": sub_id, "line": 0, "value_type": "NM",
            "value_text": text, "value_number": float(text), "unit_code": unit, "unit_system": "UCUM", "status": "F",
        }  # fmt: skip


def studies_of(seed: int) -> tuple[Studies, list[Image]]:
    """All the city's images, of both archives."""
    studies = Studies(seed)
    return studies, [image for archive in ARCHIVES for image in studies.images(archive)]


def write_images(images: list[Image], folder: Path) -> dict[str, int]:
    """Write the files of each archive into a folder of its own, named so that they are sent in their order.

    Returns:
        How many there are, by source.
    """
    counts: dict[str, int] = {}
    for image in images:
        number = counts[image.archive.source] = counts.get(image.archive.source, 0) + 1
        path = folder / image.archive.source / f"{number:04d}-{image.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.payload)
    return counts


def studies_settings(port: int) -> str:
    """TOML with one ``[[sources]]`` for each archive; the one that sends has a port of the listener."""
    return "\n".join(["", *(archive.toml(port) for archive in ARCHIVES)])


def _rows(image: Image, table: str) -> list[Row]:
    return image.rows[f"normalised/{table}"]


def _origin(image: Image, place: int) -> Row:
    return {"source": image.expected.source, "control_id": image.expected.control_id, "segment_index": place}


def _service(code: str, system: str) -> Row:
    return {"service_code": code, "service_system": system}


def _utc(at: datetime) -> str:
    return f"{at - (at.utcoffset() or timedelta(0)):%Y-%m-%dT%H:%M:%SZ}"


# Writing with pydicom ----------------------------------------------------------------------------------------------


def _item(**attributes: object) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    made = Dataset()
    for name, value in attributes.items():
        if value is not None:
            items = value if isinstance(value, list) and isinstance(value[0], Dataset) else None
            setattr(made, name, value if items is None else Sequence(items))
    return made


def _code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _container(code: str, content: list[Dataset]) -> Dataset:
    return _item(
        RelationshipType="CONTAINS", ValueType="CONTAINER", ConceptNameCodeSequence=[_code(code, code)],
        ContentSequence=content,
    )  # fmt: skip


def _number(code: str, value: str, unit: str) -> Dataset:
    measured = _item(NumericValue=value, MeasurementUnitsCodeSequence=[_code(unit, unit, "UCUM")])
    return _item(
        RelationshipType="CONTAINS", ValueType="NUM", ConceptNameCodeSequence=[_code(code, code)],
        MeasuredValueSequence=[measured],
    )  # fmt: skip


def _uid(code: str, uid: str) -> Dataset:
    return _item(
        RelationshipType="CONTAINS", ValueType="UIDREF", ConceptNameCodeSequence=[_code(code, code)], UID=uid
    )


def _file(attributes: Mapping[str, object], archive: Archive, *, silent: bool) -> bytes:
    """A file: its texts are in the archive's character set, whether it says so or not."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    data = _item(**{**attributes, "SpecificCharacterSet": archive.declares})
    if "PixelData" in data:
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data["PixelData"].VR = "OB"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(str(attributes["SOPClassUID"]))
    meta.MediaStorageSOPInstanceUID = UID(str(attributes["SOPInstanceUID"]))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(
        "", data, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    if not silent or archive.declares is None:
        return whole
    stated = archive.declares.encode("ascii").ljust(len(archive.declares) + len(archive.declares) % 2)
    element = b"\x08\x00\x05\x00CS" + len(stated).to_bytes(2, "little") + stated
    return whole.replace(element, b"", 1)
