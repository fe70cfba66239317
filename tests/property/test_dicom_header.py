"""The header of any data set that pydicom writes ends where it put the pixel data; no bytes make the walk fail."""

from __future__ import annotations

import io
import struct

import pydicom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from connectors.dicom.header import Cut, More, NotDicom, find_cut, read_header

LIMIT = 1024 * 1024
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
texts = st.text("ABC 123", max_size=40)


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """Some attributes of most kinds of VR, and sequences of either form within one another."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.StudyDescription = draw(texts)
    if draw(st.booleans()):
        dataset.add_new(0x00091001, "OB", draw(st.binary(max_size=60)).ljust(60, b"\xfe"))
        dataset.add_new(0x00091002, "UT", draw(texts))
        dataset.add_new(0x00091003, "UN", draw(st.binary(max_size=20)))
    if draw(st.booleans()):
        dataset.Rows, dataset.SliceThickness = draw(st.integers(0, 65535)), "1.5"
    if depth and draw(st.booleans()):
        items = draw(st.lists(data_sets(depth - 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
            if draw(st.booleans()):
                item.add_new(0x7FE00010, "OW", b"icon")
        dataset.ReferencedImageSequence = Sequence(items)
        dataset["ReferencedImageSequence"].is_undefined_length = draw(st.booleans())
    return dataset


@given(data_sets(), st.sampled_from(SYNTAXES), st.booleans(), st.booleans(), st.integers(1, 600))
def test_the_header_is_all_but_the_pixel_data(
    dataset: Dataset, syntax: pydicom.uid.UID, with_pixels: bool, with_preamble: bool, first: int
) -> None:
    dataset.StudyInstanceUID, dataset.SOPInstanceUID = "1.2.3", "1.2.4"
    with_preamble = with_preamble or syntax == DeflatedExplicitVRLittleEndian
    expected = written(dataset, syntax, with_preamble)
    if with_pixels:
        dataset.add_new(0x7FE00010, "OW", b"pixels" * 1000)
    data = written(dataset, syntax, with_preamble)
    cut = read_header(io.BytesIO(data).read, len(data), LIMIT, max(first, 132))
    assert isinstance(cut, Cut)
    assert cut.whole
    assert cut.text(0x0020000D) == "1.2.3"
    if syntax == DeflatedExplicitVRLittleEndian:
        assert pydicom.dcmread(io.BytesIO(cut.header)) == pydicom.dcmread(io.BytesIO(expected))
    else:
        assert cut.header == expected


def written(dataset: Dataset, syntax: pydicom.uid.UID, with_preamble: bool) -> bytes:
    stream = io.BytesIO()
    if not with_preamble:
        pydicom.dcmwrite(
            stream,
            dataset,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            enforce_file_format=False,
        )
        return stream.getvalue()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.4")
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


heads = st.builds(
    lambda group, number, vr, length: struct.pack("<HH2sH", group, number, vr, length),
    st.sampled_from([0x0002, 0x0008, 0x0010, 0x7FE0, 0xFFFE, 0xFFFC]),
    st.sampled_from([0x0000, 0x0010, 0x0018, 0xE000, 0xE00D, 0xE0DD, 0xFFFC]),
    st.sampled_from([b"SQ", b"OB", b"UN", b"UI", b"LO", b"ZZ", b"\0\0", b"\xff\xff"]),
    st.sampled_from([0, 2, 4, 0xFFFF]),
)
any_bytes = st.builds(
    lambda preamble, parts: preamble + b"".join(parts),
    st.sampled_from([b"", bytes(128) + b"DICM"]),
    st.lists(
        st.one_of(heads, st.just(b"\xff\xff\xff\xff"), st.just(bytes(4)), st.binary(max_size=30)), max_size=30
    ),
)


@given(any_bytes, st.integers(0, 400))
def test_any_bytes_have_an_answer_that_the_same_bytes_give_however_they_are_read(
    data: bytes, first: int
) -> None:
    whole = find_cut(data, ended=True)
    assert not isinstance(whole, More)
    beginning = find_cut(data[:first], ended=False)
    if isinstance(beginning, More):
        assert beginning.size > len(data[:first])
    read = read_header(io.BytesIO(data).read, len(data), LIMIT, max(first, 132))
    assert type(read) is type(whole)
    if isinstance(read, Cut) and isinstance(whole, Cut):
        assert len(read.header) <= len(data)
        assert read.noted == whole.noted
        assert data.startswith(read.header)
    else:
        assert isinstance(read, NotDicom)
