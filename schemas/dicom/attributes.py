"""Which attributes of a DICOM header become which columns (PS3.3 for their meaning, PS3.6 for their tags).

Each tuple is a table: the attributes that DICOMweb searches by (PS3.18 §10.6, QIDO-RS), those that IHE profiles search
by, and those that say how an image was made. All else of a header is kept as DICOM JSON (PS3.18 annex F).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from schemas.table import Field
from schemas.tables.columns import TEXT as TEXT_TYPE
from schemas.tables.columns import day, instant, many, number, text, whole


class Kind(Enum):
    """How the value of an attribute becomes columns."""

    TEXT = "text"  # first value, without the padding
    TEXTS = "texts"  # all values
    WHOLE = "whole"  # first value as a whole number
    NUMBER = "number"  # first value as a number
    NUMBERS = "numbers"  # all values as numbers
    DAY = "day"  # a date
    INSTANT = "instant"  # a date with the time that stands in another attribute, or a date with time (DT)
    NAME = "name"  # a person's name: alphabetic, ideographic, phonetic
    CODE = "code"  # first item of a sequence of codes: value, meaning, scheme
    COUNT = "count"  # number of items of a sequence


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that becomes columns.

    Attributes:
        name: of the column, or the beginning of its columns' names.
        kind: how it is read.
        tag: its place: tags from the outermost sequence inwards (the first item of each), ``0040_0275/0040_1001``.
        doc: one sentence.
        time: of an instant, the attribute with the time, beside the date.
    """

    name: str
    kind: Kind
    tag: str
    doc: str
    time: str = ""

    @property
    def path(self) -> tuple[int, ...]:
        """The tags as numbers."""
        return tuple(tag_number(one) for one in self.tag.split("/"))

    @property
    def time_tag(self) -> int | None:
        """The tag of the time, as a number."""
        return tag_number(self.time) if self.time else None

    @property
    def standard(self) -> str:
        """The place as the standard writes it: ``(0008,0020)``."""
        places = [">".join(f"({one.replace('_', ',')})" for one in self.tag.split("/"))]
        return ", ".join([*places, *([f"({self.time.replace('_', ',')})"] if self.time else [])])


def tag_number(tag: str) -> int:
    """``0008_0020`` as a number."""
    return int(tag.replace("_", ""), 16)


def fields_of(attribute: Attribute) -> tuple[Field, ...]:  # noqa: PLR0911 - by kind
    """The columns of an attribute."""
    name, doc, standard = attribute.name, attribute.doc, attribute.standard
    match attribute.kind:
        case Kind.TEXTS:
            return (many(name, TEXT_TYPE, doc, standard),)
        case Kind.NUMBERS:
            return (many(name, pa.float64(), doc, standard),)
        case Kind.WHOLE | Kind.COUNT:
            return (whole(name, doc, standard),)
        case Kind.NUMBER:
            return (number(name, doc, standard),)
        case Kind.DAY:
            return (day(name, doc, standard),)
        case Kind.INSTANT:
            return instant(name, doc, standard)
        case Kind.NAME:
            return tuple(
                text(f"{name}_{group}", f"{doc[:-1]}: {group} group.", standard) for group in NAME_GROUPS
            )
        case Kind.CODE:
            return (
                text(f"{name}_code", f"{doc[:-1]}: code.", standard),
                text(f"{name}_display", f"{doc[:-1]}: meaning.", standard),
                text(f"{name}_system", f"{doc[:-1]}: coding scheme.", standard),
            )
        case _:
            return (text(name, doc, standard),)


NAME_GROUPS = ("alphabetic", "ideographic", "phonetic")
"""The component groups of a person's name (PS3.5 §6.2.1.1)."""

_T, _TS, _W, _N, _NS = Kind.TEXT, Kind.TEXTS, Kind.WHOLE, Kind.NUMBER, Kind.NUMBERS
_D, _I, _P, _C, _CT = Kind.DAY, Kind.INSTANT, Kind.NAME, Kind.CODE, Kind.COUNT
_A = Attribute

STUDY: tuple[Attribute, ...] = (
    _A("started", _I, "0008_0020", "When the study started.", "0008_0030"),
    _A("study_id", _T, "0020_0010", "Study ID that the equipment gave."),
    _A("description", _T, "0008_1030", "Study description."),
    _A("procedure", _C, "0008_1032", "Procedure performed."),
    _A("modalities_stated", _TS, "0008_0061", "Modalities in the study, where the sender states them."),
    _A("referring_physician", _P, "0008_0090", "Referring physician."),
    _A("consulting_physician", _P, "0008_009C", "Consulting physician."),
    _A("physician_of_record", _P, "0008_1048", "Physician of record."),
    _A("reading_physician", _P, "0008_1060", "Physician who read the study."),
    _A("requesting_physician", _P, "0032_1032", "Requesting physician."),
    _A("requesting_service", _T, "0032_1033", "Requesting service."),
    _A("requested_procedure_description", _T, "0032_1060", "Requested procedure."),
    _A("requested_procedure_id", _T, "0040_1001", "Requested procedure ID."),
    _A("reason", _T, "0040_1002", "Reason for the requested procedure."),
    _A("placer_order", _T, "0040_2016", "Placer order number of the imaging service request."),
    _A("filler_order", _T, "0040_2017", "Filler order number of the imaging service request."),
    _A("admission_id", _T, "0038_0010", "Admission ID."),
    _A("admitting_diagnosis", _T, "0008_1080", "Admitting diagnosis as text."),
    _A("patient_name", _P, "0010_0010", "Name of the patient."),
    _A("birth_date", _D, "0010_0030", "Date of birth of the patient."),
    _A("gender", _T, "0010_0040", "Sex of the patient: M, F, O."),
    _A("other_patient_name", _P, "0010_1001", "Another name of the patient."),
    _A("patient_age", _T, "0010_1010", "Age of the patient as sent, such as 042Y."),
    _A("patient_size", _N, "0010_1020", "Height of the patient in metres."),
    _A("patient_weight", _N, "0010_1030", "Weight of the patient in kilograms."),
    _A("ethnic_group", _T, "0010_2160", "Ethnic group."),
    _A("occupation", _T, "0010_2180", "Occupation."),
    _A("pregnancy_status", _W, "0010_21C0", "Pregnancy: 1 no, 2 possibly, 3 definitely, 4 unknown."),
    _A("patient_history", _T, "0010_21B0", "Additional history of the patient."),
    _A("patient_comments", _T, "0010_4000", "Comments on the patient."),
)
"""A study, and the patient as its instances state them (PS3.3 §C.7.1, §C.7.2)."""

SERIES: tuple[Attribute, ...] = (
    _A("modality", _T, "0008_0060", "Modality, such as CT."),
    _A("number", _W, "0020_0011", "Series number."),
    _A("description", _T, "0008_103E", "Series description."),
    _A("started", _I, "0008_0021", "When the series started.", "0008_0031"),
    _A("body_part", _T, "0018_0015", "Body part examined."),
    _A("anatomic_region", _C, "0008_2218", "Anatomic region."),
    _A("laterality", _T, "0020_0060", "Laterality of the series: L, R."),
    _A("protocol_name", _T, "0018_1030", "Protocol name."),
    _A("patient_position", _T, "0018_5100", "Position of the patient, such as HFS."),
    _A("presentation_intent", _T, "0008_0068", "FOR PRESENTATION or FOR PROCESSING."),
    _A("frame_of_reference_uid", _T, "0020_0052", "Frame of reference UID."),
    _A("performing_physician", _P, "0008_1050", "Performing physician."),
    _A("operator", _P, "0008_1070", "Operator."),
    _A("institution_name", _T, "0008_0080", "Name of the institution where the equipment stands."),
    _A("institution_address", _T, "0008_0081", "Its address."),
    _A("department", _T, "0008_1040", "Department."),
    _A("station_name", _T, "0008_1010", "Name of the station."),
    _A("manufacturer", _T, "0008_0070", "Manufacturer of the equipment."),
    _A("manufacturer_model", _T, "0008_1090", "Model of the equipment."),
    _A("device_serial_number", _T, "0018_1000", "Serial number of the equipment."),
    _A("software_versions", _TS, "0018_1020", "Versions of its software."),
    _A("performed_step_started", _I, "0040_0244", "When the performed procedure step started.", "0040_0245"),
    _A("performed_step_id", _T, "0040_0253", "Performed procedure step ID."),
    _A("performed_step_description", _T, "0040_0254", "Performed procedure step description."),
    _A("scheduled_step_id", _T, "0040_0275/0040_0009", "Scheduled procedure step ID."),
    _A("requested_procedure_id", _T, "0040_0275/0040_1001", "Requested procedure ID of the request."),
    _A("scheduled_step_description", _T, "0040_0275/0040_0007", "Scheduled procedure step description."),
)
"""A series and the equipment that made it (PS3.3 §C.7.3, §C.7.5)."""

INSTANCE: tuple[Attribute, ...] = (
    _A("modality", _T, "0008_0060", "Modality, such as CT."),
    _A("number", _W, "0020_0013", "Instance number."),
    _A("acquisition_number", _W, "0020_0012", "Acquisition number."),
    _A("image_type", _TS, "0008_0008", "Image type: ORIGINAL or DERIVED, PRIMARY or SECONDARY, and more."),
    _A("content_time", _I, "0008_0023", "When the content was made.", "0008_0033"),
    _A("acquired", _I, "0008_0022", "When the acquisition started.", "0008_0032"),
    _A("acquired_exactly", _I, "0008_002A", "When the acquisition started, where it is sent as one value."),
    _A("created", _I, "0008_0012", "When the instance was created.", "0008_0013"),
    _A("comments", _T, "0020_4000", "Image comments."),
    # image pixel (PS3.3 §C.7.6)
    _A("rows", _W, "0028_0010", "Rows of pixels."),
    _A("columns", _W, "0028_0011", "Columns of pixels."),
    _A("frames", _W, "0028_0008", "Number of frames."),
    _A("samples_per_pixel", _W, "0028_0002", "Samples per pixel."),
    _A("photometric_interpretation", _T, "0028_0004", "Photometric interpretation."),
    _A("bits_allocated", _W, "0028_0100", "Bits allocated for a sample."),
    _A("bits_stored", _W, "0028_0101", "Bits stored of a sample."),
    _A("pixel_representation", _W, "0028_0103", "0 unsigned, 1 signed."),
    _A("pixel_spacing", _NS, "0028_0030", "Spacing of rows and of columns in millimetres."),
    _A("burned_in_annotation", _T, "0028_0301", "Whether the pixels hold annotation that may name somebody."),
    _A("lossy_compression", _T, "0028_2110", "Whether the image was ever compressed with loss: 00, 01."),
    _A("lossy_compression_ratio", _N, "0028_2112", "Ratio of the lossy compression."),
    _A("window_center", _N, "0028_1050", "Window centre."),
    _A("window_width", _N, "0028_1051", "Window width."),
    _A("rescale_intercept", _N, "0028_1052", "Rescale intercept."),
    _A("rescale_slope", _N, "0028_1053", "Rescale slope."),
    # image plane
    _A("image_position", _NS, "0020_0032", "Position of the first pixel in millimetres: x, y, z."),
    _A("image_orientation", _NS, "0020_0037", "Direction cosines of a row and of a column."),
    _A("slice_location", _N, "0020_1041", "Slice location in millimetres."),
    _A("slice_thickness", _N, "0018_0050", "Slice thickness in millimetres."),
    _A("spacing_between_slices", _N, "0018_0088", "Spacing between slices in millimetres."),
    _A("image_laterality", _T, "0020_0062", "Laterality of the image: L, R, U, B."),
    _A("contrast_agent", _T, "0018_0010", "Contrast agent."),
    # CT, and what else makes X-rays
    _A("kvp", _N, "0018_0060", "Peak kilovoltage."),
    _A("exposure_time", _N, "0018_1150", "Exposure time in milliseconds."),
    _A("tube_current", _N, "0018_1151", "Tube current in milliampere."),
    _A("exposure", _N, "0018_1152", "Exposure in mAs."),
    _A("filter_type", _T, "0018_1160", "Filter type."),
    _A("scan_options", _TS, "0018_0022", "Scan options."),
    _A("convolution_kernel", _TS, "0018_1210", "Convolution kernel."),
    _A("gantry_tilt", _N, "0018_1120", "Tilt of the gantry in degrees."),
    _A("data_collection_diameter", _N, "0018_0090", "Diameter of data collection in millimetres."),
    _A("reconstruction_diameter", _N, "0018_1100", "Diameter of the reconstruction in millimetres."),
    _A("revolution_time", _N, "0018_9305", "Time of a revolution in seconds."),
    _A("single_collimation_width", _N, "0018_9306", "Width of a single collimation in millimetres."),
    _A("total_collimation_width", _N, "0018_9307", "Width of the total collimation in millimetres."),
    _A("spiral_pitch", _N, "0018_9311", "Spiral pitch factor."),
    _A("exposure_modulation", _T, "0018_9323", "Exposure modulation."),
    _A("ctdi_vol", _N, "0018_9345", "CTDIvol in mGy."),
    _A("irradiation_event_uid", _T, "0008_3010", "Irradiation event UID."),
    # MR
    _A("scanning_sequence", _TS, "0018_0020", "Scanning sequence."),
    _A("sequence_variant", _TS, "0018_0021", "Sequence variant."),
    _A("sequence_name", _T, "0018_0024", "Sequence name."),
    _A("acquisition_type", _T, "0018_0023", "MR acquisition type: 2D, 3D."),
    _A("repetition_time", _N, "0018_0080", "Repetition time in milliseconds."),
    _A("echo_time", _N, "0018_0081", "Echo time in milliseconds."),
    _A("inversion_time", _N, "0018_0082", "Inversion time in milliseconds."),
    _A("averages", _N, "0018_0083", "Number of averages."),
    _A("imaging_frequency", _N, "0018_0084", "Imaging frequency in MHz."),
    _A("echo_train_length", _W, "0018_0091", "Echo train length."),
    _A("flip_angle", _N, "0018_1314", "Flip angle in degrees."),
    _A("magnetic_field_strength", _N, "0018_0087", "Magnetic field strength in tesla."),
    _A("pixel_bandwidth", _N, "0018_0095", "Pixel bandwidth in Hz per pixel."),
    _A("receive_coil", _T, "0018_1250", "Receive coil."),
    _A("phase_encoding_direction", _T, "0018_1312", "In-plane phase encoding direction."),
    _A("sar", _N, "0018_1316", "Specific absorption rate in W/kg."),
    _A("diffusion_b_value", _N, "0018_9087", "Diffusion b-value in s/mm²."),
    # ultrasound
    _A("transducer_type", _T, "0018_6031", "Transducer type."),
    _A("transducer_frequency", _N, "0018_6030", "Transducer frequency in kHz."),
    _A("mechanical_index", _N, "0018_5022", "Mechanical index."),
    _A("bone_thermal_index", _N, "0018_5024", "Bone thermal index."),
    _A("soft_tissue_thermal_index", _N, "0018_5027", "Soft tissue thermal index."),
    _A("ultrasound_regions", _CT, "0018_6011", "Number of calibrated regions."),
    _A("frame_time", _N, "0018_1063", "Time of a frame in milliseconds."),
    _A("heart_rate", _N, "0018_1088", "Heart rate in beats per minute."),
    # projection X-ray and mammography
    _A("view_position", _T, "0018_5101", "View position, such as PA or MLO."),
    _A("view", _C, "0054_0220", "View."),
    _A("imager_pixel_spacing", _NS, "0018_1164", "Spacing at the detector in millimetres."),
    _A("exposure_index", _N, "0018_1411", "Exposure index."),
    _A("target_exposure_index", _N, "0018_1412", "Target exposure index."),
    _A("deviation_index", _N, "0018_1413", "Deviation index."),
    _A("relative_exposure", _N, "0018_1405", "Relative X-ray exposure."),
    _A("dose_area_product", _N, "0018_115E", "Dose area product in dGy·cm²."),
    _A("distance_source_to_detector", _N, "0018_1110", "Distance from source to detector in millimetres."),
    _A("distance_source_to_patient", _N, "0018_1111", "Distance from source to patient in millimetres."),
    _A("grid", _TS, "0018_1166", "Grid."),
    _A("anode_target_material", _T, "0018_1191", "Material of the anode's target."),
    _A("detector_id", _T, "0018_700A", "Detector ID."),
    _A("plate_id", _T, "0018_1004", "Plate ID."),
    _A("compression_force", _N, "0018_11A2", "Compression force in newtons."),
    _A("body_part_thickness", _N, "0018_11A0", "Thickness of the body part in millimetres."),
    _A("organ_dose", _N, "0040_0316", "Mean glandular dose in dGy."),
    _A("entrance_dose", _N, "0040_8302", "Entrance dose in mGy."),
    _A("positioner_angle", _N, "0018_1510", "Primary angle of the positioner in degrees."),
    _A("breast_implant", _T, "0028_1300", "Whether there is a breast implant."),
    # structured reports and key objects (PS3.3 §C.17)
    _A("title", _C, "0040_A043", "Title of a structured report."),
    _A("completion", _T, "0040_A491", "Whether the report is COMPLETE or PARTIAL."),
    _A("completion_description", _T, "0040_A492", "What completes it."),
    _A("verification", _T, "0040_A493", "Whether the report is VERIFIED or UNVERIFIED."),
    _A("preliminary", _T, "0040_A496", "Whether the report is PRELIMINARY or FINAL."),
    _A("verified", _I, "0040_A073/0040_A030", "When it was first verified."),
    _A("verifying_observer", _P, "0040_A073/0040_A075", "Who first verified it."),
    _A("template", _T, "0040_A504/0040_DB00", "Template of the report's content."),
    _A("document_title", _T, "0042_0010", "Title of an encapsulated document."),
    _A("document_media_type", _T, "0042_0012", "Media type of an encapsulated document."),
    _A("content_label", _T, "0070_0080", "Label of a presentation state or a segmentation."),
    _A("content_description", _T, "0070_0081", "Description of a presentation state or a segmentation."),
)
"""An instance: image, report or other object (PS3.3 §C.7.6, §C.8, §C.12, §C.17)."""
