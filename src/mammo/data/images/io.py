"""Reading films and masks: JPEG, PNG, PGM, TIFF and DICOM files to arrays (height, width).

A film keeps its depth: uint8, or uint16 where the file has more than 8 bits. A reduced film is `1 / reduction` of the
size, rounded up, as libjpeg reduces it.
"""

import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mammo.data.images import dicom
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Film, Grey, Mask, fit, reduce_to_8_bits, stretch_to_8_bits

DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}  # IMA: Siemens' name of the same format
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".pgm", ".tif", ".tiff", *DICOM_SUFFIXES}
FORMATS = ("JPEG", "PNG", "PPM", "TIFF")
OTHER_FORMATS = {"BMP": (0, b"BM"), "GIF": (0, b"GIF8"), "WebP": (8, b"WEBP")}  # offset and bytes that identify them
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
END_BYTES = 1024
REDUCTIONS = {
    1: (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
BINARY_SHARE = 0.9  # of pixels near 0 or 255; JPEG blurs a mask's outline, a grey crop has far fewer
EXTREME = 25
PREVIEW_REDUCTION = 8  # reduction
MIN_FILM_PX = 32
COLOUR_SPREAD = 24  # between the channels of a pixel, of 255: more than JPEG adds to grey
WARNING_FORMATS = ("JPEG", "TIFF")  # whose decoders warn of damage, and decode on
TIFF_WARNING = "TIFF_Error "  # before what OpenCV passes on of libtiff
ERROR_STREAM = threading.RLock()
COLOUR_SHARE = 0.005  # of the pixels: more is a colour image


@dataclass(frozen=True)
class Encoded:
    """An image file in memory, not yet decoded; shape: (h, w) from its header.

    strict: what its decoder only warns of is an error; such films are decoded one at a time.
    """

    path: Path
    data: bytes
    format: str
    channels: int
    shape: tuple[int, int]
    strict: bool = False


def is_image_file(path: Path) -> bool:
    """Say whether a file is an image, by its suffix, or, under any other name, DICOM by its content."""
    return path.suffix.lower() in IMAGE_SUFFIXES or is_dicom_file(path)


def is_dicom_file(path: Path) -> bool:
    """Say whether a file is DICOM, by its suffix, or by its content where the suffix is of no image."""
    suffix = path.suffix.lower()
    return suffix in DICOM_SUFFIXES or (suffix not in IMAGE_SUFFIXES and _holds_dicom(path))


def _holds_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return dicom.is_dicom(file)
    except OSError:  # whoever needs the file reports that it is missing
        return False


def load(path: Path) -> Encoded:
    """Read an image file and check its header and its end; raises PixelError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return parse_image(path, data)


def parse_image(path: Path, data: bytes) -> Encoded:
    """Check `data` as the content of the image file `path`; raises PixelError."""
    return Encoded(path, data, *_header(path, io.BytesIO(data)))


def read_shape(path: Path) -> tuple[int, int]:
    """Return (height, width) from the header, without decoding; raises PixelError, also for a truncated file."""
    try:
        with path.open("rb") as file:
            return _header(path, file)[2]
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> PixelError:
    return PixelError(f"{path}: cannot be read ({error.strerror or error})")


def _header(path: Path, file: BinaryIO) -> tuple[str, int, tuple[int, int]]:
    """Return format, channels and shape."""
    if dicom.is_dicom(file) or path.suffix.lower() in DICOM_SUFFIXES:
        return "DICOM", 1, dicom.read_shape(path, file)
    try:
        with Image.open(file, formats=FORMATS) as image:
            header = str(image.format), len(image.getbands()), (image.height, image.width)
            frames = getattr(image, "n_frames", 1)
    except UnidentifiedImageError as error:  # its message holds an address in memory
        raise PixelError(f"{path}: {_describe_unknown(file)}") from error
    except (*dicom.MALFORMED, SyntaxError, Image.DecompressionBombError) as error:
        raise PixelError(f"{path}: not an image or truncated ({error})") from error
    if frames != 1:
        raise PixelError(f"{path}: {frames} images in one file; a film has one")
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - END_BYTES))
    # OpenCV decodes a truncated JPEG to a film that is half grey.
    if END_MARKERS.get(header[0], b"") not in file.read():
        raise PixelError(f"{path}: truncated, the image's end is missing")
    return header


def _describe_unknown(file: BinaryIO) -> str:
    """Return what a file is that none of the FORMATS opens."""
    file.seek(0)
    start = file.read(16)
    for name, (offset, signature) in OTHER_FORMATS.items():
        if start[offset:].startswith(signature):
            return f"a {name} image; films are JPEG, PNG, PGM, TIFF or DICOM files"
    return "not an image or truncated"


def decode(image: Encoded, reduction: int = 1) -> Film:
    """Decode the pixels in the file's depth; reduction: 1, 2, 4 or 8. Raises PixelError for colour and for damage."""
    if image.strict and image.format in WARNING_FORMATS:
        return _decode_strictly(image, reduction)
    if image.format == "DICOM":
        return _shrink(dicom.decode(image.path, image.data), reduction)
    if image.format == "JPEG":
        return _grey(_opencv(image, REDUCTIONS[reduction][image.channels > 1]), image.path)
    return _shrink(_grey(_opencv(image, cv2.IMREAD_UNCHANGED), image.path), reduction)


def _decode_strictly(image: Encoded, reduction: int) -> Film:
    """Decode, and raise PixelError where libjpeg or libtiff warns of damage, whose pixels would be grey or shifted."""
    with capture_decoder_warnings() as warnings:
        film = decode(replace(image, strict=False), reduction)
        damage = warnings()
    if damage:
        raise PixelError(f"{image.path}: damaged ({damage[0]}); fetch or scan it again")
    return film


def _opencv(image: Encoded, flags: int) -> npt.NDArray[Any]:
    try:
        # A header's orientation would rotate the pixels out of `shape`.
        pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise PixelError(f"{image.path}: cannot be decoded ({error})") from error
    if pixels is None:
        raise PixelError(f"{image.path}: cannot be decoded (damaged or truncated)")
    return np.asarray(pixels)


def _grey(image: npt.NDArray[Any], path: Path) -> Film:
    """Return one channel (h, w) of grey that may be stored as several; raises PixelError for colour."""
    if image.dtype not in (np.uint8, np.uint16):
        raise PixelError(f"{path}: pixels are {image.dtype}; films have 8 or 16 unsigned bits")
    if image.ndim == 2:
        return image
    blue, green, red = cv2.split(image)[:3]
    spread = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
    if (spread > COLOUR_SPREAD * (np.iinfo(image.dtype).max // 255)).mean() > COLOUR_SHARE:
        raise PixelError(f"{path}: a colour image; films are grey")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_BGR2GRAY), image.dtype)


def _shrink(film: Film, reduction: int) -> Film:
    """Average blocks of `reduction` by `reduction` pixels; an incomplete last block is filled with its edge."""
    if reduction == 1:
        return film
    height, width = (-(-side // reduction) for side in film.shape)
    missing = height * reduction - film.shape[0], width * reduction - film.shape[1]
    whole = cv2.copyMakeBorder(film, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE) if any(missing) else film
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), film.dtype)


def read_film(path: Path) -> Film:
    """Decode as (h, w) uint8, or uint16 where the file has more than 8 bits; raises PixelError, also for tiny films."""
    image = load(path)
    refuse_tiny(image)
    return decode(image)


def refuse_tiny(image: Encoded) -> None:
    """Raise PixelError for an image that is too small to be a film."""
    if min(image.shape) < MIN_FILM_PX:
        raise PixelError(
            f"{image.path}: {image.shape[0]}x{image.shape[1]} px; a film has at least {MIN_FILM_PX} a side"
        )


def read_grey(path: Path, reduced: bool = False) -> Grey:
    """Decode as (h, w) uint8, as a viewer displays it; `reduced` gives an eighth of the size.

    The window of a DICOM header is applied. Other values of more than 8 bits are stretched from their lowest to their
    highest.
    """
    image = load(path)
    reduction = PREVIEW_REDUCTION if reduced else 1
    if image.format == "DICOM":
        film = _shrink(dicom.decode(path, image.data, displayed=True), reduction)
    else:
        film = decode(image, reduction)
    return stretch_to_8_bits(film)


def is_binary(path: Path) -> bool:
    """Say whether an image is nearly all black and white, as a mask is and a crop of film is not."""
    image = load(path)
    pixels = reduce_to_8_bits(decode(image, PREVIEW_REDUCTION if min(image.shape) >= 256 else 1))
    extremes = (pixels <= EXTREME) | (pixels >= 255 - EXTREME)
    return bool(extremes.mean() >= BINARY_SHARE)


def has_foreground(path: Path) -> bool:
    """Say whether a mask has foreground."""
    return bool(foreground(load(path)).any())


@contextmanager
def capture_decoder_warnings() -> Iterator[Callable[[], list[str]]]:
    """Collect the warnings of libjpeg and libtiff of damage, which they write to the error stream and decode on.

    Python's own error stream goes where it went. Lines of others are passed on at the end. The error stream is one for
    the whole process: a second thread waits until the first is done.
    """
    with ERROR_STREAM, tempfile.TemporaryFile() as file, _duplicate_error_stream() as visible:
        python_stream, saved = sys.stderr, os.dup(2)

        def read_lines() -> list[str]:
            content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
            return content.decode("utf-8", "replace").splitlines()

        os.dup2(file.fileno(), 2)
        sys.stderr = visible
        try:
            yield lambda: [warning for line in read_lines() if (warning := _read_warning(line))]
        finally:
            sys.stderr = python_stream
            os.dup2(saved, 2)
            os.close(saved)
            visible.writelines(f"{line}\n" for line in read_lines() if not _read_warning(line))


def _duplicate_error_stream() -> TextIO:
    return os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")


def find_damage(path: Path) -> str:
    """Return the decoder's first warning about a file, or an empty text; raises PixelError for one it cannot decode."""
    with capture_decoder_warnings() as warnings:
        decode(load(path), max(REDUCTIONS))
        found = warnings()
    return found[0] if found else ""


def _read_warning(line: str) -> str:
    """Return what a line says of damage, without the time of day; empty for lines of others."""
    if "JPEG" in line and ("Corrupt" in line or "Premature" in line):
        return line
    return line.partition(TIFF_WARNING)[2]


def foreground(mask: Encoded, reduction: int = 1) -> Mask:
    """Decode a mask (h, w) as 0/1, 1 being brighter than half; a lesion smaller than `reduction` is not lost."""
    pixels = np.asarray(reduce_to_8_bits(decode(mask, reduction)) > 127, np.uint8)
    if reduction == 1 or pixels.any():
        return pixels
    return np.asarray(_shrink(255 * foreground(mask), reduction) > 0, np.uint8)


def read_mask(path: Path, film_shape: tuple[int, int]) -> Mask:
    """Read a mask as (h, w) 0/1, scaled to the film's shape."""
    return fit(foreground(load(path)), film_shape)
