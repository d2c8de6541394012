"""Segmentation of the breast on a film, and the square image of a breast."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from mammo.data.images.transforms import (
    Film,
    Grey,
    Mask,
    bounding_box,
    crop,
    fit,
    resize,
    resize_mask,
    stretch_to_8_bits,
)

BREAST_ANALYSIS_PX = 256
WHITE = 245  # of 255
OPENING_PX = 9  # thinner parts are no breast
BORDER_PX = 13  # of BREAST_ANALYSIS_PX: no border is wider


def breast_mask(film: Film) -> Mask:
    """Segment the breast as (h, w) 0/1: the largest bright component, without labels, tape and white borders."""
    height, width = film.shape
    scale = min(1.0, BREAST_ANALYSIS_PX / max(height, width))
    small = cv2.resize(
        film, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    grey = stretch_to_8_bits(np.asarray(small, film.dtype))
    smooth = cv2.GaussianBlur(grey, (5, 5), 0)
    _, bright = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_TRIANGLE)
    if (border := _white_border(grey)) is not None:
        bright[border] = 0
    opened = _opened(np.asarray(bright, np.uint8), OPENING_PX)
    count, components = cv2.connectedComponents(opened)  # its statistics would take eight times as long
    if count < 2:
        return np.ones((height, width), np.uint8)
    if count > 2:  # one component alone is what was opened
        largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
        opened = np.asarray(components == largest, np.uint8)
    return fit(opened, (height, width))


def reduce_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Return a breast_mask at the smaller shape (h, w), without parts that are then too thin."""
    small = fit(mask, shape)
    opened = _opened(np.asarray(small > 0, np.uint8), OPENING_PX)
    return opened if opened.any() else small


def _white_border(grey: Grey) -> npt.NDArray[np.bool_] | None:
    """Return white lines along a film's sides, where light passed beside it; too thin to be a muscle. None without."""
    sides = grey[:BORDER_PX], grey[-BORDER_PX:], grey[:, :BORDER_PX], grey[:, -BORDER_PX:]
    if all(side.max() < WHITE for side in sides):
        return None
    white = grey >= WHITE
    rim = white.copy()
    rim[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    thin = rim & (_opened(np.asarray(white, np.uint8), BORDER_PX) == 0)
    # A pixel wider: scaled down, a border fades into what lies beside it.
    return np.asarray(cv2.dilate(thin.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _opened(shape: Mask, size_px: int) -> Mask:
    """Remove parts of `shape` (h, w) 0/1 thinner than `size_px`; beyond the film all is black."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    opened = np.zeros_like(shape)
    left, top, width, height = cv2.boundingRect(shape)
    part = np.s_[top : top + height, left : left + width]  # around it all is black, and stays so
    if width:
        # By default the outside would count as part of the shape, and borders, which lie at the edge, would stay.
        opened[part] = cv2.morphologyEx(
            shape[part], cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
    return opened


def breast_square(
    film: Film, lesions: Mask, breast: Mask, size_px: int, enhance: Callable[[Film], Film] = lambda film: film
) -> tuple[Film, Mask]:
    """Return a whole breast and its lesions as (size_px, size_px), chest wall on the left, aspect unchanged.

    Everything outside the breast's component (labels, tape, borders) turns black. enhance: changes the greys of the
    breast's bounding box before the rest turns black.
    """
    box = bounding_box(breast)
    shape = crop(breast, box)
    image, marks = enhance(crop(film, box)) * shape, crop(lesions, box)
    if lies_right(shape):
        image, marks = np.fliplr(image), np.fliplr(marks)
    return resize(_pad_square(image), size_px), resize_mask(_pad_square(marks), size_px)


def lies_right(shape: Mask) -> bool:
    """Say whether the chest wall of a breast, cut out as (h, w) 0/1, is on the right."""
    # By the outline: in a dense breast the brightest half may be the nipple's.
    left, right = np.array_split(shape, 2, axis=1)
    return bool(right.sum(dtype=np.int64) > left.sum(dtype=np.int64))


def _pad_square(image: Film) -> Film:
    height, width = image.shape
    side = max(height, width)
    return np.pad(image, ((0, side - height), (0, side - width)))
