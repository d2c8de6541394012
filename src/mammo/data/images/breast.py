"""Find the breast on a film, and cut its square."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from mammo.data.images.transforms import Film, Grey, Mask, bounding_box, crop, fit, resize, resize_mask, stretched

BREAST_ANALYSIS_PX = 256
WHITE = 245  # of 255
BORDER_PX = 13  # of BREAST_ANALYSIS_PX: no border is wider


def breast_mask(film: Film) -> Mask:
    """The breast as (h, w) 0/1: the largest bright component, without film labels, tape and white borders."""
    height, width = film.shape
    scale = min(1.0, BREAST_ANALYSIS_PX / max(height, width))
    small = cv2.resize(
        film, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    grey = stretched(np.asarray(small, film.dtype))
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
