"""DICOM files: header values, and pixels as greys from black to white. Arrays are (height, width).

Stored values -> modality LUT or rescale -> VOI curve -> inversion of MONOCHROME1 -> the full range of uint8 or uint16.
A film has at most 65,536 stored values, so that all of this is one lookup table.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from mammo.core.errors import InputError

Pixels = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Floats = npt.NDArray[np.float64]

PREFIX = (128, b"DICM")  # offset and bytes that identify the format
GREYS = ("MONOCHROME1", "MONOCHROME2")
HEADER = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
]
JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless)
# Markers of ISO/IEC 10918-1 and 14495-1 (JPEG-LS).
FRAME_HEADERS = {0xC0, 0xC1, 0xC3, 0xF7}
HUFFMAN_OR_LS = {0xC4, 0xF7}
START_OF_SCAN = 0xDA
END_OF_FRAGMENTS = b"\xfe\xff\xdd\xe0"
END_BYTES = 1024
MAX_PIXELS = 2 * 89_478_485  # that of Pillow for other formats
# pydicom parses an element on access, and its decoders trust the header: damage shows as any of these.
MALFORMED = (
    *(InvalidDicomError, BytesLengthException, struct.error, zlib.error, OSError, EOFError, RuntimeError, MemoryError),
    *(AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError),
)


class PixelError(InputError):
    """A file is no usable image; the message names the file."""


class DicomError(PixelError):
    """A file is no usable DICOM image; the message names the file."""


def is_dicom(file: BinaryIO) -> bool:
    """Say whether an open file is DICOM by its content, and rewind it."""
    offset, prefix = PREFIX
    file.seek(offset)
    content = file.read(len(prefix))
    file.seek(0)
    return content == prefix


def read_tags(path: Path, *keywords: str, data: bytes | None = None) -> dict[str, str]:
    """Return the header's values of `keywords` (e.g. SeriesInstanceUID) as text, empty where one is missing.

    data: the file's content, where it is in memory already.
    """
    with _name_damage(path, "not a DICOM file"):
        file = path if data is None else io.BytesIO(data)
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: str(header.get(keyword, "")) for keyword in keywords}


def read_shape(path: Path, file: BinaryIO | None = None) -> tuple[int, int]:
    """Return (height, width) from the header; raises DicomError for colour, several frames or truncated pixels.

    file: the opened file, where there is one.
    """
    if file is None:
        try:
            with path.open("rb") as opened:
                return read_shape(path, opened)
        except OSError as error:
            raise DicomError(f"{path}: cannot be read ({error.strerror})") from error
    with _name_damage(path, "not a DICOM image"):
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(HEADER))
        _refuse_non_film(header, path)
        _refuse_cut_short(header, file, path)
        return int(header.Rows), int(header.Columns)


def decode(path: Path, data: bytes | None = None, displayed: bool = False) -> Pixels:
    """Decode the pixels (h, w), black = 0, in the full range of uint8 (up to 8 bits stored) or uint16.

    A VOI curve (SIGMOID or lookup table) in the header is applied: it is the contrast that the readers saw. A linear
    window is applied only if `displayed`: preprocessing stretches by the breast's percentiles, which makes a linear
    stretch redundant and cannot restore what it clipped. The first of several views counts.
    data: the file's content, where it is in memory already. Raises DicomError; without an installed decoder it names
    the transfer syntax.
    """
    with _name_damage(path, "damaged DICOM image"):
        dataset = pydicom.dcmread(path if data is None else io.BytesIO(data))
        _refuse_non_film(dataset, path)
        stored = _stored(dataset, path)
        greys = _greys(dataset, path, displayed)
        whole = np.arange(256**stored.itemsize)
        # Bits beside the stored ones may hold overlays; a negative value has its place at the table's end.
        places = (whole >> (int(dataset.HighBit) + 1 - int(dataset.BitsStored))) & (len(greys) - 1)
        raw = np.ascontiguousarray(stored).view(f"u{stored.itemsize}")
        return np.asarray(cv2.LUT(raw, greys[places]), greys.dtype)


@contextmanager
def _name_damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DicomError:
        raise
    except MALFORMED as error:
        raise DicomError(f"{path}: {what} ({error})") from error


def _refuse_non_film(header: Dataset, path: Path) -> None:
    if header.SamplesPerPixel != 1 or header.PhotometricInterpretation not in GREYS:
        raise DicomError(
            f"{path}: not a grey image ({header.PhotometricInterpretation}); films are {' or '.join(GREYS)}"
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DicomError(f"{path}: {frames} frames; a film has one (tomosynthesis is not supported)")
    pixels = int(header.Rows) * int(header.Columns)
    if pixels > MAX_PIXELS:
        raise DicomError(f"{path}: {pixels:,} pixels; a film has at most {MAX_PIXELS:,}")
    allocated, stored, high = int(header.BitsAllocated), int(header.BitsStored), int(header.HighBit)
    if allocated not in (8, 16) or not 1 <= stored <= high + 1 <= allocated:
        raise DicomError(
            f"{path}: {stored} bits stored up to bit {high} of {allocated} allocated; films have 8 or 16 allocated"
        )


def _refuse_cut_short(header: Dataset, file: BinaryIO, path: Path) -> None:
    """Raise DicomError where the file ends before its pixels do; `file` is positioned before the pixel element."""
    if header.file_meta.TransferSyntaxUID.is_deflated:
        return  # decoding finds out
    implicit, little = header.original_encoding
    element = file.read(8 if implicit else 12)
    length = int.from_bytes(element[-4:], "little" if little else "big")
    start = file.tell()
    end = file.seek(0, io.SEEK_END)
    if len(element) < 8:
        raise DicomError(f"{path}: without pixels (truncated, or not an image)")
    if length == 0xFFFFFFFF:
        file.seek(max(start, end - END_BYTES))
        whole = END_OF_FRAGMENTS in file.read()
    else:
        whole = start + length <= end
    if not whole:
        raise DicomError(f"{path}: truncated, the image's end is missing")


def _stored(dataset: Dataset, path: Path) -> npt.NDArray[Any]:
    """Return the stored values (h, w), decompressed."""
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    if "PixelData" not in dataset:
        raise DicomError(f"{path}: without pixels (truncated, or not an image)")
    try:
        if syntax in JPEG:
            _refuse_damaged_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset)
        dataset.pixel_array_options(correct_unused_bits=False)  # it takes the stored bits for the lowest ones
        stored = dataset.pixel_array
    except MALFORMED as error:
        if not syntax.is_compressed:
            raise
        raise DicomError(
            f"{path}: no installed decoder reads its pixels, compressed as {syntax.name} ({syntax}): they are damaged, "
            f"or of a kind that needs `gdcmconv --raw` first ({error})"
        ) from error
    if stored.ndim != 2:
        raise DicomError(f"{path}: pixels of shape {stored.shape}; a film has height and width")
    return np.asarray(stored)


def _refuse_damaged_jpeg(frame: bytes, dataset: Dataset) -> None:
    """Raise ValueError where the segments before the pixels are broken or contradict `dataset`.

    GDCM, the one installed decoder of lossless JPEG, ends the process on some of these.
    """
    position, described, tables = 2, False, False
    while frame[position : position + 1] == b"\xff":
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker in FRAME_HEADERS:
            precision, height, width, components = struct.unpack(">BHHB", frame[position + 4 : position + 10])
            described = (height, width, components) == (dataset.Rows, dataset.Columns, 1)
            described &= 2 <= precision <= dataset.BitsAllocated
        tables |= marker in HUFFMAN_OR_LS
        if marker == START_OF_SCAN and described and tables:
            return
        position += 2 + length
    raise ValueError("the JPEG stream's header is damaged")


def _greys(dataset: Dataset, path: Path, displayed: bool) -> Pixels:
    """Return the grey (2**BitsStored,) of every stored value, those of negative values at the end."""
    bits = int(dataset.BitsStored)
    stored = np.arange(2**bits)
    if dataset.PixelRepresentation == 1:
        stored = np.where(stored < 2 ** (bits - 1), stored, stored - 2**bits)
    displayed_values = _voi(_modality(stored.astype(np.float64), dataset), dataset, displayed)
    low, high = displayed_values.min(), displayed_values.max()
    if not np.isfinite(high - low) or high <= low:
        raise DicomError(f"{path}: rescale, lookup table or window leave no contrast")
    share = (displayed_values - low) / (high - low)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    depth, white = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    return np.asarray((share * white).round(), depth)


def _modality(stored: Floats, dataset: Dataset) -> Floats:
    """Map stored values to values of the modality (DICOM PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _look_up(stored, dataset.ModalityLUTSequence[0])
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return stored * float(1 if slope is None else slope) + float(intercept or 0)


def _voi(values: Floats, dataset: Dataset, displayed: bool) -> Floats:
    """Map values of the modality to values of interest (DICOM PS3.3 C.11.2)."""
    if dataset.get("VOILUTSequence"):
        return _look_up(values, dataset.VOILUTSequence[0])
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre is None or width is None or width <= 0:
        return values
    if function == "SIGMOID":
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - centre) / width))  # 1 / (1 + exp(-4 x)), without overflow
    if not displayed:
        return values
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _look_up(values: Floats, item: Dataset) -> Floats:
    """Map `values` by the lookup table of a sequence's item; its ends hold beyond its range."""
    count, first, _ = item.LUTDescriptor
    entries = np.frombuffer(item.LUTData, "<u2") if isinstance(item.LUTData, bytes) else np.asarray(item.LUTData)
    places = np.clip(values.round().astype(np.int64) - int(first), 0, (int(count) or 2**16) - 1)
    return entries[places].astype(np.float64)


def _first(value: Any) -> float | None:
    """Return the first of several alternatives."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | int | float) else value[0])
