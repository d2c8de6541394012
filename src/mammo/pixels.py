"""Films and masks: decode -> breast -> window -> crop -> square array. Arrays are (height, width)."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mammo.errors import InputError

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, bottom, right; right and bottom excluded

BINARY_SHARE = 0.9  # of pixels near 0 or 255; JPEG blurs a mask's outline, a grey crop has far fewer
EXTREME = 25
BREAST_ANALYSIS_PX = 256
END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # of a JPEG and a PNG, by their first bytes
END_BYTES = 1024


class PixelError(InputError):
    """A file is no usable image; the message names it."""


def shape(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header, without decoding."""
    _refuse_cut_short(path)
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError) as error:
        raise PixelError(f"{path}: not an image or truncated ({error})") from error


def read_grey(path: Path, reduced: bool = False) -> Grey:
    """Decode as (h, w) uint8; `reduced` decodes a JPEG at an eighth of its size, for a quick look."""
    _refuse_cut_short(path)
    flag = cv2.IMREAD_REDUCED_GRAYSCALE_8 if reduced else cv2.IMREAD_GRAYSCALE
    try:
        image = cv2.imread(str(path), flag)
    except cv2.error as error:
        raise PixelError(f"{path}: cannot be decoded ({error})") from error
    if image is None:
        raise PixelError(f"{path}: cannot be decoded (missing, truncated or not an image)")
    return np.asarray(image, dtype=np.uint8)


def _refuse_cut_short(path: Path) -> None:
    """Raise PixelError for a file without its end marker: of a truncated JPEG OpenCV makes a film that is half grey."""
    try:
        with path.open("rb") as file:
            marker = END_MARKERS.get(file.read(2), b"")
            file.seek(max(0, path.stat().st_size - END_BYTES))
            whole = marker in file.read()
    except OSError as error:
        raise PixelError(f"{path}: cannot be read ({error.strerror})") from error
    if not whole:
        raise PixelError(f"{path}: truncated, the image's end is missing")


def is_binary(path: Path) -> bool:
    """Whether an image holds little but black and white, as a mask does and a crop of film does not."""
    image = read_grey(path, reduced=min(shape(path)) >= 256)
    extremes = (image <= EXTREME) | (image >= 255 - EXTREME)
    return bool(extremes.mean() >= BINARY_SHARE)


def has_foreground(path: Path) -> bool:
    """Whether a mask marks anything."""
    return bool((read_grey(path) > 127).any())


def read_mask(path: Path, film_shape: tuple[int, int]) -> Mask:
    """A mask as (h, w) 0/1 in the film's shape, to which a copy of other size is scaled."""
    mask = (read_grey(path) > 127).astype(np.uint8)
    if mask.shape != film_shape:
        mask = np.asarray(
            cv2.resize(mask, (film_shape[1], film_shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
    return mask


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


def crop(image: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.uint8]:
    """`image` inside `box`, black where the box leaves the film."""
    top, left, bottom, right = box
    height, width = image.shape
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    padding = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    return np.pad(inside, padding)


def resize(image: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """A square image at (size_px, size_px): area average when shrinking, which keeps fine texture from aliasing."""
    shrinking = image.shape[0] >= size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=interpolation), dtype=np.uint8)


def breast_mask(image: Grey) -> Mask:
    """The breast as (h, w) 0/1: the largest bright component, without film labels, tape and thin borders."""
    height, width = image.shape
    scale = min(1.0, BREAST_ANALYSIS_PX / max(height, width))
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    smooth = cv2.GaussianBlur(small, (5, 5), 0)
    dark, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_TRIANGLE)
    # Black beyond the film, or opening would leave the borders, which lie at its edge.
    bright = cv2.morphologyEx(
        (smooth > dark).astype(np.uint8),
        cv2.MORPH_OPEN,
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    count, components, statistics, _ = cv2.connectedComponentsWithStats(bright)
    if count < 2:
        return np.ones((height, width), np.uint8)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    breast = np.asarray(components == largest, np.uint8)
    return np.asarray(cv2.resize(breast, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def window(image: Grey, region: Mask, percentiles: tuple[float, float]) -> Grey:
    """Stretch intensities so that `percentiles` of the region (0/1) become 0 and 255.

    From the image itself, because the three scanners of the collection differ.
    """
    values = image[region > 0]
    low, high = np.percentile(values if values.size else image, percentiles)
    table = np.clip((np.arange(256) - low) * (255 / max(high - low, 1)), 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def lesion_square(image: Grey, lesion: Mask, size_px: int, context: float) -> tuple[Grey, Mask]:
    """The lesion with its surroundings as (size_px, size_px), and its mask in the same geometry."""
    box = square_around(bounding_box(lesion), context)
    return resize(crop(image, box), size_px), _resize_mask(crop(lesion, box), size_px)


def breast_square(image: Grey, lesions: Mask, breast: Mask, size_px: int) -> tuple[Grey, Mask]:
    """The whole breast, chest wall on the left, aspect kept, as (size_px, size_px), and its lesions likewise.

    Everything outside the breast's component (labels, tape, borders) turns black.
    """
    box = bounding_box(breast)
    alone = crop(np.where(breast > 0, image, 0).astype(np.uint8), box)
    marks = crop(lesions, box)
    left, right = np.array_split(alone.astype(np.float64), 2, axis=1)
    if right.sum() > left.sum():
        alone, marks = np.fliplr(alone), np.fliplr(marks)
    return resize(_pad_square(alone), size_px), _resize_mask(_pad_square(marks), size_px)


def _pad_square(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image.shape
    side = max(height, width)
    return np.pad(image, ((0, side - height), (0, side - width)))


def _resize_mask(mask: Mask, size_px: int) -> Mask:
    """A pixel belongs to the lesion when half of it does; the largest share counts where none reaches half."""
    interpolation = cv2.INTER_AREA if mask.shape[0] >= size_px else cv2.INTER_LINEAR
    # As floats: in 8 bits a lesion of a few pixels on a large film would round to nothing.
    share = np.asarray(cv2.resize(mask.astype(np.float32), (size_px, size_px), interpolation=interpolation))
    return np.asarray((share > 0) & (share >= min(0.5, share.max())), dtype=np.uint8)
