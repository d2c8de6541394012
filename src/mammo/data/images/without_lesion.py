"""The same film without its lesions: another window of the same film, or the lesions inpainted.

What a model says of such a sample cannot come from the lesion. Boxes are in px of the film at hand.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mammo.core.schemas import NONE_MARKED
from mammo.data.images.transforms import Box, Film, Mask

HEALTHY_TISSUE, INPAINTED = "healthy tissue", "inpainted"
REMOVALS = (HEALTHY_TISSUE, INPAINTED, NONE_MARKED)

MARGIN = 0.3  # of a lesion's box, hidden with it on each side: outlines cut spicules and the rim off
INPAINT_PX = 48  # a hidden box is filled at this length: Telea's cost grows with the pixels, and its fill is smooth
INPAINT_RADIUS_PX = 5
MIN_SURROUNDINGS_PX = 8
SEARCH_PX = 128  # windows are searched on the film at this length
BREAST_STEP = 0.05  # windows whose share of breast differs by less are equally good; the nearest is taken
BREAST_TOLERANCE = 0.25  # of the window: with more or less breast than this it shows another place


def hide(shape: tuple[int, int], boxes: Sequence[Box]) -> Mask:
    """Return the region (h, w) 0/1 that hides lesions in `boxes`: each box with MARGIN on every side."""
    hidden = np.zeros(shape, np.uint8)
    for box in boxes:
        top, left, bottom, right = _widen(box, shape)
        hidden[top:bottom, left:right] = 1
    return hidden


def _widen(box: Box, shape: tuple[int, int]) -> Box:
    top, left, bottom, right = box
    down, across = round(MARGIN * (bottom - top)), round(MARGIN * (right - left))
    return max(0, top - down), max(0, left - across), min(shape[0], bottom + down), min(shape[1], right + across)


def inpaint(film: Film, boxes: Sequence[Box]) -> Film:
    """Return the film with each box and its margin filled from around it, by fast marching.

    Telea, J Graphics Tools 2004.
    """
    hidden, filled = hide(_shape(film), boxes), film.copy()
    for box in boxes:
        region = _surroundings(_widen(box, _shape(film)), _shape(film))
        filled[region] = np.where(hidden[region] > 0, _fill(film[region], hidden[region]), filled[region])
    return filled


def _shape(film: Film) -> tuple[int, int]:
    height, width = film.shape
    return height, width


def _surroundings(box: Box, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the part of the film around `box` that its fill is taken from."""
    top, left, bottom, right = box
    beside = max(MIN_SURROUNDINGS_PX, max(bottom - top, right - left) // 4)
    rows = slice(max(0, top - beside), min(shape[0], bottom + beside))
    return rows, slice(max(0, left - beside), min(shape[1], right + beside))


def _fill(part: Film, hidden: Mask) -> Film:
    """Inpaint `part` at INPAINT_PX and return it at its size; black where nothing of it may be seen."""
    if hidden.all():
        return np.zeros_like(part)
    scale = min(1.0, INPAINT_PX / max(part.shape))
    size = max(2, round(part.shape[1] * scale)), max(2, round(part.shape[0] * scale))
    share = cv2.resize(hidden.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    region = np.asarray(share > 0, np.uint8)
    if region.all():
        return np.full_like(part, np.median(part[hidden == 0]))
    smooth = cv2.inpaint(small, region, INPAINT_RADIUS_PX, cv2.INPAINT_TELEA)
    return np.asarray(cv2.resize(smooth, part.shape[::-1], interpolation=cv2.INTER_LINEAR), part.dtype)


def find_healthy_window(breast: Mask, hidden: Mask, window: Box) -> Box | None:
    """Return the nearest window of the same size that touches nothing hidden and shows as much breast.

    breast, hidden: (h, w) 0/1; window: a square whose centre lies on the film, where its new centre lies too. None
    where every free window differs by more than BREAST_TOLERANCE in its share of breast.
    """
    height, width = breast.shape
    scale = min(1.0, SEARCH_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tissue, lesions = (
        np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)) for mask in (breast, hidden)
    )
    # One cell more than the window: in px of the film it then lies inside its cells.
    side = int(np.ceil((window[2] - window[0]) * scale)) + 1
    shares, free = _window_sums(tissue, side) / side**2, _window_sums((lesions > 0).astype(np.float64), side) < 0.5
    start = np.clip([round(edge * scale) + side // 2 for edge in window[:2]], 0, np.array(shares.shape) - 1)
    difference = np.abs(shares - shares[tuple(start)])
    rows, columns = np.nonzero(free & (difference <= BREAST_TOLERANCE))
    if not rows.size:
        return None
    distance = np.hypot(rows - start[0], columns - start[1])
    best = np.lexsort((columns, rows, distance, np.floor(difference[rows, columns] / BREAST_STEP)))[0]
    top, left = (int(np.ceil((place[best] - side // 2) / scale)) for place in (rows, columns))
    return top, left, top + window[2] - window[0], left + window[3] - window[1]


def _window_sums(values: npt.NDArray[Any], side: int) -> npt.NDArray[np.float64]:
    """Return, per cell (h, w), the sum over the square of `side` cells centred on it; beyond the film all is 0."""
    before = side // 2
    padded = np.pad(values.astype(np.float64), ((before + 1, side - before), (before + 1, side - before)))
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    height, width = values.shape
    below, right = slice(side, side + height), slice(side, side + width)
    return np.asarray(sums[below, right] - sums[:height, right] - sums[below, :width] + sums[:height, :width])
