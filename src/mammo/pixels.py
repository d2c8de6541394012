"""Films and masks: decode -> breast -> window -> crop -> square array. Arrays are (height, width).

A film keeps its depth: uint8, or uint16 where the file has more than 8 bits. A reduced film is `1 / reduction` of the
size, rounded up, as libjpeg reduces it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import map_coordinates

from mammo import dicom
from mammo.dicom import PixelError as PixelError

Grey = npt.NDArray[np.uint8]
Film = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Mask = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, bottom, right; right and bottom excluded

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm", ".dicom", ".pgm", ".tif", ".tiff"}
DICOM_SUFFIXES = {".dcm", ".dicom"}
FORMATS = ("JPEG", "PNG", "PPM", "TIFF")
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
END_BYTES = 1024
REDUCTIONS = {
    1: (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
QUICK_LOOK = 8  # reduction
MIN_FILM_PX = 32
COLOUR_SPREAD = 24  # between the channels of a pixel, of 255: more than what a JPEG makes of grey
COLOUR_SHARE = 0.005  # of the pixels: more is a colour image
BINARY_SHARE = 0.9  # of pixels near 0 or 255; JPEG blurs a mask's outline, a grey crop has far fewer
EXTREME = 25
BREAST_ANALYSIS_PX = 256
WHITE = 245  # of 255
BORDER_PX = 13  # of BREAST_ANALYSIS_PX: no border is wider
DEPTHS = {8: (np.uint8, 255), 16: (np.uint16, 65535)}
TILES = 8
STRIP_PX = 256  # bounds the memory of interpolation


@dataclass(frozen=True)
class Encoded:
    """An image file in memory, not yet decoded; shape: (h, w) from its header."""

    path: Path
    data: bytes
    format: str
    channels: int
    shape: tuple[int, int]


def load(path: Path) -> Encoded:
    """The content of an image file, checked as far as its header and its end show; raises PixelError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return encoded(path, data)


def encoded(path: Path, data: bytes) -> Encoded:
    """`data` as the image file that `path` names in errors; raises PixelError."""
    return Encoded(path, data, *_header(path, io.BytesIO(data)))


def shape(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header, without decoding; a JPEG, PNG or DICOM must have its end, too."""
    try:
        with path.open("rb") as file:
            return _header(path, file)[2]
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> PixelError:
    return PixelError(f"{path}: cannot be read ({error.strerror or error})")


def _header(path: Path, file: BinaryIO) -> tuple[str, int, tuple[int, int]]:
    """Format, channels and shape."""
    if dicom.is_dicom(file) or path.suffix.lower() in DICOM_SUFFIXES:
        return "DICOM", 1, dicom.shape(path, file)
    try:
        with Image.open(file, formats=FORMATS) as image:
            found = str(image.format), len(image.getbands()), (image.height, image.width)
            frames = getattr(image, "n_frames", 1)
    except (*dicom.MALFORMED, SyntaxError, Image.DecompressionBombError) as error:
        raise PixelError(f"{path}: not an image or truncated ({error})") from error
    if frames != 1:
        raise PixelError(f"{path}: {frames} images in one file; a film has one")
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - END_BYTES))
    # Of a truncated JPEG OpenCV makes a film that is half grey.
    if END_MARKERS.get(found[0], b"") not in file.read():
        raise PixelError(f"{path}: truncated, the image's end is missing")
    return found


def decode(image: Encoded, reduction: int = 1) -> Film:
    """The pixels in the file's own depth; reduction: 1, 2, 4 or 8. Raises PixelError for colour and for damage."""
    if image.format == "DICOM":
        return _shrink(dicom.decode(image.path, image.data), reduction)
    if image.format == "JPEG":
        return _grey(_opencv(image, REDUCTIONS[reduction][image.channels > 1]), image.path)
    return _shrink(_grey(_opencv(image, cv2.IMREAD_UNCHANGED), image.path), reduction)


def _opencv(image: Encoded, flags: int) -> npt.NDArray[Any]:
    try:
        # A header's orientation would turn the pixels away from `shape`.
        pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise PixelError(f"{image.path}: cannot be decoded ({error})") from error
    if pixels is None:
        raise PixelError(f"{image.path}: cannot be decoded (damaged or truncated)")
    return np.asarray(pixels)


def _grey(image: npt.NDArray[Any], path: Path) -> Film:
    """One channel (h, w) of grey that may have been stored as several."""
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
    """Means of blocks of `reduction` by `reduction` pixels; a last, incomplete one is filled with its edge."""
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
    """Decode as (h, w) uint8, as a viewer shows it; `reduced` gives an eighth of the size, for a quick look.

    A DICOM goes through its stated window, if any. Other values of more than 8 bits are stretched from their lowest to
    their highest.
    """
    image = load(path)
    reduction = QUICK_LOOK if reduced else 1
    if image.format == "DICOM":
        film = _shrink(dicom.decode(path, image.data, displayed=True), reduction)
    else:
        film = decode(image, reduction)
    return _stretched(film)


def _stretched(film: Film) -> Grey:
    """8 bits as they are, or more of them from their lowest to their highest value as 0..255."""
    if film.dtype == np.uint8:
        return np.asarray(film, np.uint8)
    low, high = int(film.min()), int(film.max())
    scale = 255 / max(high - low, 1)
    return np.asarray(cv2.convertScaleAbs(film, alpha=scale, beta=-low * scale), np.uint8)


def _eight_bits(film: Film) -> Grey:
    """The full range of the file's depth as 0..255."""
    return np.asarray(film >> 8 if film.dtype == np.uint16 else film, np.uint8)


def is_binary(path: Path) -> bool:
    """Whether an image holds little but black and white, as a mask does and a crop of film does not."""
    image = load(path)
    pixels = _eight_bits(decode(image, QUICK_LOOK if min(image.shape) >= 256 else 1))
    extremes = (pixels <= EXTREME) | (pixels >= 255 - EXTREME)
    return bool(extremes.mean() >= BINARY_SHARE)


def has_foreground(path: Path) -> bool:
    """Whether a mask marks anything."""
    return bool(foreground(load(path)).any())


def foreground(mask: Encoded, reduction: int = 1) -> Mask:
    """A mask (h, w) as 0/1: 1 where it is brighter than half; a lesion too small for `reduction` keeps its place."""
    found = np.asarray(_eight_bits(decode(mask, reduction)) > 127, np.uint8)
    if reduction == 1 or found.any():
        return found
    return np.asarray(_shrink(255 * foreground(mask), reduction) > 0, np.uint8)


def read_mask(path: Path, film_shape: tuple[int, int]) -> Mask:
    """A mask as (h, w) 0/1 in the film's shape, to which a copy of other size is scaled."""
    return fit(foreground(load(path)), film_shape)


def fit(mask: Mask, shape: tuple[int, int]) -> Mask:
    """`mask` scaled to `shape`, where it is not in it already."""
    if mask.shape == shape:
        return mask
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def bounding_box(mask: npt.NDArray[np.generic]) -> Box:
    """Smallest box around the foreground of a mask (h, w); raises PixelError where there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise PixelError("a mask without foreground has no bounding box")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def square_around(box: Box, context: float) -> Box:
    """The square centred on `box` whose side is `context` times the longer side of `box`; it may leave the film."""
    top, left, bottom, right = box
    side = max(1, round(context * max(bottom - top, right - left)))
    new_top = round((top + bottom - side) / 2)
    new_left = round((left + right - side) / 2)
    return new_top, new_left, new_top + side, new_left + side


def crop(image: Film, box: Box) -> Film:
    """`image` inside `box`, black where the box leaves the film."""
    top, left, bottom, right = box
    height, width = image.shape
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    padding = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    return np.pad(inside, padding) if np.any(padding) else inside


def resize(image: Film, size_px: int) -> Film:
    """A square image at (size_px, size_px): area average when shrinking, which keeps fine texture from aliasing."""
    shrinking = image.shape[0] >= size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=interpolation), dtype=image.dtype)


def breast_mask(film: Film) -> Mask:
    """The breast as (h, w) 0/1: the largest bright component, without film labels, tape and white borders."""
    height, width = film.shape
    scale = min(1.0, BREAST_ANALYSIS_PX / max(height, width))
    small = cv2.resize(
        film, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    grey = _stretched(np.asarray(small, film.dtype))
    smooth = cv2.GaussianBlur(grey, (5, 5), 0)
    dark, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_TRIANGLE)
    bright = _opened((smooth > dark) & ~_white_border(grey), 9)
    count, components, statistics, _ = cv2.connectedComponentsWithStats(bright)
    if count < 2:
        return np.ones((height, width), np.uint8)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return fit(np.asarray(components == largest, np.uint8), (height, width))


def _white_border(grey: Grey) -> npt.NDArray[np.bool_]:
    """Where bare light passed a film's side: white lines along it, too thin to be a muscle."""
    white = grey >= WHITE
    rim = white.copy()
    rim[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    if not rim.any():
        return rim
    thin = rim & (_opened(white, BORDER_PX) == 0)
    # A pixel wider: scaled down, a border fades into what lies beside it.
    return np.asarray(cv2.dilate(thin.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _opened(shape: npt.NDArray[np.bool_], size_px: int) -> Mask:
    """`shape` without its parts that are thinner than `size_px`, black beyond the film."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    # By default what lies beyond would count as the shape's own, and borders, which lie at the edge, would stay.
    return np.asarray(
        cv2.morphologyEx(shape.astype(np.uint8), cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    )


def contrast(film: Film, region: Mask, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The levels at `percentiles` of the region (0/1), of the film where the region is empty.

    From the film itself, because the three scanners of CBIS-DDSM differ, and other data sets even more.
    """
    low, high = _percentiles(film, region if region.any() else np.ones_like(region), percentiles)
    return float(low), float(high)


def window(film: Film, low: float, high: float, bits: int = 8) -> Film:
    """Stretch intensities so that `low` becomes black and `high` white, in `bits` (8 or 16)."""
    depth, white = DEPTHS[bits]
    levels = np.arange(np.iinfo(film.dtype).max + 1)
    table = np.clip((levels - low) * (white / max(high - low, 1)), 0, white).round().astype(depth)
    return np.asarray(cv2.LUT(film, table), dtype=depth)


def _percentiles(film: Film, region: Mask, percentiles: tuple[float, float]) -> npt.NDArray[np.float64]:
    """As np.percentile of the region's pixels, from their histogram: they are many, and their levels are few."""
    levels = np.iinfo(film.dtype).max + 1
    below = np.cumsum(cv2.calcHist([film], [0], region, [levels], [0, levels]).ravel().astype(np.int64))
    places = np.array(percentiles) / 100 * (below[-1] - 1)
    lower, upper = (np.searchsorted(below, side(places), side="right") for side in (np.floor, np.ceil))
    return np.asarray(lower + (upper - lower) * (places % 1))


def equalise(film: Film, clip_limit: float) -> Film:
    """Contrast-limited adaptive histogram equalisation in 8x8 tiles (Zuiderveld, Graphics Gems IV, 1994).

    OpenCV's; a film of 16 bits goes through the tiles' curves of its upper 8, interpolated: OpenCV's own histogram of
    65,536 bins has so few pixels in each that no limit bites.
    """
    if film.dtype == np.uint8:
        return np.asarray(cv2.createCLAHE(clip_limit, (TILES, TILES)).apply(film), np.uint8)
    grey = _eight_bits(film)
    if any(side % TILES for side in film.shape):  # OpenCV then fills both sides
        height, width = (TILES - side % TILES for side in film.shape)
        grey = np.asarray(cv2.copyMakeBorder(grey, 0, height, 0, width, cv2.BORDER_REFLECT_101), np.uint8)
    curves = _tile_curves(grey, clip_limit)
    down, across = (np.arange(side) * TILES / whole - 0.5 for side, whole in zip(film.shape, grey.shape, strict=True))
    equalised = np.empty_like(film)
    for top in range(0, len(film), STRIP_PX):
        strip = slice(top, top + STRIP_PX)
        places = np.broadcast_arrays(down[strip, np.newaxis], across, film[strip] / 256 - 0.5)
        equalised[strip] = (65535 * map_coordinates(curves, places, order=1, mode="nearest")).round()
    return equalised


def _tile_curves(grey: Grey, clip_limit: float) -> npt.NDArray[np.float64]:
    """What CLAHE makes of each grey in the middle of each tile: (TILES, TILES, 256), 0..1."""
    pixels = grey.size / TILES**2
    limit = max(1, int(clip_limit * pixels / 256))
    tiles = [tile for row in np.split(grey, TILES) for tile in np.split(row, TILES, axis=1)]
    counts = [_limited(np.bincount(tile.ravel(), minlength=256), limit) for tile in tiles]
    return np.cumsum(counts, axis=1).reshape(TILES, TILES, 256) / pixels


def _limited(counts: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """A histogram (256,) whose excess over `limit` is spread as OpenCV spreads it."""
    each, rest = divmod(int(np.maximum(counts - limit, 0).sum()), 256)
    limited = np.minimum(counts, limit) + each
    limited[:: max(256 // max(rest, 1), 1)][:rest] += 1
    return limited


def breast_square(
    film: Film, lesions: Mask, breast: Mask, size_px: int, enhance: Callable[[Film], Film] = lambda film: film
) -> tuple[Film, Mask]:
    """The whole breast, chest wall on the left, aspect kept, as (size_px, size_px), and its lesions likewise.

    Everything outside the breast's component (labels, tape, borders) turns black. enhance: changes the greys of the
    part of the film that is shown, before the rest turns black.
    """
    box = bounding_box(breast)
    shape = crop(breast, box)
    shown, marks = enhance(crop(film, box)) * shape, crop(lesions, box)
    # By its outline: in a dense breast the brightest half may be the nipple's.
    left, right = np.array_split(shape, 2, axis=1)
    if right.sum(dtype=np.int64) > left.sum(dtype=np.int64):
        shown, marks = np.fliplr(shown), np.fliplr(marks)
    return resize(_pad_square(shown), size_px), resize_mask(_pad_square(marks), size_px)


def _pad_square(image: Film) -> Film:
    height, width = image.shape
    side = max(height, width)
    return np.pad(image, ((0, side - height), (0, side - width)))


def resize_mask(mask: npt.NDArray[Any], size_px: int) -> Mask:
    """A pixel belongs to the lesion when half of it does; the largest share counts where none reaches half."""
    if not mask.any():
        return np.zeros((size_px, size_px), np.uint8)
    interpolation = cv2.INTER_AREA if mask.shape[0] >= size_px else cv2.INTER_LINEAR
    # As floats: in 8 bits a lesion of a few pixels on a large film would round to nothing.
    share = np.asarray(cv2.resize(mask.astype(np.float32), (size_px, size_px), interpolation=interpolation))
    return np.asarray(share >= min(0.5, share.max()), dtype=np.uint8)
