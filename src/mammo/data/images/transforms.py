"""Arrays of pixels: crop, resize, window, equalise. Arrays are (height, width)."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from mammo.data.images.dicom import PixelError

Grey = npt.NDArray[np.uint8]
Film = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Mask = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, bottom, right; right and bottom excluded

DEPTHS = {8: (np.uint8, 255), 16: (np.uint16, 65535)}
TILES = 8
STRIP_PX = 256  # bounds the memory of interpolation


def fit(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Scale `mask` to `shape` where it has another."""
    if mask.shape == shape:
        return mask
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def bounding_box(mask: npt.NDArray[np.generic]) -> Box:
    """Return the smallest box around the foreground of a mask (h, w); raises PixelError where there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise PixelError("a mask without foreground has no bounding box")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def square_around(box: Box, context: float) -> Box:
    """Return the square centred on `box`, `context` times as long as its longer side; it may leave the film."""
    top, left, bottom, right = box
    side = max(1, round(context * max(bottom - top, right - left)))
    new_top = round((top + bottom - side) / 2)
    new_left = round((left + right - side) / 2)
    return new_top, new_left, new_top + side, new_left + side


def crop(image: Film, box: Box) -> Film:
    """Return `image` inside `box`, black where the box leaves the film."""
    top, left, bottom, right = box
    height, width = image.shape
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    padding = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
    return np.pad(inside, padding) if np.any(padding) else inside


def resize(image: Film, size_px: int) -> Film:
    """Resize a square image to (size_px, size_px); by area average when shrinking, against aliasing."""
    shrinking = image.shape[0] >= size_px
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=interpolation), dtype=image.dtype)


def percentile_levels(film: Film, region: Mask, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return the grey levels at `percentiles` of the region (0/1), of the film where the region is empty.

    Computed per film, because the three scanners of CBIS-DDSM differ, and other data sets even more.
    """
    low, high = _percentiles(film, region, percentiles)
    return low, high


def window(film: Film, low: float, high: float, bits: int = 8) -> Film:
    """Stretch intensities so that `low` becomes black and `high` white, in `bits` (8 or 16)."""
    depth, white = DEPTHS[bits]
    levels = np.arange(np.iinfo(film.dtype).max + 1)
    table = np.clip((levels - low) * (white / max(high - low, 1)), 0, white).round().astype(depth)
    return np.asarray(cv2.LUT(film, table), dtype=depth)


def rank_levels(film: Film, region: Mask, share: float, low: float, high: float) -> npt.NDArray[np.float64]:
    """Return the grey level (0-1) of every value of the film's depth: a mixture of window and rank within the region.

    share: 0 is the window from low to high alone, 1 the share of the region's pixels that are darker, so that the greys
    of all films have one distribution.
    """
    levels = np.iinfo(film.dtype).max + 1
    windowed = np.clip((np.arange(levels) - low) / max(high - low, 1), 0, 1)
    counts = cv2.calcHist([film], [0], region if region.any() else None, [levels], [0, levels]).ravel().astype(np.int64)
    below = np.cumsum(counts)
    ranks = (below - counts / 2) / max(below[-1], 1)
    return np.asarray((1 - share) * windowed + share * ranks)


def map_levels(film: Film, levels: npt.NDArray[np.float64], bits: int) -> Film:
    """Replace every value of the film by its grey level (0-1) of `rank_levels`, in `bits` (8 or 16)."""
    depth, white = DEPTHS[bits]
    return np.asarray(cv2.LUT(film, (white * levels).round().astype(depth)), dtype=depth)


def blur(image: Film, sigma_px: float) -> Film:
    """Blur by a Gaussian of SD `sigma_px`; 0 changes nothing."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), image.dtype) if sigma_px else image


def cut_margin(mask: Mask, share: float) -> Mask:
    """Return the mask (h, w) without the outer share of each side; unchanged where nothing would be left."""
    rows, columns = (round(share * side) for side in mask.shape)
    if not rows and not columns:
        return mask
    inner = np.zeros_like(mask)
    inside = np.s_[rows : mask.shape[0] - rows, columns : mask.shape[1] - columns]
    inner[inside] = mask[inside]
    return inner if inner.any() else mask


def _percentiles(film: Film, region: Mask, percentiles: tuple[float, float]) -> list[float]:
    """Return np.percentile of the region's pixels, from their histogram: pixels are many, and levels are few.

    Of all pixels where the region is empty.
    """
    levels = np.iinfo(film.dtype).max + 1
    left, top, width, height = cv2.boundingRect(region)
    part = np.s_[top : top + height, left : left + width] if width else np.s_[:, :]
    mask = region[part] if width else None
    below = cv2.calcHist([film[part]], [0], mask, [levels], [0, levels]).ravel().cumsum(dtype=np.int64)
    return [_interpolate(below, percentile / 100 * (int(below[-1]) - 1)) for percentile in percentiles]


def _interpolate(below: npt.NDArray[np.int64], place: float) -> float:
    """Return the level at a place among the sorted pixels; below: how many have at most each level."""
    lower, upper = (int(below.searchsorted(side(place), side="right")) for side in (math.floor, math.ceil))
    return lower + (upper - lower) * (place % 1)


def equalise(film: Film, clip_limit: float) -> Film:
    """Contrast-limited adaptive histogram equalisation in 8x8 tiles (Zuiderveld, Graphics Gems IV, 1994).

    OpenCV's; a film of 16 bits goes through the tiles' curves of its upper 8, interpolated: OpenCV's own histogram of
    65,536 bins has so few pixels in each that no limit bites.
    """
    if film.dtype == np.uint8:
        return np.asarray(cv2.createCLAHE(clip_limit, (TILES, TILES)).apply(film), np.uint8)
    grey = reduce_to_8_bits(film)
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
    """Return the equalised level of each grey in the middle of each tile: (TILES, TILES, 256), 0-1."""
    pixels = grey.size / TILES**2
    limit = max(1, int(clip_limit * pixels / 256))
    tiles = [tile for row in np.split(grey, TILES) for tile in np.split(row, TILES, axis=1)]
    counts = [_clip_counts(np.bincount(tile.ravel(), minlength=256), limit) for tile in tiles]
    return np.cumsum(counts, axis=1).reshape(TILES, TILES, 256) / pixels


def _clip_counts(counts: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Clip a histogram (256,) at `limit` and spread the excess as OpenCV does."""
    each, rest = divmod(int(np.maximum(counts - limit, 0).sum()), 256)
    clipped = np.minimum(counts, limit) + each
    clipped[:: max(256 // max(rest, 1), 1)][:rest] += 1
    return clipped


def resize_mask(mask: npt.NDArray[Any], size_px: int) -> Mask:
    """Resize a mask: a pixel is lesion when half of it is; where none reaches half, those of the largest share are."""
    if not mask.any():
        return np.zeros((size_px, size_px), np.uint8)
    interpolation = cv2.INTER_AREA if mask.shape[0] >= size_px else cv2.INTER_LINEAR
    # As floats: in 8 bits a lesion of a few pixels on a large film would round to nothing.
    share = np.asarray(cv2.resize(mask.astype(np.float32), (size_px, size_px), interpolation=interpolation))
    return np.asarray(share >= min(0.5, share.max()), dtype=np.uint8)


def stretch_to_8_bits(film: Film) -> Grey:
    """Return 8 bits unchanged, more bits stretched from their lowest to their highest value."""
    if film.dtype == np.uint8:
        return np.asarray(film, np.uint8)
    low, high = int(film.min()), int(film.max())
    scale = 255 / max(high - low, 1)
    return np.asarray(cv2.convertScaleAbs(film, alpha=scale, beta=-low * scale), np.uint8)


def reduce_to_8_bits(film: Film) -> Grey:
    """Scale the full range of the file's depth to 0-255."""
    return np.asarray(film >> 8 if film.dtype == np.uint16 else film, np.uint8)
