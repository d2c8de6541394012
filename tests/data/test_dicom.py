"""DICOM: stored values become greys by the standard's steps, whatever their packing; what is no film is named."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mammo.data.images import dicom
from mammo.data.images import io as image_io
from mammo.data.images.dicom import DicomError, PixelError
from tests.dicoms import write_dicom
from tests.examples import examples

Stored = npt.NDArray[np.uint16]
SHAPE = (48, 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.dcm"


def ramp(bits: int = 16, shape: tuple[int, int] = SHAPE) -> Stored:
    """Every level that fits, from the lowest to the highest of `bits`."""
    return np.linspace(0, 2**bits - 1, shape[0] * shape[1]).round().astype(np.uint16).reshape(shape)


def lookup_table(entries: list[int], first: int, bits: int = 16) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    return Sequence([item])


# Values


def test_16_bits_stored_are_the_pixels(path: Path) -> None:
    write_dicom(path, ramp())
    decoded = dicom.decode(path)
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, ramp())
    assert dicom.read_shape(path) == image_io.read_shape(path) == SHAPE


def test_8_bits_stay_8(path: Path) -> None:
    mask = np.array(255 * (ramp() > 40000), np.uint8)
    write_dicom(path, mask)
    assert dicom.decode(path).dtype == np.uint8
    assert np.array_equal(dicom.decode(path), mask)
    assert image_io.is_binary(path)
    assert image_io.has_foreground(path)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14, 16])
def test_the_stored_bits_fill_the_whole_range(path: Path, bits: int) -> None:
    write_dicom(path, ramp(bits), BitsStored=bits, HighBit=bits - 1)
    decoded = dicom.decode(path)
    white = 255 if bits <= 8 else 65535
    assert decoded.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert (decoded.min(), decoded.max()) == (0, white)
    assert np.abs(decoded - ramp(bits) * (white / (2**bits - 1))).max() <= 0.5


def test_bits_beside_the_stored_ones_are_not_pixels(path: Path) -> None:
    values = ramp(12)
    write_dicom(path, values | np.uint16(0xF000), BitsStored=12, HighBit=11)
    below = dicom.decode(path)
    write_dicom(path, (values << 4) | np.uint16(0x000F), BitsStored=12, HighBit=15)
    above = dicom.decode(path)
    write_dicom(path, values, BitsStored=12, HighBit=11)
    assert np.array_equal(below, dicom.decode(path))
    assert np.array_equal(above, dicom.decode(path))


def test_negative_values_are_darker_than_positive_ones(path: Path) -> None:
    values = np.linspace(-2048, 2047, SHAPE[0] * SHAPE[1]).round().astype(np.int16).reshape(SHAPE)
    write_dicom(path, values.view(np.uint16), PixelRepresentation=1, BitsStored=12, HighBit=11)
    decoded = dicom.decode(path).ravel().astype(int)
    assert (np.diff(decoded) >= 0).all()
    assert (decoded[0], decoded[-1]) == (0, 65535)


@examples(25, reuse_fixtures=True)
@given(arrays(np.uint16, SHAPE))
def test_monochrome1_is_the_negative(path: Path, stored: Stored) -> None:
    write_dicom(path, stored)
    positive = dicom.decode(path)
    write_dicom(path, stored, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(dicom.decode(path), 65535 - positive)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.25, -1000), (3, 7)])
def test_a_rising_rescale_changes_no_grey_and_a_falling_one_inverts(path: Path, slope: float, intercept: float) -> None:
    write_dicom(path, ramp(12), BitsStored=12, HighBit=11)
    plain = dicom.decode(path)
    for sign, expected in ((1, plain), (-1, 65535 - plain)):
        write_dicom(path, ramp(12), BitsStored=12, HighBit=11, RescaleSlope=sign * slope, RescaleIntercept=intercept)
        assert np.abs(dicom.decode(path).astype(int) - expected).max() <= 1


def test_a_modality_table_bends_the_values(path: Path) -> None:
    entries = [round(65535 * (level / 4095) ** 2) for level in range(4096)]
    write_dicom(path, ramp(12), BitsStored=12, HighBit=11, ModalityLUTSequence=lookup_table(entries, 0))
    assert np.array_equal(dicom.decode(path), np.array(entries)[ramp(12)])


def test_a_table_goes_on_beyond_its_ends_as_it_ends(path: Path) -> None:
    write_dicom(path, ramp(12), BitsStored=12, HighBit=11, VOILUTSequence=lookup_table([0, 30000, 65535], 1000))
    expected = np.array([0, 30000, 65535])[np.clip(ramp(12).astype(int) - 1000, 0, 2)]
    assert np.array_equal(dicom.decode(path), expected)


def test_a_sigmoid_is_applied_as_the_standard_has_it(path: Path) -> None:
    write_dicom(
        path, ramp(12), BitsStored=12, HighBit=11, WindowCenter=2000, WindowWidth=1500, VOILUTFunction="SIGMOID"
    )
    curve = 1 / (1 + np.exp(-4 * (ramp(12) - 2000.0) / 1500))  # PS3.3 C.11.2.1.3.1
    expected = 65535 * (curve - curve.min()) / (curve.max() - curve.min())
    assert np.abs(dicom.decode(path) - expected).max() <= 1


def test_a_linear_window_shows_but_takes_nothing_away_from_the_pixels(path: Path) -> None:
    write_dicom(path, ramp(12), BitsStored=12, HighBit=11)
    plain = dicom.decode(path)
    write_dicom(path, ramp(12), BitsStored=12, HighBit=11, WindowCenter=[1500, 9], WindowWidth=[1000, 9])
    assert np.array_equal(dicom.decode(path), plain)
    displayed = image_io.read_grey(path)
    assert displayed.dtype == np.uint8
    assert (displayed[ramp(12) <= 999] == 0).all()
    assert (displayed[ramp(12) >= 2000] == 255).all()
    middle = displayed[(ramp(12) > 1490) & (ramp(12) < 1510)]
    assert np.abs(middle.astype(int) - 127).max() <= 4


def test_a_window_applies_to_rescaled_values(path: Path) -> None:
    write_dicom(
        *(path, ramp(12)),
        **{"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1000},
        **{"WindowCenter": 2000, "WindowWidth": 1000},
    )
    displayed = image_io.read_grey(path)
    assert (displayed[2 * ramp(12).astype(int) - 1000 <= 1499] == 0).all()
    assert (displayed[2 * ramp(12).astype(int) - 1000 >= 2500] == 255).all()


def test_a_dark_film_without_a_window_shows_from_its_lowest_to_its_highest_value(path: Path) -> None:
    write_dicom(path, ramp(12) + np.uint16(500))
    displayed = image_io.read_grey(path)
    assert (displayed.min(), displayed.max()) == (0, 255)


def test_an_empty_window_is_none(path: Path) -> None:
    write_dicom(path, ramp(), WindowCenter="", WindowWidth="", NumberOfFrames="")
    assert np.array_equal(dicom.decode(path), ramp())


# Packing


def transcode(source: Path, target: Path, syntax: int) -> None:
    """Compress with GDCM's own encoder."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.ImplicitVRLittleEndian,
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
        gdcm.TransferSyntax.RLELossless,
    ],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_transfer_syntax_gives_the_same_pixels(tmp_path: Path, syntax: int, bits: int) -> None:
    values = ramp(bits).astype(np.uint8) if bits == 8 else ramp(bits)
    plain = write_dicom(tmp_path / "plain.dcm", values, BitsStored=bits, HighBit=bits - 1)
    packed = tmp_path / "packed.dcm"
    transcode(plain, packed, syntax)
    assert dicom.read_shape(packed) == SHAPE
    assert np.array_equal(dicom.decode(packed), dicom.decode(plain))


def rewritten(path: Path, syntax: uid.UID, **changes: object) -> Path:
    """The same file under another transfer syntax."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(
        path, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=syntax != uid.ExplicitVRBigEndian
    )
    return path


def test_a_deflated_file_is_read(path: Path) -> None:
    rewritten(write_dicom(path, ramp()), uid.DeflatedExplicitVRLittleEndian)
    assert dicom.read_shape(path) == SHAPE
    assert np.array_equal(dicom.decode(path), ramp())


def test_a_transfer_syntax_without_a_decoder_is_named(path: Path) -> None:
    write_dicom(path, ramp())
    frame = pydicom.encaps.encapsulate([b"\0" * 64])
    rewritten(path, uid.MPEG2MPML, PixelData=frame)
    with pytest.raises(DicomError, match=r"MPEG2 Main Profile.*1\.2\.840\.10008\.1\.2\.4\.100.*gdcmconv"):
        dicom.decode(path)


# What is no film


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "not a grey image .RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not a grey image .PALETTE COLOR"),
        ({"NumberOfFrames": 48}, "48 frames"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "of 32 allocated"),
        ({"BitsStored": 0}, "0 bits stored"),
        ({"BitsStored": 20}, "20 bits stored"),
    ],
)
def test_what_is_no_film_is_refused_by_its_header(path: Path, header: dict[str, object], message: str) -> None:
    write_dicom(path, ramp(), **header)
    for read in (dicom.read_shape, dicom.decode, image_io.read_shape, image_io.read_film, image_io.read_grey):
        with pytest.raises(PixelError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "keyword",
    [
        *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    ],
)
def test_an_element_that_is_missing_is_an_error(path: Path, keyword: str) -> None:
    dataset = pydicom.dcmread(write_dicom(path, ramp()))
    delattr(dataset, keyword)
    dataset.save_as(path)
    with pytest.raises(DicomError, match=str(path)):
        dicom.decode(path)


@pytest.mark.parametrize("slope", [0, "nan"])
def test_a_rescale_to_nothing_is_an_error(path: Path, slope: object) -> None:
    write_dicom(path, ramp(), RescaleSlope=slope, RescaleIntercept=1)
    with pytest.raises(DicomError, match="no contrast"):
        dicom.decode(path)


def fewer(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.mark.parametrize("share", [0, 0.02, 0.05, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("read", [dicom.read_shape, dicom.decode, image_io.read_shape, image_io.read_grey])
def test_a_file_that_is_cut_short_is_named(
    path: Path, share: float, syntax: uid.UID, read: Callable[[Path], object]
) -> None:
    fewer(rewritten(write_dicom(path, ramp()), syntax), share)
    with pytest.raises(PixelError, match=str(path)):
        read(path)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_compressed_pixels_that_are_cut_short_are_named(tmp_path: Path, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, SHAPE).astype(np.uint16)
    packed = tmp_path / "packed.dcm"
    transcode(write_dicom(tmp_path / "plain.dcm", noise), packed, gdcm.TransferSyntax.RLELossless)
    fewer(packed, share)
    for read in (dicom.read_shape, dicom.decode):
        with pytest.raises(DicomError, match=str(packed)):
            read(packed)


@pytest.mark.parametrize("syntax", [gdcm.TransferSyntax.JPEGLosslessProcess14_1, gdcm.TransferSyntax.JPEGLSLossless])
@pytest.mark.parametrize(("offset", "value"), [(4, 152), (4, 0), (6, 99), (8, 1), (9, 3), (1, 0), (13, 165), (3, 200)])
def test_a_damaged_jpeg_stream_is_named_and_does_not_end_the_process(
    tmp_path: Path, syntax: int, offset: int, value: int
) -> None:
    """offset: from the frame header's marker: precision, height, width, components, marker, next marker, length."""
    packed = tmp_path / "packed.dcm"
    transcode(write_dicom(tmp_path / "plain.dcm", ramp(12), BitsStored=12, HighBit=11), packed, syntax)
    content = bytearray(packed.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 2 + offset] = value
    packed.write_bytes(content)
    with pytest.raises(DicomError, match=rf"{packed}: no installed decoder reads its pixels, compressed as JPEG"):
        dicom.decode(packed)


def test_tags_come_as_text_and_an_absent_one_is_empty(path: Path) -> None:
    write_dicom(path, ramp(), SeriesInstanceUID="1.2.3", PatientID="Mass-Training_P_00001_LEFT_CC_1")
    result = dicom.read_tags(path, "SeriesInstanceUID", "PatientID", "ViewPosition")
    assert result == {
        "SeriesInstanceUID": "1.2.3",
        "PatientID": "Mass-Training_P_00001_LEFT_CC_1",
        "ViewPosition": "",
    }
    path.write_text("no header")
    with pytest.raises(DicomError, match="not a DICOM file"):
        dicom.read_tags(path, "PatientID")


def test_a_dicom_is_known_by_its_content(path: Path) -> None:
    write_dicom(path, ramp())
    renamed = path.rename(path.with_suffix(".img"))
    assert np.array_equal(image_io.read_film(renamed), ramp())


@cache
def whole_file(compressed: bool) -> tuple[bytes, int]:
    """A film with a full header, and where its pixels start."""
    with TemporaryDirectory() as folder:
        header = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 100, "WindowWidth": 50, "RescaleSlope": 2}
        dataset = pydicom.dcmread(write_dicom(Path(folder, "film.dcm"), ramp(12), **header))
    if compressed:
        dataset.compress(uid.RLELossless)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue(), written.getvalue().index(b"\xe0\x7f\x10\x00") + 12


@examples(400, reuse_fixtures=True)
@given(
    compressed=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_file_gives_a_film_or_a_named_error(
    tmp_path: Path, compressed: bool, changes: list[tuple[float, int]], kept: float
) -> None:
    """Any bytes of the header may be any others, and the end may be missing."""
    path = tmp_path / "film.dcm"
    whole, header = whole_file(compressed)
    content = bytearray(whole)
    for place, value in changes:
        content[128 + int(place * (header - 100))] = value
    path.write_bytes(content[: int(kept * len(content))])
    for read in (
        image_io.read_shape,
        image_io.read_film,
        image_io.read_grey,
        image_io.is_binary,
        image_io.has_foreground,
    ):
        try:
            read(path)
        except PixelError as error:
            assert str(path) in str(error)
